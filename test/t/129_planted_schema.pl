# 129_planted_schema.pl
#     What of ours outlives the extension, or has been given away: a query that
#     calls a function of ours, or a worker that waits, while the extension is
#     dropped and somebody else makes a schema of that name; a schema that is
#     renamed, or belongs to a role without superuser (R1).  Nothing that stands
#     there then runs with a superuser's rights.
#
# What bites leaves it in a sequence, which no rollback takes back.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', api => $api);
my $root = $node->sql('SELECT current_user');

$node->sql(<<~'EOC');
	CREATE ROLE eve LOGIN;
	CREATE SCHEMA eve AUTHORIZATION eve;
	GRANT CREATE ON DATABASE postgres TO eve;
	GRANT USAGE ON SCHEMA rappel_conso TO eve;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO eve;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO eve;
	INSERT INTO rappel_conso.topic_grant VALUES ('eve', 'eve.*', true, true);
	EOC
$node->sql(<<~'EOC', extra_params => [ '-U', 'eve' ]);
	CREATE SEQUENCE eve.bitten;
	CREATE FUNCTION eve.bite() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
	  IF current_user <> 'eve' THEN PERFORM nextval('eve.bitten'); ALTER ROLE eve SUPERUSER; END IF;
	  RETURN true;
	END $$;
	CREATE FUNCTION eve.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM eve.bite(); RETURN NULL; END $$;
	EOC

# Views that bite under all names of our tables, and whatever reads or writes
# them; the same for the functions that C code calls.
my @plant = split(/\n/, $node->sql(q{
	SELECT format('CREATE VIEW rappel_conso.%I AS SELECT %s WHERE eve.bite()', c.relname,
	              string_agg(format('CASE WHEN eve.bite() THEN NULL::%s END AS %I', format_type(a.atttypid, NULL), a.attname), ', ' ORDER BY a.attnum DESC))
	    || format('; CREATE TRIGGER t INSTEAD OF INSERT OR UPDATE OR DELETE ON rappel_conso.%I FOR EACH ROW EXECUTE FUNCTION eve.trap()', c.relname)
	  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	 WHERE c.relnamespace = 'rappel_conso'::regnamespace AND c.relkind IN ('r', 'v')
	   AND NOT a.attisdropped AND (a.attnum > 0 OR a.attname IN ('xmin', 'ctid'))
	   AND format_type(a.atttypid, NULL) !~ '^rappel_conso[.]'
	 GROUP BY c.relname
	UNION ALL
	SELECT format('CREATE FUNCTION rappel_conso.%I(%s) RETURNS %s LANGUAGE sql AS $$SELECT eve.bite(); SELECT NULL::%3$s$$',
	              p.proname, pg_get_function_identity_arguments(p.oid), format_type(p.prorettype, NULL))
	  FROM pg_proc p WHERE p.pronamespace = 'rappel_conso'::regnamespace AND NOT p.proretset
	   AND p.prorettype IN (SELECT oid FROM pg_type WHERE typtype = 'b')}));
cmp_ok(scalar @plant, '>', 30, 'views and functions are planted');

sub plant
{
	my ($dbname) = @_;

	is( $node->sqlstate_of(join(";\n", 'CREATE SCHEMA rappel_conso', 'GRANT USAGE ON SCHEMA rappel_conso TO PUBLIC', @plant), role => 'eve', dbname => $dbname),
		'00000', 'eve makes a schema of that name');
	return;
}

sub not_bitten
{
	my ($what, $dbname) = @_;

	is($node->sql('SELECT is_called FROM eve.bitten', dbname => $dbname // 'postgres'), 'f', "R1: $what: nothing of it has run as anybody else");
	is($node->sql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'eve'}), 'f', "R1: $what: and eve is what she was");
	return;
}

# ---- a query that calls a function of ours when that is no more ----

