# 121_invalid_stored_rows.pl
#     A row that somebody stored costs no other one: neither when a dump is
#     restored, which copies a table as a whole, nor while its type is dropped.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('main');
my $dump = "$PostgreSQL::Test::Utils::tmp_check/one_row";

# As mallory; returns SQLSTATE and message of its error, or what it gives.
sub mallory
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET ROLE mallory;\n$sql");

	return $err =~ /ERROR:  (.*)$/m ? $1 : $out;
}

sub stream_row
{
	my ($name, $type, %columns) = @_;
	my @set = sort keys %columns;

	return "INSERT INTO rappel_conso.stream (" . join(', ', 'name', 'topics', 'value_type', 'statement', @set)
	  . ") VALUES (" . join(', ', "'$name'", "'{mallory.in}'", "'$type'", "'SELECT key FROM records'", @columns{@set}) . ");\n";
}

sub type_of
{
	return $node->sql("SELECT value_type FROM rappel_conso.stream WHERE name = '$_[0]'");
}

# Restore the database as it is now, by COPY or INSERTs; returns the streams
# that are there, and what was said.
my $streams = 'SELECT name, value_type, start_at, owner FROM rappel_conso.stream ORDER BY name';
my $restored = 0;

sub restore_with
{
	my ($source, @options) = @_;
	my $dbname = 'restored' . ++$restored;
	my $said;

	command_ok([ 'pg_dump', @options, '-f', "$dump.sql", $node->connstr($source) ], "@options dump of $source");
	$node->sql("CREATE DATABASE $dbname");
	$said = (run_command([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", '-d', $node->connstr($dbname) ]))[1];
	unlike($said, qr/ERROR/, 'R3: nothing fails as it is restored');
	is( $node->safe_psql($dbname, $streams),
		$node->safe_psql($source, $streams) =~ s/\|\d+\|/|-|/gr,
		'R3: all streams are there');
	return ($dbname, $said);
}

$node->sql(q{
	CREATE ROLE mallory LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO mallory;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream TO mallory;
	INSERT INTO rappel_conso.topic_grant VALUES ('mallory', 'mallory.*', true, true);
	CREATE SCHEMA evil AUTHORIZATION mallory;
	CREATE SCHEMA others;
	GRANT USAGE ON SCHEMA others TO mallory;
	CREATE TYPE others.shared AS (n int)});
mallory('CREATE TABLE evil.row (n int); CREATE TYPE evil.stays AS (n int); CREATE TYPE evil.goes AS (n int)');

#
# Types of one session
#
foreach my $type (
	[ 'table', 'CREATE TEMP TABLE shape (n int)' ],
	[ 'type', 'CREATE TYPE pg_temp.shape AS (n int)' ],
	[ 'view', 'CREATE TEMP VIEW shape AS SELECT 1 AS n' ])
{
	my ($what, $made) = @$type;
	my $refused = qr/^42809: (?=.*\bvalue_type\b).*"temporary"/;

	like(mallory("$made;\n" . stream_row('temporary', 'pg_temp.shape')), $refused, "R3: no temporary $what is a stream's");
	like(mallory("$made;\n" . stream_row('temporary', 'shape', search_path => "'public'")), $refused, "R3: nor as in a dump");
	like(mallory("$made;\n" . stream_row('temporary', 'jsonb') . "UPDATE rappel_conso.stream SET value_type = 'shape' WHERE name = 'temporary'"),
		$refused, "R3: nor later");
	mallory(q{DELETE FROM rappel_conso.stream WHERE name = 'temporary'});
}
like(mallory("CREATE DOMAIN pg_temp.key AS text;\n" . stream_row('temporary', 'jsonb', key_type => "'pg_temp.key'")),
	qr/^23514: /, 'R3: nor as the key');
like(mallory(stream_row('none', '-')), qr/^42809: (?=.*\bvalue_type\b).*"none"/, 'R3: a type is needed');
like(mallory(stream_row('number', '4294967295')), qr/^42704: (?=.*\bvalue_type\b).*"number"/, 'R3: one that is there');

# what is copied is restored: it is stored, without the type
my $copied = "COPY rappel_conso.stream (name, topics, value_type, search_path, statement) FROM STDIN;\n"
  . "copied\t{mallory.in}\tpg_temp.shape\tpublic\tSELECT 1\nnumber\t{mallory.in}\t4294967295\tpublic\tSELECT 1\n"
  . "integer\t{mallory.in}\tinteger\tpublic\tSELECT 1\n\\.\n";
is($node->psql('postgres', "CREATE TEMP TABLE shape (n int);\n$copied"), 0, 'R3: a copy fails for no row');
is(type_of($_), '-', "R3: $_ has no type") foreach 'copied', 'number', 'integer';

#
# Types that are dropped
#
mallory("CREATE TABLE evil.$_ (n int);\n" . stream_row($_, "evil.$_")) foreach 'dropped', 'cascaded', 'held';
mallory('CREATE VIEW evil.seen AS SELECT * FROM evil.cascaded; CREATE TYPE evil.owned AS (n int)');
mallory(stream_row('seen', 'evil.seen') . stream_row('row', 'evil.row') . stream_row('stays', 'evil.stays') . stream_row('goes', 'evil.goes') . stream_row('shared', 'others.shared'));
is(mallory('DROP TABLE evil.dropped'), '', 'a type can be dropped');
is(type_of('dropped'), '-', 'R3: a table that is dropped is no type any more');
mallory('DROP TABLE evil.cascaded CASCADE');
is(type_of($_), '-', "R3: nor is $_ of a cascade") foreach 'cascaded', 'seen';
$node->sql('BEGIN; DROP TYPE evil.goes; ROLLBACK');
is(type_of('goes'), 'evil.goes', 'R3: unless that is taken back');
$node->sql('SET session_replication_role = replica; DROP TYPE evil.goes');
is(type_of('goes'), '-', 'R3: also as a replica');
mallory(q{ALTER TYPE evil.stays RENAME TO kept; ALTER TYPE evil.kept RENAME TO stays});
is(type_of('stays'), 'evil.stays', 'a new name stays');
is(mallory(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'goes' RETURNING paused}), 't', 'R3: the stream can be paused');
like(mallory(q{UPDATE rappel_conso.stream SET value_type = 'integer' WHERE name = 'goes'}), qr/^42809/, 'R3: and needs a right type');
is(mallory(q{UPDATE rappel_conso.stream SET value_type = 'jsonb' WHERE name = 'goes' RETURNING value_type}), 'jsonb', 'R3: which it may get');

# who drops his own type does not wait for whoever uses it
my $lock = $node->background_psql('postgres', on_error_die => 1);
$lock->query(q{BEGIN});
$lock->query(q{SELECT FROM rappel_conso.stream WHERE name IN ('shared', 'held') FOR UPDATE});
$node->sql(q{SET statement_timeout = '60s'; DROP TYPE others.shared; DROP TABLE evil.held});
pass('R3: a type can be dropped while its stream is locked');
$lock->query('COMMIT');
$lock->quit;
like(type_of('shared'), qr/^\d+$/, 'R3: then it stands there as a number');

#
# Restores
#
mallory(stream_row("start$_->[0]", 'jsonb', start_at => "'$_->[1]'"))
  foreach [ 1, '0044-03-15 00:00:00+00 BC' ], [ 2, '294276-12-31 00:00:00+00' ];
$node->sql(q{
	INSERT INTO rappel_conso.source (name, dataset, poll_interval, "overlap", full_interval)
	VALUES ('long', 'd', '1000 years', '11 mons 29 days 23:59:59.999999', '0.000001 s')});
my ($dbname, $said) = restore_with('postgres');
like($said, qr/WARNING:  (?=.*\bvalue_type\b).*"shared"/, 'R3: what stands there as a number is told');
is( $node->safe_psql($dbname, q{SELECT to_jsonb(s) FROM rappel_conso.source s ORDER BY name}),
	$node->sql(q{SELECT to_jsonb(s) FROM rappel_conso.source s ORDER BY name}), 'sources are the same');
restore_with('postgres', '--inserts');
$node->sql('SELECT rappel_conso.settle_types()');
is(type_of($_), '-', "R3: later $_ has no type, either") foreach 'shared', 'held';
restore_with($dbname);
is(mallory('DROP SCHEMA evil CASCADE'), '', 'a schema can be dropped');
is(type_of('stays'), '-', 'R3: its types go');
is($node->sql('DROP EXTENSION rappel_conso; SELECT count(*) FROM pg_event_trigger'), '0', 'the extension can be dropped');

# Nobody's DROP waits for who has locked our table, or fails for what others
# have changed in it.
$node->sql(q{CREATE EXTENSION rappel_conso; CREATE ROLE rude; GRANT USAGE ON SCHEMA rappel_conso TO rude; GRANT SELECT, UPDATE ON rappel_conso.stream TO rude;
	CREATE TABLE used (n int); INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('uses', '{t}', 'used', 'SELECT n FROM records')});
my $held = $node->start_session("SET ROLE rude; BEGIN; LOCK TABLE rappel_conso.stream IN ACCESS EXCLUSIVE MODE;\n\\warn locked\nSELECT pg_sleep(1000)");
$held->wait_for(qr/locked/);
is($node->sql('CREATE TEMP TABLE x (n int); DROP TABLE x; SELECT count(*) FROM pg_locks WHERE relation = \'rappel_conso.stream\'::regclass AND mode = \'AccessExclusiveLock\' AND granted'),
	'1', 'R7: a table is dropped while somebody has locked that of streams');
$node->sql(q{SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'rappel_conso.stream'::regclass AND mode = 'AccessExclusiveLock'});
$held->finish;
is($node->sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) > 0 FROM rappel_conso.stream;
	DO $$ BEGIN PERFORM 1; END $$; DROP TABLE used; COMMIT; SELECT to_regclass('used') IS NULL, value_type FROM rappel_conso.stream WHERE name = 'uses'}), "t\nt|-", 'in any isolation level');

done_testing();
