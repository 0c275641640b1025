# 126_rows_before_checks.pl
#     What triggers on a definition do with a row that the table's constraints
#     and row-level security have not seen yet: nothing of it runs as somebody
#     whom its writer may not be, and nothing of it ends the server (R1, R2, R9).
#
# An attack counts if its function ran as another role: it leaves that in a
# sequence, which no rollback takes back.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('main', conf => "rappel_conso.kafka_brokers = '127.0.0.1:1'\n");
my $root = $node->sql('SELECT current_user');

$node->sql(<<~'EOC');
	CREATE ROLE eve LOGIN;
	CREATE SCHEMA eve AUTHORIZATION eve;
	GRANT USAGE ON SCHEMA rappel_conso TO eve;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO eve;
	INSERT INTO rappel_conso.topic_grant VALUES ('eve', 'eve.*', true, true);
	EOC
$node->sql(<<~'EOC', extra_params => [ '-U', 'eve' ]);
	CREATE SEQUENCE eve.ran;
	CREATE FUNCTION eve.note() RETURNS int LANGUAGE plpgsql AS
	  $$ BEGIN IF current_user <> 'eve' THEN PERFORM nextval('eve.ran'); END IF; RETURN 1; END $$;
	CREATE FUNCTION eve.trap() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN eve.note(); END $$;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('hers', '{eve.a}', 'SELECT FROM records');
	INSERT INTO rappel_conso.source (name, dataset, topic) VALUES ('hers', 'd', 'eve.a');
	EOC
is($node->sql('SELECT is_called FROM eve.ran'), 'f', 'as herself she may run it');

my $started = $node->sql('SELECT pg_postmaster_start_time()');

# A role that a restored row names and that was made later.
$node->sql(<<~'EOC');
	COPY rappel_conso.topic_grant (role, topic, can_read, can_write) FROM stdin;
	late	late.*	t	t
	\.
	CREATE ROLE late SUPERUSER;
	EOC

my $trap = q{'SELECT eve.trap() FROM records'};
my @attacks = (
	[ 'no name', "INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES (NULL, '{x}', $trap, '$root')", '23502' ],
	[ 'no topics', "INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('n', NULL, $trap, '$root')", '42501' ],
	[ 'a name that is none', "INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('a b', '{x}', $trap, '$root')", '42501' ],
	[ 'her row without a name', "UPDATE rappel_conso.stream SET name = NULL, owner = '$root', statement = $trap", '23502' ],
	[ 'her row with another owner', "UPDATE rappel_conso.stream SET owner = '$root', statement = $trap", '42501' ],
	[ 'no owner', "INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('n', '{eve.a}', $trap, NULL)", '23502' ],
	[ 'her row without an owner', "UPDATE rappel_conso.stream SET owner = NULL, statement = $trap", '23502' ],
	[ 'a role of a dump, and a setting of dumps', "SET check_function_bodies = off; INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('n', '{eve.a}', $trap, 'late')", '42501' ],
	[ 'the same as an update', "SET check_function_bodies = off; UPDATE rappel_conso.stream SET owner = 'late', statement = $trap", '42501' ],
	[ 'a setting of dumps', "SET check_function_bodies = off; INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('n', '{eve.a}', $trap, '$root')", '42501' ],
	[ 'a row as a dump has it', "INSERT INTO rappel_conso.stream (name, topics, statement, owner, search_path) VALUES ('n', '{eve.a}', $trap, '$root', 'eve')", '42501' ],
	[ 'a source without an owner', "INSERT INTO rappel_conso.source (name, dataset, topic, owner) VALUES ('n', 'd', 'eve.a', NULL)", '23502' ],
	[ 'her source without an owner', 'UPDATE rappel_conso.source SET owner = NULL', '23502' ],
	[ 'a source without a name', "INSERT INTO rappel_conso.source (name, dataset, topic, owner) VALUES (NULL, 'd', 'eve.a', '$root')", '23502' ],
	[ 'a source of another', "INSERT INTO rappel_conso.source (name, dataset, topic, owner) VALUES ('n', 'd', 'eve.a', '$root')", '42501' ]);

foreach my $attack (@attacks)
{
	my ($name, $sql, $sqlstate) = @$attack;

	is($node->sqlstate_of($sql, role => 'eve'), $sqlstate, "R1: $name: is refused");
	is($node->sql('SELECT is_called FROM eve.ran'), 'f', 'and nothing of it has run as anybody else');
}

