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
