# 117_privilege_escalation.pl
#     What a role without superuser plants, in any schema that it may write, and
#     whatever it sets, runs with its own rights and no others.  Each attack
#     says what it is, is carried out, and must have gained nothing.
#
# What mallory plants calls evil.bite(), which writes to the server's log who
# runs it (that outlives any rollback) and grabs at what she may not have.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node('attacks', kafka => $kafka, extension => 0, conf => "max_worker_processes = 30\n");

# These have the first OIDs that there are for roles.
my @roles = ('mallory', 'alice', 'watcher');
$node->sql("CREATE ROLE $_ LOGIN") foreach @roles;
$node->create_extension(api => $api);

my $boss = $node->sql('SELECT current_user');
$kafka->create_topic($_) foreach 'mallory.in', 'alice.in', 'mallory.bad';
$kafka->produce_many('mallory.in', [ [ 'k', '{"n": 1}' ], [ 'k', '{"n": 2}' ] ]);
$kafka->produce_many('mallory.bad', [ [ 'k', '{"n": 1}' ], [ 'k', 'no json' ], [ 'k', '{"n": 3}' ] ]);
$kafka->produce_many('alice.in', [ [ 'k', '{"n": 1}' ], [ 'k', 'secret of alice' ] ]);

$node->sql(q{
	UPDATE rappel_conso.source SET poll_interval = NULL;
	GRANT pg_monitor TO watcher;
	CREATE SCHEMA evil AUTHORIZATION mallory; GRANT USAGE ON SCHEMA evil TO PUBLIC;
	CREATE SCHEMA alice AUTHORIZATION alice;
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE TABLE trophy (what text, who text); REVOKE ALL ON trophy FROM PUBLIC});
$node->sql(qq{
	GRANT USAGE ON SCHEMA rappel_conso TO $_;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO $_;
	GRANT SELECT ON rappel_conso.stream_offset, rappel_conso.stream_state, rappel_conso.dead_letter, rappel_conso.outbox, rappel_conso.lag,
	  rappel_conso.run, rappel_conso.task, rappel_conso.source_state TO $_;
	GRANT EXECUTE ON FUNCTION rc_seek, rc_retry, rc_drain, rc_sync_now, rc_trigger, rc_backfill, rc_wait, rc_cancel, rc_search, rc_recalls_at, rc_fold,
	  rc_publish(text, text, text, jsonb), rc_publish(text, bytea, bytea, jsonb) TO $_;
	INSERT INTO rappel_conso.topic_grant VALUES ('$_', '$_.*', true, true)}) foreach 'alice', 'mallory';

is(outcome_with_rows('alice', q{
	CREATE TABLE alice.t (n int);
	CREATE TYPE alice.private AS (n int); REVOKE USAGE ON TYPE alice.private FROM PUBLIC;
	CREATE DOMAIN alice.private_number AS int; REVOKE USAGE ON TYPE alice.private_number FROM PUBLIC;
	GRANT USAGE ON SCHEMA alice TO PUBLIC;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('alice', '{alice.in}', 'INSERT INTO alice.t SELECT (value->>''n'')::int FROM records');
	SELECT applied, dead FROM rc_drain('alice')}), '2|1', 'alice has a stream, and a dead letter');

