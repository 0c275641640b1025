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

sub add_seeing_stream
{
	my ($name, $topic, %columns) = @_;
	my @names = sort keys %columns;

	$node->sql("INSERT INTO rappel_conso.stream (" . join(', ', 'name', 'topics', 'value_type', 'statement', @names) . ")
	       VALUES (" . join(', ', "'$name'", "'{$topic}'", "'text'",
			"'INSERT INTO public.seen SELECT ''$name'', value, partition FROM records'", @columns{@names}) . ")");
	return;
}

sub alive { return "(SELECT count(rappel_conso.worker_pid('stream', '$_[0]', n)) FROM generate_series(0, 63) n)"; }

$node->sql('CREATE TABLE seen (stream text, value text, partition integer)');
$node->sql("UPDATE rappel_conso.stream SET paused = true");

#
# D4: workers beyond the partitions
#

$kafka->create_topic('two', partitions => 2);
add_seeing_stream('wide', 'two', workers => 64);
$node->becomes_true('D4: 64 workers on two partitions are two', alive('wide') . ' = 2');
$kafka->produce('two', 'k', "to $_", [], '-p', $_) foreach (0, 1);
$node->becomes_true('which read both', "SELECT count(*) = 2 FROM seen WHERE stream = 'wide'");
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE $streams"), 2, 'D4: there are no others');
like($node->status_of('stream', name => 'wide'), qr/^running: \D*\b2\D+2\b/, 'D4: and rc_status() expects no others');

# partitions that come later have a worker of their own
$kafka->enlarge_topic('two', 4);
$node->becomes_true('D4: two partitions more are two workers more', alive('wide') . ' = 4');
$kafka->produce('two', 'k', "to $_", [], '-p', $_) foreach (2, 3);
$node->becomes_true('which read them', "SELECT count(*) = 4 FROM seen WHERE stream = 'wide'");
$node->sql("UPDATE rappel_conso.stream SET workers = 3 WHERE name = 'wide'");
$node->becomes_true('fewer are wanted', alive('wide') . ' = 3');
$kafka->produce('two', 'k', "again to $_", [], '-p', $_) foreach (0 .. 3);
$node->becomes_true('and share them', "SELECT count(*) = 4 FROM seen WHERE stream = 'wide' AND value ~ 'again'");

#
# D4: the most of a role
#

$node->sql(<<~'EOC');
	CREATE ROLE greedy LOGIN;
	GRANT INSERT ON seen TO greedy;
	INSERT INTO rappel_conso.topic_grant VALUES ('greedy', '*', true, true);
	EOC
add_seeing_stream("greedy$_", 'two', owner => "'greedy'") foreach (1 .. 4);
$node->becomes_true('D4: a role gets two workers', "SELECT count(*) = 2 FROM pg_stat_activity WHERE $streams AND usename = 'greedy'");
my $limited = "SELECT count(*) FROM rc_status() WHERE component = 'stream'
                AND detail ~ '\"greedy\".*rappel_conso.workers_per_owner.*2'";
$node->becomes_true('D4: what waits says so', "($limited) = 2");
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE $streams AND usename = 'greedy'"), 2, 'and nothing more');
$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name IN (SELECT name FROM rc_status()
       WHERE component = 'stream' AND state = 'running' AND name LIKE 'greedy%')");
$node->becomes_true('D4: when two are paused the others get their workers', "SELECT count(*) = 2 FROM rc_status() WHERE component = 'stream' AND name LIKE 'greedy%' AND state = 'running'");
$node->append_conf('postgresql.conf', "rappel_conso.workers_per_owner = 0\n");
$node->reload;
$node->sql("UPDATE rappel_conso.stream SET paused = false WHERE name LIKE 'greedy%'");
$node->becomes_true('D4: half of all by default', "SELECT count(*) = 4 FROM pg_stat_activity WHERE $streams AND usename = 'greedy'");
$node->sql("DELETE FROM rappel_conso.stream WHERE name LIKE 'greedy%'");

#
# D5: who waits for a topic
#