# ---- whom row-level security does not bind ----

$node->sql(<<~'EOC');
	CREATE ROLE free LOGIN BYPASSRLS;
	CREATE ROLE through LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO free, through;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO free;
	CREATE VIEW public.streams AS SELECT * FROM rappel_conso.stream;
	CREATE VIEW public.sources AS SELECT * FROM rappel_conso.source;
	GRANT SELECT, INSERT, UPDATE, DELETE ON public.streams, public.sources TO through;
	EOC
foreach my $who ([ 'free', 'rappel_conso.stream', 'rappel_conso.source' ], [ 'through', 'public.streams', 'public.sources' ])
{
	my ($role, $streams, $sources) = @$who;

	foreach my $sql (
		"UPDATE $streams SET setup = 'ALTER ROLE free SUPERUSER' WHERE name = 'rappel_conso'",
		"UPDATE $streams SET search_path = 'eve' WHERE name = 'hers'",
		"UPDATE $streams SET batch_size = 7 WHERE name = 'hers'",
		"DELETE FROM $streams WHERE name = 'hers'",
		"UPDATE $sources SET url = 'http://127.0.0.1:9/api/explore/v2.1' WHERE name = 'rappel_conso'",
		"UPDATE $sources SET retries = 7 WHERE name = 'hers'",
		"DELETE FROM $sources WHERE name = 'hers'",
		"INSERT INTO $streams (name, topics, statement, owner) VALUES ('f', '{x}', $trap, '$root')",
		"INSERT INTO $streams (name, topics, statement, owner, search_path) VALUES ('f', '{x}', $trap, 'late', 'eve')",
		"SET check_function_bodies = off; INSERT INTO $streams (name, topics, statement, owner, search_path) VALUES ('f', '{x}', $trap, 'late', 'eve')",
		"SET check_function_bodies = off; INSERT INTO $sources (name, dataset, owner) VALUES ('f', 'd', 'late')")
	{
		is($node->sqlstate_of($sql, role => $role), '42501', "R1: $role: $sql");
	}

	# nor does anything wait for a role of that name to be made
	foreach my $sql (
		"INSERT INTO $streams (name, topics, statement, owner, search_path) VALUES ('f', '{x}', $trap, 'ghost', 'eve')",
		"SET check_function_bodies = off; INSERT INTO $streams (name, topics, statement, owner) VALUES ('f', '{x}', $trap, 'ghost')",
		"SET check_function_bodies = off; INSERT INTO $sources (name, dataset, owner) VALUES ('f', 'd', 'ghost')",
		$role eq 'free' ? ("COPY $streams (name, topics, statement, owner) FROM STDIN;\nf\t{x}\tSELECT FROM records\tghost\n\\.\n",
			"COPY $sources (name, dataset, owner) FROM STDIN;\nf\td\tghost\n\\.\n") : ())
	{
		is($node->sqlstate_of($sql, role => $role), '42704', "R3: $role: $sql");
	}
}
is($node->sql(q{SELECT count(*) FROM rappel_conso.known_role WHERE name = 'ghost'}), '0', 'R3: nothing is known of a role that is not there');
is($node->sql('SELECT count(*) FROM rappel_conso.stream WHERE setup ~ $$SUPERUSER$$ OR batch_size = 7'), '0', 'R1: nothing of it is stored');

# ---- trigger functions of ours on other tables ----

$node->sql('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rappel_conso TO eve');
my @functions = split(/\n/, $node->sql(q{SELECT oid::regproc FROM pg_proc WHERE pronamespace = 'rappel_conso'::regnamespace AND prorettype = 'trigger'::regtype ORDER BY 1}));
cmp_ok(scalar @functions, '>', 10, 'there are trigger functions');
foreach my $function (@functions)
{
	foreach my $when ('BEFORE INSERT OR UPDATE OR DELETE ON eve.own FOR EACH ROW', 'AFTER INSERT OR UPDATE OR DELETE ON eve.own FOR EACH ROW', 'AFTER INSERT OR UPDATE OR DELETE ON eve.own FOR EACH STATEMENT')
	{
		my $sqlstate = $node->sqlstate_of(<<~"EOC", role => 'eve');
			BEGIN;
			CREATE TABLE eve.own (name text, owner name, workers int, role name, topic text, id int, stream text, owner_oid oid);
			CREATE TRIGGER t $when EXECUTE FUNCTION $function();
			INSERT INTO eve.own VALUES ('hers', 'eve', NULL, 'late', 'x', 1, 'rappel_conso', 10);
			INSERT INTO eve.own (name) VALUES (NULL);
			UPDATE eve.own SET name = 'other', owner = 'late', stream = 'hers';
			DELETE FROM eve.own;
			ROLLBACK;
			EOC
		like($sqlstate, qr/^(?:39P01|42703|00000|55000|42501)$/, "R1: $function, $when: has no effect");
	}
}
is($node->sql('SELECT pg_postmaster_start_time()'), $started, 'R9: and does not end the server');
$node->sql('REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA rappel_conso FROM eve');

