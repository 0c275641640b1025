# 062_stopping_blocked_workers.pl
#     Telling workers to end, at the waits that hide from it: a row lock of
#     another session, a statement that never ends; who waits for whom in a
#     circle; and cancelling that run and no other.
#
# The stand-in of the API holds a request wherever a test acts in the middle of
# a run, so nothing here depends on speed.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node(
	'main',
	api => $api,
	conf => <<~'EOC');
	max_prepared_transactions = 2
	max_worker_processes = 20
	EOC

# A worker that waits for a heavyweight lock.
my $waits = "EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                      WHERE NOT l.granted AND a.backend_type LIKE 'rappel_conso%')";
my $gone = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso%')";

# A gate is shut until it is opened; GATE waits for that.
my $GATE = 'SELECT pg_advisory_xact_lock_shared(1)';

sub shut_gate
{
	my $gate = $node->start_session("SELECT pg_advisory_lock(1);\n\\warn shut\nSELECT pg_sleep(1000)");

	$gate->wait_for(qr/shut/);
	return $gate;
}

sub open_gate
{
	my ($gate) = @_;

	$node->sql("SELECT pg_terminate_backend(pid) FROM pg_locks
	        WHERE locktype = 'advisory' AND objid = 1 AND mode = 'ExclusiveLock' AND granted");
	$gate->finish;
	return;
}

# A transaction that has done something, and does the rest behind the gate.
sub transaction
{
	my ($first, $rest) = @_;
	my $session = $node->start_session("BEGIN;\n$first;\n\\warn holds\n" . ($rest // "$GATE") . ";\nCOMMIT");

	$session->wait_for(qr/holds/);
	return $session;
}

# Begin a call whose run stands at the first line of the export.
sub call_into_export
{
	my $call;

	$api->control(faults => [ { fault => 'gate', on => 'export', lines => 1 } ]);
	$call = $node->start_session('SELECT * FROM rc_sync_now(full_sync => true)');
	$api->wait_held;
	$api->control(faults => []);
	return $call;
}

$node->sql('SELECT rc_sync_now()');

#
# C2: the end of a run waits for who has locked its row
#

sub run_that_cannot_end
{
	my $gate = shut_gate();
	my $call;
	my $holder;

	# nothing is new, so the run's end is the first that changes its row
	$api->control(faults => [ { fault => 'gate', on => 'meta' } ]);
	$call = $node->start_session('SELECT * FROM rc_sync_now()');
	$api->wait_held;
	$api->control(faults => []);
	$holder = transaction("SELECT FROM rappel_conso.run WHERE state = 'running' FOR UPDATE");
	$api->release;
	$node->becomes_true('a run waits for who has locked its row', $waits);
	return ($gate, $call, $holder);
}

foreach my $case (
	[ 'rc_stop()', 'SELECT rc_stop()' ],
	[
		'pg_terminate_backend()',
		"SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %'"
	],
	[
		'DROP DATABASE of another database',
		"CREATE DATABASE brief;\nDROP DATABASE brief;\n"
		  . "SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %'"
	])
{
	my ($name, $sql) = @$case;
	my ($gate, $call, $holder) = run_that_cannot_end();

	is($node->psql('postgres', "SET statement_timeout = '20s';\n$sql"), 0, "C2: $name does not wait");
	$node->becomes_true("C2: after $name the worker has gone while the row is locked", $gone);
	is($call->finish->{sqlstate}, '57P01', 'C2: its caller is told');
	open_gate($gate);
	$holder->finish;
}
is($node->sql('SELECT state FROM rc_sync_now()'), 'success', 'the next run works');
is( $node->sql("SELECT count(*) FROM rappel_conso.run WHERE state = 'failed' AND sqlstate = '57P02'"),
	3, 'and has marked those that could not write their end');

# a cancel that comes while the end is written is too late, and harmless
{
	my ($gate, $call, $holder) = run_that_cannot_end();

	$node->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %'");
	ok($node->sql("SELECT $waits") eq 't', 'C2: a late cancel does not end the wait');
	open_gate($gate);
	like($call->finish->{out}, qr/\|success\|/, 'C2: the run ends as it was');
}

# while the scheduler cannot end
{
	$node->sql('SELECT rc_start()');
	my $scheduler = $node->freeze_scheduler;
	my $stop = $node->start_session('SELECT rc_stop() > 0');
	$node->becomes_true('rc_stop() is seen to wait for the end of workers',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'rc_stop' AND ${\$node->waits_in('WorkerEnd')}");
	kill('CONT', $scheduler);
	is($stop->finish->{out}, 't', 'which then have ended');
}

#
# C1: a cancel while a task's state waits for a lock
#

{
	my $gate = shut_gate();
	my $call = call_into_export();
	my $holder = transaction("SELECT FROM rappel_conso.task WHERE state = 'running' FOR UPDATE");

	$api->release;
	$node->becomes_true('a task waits for who has locked its row', $waits);
	is($node->sql("SELECT rc_cancel(id) FROM rappel_conso.run WHERE state = 'running'"), 't', 'it is cancelled');
	open_gate($gate);
	is($call->finish->{sqlstate}, '57014', 'C1: a run that is cancelled at a lock of its task is an ordinary cancel');
	$holder->finish;
	is($node->sql("SELECT state || ' ' || sqlstate FROM rappel_conso.run ORDER BY id DESC LIMIT 1"),
		'cancelled 57014', 'C1: its row says so');
	is($node->sql('SELECT state FROM rc_sync_now()'), 'success', 'the next run works');
}

#
# C3: circles of those who wait
#

$node->sql('CREATE TABLE other (id integer PRIMARY KEY); INSERT INTO other VALUES (1), (2), (3), (4), (5)');

# The worker waits for the last of the chain, each of which waits for the one
# before it, and the first for us.
foreach my $length (1, 2, 4)
{
	my $gate = shut_gate();
	my $row = 'SELECT FROM other WHERE id = %d FOR UPDATE';
	my $us = transaction(sprintf($row, 1), "$GATE;\nSELECT rc_sync_now(full_sync => true)");
	my @chain;

	foreach my $n (1 .. $length)
	{
		push @chain, transaction(
			$n == $length ? 'LOCK TABLE rappel_conso_table' : sprintf($row, $n + 1),
			sprintf($row, $n));
	}
	$node->becomes_true("a chain of $length", "(SELECT count(*) = $length FROM pg_stat_activity WHERE wait_event = 'transactionid' OR wait_event = 'tuple')");
	open_gate($gate);
	$us->finish;
	is($us->{sqlstate}, '55006', "C3: a circle over $length other sessions is an error");
	like($us->{message}, qr/\brappel_conso"/, 'that says which run');
	ok($us->{hint}, 'and what to do');
	$_->finish foreach @chain;
	$node->becomes_true('the worker has gone', $gone);
}

# Two callers, each of whom locks what the other's run needs.
{
	my $gate = shut_gate();
	my @callers;

	$node->make_source($_, api => $api) foreach ('one', 'two');
	foreach my $pair ([ 'one', 'two' ], [ 'two', 'one' ])
	{
		push @callers, transaction("LOCK TABLE $pair->[0]", "$GATE;\nSELECT rc_sync_now('$pair->[1]')");
	}
	open_gate($gate);
	$_->finish foreach @callers;
	my @errors = grep { defined } map { $_->{sqlstate} } @callers;
	ok(@errors > 0, 'C3: two callers in a circle do not hang');
	is(join(' ', grep { $_ ne '55006' } @errors), '', 'C3: with the same error');
	is($node->sql("SELECT state FROM rc_sync_now('$_')"), 'success', "the run of $_ works") foreach ('one', 'two');
}

# A prepared transaction is nobody's: it is told, and waited for.
{
	my $call;

	$node->sql("BEGIN; LOCK TABLE rappel_conso_table; PREPARE TRANSACTION 'p'");
	$call = $node->start_session('SELECT * FROM rc_sync_now(full_sync => true)');
	$call->wait_for(qr/NOTICE:  00000: .*\brappel_conso".*\nHINT:  .*\bpg_prepared_xacts\b/);
	$node->sql("ROLLBACK PREPARED 'p'");
	like($call->finish->{out}, qr/\|success\|/, 'C3: what a prepared transaction blocks goes on after it');
}

# rc_wait() may stand in the way just as well.
$node->sql('SELECT rc_start()');
{
	my $gate = shut_gate();
	my $us = transaction('LOCK TABLE rappel_conso_table', "$GATE;\nSELECT rc_wait(max(id)) FROM rappel_conso.run");

	$node->sql('SELECT rc_trigger(full_sync => true)');
	$node->becomes_true('a triggered run waits for a table', $waits);
	open_gate($gate);
	is($us->finish->{sqlstate}, '55006', 'C3: rc_wait() for a run that waits for us');
	is($node->sql('SELECT state FROM rc_wait((SELECT max(id) FROM rappel_conso.run))'), 'success', 'which goes on');
}

#
# C6: cancelling a run ends no other
#

{
	my $call = call_into_export();
	my ($old, $new) = split(/\|/, $node->sql("SELECT min(id), max(id) FROM rappel_conso.run WHERE source = 'rappel_conso'"));

	# as if the old one's process had died: nobody has marked it yet
	$node->sql("UPDATE rappel_conso.run SET state = 'failed' WHERE id = $new;
	       UPDATE rappel_conso.run SET state = 'running' WHERE id = $old");
	is($node->sql("SELECT rc_cancel($old)"), 'f', 'C6: a run whose process is another one cannot be cancelled');
	$node->sql("UPDATE rappel_conso.run SET state = 'failed' WHERE id = $old;
	       UPDATE rappel_conso.run SET state = 'running' WHERE id = $new");
	$api->release;
	like($call->finish->{out}, qr/^$new\|success\|/, 'C6: the one under way ends well');
	like($node->error_of("SELECT rc_cancel($new)"), qr/^55000: .*\b$new\b/, 'one that has ended is an error');
}

#
# C6: nor does a statement hide its run, by letting go of all advisory locks
#

{
	$node->sql(<<~'EOC');
		CREATE FUNCTION unlock() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_unlock_all(); RETURN NULL; END';
		CREATE TRIGGER unlock AFTER INSERT OR UPDATE ON rappel_conso_table EXECUTE FUNCTION unlock();
		UPDATE rappel_conso.stream SET batch_size = 1;
		EOC
	$api->control(faults => [ { fault => 'gate', on => 'export', lines => 3 } ]);
	my $call = $node->start_session('SELECT * FROM rc_sync_now(full_sync => true)');
	$api->wait_held;
	$api->control(faults => []);
	$node->becomes_true('a batch of a run is committed', "SELECT fetched > 0 FROM rappel_conso.run WHERE state = 'running'");
	is($node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE pid = rappel_conso.worker_pid('run', 'rappel_conso')}), 1, 'C6: its worker is found by its source');
	is($node->sql("SELECT rc_cancel(id) FROM rappel_conso.run WHERE state = 'running'"), 't', 'C6: and by its number');
	is($call->finish->{sqlstate}, '57014', 'C6: so the run is cancelled');
	$api->release;
	$node->sql('DROP TRIGGER unlock ON rappel_conso_table; UPDATE rappel_conso.stream SET batch_size = DEFAULT');
}

#
# C9: being told to end is no failure
#

{
	my $place = $node->log_position;
	my $gate = shut_gate();
	my $holder = transaction('LOCK TABLE rappel_conso_table');
	my $call = $node->start_session('SELECT * FROM rc_sync_now(full_sync => true)');

	$node->becomes_true('a run in the middle of its statement', $waits);
	is($node->sql('SELECT rc_stop()'), 2, 'it and the scheduler are stopped');
	is($call->finish->{sqlstate}, '57P01', 'its caller is told');
	open_gate($gate);
	$holder->finish;
	my $log = $node->log_since($place);
	foreach my $name ('rappel_conso run rappel_conso', 'rappel_conso scheduler')
	{
		my ($pid, @more) = $log =~ / 00000 \[(\d+)\] LOG:  (?!background worker ").*\Q$name\E/g;

		ok($pid && !@more, "C9: $name says one line");
		is(scalar(() = $log =~ / \Q[$pid]\E (?:FATAL|CONTEXT|STATEMENT):/g), 0, 'C9: and nothing else');
	}
}

done_testing();
