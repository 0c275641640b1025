# 100_trigger_wait_cancel.pl
#     rc_trigger(), rc_wait() and rc_cancel(): a run is asked for in a
#     transaction and begins when that commits, from whatever place; many who
#     ask at once get one run; who waits gets its row or its error; who cancels
#     may.
#
# The stand-in of the API holds a request wherever a run must be under way.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use IPC::Run ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample

my $sharedir = `pg_config --sharedir`;
chomp $sharedir;
my $have_cron = -e "$sharedir/extension/pg_cron.control";

my $api = start_api();
my $node = new_node('main', api => $api, conf => "max_connections = 60\nmax_worker_processes = 16\nmax_prepared_transactions = 2\n");

sub count_runs
{
	return $node->sql('SELECT count(*) FROM rappel_conso.run' . (@_ ? " WHERE $_[0]" : ''));
}

# New times at the API, so that the next run reads; and its export is held.
sub gate
{
	$api->control(touch => DATASET);
	$api->fault('gate', on => 'export', lines => 1, @_);
	return;
}

#
# Without a scheduler
#
like( $node->said('SELECT rc_trigger()', 'WARNING'),
	qr/^01000: .*1.*rc_start\(\)/,
	'a warning where nobody would start the run');
is( $node->run_row(1, 'source, state, trigger, full_sync, started_at IS NULL, finished_at IS NULL'),
	'rappel_conso|queued|trigger|f|t|t', 'the run is queued');
is($node->sql('SELECT rc_trigger(full_sync => true)'), 1, 'the next caller gets the same');
is($node->run_row(1, 'full_sync'), 't', 'which has become a full one');
is($node->sql('SELECT rc_trigger()'), 1, 'and so does a third');
is($node->run_row(1, 'full_sync'), 't', 'which leaves it so');
my %null = ('NULL' => 'source', "'rappel_conso', NULL" => 'full_sync');
like($node->error_of("SELECT rc_trigger($_)"), qr/^22004: .*$null{$_}/, "rc_trigger($_) is an error") foreach sort keys %null;
is(count_runs(), 1, 'there is one run');
$node->sql('SELECT rc_start()');
is($node->sql('SELECT state, inserted FROM rc_wait(1)'), "success|$RECORDS", 'a scheduler starts it');
is($node->said('SELECT rc_trigger()', 'WARNING'), '', 'no warning now');
my $first = $node->sql('SELECT max(id) FROM rappel_conso.run');
is($node->wait_run_end($first), 'success', 'and it begins by itself');

#
# In a transaction
#
my $many = 'SELECT rc_trigger()';
foreach my $case (
	[ 'rolled back', "BEGIN; $many; ROLLBACK", 0 ],
	[ 'rolled back to a savepoint', "BEGIN; SAVEPOINT s; $many; ROLLBACK TO s; COMMIT", 0 ],
	[ 'in a subtransaction that fails', "DO \$\$ BEGIN PERFORM rc_trigger(); RAISE 'no'; EXCEPTION WHEN OTHERS THEN END \$\$", 0 ],
	[ 'in a failed transaction', "BEGIN; $many; SELECT 1/0; COMMIT", 0 ],
	[ 'twice in one', "BEGIN; $many; $many; COMMIT", 1 ],
	[ 'in a released savepoint', "BEGIN; SAVEPOINT s; $many; RELEASE s; COMMIT", 1 ],
	[ 'serializable', "BEGIN ISOLATION LEVEL SERIALIZABLE; $many; COMMIT", 1 ],
	[ 'prepared', "BEGIN; $many; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'", 0 ],
	[ 'with SELECT FOR several rows', 'SELECT rc_trigger() FROM generate_series(1, 5)', 1 ],
	[ 'in COPY', "COPY ($many) TO STDOUT", 1 ],
	[ 'of a paused source',
		"UPDATE rappel_conso.source SET paused = true; $many", 1 ])
{
	my ($name, $sql, $expected) = @$case;
	my $before = $node->sql('SELECT max(id) FROM rappel_conso.run');

	$node->psql('postgres', $sql);
	my $run = $node->sql("SELECT string_agg(id::text, ' ') FROM rappel_conso.run WHERE id > $before");
	is(scalar(split(/ /, $run)), $expected, "$name: $expected runs");
	is($node->wait_run_end($run), 'success', "$name: which succeeds") if $expected;
}
$node->sql('UPDATE rappel_conso.source SET paused = false');