outcome_with_rows('mallory', qq{
	CREATE FUNCTION evil.bite(what text) RETURNS text LANGUAGE plpgsql AS \$\$
	BEGIN
	  RAISE LOG 'BITE: % as % (%)', what, current_user, session_user;
	  BEGIN INSERT INTO public.trophy VALUES (what, current_user); EXCEPTION WHEN OTHERS THEN NULL; END;
	  BEGIN ALTER ROLE mallory SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END;
	  RETURN what;
	END \$\$;
	-- for where only what never changes may stand
	CREATE FUNCTION evil.still(what text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS \$\$
	BEGIN
	  RAISE LOG 'BITE: % as % (%)', what, current_user, session_user;
	  RETURN what;
	END \$\$;
	CREATE FUNCTION evil.is(what text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT evil.still(what) IS NOT NULL';
	CREATE FUNCTION evil.trap() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
	  PERFORM evil.bite(TG_ARGV[0]);
	  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	END \$\$;
	CREATE FUNCTION evil.run(command text) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE command; RETURN command; END \$\$;
	CREATE TABLE evil.t (v text)});

my $log_at = $node->log_position;

# As a role, whatever an attack has made of its row_security.
sub outcome_with_rows
{
	my ($role, $sql) = @_;

	return $node->outcome_as($role, "SET row_security = on;\n$sql");
}

# Who was bitten since the last look, as "name of the attack as role".
sub bitten
{
	my $text = $node->log_since($log_at);
	my %who;

	$log_at = $node->log_position;
	$who{$_} = 1 foreach $text =~ /LOG:  BITE: .* as (\w+) \(/g;
	return join(' ', sort keys %who);
}

# All that is not mallory's.
my $state = q{
	SELECT md5(string_agg(s::text, '' ORDER BY name)) FROM rappel_conso.stream s WHERE owner <> 'mallory'
	UNION ALL SELECT md5(string_agg(s::text, '' ORDER BY name)) FROM rappel_conso.source s WHERE owner <> 'mallory'
	UNION ALL SELECT md5(string_agg(o::text, '' ORDER BY topic, partition)) FROM rappel_conso.stream_offset o WHERE stream IN ('alice', 'rappel_conso')
	UNION ALL SELECT md5(string_agg(d::text, '' ORDER BY id)) FROM rappel_conso.dead_letter d WHERE owner <> 'mallory'
	UNION ALL SELECT count(*)::text FROM rappel_conso.outbox WHERE owner <> 'mallory' OR topic !~ '^mallory[.]'
	UNION ALL SELECT string_agg(g::text, ' ' ORDER BY g) FROM rappel_conso.topic_grant g
	UNION ALL SELECT count(*)::text FROM alice.t
	UNION ALL SELECT count(*)::text FROM trophy
	UNION ALL SELECT string_agg(rolname || rolsuper || rolcreaterole || rolbypassrls, ' ' ORDER BY rolname) FROM pg_roles WHERE oid >= 16384
	UNION ALL SELECT count(*)::text FROM pg_auth_members m WHERE m.member = 'mallory'::regrole
	UNION ALL SELECT count(*)::text FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'rappel_conso'::regnamespace)
	UNION ALL SELECT string_agg(evtname, ' ') FROM pg_event_trigger};
my $before = $node->sql($state);
my $tried = 0;

sub gained_nothing
{
	my ($name, $bitten) = @_;

	$tried++;
	is($bitten =~ s/^mallory$//r, '', "$name: nothing of hers ran as another");
	is($node->sql($state), $before, "$name: nothing was gained");
	return;
}

# ---- by what a worker runs ----

# Each is a stream of mallory's over two records, one to a batch; what its
# drain says is its outcome: the applied and dead records, or the error.
# [ name, outcome, SQL before, columns of the stream; "bites" when code of hers
# must have run, as her ]
my $ok = '2|0';
my $refused = qr/^42501: .*\b0\b.*"mallory\.in".*\b0\b.*: ./;
my $in = 'INSERT INTO t SELECT key FROM records';
my @streams = (
	[ 'operator =', $ok, q{CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT evil.bite('=') IS NOT NULL$$;
	   CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq)}, { statement => q{INSERT INTO t SELECT key FROM records WHERE key = 'k'} }, 'bites' ],
	[ 'operator ~~', $ok, q{CREATE OPERATOR evil.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq)},
	  { statement => q{INSERT INTO t SELECT key FROM records WHERE key LIKE 'k'} }, 'bites' ],
	[ 'operator ->>', $ok, q{CREATE FUNCTION evil.arrow(jsonb, text) RETURNS text LANGUAGE sql AS $$SELECT evil.bite('->>')$$;
	   CREATE OPERATOR evil.->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = evil.arrow)}, { statement => q{INSERT INTO t SELECT value->>'n' FROM records} }, 'bites' ],
	[ 'functions before pg_catalog', $ok, q{CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$SELECT evil.bite('lower')$$;
	   CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT evil.bite('now'); SELECT pg_catalog.now()$$;
	   CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT evil.bite('clock'); SELECT pg_catalog.now()$$},
	  { statement => q{INSERT INTO t SELECT lower(key) || now() FROM records} }, 'bites' ],
	[ 'cast', $ok, q{CREATE TYPE evil.box AS (v text); CREATE FUNCTION evil.box(text) RETURNS evil.box LANGUAGE sql AS $$SELECT evil.bite('cast'), ROW($1)::evil.box; SELECT ROW(evil.bite('cast'))::evil.box$$;
	   CREATE CAST (text AS evil.box) WITH FUNCTION evil.box(text) AS IMPLICIT; CREATE TABLE evil.boxes (b evil.box)} =~ s/SELECT evil.bite\('cast'\), ROW\(\$1\)::evil.box; //r,
	  { statement => q{INSERT INTO boxes SELECT key::evil.box FROM records} }, 'bites' ],
	[ 'assignment cast', $ok, q{DROP CAST (text AS evil.box); CREATE CAST (text AS evil.box) WITH FUNCTION evil.box(text) AS ASSIGNMENT},
	  { statement => q{INSERT INTO boxes SELECT key FROM records} }, 'bites' ],
	[ 'domain in the statement', $ok, q{CREATE DOMAIN evil.word AS text CHECK (evil.bite('domain') IS NOT NULL)}, { statement => q{INSERT INTO t SELECT key::evil.word FROM records} }, 'bites' ],
	[ 'domain in value_type', $ok, q{CREATE DOMAIN evil.number AS int CHECK (evil.bite('domain of records') IS NOT NULL); CREATE TYPE evil.typed AS (n evil.number)},
	  { value_type => 'evil.typed', statement => q{INSERT INTO t SELECT n FROM records} }, 'bites' ],
	[ 'domains in arrays and rows of value_type', $ok, q{CREATE TYPE evil.deep AS (n evil.number, a evil.number[], r evil.typed)},
	  { value_type => 'evil.deep', statement => q{INSERT INTO t SELECT n FROM records} }, 'bites' ],
	[ 'table as value_type', $ok, q{CREATE TABLE evil.shape (n int DEFAULT length(evil.bite('default of value_type')), CHECK (evil.is('check of value_type')))},
	  { value_type => 'evil.shape', statement => q{INSERT INTO t SELECT n FROM records} } ],
	[ 'default', $ok, q{CREATE TABLE evil.d (v text, w text DEFAULT evil.bite('default'))}, { statement => 'INSERT INTO d (v) SELECT key FROM records' }, 'bites' ],
	[ 'trigger before', $ok, q{CREATE TABLE evil.b (v text); CREATE TRIGGER b BEFORE INSERT ON evil.b FOR EACH ROW EXECUTE FUNCTION evil.trap('before')},
	  { statement => 'INSERT INTO b SELECT key FROM records' }, 'bites' ],
	[ 'trigger after, with what it saw', $ok, q{CREATE TABLE evil.a (v text); CREATE TRIGGER a AFTER INSERT ON evil.a REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION evil.trap('after')},
	  { statement => 'INSERT INTO a SELECT key FROM records' }, 'bites' ],
	[ 'deferred trigger', $ok, q{CREATE TABLE evil.late (v text); CREATE CONSTRAINT TRIGGER l AFTER INSERT ON evil.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.trap('deferred')},
	  { statement => 'INSERT INTO late SELECT key FROM records' }, 'bites' ],
	[ 'deferred trigger that puts itself off until the commit', $ok, q{CREATE TABLE evil.later (n int);
	   CREATE FUNCTION evil.again() RETURNS trigger LANGUAGE plpgsql AS $$
	   BEGIN PERFORM evil.bite('again'); SET CONSTRAINTS ALL DEFERRED; IF NEW.n < 4 THEN INSERT INTO evil.later VALUES (NEW.n + 1); END IF; RETURN NULL; END $$;
	   CREATE CONSTRAINT TRIGGER l AFTER INSERT ON evil.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.again()},
	  { statement => 'INSERT INTO later SELECT 1 FROM records' }, 'bites' ],
	[ 'row-level security of the target', $ok, q{CREATE TABLE evil.p (v text); ALTER TABLE evil.p ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	   CREATE POLICY p ON evil.p USING (evil.bite('policy') IS NOT NULL)}, { statement => 'INSERT INTO p SELECT key FROM records' }, 'bites' ],
	[ 'view with a trigger as the target', $ok, q{CREATE VIEW evil.v AS SELECT 'x' AS v; CREATE TRIGGER v INSTEAD OF INSERT ON evil.v FOR EACH ROW EXECUTE FUNCTION evil.trap('instead')},
	  { statement => 'INSERT INTO v SELECT key FROM records' }, 'bites' ],
	[ 'rule', $ok, q{CREATE TABLE evil.ruled (v text); CREATE RULE r AS ON INSERT TO evil.ruled DO ALSO INSERT INTO evil.t VALUES (evil.bite('rule'))},
	  { statement => 'INSERT INTO ruled SELECT key FROM records' }, 'bites' ],
	[ 'generated column', $ok, q{CREATE TABLE evil.g (v text, w text GENERATED ALWAYS AS (evil.still('generated')) STORED)}, { statement => 'INSERT INTO g SELECT key FROM records' }, 'bites' ],
	[ 'index over an expression', $ok, q{CREATE TABLE evil.i (v text); CREATE INDEX ON evil.i (evil.still(v)) WHERE evil.is(v)}, { statement => 'INSERT INTO i SELECT key FROM records' }, 'bites' ],
	[ 'check', $ok, q{CREATE TABLE evil.c (v text CHECK (evil.is(v)))}, { statement => 'INSERT INTO c SELECT key FROM records' }, 'bites' ],
	[ 'foreign key that cascades', $ok, q{CREATE TABLE evil.top (v text PRIMARY KEY); CREATE TABLE evil.below (v text REFERENCES evil.top ON DELETE CASCADE);
	   CREATE TRIGGER b BEFORE DELETE ON evil.below FOR EACH ROW EXECUTE FUNCTION evil.trap('cascade'); INSERT INTO evil.top VALUES ('k'); INSERT INTO evil.below VALUES ('k')},
	  { statement => 'DELETE FROM top WHERE v OPERATOR(pg_catalog.=) ANY (SELECT key FROM records)' }, 'bites' ],
	[ 'partition over an expression', $ok, q{CREATE TABLE evil.part (v text) PARTITION BY LIST (evil.still(v)); CREATE TABLE evil.part_k PARTITION OF evil.part DEFAULT},
	  { statement => 'INSERT INTO part SELECT key FROM records' }, 'bites' ],
	[ 'aggregate', $ok, q{CREATE FUNCTION evil.add(text, text) RETURNS text LANGUAGE sql AS $$SELECT evil.bite('aggregate')$$; CREATE AGGREGATE evil.count(text) (SFUNC = evil.add, STYPE = text)},
	  { statement => 'INSERT INTO t SELECT count(key) FROM records' }, 'bites' ],
	[ 'function that returns rows', $ok, q{CREATE FUNCTION evil.rows(text) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN NEXT evil.bite('rows'); END$$},
	  { statement => 'INSERT INTO t SELECT r FROM records, rows(key) r' }, 'bites' ],
	[ 'function with the rights of its owner', $ok, q{CREATE FUNCTION evil.definer(text) RETURNS text SECURITY DEFINER LANGUAGE sql AS $$SELECT evil.bite('definer')$$},
	  { statement => 'INSERT INTO t SELECT definer(key) FROM records' }, 'bites' ],
	[ 'function that is run by the planner', $ok, '', { statement => q{INSERT INTO t SELECT still('planner') FROM records} }, 'bites' ],
	[ 'relation named records', $ok, q{CREATE VIEW evil.records AS SELECT evil.bite('records') AS key}, { statement => $in } ],
	[ 'output: domain and row', $ok, q{CREATE TYPE evil.message AS (w evil.word)},
	  { output_topic => 'mallory.out', statement => q{SELECT key::evil.word AS key, ROW(key)::evil.message AS value FROM records} }, 'bites' ],
	[ 'output: cast to json', $ok, q{CREATE TYPE evil.mood AS ENUM ('k'); CREATE FUNCTION evil.json(evil.mood) RETURNS json LANGUAGE sql AS $$SELECT evil.bite('json'); SELECT '{}'::json$$;
	   CREATE CAST (evil.mood AS json) WITH FUNCTION evil.json(evil.mood)},
	  { output_topic => 'mallory.out', statement => q{SELECT key, to_jsonb(key::evil.mood) AS value FROM records} }, 'bites' ],
	[ 'setup', $ok, '', { setup => q{SELECT evil.bite('setup'); CREATE TEMP TABLE records (key text); CREATE TEMP TABLE stream_offset (n int)}, statement => $in }, 'bites' ],
	[ 'setup that becomes another', qr/^42501: permission denied to set role "\Q$boss\E"/, '', { setup => q{SET ROLE BOSS}, statement => $in } ],
	[ 'set_config role', $refused, '', { statement => q{INSERT INTO t SELECT set_config('role', 'BOSS', false) FROM records} } ],
	[ 'set_config role of another', $refused, '', { statement => q{INSERT INTO t SELECT set_config('role', 'alice', true) FROM records} } ],
	[ 'set_config session_authorization', $refused, '', { statement => q{INSERT INTO t SELECT set_config('session_authorization', 'BOSS', false) FROM records} } ],
	[ 'session_replication_role', $refused, '', { statement => q{INSERT INTO t SELECT set_config('session_replication_role', 'replica', false) FROM records} } ],
	[ 'SET ROLE, RESET ROLE, RESET ALL', $ok, '', { statement => q{INSERT INTO t SELECT run('SET ROLE mallory; RESET ROLE; RESET ALL') FROM records} } ],
	[ 'RESET SESSION AUTHORIZATION', $ok, '', { statement => q{INSERT INTO t SELECT run('RESET SESSION AUTHORIZATION') || bite('reset') FROM records} }, 'bites' ],
	[ 'function with SET role', $refused, q{SET check_function_bodies = off; CREATE FUNCTION evil.up() RETURNS text SET role = BOSS LANGUAGE sql AS $$SELECT evil.bite('up')$$},
	  { statement => q{INSERT INTO t SELECT up() FROM records} } ],
	[ 'search_path for what comes after', '3|1', '', { topics => '{mallory.bad}', statement => q{INSERT INTO t SELECT set_config('search_path', 'evil, pg_catalog', false) FROM records} } ],
	[ 'settings for what comes after', '3|1', '', { topics => '{mallory.bad}', statement => q{INSERT INTO t SELECT set_config('standard_conforming_strings', 'off', false)
	   || set_config('transform_null_equals', 'on', false) || set_config('row_security', 'off', false) || set_config('client_encoding', 'LATIN1', false) FROM records} } ],
	[ 'tables in pg_temp under our names', '3|1', '', { topics => '{mallory.bad}', search_path_now => 'pg_temp, evil, pg_catalog', statement => q{INSERT INTO evil.t SELECT
	   evil.run('CREATE TEMP TABLE IF NOT EXISTS dead_letter (a int); CREATE TEMP TABLE IF NOT EXISTS pg_class (oid oid); CREATE TEMP TABLE IF NOT EXISTS pg_roles (oid oid)') FROM records} } ],
	[ 'functions in pg_temp', '3|1', '', { topics => '{mallory.bad}', statement => q{INSERT INTO t SELECT
	   run('CREATE OR REPLACE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $x$SELECT evil.bite(''temp''); SELECT now()$x$; SET search_path = pg_temp, pg_catalog') FROM records} } ],
	[ 'prepared statements', $ok, '', { statement => q{INSERT INTO t SELECT run('DEALLOCATE ALL; PREPARE p AS SELECT evil.bite(''prepared''); EXECUTE p') FROM records} }, 'bites' ],
	[ 'cursor that outlives the transaction', $ok, '', { statement => q{INSERT INTO t SELECT run('DECLARE c' || record_offset || ' CURSOR WITH HOLD FOR SELECT evil.bite(''cursor'')') FROM records} } ],
	[ 'table with an action at the commit', $ok, '', { statement => q{INSERT INTO t SELECT run('CREATE TEMP TABLE c' || record_offset || ' (v text DEFAULT evil.bite(''drop'')) ON COMMIT DELETE ROWS') FROM records} } ],
	[ 'pg_advisory_unlock_all()', $ok, '', { statement => q{INSERT INTO t SELECT pg_advisory_unlock_all()::text FROM records} } ],
	[ 'NOTIFY', $ok, '', { statement => q{INSERT INTO t SELECT pg_notify('rappel_conso', 'x')::text FROM records} } ],
	[ 'files by large objects', qr/^42501: permission denied for function lo_import/, '', { statement => q{INSERT INTO t SELECT lo_import('/etc/passwd')::text FROM records} } ],
	[ 'files by functions', qr/^42501: permission denied for function pg_read_file/, '', { statement => q{INSERT INTO t SELECT pg_read_file('postgresql.auto.conf') FROM records} } ],
	[ 'programs by COPY', $refused, '', { statement => q{INSERT INTO t SELECT run('COPY evil.t TO PROGRAM ''cat''') FROM records} } ],
	[ 'ALTER ROLE', $refused, '', { statement => q{INSERT INTO t SELECT run('ALTER ROLE mallory SUPERUSER') FROM records} } ],
	[ 'GRANT of membership', $refused, '', { statement => q{INSERT INTO t SELECT run('GRANT alice TO mallory') FROM records} } ],
	[ 'ALTER SYSTEM', qr/^25001/, '', { statement => q{INSERT INTO t SELECT run('ALTER SYSTEM SET rappel_conso.kafka_brokers = ''x''') FROM records} } ],
	[ 'event trigger', $refused, q{CREATE FUNCTION evil.event() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM evil.bite('event'); END$$},
	  { statement => q{INSERT INTO t SELECT run('CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION evil.event()') FROM records} } ],
	[ 'C function', $refused, '', { statement => q{INSERT INTO t SELECT run('CREATE FUNCTION evil.system(cstring) RETURNS int AS ''libc.so.6'', ''system'' LANGUAGE C') FROM records} } ],
	[ 'trigger on our table', $refused, '', { statement => q{INSERT INTO t SELECT run('CREATE TRIGGER z BEFORE UPDATE ON rappel_conso.stream FOR EACH ROW EXECUTE FUNCTION evil.trap(''ours'')') FROM records} } ],
	[ 'policy on our table', $refused, '', { statement => q{INSERT INTO t SELECT run('CREATE POLICY z ON rappel_conso.stream USING (true)') FROM records} } ],
	[ 'row-level security of our table off', $refused, '', { statement => q{INSERT INTO t SELECT run('ALTER TABLE rappel_conso.stream DISABLE ROW LEVEL SECURITY') FROM records} } ],
	[ 'function in our schema', $refused, '', { statement => q{INSERT INTO t SELECT run('CREATE FUNCTION rappel_conso.reads(varchar) RETURNS text LANGUAGE sql AS ''SELECT evil.bite(1::text)''') FROM records} } ],
	[ 'function of ours replaced', $refused, '', { statement => q{INSERT INTO t SELECT run('CREATE OR REPLACE FUNCTION public.rc_fold(text) RETURNS text LANGUAGE sql AS ''SELECT evil.bite(1::text)''') FROM records} } ],
	[ 'offsets of others', $refused, '', { statement => q{INSERT INTO t SELECT run('UPDATE rappel_conso.stream_offset SET next_offset = 0') FROM records} } ],
	[ 'which role a name means', $refused, '', { statement => q{INSERT INTO t SELECT run('UPDATE rappel_conso.known_role SET oid = 10') FROM records} } ],
	[ 'grants', $refused, '', { statement => q{INSERT INTO t SELECT run('INSERT INTO rappel_conso.topic_grant VALUES (''mallory'', ''*'', true, true)') FROM records} } ],
	[ 'secret tables', qr/^42501: permission denied for table trophy/, '', { statement => q{INSERT INTO t SELECT who FROM public.trophy, records} } ],
	[ 'a topic of others, by rc_publish()', $refused, '', { statement => q{INSERT INTO t SELECT public.rc_publish('alice.in', 'forged'::text)::text FROM records} } ],
	[ 'a topic of others, by rc_publish() in a trigger', $refused, q{CREATE TABLE evil.n (v text);
	   CREATE FUNCTION evil.publish() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.rc_publish('alice.in', 'forged'::text); RETURN NEW; END$$;
	   CREATE TRIGGER n BEFORE INSERT ON evil.n FOR EACH ROW EXECUTE FUNCTION evil.publish()}, { statement => 'INSERT INTO n SELECT key FROM records' } ],
	[ 'who she is after rc_publish()', $ok, '', { statement => q{INSERT INTO t SELECT public.rc_publish('mallory.out', 'mine'::text)::text || bite('after publish') FROM records} }, 'bites' ],
	[ 'a stream of others, by rc_seek()', qr{^42704: .*"mallory\.in".*: .*"alice"}, '', { statement => q{INSERT INTO t SELECT public.rc_seek('alice', 'earliest')::text FROM records} } ],
	[ 'end of the transaction', qr/^(?:2D000|0A000)/, q{CREATE PROCEDURE evil.finish() LANGUAGE plpgsql AS $$BEGIN COMMIT; PERFORM evil.bite('committed'); END$$},
	  { statement => q{INSERT INTO t SELECT run('CALL evil.finish()') FROM records} } ],
	[ 'role settings: search_path', '3|1', q{ALTER ROLE mallory SET search_path = evil, pg_catalog}, { topics => '{mallory.bad}', statement => q{INSERT INTO evil.t SELECT key FROM records} } ],
	[ 'role settings: role', '3|1', q{ALTER ROLE mallory RESET ALL; ALTER ROLE mallory SET role = 'alice'}, { topics => '{mallory.bad}', statement => q{INSERT INTO t SELECT bite('role') FROM records} }, 'bites' ],
	[ 'role settings: row_security', '3|1', q{ALTER ROLE mallory RESET ALL; ALTER ROLE mallory SET row_security = off}, { topics => '{mallory.bad}', statement => $in } ],
	[ 'role settings: no longer', $ok, q{ALTER ROLE mallory RESET ALL}, { statement => $in } ],
);

