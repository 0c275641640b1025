# 033_kafka_acl.pl
#     Rights on a Kafka cluster that a user lacks: who waits, what is told,
#     and that everything goes on by itself when the right is there (M7).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();
my $api = start_api();
my $kafka = start_kafka(plain => 1, acls => 1);
my $node = new_node('main', api => $api, kafka => $kafka, preload => 1, start => 0, conf => "max_worker_processes = 20\n");

$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '" . $kafka->config_file . "'\n");
$node->start;
$node->create_extension(api => $api, source => { retries => 0 });

sub is_refused
{
	my ($name, $sql, $message, $hint) = @_;
	my $session = $node->start_session($sql)->finish;

	is($session->{sqlstate}, '42501', "$name: SQLSTATE");
	like($session->{message}, $message, "$name: message");
	like($session->{hint} // '', $hint, "$name: hint");
	return;
}

# ---- a run ----

# The hint names the operation that has to be allowed, and no other.
my ($read, $write) = (qr/^(?!.*\bwrite\b).*\bread\b/i, qr/^(?!.*\bread\b).*\bwrite\b/i);

is_refused('M7: no right on the topic', 'SELECT rc_sync_now()', qr/"rappel_conso": .*Topic authorization failed/, qr/\bread\b.*\bwrite\b/i);
$kafka->acl('add', 'app', 'describe', 'topic', 'rappel_conso');
is_refused('M7: no right to make it', 'SELECT rc_sync_now()', qr/"rappel_conso": .*uthorization failed/, qr/\bcreate\b/i);
$kafka->create_topic('rappel_conso');
is_refused('M7: no right to write', 'SELECT rc_sync_now()', qr/"rappel_conso": .*Cluster authorization failed/, $write);
$kafka->acl('add', 'app', 'write', 'topic', 'other');
is_refused('M7: a right to write elsewhere', 'SELECT rc_sync_now()', qr/"rappel_conso": .*Topic authorization failed/, $write);
$kafka->acl('add', 'app', 'write', 'topic', 'rappel_conso');

# ---- a stream ----

$node->becomes_true('M7: a stream without the right to read fails with a hint', q{SELECT state = 'failed' AND sqlstate = '42501' AND hint ~* '[^a-z]read[^a-z]' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
$kafka->acl('add', 'app', 'read', 'topic', 'rappel_conso');
is($node->sql('SELECT state FROM rc_sync_now()'), 'success', 'with the rights, and none on a group, a run succeeds');
is($node->sql('SELECT count(*) FROM rappel_conso_table'), 300, 'and its stream has applied everything');
$kafka->acl('remove', 'app', 'read', 'topic', 'rappel_conso');
$node->sql('UPDATE rappel_conso.source SET fold_accents = NOT fold_accents');
$node->becomes_true('M7: a right that is taken away while it runs', q{SELECT state = 'failed' AND sqlstate = '42501' AND hint ~* '[^a-z]read[^a-z]' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
is_refused('the run that waits for it', 'SELECT rc_sync_now()', qr/Topic authorization failed/, $read);
$kafka->acl('add', 'app', 'read', 'topic', 'rappel_conso');
is($node->sql('SELECT state FROM rc_sync_now()'), 'success', 'C7: a run tries the failed stream, and does not repeat what is over');
$node->becomes_true('the stream runs', q{SELECT state = 'running' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});

done_testing();
