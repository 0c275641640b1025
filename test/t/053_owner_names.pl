# 053_owner_names.pl
#     Owners and grantees are names (R3, R13), and a name gives a right only to
#     the role that it meant when it was stored: after DROP ROLE, a new role of
#     the same name, RENAME, and in another cluster, where the role is missing or
#     another one has its OID.  A grant that is revoked stops a running worker
#     (R10); on PostgreSQL 16 and newer SET and USAGE are told apart (R14).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $api = start_api();
my $node = new_node(
	'main',
	kafka => $kafka,
	api => $api,
	preload => 1,
	conf => "max_worker_processes = 30\n");
my $major = int($node->sql('SHOW server_version_num') / 10000);

sub quoted { return '"' . $_[0] . '"'; }

# A role that may own streams and publish to what begins with its number.
sub make_stream_owner
{
	my ($role, $topics, $on) = @_;

	$on //= $node;
	$on->sql(qq{
		CREATE ROLE ${\quoted($role)} LOGIN;
		GRANT USAGE ON SCHEMA rappel_conso TO ${\quoted($role)};
		GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream TO ${\quoted($role)};
		GRANT SELECT ON rappel_conso.dead_letter, rappel_conso.outbox, rappel_conso.source TO ${\quoted($role)};
		GRANT INSERT ON seen TO ${\quoted($role)};
		GRANT EXECUTE ON FUNCTION rc_publish(text, text, text, jsonb),
			rc_publish(text, bytea, bytea, jsonb), rc_seek, rc_sync_now TO ${\quoted($role)}});
	$on->sql("INSERT INTO rappel_conso.topic_grant VALUES ('$role', '$topics', true, true)") if $topics;
	return;
}

my $WHO = q{INSERT INTO seen SELECT current_user, value FROM records};

# A stream that says who it runs as; stored by its owner, who is the default.
sub make_own_stream
{
	my ($role, $name, $topic) = @_;

	$kafka->create_topic($topic);
	return $node->outcome_as($role, qq{INSERT INTO rappel_conso.stream (name, topics, value_type, statement)
		VALUES ('$name', '{$topic}', 'text', '$WHO')});
}

sub runs_as
{
	my ($role, $topic, $what) = @_;
	my $value = "$topic " . rand();

	$kafka->produce($topic, 'k', $value);
	$node->wait_for($what, "SELECT count(*) = 1 FROM seen WHERE value = '$value'");
	is($node->sql("SELECT who FROM seen WHERE value = '$value'"), $role, $what);
	return;
}

sub fails_as_lost
{
	my ($stream, $role, $what) = @_;

	$node->wait_for($what, qq{SELECT count(*) = 1 FROM rc_status() WHERE component = 'stream' AND name = '$stream' AND state = 'failed'});
	like($node->sql("SELECT sqlstate || ' ' || error FROM rappel_conso.stream_state WHERE stream = '$stream'"),
		qr/^42704 .*"\Q$role\E"/, $what);
	$node->wait_for("$what: the end of the worker", "SELECT rappel_conso.worker_pid('stream', '$stream') IS NULL");
	return;
}

$node->sql(q{CREATE TABLE seen (who text, value text); UPDATE rappel_conso.stream SET paused = true});

#
# Names that a regrole would fold, or read as a number
#
my $n = 0;
foreach my $role ('Ana', '10', 'a b', '-', "o''brien")
{
	my $real = $role =~ s/''/'/gr;

	$n++;
	$node->sql(qq{CREATE TABLE IF NOT EXISTS seen (who text, value text)});
	make_stream_owner($real =~ s/'/'/gr, undef);
	$node->sql("INSERT INTO rappel_conso.topic_grant VALUES ('$role', 'odd$n.*', true, true)");
	is(make_own_stream($real, "odd$n", "odd$n.in"), '', "R13: role \"$real\" stores a stream");
	is($node->sql("SELECT owner = '$role' FROM rappel_conso.stream WHERE name = 'odd$n'"), 't', 'R13: and owns it');
	runs_as($real, "odd$n.in", "R13: which runs as \"$real\"");
	is($node->outcome_as($real, "SELECT rc_publish('odd$n.out', 'x'::text) IS NOT NULL"), 't', 'R13: and its grant is its own');
	like($node->outcome_as($real, "SELECT rc_publish('odd9.out', 'x'::text)"), qr/^42501: .*"odd9\.out"/, 'R13: and no other');
}
$node->sql(q{UPDATE rappel_conso.stream SET paused = true});

