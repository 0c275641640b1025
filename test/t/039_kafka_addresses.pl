# 039_kafka_addresses.pl
#     Where brokers are: at one of several addresses of a name, of which another
#     refuses; and not where they say that they are.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();
my $kafka = start_kafka(listeners => { map { ($_ => $_) } qw(nohost noport otherhost) });
my $shim = preload('names');
my ($port) = $kafka->brokers('otherhost') =~ /:(\d+)$/;

$kafka->create_topic('t');
$kafka->produce('t', undef, '"first"');

# A broker that listens at 127.0.0.1 only, and whose name has ::1 as well.
local $ENV{LD_PRELOAD} = $shim if $shim;
local $ENV{RC_TEST_NAMES} = 'broker.test=::1,127.0.0.1';
my %node = map {
	($_ => new_node($_, preload => 1, conf => "log_min_messages = debug1\n"))
} ('nohost', 'noport');
delete $ENV{LD_PRELOAD};

foreach my $listener (sort keys %node)
{
	my $node = $node{$listener};

	$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '" . $node->basedir . "/kafka.conf'\n");
	$kafka->write_config($node->basedir . '/kafka.conf', { 'client.rack' => 'a' });
	$node->sql(q{
		CREATE TABLE t (v text);
		INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'INSERT INTO t SELECT value FROM records')});
	use_brokers($node, $kafka->brokers($listener));
}

sub use_brokers
{
	my ($node, $brokers) = @_;

	$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '$brokers'\n");
	$node->reload;
	$node->wait_for('the reload', "SELECT current_setting('rappel_conso.kafka_brokers') = '$brokers'");
	return;
}

# ---- brokers that are not where they say ----

my %words = (nohost => qr/(?:GroupCoordinator: )?nowhere\.invalid:\d+(?:\/1)?: .*\bresolve\b/,
	noport => qr/(?:GroupCoordinator: )?127\.0\.0\.1:1(?:\/1)?: .*\brefused\b/);
my %told;

# What rc_drain() says when something ends its wait for brokers, here a change of
# the file.  librdkafka logs an error before it reports it, and the wait may end
# between the two: then once more.
sub ended_drain
{
	my ($node, $listener) = @_;
	my $drain;

	foreach my $try (1 .. 10)
	{
		my $at = $node->log_position;
		my $session = $node->start_session(q{SELECT rc_drain('s', '60 s')});

		$node->wait_logged('00000', 'DEBUG1|LOG', $words{$listener}, $at);
		append_to_file($node->basedir . '/kafka.conf', "# change $try\n");
		$drain = $session->finish;
		last if ($drain->{message} // '') =~ $words{$listener};
	}
	return $drain;
}

foreach my $listener (sort keys %node)
{
	my $drain = ended_drain($node{$listener}, $listener);
	my $brokers = $kafka->brokers($listener);

	is($drain->{sqlstate}, '08006', "$listener: SQLSTATE");
	like($drain->{message}, qr/"\Q$brokers\E": [^":]*: $words{$listener}/, "$listener: message");
	like($drain->{hint} // '', qr/"advertised\.listeners".*"rappel_conso\.kafka_brokers"/, "$listener: hint");
	$told{ $drain->{message} =~ s/: $words{$listener}.*//sr =~ s/"[^"]*"//r } = 1;
}
is(scalar(keys %told), 1, 'in the same words');

# What waits says so, too.
$node{$_}->sql(q{SELECT rc_start(); SELECT rc_publish('t', '"second"')}) foreach sort keys %node;
foreach my $listener (sort keys %node)
{
	$node{$listener}->becomes_true("$listener: the stream waits and says why",
		q{EXISTS (SELECT FROM rappel_conso.stream_state WHERE stream = 's' AND state = 'waiting' AND detail ~ 'advertises: ')});
	next unless $ENV{RAPPEL_CONSO_ALL};

	# after 30 s without an answer
	$node{$listener}->becomes_true("$listener: the outbox waits and says why",
		q{EXISTS (SELECT FROM rc_status() WHERE component IN ('outbox', 'topic') AND last_error ~ 'advertises: ')});
}

# ---- and are then ----

SKIP:
{
	skip('no C compiler', 4) unless $shim;
	foreach my $listener (sort keys %node)
	{
		my $node = $node{$listener};
		my $at = $node->log_position;

		use_brokers($node, "broker.test:$port");
		$node->becomes_true("$listener: recovers, with an address that refuses before the one that answers",
			q{(SELECT count(*) >= 2 FROM t) AND NOT EXISTS (SELECT FROM rappel_conso.outbox)});
		is($node->times_logged('08006', 'WARNING', qr/broker\.test/, $at), 0, 'which is no reason to warn');
	}
}
$_->stop foreach values %node;

done_testing();