# Operators and functions that an attack has left in schema evil meet our own
# SQL in all that follow it: that is meant.
foreach my $attack (@streams)
{
	my ($name, $outcome, $prepare, $columns, $ran) = @$attack;
	my %columns = (topics => '{mallory.in}', batch_size => 1, %$columns);
	my $path = delete $columns{search_path_now} // 'evil, pg_catalog';
	my $said;

	s/BOSS/$boss/g foreach $prepare, values %columns, (ref $outcome ? () : $outcome);
	my $insert = "SET search_path = $path; INSERT INTO rappel_conso.stream (name, " . join(', ', sort keys %columns) . ") VALUES ('attack', "
	  . join(', ', map { '$q$' . $columns{$_} . '$q$' } sort keys %columns) . ')';
	is(outcome_with_rows('mallory', "DELETE FROM rappel_conso.stream WHERE name = 'attack'; $prepare"), '', "$name: is prepared");
	$said = outcome_with_rows('mallory', "$insert; SELECT applied || '|' || dead FROM public.rc_drain('attack')");
	is_or_like($said, $outcome, "$name: what became of it");
	my $bitten = bitten();
	is($bitten, 'mallory', "$name: it was tried, as mallory") if $ran;
	gained_nothing($name, $bitten);
}
$node->sql(q{DELETE FROM rappel_conso.stream WHERE name = 'attack'});