foreach my $case (
	[ "SELECT rc_trigger('nobody')", qr/^42704: .*"nobody".*rappel_conso\.source/ ],
	[ 'BEGIN READ ONLY; SELECT rc_trigger()', '25006: cannot execute rc_trigger() in a read-only transaction' ],
	[ 'CREATE ROLE other; GRANT EXECUTE ON FUNCTION rc_trigger(text, boolean), rc_wait(bigint, interval), rc_cancel(bigint) TO other;
	   SET ROLE other; SELECT rc_trigger()',
		qr/^42704: .*"rappel_conso"/ ])
{
	my ($sql, $expected) = @$case;
	my $before = count_runs();

	is_or_like($node->error_of($sql), $expected, "refused: $sql");
	is(count_runs(), $before, 'and no run made');
}

#
# From a trigger of a user's table
#
$node->sql(q{
	CREATE TABLE orders (id integer);
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM rc_trigger(); RETURN NULL; END';
	CREATE TRIGGER look AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION look();});
my $last = $node->sql('INSERT INTO orders SELECT generate_series(1, 20); SELECT max(id) FROM rappel_conso.run');
is($node->wait_run_end($last), 'success', 'a trigger of a table asks for a run');
is(count_runs("id >= $last"), 1, 'for one, however many rows');
$node->psql('postgres', 'BEGIN; INSERT INTO orders VALUES (21); ROLLBACK');
is(count_runs("id > $last"), 0, 'and not for rows that are rolled back');

#
# 200 at once, while a run is under way: one more
#
gate();
my $running = $node->sql('SELECT rc_trigger()');
$api->wait_held;
is($node->run_row($running, 'state'), 'running', 'a run is under way');
my $script = "$PostgreSQL::Test::Utils::tmp_check/trigger.sql";
append_to_file($script, "SELECT rc_trigger(full_sync => :client_id = 7);\n");
command_like(
	[ 'pgbench', '-n', '-c', 40, '-j', 2, '-t', 5, '-f', $script, $node->connstr('postgres') ],
	qr{transactions actually processed: 200/200}, '200 ask at once');
is(count_runs("id > $running"), 1, 'and get one run');
my $queued = $node->sql("SELECT id FROM rappel_conso.run WHERE state = 'queued'");
is($node->run_row($queued, 'full_sync, state'), 't|queued', 'a full one, since some asked for that');
is($node->sql('SELECT rc_trigger()'), $queued, 'the next one who asks gets it, too');
$api->release;
is($node->wait_run_end($running), 'success', 'the run that was under way ends');
is($node->wait_run_end($queued), 'success', 'and then the queued one');
is($node->run_row($queued, 'fetched, full_sync'), "$RECORDS|t", 'which reads everything');
is($node->sql('SELECT rc_trigger() > ' . $queued), 't', 'whoever asks later gets another');
$node->wait_run_end($node->sql('SELECT max(id) FROM rappel_conso.run'));

#
# A connection that ends at once: nobody reads the answer
#
my $before = $node->sql('SELECT max(id) FROM rappel_conso.run');
my ($in, $out, $err) = ("SELECT rc_trigger();\n", '', '');
my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);
$psql->pump while $out !~ /\d/;
$psql->kill_kill;
chomp $out;
cmp_ok($out, '>', $before, 'a client asks, and is killed');
is($node->wait_run_end($out), 'success', 'its run succeeds');