# ---- what a COPY into an own table stores here is no restore ----

my ($out, $err) = $node->attempt(<<~'EOC', role => 'eve');
	CREATE FUNCTION eve.smuggle() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO rappel_conso.source (name, dataset, stream) VALUES ('smuggled', 'd', 'rappel_conso');
	  RETURN NEW;
	END $$;
	CREATE TABLE eve.copied (a text);
	CREATE TRIGGER t BEFORE INSERT ON eve.copied FOR EACH ROW EXECUTE FUNCTION eve.smuggle();
	COPY eve.copied FROM STDIN;
	x
	\.
	EOC
like($err, qr/ERROR:  23503/, "R1: a stream of another is not there, for a COPY too");
($out, $err) = $node->attempt("COPY rappel_conso.source (name, dataset, stream) FROM STDIN;\nsmuggled\td\trappel_conso\n\\.\n", role => 'eve');
like($err, qr/ERROR:  0A000/, 'R1: and a COPY into the table itself is for whom row security does not bind');
is($node->sql(q{SELECT count(*) FROM rappel_conso.source WHERE name = 'smuggled'}), '0', 'nothing is stored');

# ---- R3: a role that is made again takes nothing over ----

foreach my $table ('stream', 'source')
{
	my $columns = $table eq 'stream' ? q{(name, topics, statement) VALUES ('left', '{eve.l}', 'SELECT FROM records')} : q{(name, dataset) VALUES ('left', 'd')};

	$node->sql(q{CREATE ROLE back LOGIN; GRANT USAGE ON SCHEMA rappel_conso TO back;
		GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO back; INSERT INTO rappel_conso.topic_grant VALUES ('back', 'eve.*', true, true)});
	is($node->sqlstate_of("INSERT INTO rappel_conso.$table $columns", role => 'back'), '00000', "a role has a $table");
	$node->sql(q{DELETE FROM rappel_conso.topic_grant WHERE role = 'back'; DROP OWNED BY back; DROP ROLE back; CREATE ROLE back LOGIN; GRANT USAGE ON SCHEMA rappel_conso TO back;
		GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO back});
	foreach my $conflict ('', ' ON CONFLICT DO NOTHING', " ON CONFLICT (name) DO UPDATE SET owner = 'back'")
	{
		is($node->sqlstate_of("INSERT INTO rappel_conso.$table $columns$conflict", role => 'back'), '42501', "R3: the next one of its name does not get it by INSERT$conflict");
		is($node->sqlstate_of("UPDATE rappel_conso.$table SET paused = true WHERE name = 'left'", role => 'back'), '42704', 'R3: nor may it change it then');
	}
	$node->sql("DELETE FROM rappel_conso.$table WHERE name = 'left'; DROP OWNED BY back; DROP ROLE back");
}

# ---- D: nobody's open transaction holds a revoke up ----

$node->sql(q{INSERT INTO rappel_conso.stream_state (stream, state, sqlstate, retry_at) VALUES ('hers', 'failed', '42501', now() + interval '1 hour')});
my $open = $node->start_session(qq{BEGIN; SELECT FROM rappel_conso.stream_state WHERE stream = 'hers' FOR UPDATE;\n\\warn locked\nSELECT pg_sleep(1000)});
$open->wait_for(qr/locked/);
is($node->sqlstate_of(q{SET lock_timeout = '1s'; DELETE FROM rappel_conso.topic_grant WHERE role = 'late'}), '00000', 'D5: a grant is revoked while a stream\'s state is locked');
$node->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()});
$open->finish;
$node->sql(q{DELETE FROM rappel_conso.stream_state WHERE stream = 'hers'});

