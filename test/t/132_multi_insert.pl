# 132_multi_insert.pl
#     Rows inserted by many at a time: the same statements over the same records,
#     once by the executor and once by store/multi_insert.c, give the same
#     tables, counts and dead letters; and each is executed as it should be.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

# More than are inserted together, and more than 64 kB.
my $N = 1300;

my %fast_paths = (one => 'rows, scalars, jsonb', many => 'rows, scalars, jsonb, inserts');

my $kafka = start_kafka();
my $node = new_node('main', kafka => $kafka, preload => 1, conf => <<~'EOC');
	max_worker_processes = 130
	max_connections = 60
	wal_level = logical
	autovacuum = off
	jit = off
	EOC
my $share = `pg_config --sharedir`;
chomp $share;
my $version = $node->sql('SHOW server_version_num');
my %has = map { $_ => -e "$share/extension/$_.control" } 'pg_stat_statements', 'postgres_fdw', 'btree_gist';

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rappel_conso, pg_stat_statements'\n") if $has{pg_stat_statements};
$node->append_conf('postgresql.conf', "compute_query_id = on\n");
$node->restart;

# That of a server from elsewhere may need a newer libpq than the machine has.
$has{postgres_fdw} &&= $node->psql('postgres', q{LOAD 'postgres_fdw'}) == 0;
$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE EXTENSION pg_walinspect;
	CREATE ROLE app LOGIN;
	INSERT INTO rappel_conso.topic_grant VALUES ('app', '*', true, true);
	CREATE TYPE public.item AS (n int, grp int, word text);
	CREATE FUNCTION public.long(n int) RETURNS text IMMUTABLE LANGUAGE sql RETURN (SELECT string_agg(md5(n || '.' || i), '') FROM generate_series(1, 200) i);
	CREATE SCHEMA one AUTHORIZATION app;
	CREATE SCHEMA many AUTHORIZATION app;
	GRANT CREATE ON SCHEMA public TO app;
	EOC
$node->sql('CREATE EXTENSION pg_stat_statements') if $has{pg_stat_statements};
$node->sql('CREATE EXTENSION btree_gist') if $has{btree_gist};

