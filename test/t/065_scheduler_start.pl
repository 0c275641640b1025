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

#
# C8: at the commit of CREATE EXTENSION
#

# The launcher that would do it, too, later, does nothing now.
my $launcher = $node->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rappel_conso launcher'");
$node->sql('CREATE DATABASE "Odd, One"');
$node->sql('CREATE DATABASE rolled');
$node->sql('CREATE DATABASE unlisted');
kill('STOP', $launcher) == 1 or die "could not stop $launcher";
foreach my $dbname ('postgres', 'Odd, One')
{
	$node->create_extension(dbname => $dbname, api => $api);
	$node->becomes_true("C8: the scheduler of $dbname starts with the commit", "rappel_conso.worker_pid('scheduler') > 0", dbname => $dbname);
	my $pid = $node->sql(q{SELECT rappel_conso.worker_pid('scheduler')}, dbname => $dbname);
	like($node->status_of('scheduler', dbname => $dbname), qr/^running: .*\b$pid\b/, 'and rc_status() says so');
}
$node->sql('BEGIN; CREATE EXTENSION rappel_conso; ROLLBACK', dbname => 'rolled');
$node->sql("BEGIN; SAVEPOINT a; CREATE EXTENSION rappel_conso; ROLLBACK TO a; COMMIT", dbname => 'rolled');
$node->create_extension(dbname => 'unlisted', api => $api);
like($node->status_of('scheduler', dbname => 'unlisted'), qr/^stopped: (?!.*rc_stop).*rc_start\(\).*rappel_conso\.databases/, 'C8: not in a database that is not listed');
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rappel_conso scheduler'"), 2, 'nothing else was started');

$node->sql("SELECT pg_terminate_backend(rappel_conso.worker_pid('scheduler'), 10000)", dbname => 'Odd, One');
like($node->status_of('scheduler', dbname => 'Odd, One'), qr/^waiting: (?!.*rappel_conso\.databases).*rc_start\(\)/, 'C8: one that ended is waited for, and rc_status() says for whom');
$node->sql('SELECT rc_stop()');
like($node->status_of('scheduler'), qr/^stopped: .*rc_stop\(\).*rc_start\(\)/, 'C8: after rc_stop() it says that');
$node->sql('SELECT rc_start()');
kill('CONT', $launcher);
$node->becomes_true('the launcher starts what ended', "rappel_conso.worker_pid('scheduler') > 0", dbname => 'Odd, One');

#
# D8: owners who may not connect
#

$node->sql(<<~'EOC');
	CREATE TABLE t (v jsonb);
	CREATE ROLE barred LOGIN;
	GRANT INSERT ON t TO barred;
	INSERT INTO rappel_conso.topic_grant VALUES ('barred', '*', true, true);
	REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
	INSERT INTO rappel_conso.stream (name, topics, statement, owner)
	VALUES ('of_barred', '{x}', 'INSERT INTO public.t SELECT value FROM records', 'barred');
	EOC
$node->sql("INSERT INTO rappel_conso.source (name, dataset, url, stream, owner) VALUES ('of_barred', '${\DATASET}', '${\$api->url}', 'of_barred', 'barred')");
my $place = $node->log_position;
my $words = qr/^42501 permission denied for database "postgres"$/;
$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '127.0.0.1:1'\n");
$node->reload;
$node->becomes_true('D8: a stream whose owner may not connect has failed', "SELECT state = 'failed' AND failures > 1 FROM rappel_conso.stream_state WHERE stream = 'of_barred'");
like($node->sql("SELECT sqlstate || ' ' || error FROM rappel_conso.stream_state WHERE stream = 'of_barred'"),
	$words, 'D8: with the words of the server');
like($node->sql("SELECT state || ': ' || detail FROM rc_status() WHERE component = 'stream' AND name = 'of_barred'"),
	qr/^failed: \D*\b0\D+1\b/, 'D8: and rc_status() says so');

