# 065_scheduler_start.pl
#     When the scheduler starts, and workers that cannot: the extension made on
#     a server that preloads the library, owners who may not connect, and no
#     free slot for a run.
#
# The brokers that are set do not exist: nothing here comes so far as to need
# them.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node(
	'main',
	preload => 1,
	extension => 0,
	conf => <<~'EOC');
	max_worker_processes = 12
	rappel_conso.databases = 'postgres, other, "Odd, One", rolled'
	EOC

sub value
{
	my ($sql, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres', $sql);
}

sub wait_for
{
	my ($sql, $name, $dbname) = @_;

	return ok($node->poll_query_until($dbname // 'postgres', "SELECT ($sql)"), $name);
}

sub status_of { return value("SELECT state || ': ' || detail FROM rc_status() WHERE component = 'scheduler'", $_[0]); }

#
# C8: at the commit of CREATE EXTENSION
#

# The launcher that would do it, too, later, does nothing now.
my $launcher = value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rappel_conso launcher'");
value('CREATE DATABASE "Odd, One"');
value('CREATE DATABASE rolled');
value('CREATE DATABASE unlisted');
kill('STOP', $launcher) == 1 or die "could not stop $launcher";
foreach my $dbname ('postgres', 'Odd, One')
{
	RappelConso::create_extension($node, dbname => $dbname, api => $api);
	wait_for("rappel_conso.worker_pid('scheduler') > 0", "C8: the scheduler of $dbname starts with the commit", $dbname);
	like(status_of($dbname), qr/^running: process \d+$/, 'and rc_status() says so');
}
value('BEGIN; CREATE EXTENSION rappel_conso; ROLLBACK', 'rolled');
value("BEGIN; SAVEPOINT a; CREATE EXTENSION rappel_conso; ROLLBACK TO a; COMMIT", 'rolled');
RappelConso::create_extension($node, dbname => 'unlisted', api => $api);
like(status_of('unlisted'), qr/^stopped: rc_start\(\) starts it; or preload/, 'C8: not in a database that is not listed');
is(value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rappel_conso scheduler'"), 2, 'nothing else was started');

value("SELECT pg_terminate_backend(rappel_conso.worker_pid('scheduler'), 10000)", 'Odd, One');
like(status_of('Odd, One'), qr/^waiting: the server starts it within a minute/, 'C8: one that ended is waited for, and rc_status() says for whom');
value('SELECT rc_stop()');
like(status_of(), qr/^stopped: rc_stop\(\) was called at .*; rc_start\(\) starts it$/, 'C8: after rc_stop() it says that');
value('SELECT rc_start()');
kill('CONT', $launcher);
wait_for("rappel_conso.worker_pid('scheduler') > 0", 'the launcher starts what ended', 'Odd, One');

#
# D8: owners who may not connect
#

value(<<~'EOC');
	CREATE TABLE t (v jsonb);
	CREATE ROLE barred LOGIN;
	GRANT INSERT ON t TO barred;
	INSERT INTO rappel_conso.topic_grant VALUES ('barred', '*', true, true);
	REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
	INSERT INTO rappel_conso.stream (name, topics, statement, owner)
	VALUES ('of_barred', '{x}', 'INSERT INTO public.t SELECT value FROM records', 'barred');
	EOC
value("INSERT INTO rappel_conso.source (name, dataset, url, stream, owner) VALUES ('of_barred', '${\DATASET}', '${\$api->url}', 'of_barred', 'barred')");
my $place = -s $node->logfile;
my $words = qr/^42501 permission denied for database "postgres"$/;
$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '127.0.0.1:1'\n");
$node->reload;
wait_for("SELECT state = 'failed' AND failures > 1 FROM rappel_conso.stream_state WHERE stream = 'of_barred'",
	'D8: a stream whose owner may not connect has failed');
like(value("SELECT sqlstate || ' ' || error FROM rappel_conso.stream_state WHERE stream = 'of_barred'"),
	$words, 'D8: with the words of the server');
like(value("SELECT state || ': ' || detail FROM rc_status() WHERE component = 'stream' AND name = 'of_barred'"),
	qr/^failed: 0 of 1 workers; tried again at /, 'D8: and rc_status() says so');

# the backoff grows
wait_for("SELECT failures >= 4 FROM rappel_conso.stream_state WHERE stream = 'of_barred'", 'it is tried again');
is(value("SELECT retry_at - last_error_at > '7 s' FROM rappel_conso.stream_state WHERE stream = 'of_barred'"), 't', 'D8: later and later');
my $log = slurp_file($node->logfile, $place);
my $tries = () = $log =~ /FATAL:  permission denied for database "postgres"/g;
is(value("SELECT failures >= $tries FROM rappel_conso.stream_state WHERE stream = 'of_barred'"), 't', 'D8: each try is counted')
  or diag("$tries tries");

my $run = value("SELECT rc_trigger('of_barred')");
wait_for("SELECT state = 'failed' FROM rappel_conso.run WHERE id = $run", 'D8: a run whose owner may not connect fails');
like(value("SELECT sqlstate || ' ' || error FROM rappel_conso.run WHERE id = $run"), $words, 'D8: with the words of the server');
value("UPDATE rappel_conso.source SET poll_interval = '1 second' WHERE name = 'of_barred'");
wait_for("SELECT state = 'failed' FROM rc_status() WHERE component = 'source' AND name = 'of_barred'", 'D8: so does one that is due');
is(value("SELECT count(*) FROM rappel_conso.run WHERE source = 'of_barred' AND trigger = 'schedule'"), 0, 'D8: without a row for each try of the same');

# once connected the stream fails no more for that
value('GRANT CONNECT ON DATABASE postgres TO barred');
value("UPDATE rappel_conso.stream SET batch_size = 9 WHERE name = 'of_barred'");
wait_for("SELECT detail ~ '1 of 1 workers' FROM rc_status() WHERE component = 'stream' AND name = 'of_barred'", 'D8: what may connect does');

#
# D5: a source that is due and finds no slot
#

value("DELETE FROM rappel_conso.source WHERE name LIKE 'of_%'; DELETE FROM rappel_conso.stream WHERE name LIKE 'of_%'");
# launchers of ours and of logical replication, and the scheduler
$node->append_conf('postgresql.conf', <<~'EOC');
	max_worker_processes = 3
	rappel_conso.databases = 'postgres'
	rappel_conso.kafka_brokers = ''
	EOC
$node->restart;
wait_for("rappel_conso.worker_pid('scheduler') > 0", 'a server without a free slot');
$place = -s $node->logfile;
value("UPDATE rappel_conso.source SET poll_interval = '1 second'");
wait_for("SELECT state = 'waiting' FROM rc_status() WHERE component = 'source'", 'D5: a source that is due says that it waits');
like(value("SELECT detail FROM rc_status() WHERE component = 'source'"),
	qr/^due since .*, but cannot run: no free worker slot; max_worker_processes may have to be increased; /, 'D5: and for what');
ok($node->wait_for_log(qr/LOG:  (?:\w+: )?source "rappel_conso" is due, but cannot run: no free worker slot/, $place), 'D5: and the log says it');
my ($result, $out, $err) = $node->psql('postgres', 'SELECT rc_sync_now()');
like($err, qr/could not start the run worker of source "rappel_conso"\nHINT:  You may need to increase max_worker_processes/, 'rc_sync_now() says so, too');
$log = slurp_file($node->logfile, $place);
is(scalar(() = $log =~ /is due, but cannot run/g), 1, 'D5: once');
value("UPDATE rappel_conso.source SET paused = true");
wait_for("SELECT state <> 'waiting' FROM rc_status() WHERE component = 'source'", 'D5: what is not due any more does not wait');
value("UPDATE rappel_conso.source SET paused = false");
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
wait_for("SELECT state = 'success' FROM rc_status() WHERE component = 'source'", 'D5: with more slots it runs');

done_testing();