#
# DROP ROLE while the stream runs; then another role of the same name
#
make_stream_owner('clerk', 'clerk.*');
make_stream_owner('other', 'other.*');
is(make_own_stream('clerk', 'clerk', 'clerk.in'), '', 'a stream');
is(make_own_stream('clerk', 'clerk2', 'clerk.in2'), '', 'and another one of the same owner');
runs_as('clerk', 'clerk.in', 'it runs as its owner');
$node->sql(q{INSERT INTO rappel_conso.dead_letter (origin, name, topic, value, sqlstate, message, owner)
	VALUES ('stream', 'clerk', 'clerk.in', 'secret', '22P02', 'bad', 'clerk')});
is($node->outcome_as('clerk', q{SELECT count(*) FROM rappel_conso.dead_letter}), '1', 'and sees its dead letter');
$node->sql(q{INSERT INTO rappel_conso.source (name, dataset, owner) VALUES ('clerks', 'd', 'clerk')});
$node->sql('DROP OWNED BY clerk; DROP ROLE clerk');
fails_as_lost('clerk', 'clerk', 'R3: the owner was dropped');
fails_as_lost('clerk2', 'clerk', 'R3: so is the other stream of it');
$node->wait_for('R3: its source fails, too', q{SELECT state = 'failed' FROM rc_status() WHERE component = 'source' AND name = 'clerks'});
like($node->sql(q{SELECT sqlstate, error FROM rappel_conso.run WHERE source = 'clerks'}), qr/^42704\|.*"clerk".*$/, 'R3: with the same words, once');
my ($code, $out, $err) = $node->psql('postgres', q{SELECT rc_sync_now('clerks')});
like($err, qr/"clerk".*SET owner/s, 'R3: rc_sync_now() says so and what to do');
($code, $out, $err) = $node->psql('postgres', q{SELECT rc_seek('clerk', 'earliest')});
like($err, qr/ERROR: .*"clerk"/, 'R3: so does rc_seek()');

# a statement that never ends, as its owner goes
make_stream_owner('sleeper', 'sleeper.*');
$kafka->create_topic('sleeper.in');
is($node->outcome_as('sleeper', q{INSERT INTO rappel_conso.stream (name, topics, value_type, statement)
		VALUES ('sleeper', '{sleeper.in}', 'text', 'INSERT INTO seen SELECT current_user, value FROM records, pg_sleep(3600)')}), '', 'a slow stream');
$kafka->produce('sleeper.in', 'k', 'zzz');
$node->wait_for('a statement that never ends', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'sleeper' AND wait_event = 'PgSleep'});
$node->sql('DROP OWNED BY sleeper; DROP ROLE sleeper');
fails_as_lost('sleeper', 'sleeper', 'R3: a statement ends with its owner');

# a run that goes on, as its owner goes
$node->sql(q{CREATE ROLE runner LOGIN IN ROLE pg_read_all_settings; GRANT USAGE ON SCHEMA rappel_conso TO runner});
$node->make_source('running', api => $api);
$node->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('runner', 'running', true, true);
	UPDATE rappel_conso.stream SET paused = true WHERE name = 'running';
	UPDATE rappel_conso.source SET owner = 'runner', topic = 'running', stream = NULL WHERE name = 'running'});
