# 032_kafka_tls.pl
#     Kafka by TLS and with a login: what works, and that each thing that
#     can be wrong is told in words of its own (M3, M4).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka('openssl');
my $api = start_api();
my $kafka = start_kafka(
	plain => 1,
	listeners => {
		tls => 'tls',
		mtls => 'mtls',
		both => 'tls,plain',
		scram => 'tls,scram',
		map { ($_ => $_) } qw(expired wronghost stranger)
	});
$kafka->create_topic('t');

my $password = $kafka->password('app');
my @old = $kafka->certificate('old', cn => 'app', expired => 1);
my @alien = $kafka->certificate('alien', cn => 'app', ca => 'stranger');

# Brokers that take seconds to be given up are asked by three servers at a time.
my @nodes = map {
	new_node("node$_", api => $api, conf => "log_min_messages = debug1\n")
} (1 .. 3);
foreach my $node (@nodes)
{
	$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '"
		  . $node->basedir . "/kafka.conf'\n");
	$node->sql(q{
		CREATE TABLE t (v text);
		INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'INSERT INTO t SELECT value FROM records')});
}
my ($node) = @nodes;

# Have a server use a listener, with other properties than its own; undef drops
# one.
sub use_listener
{
	my ($node, $listener, %change) = @_;
	my $brokers = delete $change{brokers} // $kafka->brokers($listener);
	my %config = -e $kafka->config_file($listener) ? %{ $kafka->config($listener) } : ();

	%config = (%config, %change);
	delete @config{ grep { !defined $config{$_} } keys %config };
	$kafka->write_config($node->basedir . '/kafka.conf', \%config);
	$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '$brokers'\n");
	$node->reload;
	$node->wait_for('the reload', "SELECT current_setting('rappel_conso.kafka_brokers') = '$brokers'");
	return;
}

# ---- what works ----

foreach my $listener (undef, 'tls', 'mtls', 'both')
{
	my $name = $listener // 'client';

	use_listener($node, $listener);
	$kafka->produce('t', undef, qq{"$name"});
	is($node->sql(q{SELECT applied FROM rc_drain('s', '60 s')}), 1, "$name: a record is applied");
}
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'a run, by TLS and with a password');
is($node->sql(q{SELECT string_agg(v, ' ' ORDER BY v) FROM t}), '"both" "client" "mtls" "tls"', 'all of them');
use_listener($node, 'stranger', 'enable.ssl.certificate.verification' => 'false');
$kafka->produce('t', undef, '"unchecked"');
is($node->sql(q{SELECT applied FROM rc_drain('s', '60 s')}), 1, 'a certificate that is not to be verified');

# ---- what a client cannot even begin with: at once ----

# What the message says before librdkafka's words tells causes apart: it is one
# text for each cause.
my %told;