# ---- by what others do with what is hers ----

my @others = (
	[ 'superuser changes her stream', $boss, q{UPDATE rappel_conso.stream SET statement = 'INSERT INTO t SELECT still(''planned'') FROM records' WHERE name = 'hers'}, '', 'bites' ],
	[ 'superuser makes a stream hers', $boss, q{SET search_path = evil, pg_catalog; INSERT INTO rappel_conso.stream (name, topics, owner, statement) VALUES ('made', '{mallory.in}', 'mallory', 'INSERT INTO t SELECT still(''made'') FROM records')}, '', 'bites' ],
	[ 'superuser drains her stream', $boss, q{SELECT applied || '|' || dead FROM rc_drain('hers')}, '3|3', 'bites' ],
	[ 'superuser retries her dead letters', $boss, q{SELECT retried || '|' || still_dead FROM rc_retry('hers')}, '3|3', 'bites' ],
	[ 'superuser seeks her stream', $boss, q{SET search_path = evil, pg_catalog; SELECT public.rc_seek('hers'::text, 'latest'::text)}, '' ],
	[ 'superuser looks at the state of all', $boss, q{SELECT count(*) > 0 FROM rc_status()}, 't' ],
	[ 'watcher looks at the state of all', 'watcher', q{SELECT count(*) > 0 FROM rc_status()}, 't' ],
	[ 'superuser makes the page', $boss, q{SELECT length(rc_report()) > 0}, 't' ],
	[ 'watcher makes the page', 'watcher', q{SELECT length(rc_report()) > 0}, 't' ],
	[ 'superuser reads dead letters and messages', $boss, q{SELECT count(d::text) > 0 FROM rappel_conso.dead_letter d, rappel_conso.outbox o}, 't' ],
	[ 'alice uses her own under the same names', 'alice', q{SELECT applied || '|' || dead FROM rc_drain('alice')}, '0|0' ],
	[ 'superuser calls a function of hers that seeks', $boss, q{SELECT evil.seek()}, qr/^42704: .*"alice"/ ],
	[ 'superuser calls a function of hers that publishes', $boss, q{SELECT evil.forge()}, qr/^42501: .*"alice\.in".*"mallory"/ ]);
is(outcome_with_rows('mallory', q{
	SET search_path = evil, pg_catalog;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('hers', '{mallory.bad}', 'INSERT INTO t SELECT bite(''hers'') || (1 / (record_offset - record_offset)) FROM records');
	CREATE FUNCTION evil.seek() RETURNS void SECURITY DEFINER LANGUAGE sql AS 'SELECT public.rc_seek(''alice'', ''latest'')';
	CREATE FUNCTION evil.forge() RETURNS uuid SECURITY DEFINER LANGUAGE sql AS 'SELECT public.rc_publish(''alice.in'', ''x''::text, ''k'')'}), '', 'mallory has a stream that fails');
