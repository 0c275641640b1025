# 063_worker_slots.pl
#     Worker slots: streams take no more than they have partitions for, no role
#     takes them all, who waits for a topic takes none, and runs always find one.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $api = start_api();
my $node = new_node(
	'main',
	kafka => $kafka,
	api => $api,
	preload => 1,
	conf => <<~'EOC');
	max_worker_processes = 16
	rappel_conso.workers_per_owner = 2
	EOC
my $streams = "backend_type = 'rappel_conso stream'";

sub value { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($sql, $name) = @_;

	return ok($node->poll_query_until('postgres', "SELECT ($sql)"), $name);
}

sub add_stream
{
	my ($name, $topic, %columns) = @_;
	my @names = sort keys %columns;

	value("INSERT INTO rappel_conso.stream (" . join(', ', 'name', 'topics', 'value_type', 'statement', @names) . ")
	       VALUES (" . join(', ', "'$name'", "'{$topic}'", "'text'",
			"'INSERT INTO public.seen SELECT ''$name'', value, partition FROM records'", @columns{@names}) . ")");
	return;
}

sub status_of { return value("SELECT state || ': ' || detail FROM rc_status() WHERE component = 'stream' AND name = '$_[0]'"); }

sub alive { return "(SELECT count(rappel_conso.worker_pid('stream', '$_[0]', n)) FROM generate_series(0, 63) n)"; }

value('CREATE TABLE seen (stream text, value text, partition integer)');
value("UPDATE rappel_conso.stream SET paused = true");

#
# D4: workers beyond the partitions
#

$kafka->create_topic('two', partitions => 2);
add_stream('wide', 'two', workers => 64);
wait_for(alive('wide') . ' = 2', 'D4: 64 workers on two partitions are two');
$kafka->produce('two', 'k', "to $_", [], '-p', $_) foreach (0, 1);
wait_for("SELECT count(*) = 2 FROM seen WHERE stream = 'wide'", 'which read both');
is(value("SELECT count(*) FROM pg_stat_activity WHERE $streams"), 2, 'D4: there are no others');
like(status_of('wide'), qr/^running: 2 of 2 workers/, 'D4: and rc_status() expects no others');

# partitions that come later have a worker of their own
$kafka->tool('TopicCommand', '--alter', '--topic', 'two', '--partitions', '4');
wait_for(alive('wide') . ' = 4', 'D4: two partitions more are two workers more');
$kafka->produce('two', 'k', "to $_", [], '-p', $_) foreach (2, 3);
wait_for("SELECT count(*) = 4 FROM seen WHERE stream = 'wide'", 'which read them');
value("UPDATE rappel_conso.stream SET workers = 3 WHERE name = 'wide'");
wait_for(alive('wide') . ' = 3', 'fewer are wanted');
$kafka->produce('two', 'k', "again to $_", [], '-p', $_) foreach (0 .. 3);
wait_for("SELECT count(*) = 4 FROM seen WHERE stream = 'wide' AND value ~ 'again'", 'and share them');

#
# D4: the most of a role
#

value(<<~'EOC');
	CREATE ROLE greedy LOGIN;
	GRANT INSERT ON seen TO greedy;
	INSERT INTO rappel_conso.topic_grant VALUES ('greedy', '*', true, true);
	EOC
add_stream("greedy$_", 'two', owner => "'greedy'") foreach (1 .. 4);
wait_for("SELECT count(*) = 2 FROM pg_stat_activity WHERE $streams AND usename = 'greedy'", 'D4: a role gets two workers');
my $limited = "SELECT count(*) FROM rc_status() WHERE component = 'stream'
                AND detail ~ 'role \"greedy\" has as many workers as rappel_conso.workers_per_owner allows: 2'";
wait_for("($limited) = 2", 'D4: what waits says so');
is(value("SELECT count(*) FROM pg_stat_activity WHERE $streams AND usename = 'greedy'"), 2, 'and nothing more');
value("UPDATE rappel_conso.stream SET paused = true WHERE name IN (SELECT name FROM rc_status()
       WHERE component = 'stream' AND state = 'running' AND name LIKE 'greedy%')");
wait_for("SELECT count(*) = 2 FROM rc_status() WHERE component = 'stream' AND name LIKE 'greedy%' AND state = 'running'",
	'D4: when two are paused the others get their workers');
