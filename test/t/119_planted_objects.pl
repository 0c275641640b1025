# 119_planted_objects.pl
#     R2, R11: before CREATE EXTENSION a role that may create in the target
#     schema plants, under every name that the install script uses, functions,
#     operators, casts, types and tables that fit better.  Nothing of ours is
#     bound to one, whatever the search_path of who uses it; and each function
#     of the extension is made so that it cannot be.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', extension => 0, conf => "max_worker_processes = 20\n");

# ---- what is planted ----

# Every word of the install script that may be a function or an operator of the
# server is planted; so its own text says what there is to plant.
my $script = join('', map { slurp_file($_) } sort(glob("$RappelConso::top/sql/parts/*.sql")));
my %words = map { $_ => 1 } $script =~ /\b([a-z_][a-z0-9_]*)\b/g;
my $words = join(' ', sort keys %words);

$node->sql(q{
	CREATE ROLE mallory LOGIN;
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE SCHEMA evil AUTHORIZATION mallory;
	GRANT USAGE ON SCHEMA evil TO PUBLIC});

# What is planted says in the server's log that it ran, since that outlives
# a rollback.
$node->sql(<<~EOC);
	SET ROLE mallory;
	SET search_path = pg_catalog;
	CREATE TYPE public.sneaky AS (v text);
	CREATE FUNCTION public.become(text) RETURNS public.sneaky LANGUAGE plpgsql AS
	  \$\$ BEGIN RAISE LOG 'BITE: cast as %', current_user; RETURN ROW(\$1)::public.sneaky; END \$\$;
	CREATE CAST (text AS public.sneaky) WITH FUNCTION public.become(text) AS IMPLICIT;
	DO \$plant\$
	DECLARE
	  words CONSTANT name[] := string_to_array('$words', ' ');
	  f record;
	  arguments text;
	  shape text;
	BEGIN
	  FOR f IN SELECT p.oid, p.proname, p.pronargs, p.proretset, p.prorettype::regtype AS result, pg_get_function_identity_arguments(p.oid) AS arguments
	             FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.proname = ANY (words) AND p.pronargs <= 6
	  LOOP
	    FOREACH shape IN ARRAY ARRAY['same', 'text', 'anyelement', 'public.sneaky', 'varchar'] LOOP
	      arguments := CASE shape WHEN 'same' THEN f.arguments ELSE array_to_string(array_fill(shape, ARRAY[f.pronargs]), ', ') END;
	      BEGIN
	        EXECUTE format(\$f\$CREATE FUNCTION public.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS
	          'BEGIN RAISE LOG ''BITE: function %% as %%'', \$\$%s\$\$, current_user; RETURN%s; END'\$f\$,
	          f.proname, arguments, CASE WHEN f.proretset THEN 'SETOF' END, f.result, f.proname, CASE WHEN f.result <> 'void'::regtype AND NOT f.proretset THEN ' NULL' END);
	      EXCEPTION WHEN OTHERS THEN NULL;
	      END;
	    END LOOP;
	  END LOOP;
	  FOR f IN SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS result, row_number() OVER () AS n
	             FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
	  LOOP
	    BEGIN
	      EXECUTE format(\$f\$CREATE FUNCTION public.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS
	        'BEGIN RAISE LOG ''BITE: operator %% as %%'', \$\$%s\$\$, current_user; RETURN NULL; END'\$f\$, f.n, f.l, f.r, f.result, f.oprname);
	      EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.operator_%s)', f.oprname, f.l, f.r, f.n);
	    EXCEPTION WHEN OTHERS THEN NULL;
	    END;
	  END LOOP;
	  FOR f IN SELECT t.typname AS name FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typname = ANY (words) AND t.typname !~ '^_' LOOP
	    EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.text CHECK (public.become(VALUE) IS NULL)', f.name);
	  END LOOP;
	  FOR f IN SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname = ANY (words)
	           UNION ALL SELECT unnest(ARRAY['records', 'stream', 'source', 'run', 'task', 'outbox', 'dead_letter', 'stream_offset', 'lag', 'recall', 'topic_grant']) LOOP
	    EXECUTE format('CREATE VIEW public.%I AS SELECT public.become(pg_catalog.current_database()::pg_catalog.text) AS name', f.name);
	  END LOOP;
	END
	\$plant\$;
	EOC