# the backoff grows
$node->becomes_true('it is tried again', "SELECT failures >= 4 FROM rappel_conso.stream_state WHERE stream = 'of_barred'");
is($node->sql("SELECT retry_at - last_error_at > '7 s' FROM rappel_conso.stream_state WHERE stream = 'of_barred'"), 't', 'D8: later and later');
my $log = $node->log_since($place);
my $tries = () = $log =~ /FATAL:  permission denied for database "postgres"/g;
is($node->sql("SELECT failures >= $tries FROM rappel_conso.stream_state WHERE stream = 'of_barred'"), 't', 'D8: each try is counted')
  or diag("$tries tries");

my $run = $node->sql("SELECT rc_trigger('of_barred')");
$node->becomes_true('D8: a run whose owner may not connect fails', "SELECT state = 'failed' FROM rappel_conso.run WHERE id = $run");
like($node->sql("SELECT sqlstate || ' ' || error FROM rappel_conso.run WHERE id = $run"), $words, 'D8: with the words of the server');
$node->sql("UPDATE rappel_conso.source SET poll_interval = '1 second' WHERE name = 'of_barred'");
$node->becomes_true('D8: so does one that is due', "SELECT state = 'failed' FROM rc_status() WHERE component = 'source' AND name = 'of_barred'");
is($node->sql("SELECT count(*) FROM rappel_conso.run WHERE source = 'of_barred' AND trigger = 'schedule'"), 0, 'D8: without a row for each try of the same');

# once connected the stream fails no more for that
$node->sql('GRANT CONNECT ON DATABASE postgres TO barred');
$node->sql("UPDATE rappel_conso.stream SET batch_size = 9 WHERE name = 'of_barred'");
$node->becomes_true('D8: what may connect does', "SELECT detail ~ '^[^0-9]*1[^0-9]+1([^0-9]|\$)' FROM rc_status() WHERE component = 'stream' AND name = 'of_barred'");

#
# D5: a source that is due and finds no slot
#

$node->sql("DELETE FROM rappel_conso.source WHERE name LIKE 'of_%'; DELETE FROM rappel_conso.stream WHERE name LIKE 'of_%'");
# launchers of ours and of logical replication, and the scheduler
$node->append_conf('postgresql.conf', <<~'EOC');
	max_worker_processes = 3
	rappel_conso.databases = 'postgres'
	rappel_conso.kafka_brokers = ''
	EOC
$node->restart;
$node->becomes_true('a server without a free slot', "rappel_conso.worker_pid('scheduler') > 0");
$place = $node->log_position;
$node->sql("UPDATE rappel_conso.source SET poll_interval = '1 second'");
$node->becomes_true('D5: a source that is due says that it waits', "SELECT state = 'waiting' FROM rc_status() WHERE component = 'source'");
like($node->sql("SELECT detail FROM rc_status() WHERE component = 'source'"),
	qr/\b\d{4}-\d\d-\d\d\b.*\bmax_worker_processes\b/, 'D5: and for what');
ok($node->wait_logged('53000', 'LOG', qr/"rappel_conso".*max_worker_processes/, $place), 'D5: and the log says it');
like($node->error_of('SELECT rc_sync_now()'), qr/^53000: .*\brappel_conso"; .*max_worker_processes/, 'rc_sync_now() says so, too');
is($node->times_logged('53000', 'LOG', qr/"rappel_conso".*max_worker_processes/, $place), 1, 'D5: once');
$node->sql("UPDATE rappel_conso.source SET paused = true");
$node->becomes_true('D5: what is not due any more does not wait', "SELECT state <> 'waiting' FROM rc_status() WHERE component = 'source'");
$node->sql("UPDATE rappel_conso.source SET paused = false");
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
$node->becomes_true('D5: with more slots it runs', "SELECT state = 'success' FROM rc_status() WHERE component = 'source'");

done_testing();
