# 034_kafka_secret_rotation.pl
#     Secrets of Kafka that change while workers run: they are taken without
#     a restart, with a reload and without (C7).

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
	acls => 1,
	listeners => { mtls => 'mtls', tls => 'tls,plain' });

$kafka->acl('add', $_, 'all', 'topic', '*') foreach ('app', 'other');

my $node = new_node(
	'main',
	api => $api,
	preload => 1,
	start => 0,
	conf => "max_worker_processes = 20\nlog_min_messages = debug1\n");
my $file = $node->basedir . '/kafka.conf';
my %app = %{ $kafka->config };

$kafka->write_config($file, \%app);
$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '$file'\n");
$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '" . $kafka->brokers . "'\n");
$node->start;
$node->create_extension(api => $api);
$node->sql(q{
	CREATE TABLE t (v text);
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'INSERT INTO t SELECT value FROM records')});

# The stream waits, with librdkafka's words.
sub wait_waiting
{
	my ($why) = @_;

	$node->becomes_true("waits: $why", "SELECT state = 'waiting' AND detail ~ '$why' FROM rappel_conso.stream_state WHERE stream = 's'");
	return;
}

# A record goes in, is applied, and the stream runs.
my $sent = 0;

sub goes_on
{
	my ($what) = @_;

	$kafka->produce('t', undef, '"' . ++$sent . '"');
	$node->becomes_true($what, qq{
		SELECT (SELECT count(*) FROM t) = $sent AND
		       (SELECT state FROM rappel_conso.stream_state WHERE stream = 's') = 'running'});
	return;
}

sub published
{
	my ($what) = @_;

	$node->sql(q{SELECT rc_publish('out', 'null'::jsonb)});
	$node->becomes_true($what, 'SELECT NOT EXISTS (SELECT FROM rappel_conso.outbox)');
	return;
}

# The worker opens a new client; the process stays the same.
sub pid { return $node->sql(q{SELECT rappel_conso.worker_pid('stream', 's')}); }

# ---- another user in the file, while all is well ----

$kafka->produce('t', undef, '"' . ++$sent . '"');
goes_on('C7: a stream runs');
published('C7: and the publisher');
$kafka->write_config($file, { %app, 'sasl.username' => 'other', 'sasl.password' => $kafka->password('other') });
$kafka->acl('remove', 'app', 'all', 'topic', '*');
goes_on('C7: another user, without a reload: the stream');
published('C7: the publisher');
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'C7: a run');
$kafka->acl('add', 'app', 'all', 'topic', '*');
my $pid = pid();

# ---- a typo, fixed ----

$kafka->write_config($file, { %app, 'sasl.password' => 'typo' });
wait_waiting('SASL authentication error');
$node->sql(q{SELECT rc_publish('out', '"kept"'::jsonb)});
$node->wait_for('outbox', q{SELECT state = 'waiting' FROM rappel_conso.outbox_state});
$kafka->write_config($file, \%app);
goes_on('C7: a password that was mended, without a reload');
$node->sql(q{UPDATE rappel_conso.source SET fold_accents = NOT fold_accents});
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'C7: a run then');
published('C7: what waited in the outbox is sent');
is($kafka->consume('out'), 4, 'once');

# ---- the password is changed at the broker ----

$kafka->change_password('app', 'renewed');
wait_waiting('SASL authentication error');
$kafka->write_config($file, { %app, 'sasl.password' => 'renewed' });
$node->reload;
goes_on('C7: a renewed password, with a reload');
published('C7: the publisher');
$app{'sasl.password'} = 'renewed';

# The other order: the file first, and nothing is told to the server.
$kafka->write_config($file, { %app, 'sasl.password' => 'third' });
wait_waiting('SASL authentication error');
$kafka->change_password('app', 'third');
goes_on('C7: a password that the broker learns later');
$app{'sasl.password'} = 'third';

# ---- another file, other brokers ----

is(pid(), $pid, 'it has been one process all the time');
my $second = $kafka->write_config($node->basedir . '/second.conf',
	{ %app, 'security.protocol' => 'sasl_ssl', 'ssl.ca.location' => $kafka->config('tls')->{'ssl.ca.location'} });
$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '$second'\n");
$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '" . $kafka->brokers('tls') . "'\n");
$node->reload;
goes_on('C7: another file and other brokers');
published('C7: the publisher');
is(pid(), $pid, 'it is the same process');

# ---- client certificates, renewed in place ----

my %mtls = %{ $kafka->config('mtls') };
my @passphrase = (passphrase => $mtls{'ssl.key.password'});

$kafka->write_config($second, \%mtls);
$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '" . $kafka->brokers('mtls') . "'\n");
$node->reload;
goes_on('C7: a client certificate');
$kafka->certificate('app', expired => 1, @passphrase);
wait_waiting('alert certificate (expired|unknown)');
$kafka->certificate('app', @passphrase);
goes_on('C7: a certificate renewed in place, which nothing else tells of');
published('C7: the publisher');

# ---- a stream that has failed ----

sub failed_for_long
{
	my ($why) = @_;

	$node->becomes_true("fails: $why", "SELECT state = 'failed' AND sqlstate = 'F0000' AND error ~ '$why' FROM rappel_conso.stream_state WHERE stream = 's'");
	# as after many failures
	$node->sql(q{UPDATE rappel_conso.stream_state SET failures = 9, retry_at = clock_timestamp() + '4 min' WHERE stream = 's' AND state = 'failed'});
	return;
}

$kafka->write_config($second, { %mtls, 'ssl.key.password' => 'typo' });
failed_for_long('ssl[.]key[.]location failed');
# the other stream meets the file later, maybe
$node->becomes_true('what a file says is tried again after 30 s at most',
	q{SELECT retry_at - last_error_at < '31 s' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso' AND state = 'failed'});
$kafka->write_config($second, \%mtls);
$node->reload;
goes_on('C7: a reload ends the backoff of a stream that has failed');

$kafka->write_config($second, { %mtls, 'sasl.mechanism' => 'FOO', 'security.protocol' => 'sasl_ssl' });
$node->becomes_true('the stream of the source fails', q{SELECT state = 'failed' AND sqlstate = 'F0000' AND error ~ 'Unsupported SASL mechanism: FOO' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
$node->sql(q{UPDATE rappel_conso.stream_state SET failures = 9, retry_at = clock_timestamp() + '4 min' WHERE state = 'failed'});
$kafka->write_config($second, \%mtls);
$node->sql(q{UPDATE rappel_conso.source SET fold_accents = NOT fold_accents});
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'C7: a run tries a failed stream, instead of repeating its old error');

done_testing();