$api->fault('gate', on => 'export', lines => 150);
$node->sql(q{SELECT rc_trigger('running')});
$api->wait_held;
$node->sql('DROP OWNED BY runner; DROP ROLE runner');
$api->control(faults => [], release => JSON::PP::true);
$node->wait_for('the end of the run', q{SELECT finished_at IS NOT NULL FROM rappel_conso.run WHERE source = 'running' ORDER BY id LIMIT 1});
is($node->sql(q{SELECT state FROM rappel_conso.run WHERE source = 'running' ORDER BY id LIMIT 1}), 'failed', 'R3: a run ends with its owner');
$node->wait_for('R3: and the source says why', q{SELECT sqlstate = '42704' AND error ~ '"runner"' FROM rappel_conso.run WHERE source = 'running' ORDER BY id DESC LIMIT 1});
$node->sql(q{DELETE FROM rappel_conso.source WHERE name = 'running'; DELETE FROM rappel_conso.stream WHERE name = 'running'; DROP TABLE running});

make_stream_owner('clerk', undef);
$kafka->produce('clerk.in', 'k', 'for the dropped one');
$node->sql(q{UPDATE rappel_conso.stream_state SET retry_at = NULL WHERE stream = 'clerk'; UPDATE rappel_conso.stream SET batch_size = 99 WHERE name = 'clerk'});
$node->wait_for('another try', q{SELECT failures > 0 FROM rappel_conso.stream_state WHERE stream = 'clerk' AND state = 'failed'});
is($node->sql(q{SELECT count(*) FROM seen WHERE value = 'for the dropped one'}), '0', 'R3: a new role of that name does not get the stream');
like($node->outcome_as('clerk', q{SELECT rc_publish('clerk.out', 'x'::text)}), qr/^42501: .*"clerk\.out"/, 'R3: nor the grants');
like($node->outcome_as('clerk', q{SELECT rc_seek('clerk', 'latest')}), qr/^42/, 'R3: nor a verb over the stream');
like($node->outcome_as('clerk', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('mine', '{clerk.in}', 'SELECT key FROM records')}),
	qr/^42501: .*"clerk"/, 'R3: nor can it bring all that to life with a stream of its own');
like($node->outcome_as('clerk', q{UPDATE rappel_conso.stream SET owner = 'clerk' WHERE name = 'clerk'}), qr/^42704: .*"clerk"/, 'R3: or by setting the owner');
like($node->outcome_as('clerk', q{DELETE FROM rappel_conso.stream WHERE name = 'clerk2'}), qr/^42704: .*"clerk"/, 'R3: nor delete any of it');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE owner = 'clerk'}), '1', 'the dropped one has left a dead letter');
is($node->outcome_as('clerk', q{SELECT count(*) FROM rappel_conso.dead_letter}), '0', 'R3: nor see what was a dead letter of the other');

$node->sql(q{UPDATE rappel_conso.topic_grant SET role = 'clerk' WHERE role = 'clerk';
	UPDATE rappel_conso.stream SET owner = 'clerk' WHERE name = 'clerk'});
$node->wait_for('the new owner', q{SELECT count(*) = 1 FROM seen WHERE value = 'for the dropped one'});
runs_as('clerk', 'clerk.in', 'R3: until a superuser sets owner and grant again');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE owner = 'clerk' AND owner_oid <> 'clerk'::regrole}), '1', 'the dead letter of the other is there');
$node->outcome_as('clerk', q{UPDATE rappel_conso.stream SET batch_size = 97 WHERE name = 'clerk'});
is($node->outcome_as('clerk', q{SELECT count(*) FROM rappel_conso.dead_letter}), '0', 'R3: what changes the stream does not give it away');
is($node->sql(q{SELECT retried FROM rc_retry('clerk')}), '0', 'R3: nor does rc_retry()');
is($node->outcome_as('clerk', q{SELECT rc_publish('clerk.out', 'x'::text) IS NOT NULL}), 't', 'R3: then the grant is its own');

#
# A stream that is given away while a session still sees it as its own: the
# worker that it asks for must not run the new owner's SQL with its rights
#
make_stream_owner('bob', 'bob.*');
my $psql = 'psql -X -q -d "' . $node->connstr('postgres') . '"';
($code, $out, $err) = $node->psql('postgres', qq{
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('given', '{bob.in}', 'SELECT key FROM records');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM rappel_conso.stream;
\\! $psql -c "UPDATE rappel_conso.stream SET owner = 'bob' WHERE name = 'given'"
\\! $psql -U bob -c "UPDATE rappel_conso.stream SET setup = 'ALTER ROLE bob SUPERUSER' WHERE name = 'given'"
SELECT rc_retry('given');
ROLLBACK;
});
like($err, qr/ERROR: .*"given"/, 'a worker runs a definition only as its owner');
is($node->sql(q{SELECT owner, setup IS NOT NULL FROM rappel_conso.stream WHERE name = 'given'}), 'bob|t', 'which had been given away');
is($node->sql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'bob'}), 'f', 'nothing is gained by giving it away');
$node->sql(q{DELETE FROM rappel_conso.stream WHERE name = 'given'});

