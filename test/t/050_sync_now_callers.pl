# 050_sync_now_callers.pl
#     rc_sync_now() as its callers see it: from every place that SQL can be
#     called from, cancelled, together with another caller, and from a
#     transaction that stands in its own run's way.
#
# The stand-in of the API holds a request wherever a test acts in the middle of
# a run, so nothing here depends on speed.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample
my $BATCH = 100;
my $MIDDLE = 150;      # lines of an export, when a gate shuts

my $api = start_api();
my $node = new_node('main', api => $api);
my $summary = 'run_id, state, fetched, inserted, updated, unchanged, dead';

# Begin a call and return when its run stands in the middle of the export.
sub call_into_middle
{
	my ($sql) = @_;
	my $call;

	$api->control(
		faults => [ { fault => 'gate', on => 'export', lines => $MIDDLE } ]);
	$call = $node->start_session($sql // 'SELECT * FROM rc_sync_now(full_sync => true)');
	$api->wait_held;
	return $call;
}

$node->sql("UPDATE rappel_conso.stream SET batch_size = $BATCH
        WHERE name = 'rappel_conso'");

#
# From every place
#

sub from_every_place
{
	my ($where) = @_;
	my $notices = 'SET client_min_messages = warning;';
	my $quiet = 'success|' . join('|', $RECORDS, 0, 0, $RECORDS, 0);
	my $columns = $summary =~ s/run_id, //r;
	my @places = (
		[ 'a query', "SELECT $columns FROM rc_sync_now(full_sync => true)" ],
		[
			'a function',
			"SELECT * FROM pg_temp.sync()",
			"CREATE FUNCTION pg_temp.sync(OUT text, OUT text, OUT text,
			   OUT text, OUT text, OUT text) LANGUAGE plpgsql AS \$\$
			 BEGIN
			   SELECT $columns INTO \$1, \$2, \$3, \$4, \$5, \$6
			     FROM rc_sync_now('rappel_conso', true);
			 END \$\$;"
		],
		[
			'a block with an exception handler',
			'SELECT * FROM result',
			"CREATE TEMP TABLE result AS
			   SELECT $columns FROM rc_sync_now() LIMIT 0;
			 DO \$\$ BEGIN
			   INSERT INTO result
			   SELECT $columns FROM rc_sync_now(full_sync => true);
			 EXCEPTION WHEN OTHERS THEN
			   RAISE WARNING 'caught %', SQLERRM;
			 END \$\$;"
		],
		[
			'a prepared statement, twice',
			'EXECUTE sync', "PREPARE sync AS
			   SELECT $columns FROM rc_sync_now(full_sync => true);
			 CREATE TEMP TABLE first AS EXECUTE sync;"
		],
		map {
			[
				"a $_ transaction",
				"SELECT $columns FROM rc_sync_now(full_sync => true); COMMIT",
				"BEGIN ISOLATION LEVEL $_; CREATE TEMP TABLE seen AS
				   SELECT count(*) FROM rappel_conso.run;"
			]
		} ('REPEATABLE READ', 'SERIALIZABLE'));

	foreach my $place (@places)
	{
		my ($name, $sql, $before) = @$place;
		my $call = $node->start_session("$notices\n" . ($before // '') . "\n$sql;")->finish;

		is($call->{out}, $quiet, "$where: from $name");
		is($call->{err}, '', "$where: without a word from $name");
	}
	return;
}

my $first = $node->start_session("SELECT state, fetched, published, inserted, updated, unchanged, dead,
	             duration > '0' FROM rc_sync_now()")->finish;
is($first->{out}, "success|$RECORDS|0|$RECORDS|0|0|0|t",
	'the first sync fills the table');
my $digest = $node->table_digest;

from_every_place('not preloaded');

# The snapshot of the caller is its own business; the run is another's.
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '2024-01-0001'",
		set => { marque_produit => 'marque b', numero_version => 3 }
	});
my $isolated = $node->start_session(<<~'EOC')->finish;
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) FROM rappel_conso_table WHERE nom_de_la_marque_du_produit = 'marque b';
	SELECT state, updated FROM rc_sync_now(full_sync => true);
	SELECT count(*) FROM rappel_conso_table WHERE nom_de_la_marque_du_produit = 'marque b';
	COMMIT;
	SELECT count(*) FROM rappel_conso_table WHERE nom_de_la_marque_du_produit = 'marque b';
	EOC
is($isolated->{out}, "0\nsuccess|1\n0\n1",
	'a run does not show in the snapshot that its caller has');
$api->control(reset => JSON::PP::true);
$node->sql('TRUNCATE rappel_conso_table');
$node->sql('SELECT rc_sync_now(full_sync => true)');
is($node->table_digest, $digest, 'the table is as it was');

#
# Progress
#

my $progress = call_into_middle();
ok($progress->wait_for(qr/NOTICE:  00000: .*"rappel_conso".*\b100\b.*\b300\b/),
	'progress is told while the run is in its middle');
is( $node->sql("SELECT state || ' ' || (detail ~ '[^0-9]100[^0-9]') FROM rc_status()
            WHERE component = 'source'"),
	'running true',
	'and rc_status() knows');
$api->release;
$progress->finish;
like($progress->{out}, qr/^\d+\|success\|300\|/, 'the run goes on to its end');
like($progress->{err}, qr/NOTICE:  00000: .*"rappel_conso".*\b300\b.*\b300\b/, 'which is told, too');
is($node->start_session("SET client_min_messages = warning; SELECT rc_sync_now();")->finish
	  ->{err},
	'', 'progress can be silenced');

#
# The end of the caller is the end of its run
#

my $of_caller = "FROM pg_stat_activity WHERE query ~ 'rc_sync_now'
                  AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
my %places = (
	'the middle of an export' =>
	  { fault => 'gate', on => 'export', lines => $MIDDLE },
	'a request without an answer' => { fault => 'hang', on => 'meta' },
	'an answer of one byte a second' =>
	  { fault => 'slow', on => 'export', lines => $MIDDLE },
	'the wait for a retry' =>
	  { fault => 'status', status => 503, on => 'meta', times => 0 },
	'the wait for another\'s lock' => undef);

# How to see that a run is there, where no request is held.
my %reached = (
	'an answer of one byte a second' =>
	  "SELECT fetched = $BATCH FROM rappel_conso.run ORDER BY id DESC LIMIT 1",
	'the wait for a retry' =>
	  "SELECT count(*) = 1 FROM rappel_conso.task WHERE state = 'up_for_retry'",
	'the wait for another\'s lock' =>
	  "SELECT count(*) = 1 FROM pg_locks
	    WHERE NOT granted AND relation = 'rappel_conso_table'::regclass");
my @endings = (
	[ 'pg_cancel_backend', 'the middle of an export', '57014', 'user request' ],
	[
		'pg_terminate_backend', 'the middle of an export',
		'57P01', 'administrator command'
	],
	[
		'statement_timeout', 'the middle of an export',
		'57014', 'statement timeout'
	],
	map { [ 'pg_cancel_backend', $_, '57014', 'user request' ] }
	  grep { $_ ne 'the middle of an export' } sort keys %places);

$node->sql("UPDATE rappel_conso.source SET retry_delay = '1 hour'
        WHERE name = 'rappel_conso'");
foreach my $ending (@endings)
{
	my ($how, $where, $sqlstate, $text) = @$ending;
	my $name = "$how in $where";
	my $fault = $places{$where};
	my $timeout = $how eq 'statement_timeout' ? '1500ms' : '0';
	my $locker;
	my $call;
	my $at;

	$api->control(faults => $fault ? [$fault] : []);
	unless ($fault)
	{
		$locker = $node->start_session(
			"BEGIN; LOCK TABLE rappel_conso_table;\n\\warn locked\n");
		$locker->wait_for(qr/locked/);
	}
	$call = $node->start_session("SET statement_timeout = '$timeout';
	              SELECT rc_sync_now(full_sync => true);");
	if ($reached{$where})
	{
		$node->wait_for($where, $reached{$where});
	}
	else
	{
		$api->wait_held;
	}
	$at = $how eq 'statement_timeout'
	  ? $node->sql("SELECT query_start + '1500 ms' $of_caller")
	  : $node->sql("SELECT clock_timestamp() FROM (SELECT $how(pid) $of_caller) c");
	$call->finish;
	is($call->{sqlstate}, $sqlstate, "$name: SQLSTATE of the caller");
	like($call->{message}, qr/due to $text$/, "$name: and its error");
	$node->has_no_run_worker("$name: the worker has gone");
	is( $node->newest_run("state || ' ' || sqlstate || ' ' || (finished_at - '$at' < '2 s')"),
		'cancelled 57014 true',
		"$name: the run is cancelled within 2 s");
	is( $node->sql('SELECT state FROM rappel_conso.task ORDER BY run DESC LIMIT 1'),
		'cancelled', "$name: and so is its task");
	$locker->finish if $locker;
}
$api->control(faults => []);
$node->sql("UPDATE rappel_conso.source SET retry_delay = '100 ms'
        WHERE name = 'rappel_conso'");
like($node->sql('SELECT rc_sync_now()'),
	qr/success/, 'the next run works as if nothing had been');
is($node->table_digest, $digest, 'and the table is whole');

#
# Two callers
#

sub two_callers
{
	my $one = call_into_middle();
	my $other = $node->start_session('SELECT * FROM rc_sync_now()');

	$other->wait_for(qr/NOTICE:  00000: .*"rappel_conso"/);
	return ($one, $other);
}

my $runs = $node->sql('SELECT count(*) FROM rappel_conso.run');
my ($one, $other) = two_callers();
$api->release;
$_->finish foreach ($one, $other);
like($one->{out}, qr/^\d+\|success\|300\|0\|0\|0\|300\|0\|/,
	'two callers: the first gets its result');
is($other->{out}, $one->{out}, 'and the other one the same row');
is($node->sql('SELECT count(*) FROM rappel_conso.run') - $runs,
	1, 'there was one run');

# a failure that is permanent
($one, $other) = two_callers();
$api->control(
	faults => [ { fault => 'status', on => 'count', status => 404 } ],
	release => JSON::PP::true);
$_->finish foreach ($one, $other);
like($one->{message}, qr/"${\DATASET}".*There is no such dataset/,
	'two callers of a run that fails: the first gets the error');
foreach my $field ('sqlstate', 'message', 'detail', 'hint')
{
	is($other->{$field}, $one->{$field}, "the other one the same $field");
	is( $node->newest_run({ message => 'error' }->{$field} // $field),
		$one->{$field} // '',
		"and so does the run's row");
}
is($node->newest_run('state'), 'failed', 'which says that it failed');

# one of the two goes
($one, $other) = two_callers();
$node->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity
        WHERE query ~ 'rc_sync_now\\(\\)' AND pid <> pg_backend_pid()");
is($other->finish->{sqlstate}, '57014', 'the one who waits is cancelled');
$api->release;
like($one->finish->{out}, qr/success/, 'which does not cancel the run');

($one, $other) = two_callers();
$api->control(faults => []);
$node->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity
        WHERE query ~ 'full_sync' AND pid <> pg_backend_pid()");
is($one->finish->{sqlstate}, '57014', 'the one who started it is cancelled');
like($other->finish->{out}, qr/success/, 'then the other one runs it');
is( $node->sql("SELECT string_agg(state, ' ' ORDER BY id) FROM (SELECT * FROM
           rappel_conso.run ORDER BY id DESC LIMIT 2) r"),
	'cancelled success', 'in a run of its own');

#
# An end of the worker
#

my $worker = "rappel_conso.worker_pid('run', 'rappel_conso')";

$one = call_into_middle();
$node->sql("SELECT pg_cancel_backend($worker)");
is($one->finish->{sqlstate}, '57014', 'a cancelled worker cancels the call');
is($node->newest_run('state'), 'cancelled', 'and the run');

($one, $other) = two_callers();
$node->sql("SELECT pg_terminate_backend($worker)");
is($one->finish->{sqlstate}, '57P01', 'a terminated worker is an error');
like($one->{message}, qr/^terminating background worker/, 'that says so');
is($other->finish->{sqlstate}, '08006', 'also for the one who waits');
like($other->{message}, qr/ \Q${\$node->newest_run('id')}\E .*"rappel_conso"/,
	'who is told what it has waited for');
is( $node->sql("SELECT state FROM rc_status() WHERE component = 'source'"),
	'failed', 'rc_status() sees through a row that says "running"');
$api->control(faults => []);

# The row of the dead run is still there when the next one has its lock: who
# comes then must wait for the living.
my $locker = $node->start_session("BEGIN; LOCK TABLE rappel_conso.task;\n\\warn locked\n");
$locker->wait_for(qr/locked/);
$one = $node->start_session('SELECT * FROM rc_sync_now()');
$node->wait_for('the run', "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND pid = $worker");
$other = $node->start_session('SELECT * FROM rc_sync_now()');
$other->wait_for(qr/NOTICE:  00000: .*"rappel_conso"/);
$_->finish foreach ($locker, $one, $other);
like($one->{out}, qr/^\d+\|success\|/, 'the next run works');
is($other->{out}, $one->{out}, 'also for who has come before it had a row');
is( $node->sql("SELECT state, sqlstate FROM rappel_conso.run
            ORDER BY id DESC OFFSET 1 LIMIT 1"),
	'failed|57P02',
	'and has marked the dead one as failed');
is( $node->sql("SELECT count(*) FROM rappel_conso.task
            WHERE state IN ('queued', 'running', 'up_for_retry')"),
	0, 'with its tasks');

# a failure can be caught, and the transaction goes on
$api->control(
	faults => [ { fault => 'status', on => 'meta', status => 404 } ]);
my $caught = $node->start_session(<<~'EOC')->finish;
	CREATE TEMP TABLE caught (t text);
	DO $$
	DECLARE hint text;
	BEGIN
	  PERFORM rc_sync_now();
	EXCEPTION WHEN OTHERS THEN
	  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	  INSERT INTO caught VALUES (SQLSTATE || ' ' || SQLERRM || ' ' || hint);
	END $$;
	DO $$ BEGIN PERFORM rc_sync_now(full_sync => true); END $$;
	SELECT t FROM caught;
	EOC
is( $caught->{out},
	$node->sql("SELECT sqlstate || ' ' || error || ' ' || hint
	         FROM rappel_conso.run WHERE state = 'failed'
	        ORDER BY id DESC LIMIT 1"),
	'an exception handler gets the error that the run keeps');
is($node->newest_run('state'), 'success', 'after it another call works');

#
# Servers that are set up otherwise
#

# the one worker slot is that of the launcher
$node->append_conf('postgresql.conf', <<~'EOC');
	shared_preload_libraries = 'rappel_conso'
	max_logical_replication_workers = 0
	max_worker_processes = 1
	EOC
$node->restart;
my $crowded = $node->start_session('SELECT rc_sync_now()')->finish;
is($crowded->{sqlstate}, '53000', 'no free worker slot: SQLSTATE');
like($crowded->{message},
	qr/ rappel_conso"/,
	'the message');
like($crowded->{hint}, qr/max_worker_processes/, 'and the hint');

$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
from_every_place('preloaded');
is($node->table_digest, $digest, 'the table is the same');

done_testing();