#
# rc_wait
#
gate();
$running = $node->sql('SELECT rc_trigger()');
$api->wait_held;
foreach my $timeout ('0 s', '-1 h', '1 ms')
{
	like( $node->error_of("SELECT rc_wait($running, '$timeout')"),
		qr/^57014: .*$running/,
		"a wait of $timeout ends");
}
like( $node->error_of("SET statement_timeout = '1 ms'; SELECT rc_wait($running)"),
	qr/^57014: /, 'a wait can be cancelled');
is($node->run_row($running, 'state'), 'running', 'the run goes on');
my @waiting = map {
	my $call = { in => "SET client_min_messages = warning; BEGIN ISOLATION LEVEL $_; SELECT count(*) FROM orders; SELECT state FROM rc_wait($running, '1 day');\n", out => '' };
	$call->{psql} =
	  IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$call->{in}, '>', \$call->{out}, '2>', \$call->{out});
	$call->{psql}->pump while $call->{out} !~ /20\n/;
	$call;
} ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
$api->release;
foreach my $call (@waiting)
{
	$call->{psql}->finish;
	is($call->{out}, "20\nsuccess\n", 'a wait ends with the run');
}
is( $node->sql("SELECT run_id, state, fetched, published = 0, inserted, updated, dead, duration > '0' FROM rc_wait($running)"),
	"$running|success|" . $node->run_row($running, 'fetched') . '|t|0|0|0|t',
	'a run that has ended gives its row at once');
is($node->sql("SELECT rc_wait($running, '0 s') IS NULL"), 'f', 'whatever the timeout');

#
# A run whose process has gone
#
gate();
$running = $node->sql('SELECT rc_trigger()');
$api->wait_held;
$node->sql(q{SELECT pg_terminate_backend(rappel_conso.worker_pid('run', 'rappel_conso'))});
my $died = qr/^57P02: /;
like($node->error_of("SELECT rc_wait($running)"), $died, 'a wait ends with the process of the run');
is($node->wait_run_end($running), 'failed', 'the scheduler marks the run');
is($node->run_row($running, 'sqlstate'), '57P02', 'and says why');

gate();
$running = $node->sql('SELECT rc_trigger()');
$api->wait_held;
$node->sql('SELECT rc_stop()');
like($node->error_of("SELECT rc_wait($running)"), $died, 'also without a scheduler');
is($node->run_row($running, 'state'), 'running', 'when nobody is there to mark the run');
$node->sql('SELECT rc_start()');
is($node->wait_run_end($running), 'failed', 'but the next scheduler');
is($node->run_row($running, 'sqlstate'), '57P02', 'in the same words');
$api->release;

#
# Runs that wait for each other, or not
#
gate();
$running = $node->sql('SELECT rc_trigger()');
$api->wait_held;
my $again = $node->sql('SELECT rc_trigger()');
$node->sql("BEGIN; SELECT rc_trigger(); PREPARE TRANSACTION 'open'");
$api->release;
is($node->wait_run_end($running), 'success', 'a run ends, the next one is asked for in an open transaction, too');
is($node->sql('SELECT state FROM rc_sync_now()'), 'success', 'which is in nobody\'s way');
is($node->run_row($again, 'state'), 'queued', 'but that of the run that it asked for');
$node->sql("COMMIT PREPARED 'open'");
is($node->wait_run_end($again), 'success', 'until it commits');

