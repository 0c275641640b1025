# 074_records_in_memory.pl
#     "records" read from memory: the same statements over the same records, with
#     and without store/record_scan.c, give the same tables; also where others
#     change the rows meanwhile, so that PostgreSQL executes a part of the plan
#     again.  What records are decoded to is bounded.
#
# Records go in as dead letters, and through rc_retry(): no Kafka is needed.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $N = 300;
my %fast_paths = (store => 'rows, scalars, jsonb, inserts', memory => 'rows, scalars, jsonb, inserts, scans');

my $node = new_node('main', preload => 1, conf => "max_worker_processes = 20\nautovacuum = off\njit = off\n");

$node->sql('UPDATE rappel_conso.stream SET paused = true; CREATE TYPE item AS (n int, grp int, word text, more jsonb)');

sub set
{
	my ($paths, %others) = @_;

	$node->sql(join('', map { "ALTER SYSTEM SET $_;\n" } "rappel_conso.fast_paths = '$paths'", map { "$_ = $others{$_}" } sort keys %others) . 'SELECT pg_reload_conf()');
	$node->wait_for('the setting', "SELECT current_setting('rappel_conso.fast_paths') = '$paths'");
	return;
}

# Records {"n": 1, ..} and so on for a stream, to be applied by rc_retry().
sub give_items
{
	my ($stream, $count, $value) = @_;

	$value //= q{json_build_object('n', n, 'grp', n % 7, 'word', 'word ' || n, 'more', ARRAY[n, n / 2.0])};
	$node->sql(<<~"EOC");
		INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, key, value, sqlstate, message, owner, headers)
		SELECT 'stream', '$stream', 'items', 0, n, convert_to('k' || n, 'UTF8'), convert_to(($value)::text, 'UTF8'), '00000', 'new', current_user,
		  CASE WHEN n % 3 > 0 THEN jsonb_build_object('h', n % 3) END
		FROM generate_series(1, $count) n
		EOC
	return;
}

sub contents
{
	my ($schema) = @_;

	return $node->sql("SELECT count(*) || ' ' || coalesce(md5(string_agg(o::text, '|' ORDER BY o::text)), '') FROM $schema.o");
}

# ---- statements that read the records in each way ----

# They fill the table o.
my %reading = (
	once => 'INSERT INTO o SELECT n, word || key, more, to_jsonb(r) FROM records r',
	limit => 'INSERT INTO o SELECT n FROM records ORDER BY n DESC LIMIT 10 OFFSET 5',
	join => 'INSERT INTO o SELECT a.n, b.word, b.more, to_jsonb(a) FROM records a JOIN records b ON b.n = a.n + 1 JOIN records c ON c.n = b.n + a.grp',
	subplan => 'INSERT INTO o SELECT n, (SELECT string_agg(i.word, $$,$$ ORDER BY i.n) FROM records i WHERE i.grp = r.grp AND i.n < r.n), more FROM records r',
	exists => 'INSERT INTO o SELECT n FROM records r WHERE NOT EXISTS (SELECT FROM records i WHERE i.n = r.n * 2) OR n IN (SELECT max(n) FROM records GROUP BY grp)',
	cte => 'WITH r AS MATERIALIZED (SELECT * FROM records WHERE grp < 5), s AS (SELECT grp, count(*) AS c FROM r GROUP BY grp) INSERT INTO o SELECT r.n, s.c || word FROM r JOIN s USING (grp)',
	recursive => 'WITH RECURSIVE w AS (SELECT n, 1 AS depth FROM records WHERE n <= 2 UNION ALL SELECT r.n, depth + 1 FROM w JOIN records r ON r.n = w.n * 3) INSERT INTO o SELECT n, depth::text FROM w',
	lateral => 'INSERT INTO o SELECT r.n, l.word, l.more FROM records r, LATERAL (SELECT * FROM records i WHERE i.n > r.n ORDER BY i.n LIMIT 1) l',
	window => 'INSERT INTO o SELECT DISTINCT ON (grp) n, lag(word) OVER (PARTITION BY grp ORDER BY n), more FROM records ORDER BY grp, n DESC',
	union => 'INSERT INTO o SELECT n, word FROM records UNION ALL SELECT - n, (SELECT word FROM records x WHERE x.n = r.n) FROM records r EXCEPT SELECT n, word FROM records WHERE grp = 0',
	whole => 'INSERT INTO o (n, t) SELECT r.n, r::text FROM records r LEFT JOIN records s ON s.n = r.n + 200 WHERE (s IS NULL) = (r.n > 100)',
	conflict => 'INSERT INTO o AS o SELECT n % 100, word FROM (SELECT DISTINCT ON (n % 100) * FROM records ORDER BY n % 100, n) r ON CONFLICT (n) DO UPDATE SET t = (SELECT max(word) FROM records i WHERE i.n % 100 = o.n) || EXCLUDED.t',
	modifying => 'WITH u AS (UPDATE o SET t = r.word || t FROM records r WHERE r.n = o.n RETURNING o.n), d AS (DELETE FROM o USING records r WHERE o.n = - r.n), i AS (INSERT INTO q SELECT n FROM records) INSERT INTO o SELECT n, (SELECT count(*) FROM records)::text FROM records WHERE n NOT IN (SELECT n FROM u)',
	ruled => 'INSERT INTO p SELECT n FROM records',
	update => 'UPDATE o SET t = (SELECT word FROM records r WHERE r.n = o.n) WHERE n IN (SELECT n FROM records)',
	returning => 'INSERT INTO o SELECT n FROM records RETURNING (SELECT count(*) FROM records) > 0 AS inserted');

