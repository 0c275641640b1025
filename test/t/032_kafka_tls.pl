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
	new_node("node$_", api => $api, preload => 1, conf => "log_min_messages = debug1\nmax_worker_processes = 20\n")
} (1 .. 3);
foreach my $node (@nodes)
{
	$node->sql(q{
		CREATE TABLE t (v text);
		INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'INSERT INTO t SELECT value FROM records')});
}
my ($node) = @nodes;

# ---- what works ----

my $sent = 0;

# All servers apply a record, and their streams run.
sub all_go_on
{
	my ($what, @nodes) = @_;

	$kafka->produce('t', undef, '"' . ++$sent . '"');
	$_->becomes_true("$what: a record is applied", qq{
		EXISTS (SELECT FROM t WHERE v = '"$sent"') AND
		(SELECT state FROM rappel_conso.stream_state WHERE stream = 's') = 'running'})
	  foreach @nodes;
	return;
}

foreach my $listener (undef, 'tls', 'mtls', 'both')
{
	$node->use_listener($kafka, $listener);
	all_go_on($listener // 'a password without TLS', $node);
}
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'a run, by TLS and with a password');
$node->sql(q{SELECT rc_publish('out', 'null'::jsonb)});
$node->becomes_true('the outbox', 'NOT EXISTS (SELECT FROM rappel_conso.outbox)');
$node->use_listener($kafka, 'stranger', 'enable.ssl.certificate.verification' => 'false');
all_go_on('a certificate that is not to be verified', $node);

# ---- what is wrong ----