# What is asked for while a run does less than that: the id of the run that was
# waited for, and columns of the run that was got.
sub meanwhile
{
	my ($first, $then, $columns) = @_;

	gate();
	$running = $node->sql("SELECT $first");
	$api->wait_held;
	my $call = $node->start_session("SELECT run_id FROM $then");
	$node->wait_for('who waits', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT run_id FROM' AND ${\$node->waits_in('Run')}");
	$api->release;
	$call->finish;
	is($node->wait_run_end($running), 'success', "$first, and meanwhile $then");
	return ($running, $node->run_row($call->{out}, 'id <> ' . $running . ", $columns"));
}
is((meanwhile("rc_backfill('rappel_conso', '2024-01-01', '2024-02-01')", 'rc_sync_now()', 'trigger, window_from IS NULL'))[1],
	't|manual|t', 'a backfill is not what a sync is');
is((meanwhile('rc_trigger()', 'rc_sync_now(full_sync => true)', 'trigger, full_sync'))[1],
	't|manual|t', 'nor is a run that is not full a full one');
is((meanwhile('rc_trigger()', 'rc_sync_now()', 'trigger, full_sync'))[1], 'f|trigger|f', 'the same is the same');
is((meanwhile('rc_trigger(full_sync => true)', 'rc_sync_now()', 'trigger, full_sync'))[1], 'f|trigger|t', 'and a full one is more');
like($node->error_of('SELECT rc_wait(NULL)'), qr/^22004: run /, 'nobody waits for null');
my $error = $node->error_of("BEGIN; SELECT rc_trigger(); SELECT rc_wait(max(id)) FROM rappel_conso.run");
like($error, qr/^55006: .*\b${\$node->sql('SELECT last_value FROM rappel_conso.run_id_seq')}\b.*rc_wait\(\)/,
	'nobody waits for what has not been committed');

$api->control(touch => DATASET);
$api->fault('status', on => 'export', status => 404, body => 'json', times => 0);
my $failed = $node->sql('SELECT rc_trigger()');
is($node->wait_run_end($failed), 'failed', 'a run fails');
$api->control(faults => []);
is( $node->error_of("SELECT rc_wait($failed)"),
	$node->run_row($failed, q{concat_ws('; ', sqlstate || ': ' || error, detail, hint)}),
	'who waits for it gets its error');
is($node->run_row($failed, 'sqlstate'), '42704', 'which is that of the API');

#
# rc_cancel
#
$api->control(touch => DATASET);
gate();
$running = $node->sql('SELECT rc_trigger()');
$api->wait_held;
$queued = $node->sql('SELECT rc_trigger()');
$node->psql('postgres', "BEGIN; SELECT rc_cancel($queued); ROLLBACK");
is($node->run_row($queued, 'state'), 'queued', 'a queued run is cancelled at commit, not before');
is($node->sql("SELECT rc_cancel($queued)"), 't', 'a queued run is cancelled');
is( $node->run_row($queued, 'state, sqlstate, started_at IS NULL, finished_at IS NOT NULL'),
	'cancelled|57014|t|t', 'and never begins');
like($node->error_of("SELECT rc_wait($queued)"), qr/^57014: .*\b$queued\b/, 'who waits for it is told');
is($node->sql("SELECT rc_cancel($running)"), 't', 'a running one is cancelled');
is($node->wait_run_end($running), 'cancelled', 'and ends');
is($node->sql("SELECT state, finished_at IS NOT NULL FROM rappel_conso.task WHERE run = $running"), 'cancelled|t', 'with its task');
like($node->error_of("SELECT rc_wait($running)"), qr/^57014: .*\b$running\b/, 'who waits for it is told, too');
ok($node->poll_query_until('postgres', "SELECT rappel_conso.worker_pid('run', 'rappel_conso') IS NULL"), 'its process ends');
$api->release;

foreach my $case (
	[ 'rc_cancel', $queued, qr/^55000: .*\b$queued\b.*\bcancelled\b/ ],
	[ 'rc_cancel', $failed, qr/^55000: .*\b$failed\b.*\bfailed\b/ ],
	[ 'rc_cancel', $first, qr/^55000: .*\b$first\b.*\bsuccess\b/ ],
	map {
		[ $_, 999999,
			qr/^42704: .*\b999999\b.*rappel_conso\.keep_history/ ],
		[ $_, -1, qr/^42704: .*-1/ ],
		[ "SET ROLE other; SELECT $_", $first, qr/^42704: .*$first/ ]
	} ('rc_cancel', 'rc_wait'))
{
	my ($function, $run, $expected) = @$case;
	my $sql = ($function =~ /SELECT/ ? '' : 'SELECT ') . "$function($run)";

	is_or_like($node->error_of($sql), $expected, $sql);
}
like($node->error_of('SELECT rc_cancel(NULL)'), qr/^22004: run_id /, 'nor cancels it');
is($node->error_of("BEGIN READ ONLY; SELECT rc_cancel($first)"), '25006: cannot execute rc_cancel() in a read-only transaction', 'not in a read-only transaction');

# What was cut off comes with the next run.
is($node->sql('SELECT state, dead FROM rc_sync_now()'), 'success|0', 'the next run succeeds');
is($node->sql('SELECT count(*) FROM rappel_conso_table'), $RECORDS, 'nothing is missing');

#
# What cannot begin says so
#
$node->sql(q{
	CREATE ROLE idle NOLOGIN;
	INSERT INTO rappel_conso.source (name, dataset, url, owner) SELECT 'idle', dataset, url, 'idle'
	  FROM rappel_conso.source WHERE name = 'rappel_conso';});
my $idle = $node->sql(q{SELECT rc_trigger('idle')});
is($node->wait_run_end($idle), 'failed', 'a run whose owner may not log in fails');
like($node->run_row($idle, 'sqlstate, hint'), qr/^55000\|.*\bLOGIN\b/,
	'and says why');
# Runs that follow each other without a gap, since each lasts longer than the
# time to the next: who waits for one has its error when it ends.
$node->sql(q{INSERT INTO rappel_conso.source (name, url, dataset, stream, poll_interval, retries, retry_delay)
	VALUES ('busy', 'http://127.0.0.1:1/api', 'x', 'rappel_conso', '1 s', 1, '4 s')});
$node->wait_for('a failed run of busy', q{SELECT count(*) = 1 FROM rappel_conso.run WHERE source = 'busy' AND state = 'failed'});
$node->wait_for('another run of busy', q{SELECT count(*) = 1 FROM rappel_conso.run WHERE source = 'busy' AND state = 'running'});
$before = $node->sql(q{SELECT max(id) FROM rappel_conso.run WHERE source = 'busy'});
my (undef, $told) = $node->attempt(q{SELECT * FROM rc_sync_now('busy')});
like($told, qr/NOTICE:  00000: .*"busy".*ERROR:  08006: /s, 'D13: who waits for a run has its error');
is(count_runs("source = 'busy' AND id > $before AND state <> 'running'"), 0, 'D13: and not that of one that came after it');
$node->sql(q{DELETE FROM rappel_conso.source WHERE name = 'busy'});

$node->sql('SELECT rc_stop()');
$idle = $node->sql(q{SELECT rc_trigger('idle')});
$node->sql(q{DELETE FROM rappel_conso.source WHERE name = 'idle'});
is($node->run_row($idle, 'state, error IS NOT NULL'), 'cancelled|t', 'a queued run goes with its source');

#
# A job of pg_cron asks; the scheduler was started with the server
#
SKIP:
{
	skip('pg_cron is not installed', 3) unless $have_cron;
	$node->append_conf('postgresql.conf', <<~'EOC');
		shared_preload_libraries = 'rappel_conso, pg_cron'
		rappel_conso.databases = 'postgres'
		cron.database_name = 'postgres'
		cron.use_background_workers = on
		EOC
	$node->restart;
	$node->sql(q{CREATE EXTENSION pg_cron; SELECT cron.schedule('recalls', '@reboot', 'SELECT rc_trigger()')});
	$before = $node->sql('SELECT max(id) FROM rappel_conso.run');
	$node->restart;
	ok($node->poll_query_until('postgres', "SELECT status = 'succeeded' FROM cron.job_run_details"), 'a job of pg_cron asks for a run');
	like($node->sql("SELECT return_message FROM cron.job_run_details"), qr/^(SELECT 1|1 row)$/, 'without a warning');
	is($node->wait_run_end($node->sql("SELECT id FROM rappel_conso.run WHERE id > $before")), 'success', 'which succeeds');
}

done_testing();