# Many workers of many streams: as quick as they are many, and to be cancelled.
my $count = 'INSERT INTO rappel_conso.stream (name, topics, statement, workers, search_path)
	SELECT %s || g, %s, %s, 64, %s FROM generate_series(1, 1000) g';
is($node->sqlstate_of(sprintf($count, q{'many'}, q{'{t}'}, q{'SELECT FROM records'}, q{'public'}), role => 'eve'), '00000', 'D5: a role stores very many streams');
is($node->sqlstate_of(q{DELETE FROM rappel_conso.topic_grant WHERE role = 'nobody'}), '00000', 'D5: and grants can be changed');
is($node->sqlstate_of(q{SET statement_timeout = '1ms'; UPDATE rappel_conso.stream SET paused = true WHERE name ~ '^many'}), '57014', 'D5: or that is cancelled');
$node->sql(q{DELETE FROM rappel_conso.stream WHERE name ~ '^many'});

is($node->sqlstate_of(q{INSERT INTO rappel_conso.stream (name, topics, statement, key_type) VALUES ('k', '{t}', 'SELECT FROM records', 999999::oid::regtype)}), '23514', 'M1: a type that is none is refused by its constraint');

# A superuser's own mistakes end nothing either, whichever column it is.
foreach my $table ('stream', 'source')
{
	foreach my $column (split(/\n/, $node->sql("SELECT attname FROM pg_attribute WHERE attrelid = 'rappel_conso.$table'::regclass AND attnum > 0 AND attnotnull")))
	{
		is($node->sqlstate_of("UPDATE rappel_conso.$table SET $column = NULL WHERE name = 'hers'"),
			'23502', "$table.$column cannot be null");
	}
}
is($node->sqlstate_of('UPDATE rappel_conso.topic_grant SET role = NULL'), '23502', 'nor can the role of a grant');
is($node->sql('SELECT pg_postmaster_start_time()'), $started, 'R9: the server has not been started again');

# ---- the search_path of a stream is never unknown ----

$node->sql(q{SET search_path = eve, public; UPDATE rappel_conso.stream SET search_path = NULL WHERE name = 'hers'});
is($node->sql(q{SELECT search_path FROM rappel_conso.stream WHERE name = 'hers'}), 'eve, public', 'R10: null means the present one, in an update, too');

# ---- who only monitors sees no details ----

$node->sql(<<~'EOC');
	CREATE ROLE mona LOGIN IN ROLE pg_monitor;
	INSERT INTO rappel_conso.stream_state (stream, state, sqlstate, error, error_detail, context, hint, last_error_at)
	VALUES ('hers', 'failed', '23514', 'new row violates check constraint', 'Failing row contains (4111).', 'c', 'h', now());
	INSERT INTO rappel_conso.run (source, owner, state, sqlstate, error, detail, context, finished_at)
	VALUES ('hers', 'eve', 'failed', '23514', 'new row violates check constraint', 'Failing row contains (4111).', 'c', now());
	EOC
my $status = q{SELECT string_agg(last_error, ' ' ORDER BY component) FROM rc_status() WHERE name = 'hers'};
like($node->sql($status), qr/4111/, 'R13: a superuser sees the detail of an error');
is($node->outcome_as('mona', $status), "new row violates check constraint new row violates check constraint\nHINT: h", 'R13: pg_monitor sees the error, without its row');
unlike($node->outcome_as('mona', 'SELECT rc_report()'), qr/4111|^\d{5}:/, 'R13: in the report, too');
is($node->sqlstate_of("SELECT $_", role => 'mona'), '42501', "R13: nor $_")
  foreach ('error_detail FROM rappel_conso.stream_state', 'context FROM rappel_conso.stream_state', 'detail FROM rappel_conso.run', 'context FROM rappel_conso.run');

# ---- arguments that are out of range ----

is($node->sqlstate_of(q{SELECT rc_wait(1, '300000 years')}), '22008', 'M1: a wait that is too long is refused by us');
like($node->error_of(q{SELECT rc_drain('hers', '20000 years')}), qr/^22008: .*rc_drain\(\).*20000 years/, 'M1: which names it');
like($node->error_of(q{SELECT rc_backfill('hers', '0001-01-01', '2021-01-01', '178000000 years')}), qr/^22023: .*178000000 years/, 'M1: so is a window');

done_testing();
