# 048_cancelled_statement.pl
#     A statement that never ends (D10): it is shown, and it is cancelled when
#     its stream is paused, changed, deleted or sought, when the workers are
#     stopped, and when database or server go; no record is blamed for it.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $api = start_api();
my $node = new_node(
	'cancelled',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 40\nmax_prepared_transactions = 4\n");

# How many processes run a statement that never ends.
sub endless
{
	my ($where) = @_;

	return "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query ~ 'pg_sleep' AND backend_type ~ 'rappel_conso'"
	  . ($where ? " AND $where" : '');
}

sub wait_endless
{
	my ($name) = @_;

	$node->wait_for("the statement of $name", endless("application_name ~ ' $name( |\$)'"), expected => '1');
	return;
}

# Do it, and see that the statement ends and is not started again.
sub ends_by
{
	my ($name, $sql, $what) = @_;
	my ($pid) = $node->sql("SELECT pid FROM pg_stat_activity WHERE application_name ~ ' $name( |\$)'");

	my $now = $node->sql('SELECT now()');

	$node->sql($sql);
	$node->wait_for("the end of $name", endless("pid = $pid AND query_start < '$now'"), expected => '0');
	pass("D10: $what ends the statement, which would not end");
	is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter}), '0', "D10: $what, no record is blamed");
	return;
}

my @names = map { "s$_" } 1 .. 8;

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE ROLE app LOGIN;
	ALTER ROLE app SET statement_timeout = '1h';
	INSERT INTO rappel_conso.topic_grant VALUES ('app', '*', true, false);
	EOC
$kafka->produce_many('endless', [ map { [ $_, qq({"n": $_}) ] } 0 .. 4 ]);
$node->sql(join('', map { <<~"EOC" } @names) . 'SELECT rc_start()');
	INSERT INTO rappel_conso.stream (name, topics, owner, statement) VALUES ('$_', '{endless}', 'app', 'SELECT pg_sleep(1e6), * FROM records');
	EOC
wait_endless($_) foreach @names;

is($node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(1e6), * FROM records'}),
	'8', 'D10: the statements are shown as what their workers run');
is($node->sql(q{SELECT count(*) FROM rappel_conso.stream_state WHERE stream LIKE 's_' AND state = 'running'}), '8', 'D10: they have a status');

ends_by('s1', q{UPDATE rappel_conso.stream SET paused = true WHERE name = 's1'}, 'a pause');
ends_by('s2', q{UPDATE rappel_conso.stream SET statement = 'SELECT 1 FROM records' WHERE name = 's2'}, 'a change of the statement');
$node->wait_for('s2', q{SELECT sum(next_offset) = 5 FROM rappel_conso.stream_offset WHERE stream = 's2'});
pass('D10: the new statement is applied');
ends_by('s3', q{DELETE FROM rappel_conso.stream WHERE name = 's3'}, 'a deletion');
ends_by('s4', q{BEGIN; SELECT rc_seek('s4', '0:4'); COMMIT}, 'rc_seek()');
$node->wait_for('s4 to begin anew', endless("application_name ~ ' s4( |\$)'"), expected => '1');
is($node->sql(q{SELECT next_offset FROM rappel_conso.stream_offset WHERE stream = 's4'}), '4', 'D10: it goes on from there');
$node->sql(q{BEGIN; UPDATE rappel_conso.stream SET paused = true WHERE name = 's5'; ROLLBACK});
is($node->sql(endless("application_name ~ ' s5( |\$)'")), '1', 'a change that is rolled back cancels nothing');
ends_by('s5', q{UPDATE rappel_conso.stream SET name = 'renamed', paused = true WHERE name = 's5'}, 'a new name');

# A change that another session commits by a name tells nobody.
foreach my $change ('UPDATE rappel_conso.stream SET paused = true', 'DELETE FROM rappel_conso.stream')
{
	my $name = $change =~ /^UPDATE/ ? 's7' : 's8';

	$node->sql("BEGIN; $change WHERE name = '$name'; PREPARE TRANSACTION 'change'");
	is($node->sql(endless("application_name ~ ' $name( |\$)'")), '1', 'D10: a prepared change cancels nothing');
	ends_by($name, "COMMIT PREPARED 'change'", "COMMIT PREPARED of $change");
}

# what somebody else cancels is no record's fault, either
$node->sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name ~ ' s6 '});
$node->wait_for('s6 to say so', q{SELECT state = 'waiting' AND detail ~ 'user request' FROM rappel_conso.stream_state WHERE stream = 's6'});
wait_endless('s6');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter}), '0', 'D10: pg_cancel_backend() blames no record');
like($node->sql(q{SELECT string_agg(state || detail, ',') FROM rappel_conso.stream_state WHERE stream IN ('s1', 's4')}) // '',
	qr/^$/, 'D10: what was changed does not say that it failed');

# ---- its sleep may stand elsewhere ----

