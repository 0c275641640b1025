# 049_unchecked_statement.pl
#     Streams whose statement could not be checked when they were stored
#     (restored rows, tables that setup makes): the worker checks them before
#     their first batch, and runs nothing that the check refuses (R4, V13).
#     And unlogged tables, which a crash empties (V15).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node(
	'unchecked',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 60\n");

sub quote { return '$q$' . $_[0] . '$q$'; }

# What a row that comes with its search_path brings is not checked when it is stored.
my @commands = (
	'CREATE TABLE made (n int)' => '0A000',
	'CREATE TABLE made AS SELECT * FROM records' => '0A000',
	'SELECT * INTO made FROM records' => '0A000',
	'WITH r AS (SELECT * FROM records) SELECT * INTO made FROM r' => '0A000',
	q{COPY log TO '/dev/null'} => '0A000',
	q{COPY log FROM PROGRAM 'echo 1'} => '0A000',
	'DO $$ BEGIN INSERT INTO log VALUES (1); END $$' => '0A000',
	'CALL logs()' => '0A000',
	'EXECUTE logged' => '0A000',
	'EXPLAIN ANALYZE INSERT INTO log SELECT 1 FROM records' => '0A000',
	'PREPARE x AS SELECT * FROM records' => '0A000',
	'DECLARE x CURSOR FOR SELECT * FROM records' => '0A000',
	'VACUUM log' => '0A000',
	'TRUNCATE log' => '0A000',
	'LOCK TABLE log' => '0A000',
	'NOTIFY log' => '0A000',
	'SET work_mem = 1024' => '0A000',
	'COMMIT' => '0A000',
	'REFRESH MATERIALIZED VIEW seen' => '0A000',
	'INSERT INTO log SELECT 1 FROM records; INSERT INTO log SELECT 2 FROM records' => '42601',
	'INSERT INTO log SELECT 1 FROM records; CREATE TABLE made ()' => '42601',
	'' => '42601',
	'INSERT INTO log VALUES (1)' => '22023',
	'SELECT logs_one()' => '22023',
	'INSERT INTO log SELECT n FROM public.records' => '22023',
	'WITH records AS (SELECT 1 AS n) INSERT INTO log SELECT n FROM records' => '22023',
	'DELETE FROM log' => '22023');

$kafka->produce_many('in', [ map { [ $_, qq({"n": $_}) ] } 0 .. 2 ]);
$node->sql(q{
	UPDATE rappel_conso.stream SET paused = true;
	CREATE TABLE log (n int);
	INSERT INTO log VALUES (0);
	CREATE TABLE records (n int);
	INSERT INTO records VALUES (7);
	CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM log;
	CREATE PROCEDURE logs() LANGUAGE sql AS 'INSERT INTO log VALUES (1)';
	CREATE FUNCTION logs_one() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING 1'});
my @streams;
for (my $i = 0; $i < @commands; $i += 2)
{
	push @streams, { name => "r$i", command => $commands[$i], code => $commands[ $i + 1 ] };
}
$node->sql(join('', map { <<~"EOC" } @streams) . 'SELECT rc_start()');
	INSERT INTO rappel_conso.stream (name, topics, statement, search_path) VALUES ('$_->{name}', '{in}', ${\quote($_->{command})}, 'public');
	EOC
foreach my $stream (@streams)
{
	$node->wait_for("the failure of $stream->{command}",
		"SELECT concat_ws(' ', state, sqlstate) FROM rappel_conso.stream_state WHERE stream = '$stream->{name}'", expected =>
		"failed $stream->{code}");
	pass(($stream->{code} eq '22023' ? 'V13' : 'R4') . ": restored, refused by the worker: $stream->{command}");
}
is($node->sql(q{SELECT count(*), to_regclass('made') IS NULL FROM log}), '1|t', 'R4: nothing of it has run');
is($node->sql(q{SELECT COALESCE(sum(next_offset), 0), (SELECT count(*) FROM rappel_conso.dead_letter) FROM rappel_conso.stream_offset WHERE stream LIKE 'r%'}),
	'0|0', 'R4: no offset has moved, no record is blamed');
$node->sql(q{DELETE FROM rappel_conso.stream WHERE name ~ '^r\d+$'});

# ---- where "records" is read ----

# Queries in WITH that each name the one before twice: there are 2^40 ways down.
sub doubled
{
	my ($from) = @_;

	return "WITH c0 AS (SELECT count(*) AS n FROM $from)"
	  . join('', map { sprintf(', c%d AS (SELECT x.n FROM c%d x, c%d y)', $_, $_ - 1, $_ - 1) } 1 .. 40);
}

my @reads = (
	'INSERT INTO out1 SELECT (value->>$$n$$)::int FROM records',
	'WITH r AS (SELECT * FROM records), w AS (INSERT INTO out2 SELECT 1 FROM r) SELECT 1',
	'INSERT INTO out3 SELECT n FROM generate_series(1, (SELECT count(*) FROM records)::int) n',
	'INSERT INTO out4 SELECT 1 WHERE EXISTS (SELECT FROM records)',
	'INSERT INTO out5 SELECT abs((SELECT max(partition) FROM records))',
	'DELETE FROM out6 USING records WHERE n = record_offset',
	'MERGE INTO out7 o USING records r ON o.n = r.record_offset WHEN NOT MATCHED THEN INSERT VALUES (r.record_offset)',
	'UPDATE out8 SET n = (SELECT max(record_offset) FROM records)',
	doubled('records') . ' INSERT INTO out9 SELECT n FROM c40');
foreach my $i (1 .. @reads)
{
	$node->sql("CREATE TABLE out$i (n int); INSERT INTO out$i VALUES (1)");
	is($node->psql('postgres', "INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('reads$i', '{in}', ${\quote($reads[$i - 1])})"),
		0, "V13: accepted: $reads[$i - 1]");
}
foreach my $i (1 .. @reads)
{
	$node->wait_for("reads$i", "SELECT sum(next_offset) = 3 FROM rappel_conso.stream_offset WHERE stream = 'reads$i'");
}
foreach my $statement ('INSERT INTO log VALUES (1)', 'SELECT 1', 'INSERT INTO log SELECT n FROM public.records',
	'WITH records AS (SELECT 1 AS n) INSERT INTO log SELECT n FROM records', 'UPDATE log SET n = 1',
	doubled('log') . ' INSERT INTO log SELECT n FROM c40')
{
	like($node->error_of("INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('no', '{in}', ${\quote($statement)})"),
		qr/^22023: .*"no".*\brecords\b/, "V13: refused when stored: $statement");
}

# a statement that is valid only after setup; then it is found to read no records
$node->sql(q{INSERT INTO rappel_conso.stream (name, topics, setup, statement) VALUES
	('later', '{in}', 'CREATE TABLE IF NOT EXISTS later (n int)', 'INSERT INTO later SELECT 1'),
	('well', '{in}', 'CREATE TABLE IF NOT EXISTS well (n int)', 'INSERT INTO well SELECT 1 FROM records')});
$node->wait_for('later to fail', q{SELECT state || sqlstate FROM rappel_conso.stream_state WHERE stream = 'later'}, expected => 'failed22023');
is($node->sql(q{SELECT to_regclass('later')}), '', 'V13: when its setup has run, the worker refuses it, and setup is undone');
$node->wait_for('well', q{SELECT sum(next_offset) = 3 FROM rappel_conso.stream_offset WHERE stream = 'well'});
is($node->sql('SELECT count(*) FROM well'), '3', 'V13: the other one is applied');

# ---- unlogged tables ----

$node->sql(q{
	CREATE UNLOGGED TABLE quick (n int);
	CREATE TABLE slow (n int);
	CREATE TABLE parted (n int) PARTITION BY RANGE (n);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1);
	CREATE UNLOGGED TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1) TO (100);
	CREATE VIEW through AS SELECT n FROM quick});