#
# RENAME, and a role that takes the old name
#
$node->sql('ALTER ROLE clerk RENAME TO scribe');
fails_as_lost('clerk', 'clerk', 'R3: the owner was renamed');
$node->sql('ALTER ROLE other RENAME TO clerk');
like($node->outcome_as('clerk', q{SELECT rc_publish('clerk.out', 'x'::text)}), qr/^42501: .*"clerk\.out"/, 'R3: who is renamed to that name has no grants of it');
$node->sql(q{UPDATE rappel_conso.topic_grant SET role = 'scribe' WHERE topic = 'clerk.*';
	UPDATE rappel_conso.stream SET owner = 'scribe' WHERE name = 'clerk'});
runs_as('scribe', 'clerk.in', 'R3: the new name set, it runs');

#
# R10: a grant that goes stops a running worker, one that comes starts it
#
$node->sql(q{DELETE FROM rappel_conso.topic_grant WHERE topic = 'clerk.*'});
$node->wait_for('the end', q{SELECT state = 'failed' AND sqlstate = '42501' FROM rappel_conso.stream_state WHERE stream = 'clerk'});
$kafka->produce('clerk.in', 'k', 'after the grant');
is($node->sql(q{SELECT count(*) FROM seen WHERE value = 'after the grant'}), '0', 'R10: without its grant a stream reads nothing more');
$node->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('scribe', 'clerk.*', true, true)});
$node->wait_for('R10: the grant is back', q{SELECT count(*) = 1 FROM seen WHERE value = 'after the grant'});
$node->sql(q{TRUNCATE rappel_conso.topic_grant});
$node->wait_for('R10: TRUNCATE', q{SELECT state = 'failed' AND sqlstate = '42501' FROM rappel_conso.stream_state WHERE stream = 'clerk'});
$node->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('scribe', 'clerk.*', true, true)});
runs_as('scribe', 'clerk.in', 'R10: and it runs again');

#
# R14: memberships without SET or INHERIT
#
SKIP:
{
	skip 'memberships have no options before PostgreSQL 16', 7 if $major < 16;
	make_stream_owner('insider', undef);
	$node->sql(q{GRANT scribe TO insider WITH INHERIT FALSE, SET FALSE});
	like($node->outcome_as('insider', q{INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('steal', '{clerk.in}', 'SELECT key FROM records', 'scribe')}),
		qr/^42501/, 'R14: who may not SET ROLE stores nothing for it');
	$node->sql(q{ALTER ROLE insider BYPASSRLS});
	like($node->outcome_as('insider', q{INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('steal', '{clerk.in}', 'SELECT key FROM records', 'scribe')}),
		qr/^42501: .*"scribe"/, 'R14: nor does who sees all rows');
	$node->sql(q{ALTER ROLE insider NOBYPASSRLS});
	is($node->outcome_as('insider', q{SELECT count(*) FROM rappel_conso.stream WHERE owner = 'scribe'}), '0', 'R14: and sees nothing of it');
	like($node->outcome_as('insider', q{SELECT rc_seek('clerk', 'latest')}), qr/^42/, 'R14: nor has it a verb');
	$node->sql(q{GRANT scribe TO insider WITH INHERIT TRUE, SET FALSE});
	is($node->outcome_as('insider', q{WITH u AS (UPDATE rappel_conso.stream SET paused = false WHERE owner = 'scribe' RETURNING 1) SELECT count(*) FROM u}),
		'0', 'R14: INHERIT alone changes nothing');
	is($node->outcome_as('insider', q{SELECT count(*) > 0 FROM rappel_conso.stream WHERE owner = 'scribe'}), 't', 'R14: but sees it');
	$node->sql(q{GRANT scribe TO insider WITH INHERIT FALSE, SET TRUE});
	is($node->outcome_as('insider', q{SELECT rc_seek('clerk', 'latest')}), '', 'R14: SET is enough for a verb');
}