$node->sql(q{
	CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1e6); RETURN NULL; END $$;
	CREATE TABLE deferred (n int);
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleeps();
	CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  IF NEW.n = 3 THEN PERFORM pg_sleep(1e6); END IF;
	  SET CONSTRAINTS ALL DEFERRED;
	  INSERT INTO again VALUES (NEW.n + 1);
	  RETURN NULL;
	END $$;
	CREATE TABLE again (n int);
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON again DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION again();
	CREATE FUNCTION hold() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT pg_sleep(1e6)'; RETURN 1; END $$;
	CREATE TABLE held (n int);
	CREATE FUNCTION naps(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1e6); RETURN true; END $$;
	CREATE DOMAIN nap AS int CHECK (naps(VALUE));
	CREATE TYPE napping AS (n nap);
	INSERT INTO rappel_conso.stream (name, topics, statement, setup, value_type) VALUES
	  ('defers', '{endless}', 'INSERT INTO deferred SELECT 1 FROM records', NULL, 'jsonb'),
	  ('defers_again', '{endless}', 'INSERT INTO again SELECT 1 FROM records LIMIT 1', NULL, 'jsonb'),
	  ('decodes', '{endless}', 'SELECT n FROM records', NULL, 'napping'),
	  ('prepares', '{endless}', 'SELECT 1 FROM records', 'SELECT pg_sleep(1e6)', 'jsonb')});
foreach my $name ('defers', 'defers_again', 'decodes', 'prepares')
{
	$node->wait_for("the sleep of $name", "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name ~ ' $name '");
	is($node->sql("SELECT state FROM rappel_conso.stream_state WHERE stream = '$name'"), 'running', "D10: $name has a status");
	$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = '$name'");
	$node->wait_for("the end of $name", "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ ' $name '");
	pass("D10: $name, a pause ends it");
}

# Nothing of it runs at the commit, while rows of ours are locked.
$node->sql(q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('holds', '{endless}', 'INSERT INTO held SELECT hold() FROM records LIMIT 1')});
$node->wait_for('what holds a cursor', q{SELECT count(*) > 0 FROM held});
pass('D10: a cursor WITH HOLD is not run at the commit');
$node->sql(q{SET lock_timeout = '10s'; DELETE FROM rappel_conso.stream WHERE name = 'holds'});
$node->wait_for('the end of holds', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ ' holds '});

# ---- rc_retry(), rc_drain() and a run in direct mode ----

$node->sql(q{
	CREATE TABLE letters (n int, CHECK (n <> 2));
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('letters', '{endless}', 'INSERT INTO letters SELECT (value->>''n'')::int FROM records')});
$node->wait_for('the dead letter', q{SELECT count(*) = 1 FROM rappel_conso.dead_letter WHERE name = 'letters'});
$node->sql(q{UPDATE rappel_conso.stream SET paused = true, statement = 'SELECT pg_sleep(1e6), * FROM records' WHERE name = 'letters'});
my $retry = $node->start_session(q{SELECT rc_retry('letters')});
wait_endless('letters');
$node->sql(q{UPDATE rappel_conso.stream SET stop_after = 7 WHERE name = 'letters'});
is($retry->finish->{sqlstate}, '55000', 'D10: a retry of what is changed ends, and says so');
$node->sql(q{SELECT rc_seek('letters', 'earliest')});
my $drain = $node->start_session(q{SELECT rc_drain('letters')});
wait_endless('letters');
$node->sql(q{UPDATE rappel_conso.stream SET statement = 'SELECT 1 FROM records' WHERE name = 'letters'});
is($drain->finish->{sqlstate}, '55000', 'D10: so does a drain');
is($node->sql(q{SELECT count(*), max(attempts) FROM rappel_conso.dead_letter WHERE name = 'letters'}), '1|1', 'D10: nothing is counted for it');

my $direct = new_node('direct', api => $api);
my @endless = ('postgres', endless("application_name ~ ' rappel_conso'"), '1');
$direct->sql(q{UPDATE rappel_conso.stream SET setup = NULL, statement = 'SELECT pg_sleep(1e6) FROM records'});
my $run = $direct->start_session('SELECT rc_sync_now()');
$direct->poll_query_until(@endless) or die 'the run does not come to its statement';
$direct->sql('UPDATE rappel_conso.stream SET paused = true');
is($run->finish->{sqlstate}, '55000', 'D10: so does a run in direct mode');
is($direct->sql('SELECT count(*) FROM rappel_conso.dead_letter'), '0', 'D10: without a dead letter');

# ---- DROP EXTENSION, rc_stop(), DROP DATABASE, shutdown ----

$node->sql('CREATE DATABASE bare');
$node->sql(q{
	CREATE EXTENSION rappel_conso;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('bare', '{endless}', 'SELECT pg_sleep(1e6), * FROM records')},
	dbname => 'bare');
$node->sql('SELECT rc_start()', dbname => 'bare');
wait_endless('bare');
$node->sql('DROP EXTENSION rappel_conso CASCADE', dbname => 'bare');
$node->wait_for('the workers of what is dropped', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'bare'}, expected => '0');
pass('D10: DROP EXTENSION ends it');
$node->sql('CREATE DATABASE dropped');
$node->safe_psql('dropped', q{
	CREATE EXTENSION rappel_conso;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('dropped', '{endless}', 'SELECT pg_sleep(1e6), * FROM records')});
$node->safe_psql('dropped', 'SELECT rc_start()');
wait_endless('dropped');
is($node->psql('postgres', 'DROP DATABASE dropped WITH (FORCE)'), 0, 'D10: DROP DATABASE ends it');
wait_endless('s6');
cmp_ok($node->sql('SELECT rc_stop()'), '>', 0, 'D10: rc_stop() ends it');
is($node->sql(endless()), '0', 'D10: nothing runs after it');
$node->sql('SELECT rc_start()');
wait_endless('s6');
$node->stop('fast');
pass('D10: the server stops');

done_testing();