cmp_ok($node->sql(q{SELECT count(*) FROM pg_proc WHERE proowner = 'mallory'::regrole}), '>', 1000, 'functions are planted');
cmp_ok($node->sql(q{SELECT count(*) FROM pg_operator WHERE oprowner = 'mallory'::regrole}), '>', 600, 'and operators');
cmp_ok($node->sql(q{SELECT count(*) FROM pg_class WHERE relowner = 'mallory'::regrole AND relkind = 'v'}), '>', 20, 'and views, named like catalogs and like tables of ours');
cmp_ok($node->sql(q{SELECT count(*) FROM pg_type WHERE typowner = 'mallory'::regrole AND typtype = 'd'}), '>', 8, 'and types');

# What bites if it is called: the trap works.
my $log_at = $node->log_position;

sub bites
{
	my $text = $node->log_since($log_at);

	$log_at = $node->log_position;
	return join("\n", $text =~ /BITE: (.* as .*)$/mg);
}
my $boss = $node->sql('SELECT current_user');
$node->sql(q{SET search_path = public, pg_catalog; SELECT length('a'::pg_catalog.text), 1 + 1});
like(bites(), qr/function length as $boss\noperator \+ as $boss/, 'who looks there first runs what is planted');

# ---- CREATE EXTENSION ----

my ($code, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION rappel_conso');
is($code, 0, 'the extension is created');
like($err, qr/WARNING:  .*"rappel_conso".*\nDETAIL:  .*\bpublic\b.*\bmallory\b/,
	'R11: with a warning that names who may create there');
is(bites(), '', 'R2: nothing that is planted runs');
my $member = q{SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'rappel_conso')};
my $bound = qq{
	WITH RECURSIVE ours AS (
	  $member
	   UNION
	  SELECT d.classid, d.objid FROM ours o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid AND d.deptype IN ('a', 'i'))
	SELECT pg_describe_object(o.classid, o.objid, 0) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, 0)
	  FROM ours o JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid
	 WHERE 'mallory' = (SELECT pg_get_userbyid(CASE d.refclassid
	         WHEN 'pg_proc'::regclass THEN (SELECT proowner FROM pg_proc WHERE oid = d.refobjid)
	         WHEN 'pg_operator'::regclass THEN (SELECT oprowner FROM pg_operator WHERE oid = d.refobjid)
	         WHEN 'pg_type'::regclass THEN (SELECT typowner FROM pg_type WHERE oid = d.refobjid)
	         WHEN 'pg_class'::regclass THEN (SELECT relowner FROM pg_class WHERE oid = d.refobjid) END))};
is($node->sql($bound), '', 'R2: no object of ours is bound to one that is planted');

# ---- and use of it ----

# Those that he can add when he knows ours: another's arguments fit worse only
# where each of ours has its type.
$node->sql(q{
	SET ROLE mallory;
	SET search_path = pg_catalog;
	DO $plant$
	DECLARE
	  f record;
	  shape text;
	  n integer;
	BEGIN
	  FOR f IN SELECT p.proname, p.pronargs, p.pronargdefaults FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
	            WHERE p.pronamespace = 'public'::regnamespace AND p.proname ~ '^rc_' LOOP
	    FOREACH shape IN ARRAY ARRAY['text', 'varchar', 'anyelement', 'name', '"char"', 'json', 'public.sneaky', 'bigint', 'regclass'] LOOP
	      FOR n IN GREATEST(f.pronargs - f.pronargdefaults, 1) .. f.pronargs + 1 LOOP
	        BEGIN
	          EXECUTE format($f$CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE LOG ''BITE: function %% as %%'', $$%s$$, current_user; RETURN NULL; END'$f$,
	            f.proname, array_to_string(array_fill(shape, ARRAY[n]), ', '), f.proname);
	        EXCEPTION WHEN OTHERS THEN NULL;
	        END;
	      END LOOP;
	    END LOOP;
	  END LOOP;
	END
	$plant$});
cmp_ok($node->sql(q{SELECT count(*) FROM pg_proc WHERE proowner = 'mallory'::regrole AND proname ~ '^rc_'}), '>', 100, 'overloads of our own functions are planted');

