# 045_batch_bisection.pl
#     Statements that cannot take a whole batch (D9): what was found of one
#     range is used for the next, a long search is committed in parts, and the
#     user is told what to write instead.

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
	'bisect',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 40\n");
my $N = 10_000;

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE FUNCTION counts(s regclass, n int) RETURNS boolean VOLATILE LANGUAGE sql RETURN nextval(s) > 0 OR n IS NULL;
	EOC

# ---- rows that a batch meets again and again ----

# Keys that repeat in turn, at random and in blocks.
my %keys = (
	turn => sub { return $_[0] % 10; },
	random => sub { return ($_[0] * 7919 + ($_[0] >> 3) * 104729) % 10; },
	block => sub { return int($_[0] / ($N / 10)); });

foreach my $kind (sort keys %keys)
{
	my $key = $keys{$kind};

	$kafka->produce_many($kind, [ map { [ $key->($_), qq({"n": $_}) ] } 0 .. $N - 1 ]);
	$node->sql(<<~"EOC");
		CREATE SEQUENCE decodes_$kind;
		CREATE DOMAIN counted_$kind AS int CHECK (counts('decodes_$kind', VALUE));
		CREATE TYPE row_$kind AS (n counted_$kind);
		CREATE TABLE $kind (key text PRIMARY KEY, n int, sum bigint, times int DEFAULT 1, seen text DEFAULT '');
		CREATE TABLE one_$kind (LIKE $kind INCLUDING ALL);
		CREATE TABLE raw_$kind (o bigint, key text, n int);
		EOC
}
$node->sql('SELECT rc_start()');
$node->sql(join('', map { <<~"EOC" } sort keys %keys));
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES
	  ('$_', '{$_}', 'row_$_', \$\$
	  INSERT INTO $_ AS t (key, n, sum) SELECT key, n, n FROM records
	      ON CONFLICT (key) DO UPDATE SET n = EXCLUDED.n, sum = t.sum * 31 % 1000003 + EXCLUDED.n, times = t.times + 1 \$\$),
	  ('raw_$_', '{$_}', 'jsonb', 'INSERT INTO raw_$_ SELECT record_offset, key, (value->>''n'')::int FROM records');
	EOC
foreach my $kind (sort keys %keys)
{
	$node->wait_applied($kind, $N);
	$node->wait_applied("raw_$kind", $N);
	$node->sql(qq{
		DO \$\$ DECLARE r record; BEGIN
		  FOR r IN SELECT * FROM raw_$kind ORDER BY o LOOP
		    INSERT INTO one_$kind AS t (key, n, sum) VALUES (r.key, r.n, r.n)
		        ON CONFLICT (key) DO UPDATE SET n = EXCLUDED.n, sum = t.sum * 31 % 1000003 + EXCLUDED.n, times = t.times + 1;
		  END LOOP; END \$\$});
	is($node->sql("SELECT * FROM $kind ORDER BY key"), $node->sql("SELECT * FROM one_$kind ORDER BY key"),
		"D9: $kind, the result is that of records one by one");
	cmp_ok($node->sql("SELECT last_value FROM decodes_$kind"), '<=', 5 * $N, "D9: $kind, at most five decodes a record");
	is($node->sql("SELECT state, detail ~ 'DISTINCT ON' FROM rappel_conso.stream_state WHERE stream = '$kind'"),
		'running|t', "D9: $kind, the detail has a hint at DISTINCT ON");
}
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter}), '0', 'D9: no record is dead');
is($node->sql(q{SELECT count(*) FROM rappel_conso.stream_state WHERE stream LIKE 'raw%' AND detail IS NOT NULL}), '0', 'nothing is told where nothing repeats');

# ---- a long search is committed in parts ----

# Each range takes 50 ms: 400 records take 20 s.
$kafka->produce_many('slow', [ map { [ $_ % 2, qq({"n": $_}) ] } 0 .. 399 ]);
$node->sql(q{
	CREATE TABLE slow (key text PRIMARY KEY, n int);
	CREATE TABLE commits (tx xid8, at timestamptz, n int);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	  PERFORM pg_sleep(0.05);
	  INSERT INTO commits VALUES (pg_current_xact_id(), clock_timestamp(), (SELECT count(*) FROM rows));
	  RETURN NULL; END $$;
	CREATE TRIGGER t AFTER UPDATE ON slow REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION note();
	INSERT INTO slow VALUES ('0'), ('1');
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('slow', '{slow}', $$
	  INSERT INTO slow AS t SELECT key, (value->>'n')::int FROM records ON CONFLICT (key) DO UPDATE SET n = EXCLUDED.n $$)});
$node->wait_applied('slow', 400);
is($node->sql('SELECT * FROM slow ORDER BY key'), "0|398\n1|399", 'D9: the last ones are there');
# 5 s have room for no more than a hundred, however slow the machine is
cmp_ok($node->sql('SELECT max(n) FROM (SELECT count(*) AS n FROM commits GROUP BY tx) t'), '<=', 102, 'D9: no transaction goes on for long');
cmp_ok($node->sql('SELECT count(DISTINCT tx) FROM commits'), '>', 1, 'D9: what was searched for long was committed in parts');

# ---- few bad ones in a large batch ----

$kafka->produce_many('few', [ map { [ $_, qq({"n": $_}) ] } 0 .. $N - 1 ]);
$node->sql(q{
	CREATE SEQUENCE decodes_few;
	CREATE DOMAIN counted_few AS int CHECK (counts('decodes_few', VALUE));
	CREATE TYPE row_few AS (n counted_few);
	CREATE TABLE few (n int CHECK (n % 3333 <> 17));
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('few', '{few}', 'row_few', 'INSERT INTO few SELECT n FROM records')});
$node->wait_applied('few', $N);
is($node->sql('SELECT count(*), count(DISTINCT n) FROM few') . '/' . $node->sql(q{SELECT string_agg(record_offset::text, ',' ORDER BY record_offset) FROM rappel_conso.dead_letter WHERE name = 'few'}),
	'9997|9997/17,3350,6683', 'V1: few bad ones in a large batch');
cmp_ok($node->sql('SELECT last_value FROM decodes_few'), '<=', 5 * $N, 'D9: and not many decodes for them');

done_testing();