# What the tables say about themselves: each with its number of rows.
$node->sql(<<~'EOC');
	CREATE FUNCTION public.digest(schema text, prefix text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
	    t record;
	    answer text;
	    all_of_them text := '';
	BEGIN
	    FOR t IN SELECT relname FROM pg_class WHERE relnamespace = schema::regnamespace AND relkind = 'r' AND relname ~ ('^' || prefix || '(_|$)') ORDER BY relname COLLATE "C" LOOP
	        EXECUTE format('SELECT count(*) || '' '' || coalesce(md5(string_agg(t::text, ''|'' ORDER BY t::text)), ''-'') FROM %I.%I t', schema, t.relname) INTO answer;
	        all_of_them := all_of_them || t.relname || ' ' || answer || '; ';
	    END LOOP;
	    RETURN all_of_them;
	END $$;
	EOC

# ---- the cases ----

# Each has the tables of "ddl", whose names begin with its own, and a statement.
# "by" is how its rows are to be inserted: many, one, both (partitions), or none
# where WAL does not tell.
# "dead" is the number of dead letters.
my @cases = (
	{
		name => 'plain',
		by => 'many',
		ddl => q{
			CREATE TABLE plain (id int GENERATED ALWAYS AS IDENTITY, other bigserial, n int NOT NULL CHECK (n > 0), gone text,
			    word varchar(20), who name DEFAULT current_user, who_asked name DEFAULT session_user, at bool DEFAULT (now() IS NOT NULL), j jsonb, CHECK (plain.* IS NOT NULL), CHECK (tableoid <> 0));
			ALTER TABLE plain DROP gone},
		statement => q{INSERT INTO plain (n, word, j) SELECT n, word, to_jsonb(r) FROM records r},
	},
	{
		name => 'toast',
		by => 'many',
		ddl => q{
			CREATE TABLE toast (n int PRIMARY KEY, a text, b text);
			ALTER TABLE toast ALTER a SET STORAGE EXTERNAL},
		statement => q{INSERT INTO toast SELECT n, CASE WHEN n % 50 = 0 THEN long(n) END, CASE WHEN n % 60 = 0 THEN long(-n) ELSE word END FROM records},
	},
	{
		name => 'generated',
		by => 'many',
		dead => 2,
		ddl => q{
			CREATE TABLE generated (n int, twice int GENERATED ALWAYS AS (n * 2) STORED CHECK (twice <> 700 AND twice <> 2200), place text GENERATED ALWAYS AS (CASE WHEN tableoid <> 0 THEN word || 'x' END) STORED, word text);
			CREATE INDEX ON generated (twice)},
		statement => q{INSERT INTO generated (n, word) SELECT n, word FROM records},
	},
	{
		name => 'domain',
		by => 'many',
		dead => 3,
		ddl => q{
			CREATE DOMAIN domain_small AS int CHECK (VALUE <> 77) CHECK (VALUE <> 777);
			CREATE DOMAIN domain_filled AS text NOT NULL;
			CREATE TABLE domain (n domain_small, word domain_filled, more domain_small[])},
		statement => q{INSERT INTO domain SELECT n, nullif(word, 'word 1100'), ARRAY[n] FROM records},
	},
	{
		name => 'checked',
		by => 'many',
		dead => 4,
		ddl => q{CREATE TABLE checked (n int NOT NULL, word text, CHECK (word <> 'word 5' AND word <> 'word 1200'))},
		statement => q{INSERT INTO checked SELECT nullif(nullif(n, 6), 1299), word FROM records},
	},
	{
		name => 'uniq',
		by => 'many',
		dead => 5,
		ddl => q{
			CREATE TABLE uniq (n int PRIMARY KEY, word text, e int);
			INSERT INTO uniq VALUES (400, 'before', -1);
			CREATE UNIQUE INDEX ON uniq (lower(word));
			CREATE INDEX ON uniq USING brin (e);
			CREATE UNIQUE INDEX ON uniq (e) WHERE e IN (1, 2)},
		statement => q{INSERT INTO uniq SELECT CASE WHEN n = 1001 THEN 1000 ELSE n END, CASE WHEN n = 3 THEN 'WORD 2' ELSE word END, CASE WHEN n IN (7, 8, 1250) THEN 1 END FROM records},
	},
	{
		name => 'deferred',
		by => 'many',
		dead => 1,
		ddl => q{
			CREATE TABLE deferred (n int UNIQUE DEFERRABLE INITIALLY DEFERRED, m int UNIQUE DEFERRABLE INITIALLY IMMEDIATE)},
		statement => q{INSERT INTO deferred SELECT CASE WHEN n = 1001 THEN 1000 ELSE n END, - n FROM records},
	},
	{
		name => 'excluded',
		by => 'many',
		needs => 'btree_gist',
		dead => 2,
		ddl => q{
			CREATE TABLE excluded (n int, s int4range, EXCLUDE USING gist (s WITH &&), EXCLUDE USING gist (n WITH =) DEFERRABLE INITIALLY DEFERRED)},
		statement => q{INSERT INTO excluded SELECT CASE WHEN n = 900 THEN 899 ELSE n END, int4range(n * 2, n * 2 + CASE WHEN n = 50 THEN 3 ELSE 2 END) FROM records},
	},
	{
		name => 'fk',
		by => 'many',
		dead => 2,
		ddl => q{
			CREATE TABLE fk_parent (n int PRIMARY KEY);
			INSERT INTO fk_parent SELECT generate_series(1, 2000);
			DELETE FROM fk_parent WHERE n IN (44, 1144);
			CREATE TABLE fk (n int PRIMARY KEY REFERENCES fk_parent, before int REFERENCES fk DEFERRABLE INITIALLY DEFERRED)},
		statement => q{INSERT INTO fk SELECT n, CASE WHEN n NOT IN (44, 45, 1144, 1145) AND n % 100 <> 1 THEN n - 1 END FROM records ORDER BY n DESC},
	},
	{
		name => 'after',
		by => 'many',
		ddl => q{
			CREATE TABLE after (n int, word text);
			CREATE INDEX ON after (word);
			CREATE TABLE after_log (id serial, n int, seen bool, who text, asked text);
			CREATE FUNCTION after_log() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    INSERT INTO after_log (n, seen, who, asked) SELECT NEW.n, count(*) >= NEW.n AND count(*) = max(n), current_user || current_setting('role'), TG_NAME FROM after;
			    RETURN NULL;
			END $$;
			CREATE TRIGGER all_of_them AFTER INSERT ON after FOR EACH ROW WHEN (NEW.n % 5 = 0) EXECUTE FUNCTION after_log();
			CREATE CONSTRAINT TRIGGER later AFTER INSERT ON after DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.n % 10 = 0) EXECUTE FUNCTION after_log()},
		statement => q{INSERT INTO after SELECT n, word FROM records},
	},
	{
		name => 'failing',
		by => 'many',
		dead => 1,
		ddl => q{
			CREATE TABLE failing (n int);
			CREATE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    IF NEW.n = 600 THEN RAISE 'no' USING ERRCODE = '22003'; END IF;
			    RETURN NULL;
			END $$;
			CREATE TRIGGER failing AFTER INSERT ON failing FOR EACH ROW EXECUTE FUNCTION failing()},
		statement => q{INSERT INTO failing SELECT n FROM records},
	},
	{
		name => 'view',
		by => 'many',
		ddl => q{
			CREATE TABLE view (n int, word text);
			CREATE VIEW looks AS SELECT word AS w, n FROM view WHERE n > 5},
		statement => q{INSERT INTO looks SELECT word, n FROM records},
		table => 'view',
	},
	{
		name => 'joined',
		by => 'many',
		ddl => q{
			CREATE TABLE joined (n int, word text);
			CREATE TABLE joined_known AS SELECT generate_series(1, 100) AS n},
		statement => q{WITH r AS (SELECT * FROM records) INSERT INTO joined SELECT n, word FROM r WHERE NOT EXISTS (SELECT FROM joined_known k WHERE k.n = r.n) AND NOT EXISTS (SELECT FROM joined j WHERE j.n = r.n) UNION ALL SELECT n, 'known' FROM joined_known k WHERE k.n IN (SELECT n FROM records)},
	},

	{
		name => 'stable',
		by => 'many',
		ddl => q{
			CREATE TABLE stable (n int, seen bigint);
			INSERT INTO stable VALUES (0, 0);
			CREATE FUNCTION stable() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM stable); END';
			CREATE FUNCTION stable_check(m int) RETURNS bool STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM stable WHERE n >= 0) > 0; END';
			ALTER TABLE stable ADD CHECK (stable_check(n))},
		statement => q{INSERT INTO stable SELECT n, stable() - (SELECT min(n) FROM records) FROM records},
	},
	{
		name => 'numbered',
		by => 'many',
		ddl => q{
			CREATE SEQUENCE numbered_seq CACHE 7;
			CREATE TABLE numbered (n int, a int DEFAULT nextval('numbered_seq'), b int GENERATED BY DEFAULT AS IDENTITY, c int)},
		statement => q{INSERT INTO numbered (n, b, c) OVERRIDING USER VALUE SELECT n, - n, nextval('numbered_seq') FROM records},
	},
	{
		name => 'barrier',
		by => 'many',
		ddl => q{
			CREATE TABLE barrier (n int, word text DEFAULT 'of the table');
			CREATE VIEW looks_through WITH (security_barrier) AS SELECT n, word FROM barrier WHERE n % 7 <> 0;
			ALTER VIEW looks_through ALTER word SET DEFAULT 'of the view'},
		statement => q{INSERT INTO looks_through SELECT n FROM records},
		table => 'barrier',
	},
	{
		name => 'owned',
		by => 'many',
		ddl => q{
			CREATE TABLE owned (n int);
			ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
			CREATE POLICY p ON owned WITH CHECK (false)},
		statement => q{INSERT INTO owned SELECT n FROM records},
	},
	{
		name => 'parent',
		by => 'many',
		dead => 1,
		ddl => q{
			CREATE TABLE parent_of_all (n int CHECK (n <> 1111));
			CREATE TABLE parent (word text) INHERITS (parent_of_all);
			CREATE TABLE parent_child () INHERITS (parent)},
		statement => q{INSERT INTO parent SELECT n, word FROM records},
	},
	{
		name => 'unlogged',
		by => 'none',
		ddl => q{CREATE UNLOGGED TABLE unlogged (n int PRIMARY KEY, word text)},
		statement => q{INSERT INTO unlogged SELECT n, word FROM records},
	},
	{
		name => 'large',
		by => 'many',
		ddl => q{
			CREATE TABLE large (n int, a text, b text);
			ALTER TABLE large ALTER a SET STORAGE PLAIN},
		statement => q{INSERT INTO large SELECT n, CASE WHEN n % 3 = 0 THEN left(long(n), 6000) END, CASE WHEN n % 200 = 0 THEN repeat(long(n), 20) END FROM records},
	},
	{
		name => 'again',
		by => 'many',
		ddl => q{
			CREATE TABLE again (n int PRIMARY KEY);
			CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    IF NEW.n % 10 = 0 AND NEW.n < 10000 THEN
			        INSERT INTO again VALUES (NEW.n + 10000);
			        UPDATE again SET n = - n WHERE n = NEW.n - 1;
			    ELSIF NEW.n % 10 = 5 THEN
			        DELETE FROM again WHERE n IN (NEW.n, NEW.n - 1);
			    END IF;
			    RETURN NULL;
			END $$;
			CREATE TRIGGER again AFTER INSERT ON again FOR EACH ROW EXECUTE FUNCTION again()},
		statement => q{INSERT INTO again SELECT n FROM records},
	},

	# ---- partitions ----

	{
		name => 'parts',
		by => 'many',
		dead => 1,
		table => 'parts_a',
		ddl => q{
			CREATE TABLE parts (id bigint GENERATED BY DEFAULT AS IDENTITY, n int, grp int, word text DEFAULT 'x', at name DEFAULT current_user) PARTITION BY LIST (grp);
			CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN (0);
			CREATE TABLE parts_b (word text, gone int, grp int, at name, id bigint NOT NULL, n int, sum int GENERATED ALWAYS AS (n + grp) STORED);
			ALTER TABLE parts_b DROP gone, DROP sum;
			ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN (1);
			CREATE TABLE parts_c PARTITION OF parts FOR VALUES IN (2, 3, 4) PARTITION BY RANGE (n);
			CREATE TABLE parts_c_low PARTITION OF parts_c FOR VALUES FROM (0) TO (600);
			CREATE TABLE parts_c_high PARTITION OF parts_c (CHECK (n <> 1202)) FOR VALUES FROM (600) TO (5000);
			CREATE UNIQUE INDEX ON parts (n, grp)},
		statement => q{INSERT INTO parts (id, n, grp) SELECT n, n, grp FROM records},
	},
	{
		name => 'nowhere',
		by => 'many',
		dead => 2,
		table => 'nowhere_a',
		ddl => q{
			CREATE TABLE nowhere (n int, half int) PARTITION BY RANGE (n);
			CREATE TABLE nowhere_a PARTITION OF nowhere FOR VALUES FROM (1) TO (1299)},
		statement => q{INSERT INTO nowhere SELECT n, n / 2 FROM records},
	},
	{
		name => 'leaf',
		by => 'many',
		dead => 1,
		ddl => q{
			CREATE TABLE leaf_root (n int) PARTITION BY RANGE (n);
			CREATE TABLE leaf PARTITION OF leaf_root FOR VALUES FROM (1) TO (1300)},
		statement => q{INSERT INTO leaf SELECT n FROM records},
	},
	{
		name => 'mixed',
		by => 'both',
		table => 'mixed_a',
		ddl => q{
			CREATE TABLE mixed (n int, grp int, seen int, id serial) PARTITION BY LIST (grp);
			CREATE TABLE mixed_a PARTITION OF mixed FOR VALUES IN (0, 3);
			CREATE TABLE mixed_b PARTITION OF mixed FOR VALUES IN (1);
			CREATE TABLE mixed_c (id int NOT NULL, seen int, grp int, n int);
			ALTER TABLE mixed ATTACH PARTITION mixed_c DEFAULT;
			CREATE FUNCTION mixed_before() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    NEW.seen := (SELECT count(*) FROM mixed);
			    IF NEW.n % 100 = 1 THEN RETURN NULL; END IF;
			    RETURN NEW;
			END $$;
			CREATE TRIGGER b BEFORE INSERT ON mixed_b FOR EACH ROW EXECUTE FUNCTION mixed_before();
			CREATE TABLE mixed_log (id serial, n int, tab text);
			CREATE FUNCTION mixed_after() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    INSERT INTO mixed_log (n, tab) VALUES (NEW.n, TG_TABLE_NAME);
			    RETURN NULL;
			END $$;
			CREATE TRIGGER a AFTER INSERT ON mixed FOR EACH ROW EXECUTE FUNCTION mixed_after()},
		statement => q{INSERT INTO mixed SELECT n, grp FROM records},
	},
	{
		name => 'remote',
		by => 'both',
		needs => 'postgres_fdw',
		table => 'remote_a',
		super => 1,
		ddl => q{
			CREATE TABLE remote (n int, grp int, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY LIST (grp);
			CREATE TABLE remote_a PARTITION OF remote FOR VALUES IN (0, 1, 2);
			CREATE TABLE remote_there (n int, grp int, twice int GENERATED ALWAYS AS (n * 2) STORED);
			CREATE FOREIGN TABLE remote_b PARTITION OF remote FOR VALUES IN (3, 4) SERVER here OPTIONS (schema_name 'this_schema', table_name 'remote_there', batch_size '7')},
		statement => q{INSERT INTO remote SELECT n, grp FROM records},
	},

	# ---- those that the executor must do ----

	{
		name => 'before',
		by => 'one',
		ddl => q{
			CREATE TABLE before (n int, seen int);
			CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    NEW.seen := (SELECT count(*) FROM before);
			    RETURN CASE WHEN NEW.n % 9 <> 0 THEN NEW END;
			END $$;
			CREATE TRIGGER b BEFORE INSERT ON before FOR EACH ROW EXECUTE FUNCTION before()},
		statement => q{INSERT INTO before SELECT n FROM records},
	},
	{
		name => 'whole',
		by => 'one',
		ddl => q{
			CREATE TABLE whole (n int);
			CREATE TABLE whole_log (what text);
			CREATE FUNCTION whole() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    INSERT INTO whole_log (what) SELECT TG_WHEN WHERE NOT EXISTS (SELECT FROM whole_log);
			    RETURN NULL;
			END $$;
			CREATE TRIGGER b BEFORE INSERT ON whole EXECUTE FUNCTION whole()},
		statement => q{INSERT INTO whole SELECT n FROM records},
	},
	{
		name => 'transition',
		by => 'one',
		ddl => q{
			CREATE TABLE transition (n int);
			CREATE TABLE transition_log (sum bigint);
			CREATE FUNCTION transition() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    INSERT INTO transition_log SELECT n FROM fresh WHERE n % 100 = 0;
			    RETURN NULL;
			END $$;
			CREATE TRIGGER t AFTER INSERT ON transition REFERENCING NEW TABLE AS fresh EXECUTE FUNCTION transition()},
		statement => q{INSERT INTO transition SELECT n FROM records},
	},
	{
		name => 'volatile',
		by => 'one',
		ddl => q{
			CREATE TABLE volatile (n int, seen bigint);
			CREATE FUNCTION volatile() RETURNS bigint VOLATILE LANGUAGE sql AS 'SELECT count(*) FROM volatile'},
		statement => q{INSERT INTO volatile SELECT n, volatile() FROM records},
	},
	{
		name => 'voldefault',
		by => 'one',
		ddl => q{
			CREATE FUNCTION voldefault() RETURNS bigint VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT max(seen) FROM voldefault); END';
			CREATE TABLE voldefault (n int, seen bigint DEFAULT coalesce(voldefault(), 0) + 1)},
		statement => q{INSERT INTO voldefault SELECT n FROM records},
	},
	{
		name => 'volcheck',
		by => 'one',
		dead => 1,
		ddl => q{
			CREATE FUNCTION volcheck(n int) RETURNS bool VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN n < 1300 OR (SELECT count(*) FROM volcheck) < 5; END';
			CREATE TABLE volcheck (n int CHECK (volcheck(n)))},
		statement => q{INSERT INTO volcheck SELECT n FROM records},
	},
	{
		name => 'voldomain',
		by => 'one',
		dead => 1,
		ddl => q{
			CREATE FUNCTION voldomain(n int) RETURNS bool VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN n < 1300 OR (SELECT count(*) FROM voldomain) < 5; END';
			CREATE DOMAIN voldomain_int AS int CHECK (voldomain(VALUE));
			CREATE TABLE voldomain (n voldomain_int)},
		statement => q{INSERT INTO voldomain SELECT n FROM records},
	},
	{
		name => 'volwhen',
		by => 'one',
		ddl => q{
			CREATE TABLE volwhen (n int);
			CREATE TABLE volwhen_log (n int);
			CREATE FUNCTION volwhen(n int) RETURNS bool VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM volwhen) = n; END';
			CREATE FUNCTION volwhen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO volwhen_log VALUES (NEW.n); RETURN NULL; END $$;
			CREATE TRIGGER t AFTER INSERT ON volwhen FOR EACH ROW WHEN (volwhen(NEW.n)) EXECUTE FUNCTION volwhen()},
		statement => q{INSERT INTO volwhen SELECT n FROM records},
	},
	{
		name => 'conflict',
		by => 'one',
		ddl => q{CREATE TABLE conflict (n int PRIMARY KEY)},
		statement => q{INSERT INTO conflict SELECT n / 2 FROM records ON CONFLICT DO NOTHING},
	},
	{
		name => 'whenever',
		by => 'one',
		ddl => q{CREATE TABLE whenever (n int, at bool DEFAULT (clock_timestamp() IS NOT NULL))},
		statement => q{INSERT INTO whenever SELECT n FROM records},
	},
	{
		name => 'ended',
		by => 'one',
		ddl => q{
			CREATE TABLE ended (n int);
			CREATE TABLE ended_log (seen bigint);
			CREATE FUNCTION ended() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    INSERT INTO ended_log SELECT 1 WHERE (SELECT count(*) FROM ended) > 0 AND NOT EXISTS (SELECT FROM ended_log);
			    RETURN NULL;
			END $$;
			CREATE TRIGGER e AFTER INSERT ON ended EXECUTE FUNCTION ended()},
		statement => q{INSERT INTO ended SELECT n FROM records},
	},
	{
		name => 'insteadof',
		by => 'one',
		ddl => q{
			CREATE TABLE insteadof (n int);
			CREATE VIEW looks_away AS SELECT n, 1 AS one FROM insteadof;
			CREATE FUNCTION insteadof() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
			    INSERT INTO insteadof VALUES (NEW.n + (SELECT count(*) FROM insteadof));
			    RETURN CASE WHEN NEW.n % 2 = 0 THEN NEW END;
			END $$;
			CREATE TRIGGER i INSTEAD OF INSERT ON looks_away FOR EACH ROW EXECUTE FUNCTION insteadof()},
		statement => q{INSERT INTO looks_away (n) SELECT n FROM records},
	},
	{
		name => 'upsert',
		by => 'one',
		ddl => q{
			CREATE TABLE upsert (n int PRIMARY KEY, times int DEFAULT 1);
			INSERT INTO upsert SELECT generate_series(1, 200)},
		statement => q{INSERT INTO upsert AS u SELECT n FROM records ON CONFLICT (n) DO UPDATE SET times = u.times + 1},
	},
	{
		name => 'updating',
		by => 'one',
		ddl => q{
			CREATE TABLE updating (n int);
			CREATE TABLE updating_too (n int, times int);
			INSERT INTO updating_too SELECT n, 0 FROM generate_series(1, 50) n},
		statement => q{WITH u AS (UPDATE updating_too t SET times = times + 1 FROM records r WHERE r.n = t.n) INSERT INTO updating SELECT n FROM records},
	},
	{
		name => 'returning',
		by => 'one',
		ddl => q{CREATE TABLE returning_ (n int PRIMARY KEY)},
		statement => q{INSERT INTO returning_ SELECT n FROM records RETURNING n % 2 = 0 AS inserted},
		table => 'returning_',
	},
	{
		name => 'modifying',
		by => 'one',
		ddl => q{
			CREATE TABLE modifying (n int);
			CREATE TABLE modifying_too (n int)},
		statement => q{WITH m AS (INSERT INTO modifying_too SELECT n FROM records RETURNING n) INSERT INTO modifying SELECT n + 1 FROM m},
	},
	{
		name => 'ruled',
		by => 'one',
		ddl => q{
			CREATE TABLE ruled (n int);
			CREATE TABLE ruled_too (n int);
			CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO ruled_too VALUES (NEW.n)},
		statement => q{INSERT INTO ruled SELECT n FROM records},
	},
	{
		name => 'instead',
		by => 'one',
		ddl => q{
			CREATE TABLE instead (n int);
			CREATE TABLE instead_of (n int);
			CREATE RULE r AS ON INSERT TO instead_of DO INSTEAD INSERT INTO instead VALUES (- NEW.n)},
		statement => q{INSERT INTO instead_of SELECT n FROM records},
	},
	{
		name => 'option',
		by => 'one',
		dead => 2,
		ddl => q{
			CREATE TABLE option (n int);
			CREATE VIEW looks_at AS SELECT n FROM option WHERE n > 1 AND n < 1300 WITH CHECK OPTION},
		statement => q{INSERT INTO looks_at SELECT n FROM records},
	},
	{
		name => 'secured',
		by => 'one',
		dead => 2,
		ddl => q{
			CREATE TABLE secured (n int);
			ALTER TABLE secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
			CREATE POLICY p ON secured USING (n <> 10) WITH CHECK (n NOT IN (10, 1111))},
		statement => q{INSERT INTO secured SELECT n FROM records},
	},
);

