# 043_objects_changed_under_worker.pl
#     What a stream does when something is taken from under its worker (type,
#     schema, role, rights, partitions), when it deadlocks with a user, and
#     when very many records in a row are poison: it says so, loses nothing,
#     and resumes when the cause is fixed.

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
	'under',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 40\n");

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE ROLE app LOGIN;
	CREATE ROLE leaver LOGIN;
	CREATE ROLE loser LOGIN;
	ALTER ROLE loser SET deadlock_timeout = '2s';
	INSERT INTO rappel_conso.topic_grant VALUES
	  ('app', '*', true, false), ('leaver', '*', true, false), ('loser', '*', true, false);
	SELECT rc_start();
	EOC

# ---- a type, a schema, a role, the right to a topic ----

my %taken = (
	type => {
		owner => 'app',
		take => 'DROP TYPE numbered',
		error => qr/^42704\|.*"type"/,
		mend => q{CREATE TYPE numbered AS (n int);
			UPDATE rappel_conso.stream SET value_type = 'numbered' WHERE name = 'type'}
	},
	schema => {
		owner => 'app',
		take => 'DROP SCHEMA house CASCADE',
		error => qr/^42P01\|.*"house\.schema"/,
		mend => q{CREATE SCHEMA house; GRANT USAGE ON SCHEMA house TO app;
			CREATE TABLE house.schema (n int); GRANT ALL ON house.schema TO app;
			INSERT INTO house.schema VALUES (1), (2);
			UPDATE rappel_conso.stream SET batch_size = 7 WHERE name = 'schema'}
	},
	rights => {
		owner => 'app',
		take => q{DELETE FROM rappel_conso.topic_grant WHERE role = 'app';
			UPDATE rappel_conso.stream SET batch_size = 8 WHERE name = 'rights'},
		error => qr/^42501\|.*"rights"/,
		mend => q{INSERT INTO rappel_conso.topic_grant VALUES ('app', '*', true, false);
			UPDATE rappel_conso.stream SET batch_size = 9 WHERE name = 'rights'}
	});

$node->sql('CREATE TYPE numbered AS (n int); CREATE SCHEMA house; GRANT USAGE ON SCHEMA house TO app');
foreach my $name (sort keys %taken)
{
	my $table = $name eq 'schema' ? 'house.schema' : "t_$name";

	$taken{$name}{table} = $table;
	$kafka->produce_numbers($name, [1, 2]);
	$node->sql(qq{
		CREATE TABLE $table (n int);
		GRANT ALL ON $table TO app;
		INSERT INTO rappel_conso.stream (name, topics, owner, value_type, statement)
		VALUES ('$name', '{$name}', 'app', @{[ $name eq 'type' ? "'numbered'" : "'jsonb'" ]},
		        'INSERT INTO $table SELECT @{[ $name eq 'type' ? 'n' : "(value->>''n'')::int" ]} FROM records')});
	$node->wait_applied($name, 2);
}
foreach my $name ('type', 'schema', 'rights')
{
	my $case = $taken{$name};

	$node->sql($case->{take});
	$kafka->produce_numbers($name, [3, 4]);
	$node->wait_for("$name to fail", "SELECT state FROM rappel_conso.stream_state WHERE stream = '$name'", expected => 'failed');
	like($node->sql("SELECT sqlstate, error FROM rappel_conso.stream_state WHERE stream = '$name'"),
		$case->{error}, "$name taken away: the stream has failed");
	$node->sql($case->{mend});
	$node->wait_applied($name, 4);
	is($node->sql("SELECT string_agg(n::text, ' ' ORDER BY n) FROM $case->{table}"), '1 2 3 4', "$name is back: each record once");
	is($node->sql("SELECT count(*) FROM rappel_conso.dead_letter WHERE name = '$name'"), '0', "$name: no record was blamed");
}

# A role that is dropped: its stream rests until it has another owner.
$kafka->produce_numbers('role', [1, 2]);
$node->sql(q{
	CREATE TABLE t_role (n int);
	GRANT ALL ON t_role TO PUBLIC;
	INSERT INTO rappel_conso.stream (name, topics, owner, statement)
	VALUES ('role', '{role}', 'leaver', 'INSERT INTO t_role SELECT (value->>''n'')::int FROM records')});
$node->wait_applied('role', 2);
$node->sql(q{SELECT pg_terminate_backend(rappel_conso.worker_pid('stream', 'role'))});
$node->sql('DROP ROLE leaver');
$kafka->produce_numbers('role', [3, 4]);
$node->sql(q{UPDATE rappel_conso.stream SET owner = 'app' WHERE name = 'role'});
$node->wait_applied('role', 4);
is($node->sql(q{SELECT string_agg(n::text, ' ' ORDER BY n) FROM t_role}), '1 2 3 4', 'role dropped: another owner goes on, each record once');

# ---- a topic that comes late, and one that is made again with fewer partitions ----

$node->sql(q{
	CREATE TABLE t_late (n int);
	INSERT INTO rappel_conso.stream (name, topics, statement)
	VALUES ('late', '{late}', 'INSERT INTO t_late SELECT (value->>''n'')::int FROM records')});