# The function was looked up when the query began.
my %calls = (
	rc_seek => q{rc_seek('x', 'latest')},
	'rc_seek to a place' => q{rc_seek('x', '0:1')},
	rc_publish => q{rc_publish('eve.x', 'x'::bytea)},
	rc_republish => q{rc_republish('eve.x')},
	rc_drain => q{rc_drain('x')},
	rc_retry => q{rc_retry('x')},
	rc_sync_now => q{rc_sync_now('x')},
	rc_trigger => q{rc_trigger('x')},
	rc_backfill => q{rc_backfill('x', '2026-01-01', '2026-01-02')},
	rc_wait => q{rc_wait(1)},
	rc_cancel => q{rc_cancel(1)},
	rc_stop => q{rc_stop()},
	rc_own_table => q{rc_own_table('rappel_conso_table')});
my @names = sort keys %calls;
my $gate = $node->start_session("SELECT pg_advisory_lock(1);\n\\warn closed\nSELECT pg_sleep(1000)");
$gate->wait_for(qr/closed/);
my %late = map {
	$_ => $node->start_session("\\connect - eve\nSELECT CASE n WHEN 1 THEN (SELECT pg_advisory_lock_shared(1)::text) ELSE ($calls{$_})::text END FROM generate_series(1, 2) n")
} @names;

# And a worker that waits for the API.
$api->fault('hang', on => 'meta');
$node->sql('SELECT rc_start(); SELECT rc_trigger()');
$api->wait_held;

$node->wait_for('queries that wait', q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'eve' AND wait_event = 'advisory'}, expected => scalar @names);
is($node->sqlstate_of('DROP EXTENSION rappel_conso'), '00000', 'the extension is dropped');
plant('postgres');
$node->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()});
$gate->finish;
foreach my $name (@names)
{
	$late{$name}->finish;
	is($late{$name}{sqlstate}, '42704', "R1: $name after DROP EXTENSION: there is no extension");
}
not_bitten('a function of a dropped extension');
$api->release;
$node->wait_for('its worker, and others', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'rappel_conso'}, expected => '0');
not_bitten('a worker of a dropped extension');

# The trap works.
$node->sql(q{SELECT count(*) FROM rappel_conso.run; SELECT rappel_conso.reads('x')});
is($node->sql('SELECT is_called FROM eve.bitten'), 't', 'who reads what is planted is bitten');
$node->sql('DROP SCHEMA rappel_conso CASCADE; ALTER ROLE eve NOSUPERUSER; ALTER SEQUENCE eve.bitten RESTART');

# ---- a schema that is renamed, or given away ----

$node->sql('CREATE EXTENSION rappel_conso; GRANT EXECUTE ON FUNCTION rc_seek TO eve');
is($node->sqlstate_of('ALTER SCHEMA rappel_conso RENAME TO other'), '2BP01', 'R1: the schema cannot be renamed');
is($node->sqlstate_of('CREATE SCHEMA another; ALTER SCHEMA another RENAME TO other; DROP SCHEMA other'), '00000', 'others can');

$node->sql('CREATE ROLE boss LOGIN SUPERUSER; CREATE DATABASE given');
$node->sql('CREATE EXTENSION rappel_conso; CREATE SCHEMA eve; CREATE SEQUENCE eve.bitten', dbname => 'given', extra_params => [ '-U', 'boss' ]);
is($node->sql(q{SELECT rc_publish('x', 'x'::text) IS NOT NULL}, dbname => 'given'), 't', 'any superuser can make it');
$node->sql('ALTER ROLE boss NOSUPERUSER', dbname => 'given');
$node->sql(<<~'EOC', dbname => 'given', extra_params => [ '-U', 'boss' ]);
	CREATE FUNCTION rappel_conso.bite() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
	  IF current_user <> 'boss' THEN PERFORM nextval('eve.bitten'); END IF;
	  RETURN true;
	END $$;
	ALTER TABLE rappel_conso.outbox ADD CHECK (rappel_conso.bite());
	EOC
like($node->error_of(q{SELECT rc_publish('x', 'x'::text)}, dbname => 'given'), qr/^42501: (?=.*"rappel_conso").*"boss"/, 'R1: what belongs to no superuser does not run as one');
not_bitten('an owner who was a superuser', 'given');
$node->sql('ALTER SCHEMA rappel_conso OWNER TO eve');
like($node->error_of(q{SELECT rc_publish('x', 'x'::text)}), qr/^42501: (?=.*"rappel_conso").*"eve"/, 'R1: nor does a schema that was given away');

done_testing();
