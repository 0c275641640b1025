# 052_sync_now_lock_conflicts.pl
#     Callers of rc_sync_now() that stand in their own run's way: each gets an
#     error with a hint, and never a hang.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', api => $api, conf => "log_min_messages = debug1\n");

$node->sql('SELECT rc_sync_now()');
my $digest = $node->table_digest;

# Both are errors 55006: of a worker that cannot go on, and of what it would
# not see, for which none is started.
my $in_way = '"rappel_conso run rappel_conso"';
my $missing = '2024-01-0001';

$node->sql('CREATE DATABASE fresh');
$node->sql("DELETE FROM rappel_conso_table WHERE reference_fiche = '$missing'");
foreach my $case (
	[ "UPDATE rappel_conso.source SET retries = 1", '"rappel_conso".*"rappel_conso[.]source"', 1 ],
	[
		"SAVEPOINT a; UPDATE rappel_conso.source SET retries = 1; RELEASE a",
		'"rappel_conso".*"rappel_conso[.]source"', 1
	],
	[
		"UPDATE rappel_conso.stream SET batch_size = 7",
		'"rappel_conso".*"rappel_conso[.]stream"', 1
	],
	[ 'CREATE EXTENSION rappel_conso', '"rappel_conso".*"pg_extension"', 1, 'fresh' ],
	[ 'LOCK TABLE rappel_conso_table', $in_way ],
	[ 'TRUNCATE rappel_conso_table', $in_way ],
	[
		"INSERT INTO rappel_conso_table VALUES ('$missing')",
		$in_way
	],
	[ 'LOCK TABLE rappel_conso.run', $in_way ],
	[ 'LOCK TABLE rappel_conso.source', $in_way ],
	[ 'LOCK TABLE rappel_conso.source_state', $in_way ],
	[ 'LOCK TABLE pg_catalog.pg_database', $in_way ])
{
	my ($sql, $object, $changed, $dbname) = @$case;
	my $at = $node->log_position;
	my $call = $node->start_session(
		"SET statement_timeout = '30s'; BEGIN; $sql;
		 SELECT rc_sync_now(full_sync => true);",
		dbname => $dbname)->finish;

	is($call->{sqlstate}, '55006', "after $sql: SQLSTATE");
	like($call->{message} // $call->{err}, qr/$object/, 'with what it is about');
	is($node->times_logged('00000', 'DEBUG', qr/starting background worker process "rappel_conso run /, $at), $changed ? 0 : 1,
		$changed ? 'before a worker is started' : 'as its worker waits');
	like($call->{hint} // '', qr/\bcommit\b/i,
		'and the hint');
	$node->has_no_run_worker('nothing is left');
}
my $undone = $node->start_session(<<~'EOC')->finish;
	BEGIN;
	SAVEPOINT a;
	UPDATE rappel_conso.source SET retries = 1;
	ROLLBACK TO a;
	SELECT state, inserted FROM rc_sync_now(full_sync => true);
	EOC
is($undone->{out}, 'success|1', 'what was rolled back does not stand in the way');

# one who waits for another's run
$api->control(faults => [ { fault => 'gate', on => 'export', lines => 1 } ]);
my $runs = $node->start_session('SELECT state FROM rc_sync_now(full_sync => true)');
$api->wait_held;
my $waits = $node->start_session('BEGIN; LOCK TABLE rappel_conso_table; SELECT rc_sync_now();');
$waits->wait_for(qr/NOTICE:  00000: .*"rappel_conso"/);
$api->release;
is($waits->finish->{sqlstate}, '55006',
	'who stands in the way of the run that he waits for, gets it, too');
is($runs->finish->{out}, 'success', 'and that run goes on');

my $read_only =
  $node->start_session('BEGIN TRANSACTION READ ONLY; SELECT rc_sync_now();')->finish;
is($read_only->{sqlstate}, '25006', 'a read-only transaction: SQLSTATE');
like($read_only->{message},
	qr/^cannot execute rc_sync_now\(\) in a read-only transaction$/,
	'and the message');
my $unknown = $node->start_session("SELECT rc_sync_now('sensors');")->finish;
like("$unknown->{sqlstate} $unknown->{message}",
	qr/^42704 .*"sensors"/, 'a source that is none');
is($node->table_digest, $digest, 'after all that the table is whole');

done_testing();