$node->wait_for('the missing topic to be told', q{
	SELECT state || '|' || detail FROM rappel_conso.stream_state WHERE stream = 'late'}, expected => 'waiting|topic "late" does not exist');
$kafka->produce_numbers('late', [1, 2]);
$node->wait_applied('late', 2);
pass('an unknown topic is waited for');

$kafka->create_topic('fewer', partitions => 3);
$kafka->produce_numbers('fewer', [1 .. 30]);
$node->sql(q{
	CREATE TABLE t_fewer (n int);
	INSERT INTO rappel_conso.stream (name, topics, statement)
	VALUES ('fewer', '{fewer}', 'INSERT INTO t_fewer SELECT (value->>''n'')::int FROM records')});
$node->wait_applied('fewer', 30);
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'fewer'});
$node->wait_for('the stream to pause', q{SELECT rappel_conso.worker_pid('stream', 'fewer') IS NULL});
$kafka->delete_topics('fewer');
$kafka->create_topic('fewer', partitions => 1);
$kafka->produce_numbers('fewer', [101]);
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name = 'fewer'});
$node->wait_for('the stream to fail', q{SELECT state || ' ' || sqlstate FROM rappel_conso.stream_state WHERE stream = 'fewer'}, expected => 'failed 55000');
like($node->sql(q{SELECT error || ' ' || hint FROM rappel_conso.stream_state WHERE stream = 'fewer'}),
	qr/^topic "fewer" .*stream "fewer".*SELECT rc_seek\('fewer', 'earliest'\)/, 'fewer partitions: the stream stops, with the way out');
$node->sql(q{SELECT rc_seek('fewer', 'earliest')});
$node->wait_for('the new topic', q{SELECT count(*) = 31 AND count(DISTINCT n) = 31 FROM t_fewer});
pass('fewer partitions: the new topic is read from its beginning');

# ---- a deadlock with a user ----

$node->sql(q{
	CREATE TABLE shelf (id int PRIMARY KEY, x int NOT NULL);
	INSERT INTO shelf VALUES (1, 0), (2, 0);
	CREATE FUNCTION shelve(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
	  UPDATE shelf SET x = x + n WHERE id = 1;
	  UPDATE shelf SET x = x + n WHERE id = 2;
	  RETURN n;
	END $$;
	GRANT ALL ON shelf TO loser;
	INSERT INTO rappel_conso.stream (name, topics, owner, statement)
	VALUES ('deadlock', '{deadlock}', 'loser', 'SELECT shelve((value->>''n'')::int) FROM records')});
$kafka->produce_numbers('deadlock', [1]);
$node->wait_applied('deadlock', 1);
my $user = $node->start_session(q{
	SET deadlock_timeout = '10min';
	BEGIN;
	UPDATE shelf SET x = x + 100 WHERE id = 2;
	\warn holding
	DO $$
	BEGIN
	  WHILE NOT EXISTS (SELECT FROM pg_stat_activity
	                     WHERE backend_type = 'rappel_conso stream' AND pg_backend_pid() = ANY (pg_blocking_pids(pid))) LOOP
	    PERFORM pg_stat_clear_snapshot();
	  END LOOP;
	END $$;
	UPDATE shelf SET x = x + 100 WHERE id = 1;
	COMMIT});
$user->wait_for(qr/holding/);
my $start = $node->log_position;
$kafka->produce_numbers('deadlock', [2]);
$user->finish;
is($user->{sqlstate}, undef, 'deadlock: the user goes on');
$node->wait_for_log(qr/ERROR:  deadlock detected/, $start);
$node->wait_applied('deadlock', 2);
is($node->sql('SELECT id, x FROM shelf ORDER BY id'), "1|103\n2|103", 'deadlock: the batch is applied again, once');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name = 'deadlock'}), '0', 'deadlock: no record is blamed');

# ---- 1,000 poison records in a row ----

$kafka->produce_many('poison', [ [ 'k', '{"n": 1}' ], (map { [ 'k', "no number $_" ] } 1 .. 1000), [ 'k', '{"n": 2}' ] ]);
$node->sql(q{
	CREATE TABLE t_poison (n int);
	INSERT INTO rappel_conso.stream (name, topics, stop_after, statement)
	VALUES ('poison', '{poison}', 1000, 'INSERT INTO t_poison SELECT (value->>''n'')::int FROM records')});
$node->wait_for('the stream to stop', q{SELECT state || ' ' || sqlstate FROM rappel_conso.stream_state WHERE stream = 'poison'}, expected => 'failed 22P02');
is($node->sql(q{SELECT (SELECT count(*) FROM rappel_conso.dead_letter WHERE name = 'poison') || '|' || (SELECT count(*) FROM t_poison)}),
	'0|0', '1,000 poison records in a row stop the stream before they are committed');
$node->sql(q{UPDATE rappel_conso.stream SET stop_after = 1001 WHERE name = 'poison'});
$node->wait_applied('poison', 1002);
is($node->sql(q{SELECT (SELECT count(DISTINCT record_offset) FROM rappel_conso.dead_letter WHERE name = 'poison') || '|' || (SELECT string_agg(n::text, ' ' ORDER BY n) FROM t_poison)}),
	'1000|1 2', 'with a higher limit each of them is a dead letter, and the others are applied');

$node->stop;
$kafka->stop;
done_testing();
