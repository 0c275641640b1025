# 038_consumer_groups.pl
#     From an existing consumer to a stream, and beside it: where its group
#     stands (start_at), under which name our offsets are shown (group_id); and
#     the settings of topics that the extension makes (topic_config).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use IPC::Run;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka(plain => 1, acls => 1);
my $node = new_node(
	'main',
	api => $api,
	kafka => $kafka,
	preload => 1,
	start => 0,
	conf => "max_worker_processes = 20\n");

$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '" . $kafka->config_file . "'\n");
$node->start;
$node->create_extension(api => $api, source => { retries => 0, paused => 'true' });
$node->sql('UPDATE rappel_conso.stream SET paused = true');
$kafka->acl('add', 'app', 'all', 'topic', 't', '--prefix');

# Set where a group stands: "topic,partition,offset" each.
sub set_group
{
	my ($group, @offsets) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/offsets.csv';

	append_to_file($file, join("\n", @offsets) . "\n");
	$kafka->tool('consumer.group.ConsumerGroupCommand', '--group', $group, '--reset-offsets', '--from-file', $file, '--execute');
	return;
}

# Where it stands in t_in: "partition:offset ..".
sub group_stands
{
	my ($group) = @_;
	my $text = $kafka->tool('consumer.group.ConsumerGroupCommand', '--describe', '--group', $group, '--offsets');

	return join(' ', sort map { /^\Q$group\E\s+t_in\s+(\d+)\s+(\d+)/ ? "$1:$2" : () } split(/\n/, $text));
}

# What the group shows in the end: a commit is skipped while another one is in
# progress, and made up for within seconds.
sub group_shows
{
	my ($group, $offsets, $name) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $stands = '';

	$stands = group_stands($group) until $stands eq $offsets || time() > $end;
	is($stands, $offsets, $name);
	return;
}

sub values_of { return $node->sql("SELECT string_agg(value, ' ' ORDER BY value) FROM $_[0]"); }

# A stream that stores what it reads in a table of its name.
sub stream
{
	my ($name, %columns) = @_;

	$node->sql("CREATE TABLE $name (value text)");
	$node->add_stream($name, value_type => "'text'",
		statement => "'INSERT INTO public.$name SELECT value FROM records'", %columns);
	return;
}

foreach my $topic ('t_in', 't_other')
{
	$kafka->create_topic($topic, partitions => 3);
	foreach my $p (0 .. 2)
	{
		$kafka->produce_many($topic, [ map { [ 'k', "$p-$_" ] } 0 .. 4 ], '-p', $p);
	}
}
set_group('old', 't_in,0,2', 't_in,1,5');

#
# start_at = 'group:NAME'
#

# Nothing of the group may be seen yet.
stream('follower', topics => "'{t_in}'", start_at => "'group:old'");
$node->wait_state('follower', 'failed 42501');
like($node->sql(q{SELECT error || '|' || hint FROM rappel_conso.stream_state WHERE stream = 'follower'}),
	qr/"old".*"t_in".*uthorization failed\|.*\bdescribe the group/, 'without the right to see the group: message and hint');
is($node->sql(q{SELECT count(*) FROM rappel_conso.stream_offset WHERE stream = 'follower'}), '0', 'nothing is begun');
$kafka->acl('add', 'app', 'describe', 'group', 'old');
$node->wait_applied('follower', 15);
is(values_of('follower'), '0-2 0-3 0-4 2-0 2-1 2-2 2-3 2-4', 'a stream begins where the group stands; where it has no offset, at the earliest record');

set_group('old', 't_in,0,0', 't_in,1,0', 't_in,2,0');
$node->restart;
is($node->sql(q{SELECT applied FROM rc_drain('follower', '60 s')}), '0', 'the group is read once only');
$kafka->produce('t_in', 'k', '0-5', undef, '-p', 0);
$node->wait_applied('follower', 16);

# A topic that the group has not read, and a group that there is not.
$node->sql(q{UPDATE rappel_conso.stream SET topics = '{t_in,t_other}' WHERE name = 'follower'});
$node->wait_state('follower', 'failed 42704');
like($node->sql(q{SELECT error || '|' || hint FROM rappel_conso.stream_state WHERE stream = 'follower'}),
	qr/"old".*"t_other"\|.*start_at/, 'a topic in which the group has no offset: message and hint');
$node->sql(q{UPDATE rappel_conso.stream SET start_at = 'latest' WHERE name = 'follower'});
$node->wait_state('follower', 'running');
$kafka->acl('add', 'app', 'describe', 'group', 'nobody');
stream('lost', topics => "'{t_in}'", start_at => "'group:nobody'");
is($node->sqlstate_of(q{SELECT rc_drain('lost', '60 s')}), '42704', 'no such group');
$node->sql(q{SELECT rc_seek('lost', 'earliest')});
$node->wait_applied('lost', 16);
is(scalar(split(' ', values_of('lost'))), 16, 'which rc_seek() answers');

