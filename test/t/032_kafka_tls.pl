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

# name, listener, properties, message, hint
my @start = (
	[ 'wrong passphrase', 'mtls', { 'ssl.key.password' => 'x' }, qr/passphrase may be wrong or missing: ssl\.key\.location/, qr/"ssl\.key\.password"/ ],
	[ 'no passphrase', 'mtls', { 'ssl.key.password' => undef }, qr/passphrase may be wrong or missing/, qr/"ssl\.key\.password"/ ],
	[ q{another certificate's key}, 'mtls', { 'ssl.key.location' => $alien[1] }, qr/is not that of the client certificate/, qr/"ssl\.key\.location"/ ],
	[ 'key without certificate', 'mtls', { 'ssl.certificate.location' => undef }, qr/but no client certificate/, qr/"ssl\.certificate\.location"/ ],
	[ 'certificate that is none', 'mtls', { 'ssl.certificate.location' => '/etc/passwd' }, qr/may not be in PEM format: ssl\.certificate/, qr/"ssl\.certificate\.location"/ ],
	[ 'CA that is none', 'tls', { 'ssl.ca.location' => '/etc/passwd' }, qr/may not be in PEM format: ssl\.ca/, qr/"ssl\.ca\.location"/ ],
	(map {
		[ "missing file of $_", 'mtls', { $_ => '/nowhere/secret.pem' },
		  qr/could not read the key or certificate in line \d of the file that "rappel_conso\.kafka_config_file" names: No such file/,
		  qr/server log/, qr/property "\Q$_\E" names file "\/nowhere\/secret\.pem"/ ]
	} qw(ssl.ca.location ssl.certificate.location ssl.key.location)),
	[ 'no mechanism', undef, { 'sasl.mechanism' => undef }, qr/SASL without "sasl\.mechanism" is Kerberos/, qr/"sasl\.mechanism"/ ],
	[ 'unknown mechanism', undef, { 'sasl.mechanism' => 'FOO' }, qr/does not have the SASL mechanism: .*FOO/, qr/"sasl\.mechanism"/ ],
	[ 'no password', undef, { 'sasl.password' => undef }, qr/no user or no password/, qr/"sasl\.password"/ ],
	[ 'no user', 'both', { 'sasl.username' => undef }, qr/no user or no password/, qr/"sasl\.username"/ ]);

foreach my $case (@start)
{
	my ($name, $listener, $change, $message, $hint, $log) = @$case;
	my $at = $node->log_position;

	use_listener($node, $listener, %$change);
	my $session = $node->start_session(q{SELECT rc_drain('s', '60 s')})->finish;
	is($session->{sqlstate}, 'F0000', "M3: $name: SQLSTATE");
	like($session->{message}, $message, "M3: $name: message");
	like($session->{hint} // '', $hint, "M3: $name: hint");
	unlike($session->{err}, qr/nowhere|etc.passwd/, "M3: $name: no path for whoever asks");
	like($node->log_since($at), $log, "M3: $name: the log names the file") if $log;
}

# ---- what a broker says, or does not say ----

my %no_login = map { ("sasl.$_" => undef) } qw(mechanism username password);
my %no_client = map { ("ssl.$_" => undef) } qw(certificate.location key.location key.password);
my $closed = qr/connection was closed; the port may ask for TLS or SASL/;
my $protocol = qr/"security\.protocol" in the file that "rappel_conso\.kafka_config_file"/;
my $client = qr/"ssl\.certificate\.location" and "ssl\.key\.location"/;
my $old_scram = rdkafka_version() lt '2.6.1';

sub rdkafka_version
{
	my ($text) = `kcat -V 2>&1` =~ /librdkafka (\d+\.\d+\.\d+)/ or die 'kcat -V';

	return $text;
}

my @away = (
	[ 'bad password', undef, { 'sasl.password' => 'x' }, qr/refused the user or the password: .*Invalid username or password/, qr/"sasl\.username" and "sasl\.password"/ ],
	[ 'bad password over TLS', 'both', { 'sasl.password' => 'x' }, qr/refused the user or the password/, qr/"sasl\.username" and "sasl\.password"/ ],
	[ 'unknown user', 'both', { 'sasl.username' => 'nobody' }, qr/refused the user or the password/, qr/"sasl\.username"/ ],
	[ 'expired certificate', 'expired', {}, qr/certificate of the broker, or of its authority, has expired: /, qr/Renew/ ],
	[ 'wrong host', 'wronghost', {}, qr/certificate of the broker is for another host/, qr/kafka_brokers/ ],
	[ 'unknown authority', 'stranger', {}, qr/signed by an unknown authority: /, qr/"ssl\.ca\.location"/ ],
	[ 'no client certificate', 'mtls', \%no_client, qr/asks for a client certificate: /, $client ],
	[ 'expired client certificate', 'mtls', { %no_client, 'ssl.certificate.location' => $old[0], 'ssl.key.location' => $old[1] },
		qr/does not accept the client certificate, which may have expired/, $client ],
	[ 'client certificate of another authority', 'mtls', { %no_client, 'ssl.certificate.location' => $alien[0], 'ssl.key.location' => $alien[1] },
		qr/does not accept the client certificate/, $client ],
	[ 'plaintext at TLS', 'tls', { 'security.protocol' => undef, 'ssl.ca.location' => undef }, $closed, $protocol ],
	[ 'plaintext at SASL', undef, { %no_login, 'security.protocol' => 'plaintext' }, $closed, $protocol ],
	[ 'SASL without TLS at both', undef, { brokers => $kafka->brokers('both') }, $closed, $protocol ],
	[ 'TLS at plaintext', 'tls', { brokers => $kafka->open_brokers }, qr/does not seem to speak TLS/, $protocol ],
	[ 'TLS at SASL without TLS', 'tls', { brokers => $kafka->brokers }, qr/does not seem to speak TLS/, $protocol ],
	[ 'login where none is asked for', undef, { brokers => $kafka->open_brokers }, qr/does not ask for SASL/, $protocol ],
	[ 'mechanism that the broker has not', undef,
		{ 'sasl.mechanism' => 'OAUTHBEARER', 'enable.sasl.oauthbearer.unsecure.jwt' => 'true', 'sasl.oauthbearer.config' => 'principal=app', 'sasl.username' => undef, 'sasl.password' => undef },
		qr/does not offer this SASL mechanism: .*PLAIN/, qr/"sasl\.mechanism"/ ],
	[ 'nobody there', undef, { brokers => '127.0.0.1:1' }, qr/: \S+ Connect to .* failed: Connection refused/, qr/^Check the setting "rappel_conso\.kafka_brokers"\.$/ ]);
push @away, [ 'SCRAM', 'scram', {}, qr/refused the user or the password: .*SCRAM/,
	qr/^librdkafka \S+ cannot use SCRAM with Kafka 3\.8\.1 and later, whatever the password: it needs version 2\.6\.1\. Use PLAIN over TLS, a client certificate, or a newer librdkafka/ ]
  if $old_scram;

# The wait for brokers ends when the file is another one: so nothing here lasts
# until they are given up.
sub end_waits
{
	foreach my $run (@_)
	{
		my ($node, $session, $case, $at) = @$run;
		my ($name, undef, undef, $message, $hint) = @$case;

		$node->wait_for_log(qr/could not reach the Kafka brokers/, $at);
		append_to_file($node->basedir . '/kafka.conf', "# another\n");
		$session->finish;
		is($session->{sqlstate}, '08006', "M3: $name: SQLSTATE");
		like($session->{message}, $message, "M3: $name: message");
		like($session->{hint} // '', $hint, "M3: $name: hint");
	}
	return;
}

while (my @round = splice(@away, 0, scalar(@nodes)))
{
	my @runs;

	foreach my $i (0 .. $#round)
	{
		my $at = $nodes[$i]->log_position;

		use_listener($nodes[$i], $round[$i][1], %{ $round[$i][2] });
push @runs, [ $nodes[$i], $nodes[$i]->start_session(q{SELECT rc_drain('s', '60 s')}), $round[$i], $at ];
	}
end_waits(@runs);
}

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