$node->append_conf('postgresql.conf', "rappel_conso.workers_per_owner = 0\n");
$node->reload;
value("UPDATE rappel_conso.stream SET paused = false WHERE name LIKE 'greedy%'");
wait_for("SELECT count(*) = 4 FROM pg_stat_activity WHERE $streams AND usename = 'greedy'", 'D4: half of all by default');
value("DELETE FROM rappel_conso.stream WHERE name LIKE 'greedy%'");

#
# D5: who waits for a topic
#

add_stream("absent$_", 'absent') foreach (1 .. 6);
wait_for("SELECT count(*) = 6 FROM rc_status() WHERE component = 'stream' AND name LIKE 'absent%'
          AND state = 'waiting' AND detail ~ 'topic \"absent\" does not exist'", 'D5: streams wait for a topic');
wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE $streams AND application_name ~ 'absent'", 'D5: without a process');
make_source($node, 'absent', api => $api, topic => "'absent'");
value("UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream LIKE 'absent%'");
is(value("SELECT state FROM rc_sync_now('absent')"), 'success', 'a run makes the topic');
wait_for("SELECT count(*) = 6 * 300 FROM seen WHERE stream LIKE 'absent%'", 'D5: and they go on at once, whenever they were due');
value("UPDATE rappel_conso.stream SET paused = true WHERE name LIKE 'absent%'");
add_stream('heard', 'heard');
wait_for("SELECT state = 'waiting' AND retry_at IS NOT NULL FROM rappel_conso.stream_state WHERE stream = 'heard'", 'another one waits for a topic');
value("UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream = 'heard'");
value("SELECT rc_publish('heard', 'first'::text)");
wait_for("SELECT count(*) = 1 FROM seen WHERE stream = 'heard' AND value = 'first'", 'D5: which the publisher makes');
value("DELETE FROM rappel_conso.stream WHERE name = 'heard'");

#
# D4: a slot for runs
#

# launchers of ours and of logical replication, the scheduler, and 3 of 4 others
add_stream("many$_", 'two') foreach (1 .. 6);
value("INSERT INTO rappel_conso.source (name, dataset, url, key_field, topic, retries)
       VALUES ('free', '${\DATASET}', '${\$api->url}', 'numero_fiche', 'free', 0)");
$node->append_conf('postgresql.conf', "max_worker_processes = 7\n");
$node->restart;
wait_for("SELECT count(*) = 3 FROM pg_stat_activity WHERE $streams", 'as many stream workers as there may be');
wait_for("SELECT count(*) > 0 FROM rc_status() WHERE component = 'stream' AND state = 'waiting'
           AND detail ~ 'the last free worker slot is kept for runs'", 'D4: the last slot is kept free');
is(value("SELECT count(*) FROM pg_stat_activity WHERE $streams"), 3, 'and stays free');
is(value(q{SELECT state FROM rc_sync_now('free')}), 'success', 'D4: a run finds it');

# somebody else takes it
value('CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION rappel_conso; SELECT rc_start()');
my $place = -s $node->logfile;
wait_for("SELECT count(*) = 3 FROM pg_stat_activity WHERE $streams", 'all slots are taken');
is(value(q{SELECT state FROM rc_sync_now('free', full_sync => true)}), 'success', 'D4: a run that somebody waits for finds a slot then, too');
like(slurp_file($node->logfile, $place), qr/stream worker with PID \d+ gives its slot to a run/, 'which a stream has given it');
wait_for("SELECT count(*) >= 2 FROM pg_stat_activity WHERE $streams", 'the other streams go on');
my $id = value(q{SELECT rc_trigger('free', full_sync => true)});
is(value("SELECT state FROM rc_wait($id, '1 minute')"), 'success', 'D4: and so does one that was asked for');
value("UPDATE rappel_conso.source SET poll_interval = '1 second', full_interval = '1 second' WHERE name = 'free'");
wait_for("SELECT count(*) > 0 FROM rappel_conso.run WHERE id > $id AND state = 'success' AND trigger = 'schedule'", 'D4: and one that is due');
value("UPDATE rappel_conso.source SET poll_interval = NULL");
$kafka->produce('two', 'k', 'last');
wait_for("SELECT count(*) > 0 FROM seen WHERE value = 'last' AND stream LIKE 'many%'", 'streams still work');

done_testing();