$node->sql("UPDATE rappel_conso.source SET url = '${\$api->url}', retry_delay = '100 ms'");
my @uses = (
	q{SELECT pg_catalog.count(*) FROM public.rc_sync_now('rappel_conso'::pg_catalog.text, false)},
	q{SELECT public.rc_search_index()},
	q{SELECT pg_catalog.count(*) FROM public.rc_search('alimentation'::pg_catalog.text)},
	q{SELECT pg_catalog.count(*) FROM public.rc_recalls_at('2100-01-01'::pg_catalog.timestamptz)},
	q{SELECT pg_catalog.count(*) FROM public.rc_status()},
	q{SELECT pg_catalog.length(public.rc_report())},
	q{SELECT public.rc_fold('x'::pg_catalog.text)},
	q{SELECT public.rc_own_table('rappel_conso_table'::pg_catalog.text)},
	q{SELECT public.rc_publish('t'::pg_catalog.text, 'v'::pg_catalog.text, 'k'::pg_catalog.text, NULL::pg_catalog.jsonb)},
	q{SELECT public.rc_publish('t'::pg_catalog.text, '{}'::pg_catalog.jsonb, 'k'::pg_catalog.text, NULL::pg_catalog.jsonb)},
	q{SELECT public.rc_publish('t'::pg_catalog.text, 'v'::pg_catalog.bytea, 'k'::pg_catalog.bytea, NULL::pg_catalog.jsonb)},
	q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'SELECT FROM records')},
	q{UPDATE rappel_conso.stream SET batch_size = 7, statement = 'SELECT 1 FROM records' WHERE name OPERATOR(pg_catalog.=) 's'::pg_catalog.text},
	q{SELECT public.rc_seek('s'::pg_catalog.text, 'latest'::pg_catalog.text)},
	q{SELECT public.rc_seek('rappel_conso'::pg_catalog.text, '2026-01-01'::pg_catalog.text)},
	q{INSERT INTO rappel_conso.source (name, url, dataset, stream) VALUES ('x', 'http://127.0.0.1/api', 'x', 's')},
	q{UPDATE rappel_conso.source SET dataset = 'y', name = 'z' WHERE name OPERATOR(pg_catalog.=) 'x'::pg_catalog.text},
	q{SELECT public.rc_trigger('rappel_conso'::pg_catalog.text, true)},
	q{SELECT public.rc_cancel(r.id) FROM rappel_conso.run r WHERE r.state OPERATOR(pg_catalog.=) 'queued'::pg_catalog.text},
	q{SELECT public.rc_cancel(public.rc_backfill('rappel_conso'::pg_catalog.text, '2026-01-01'::pg_catalog.timestamptz, '2026-03-01'::pg_catalog.timestamptz, '1 month'::pg_catalog.interval))},
	q{DELETE FROM rappel_conso.source WHERE name OPERATOR(pg_catalog.=) 'z'::pg_catalog.text},
	q{INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('mallory', 'a.*', true)},
	q{DELETE FROM rappel_conso.topic_grant},
	q{SELECT public.rc_start()}, q{SELECT public.rc_stop()},
	q{UPDATE public.rappel_conso_table SET withdrawn_at = pg_catalog.now(), updated_at = pg_catalog.now()},
	q{DELETE FROM public.rappel_conso_table},
	q{DELETE FROM rappel_conso.stream WHERE name OPERATOR(pg_catalog.=) 's'::pg_catalog.text});

# The second time as whoever looks into his schema first.
foreach my $path ('"$user", public', 'public, pg_catalog, pg_temp')
{
	bites();
	foreach my $sql (@uses)
	{
		my ($code, $out, $err) = $node->psql('postgres', "SET search_path = $path; $sql", on_error_stop => 1);

		is($err =~ /ERROR: +(.*)/ ? $1 : 'done', 'done', "with search_path $path: $sql");
		is(bites(), '', 'R2: and nothing that is planted runs');
	}
}
is($node->sql($bound), '', 'R2: nor is anything bound to it by that');
is($node->sql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', 'mallory is what she was');

# ---- how our functions are made ----

# A body that is a text is looked up when it runs, so it says where; and what
# it calls of ours has the exact types, which only a reader of it can tell: the
# overloads above would have bitten.
is( $node->sql(qq{
		SELECT p.oid::regprocedure FROM pg_proc p JOIN ($member) m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
		 JOIN pg_language l ON l.oid = p.prolang
		 WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
		   AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)}),
	'', 'every function with a text for a body has its search_path');