# Rules: more than one query reads the records.
my $ddl = <<~'EOC';
	CREATE TABLE o (n int UNIQUE, t text, more jsonb, whole jsonb);
	CREATE TABLE p (n int);
	CREATE TABLE q (n int);
	CREATE RULE r AS ON INSERT TO p DO ALSO (INSERT INTO q SELECT NEW.n + 1000; UPDATE q SET n = - n WHERE n = NEW.n + 1000 AND NEW.n % 10 = 0; INSERT INTO o SELECT NEW.n);
	INSERT INTO o SELECT n, 'before' FROM generate_series(-60, 60, 3) n;
	EOC

foreach my $name (sort keys %reading)
{
	foreach my $how ('store', 'memory')
	{
		my $schema = "${how}_$name";
		my $statement = $reading{$name};

		$node->sql("CREATE SCHEMA $schema; SET search_path = $schema, public; $ddl");
		$node->sql("DELETE FROM $schema.o") unless $statement =~ /CONFLICT|UPDATE/;
		$node->add_stream($schema, topics => q{'{items}'}, value_type => q{'item'}, search_path => "'$schema, public'", statement => "\$q\$$statement\$q\$");
		give_items($schema, $N);
	}
}

my %retried;

# Once with the plans that come, and once with loops that scan again and again.
foreach my $others ({}, { map { $_ => 'off' } 'enable_hashjoin', 'enable_mergejoin', 'enable_material', 'enable_memoize', 'enable_hashagg' })
{
	my $loops = %$others ? ', in loops' : '';

	foreach my $how ('store', 'memory')
	{
		set($fast_paths{$how}, %$others);
		$retried{"${how}_$_"} = $node->sql("SELECT * FROM rc_retry('${how}_$_')") foreach sort keys %reading;
	}
	foreach my $name (sort keys %reading)
	{
		is(contents("memory_$name"), contents("store_$name"), "$name$loops: the same rows");
		is($retried{"memory_$name"}, $retried{"store_$name"}, "$name$loops: the same counts");
		is($retried{"memory_$name"}, "$N|$N|0", "$name$loops: all are applied");
		cmp_ok(contents("memory_$name"), '!~', qr/^0 /, "$name$loops: there are some");
		is($node->sql("SELECT count(*), sum(n) FROM memory_$name.q"), $node->sql("SELECT count(*), sum(n) FROM store_$name.q"), "$name$loops: and in the second table") if $name =~ /modifying|ruled/;
		foreach my $schema ("store_$name", "memory_$name")
		{
			$node->sql("TRUNCATE $schema.o, $schema.p, $schema.q");
			$node->sql("INSERT INTO $schema.o SELECT n, 'before' FROM generate_series(-60, 60, 3) n") if $reading{$name} =~ /CONFLICT|UPDATE/;
			give_items($schema, $N);
		}
	}
}
$node->sql(q{DELETE FROM rappel_conso.dead_letter; UPDATE rappel_conso.stream SET paused = true; ALTER SYSTEM RESET ALL});

# ---- rows that others change meanwhile ----