my $from = '(value->>$$n$$)::int FROM records';
foreach my $case (
	[ 'u1', "INSERT INTO quick SELECT $from", 'quick' ],
	[ 'u2', "WITH w AS (INSERT INTO quick SELECT $from RETURNING n) INSERT INTO slow SELECT n FROM w", 'quick' ],
	[ 'u3', "INSERT INTO parted SELECT $from", 'parted_2' ],
	[ 'u4', "INSERT INTO through SELECT $from", 'quick' ],
	[ 'u5', "WITH r AS (SELECT $from), d AS (DELETE FROM quick RETURNING n) INSERT INTO slow SELECT 1 FROM records", 'quick' ],
	[ 'u6', 'INSERT INTO slow SELECT q.n FROM records, quick q', undef ])
{
	my ($name, $statement, $table) = @$case;
	my ($code, $out, $err) = $node->psql('postgres',
		"INSERT INTO rappel_conso.stream (name, topics, paused, statement) VALUES ('$name', '{in}', true, ${\quote($statement)})");

	if (defined $table)
	{
		like($err, qr/WARNING:  (?=.*"$table").*"$name"/, "V15: a warning: $statement");
	}
	else
	{
		is($err, '', "V15: what is only read may be unlogged: $statement");
	}
}
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name IN ('u1', 'u3', 'u6')});
foreach my $name ('u1', 'u3', 'u6')
{
	$node->wait_for($name, "SELECT sum(next_offset) = 3 FROM rappel_conso.stream_offset WHERE stream = '$name'");
}
$node->restart;
$node->wait_for('the worker', q{SELECT started_at > pg_postmaster_start_time() FROM rappel_conso.stream_offset WHERE stream = 'u1'});
is($node->sql(q{SELECT (SELECT count(*) FROM quick) || '/' || (SELECT count(*) FROM rappel_conso.stream_state WHERE stream LIKE 'u_' AND detail IS NOT NULL)}),
	'3/0', 'V15: a clean restart empties nothing, and nothing is said');
$node->stop('immediate');
$node->start;
my %emptied = (u1 => 'quick', u3 => 'parted_2');
foreach my $name (sort keys %emptied)
{
	$node->wait_for("$name to say so", "SELECT state = 'running' AND detail ~ '\"$emptied{$name}\"' FROM rappel_conso.stream_state WHERE stream = '$name'");
}
is($node->sql(q{SELECT detail ~ '"parted_2"' AND detail !~ 'parted_1' FROM rappel_conso.stream_state WHERE stream = 'u3'}), 't', 'V15: it names the table');
is($node->sql('SELECT count(*) FROM quick'), '0', 'V15: after a crash the table is empty, and the stream says so');
is($node->sql(q{SELECT count(*) FROM rc_status() WHERE name = 'u1' AND detail ~ '"quick"'}), '1', 'V15: so does rc_status()');
$node->sql(q{SELECT rc_seek('u1', 'earliest')});
$node->wait_for('the rows', 'SELECT count(*) = 3 FROM quick');
is($node->sql(q{SELECT detail FROM rappel_conso.stream_state WHERE stream = 'u1'}), '', 'V15: rc_seek() is the answer');

done_testing();