#
# Another cluster: a role is missing, another has its OID
#
my $oid = $node->sql(q{SELECT oid FROM pg_roles WHERE rolname = 'scribe'});
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump.sql";
my $data = "$PostgreSQL::Test::Utils::tmp_check/data.sql";
my $copy = new_node('copy', kafka => $kafka, extension => 0, conf => "max_worker_processes = 30\n");

$node->command_ok([ 'pg_dump', '-f', $dump, '--no-privileges', '--exclude-table=seen', 'postgres' ], 'a dump');
$node->command_ok([ 'pg_dump', '-f', $data, '--data-only', '--disable-triggers', '--exclude-table=public.*', 'postgres' ], 'and one of the data alone');
unlike(slurp_file($dump), qr/\b$oid\b/, 'R3: no OID of a role is in it');

# the same OID, of a superuser
$copy->sql(qq{
	DO \$\$
	BEGIN
	  LOOP
	    CREATE ROLE squatter SUPERUSER LOGIN;
	    EXIT WHEN (SELECT oid >= $oid FROM pg_roles WHERE rolname = 'squatter');
	    DROP ROLE squatter;
	  END LOOP;
	END
	\$\$});
is($copy->sql(q{SELECT oid FROM pg_roles WHERE rolname = 'squatter'}), $oid, 'a superuser has the OID of the owner');
$copy->sql(q{CREATE ROLE "Ana" LOGIN; CREATE ROLE "10" LOGIN; CREATE TABLE seen (who text, value text)});
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'postgres' ], 'R3: the dump is restored, missing roles or not');
is($copy->sql(q{SELECT string_agg(DISTINCT owner, ',' ORDER BY owner) FROM rappel_conso.stream WHERE name <> 'rappel_conso'}),
	$node->sql(q{SELECT string_agg(DISTINCT owner, ',' ORDER BY owner) FROM rappel_conso.stream WHERE name <> 'rappel_conso'}), 'R3: all rows are there');
is($copy->sql(q{SELECT string_agg(name || ' ' || (oid = 0), ',' ORDER BY name) FROM rappel_conso.known_role WHERE name IN ('Ana', '10', 'scribe', 'clerk')}),
	'10 false,Ana false,clerk true,scribe true', 'R3: who is missing is noted as nobody');
$copy->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name = 'clerk'; SELECT rc_start()});
$copy->wait_for('R3: a stream of a role that is missing fails', q{SELECT state = 'failed' AND sqlstate = '42704' AND error ~ '"scribe"' FROM rappel_conso.stream_state WHERE stream = 'clerk'});
is($copy->sql(q{SELECT count(*) FROM seen}), '0', 'R3: who has the OID did not run it');
make_stream_owner('scribe', undef, $copy);
like($copy->outcome_as('scribe', q{SELECT rc_publish('clerk.out', 'x'::text)}), qr/^42501: .*"clerk\.out"/, 'R3: who is made later gets no grant');
$copy->sql(q{UPDATE rappel_conso.stream_state SET retry_at = NULL; UPDATE rappel_conso.stream SET batch_size = 98 WHERE name = 'clerk'});
$copy->wait_for('another try', q{SELECT failures > 0 FROM rappel_conso.stream_state WHERE stream = 'clerk' AND state = 'failed'});
is($copy->sql(q{SELECT count(*) FROM seen}), '0', 'R3: and no stream');
$copy->sql(q{UPDATE rappel_conso.topic_grant SET role = role; UPDATE rappel_conso.stream SET owner = owner WHERE name = 'clerk'});
$kafka->produce('clerk.in', 'k', 'for the copy');
$copy->wait_for('R3: until both are set again', q{SELECT count(*) > 0 FROM seen WHERE who = 'scribe' AND value = 'for the copy'});
$copy->sql(q{SELECT rc_stop()});