# The row 5 has v = 5 when the statement begins, and 105 when it is free.
my %rivals = (
	update => [ 'UPDATE t SET v = t.v + r.n FROM records r WHERE r.n = t.id AND t.v < 1000', '110' ],
	subplan => [ 'UPDATE t SET v = t.v + (SELECT max(n) FROM records r WHERE r.n = t.id) WHERE id IN (SELECT n FROM records)', '110' ],
	delete => [ 'DELETE FROM t USING records r WHERE r.n = t.id AND t.v <= r.n', '105' ],
	exists => [ 'DELETE FROM t WHERE (SELECT count(*) FROM records r WHERE r.n + 100 = t.v) = 1 OR (SELECT count(*) FROM records r WHERE r.n = t.v) = 1', '' ],
	merge => [ 'MERGE INTO t USING records r ON r.n = t.id WHEN MATCHED AND t.v > 100 THEN UPDATE SET v = t.v + 1000 + r.n WHEN MATCHED THEN UPDATE SET v = r.n * 2 WHEN NOT MATCHED THEN INSERT VALUES (r.n, 0)', '1110' ],
	upsert => [ 'INSERT INTO t AS t SELECT n, n FROM records ON CONFLICT (id) DO UPDATE SET v = t.v + EXCLUDED.v + (SELECT count(*) FROM records)', '130' ],
	unless => [ 'INSERT INTO t AS t SELECT n, n FROM records ON CONFLICT (id) DO UPDATE SET v = - (SELECT count(*) FROM records) WHERE t.v > 100 AND EXISTS (SELECT FROM records r WHERE r.n = t.id)', '-20' ],
	modifying => [ 'WITH u AS (UPDATE t SET v = t.v + (SELECT sum(r.n) FROM records r WHERE r.n = t.id) FROM (SELECT n FROM records) s WHERE s.n = t.id RETURNING t.v) INSERT INTO t SELECT 1000 + v, v FROM u WHERE v = 110', '110' ],
	locked => [ 'WITH l AS (SELECT t.id, t.v + r.n AS v FROM t JOIN records r ON r.n = t.id WHERE EXISTS (SELECT FROM records s WHERE s.n = r.n) FOR UPDATE OF t) INSERT INTO t SELECT 1000 + id, v FROM l', '105' ]);

$node->sql('CREATE TABLE t (id int PRIMARY KEY, v int)');
foreach my $name (sort keys %rivals)
{
	my ($statement, $expected) = @{ $rivals{$name} };

	$node->add_stream("rival_$name", topics => q{'{items}'}, value_type => q{'item'}, statement => "\$q\$$statement\$q\$");
	foreach my $how ('store', 'memory')
	{
		my ($rival, $retry, $row, $more);

		set($fast_paths{$how});
		$node->sql('TRUNCATE t; INSERT INTO t SELECT n, n FROM generate_series(1, 10) n');
		give_items("rival_$name", 20);
		$rival = $node->start_session('BEGIN; UPDATE t SET v = v + 100 WHERE id = 5');
		$rival->ask('SELECT 1');
		$retry = $node->start_session("SELECT * FROM rc_retry('rival_$name')");
		$node->wait_for('the statement to wait', q{SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple'))});
		$rival->ask('COMMIT');
		$rival->finish;
		$retry->finish;
		like($retry->{out}, qr/20\|20\|0/, "$name, $how: all are applied");
		$row = $node->sql('SELECT v FROM t WHERE id = 5');
		is($row, $expected, "$name, $how: the other's change counts");
		$more = $node->sql(q{SELECT count(*) || ' ' || md5(string_agg(t::text, '|' ORDER BY id)) FROM t});
		$rivals{$name}[2] //= $more;
		is($more, $rivals{$name}[2], "$name, $how: and the other rows are as they should be");
	}
	$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = 'rival_$name'");
}

# ---- memory ----

# 400 kB of text that becomes 2.4 MB of jsonb, 18 times.
$node->sql(q{
	CREATE TYPE many AS (j jsonb);
	CREATE TABLE ranges (records bigint, first bigint, elements bigint, rss int);
	CREATE FUNCTION private_memory() RETURNS int LANGUAGE sql AS
	  'SELECT substring(pg_read_file(''/proc/self/status'', 0, 100000, true) FROM ''RssAnon:\s+(\d+)'')::int'});
my $ones = q{'[1' || repeat(',1', 200000) || ']'};

foreach my $type ('jsonb', 'many')
{
	my ($column, $value) = $type eq 'jsonb' ? ('value', $ones) : ('j', qq{'{"j": ' || $ones || '}'});

	$node->add_stream("large_$type", topics => q{'{items}'}, value_type => "'$type'", statement => qq{\$q\$INSERT INTO ranges SELECT count(*), min(record_offset), sum(jsonb_array_length($column)), private_memory() FROM records HAVING count(*) > 0\$q\$});
	give_items("large_$type", 18, "CASE n WHEN 17 THEN '[' ELSE $value END");
	foreach my $how ('store', 'memory')
	{
		set($fast_paths{$how});
		is($node->sql("SET client_min_messages = warning; SELECT * FROM rc_retry('large_$type')"), '18|17|1', "$type, $how: all but the bad one are applied");
		is($node->sql('SELECT sum(records), sum(elements), count(DISTINCT first) = count(*) FROM ranges'), '17|' . 17 * 200_001 . '|t', "$type, $how: each of them once");
		cmp_ok($node->sql('SELECT max(records) FROM ranges'), '<', 14, "$type, $how: not too many of them at a time");
		my $memory = $node->sql('SELECT max(rss) FROM ranges');
		note("$type, $how: $memory kB");
		cmp_ok($memory || 0, '<', 100 * 1024, "$type, $how: in less than 100 MB");
		$node->sql('TRUNCATE ranges; DELETE FROM rappel_conso.dead_letter');
		give_items("large_$type", 18, "CASE n WHEN 17 THEN '[' ELSE $value END");
	}
}

done_testing();