is( $node->sql(qq{
		SELECT p.oid::regprocedure FROM pg_proc p JOIN ($member) m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
		 WHERE p.prosecdef AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)}),
	'', 'so has every one that runs with the rights of its owner');
is($node->sql(q{SELECT count(*) FROM pg_proc WHERE proname = 'rappel_conso_keep_history' AND 'search_path=pg_catalog, pg_temp' = ANY (proconfig)}),
	'1', 'and the one that setup makes');
is( $node->sql(qq{
		SELECT p.oid::regprocedure FROM pg_proc p JOIN ($member) m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
		 WHERE EXISTS (SELECT FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)}),
	'', 'nothing is granted to PUBLIC');
unlike($script =~ s/^\\echo.*$//mr, qr/\\/, 'R8: no literal of the install script holds a backslash');

# Texts of SQL that C code runs: constants, by the fixed plans of query.c, with
# its search_path; else those of users, as their owner.
my %spi;
foreach my $file (glob("$RappelConso::top/src/*.c $RappelConso::top/src/*/*.c"))
{
	$spi{$1} = 1 if slurp_file($file) =~ /\bSPI_(?:prepare|execute|exec|execute_with_args)\s*\(/ && $file =~ m{src/(.*)};
}
is(join(' ', sort keys %spi), 'store/query.c store/statement_check.c store/statement_run.c store/statement_setup.c', 'SQL is run in four files');

# ---- schemas with names that are no simple words ----

$node->sql('CREATE DATABASE odd');

# The error of CREATE EXTENSION in a schema; without one, what was installed is
# tested and dropped.
sub install_in
{
	my ($schema) = @_;
	my $ident = '"' . ($schema =~ s/"/""/gr) . '"';

	utf8::encode(my $shown = $schema);
	utf8::encode($ident);
	my ($code, $out, $err) = $node->psql('odd', "CREATE SCHEMA $ident; CREATE EXTENSION rappel_conso SCHEMA $ident");
	return $err if $code != 0 || $err =~ /ERROR/;
	$node->safe_psql('odd', "UPDATE rappel_conso.source SET url = '${\$api->url}', retry_delay = '100 ms'");
	is( $node->safe_psql('odd', qq{
			SELECT state FROM $ident.rc_sync_now();
			SELECT count(*) > 0 FROM $ident.rc_search('alimentation');
			SELECT $ident.rc_search_index();
			SELECT count(*) > 0 FROM $ident.rc_search('alimentation');
			UPDATE $ident.rappel_conso_table SET updated_at = now();
			SELECT count(*) > 0 FROM $ident.rc_recalls_at(now());
			SELECT count(*) > 0 FROM $ident.rappel_conso_history;
			SELECT $ident.rc_report() LIKE '%<section id="recalls"><h2>%<figure>%';
			SELECT $ident.rc_own_table('rappel_conso_table') = '$ident.rappel_conso_table'::regclass;
			SELECT count(*) FROM $ident.rc_status() WHERE component = 'source'}),
		"success\nt\nt\nt\nt\nt\nt\nt\n1", "a schema named $shown");
	$node->safe_psql('odd', "DROP EXTENSION rappel_conso; DROP SCHEMA $ident CASCADE");
	return '';
}

is(install_in($_), '', 'is a schema for it') foreach 'a b', '%s%I%L', 'Capital', 'select', 'a.b;c', "\N{U+e9}t\N{U+e9}", '0';
like(install_in($_), qr/ERROR:  invalid (?:character|string) in extension/, "a schema named $_ is refused by the server")
  foreach "x'y", 'pg"q', 'do$do$', 'back\\slash';
# by those that know them to be comments; others must work
like(install_in($_), qr/^$|ERROR:  invalid (?:character|string) in extension/, "a schema named $_ is refused, or a schema for it") foreach 'a--b', '/*';

done_testing();