sub tells_cause
{
	my ($name, $cause, $message, $words) = @_;

	like($message, $words, "M3: $name: message");
	push @{ $told{ ($message =~ s/: $words.*//sr) =~ s/"127[^"]*"//r } }, $cause;
	return;
}

# name, cause, listener, properties, librdkafka's words, what the hint names
my @start = (
	[ 'wrong passphrase', 'key', 'mtls', { 'ssl.key.password' => 'x' }, qr/ssl\.key\.location failed: /, qr/"ssl\.key\.password"/ ],
	[ 'no passphrase', 'key', 'mtls', { 'ssl.key.password' => undef }, qr/ssl\.key\.location failed: /, qr/"ssl\.key\.password"/ ],
	[ q{another certificate's key}, 'pair', 'mtls', { 'ssl.key.location' => $alien[1] }, qr/ssl\.key\.location failed: .*key values mismatch/, qr/"ssl\.certificate\.location".*"ssl\.key\.location"/ ],
	[ 'key without certificate', 'no certificate', 'mtls', { 'ssl.certificate.location' => undef }, qr/Private key check failed: .*no certificate assigned/, qr/"ssl\.certificate\.location"/ ],
	[ 'certificate that is none', 'certificate', 'mtls', { 'ssl.certificate.location' => '/etc/passwd' }, qr/ssl\.certificate\.location failed: /, qr/"ssl\.certificate\.location"/ ],
	[ 'CA that is none', 'CA', 'tls', { 'ssl.ca.location' => '/etc/passwd' }, qr/ssl\.ca\.location failed: /, qr/"ssl\.ca\.location"/ ],
	[ 'no mechanism', 'Kerberos', undef, { 'sasl.mechanism' => undef }, qr/Invalid sasl\.kerberos\./, qr/"sasl\.mechanism"/ ],
	[ 'unknown mechanism', 'unknown mechanism', undef, { 'sasl.mechanism' => 'FOO' }, qr/Unsupported SASL mechanism: FOO/, qr/"sasl\.mechanism"/ ],
	[ 'no password', 'no login', undef, { 'sasl.password' => undef }, qr/sasl\.username and sasl\.password must be set/, qr/"sasl\.password"/ ],
	[ 'no user', 'no login', 'both', { 'sasl.username' => undef }, qr/sasl\.username and sasl\.password must be set/, qr/"sasl\.username"/ ]);

sub drain_with
{
	my ($listener, $change) = @_;

	use_listener($node, $listener, %$change);
	return $node->start_session(q{SELECT rc_drain('s', '60 s')})->finish;
}

foreach my $case (@start)
{
	my ($name, $cause, $listener, $change, $words, $hint) = @$case;
	my $session = drain_with($listener, $change);

	is($session->{sqlstate}, 'F0000', "M3: $name: SQLSTATE");
	tells_cause($name, $cause, $session->{message}, $words);
	like($session->{hint} // '', $hint, "M3: $name: hint");
	unlike($session->{err}, qr/etc.passwd/, "M3: $name: no path for whoever asks");
}

# The files are opened by the server, whose error this is.
foreach my $property (qw(ssl.ca.location ssl.certificate.location ssl.key.location))
{
	my $at = $node->log_position;
	my $session = drain_with('mtls', { $property => '/nowhere/secret.pem' });

	is($session->{sqlstate}, 'F0000', "M3: missing file of $property: SQLSTATE");
	like($session->{message}, qr/ \d .*"rappel_conso\.kafka_config_file".*: No such file or directory$/, "M3: missing file of $property: message");
	unlike($session->{err}, qr/nowhere/, "M3: missing file of $property: no path for whoever asks");
	ok($node->times_logged('F0000', 'DETAIL', qr{"\Q$property\E".*"/nowhere/secret\.pem"}, $at), "M3: missing file of $property: the log names the file");
	isnt($session->{hint} // '', '', "M3: missing file of $property: which a hint says");
}

# ---- what a broker says, or does not say ----

my %no_login = map { ("sasl.$_" => undef) } qw(mechanism username password);
my %no_client = map { ("ssl.$_" => undef) } qw(certificate.location key.location key.password);
my $closed = qr{\d+/\d+ brokers are down|\S+: (?:.*: )?(?:Disconnected|Broken pipe|.*reset by peer)};
my $protocol = qr/"security\.protocol".*"rappel_conso\.kafka_config_file"/;
my $client = qr/"ssl\.certificate\.location".*"ssl\.key\.location"/;
my $login = qr/"sasl\.username".*"sasl\.password"/;
my $refused = qr{\w+://\S+: SASL authentication error: };
my $verified = qr{ssl://\S+: .*certificate verify failed};
my $old_scram = rdkafka_version() lt '2.6.1';

sub rdkafka_version
{
	my ($text) = `kcat -V 2>&1` =~ /librdkafka (\d+\.\d+\.\d+)/ or die 'kcat -V';

	return $text;
}

my @away = (
	[ 'bad password', 'login', undef, { 'sasl.password' => 'x' }, qr/$refused.*Invalid username or password/, $login ],
	[ 'bad password over TLS', 'login', 'both', { 'sasl.password' => 'x' }, $refused, $login ],
	[ 'unknown user', 'login', 'both', { 'sasl.username' => 'nobody' }, $refused, $login ],
	[ 'expired certificate', 'expired', 'expired', {}, $verified, qr/^(?!.*")./ ],
	[ 'wrong host', 'host', 'wronghost', {}, $verified, qr/"rappel_conso\.kafka_brokers"/ ],
	[ 'unknown authority', 'authority', 'stranger', {}, $verified, qr/"ssl\.ca\.location"/ ],
	[ 'no client certificate', 'no client', 'mtls', \%no_client, qr{ssl://\S+: .*alert (?:bad certificate|certificate required)}, $client ],
	[ 'expired client certificate', 'client', 'mtls', { %no_client, 'ssl.certificate.location' => $old[0], 'ssl.key.location' => $old[1] },
		qr{ssl://\S+: .*alert certificate (?!required)}, $client ],
	[ 'client certificate of another authority', 'client', 'mtls', { %no_client, 'ssl.certificate.location' => $alien[0], 'ssl.key.location' => $alien[1] },
		qr{ssl://\S+: .*alert certificate (?!required)}, $client ],
	[ 'plaintext at TLS', 'closed', 'tls', { 'security.protocol' => undef, 'ssl.ca.location' => undef }, $closed, $protocol ],
	[ 'plaintext at SASL', 'closed', undef, { %no_login, 'security.protocol' => 'plaintext' }, $closed, $protocol ],
	[ 'SASL without TLS at both', 'closed', undef, { brokers => $kafka->brokers('both') }, $closed, $protocol ],
	[ 'TLS at plaintext', 'no TLS', 'tls', { brokers => $kafka->open_brokers }, qr{ssl://\S+: .*SSL}, $protocol ],
	[ 'TLS at SASL without TLS', 'no TLS', 'tls', { brokers => $kafka->brokers }, qr{ssl://\S+: .*SSL}, $protocol ],
	[ 'login where none is asked for', 'no SASL', undef, { brokers => $kafka->open_brokers }, qr{\w+://\S+: .*current SASL state}, $protocol ],
	[ 'mechanism that the broker has not', 'mechanism', undef,
		{ 'sasl.mechanism' => 'OAUTHBEARER', 'enable.sasl.oauthbearer.unsecure.jwt' => 'true', 'sasl.oauthbearer.config' => 'principal=app', 'sasl.username' => undef, 'sasl.password' => undef },
		qr{\w+://\S+: SASL OAUTHBEARER mechanism handshake failed: .*PLAIN}, qr/"sasl\.mechanism"/ ],
	[ 'nobody there', 'nobody', undef, { brokers => '127.0.0.1:1' }, qr{\w+://\S+: Connect to .* failed: Connection refused}, qr/"rappel_conso\.kafka_brokers"/ ]);
push @away, [ 'SCRAM', 'login', 'scram', {}, qr/$refused.*SCRAM/, qr/\blibrdkafka \Q${\rdkafka_version()}\E\b.*\bSCRAM\b.*\bKafka 3\.8\.1\b.*\b2\.6\.1\b.*$login/ ]
  if $old_scram;

# The wait for brokers ends when the file is another one: so nothing here lasts
# until they are given up.
sub end_waits
{
	foreach my $run (@_)
	{
		my ($node, $session, $case, $at) = @$run;
		my ($name, $cause, undef, undef, $words, $hint) = @$case;

		$node->wait_logged('08006', 'WARNING', qr/"[\d.:]+"/, $at);
		append_to_file($node->basedir . '/kafka.conf', "# another\n");
		$session->finish;
		is($session->{sqlstate}, '08006', "M3: $name: SQLSTATE");
		tells_cause($name, $cause, $session->{message}, $words);
		like($session->{hint} // '', $hint, "M3: $name: hint");
	}
	return;
}

my @all_away = @away;
while (my @round = splice(@away, 0, scalar(@nodes)))
{
	my @runs;

	foreach my $i (0 .. $#round)
	{
		my $at = $nodes[$i]->log_position;

		use_listener($nodes[$i], $round[$i][2], %{ $round[$i][3] });
		push @runs, [ $nodes[$i], $nodes[$i]->start_session(q{SELECT rc_drain('s', '60 s')}), $round[$i], $at ];
	}
	end_waits(@runs);
}

foreach my $text (sort keys %told)
{
	my %causes = map { $_ => 1 } @{ $told{$text} };

	is(scalar(keys %causes), 1, "M3: one cause only is told so: $text");
}
my %causes = map { $_->[1] => 1 } @start, @all_away;
is(scalar(keys %told), scalar(keys %causes), 'M3: and each of them in one way');

if (!$old_scram)
{
	use_listener($node, 'scram');
	is($node->sql(q{SELECT rc_drain('s', '60 s') IS NOT NULL}), 't', 'M4: SCRAM, where librdkafka can');
}

# ---- no secret anywhere ----

foreach my $each (@nodes)
{
	my $log = slurp_file($each->logfile);

	unlike($log, qr/\Q$password\E|of the key|PRIVATE KEY/, 'no secret in the log of ' . $each->name);
}

done_testing();