#
# What a dropped role has left stays nobody's in another database of the same
# cluster, where a superuser has taken the name, whatever comes first
#
make_stream_owner('leaver', undef, $copy);
$copy->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('leaver', 'clerk.*', true, true)});
is($copy->outcome_as('leaver', q{INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('left', '{clerk.in}', 'text', 'INSERT INTO seen SELECT current_user, value FROM records')}), '', 'a role has a stream');
$copy->sql(q{DROP OWNED BY leaver; DROP ROLE leaver; CREATE ROLE leaver SUPERUSER LOGIN});
foreach my $how ([ 'dumped', '--format=plain' ], [ 'as inserts', '--inserts' ], [ 'the other way round', '--format=custom' ])
{
	my ($what, @options) = @$how;
	my ($file, $name) = ("$PostgreSQL::Test::Utils::tmp_check/left", $what =~ s/\s//gr);

	$copy->command_ok([ 'pg_dump', @options, '-f', $file, '--exclude-table=public.*', 'postgres' ], "R3: $what");
	$copy->sql("CREATE DATABASE $name");
	if ($what eq 'the other way round')
	{
		my ($list) = run_command([ 'pg_restore', '-l', $file ]);
		my @lines = grep { !/^;/ } split(/\n/, $list);

		PostgreSQL::Test::Utils::append_to_file("$file.list", join("\n", (grep { !/TABLE DATA/ } @lines), (reverse grep { /TABLE DATA/ } @lines), ''));
		$copy->command_ok([ 'pg_restore', '-L', "$file.list", '-d', $name, $file ], "R3: $what: restored");
	}
	else
	{
		$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $name ], "R3: $what: restored");
	}
	is($copy->safe_psql($name, q{SELECT string_agg(name || ' ' || oid, ',' ORDER BY name) FROM rappel_conso.known_role WHERE name = 'leaver'}), 'leaver 0', "R3: $what: the name means nobody");
	$copy->safe_psql($name, q{CREATE TABLE seen (who text, value text)});
	my ($code, $out, $err) = $copy->psql($name, q{SELECT * FROM rc_drain('left')});
	like($err, qr/ERROR: .*"leaver"/, "R3: $what: the superuser of that name does not run it");
	is($copy->safe_psql($name, q{SELECT count(*) FROM seen WHERE who = 'leaver'}), '0', "R3: $what: nor is anything applied");
}

#
# The data alone, without triggers: the scheduler notes whom the names mean
#
$copy->sql(q{CREATE DATABASE later});
$copy->safe_psql('later', q{
	CREATE EXTENSION rappel_conso; CREATE TABLE seen (who text, value text);
	SET session_replication_role = replica;
	DELETE FROM rappel_conso.source; DELETE FROM rappel_conso.stream; TRUNCATE rappel_conso.known_role});
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $data, 'later' ], 'R3: data without triggers are restored');
is($copy->safe_psql('later', 'SELECT count(*) FROM rappel_conso.known_role'), '0', 'nobody has noted the roles yet');
$copy->safe_psql('later', q{UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()});
$copy->wait_for('the note', q{SELECT count(*) > 0 FROM rappel_conso.known_role}, dbname => 'later');
is($copy->safe_psql('later', q{SELECT string_agg(name || ' ' || (oid = 0), ',' ORDER BY name) FROM rappel_conso.known_role WHERE name IN ('Ana', 'a b', 'scribe')}),
	'Ana false,a b true,scribe false', 'R3: the scheduler notes them, missing ones as nobody');
$copy->safe_psql('later', 'SELECT rc_stop()');

# without a scheduler a run notes them itself
$copy->new_database('fresh', api => $api);
$copy->safe_psql('fresh', 'DELETE FROM rappel_conso.known_role');
is($copy->safe_psql('fresh', 'SELECT state FROM rc_sync_now()'), 'success', 'R3: a sync runs where nobody has noted the roles yet');
is($copy->safe_psql('fresh', 'SELECT count(*) > 0 FROM rappel_conso.known_role'), 't', 'R3: and notes them');

$copy->stop;
$node->stop;
done_testing();