my $failed = 'failed F0000';
my $waiting = 'waiting 08006';
my %no_login = map { ("sasl.$_" => undef) } qw(mechanism username password);
my %no_client = map { ("ssl.$_" => undef) } qw(certificate.location key.location key.password);
my $closed = qr{\d+/\d+ brokers are down|\S+: (?:.*: )?(?:Disconnected|Broken pipe|.*reset by peer)};
my $protocol = qr/"security\.protocol".*"rappel_conso\.kafka_config_file"/;
my $client = qr/"ssl\.certificate\.location".*"ssl\.key\.location"/;
my $login = qr/"sasl\.username".*"sasl\.password"/;
my $refused = qr{\w+://\S+: SASL authentication error: };
my $verified = qr{ssl://\S+: .*certificate verify failed};
my $line = qr/ \d+ .*"rappel_conso\.kafka_config_file"/;
my $version = librdkafka_version();
my %oidc = (%no_login, 'sasl.mechanism' => 'OAUTHBEARER');
my $unsupported = grep { /not supported in this build/ } `kcat -X sasl.oauthbearer.method=oidc -L -b 127.0.0.1:1 2>&1`;

# name, cause, listener, properties, words behind the cause, what the hint names
my @start = (
	[ 'wrong passphrase', 'key', 'mtls', { 'ssl.key.password' => 'x' }, qr/ssl\.key\.location failed: /, qr/"ssl\.key\.password"/ ],
	[ 'no passphrase', 'key', 'mtls', { 'ssl.key.password' => undef }, qr/ssl\.key\.location failed: /, qr/"ssl\.key\.password"/ ],
	[ q{another certificate's key}, 'pair', 'mtls', { 'ssl.key.location' => $alien[1] }, qr/ssl\.key\.location failed: .*key values mismatch/, qr/"ssl\.certificate\.location".*"ssl\.key\.location"/ ],
	[ 'key without certificate', 'no certificate', 'mtls', { 'ssl.certificate.location' => undef }, qr/Private key check failed: .*no certificate assigned/, qr/"ssl\.certificate\.location"/ ],
	[ 'certificate that is none', 'certificate', 'mtls', { 'ssl.certificate.location' => '/etc/passwd' }, qr/ssl\.certificate\.location failed: /, qr/"ssl\.certificate\.location"/ ],
	[ 'CA that is none', 'CA', 'tls', { 'ssl.ca.location' => '/etc/passwd' }, qr/ssl\.ca\.location failed: /, qr/"ssl\.ca\.location"/ ],
	[ 'no mechanism', 'Kerberos', undef, { 'sasl.mechanism' => undef }, qr/Invalid sasl\.kerberos\.|No provider for SASL mechanism GSSAPI/, qr/"sasl\.mechanism"/ ],
	[ 'unknown mechanism', 'unknown mechanism', undef, { 'sasl.mechanism' => 'FOO' }, qr/Unsupported SASL mechanism: FOO/, qr/"sasl\.mechanism"/ ],
	[ 'no password', 'no login', undef, { 'sasl.password' => undef }, qr/sasl\.username and sasl\.password must be set/, qr/"sasl\.password"/ ],
	[ 'no user', 'no login', 'both', { 'sasl.username' => undef }, qr/sasl\.username and sasl\.password must be set/, qr/"sasl\.username"/ ],
	[ 'OAUTHBEARER without a token endpoint', 'no tokens', undef, \%oidc, qr/OAUTHBEARER/, qr/"sasl\.oauthbearer\.method"/ ],
	[ 'unknown property', 'property', 'tls', { 'no.such.property' => 1 }, $line, qr/librdkafka/, qr/"no\.such\.property"/ ],
	[ 'wrong value', 'value', 'tls', { 'security.protocol' => 'foo' }, $line, qr/server log/, qr/"security\.protocol".*foo/ ],
	[ 'property of ours', 'ours', 'tls', { 'group.id' => 'foo' }, $line, qr/./, qr/"group\.id"/ ],
	[ 'line without =', 'syntax', 'tls', sub { append_to_file("$_[0]/kafka.conf", "foo\n") }, qr/ 3 .*"rappel_conso\.kafka_config_file"/, qr/^$/ ],
	[ 'file that others can read', 'mode', 'tls', sub { chmod(0644, "$_[0]/kafka.conf") }, qr/"rappel_conso\.kafka_config_file" names has/, qr/\b0600\b/ ],
	[ 'no such file', 'no file', 'tls', sub { unlink("$_[0]/kafka.conf") }, qr/"rappel_conso\.kafka_config_file".*: No such file or directory/, qr/server log/, qr/kafka\.conf/ ],
	# files are opened by the server, whose error this is
	(map { [ "missing file of $_", 'missing', 'mtls', { $_ => '/nowhere/secret.pem' }, qr/$line.*: No such file or directory/, qr/server log/, qr{"\Q$_\E".*"/nowhere/secret\.pem"} ] }
		qw(ssl.ca.location ssl.certificate.location ssl.key.location)));
push @start, [ 'OIDC that librdkafka lacks', 'build', 'both', { %oidc, 'sasl.oauthbearer.method' => 'oidc' }, $line, qr/\blibcurl\b.*"LD_LIBRARY_PATH".*"sasl\.mechanism"/, qr/"sasl\.oauthbearer\.method".*not supported in this build/ ]
  if $unsupported;

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
push @away, [ 'SCRAM', 'login', 'scram', {}, qr/$refused.*SCRAM/, qr/\blibrdkafka \Q$version\E\b.*\bSCRAM\b.*\bKafka 3\.8\.1\b.*\b2\.6\.1\b.*$login/ ]
  if version->parse($version) < version->parse('2.6.1');

# What the message says before librdkafka's words tells causes apart: it is one
# text for each cause.
my %told;

# Have each of the servers meet a case; then all is well again.
sub meet
{
	my ($state, $nodes, @cases) = @_;
	my @at = map { $_->log_position } @$nodes;

	foreach my $i (0 .. $#cases)
	{
		my ($name, $cause, $listener, $change) = @{ $cases[$i] };
		my $each = $nodes->[$i];

		$each->use_listener($kafka, $listener, ref $change eq 'HASH' ? %$change : ());
		next unless ref $change eq 'CODE';
		$change->($each->basedir);
		$each->reload;
	}
	foreach my $i (0 .. $#cases)
	{
		my ($name, $cause, undef, undef, $words, $hint, $logged) = @{ $cases[$i] };
		my $told = $nodes->[$i]->is_told("M3: $name", 's', $state, $words, $hint);

		unlike($told, qr{/etc/|/nowhere|\.pem|kafka\.conf}, "M3: $name: no path for whoever asks") if $state eq $failed;
		ok($nodes->[$i]->times_logged('F0000', 'DETAIL', $logged, $at[$i]), "M3: $name: the log has it") if $logged;
		# what a broker or librdkafka says is behind a colon; words of ours may not be
		$words = $state eq $failed ? qr/(?:: )?$words/ : qr/: $words/;
		push @{ $told{ ($told =~ s/$words.*//sr) =~ s/"127[^"]*"//r } }, $cause;
	}
	$_->use_listener($kafka, 'tls') foreach @$nodes;
	all_go_on('C7: after it, ' . join(', ', map { $_->[0] } @cases), @$nodes);
	return;
}

foreach my $kind ([ $failed, @start ], [ $waiting, @away ])
{
	my ($state, @cases) = @$kind;

	while (my @round = splice(@cases, 0, scalar(@nodes)))
	{
		meet($state, [ @nodes[ 0 .. $#round ] ], @round);
	}
}
foreach my $text (sort keys %told)
{
	my %causes = map { $_ => 1 } @{ $told{$text} };

	is(scalar(keys %causes), 1, "M3: one cause only is told so: $text");
}
my %causes = map { $_->[1] => 1 } @start, @away;
is(scalar(keys %told), scalar(keys %causes), 'M3: and each of them in one way');

# ---- a run and the outbox say the same ----

$node->use_listener($kafka, 'mtls', 'ssl.key.password' => 'x');
my $session = $node->start_session(q{SELECT rc_sync_now()})->finish;

is($session->{sqlstate}, 'F0000', 'M3: a run: SQLSTATE');
like($session->{message}, qr/ssl\.key\.location failed: /, 'M3: a run: message');
like($session->{hint} // '', qr/"ssl\.key\.password"/, 'M3: a run: hint');
$node->sql(q{SELECT rc_publish('out', 'null'::jsonb)});
$node->becomes_true('M3: the outbox: SQLSTATE, message, hint', q{
	SELECT state = 'waiting' AND sqlstate = 'F0000' AND error ~ 'ssl[.]key[.]location failed' AND hint ~ '"ssl[.]key[.]password"' FROM rappel_conso.outbox_state});
like($node->sql(q{SELECT last_error FROM rc_status() WHERE component IN ('outbox', 'stream') AND state IN ('failed', 'waiting')}),
	qr/ssl\.key\.location failed.*\nHINT: .*"ssl\.key\.password"(?s:.*)ssl\.key\.location failed.*\nHINT: .*"ssl\.key\.password"/, 'M3: rc_status() has it of both');

# A run waits for brokers for half a minute, or until the file is another one.
my $at = $node->log_position;
$node->use_listener($kafka, undef, 'sasl.password' => 'x');
$node->sql(q{UPDATE rappel_conso.source SET retries = 0});
$session = $node->start_session(q{SELECT rc_sync_now()});
$node->wait_logged('08006', 'WARNING', qr/SASL authentication error/, $at);
append_to_file($node->basedir . '/kafka.conf', "# another\n");
$session->finish;
is($session->{sqlstate}, '08006', 'M3: a run: SQLSTATE');
like($session->{message}, $refused, 'M3: a run: message');
like($session->{hint} // '', $login, 'M3: a run: hint');
$node->use_listener($kafka, 'both');
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'C7: and succeeds when it is fixed');
$node->becomes_true('C7: the outbox, too', 'NOT EXISTS (SELECT FROM rappel_conso.outbox)');

# ---- no secret anywhere ----

foreach my $each (@nodes)
{
	unlike($each->all_shown, qr/\Q$password\E|of the key|PRIVATE KEY/, 'no secret in what ' . $each->name . ' shows, logs and dumps');
}

done_testing();