bitten();
foreach my $attack (@others)
{
	my ($name, $role, $sql, $outcome, $ran) = @$attack;

	if ($name =~ /drains/)
	{
		outcome_with_rows('mallory', q{SET search_path = evil, pg_catalog; UPDATE rappel_conso.stream SET statement = 'INSERT INTO t SELECT bite(''hers'') || (1 / (record_offset - record_offset)) FROM records' WHERE name = 'hers'});
		bitten();
	}
	is_or_like(outcome_with_rows($role, $sql), $outcome, "$name: what became of it");
	my $bitten = bitten();
	is($bitten, 'mallory', "$name: what is hers ran, as mallory") if $ran;
	gained_nothing($name, $bitten);
}

# ---- by the rows of definitions ----

my @rows = (
	[ 'a stream of a superuser', qq{INSERT INTO rappel_conso.stream (name, topics, owner, statement) VALUES ('x', '{mallory.in}', '$boss', 'SELECT 1 FROM records')}, qr/^42501: .*"\Q$boss\E"/ ],
	[ 'a stream of another', q{INSERT INTO rappel_conso.stream (name, topics, owner, statement) VALUES ('x', '{mallory.in}', 'alice', 'SELECT 1 FROM records')}, qr/^42501: .*"alice"/ ],
	[ 'her stream given to another', q{UPDATE rappel_conso.stream SET owner = 'alice' WHERE name = 'hers'}, qr/^42501: .*"alice"/ ],
	[ 'a source of another', q{INSERT INTO rappel_conso.source (name, dataset, owner) VALUES ('x', 'x', 'alice')}, qr/^42501: .*"alice"/ ],
	[ 'the stream of another', q{WITH u AS (UPDATE rappel_conso.stream SET statement = 'SELECT 1 FROM records' WHERE name IN ('alice', 'rappel_conso') RETURNING 1) SELECT count(*) FROM u}, qr/^0$/ ],
	[ 'the stream of another, on conflict', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('alice', '{mallory.in}', 'SELECT 1 FROM records') ON CONFLICT (name) DO UPDATE SET owner = 'mallory'}, qr/^42501: new row violates row-level security/ ],
	[ 'the built-in stream', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('rappel_conso', '{mallory.in}', 'SELECT 1 FROM records')}, qr/^23505:/ ],
	[ 'R5: a type of another', q{INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('x', '{mallory.in}', 'alice.private', 'SELECT 1 FROM records')}, qr/^42501: permission denied for type alice.private$/ ],
	[ 'R5: a column of a type of another', q{CREATE TYPE evil.borrowed AS (n alice.private_number)}, qr/^42501: permission denied for type alice.private_number$/ ],
	[ 'topics of another', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x', '{alice.in}', 'SELECT 1 FROM records')}, qr/^42501: .*"alice.in"/ ],
	[ 'R8: topics of another, with other settings', q{SET standard_conforming_strings = off; INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x', '{malloryXin}', 'SELECT 1 FROM records')}, qr/^42501: .*"malloryXin"/ ],
	[ 'R8: topics of another to write, with other settings', q{SET standard_conforming_strings = off; SELECT public.rc_publish('malloryXin', 'forged'::text)}, qr/^42501: .*"malloryXin"/ ],
	[ 'a name that breaks out of a text', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x''; DROP TABLE trophy; --', '{mallory.in}', 'SELECT 1 FROM records')}, qr/^23514:/ ],
	[ 'two commands', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x', '{mallory.in}', 'SELECT 1 FROM records; DROP TABLE trophy')}, qr/^42601:/ ],
	[ 'a parameter', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x', '{mallory.in}', 'SELECT $1 FROM records')}, qr/^42P02:/ ],
	[ 'a privilege that the planner does not ask for', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x', '{mallory.in}', 'DELETE FROM rappel_conso.run USING records')}, qr/^42501:/ ],
	[ 'a source that publishes to a topic of another', q{INSERT INTO rappel_conso.source (name, dataset, topic) VALUES ('forge', 'x', 'alice.in')}, qr/^42501: .*"alice\.in".*"mallory".*"forge"/ ],
	[ 'a source that is sent to a topic of another', q{INSERT INTO rappel_conso.source (name, dataset, topic) VALUES ('forge', 'x', 'mallory.out'); UPDATE rappel_conso.source SET topic = 'rappel_conso' WHERE name = 'forge'}, qr/^42501: .*"rappel_conso".*"mallory".*"forge"/ ],
	[ 'a source that feeds the stream of another', qq{INSERT INTO rappel_conso.source (name, url, dataset, topic, stream, retries) VALUES ('feeds', '${\$api->url}', '${\DATASET}', 'mallory.in', 'alice', 0);
	   SELECT count(*) FROM rc_sync_now('feeds')}, qr{^23503: .*"source".*"source_stream_fkey"} ],
	[ 'definer of ours with tables in pg_temp', q{CREATE TEMP TABLE pg_stat_progress_copy (pid int, relid oid); CREATE TEMP TABLE stream_offset (stream text); SET search_path = pg_temp, evil, pg_catalog;
	   UPDATE rappel_conso.stream SET batch_size = 17 WHERE name OPERATOR(pg_catalog.=) 'hers'}, qr/^$/ ]);
foreach my $attack (@rows)
{
	my ($name, $sql, $outcome) = @$attack;

	like(outcome_with_rows('mallory', $sql), $outcome, "$name: what became of it");
	gained_nothing($name, bitten());
}

# A row as of a dump is taken as it is; its worker finds out.
my @restored = (
	[ 'R5: restored: a type of another', q{value_type}, q{'alice.private'}, 'SELECT 1 FROM records', qr/^42501: permission denied for type alice.private$/ ],
	[ 'restored: topics of another', 'topics', q{'{alice.in}'}, 'INSERT INTO evil.t SELECT value::text FROM records', qr/^42501: .*"alice.in"/ ],
	[ 'R4: restored: a command that is none', 'batch_size', '1', 'CREATE TABLE evil.restored (a int)', qr/^0A000:/ ],
	[ 'R4: restored: two commands', 'batch_size', '1', 'SELECT 1 FROM records; DROP TABLE trophy', qr/^42601:/ ],
	[ 'restored: a secret table', 'batch_size', '1', 'INSERT INTO evil.t SELECT who FROM public.trophy, records', qr/^42501: permission denied for table trophy$/ ]);
foreach my $attack (@restored)
{
	my ($name, $column, $value, $statement, $outcome) = @$attack;

	like(
		outcome_with_rows('mallory', "INSERT INTO rappel_conso.stream (name, search_path, statement, "
			  . join(', ', ($column eq 'topics' ? () : 'topics'), $column) . ") VALUES ('restored', 'evil, pg_catalog', '$statement', "
			  . join(', ', ($column eq 'topics' ? () : q{'{mallory.in}'}), $value) . "); SELECT applied FROM rc_drain('restored')"),
		$outcome, "$name: what became of it");
	gained_nothing($name, bitten());
	outcome_with_rows('mallory', q{DELETE FROM rappel_conso.stream WHERE name = 'restored'});
}

# ---- R12: what a role may not know of ----

my $run = $node->sql(qq{INSERT INTO rappel_conso.run (source, state) VALUES ('rappel_conso', 'queued') RETURNING id});
foreach my $case (
	map({ [ "rc_$_->[0]('%s'$_->[1])", 'alice', 'nothing' ] } [ 'seek', q{, 'latest'} ], [ 'drain', '' ], [ 'retry', '' ], [ 'retry', ', 1' ]),
	map({ [ "rc_$_->[0]('%s'$_->[1])", 'rappel_conso', 'nothing' ] } [ 'sync_now', '' ], [ 'trigger', '' ], [ 'backfill', q{, '2026-01-01', '2026-01-02'} ]),
	map({ [ "rc_$_(%s)", $run, 123456 ] } 'wait', 'cancel'))
{
	my ($call, $is_of_another, $is_not) = @$case;
	my ($theirs, $nobodys) = map { outcome_with_rows('mallory', sprintf("\\set VERBOSITY verbose\nSELECT * FROM $call", $_)) } $is_of_another, $is_not;

	like($nobodys, qr/^42704: .*\b$is_not\b/, "R12: $call of what is not there");
	is($theirs =~ s/\b\Q$is_of_another\E\b(?![.]\w)/$is_not/gr, $nobodys, "R12: $call of what is another's says the same");
	gained_nothing("R12: $call", bitten());
}
$node->sql(qq{DELETE FROM rappel_conso.run WHERE id = $run});
$node->sql(q{GRANT EXECUTE ON FUNCTION rc_seek TO watcher});
like(outcome_with_rows('watcher', q{SELECT rc_seek('alice', 'latest')}), qr/^42501: .*"alice".*"alice"/, 'R12: who may see it is told why');

# The file that a setting names: neither its path nor its keys.
sub config_error
{
	my ($setting, $content, $sql) = @_;
	my $path = $node->data_dir . '/hidden-name.conf';

	unlink($path);
	if (defined $content)
	{
		append_to_file($path, $content);
		chmod(0600, $path);
	}
	$node->append_conf('postgresql.conf', "rappel_conso.$setting = '$path'\n");
	$node->reload;
	$node->wait_for('the reload', "SELECT current_setting('rappel_conso.$setting', true) = '$path'");
	$log_at = $node->log_position;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', 'mallory' ], on_error_stop => 1);
	return $err;
}
outcome_with_rows('mallory', qq{INSERT INTO rappel_conso.source (name, url, dataset, topic, retries) VALUES ('own', '${\$api->url}', '${\DATASET}', 'mallory.out', 0)});
foreach my $case (
	[ 'kafka_config_file', undef, qr/"\S*hidden-name\.conf"/ ],
	[ 'kafka_config_file', "hidden.key = 1\n", qr/"hidden\.key"/ ],
	[ 'kafka_config_file', "group.id = hidden-value\n", qr/"group\.id"/ ],
	[ 'kafka_config_file', "security.protocol = hidden-value\n", qr/"security\.protocol".*hidden-value/ ],
	[ 'kafka_config_file', "hidden-line\n", qr/\b1\b.*"rappel_conso\.kafka_config_file"/ ],
	[ 'kafka_config_file', "security.protocol = ssl\nssl.ca.location = /hidden-name/ca.pem\n", qr{"ssl\.ca\.location".*"/hidden-name/ca\.pem"} ],
	[ 'http_config_file', undef, qr/"\S*hidden-name\.conf"/ ],
	[ 'http_config_file', "hidden.key = 1\n", qr/"hidden\.key"/ ],
	[ 'http_config_file', "hidden-line\n", qr/\b1\b.*"rappel_conso\.http_config_file"/ ])
{
	my ($setting, $content, $logged) = @$case;
	my $what = $content // 'no file';
	chomp $what;
	my $error = config_error($setting, $content, $setting =~ /kafka/ ? q{SELECT rc_drain('hers')} : q{SELECT rc_sync_now('own')});

	like($error, qr/ERROR: /, "R12: $setting with $what: an error");
	unlike($error, qr/hidden/, "R12: $setting with $what: says neither path nor key");
	unlike(outcome_with_rows('mallory', q{SELECT string_agg(s::text, '') FROM rappel_conso.stream_state s; SELECT string_agg(concat_ws(' ', r.error, r.detail, r.hint, r.context), '') FROM rappel_conso.run r; SELECT string_agg(t.error, '') FROM rappel_conso.task t}),
		qr/hidden/, "R12: nor do the states");
	ok($node->times_logged('F0000', 'ERROR|DETAIL', $logged, $log_at), 'while the log of the server does');
	$node->append_conf('postgresql.conf', "rappel_conso.$setting = ''\n");
	$node->reload;
	$node->wait_for('the reload', "SELECT current_setting('rappel_conso.$setting', true) = ''");
}

# ---- by a source whose grant has gone ----

$node->sql(q{UPDATE rappel_conso.topic_grant SET can_write = false WHERE role = 'mallory'});
like(outcome_with_rows('mallory', q{SELECT * FROM rc_sync_now('own')}), qr/^42501: .*"mallory\.out".*"mallory".*"own"/, 'R10: a source publishes with a grant only');
$node->sql(q{UPDATE rappel_conso.topic_grant SET can_write = true WHERE role = 'mallory'});

# ---- by triggers on our tables, where she has been given too much ----

$node->sql('GRANT ALL ON ALL TABLES IN SCHEMA rappel_conso TO mallory');
foreach my $table (split(/\n/, $node->sql(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'rappel_conso'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1})))
{
	foreach my $what ($table eq 'rappel_conso.lag' ? 'TRIGGER t INSTEAD OF INSERT' : ('TRIGGER t BEFORE INSERT OR UPDATE OR DELETE', 'CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE'))
	{
		like(outcome_with_rows('mallory', "CREATE $what ON $table FOR EACH ROW EXECUTE FUNCTION evil.trap('ours')"),
			qr/^42501: .*"t".*$table/, "R1: CREATE $what ON $table");
	}
}
my $foreign = qr/^42501: .*"\w+".* rappel_conso[.]\w+/;
$node->sql('GRANT CREATE ON DATABASE postgres TO mallory');
foreach my $sql (
	'CREATE TABLE evil.fk (topic text, id bigint, FOREIGN KEY (topic, id) REFERENCES rappel_conso.outbox ON DELETE CASCADE)',
	'CREATE TABLE evil.fk (id bigint); ALTER TABLE evil.fk ADD FOREIGN KEY (id) REFERENCES rappel_conso.run ON DELETE SET NULL',
	'CREATE TABLE evil.fk (id bigint, n text) PARTITION BY LIST (n); CREATE TABLE evil.fk1 PARTITION OF evil.fk (FOREIGN KEY (id) REFERENCES rappel_conso.dead_letter) DEFAULT',
	'CREATE UNLOGGED TABLE evil.fk (name text); ALTER TABLE evil.fk ADD CONSTRAINT f FOREIGN KEY (name) REFERENCES rappel_conso.stream ON UPDATE CASCADE NOT VALID',
	'CREATE SCHEMA malice CREATE TABLE fk (name text REFERENCES rappel_conso.source)',
	q{DO 'BEGIN CREATE TABLE evil.fk (name text, FOREIGN KEY (name) REFERENCES rappel_conso.stream_state); END'})
{
	like(outcome_with_rows('mallory', "BEGIN; $sql; COMMIT"), $foreign, "R1: $sql");
}
$node->sql('REVOKE CREATE ON DATABASE postgres FROM mallory');
outcome_with_rows('mallory', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('passing', '{mallory.in}', 'SELECT 1 FROM records'); DELETE FROM rappel_conso.stream WHERE name = 'passing'});
gained_nothing('R1: triggers on our tables', bitten());
$node->sql('REVOKE ALL ON ALL TABLES IN SCHEMA rappel_conso FROM mallory; GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO mallory');

# ---- by the table of recalls, where mallory owns the stream ----

# Whoever reads it must not run her code with his rights; nor does she see, by
# what is read for others, more than they may.
$node->sql(q{
	GRANT USAGE ON TYPE rappel_conso.recall, rappel_conso.reference_fiche TO mallory;
	INSERT INTO rappel_conso.topic_grant VALUES ('mallory', 'rappel_conso', true, false);
	UPDATE rappel_conso.stream SET owner = 'mallory' WHERE name = 'rappel_conso'});
my $setup = $node->sql(q{SELECT setup FROM rappel_conso.stream WHERE name = 'rappel_conso'});
$before = $node->sql($state);
my @tables = (
	[ 'nothing', '', '' ],
	[ 'column with an implicit cast', q{
	   CREATE TYPE evil.moment AS (t timestamptz); CREATE FUNCTION evil.moment(evil.moment) RETURNS timestamptz LANGUAGE sql AS $$SELECT evil.bite('moment'); SELECT now()$$;
	   CREATE CAST (evil.moment AS timestamptz) WITH FUNCTION evil.moment(evil.moment) AS IMPLICIT;
	   ALTER TABLE rappel_conso_table DROP COLUMN date_de_publication, ADD COLUMN date_de_publication evil.moment DEFAULT ROW(now())},
	  q{ALTER TABLE rappel_conso_table DROP COLUMN date_de_publication, ADD COLUMN date_de_publication timestamptz}, qr/^42(?:804|P17): /,
	  qr/<p class="error">.*&quot;date_de_publication&quot;.*&quot;rappel_conso_table&quot;.*timestamp with time zone/ ],
	[ 'policy', q{ALTER TABLE rappel_conso_table ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON rappel_conso_table USING (evil.bite('policy') IS NOT NULL)},
	  q{DROP POLICY p ON rappel_conso_table; ALTER TABLE rappel_conso_table DISABLE ROW LEVEL SECURITY},
	  qr/^(?:\d+$|42501: .*"rappel_conso_table".*"alice")/ ],
	[ 'policy for everybody', q{ALTER TABLE rappel_conso_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON rappel_conso_table USING (evil.bite('policy') IS NOT NULL)},
	  q{DROP POLICY p ON rappel_conso_table; ALTER TABLE rappel_conso_table DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY},
	  qr/^1$|^42501: .*"rappel_conso_table".*"(?:alice|$boss)"/ ],
	[ 'policy that lets nobody see', q{ALTER TABLE rappel_conso_history ENABLE ROW LEVEL SECURITY}, q{ALTER TABLE rappel_conso_history DISABLE ROW LEVEL SECURITY},
	  qr/^(?:\d+$|42501: .*"rappel_conso_history".*"alice")/ ],
	[ 'predicate of an index', q{CREATE INDEX evil_index ON rappel_conso_table (libelle) WHERE evil.is('predicate')}, q{DROP INDEX evil_index} ],
	[ 'expression of an index', q{CREATE INDEX evil_index ON rappel_conso_table (evil.still('expression'))}, q{DROP INDEX evil_index} ],
	[ 'exclusion', q{ALTER TABLE rappel_conso_table ADD CONSTRAINT e EXCLUDE (evil.still(id::text) WITH pg_catalog.=)}, q{ALTER TABLE rappel_conso_table DROP CONSTRAINT e} ],
	[ 'check', q{ALTER TABLE rappel_conso_table ADD CONSTRAINT c CHECK (evil.is('check'))}, q{ALTER TABLE rappel_conso_table DROP CONSTRAINT c} ],
	[ 'statistics', q{CREATE STATISTICS evil.s ON (evil.still(libelle)), (evil.still(id::text)) FROM rappel_conso_table}, q{DROP STATISTICS evil.s} ],
	[ 'domain', q{CREATE DOMAIN evil.checked AS text CHECK (evil.bite('domain') IS NOT NULL); ALTER TABLE rappel_conso_table ALTER categorie_de_produit TYPE evil.checked},
	  q{ALTER TABLE rappel_conso_table ALTER categorie_de_produit TYPE text}, qr/^\d+$|^42804: / ],
	[ 'what outlives a call', q{
	   CREATE TABLE evil.left (n int); CREATE CONSTRAINT TRIGGER left_over AFTER INSERT ON evil.left DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.trap('deferred');
	   CREATE FUNCTION evil.stay() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
	   DECLARE command text;
	   BEGIN
	     FOREACH command IN ARRAY ARRAY['RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE alice', 'SET search_path = evil', 'SET LOCAL search_path = evil', 'SET row_security = off',
	       'SET statement_timeout = 1', 'PREPARE evil AS SELECT 1', 'DECLARE evil CURSOR WITH HOLD FOR SELECT 1', 'CREATE TEMP TABLE pg_class (n int)', 'LISTEN evil', 'INSERT INTO evil.left VALUES (1)',
	       'GRANT mallory TO alice', 'SET SESSION AUTHORIZATION alice', 'COMMIT', 'DISCARD ALL'] LOOP
	       BEGIN EXECUTE command; EXCEPTION WHEN OTHERS THEN NULL; END;
	     END LOOP;
	     RETURN evil.is('stay');
	   END $$;
	   CREATE INDEX evil_index ON rappel_conso_table (libelle) WHERE evil.stay()}, q{DROP INDEX evil_index; DROP FUNCTION evil.stay(); DROP TABLE evil.left} ],
	[ 'child with an index', q{CREATE TABLE evil.child () INHERITS (rappel_conso_table); CREATE INDEX ON evil.child (libelle) WHERE evil.is('child')}, q{DROP TABLE evil.child} ],
	[ 'operator in an index', q{CREATE FUNCTION evil.like(text, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT evil.is(''op'')'; CREATE OPERATOR evil.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.like);
	   CREATE INDEX evil_index ON rappel_conso_table (libelle) WHERE 'a'::text OPERATOR(evil.===) 'b'::text}, q{DROP INDEX evil_index} ]);
is(outcome_with_rows('mallory', $setup . '; GRANT SELECT ON rappel_conso_table, rappel_conso_history TO PUBLIC'), '', 'mallory has the table of recalls');
foreach my $attack (@tables)
{
	my ($name, $plant, $undo, $outcome, $report) = @$attack;

	$name = "R1: $name in the table of recalls";
	is(outcome_with_rows('mallory', $plant), '', "$name: is planted");
	bitten();
	foreach my $role ($boss, 'alice')
	{
		foreach my $call ('rc_search(\'x\')', 'rc_recalls_at(now())', $role eq $boss ? 'rc_search_index()' : ())
		{
			like(outcome_with_rows($role, "SELECT count(*) FROM $call"), $outcome // qr/^\d+$/, "$name: $call by $role");
		}
	}
	is( outcome_with_rows('alice', q{
			BEGIN; SELECT FROM rc_search('x') WHERE false; SAVEPOINT s;
			SELECT current_user, session_user, current_setting('search_path'), current_setting('row_security'), current_setting('statement_timeout'),
			  (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_listening_channels()),
			  to_regclass('pg_temp.pg_class') IS NULL; COMMIT}) =~ s/^\d+\n//r,
		'alice|alice|"$user", public|on|0|0|0|0|t', "$name: nothing stays in the session") if !$outcome;
	like(outcome_with_rows($boss, 'SELECT rc_report()'), $report // qr{<section id="recalls"><h2>[^<]*</h2><p class="dim">[^<]+</p></section>}, "$name: rc_report()");
	gained_nothing($name, bitten());
	$node->sql('ALTER TABLE rappel_conso_table DROP COLUMN IF EXISTS mots');
	is(outcome_with_rows('mallory', $undo), '', "$name: ends");
}
$node->sql(qq{
	DROP TABLE rappel_conso_table, rappel_conso_history; DROP FUNCTION rappel_conso_keep_history();
	UPDATE rappel_conso.stream SET owner = '$boss' WHERE name = 'rappel_conso'});

# What she puts under our names before the first run, or after something was
# dropped, is neither used nor written.
my @squats = (
	[ 'function that keeps history', q{CREATE FUNCTION public.rappel_conso_keep_history() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM evil.bite('history'); RETURN NEW; END$$}, q{DROP FUNCTION public.rappel_conso_keep_history()} ],
	[ 'table of history', q{CREATE TABLE public.rappel_conso_history (v text DEFAULT evil.bite('history'))}, q{DROP TABLE public.rappel_conso_history} ],
	[ 'view of recalls', q{CREATE VIEW public.rappel_conso_table AS SELECT evil.bite('view') AS reference_fiche}, q{DROP VIEW public.rappel_conso_table} ],
	[ 'table of recalls', q{CREATE TABLE public.rappel_conso_table (reference_fiche text DEFAULT evil.bite('table')); CREATE TRIGGER t BEFORE INSERT ON public.rappel_conso_table FOR EACH ROW EXECUTE FUNCTION evil.trap('table')}, q{DROP TABLE public.rappel_conso_table} ]);
$before = $node->sql($state);
foreach my $attack (@squats)
{
	my ($name, $plant, $undo) = @$attack;

	is(outcome_with_rows('mallory', $plant), '', "$name under our name: is planted");
	like(outcome_with_rows($boss, $setup), qr/^42501: .*"mallory"/, "$name under our name: setup refuses it");
	gained_nothing("$name under our name", bitten());
	is(outcome_with_rows('mallory', $undo), '', "$name under our name: ends");
}
is(outcome_with_rows($boss, "$setup; INSERT INTO rappel_conso_table (reference_fiche) VALUES ('1'); DROP TABLE rappel_conso_history; GRANT SELECT ON rappel_conso_table TO PUBLIC"), '', 'the tables of recalls are made');
is(outcome_with_rows('mallory', q{CREATE TABLE public.rappel_conso_history (LIKE rappel_conso_table, valid_from timestamptz, valid_to timestamptz);
	CREATE TRIGGER t BEFORE INSERT ON public.rappel_conso_history FOR EACH ROW EXECUTE FUNCTION evil.trap('history'); GRANT ALL ON public.rappel_conso_history TO PUBLIC}),
	'', 'mallory puts her own for the history that was dropped');
foreach my $sql (q{UPDATE rappel_conso_table SET libelle = 'x', updated_at = clock_timestamp()}, q{DELETE FROM rappel_conso_table})
{
	like(outcome_with_rows($boss, $sql), qr/^42501: .*"rappel_conso_history".*"rappel_conso_table"/, "history that was swapped: $sql");
	gained_nothing('history that was swapped', bitten());
}

# ---- by changes of her role ----

$node->sql(q{REASSIGN OWNED BY mallory TO alice});
$node->sql(q{ALTER TABLE evil.t OWNER TO mallory; ALTER SCHEMA evil OWNER TO mallory; ALTER FUNCTION evil.bite(text) OWNER TO mallory});
is(outcome_with_rows('alice', q{SELECT count(*) FROM rappel_conso.stream WHERE name = 'hers'}), '0', 'REASSIGN OWNED: her stream is not the heir\'s');
$node->sql(q{UPDATE rappel_conso.stream SET statement = 'INSERT INTO t SELECT bite(''heir'') FROM records', search_path = 'evil, pg_catalog' WHERE name = 'hers'; SELECT rc_seek('hers', 'earliest')});
$before = $node->sql($state);
bitten();
like(outcome_with_rows($boss, q{SELECT applied FROM rc_drain('hers')}), qr/^3$/, 'REASSIGN OWNED: it runs');
is(bitten(), 'mallory', 'REASSIGN OWNED: as mallory still');
gained_nothing('REASSIGN OWNED', '');

# Renamed, dropped, made again, or another who takes her name: none of them has
# her streams; and nobody who has it can be made to run what she left.
$node->sql(q{ALTER ROLE mallory RENAME TO molly; CREATE ROLE mallory LOGIN SUPERUSER});
foreach my $role ($boss, 'mallory')
{
	like(outcome_with_rows($role, q{SELECT rc_drain('hers')}), qr/^42704: .*"mallory"/, "a superuser takes her name: rc_drain() by $role");
	like(outcome_with_rows($role, q{SELECT rc_retry('hers')}), qr/^42704: .*"mallory"/, "a superuser takes her name: rc_retry() by $role");
	like(outcome_with_rows($role, q{SELECT rc_sync_now('own')}), qr/^42704: .*"mallory"/, "a superuser takes her name: rc_sync_now() by $role");
	is(bitten(), '', 'nothing that she left ran');
	$tried++;
}
like(outcome_with_rows('molly', q{SELECT rc_publish('mallory.out', 'x'::text)}), qr/^42501: .*"mallory\.out".*"molly"/, 'her grants do not go with her');
$node->sql(q{DROP ROLE mallory; CREATE ROLE mallory LOGIN; GRANT USAGE ON SCHEMA rappel_conso TO mallory; GRANT EXECUTE ON FUNCTION rc_publish(text, text, text, jsonb), rc_publish(text, bytea, bytea, jsonb), rc_drain TO mallory});
like(outcome_with_rows('mallory', q{SELECT rc_publish('mallory.out', 'x'::text)}), qr/^42501: .*"mallory\.out".*"mallory"/, 'nor do they come to who takes her name');
like(outcome_with_rows('mallory', q{SELECT rc_drain('hers')}), qr/^42704: .*"hers"/, 'nor does her stream');

# ---- after dump and restore ----

# In the other cluster the OIDs that these roles had here are a superuser's.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/attacks.sql";
$node->sql(q{DROP OWNED BY mallory; DROP ROLE mallory; ALTER ROLE molly RENAME TO mallory});
$node->sql(q{UPDATE rappel_conso.stream SET owner = owner WHERE name = 'hers'});
command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'the database is dumped');
my $other = new_node('other', kafka => $kafka, extension => 0, conf => "max_worker_processes = 30\n");
my $oids = $node->sql(q{SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_roles WHERE oid >= 16384});
is($oids, '16384 16385 16386', 'roles have these OIDs here');
$other->sql("CREATE ROLE chief_$_ LOGIN SUPERUSER") foreach 1 .. 12;
my $taken = $other->sql('SELECT string_agg(oid::text, \' \' ORDER BY oid) FROM pg_roles WHERE oid >= 16384 AND rolsuper');
like($taken, qr/^$oids /, 'and superusers have them there');
$other->sql("CREATE ROLE $_ LOGIN") foreach @roles;
my ($code, $out, $err) = $other->psql('postgres', "\\i $dump");
$log_at = $other->log_position;
($code, $out, $err) = $other->psql('postgres', q{SELECT rc_seek('hers', 'earliest'); SELECT applied FROM rc_drain('hers')});
is($out, "\n3", 'restored: her stream runs');
{
	no warnings 'redefine';
	my $text = $other->log_since($log_at);
	my %who = map { $_ => 1 } $text =~ /LOG:  BITE: .* as (\w+) \(/g;

	is(join(' ', sort keys %who), 'mallory', 'restored: as mallory, whatever the OIDs');
}
is($other->sql(q{SELECT string_agg(DISTINCT owner, ' ' ORDER BY owner) FROM rappel_conso.stream}), "alice mallory $boss", 'restored: owners are names');
$tried++;

cmp_ok($tried, '>=', 50, "$tried attacks were tried");

done_testing();