add_seeing_stream("absent$_", 'absent') foreach (1 .. 6);
$node->becomes_true('D5: streams wait for a topic', "SELECT count(*) = 6 FROM rc_status() WHERE component = 'stream' AND name LIKE 'absent%'
          AND state = 'waiting' AND detail ~ '\"absent\"'");
$node->becomes_true('D5: without a process', "SELECT count(*) = 0 FROM pg_stat_activity WHERE $streams AND application_name ~ 'absent'");
$node->make_source('absent', api => $api, topic => "'absent'");
$node->sql("UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream LIKE 'absent%'");
is($node->sql("SELECT state FROM rc_sync_now('absent')"), 'success', 'a run makes the topic');
$node->becomes_true('D5: and they go on at once, whenever they were due', "SELECT count(*) = 6 * 300 FROM seen WHERE stream LIKE 'absent%'");
$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name LIKE 'absent%'");
add_seeing_stream('heard', 'heard');
$node->becomes_true('another one waits for a topic', "SELECT state = 'waiting' AND retry_at IS NOT NULL FROM rappel_conso.stream_state WHERE stream = 'heard'");
$node->sql("UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream = 'heard'");
$node->sql("SELECT rc_publish('heard', 'first'::text)");
$node->becomes_true('D5: which the publisher makes', "SELECT count(*) = 1 FROM seen WHERE stream = 'heard' AND value = 'first'");
$node->sql("DELETE FROM rappel_conso.stream WHERE name = 'heard'");

#
# D4: a slot for runs
#

# launchers of ours and of logical replication, the scheduler, and 3 of 4 others
add_seeing_stream("many$_", 'two') foreach (1 .. 6);
$node->sql("INSERT INTO rappel_conso.source (name, dataset, url, key_field, topic, retries)
       VALUES ('free', '${\DATASET}', '${\$api->url}', 'numero_fiche', 'free', 0)");
$node->append_conf('postgresql.conf', "max_worker_processes = 7\n");
$node->restart;
$node->becomes_true('as many stream workers as there may be', "SELECT count(*) = 3 FROM pg_stat_activity WHERE $streams");
$node->becomes_true('D4: the last slot is kept free', "SELECT count(*) > 0 FROM rc_status() WHERE component = 'stream' AND state = 'waiting'
           AND detail ~ 'max_worker_processes'");
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE $streams"), 3, 'and stays free');
is($node->sql(q{SELECT state FROM rc_sync_now('free')}), 'success', 'D4: a run finds it');

# somebody else takes it
$node->sql('CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION rappel_conso; SELECT rc_start()');
my $place = $node->log_position;
$node->becomes_true('all slots are taken', "SELECT count(*) = 3 FROM pg_stat_activity WHERE $streams");
my $workers = $node->sql("SELECT string_agg(pid::text, '|') FROM pg_stat_activity WHERE $streams");
# nobody makes room for a moment
my $scheduler = $node->freeze_scheduler;
my $call = $node->start_session(q{SELECT state FROM rc_sync_now('free', full_sync => true)});
$node->becomes_true('it is seen to wait for a slot', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'rc_sync_now' AND ${\$node->waits_in('WorkerSlot')}");
kill('CONT', $scheduler);
is($call->finish->{out}, 'success', 'D4: a run that somebody waits for finds a slot then, too');
is(scalar(grep { /\] LOG:  (?!background worker ").*\b(?:$workers)\b/ } split(/\n/, $node->log_since($place))), 1, 'which a stream has given it');
$node->becomes_true('the other streams go on', "SELECT count(*) >= 2 FROM pg_stat_activity WHERE $streams");
my $id = $node->sql(q{SELECT rc_trigger('free', full_sync => true)});
is($node->sql("SELECT state FROM rc_wait($id, '1 minute')"), 'success', 'D4: and so does one that was asked for');
$node->sql("UPDATE rappel_conso.source SET poll_interval = '1 second', full_interval = '1 second' WHERE name = 'free'");
$node->becomes_true('D4: and one that is due', "SELECT count(*) > 0 FROM rappel_conso.run WHERE id > $id AND state = 'success' AND trigger = 'schedule'");
$node->sql("UPDATE rappel_conso.source SET poll_interval = NULL");
$kafka->produce('two', 'k', 'last');
$node->becomes_true('streams still work', "SELECT count(*) > 0 FROM seen WHERE value = 'last' AND stream LIKE 'many%'");

done_testing();