push @cases,
  {
	name => 'virtual',
	by => 'many',
	dead => 2,
	ddl => q{
		CREATE TABLE virtual (n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL CHECK (twice <> 700), thrice int GENERATED ALWAYS AS (nullif(n, 1100) * 3) NOT NULL, word text)},
	statement => q{INSERT INTO virtual (n, word) SELECT n, word FROM records},
  }
  if $version >= 180000;
@cases = grep { !$_->{needs} || $has{ $_->{needs} } } @cases;

# ---- run them ----

if ($has{postgres_fdw})
{
	my ($host, $port) = ($node->host, $node->port);

	$node->sql(<<~"EOC");
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER here;
		EOC
}
$node->sql(q{SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')});
$kafka->produce_many('items', [ map { [ "k$_", sprintf('{"n": %d, "grp": %d, "word": "word %d"}', $_, $_ % 5, $_) ] } 1 .. $N ]);

my %from;
my %to;

foreach my $schema ('one', 'many')
{
	$node->sql("ALTER SYSTEM SET rappel_conso.fast_paths = '$fast_paths{$schema}'; SELECT pg_reload_conf()");
	$node->wait_for('the setting', "SELECT current_setting('rappel_conso.fast_paths') = '$fast_paths{$schema}'");
	$node->sql(join('', map { "SET ROLE app;\n" x !$_->{super} . "SET search_path = $schema, public;\n" . $_->{ddl} =~ s{this_schema}{$schema}r . ";\nRESET ROLE;\n" } @cases));
	$from{$schema} = $node->sql('SELECT pg_current_wal_insert_lsn()');
	$node->sql(
		join('', map {
			my $owner = $_->{super} ? 'current_user' : "'app'";

			"INSERT INTO rappel_conso.stream (name, topics, value_type, owner, search_path, statement) VALUES ('${schema}_$_->{name}', '{items}', 'item', $owner, '$schema, public', \$q\$$_->{statement}\$q\$);\n"
		} @cases));
	$node->wait_applied("${schema}_$_->{name}", $N) foreach @cases;
	$to{$schema} = $node->sql('SELECT pg_current_wal_flush_lsn()');
	$node->sql('UPDATE rappel_conso.stream SET paused = true');
}

# ---- the same tables, counts and dead letters ----

# How often rows were written to a table in this way.
sub written
{
	my ($schema, $table, $how) = @_;

	return $node->sql(<<~"EOC");
		SELECT count(*) FROM wal
		WHERE schema = '$schema' AND record_type ~ '^(INIT|MULTI_INSERT|INSERT)' AND record_type ~ '$how'
		  AND block_ref ~ ('/' || pg_relation_filenode('$schema.$table') || ' ')
		EOC
}

$node->sql("CREATE TABLE wal (schema text, record_type text, block_ref text)");
$node->sql(qq{INSERT INTO wal SELECT '$_', record_type, block_ref FROM pg_get_wal_records_info('$from{$_}', '$to{$_}') WHERE resource_manager ~ '^Heap' AND record_type ~ 'INSERT'}) foreach 'one', 'many';

foreach my $case (@cases)
{
	my $name = $case->{name};
	my $table = $case->{table} // $name;
	my %found;

	foreach my $schema ('one', 'many')
	{
		$found{$schema} = join("\n",
			$node->sql("SELECT digest('$schema', '$name')"),
			$node->sql("SELECT sum(inserted), sum(updated), sum(dead) FROM rappel_conso.stream_offset WHERE stream = '${schema}_$name'"),
			$node->dead_letters("${schema}_$name", "record_offset, sqlstate, replace(message, '$schema', '#'), replace(detail, '$schema', '#'), replace(context, '$schema.', '#.')"));
	}
	is($found{many}, $found{one}, "$name: the same tables, counts and dead letters");
	is($node->sql("SELECT count(*) FROM rappel_conso.dead_letter WHERE name = 'many_$name'"), $case->{dead} // 0, "$name: as many dead letters as expected") or note $found{many};
	next if $case->{by} eq 'none';
	is(written('one', $table, 'MULTI'), 0, "$name: one by one without the setting");
	cmp_ok(written('many', $table, 'MULTI'), $case->{by} eq 'one' ? '==' : '>', 0, "$name: " . ($case->{by} eq 'one' ? 'one by one' : 'by many') . ' with it');
}

# ---- what others see ----

my @clean = grep { !$_->{dead} && $_->{name} ne 'remote' } @cases;
my $names = join(', ', map { "'$_->{name}'" } @clean);

$node->becomes_true('the statistics of tables agree', <<~"EOC");
	SELECT count(*) > 20 AND bool_and(o.n_tup_ins = m.n_tup_ins)
	FROM pg_stat_user_tables o JOIN pg_stat_user_tables m USING (relname)
	WHERE o.schemaname = 'one' AND m.schemaname = 'many' AND substring(relname FROM '^[a-z]+') IN ($names)
	EOC
is($node->sql(q{SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = 'many' AND relname = 'plain'}), $N, 'and are true');
SKIP:
{
	skip 'this server has no pg_stat_statements', 1 if !$has{pg_stat_statements};
	# from 18 on, tables of one name in two schemas make one statement
	is($node->sql(q{SELECT string_agg(DISTINCT rows || ' ' || rolname, ', ') FROM (SELECT sum(rows) AS rows, rolname FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE query ~ '^INSERT INTO (plain|toast|after|joined) ' AND toplevel GROUP BY query, rolname) s}),
		2 * $N . ' app', 'pg_stat_statements counts the rows, as of the owner');
}
my $decoded = q{
	SELECT md5(string_agg(replace(data, 'table %s.', ''), '|' ORDER BY split_part(data, ':', 1), i)), count(*) FROM decoded WHERE data ~ '^table %s\."?(plain|toast|parts_|after|deferred)'};
$node->sql(q{CREATE TABLE decoded AS SELECT row_number() OVER () AS i, data FROM pg_logical_slot_get_changes('decoded', NULL, NULL)});
like($node->sql(sprintf($decoded, 'many', 'many')), qr/\|\d{4,}$/, 'changes are decoded');
is($node->sql(sprintf($decoded, 'many', 'many')), $node->sql(sprintf($decoded, 'one', 'one')), 'the same changes are decoded, with values that are stored apart');

# ---- one who reads meanwhile ----

$node->sql('SET ROLE app; CREATE TABLE many.reading (n int PRIMARY KEY)');
my $reader = $node->start_session('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM many.reading');
is($reader->ask('SELECT 1'), "0\n1", 'a reader has looked');
$node->add_stream('reading', topics => q{'{items}'}, owner => q{'app'}, value_type => q{'item'}, statement => q{'INSERT INTO many.reading SELECT n FROM records'});
$node->wait_applied('reading', $N);
is($reader->ask('SELECT count(*) FROM many.reading'), 0, 'a SERIALIZABLE reader sees none of the rows');
$reader->ask('COMMIT');
is($reader->ask('SELECT count(*) FROM many.reading'), $N, 'and all of them afterwards');
$reader->finish;

# ---- a statement that does not end ----

$node->sql('SET ROLE app; CREATE TABLE many.endless (n int, word text, i int)');
$node->add_stream('endless', topics => q{'{items}'}, owner => q{'app'}, value_type => q{'item'}, statement => q{'INSERT INTO many.endless SELECT n, repeat(word, 100), generate_series(1, 100000000) FROM records'});
$node->wait_for('many of its rows', q{SELECT pg_relation_size('many.endless') > 60000000});
my $worker = q{(SELECT rappel_conso.worker_pid('stream', 'endless'))};
SKIP:
{
	my $pid = $node->sql("SELECT $worker");
	my $status = -r "/proc/$pid/status" ? slurp_file("/proc/$pid/status") : '';

	skip('this system does not tell RssAnon', 1) unless $status =~ /^RssAnon:\s+(\d+) kB/m;
	cmp_ok($1, '<', 40 * 1024, 'rows do not wait for their end');
}
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'endless'});
$node->becomes_true('a statement that is no longer wanted is cancelled', "SELECT $worker IS NULL");
is($node->sql('SELECT count(*) FROM many.endless'), 0, 'and leaves no row');

done_testing();
