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

# ---- the least rights: the lines of docs/kafka-security.md, and each one of them ----

my $page = slurp_file("$RappelConso::top/docs/kafka-security.md");
my @rights = map { [ lc $_->[0], @$_[ 1 .. 3 ] ] } map { [ /--operation (\w+) --(topic|group) (\S+)( --resource-pattern-type prefixed)?$/ ] }
  grep { /--add --allow-principal User:app / } $page =~ /^\s+kafka-acls (.*)$/mg;

sub change_right
{
	my ($action, $operation, $kind, $name, $prefix) = @_;

	return $kafka->acl($action, 'app', $operation, $kind, $name, $prefix ? '--prefix' : ());
}

is(join(' ', sort map { "$_->[0]:$_->[2]" } @rights),
	'create:invoices create:rappel_conso read:orders read:rappel_conso read:rappel_conso. write:invoices write:rappel_conso', 'the lines of the page');
$kafka->acl('remove', 'app', 'all,read,write,describe', 'topic', $_) foreach ('rappel_conso', 'other');
$kafka->create_topic('orders');
$node->sql('CREATE TABLE seen (v text)');
$node->add_stream('orders', statement => q{'INSERT INTO seen SELECT value FROM records'});
change_right('add', @$_) foreach grep { $_->[0] ne 'create' } @rights;

my $sent = 0;

sub consumed
{
	my ($what) = @_;

	$kafka->produce('orders', undef, ++$sent);
	$node->becomes_true("$what: a stream consumes", qq{
		EXISTS (SELECT FROM seen WHERE v = '$sent') AND (SELECT state FROM rappel_conso.stream_state WHERE stream = 'orders') = 'running'});
	return;
}

sub run_succeeds
{
	my ($what) = @_;

	$node->sql('UPDATE rappel_conso.source SET fold_accents = NOT fold_accents');
	is($node->sql('SELECT state FROM rc_sync_now()'), 'success', "$what: a source publishes and its stream consumes");
	return;
}

# Without a right of the publisher its message waits, and then goes by itself.
sub waits_for
{
	my ($operation, $hint) = @_;

	$node->sql(q{SELECT rc_publish('invoices', '{}'::jsonb)});
	$node->becomes_true("without $operation: the outbox says what is missing", qq{
		EXISTS (SELECT FROM rappel_conso.outbox_topic WHERE topic = 'invoices' AND sqlstate = '42501' AND error ~ '"invoices"' AND hint ~* '$hint')});
	is($node->sql(q{SELECT state FROM rc_status() WHERE component = 'topic' AND name = 'invoices'}), 'waiting', "without $operation: rc_status()");
	change_right('add', @$_) foreach grep { $_->[0] eq $operation && $_->[2] eq 'invoices' } @rights;
	$node->becomes_true("with $operation it is published", 'NOT EXISTS (SELECT FROM rappel_conso.outbox)');
	return;
}

consumed('the lines');
waits_for('create', 'create');
change_right('remove', 'write', 'topic', 'invoices');
waits_for('write', 'write');
$kafka->acl('add', 'app', 'create', 'topic', 'rappel_conso');
run_succeeds('the lines');

change_right('remove', 'read', 'topic', 'orders');
$kafka->produce('orders', undef, ++$sent);
$node->is_told('without read', 'orders', 'failed 42501', qr/Topic authorization failed/, $read);
change_right('add', 'read', 'topic', 'orders');
$node->sql(q{SELECT pg_reload_conf()});
consumed('with read again');

change_right('remove', 'write', 'topic', 'rappel_conso');
$node->sql('UPDATE rappel_conso.source SET fold_accents = NOT fold_accents');
is_refused('a source without write', 'SELECT rc_sync_now()', qr/"rappel_conso": .*Topic authorization failed/, $write);
change_right('add', 'write', 'topic', 'rappel_conso');
run_succeeds('with write again');

# The group is for display only.
like($kafka->tool('consumer.group.ConsumerGroupCommand', '--describe', '--all-groups'), qr/^rappel_conso\.\S+\.orders\s+orders\s+0\s+$sent\s/m, q{Kafka's own tool shows the stream});
change_right('remove', 'read', 'group', 'rappel_conso.', 1);
consumed('without read on the group');

done_testing();