#
# group_id
#

stream('shown', topics => "'{t_in}'", start_at => "'group:old'", group_id => "'app.shown'");
$node->wait_state('shown', 'failed 42501');
like($node->sql(q{SELECT error || '|' || hint FROM rappel_conso.stream_state WHERE stream = 'shown'}),
	qr/"app\.shown".*uthorization failed\|.*\bread the group/, 'without the right to use the group: message and hint');
is(values_of('shown'), '', 'nothing is applied');
$kafka->acl('add', 'app', 'read', 'group', 'app', '--prefix');
$node->wait_applied('shown', 16);
$node->becomes_true('with it, it goes on', q{SELECT state = 'running' FROM rappel_conso.stream_state WHERE stream = 'shown'});
group_shows('app.shown', '0:6 1:5 2:5', 'the offsets are shown in the group');
is($node->sql(q{SELECT applied FROM rc_drain('shown', '60 s')}), '0', 'and are not read from it');

# Somebody else becomes a member of a group, and reads a topic.
my $read;

sub join_group
{
	my ($group, $topic) = @_;
	my ($in, $err) = ('', '');
	my $member = IPC::Run::start([ 'kcat', '-b', $kafka->open_brokers, '-u', '-G', $group, $topic // 't_other' ],
		'<', \$in, '>', \$read, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	$read = '';
	$member->pump until $err =~ /assigned/;
	return $member;
}

my $position = $node->log_position;
my $member = join_group('app.busy');
stream('intruder', topics => "'{t_in}'", group_id => "'app.busy'");
$node->becomes_true('a group that has members is refused, and waited for',
	q{SELECT state = 'waiting' AND detail LIKE '%"app.busy"%' FROM rappel_conso.stream_state WHERE stream = 'intruder'});
ok($node->times_logged('55006', 'ERROR', qr/consumer group "app\.busy"/, $position), 'SQLSTATE');
is(values_of('intruder'), '', 'nothing is applied meanwhile');
$node->sql(q{UPDATE rappel_conso.stream SET group_id = 'app.other' WHERE name = 'intruder'});
$node->wait_applied('intruder', 16);
pass('another group is used at once');
$kafka->produce('t_in', 'k', '0-6', undef, '-p', 0);
$node->wait_applied('intruder', 17);
group_shows('app.other', '0:7 1:5 2:5', 'and shows the offsets');

$node->sql(q{UPDATE rappel_conso.stream SET group_id = 'app.busy' WHERE name = 'intruder'});
$node->wait_state('intruder', 'waiting');
$member->kill_kill;
$node->wait_state('intruder', 'running');
group_shows('app.busy', '0:7 1:5 2:5', 'when the members have gone, it goes on');

# Somebody joins while it runs: records are applied all the same.
$member = join_group('app.busy');
my $next = 17;
do
{
	$kafka->produce('t_in', 'k', "0-$next", undef, '-p', 0);
	$node->wait_applied('intruder', ++$next);
} until $node->times_logged('55006', 'WARNING', qr/"intruder".*"app\.busy"/, $position);
pass('a member that joins later does not stop the stream, which warns');
$member->kill_kill;

# Nor does a right that is taken away while it runs.
$kafka->acl('remove', 'app', 'read', 'group', 'app', '--prefix');
do
{
	$kafka->produce('t_in', 'k', "0-$next", undef, '-p', 0);
	$node->wait_applied('shown', ++$next);
} until $node->times_logged('42501', 'WARNING', qr/"shown".*"app\.shown".*uthorization failed/, $position);
pass('a right that is taken away later does not stop the stream, which warns');
$kafka->acl('add', 'app', 'read', 'group', 'app', '--prefix');

# To take a group over: its members go on until they stop, the stream after that.
set_group('app.old', 't_in,0,0', 't_in,1,5', 't_in,2,5');
$member = join_group('app.old', 't_in');
stream('heir', topics => "'{t_in}'", start_at => "'group:app.old'", group_id => "'app.old'");
$node->wait_state('heir', 'waiting 55006');
is($node->sql(q{SELECT count(*) FROM rappel_conso.stream_offset WHERE stream = 'heir'}), '0', 'nothing is begun while the group has members');
$kafka->produce('t_in', 'k', "0-$next", undef, '-p', 0);
$member->pump until $read =~ /^0-$next$/m;
$member->kill_kill;
$node->wait_state('heir', 'running');
$kafka->produce('t_in', 'k', '0-heir', undef, '-p', 0);
$node->wait_for('the record after it', q{SELECT count(*) > 0 FROM heir WHERE value = '0-heir'});
is(values_of('heir'), '0-heir', 'a group is taken over where its members have ended');

# A group that is none of consumers.  To make one takes long.
if ($ENV{RAPPEL_CONSO_ALL})
{
	eval { $kafka->tool('consumer.ConsoleShareConsumer', '--topic', 't_other', '--group', 'app.share', '--timeout-ms', '5000') };
	$node->sql(q{UPDATE rappel_conso.stream SET group_id = 'app.share' WHERE name = 'heir'});
	$node->wait_state('heir', 'failed 42809');
	pass('a share group is refused');
	$node->sql(q{UPDATE rappel_conso.stream SET group_id = NULL WHERE name = 'heir'});
	$node->wait_state('heir', 'running');
}

#
# Both are a superuser's to set.
#

$node->sql(q{
	CREATE ROLE alice LOGIN; CREATE SCHEMA AUTHORIZATION alice; CREATE TABLE alice.t (v text); ALTER TABLE alice.t OWNER TO alice;
	GRANT USAGE ON SCHEMA rappel_conso TO alice;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream TO alice;
	INSERT INTO rappel_conso.topic_grant VALUES ('alice', 't_in', true, true);
	INSERT INTO rappel_conso.stream (name, topics, statement, paused, owner, start_at, group_id)
	VALUES ('hers', '{t_in}', 'INSERT INTO alice.t SELECT key FROM records', true, 'alice', 'group:old', 'app.hers')});
my $hers = q{INSERT INTO rappel_conso.stream (name, topics, paused, statement, start_at, group_id) VALUES ('new', '{t_in}', true, 'INSERT INTO alice.t SELECT key FROM records', %s, %s)};
foreach my $sql (
	sprintf($hers, q{'group:old'}, 'NULL'),
	sprintf($hers, 'DEFAULT', q{'app.hers'}),
	sprintf($hers, 'DEFAULT', 'DEFAULT') . q{ ON CONFLICT (name) DO NOTHING; UPDATE rappel_conso.stream SET start_at = 'group:app.hers' WHERE name = 'new'},
	q{UPDATE rappel_conso.stream SET start_at = 'group:other' WHERE name = 'hers'},
	q{UPDATE rappel_conso.stream SET group_id = 'app.shown' WHERE name = 'hers'})
{
	like($node->outcome_as('alice', $sql), qr/42501: .*consumer group/, "a role that is no superuser: $sql");
}
is($node->outcome_as('alice', q{UPDATE rappel_conso.stream SET batch_size = 5 WHERE name = 'hers'}), '', 'what a superuser has set stays in other changes');
is($node->outcome_as('alice', q{UPDATE rappel_conso.stream SET group_id = NULL, start_at = 'latest' WHERE name = 'hers'}), '', 'and may be given up');

#
# source.topic_config
#

my %source = (api => $api, key_field => "'numero_fiche'");
$node->make_source('short', %source, topic => "'t_short'", topic_config => "'{retention.ms=3600000,cleanup.policy=compact,max.message.bytes=2000000}'");
my $run = $node->start_session(q{SELECT state FROM rc_sync_now('short')})->finish;
unlike($run->{err}, qr/WARNING/, 'a topic is made with the settings');
$node->make_source('same', %source, topic => "'t_short'",
	topic_config => "'{retention.ms=3600001,max.message.bytes=2000000,cleanup.policy=Compact,no.such=1}'");
$run = $node->start_session(q{SELECT state FROM rc_sync_now('same')})->finish;
like($run->{err}, qr/WARNING:.*"t_short".*"same".*\nDETAIL:.*"retention\.ms".*"3600000".*"3600001".*"no\.such".*\nHINT/s, 'where it has others, a run warns');
unlike($run->{err}, qr/DETAIL:.*(?:max\.message|cleanup)/, 'of those that differ');
$node->make_source('wrong', %source, topic => "'t_wrong'", topic_config => "'{retention.ms=soon}'");
$run = $node->start_session(q{SELECT rc_sync_now('wrong')})->finish;
is($run->{sqlstate}, '22023', 'a value that the broker rejects: SQLSTATE');
like($run->{message}, qr/"t_wrong".*retention\.ms/, "in the broker's words");
like($run->{hint}, qr/topic_config/, 'and a hint');

# They repeat the value, and are cut: somewhere within a character of two bytes.
foreach my $n (0, 1)
{
	$node->sql("UPDATE rappel_conso.source SET topic_config = ARRAY['retention.ms=' || repeat('a', $n) || repeat(chr(233), 2000)] WHERE name = 'wrong'");
	is($node->sqlstate_of(q{SELECT rc_sync_now('wrong')}), '22023', 'a long value that the broker rejects');
}
is($node->sql(q{SELECT count(*) FROM rappel_conso.run WHERE source = 'wrong' AND convert_from(convert_to(error, 'UTF8'), 'UTF8') <> ''}), '3', 'what is stored of the words is text');

done_testing();
