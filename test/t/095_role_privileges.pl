# 095_role_privileges.pl
#     Who may do what: a role that may own streams tries to get at another's
#     streams, dead letters, outbox and topics, and to become a superuser by
#     what a stream's worker runs.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('grants', kafka => $kafka, preload => 1, conf => "max_worker_processes = 30\n");
my $boss = $node->sql('SELECT current_user');

$kafka->create_topic($_) foreach 'alice.in', 'mallory.in', 'shared.in';
$node->sql(q{UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()});
foreach my $role ('alice', 'mallory')
{
	$node->sql(qq{
		CREATE ROLE $role LOGIN;
		CREATE SCHEMA AUTHORIZATION $role;
		GRANT USAGE ON SCHEMA rappel_conso TO $role;
		GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream TO $role;
		GRANT SELECT ON rappel_conso.stream_offset, rappel_conso.stream_state, rappel_conso.dead_letter,
			rappel_conso.outbox, rappel_conso.lag TO $role;
		GRANT EXECUTE ON FUNCTION rc_seek, rc_retry, rc_drain, rc_publish(text, text, text, jsonb),
			rc_publish(text, bytea, bytea, jsonb) TO $role;
		INSERT INTO rappel_conso.topic_grant VALUES ('$role', '$role.*', true, true), ('$role', 'shared.in', true, false)});
}

# Each has a stream, a dead letter, and a message that waits: a gate keeps the
# publisher from deleting it.
$node->sql(q{
	CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN OLD; END $$;
	CREATE TRIGGER gate BEFORE DELETE ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION gate()});
my $gate = $node->background_psql('postgres', on_error_die => 1);
$gate->query_safe('SELECT pg_advisory_lock(42)');
foreach my $role ('alice', 'mallory')
{
	is( $node->outcome_of(qq{
			CREATE TABLE $role.t (n int, who text DEFAULT current_user, session text DEFAULT session_user);
			INSERT INTO rappel_conso.stream (name, topics, output_topic, statement) VALUES ('$role', '{$role.in}', '$role.out',
				'INSERT INTO $role.t SELECT (value->>''n'')::int FROM records RETURNING ''k'' AS key, n AS value')}, role => $role, tags => 1),
		"CREATE TABLE\nINSERT 0 1", "$role can own a stream");
	$kafka->produce_many("$role.in", [ [ 'k', '{"n": 1}' ], [ 'k', "secret of $role" ] ]);
	$node->wait_for("stream $role", "SELECT sum(next_offset) = 2 FROM rappel_conso.stream_offset WHERE stream = '$role'");
	is($node->sql("SELECT n, who, session FROM $role.t"), "1|$role|$role", "and it runs as $role");
}

# ---- what mallory tries ----

my $denied = '42501: permission denied for';
my $unknown = qr/^42704: .*"alice"/;
my @attacks = (

	# topics
	[ q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('evil', '{alice.in}', 'SELECT 1 FROM records')},
		qr/^42501: (?=.*"mallory")(?=.*"evil").*"alice\.in"/ ],
	[ q{UPDATE rappel_conso.stream SET topics = '{mallory.in, alice.in}' WHERE name = 'mallory'},
		qr/^42501: (?=.*"mallory")(?=.*"mallory").*"alice\.in"/ ],
	[ q{UPDATE rappel_conso.stream SET output_topic = 'alice.in' WHERE name = 'mallory'},
		qr/^42501: (?=.*"mallory")(?=.*"mallory").*"alice\.in"/ ],
	[ q{UPDATE rappel_conso.stream SET output_topic = 'shared.in' WHERE name = 'mallory'},
		qr/^42501: (?=.*"mallory")(?=.*"mallory").*"shared\.in"/ ],
	[ q{SELECT rc_publish('alice.in', 'forged', 'k')}, qr/^42501: (?=.*"mallory").*"alice\.in"/ ],
	[ q{SELECT rc_publish('shared.in', 'forged', 'k')}, qr/^42501: (?=.*"mallory").*"shared\.in"/ ],
	[ q{SELECT rc_publish('mallory-in', 'forged', 'k')}, qr/^42501: (?=.*"mallory").*"mallory-in"/ ],
	[ q{SELECT rc_publish('x.mallory.in', 'forged', 'k')}, qr/^42501: (?=.*"mallory").*"x\.mallory\.in"/ ],
	[ q{INSERT INTO rappel_conso.topic_grant VALUES ('mallory', '*', true, true)}, "$denied table topic_grant" ],
	[ q{SELECT * FROM rappel_conso.topic_grant}, "$denied table topic_grant" ],

	# streams
	[ q{SELECT count(*) FROM rappel_conso.stream WHERE owner <> 'mallory'}, '0' ],
	[ q{UPDATE rappel_conso.stream SET paused = true WHERE name <> 'mallory'}, 'UPDATE 0' ],
	[ q{DELETE FROM rappel_conso.stream WHERE name <> 'mallory'}, 'DELETE 0' ],
	[ q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('alice', '{mallory.in}', 'SELECT 1 FROM records')},
		'23505: duplicate key value violates unique constraint "stream_pkey"' ],
	[ q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('alice', '{mallory.in}', 'SELECT 1 FROM records')
		ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner},
		qr/^42501: .*row-level security policy.*"stream"/ ],
	[ q{SELECT rc_seek('alice', 'earliest')}, $unknown ],
	[ q{SELECT rc_drain('alice')}, $unknown ],
	[ q{SELECT rappel_conso.seek('alice', 'earliest')}, "$denied function seek" ],

	# owners
	[ q{INSERT INTO rappel_conso.stream (name, topics, owner, statement) VALUES ('evil', '{mallory.in}', 'alice', 'SELECT 1 FROM records')},
		qr/^42501: (?=.*"alice").*"evil"/ ],
	[ q{UPDATE rappel_conso.stream SET owner = 'alice' WHERE name = 'mallory'}, qr/^42501: (?=.*"alice").*"mallory"/ ],
	[ qq{UPDATE rappel_conso.stream SET owner = '$boss' WHERE name = 'mallory'},
		qr/^42501: (?=.*"$boss").*"mallory"/ ],

	# built-ins
	[ q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('rappel_conso', '{mallory.in}', 'SELECT 1 FROM records')},
		'23505: duplicate key value violates unique constraint "stream_pkey"' ],
	[ q{UPDATE rappel_conso.source SET url = 'http://127.0.0.1'}, "$denied table source" ],
	[ q{SELECT rc_sync_now()}, "$denied function rc_sync_now" ],
	[ q{SELECT rc_stop()}, "$denied function rc_stop" ],
	[ q{SELECT * FROM rc_status()}, "$denied function rc_status" ],

	# dead letters and the outbox
	[ q{SELECT count(*), count(DISTINCT owner), min(convert_from(value, 'UTF8')) FROM rappel_conso.dead_letter}, '1|1|secret of mallory' ],
	[ q{SELECT rc_retry('alice')}, $unknown ],
	[ q{UPDATE rappel_conso.dead_letter SET owner = 'mallory'}, "$denied table dead_letter" ],
	[ q{INSERT INTO rappel_conso.dead_letter (origin, name, sqlstate, message) VALUES ('stream', 'alice', '00000', 'x')}, "$denied table dead_letter" ],
	[ q{SELECT count(*), min(topic) FROM rappel_conso.outbox}, '1|mallory.out' ],
	[ q{INSERT INTO rappel_conso.outbox (topic, owner) VALUES ('alice.in', 'alice')}, "$denied table outbox" ],
	[ q{DELETE FROM rappel_conso.outbox}, "$denied table outbox" ],

	# state
	[ q{SELECT string_agg(DISTINCT stream, ' ') FROM rappel_conso.stream_offset}, 'mallory' ],
	[ q{SELECT string_agg(DISTINCT stream, ' ') FROM rappel_conso.lag}, 'mallory' ],
	[ q{SELECT string_agg(DISTINCT stream, ' ') FROM rappel_conso.stream_state}, 'mallory' ],
	[ q{UPDATE rappel_conso.stream_offset SET next_offset = 0}, "$denied table stream_offset" ],
	[ q{UPDATE rappel_conso.stream_state SET state = 'failed'}, "$denied table stream_state" ]);
my $state = q{
	SELECT md5(string_agg(s::text, '' ORDER BY name)) FROM rappel_conso.stream s WHERE name IN ('alice', 'rappel_conso')
	UNION ALL SELECT count(*)::text FROM rappel_conso.stream
	UNION ALL SELECT string_agg(stream || topic || next_offset || epoch, ' ' ORDER BY stream) FROM rappel_conso.stream_offset
	UNION ALL SELECT count(*)::text FROM rappel_conso.dead_letter
	UNION ALL SELECT count(*)::text FROM rappel_conso.outbox};
my $before = $node->sql($state);
is_or_like($node->outcome_of($_->[0], role => 'mallory', tags => 1), $_->[1], "mallory: $_->[0]") foreach @attacks;
is($node->sql($state), $before, 'nothing has changed by all that');

# A function of hers that a superuser calls has her rights, not his.
$node->outcome_of(q{
	CREATE FUNCTION mallory.trap() RETURNS void SECURITY DEFINER LANGUAGE sql AS 'SELECT public.rc_seek(''alice'', ''latest'')';
	CREATE FUNCTION mallory.forge() RETURNS uuid SECURITY DEFINER LANGUAGE sql AS 'SELECT public.rc_publish(''alice.in'', ''x'', ''k'')'}, role => 'mallory', tags => 1);
like($node->outcome_of('SELECT mallory.trap()', role => $boss, tags => 1), $unknown, 'a trap for a superuser: rc_seek()');
like($node->outcome_of('SELECT mallory.forge()', role => $boss, tags => 1), qr/^42501: (?=.*"mallory").*"alice\.in"/, 'a trap for a superuser: rc_publish()');
is($node->sql($state), $before, 'nothing has changed by that either');

# Who may watch sees no contents.
$node->sql(q{CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher});
foreach my $table ('dead_letter', 'outbox')
{
	is($node->outcome_of("SELECT $_ FROM rappel_conso.$table", role => 'watcher', tags => 1), "$denied table $table", "pg_monitor: no $_ of $table")
	  foreach 'key', 'value', 'headers';
	is($node->outcome_of("SELECT count(id) FROM rappel_conso.$table", role => 'watcher', tags => 1), '2', "but that $table has some");
}
is($node->outcome_of('SELECT statement FROM rappel_conso.stream', role => 'watcher', tags => 1), "$denied table stream", 'pg_monitor: no statement');

# Nor may a superuser delete or rename what is built in.
like($node->outcome_of(q{DELETE FROM rappel_conso.stream WHERE name = 'rappel_conso'}, role => $boss, tags => 1),
	qr/^2BP01: .*"rappel_conso"/, 'the built-in stream cannot be deleted');
like($node->outcome_of(q{UPDATE rappel_conso.stream SET name = 'x' WHERE name = 'rappel_conso'}, role => $boss, tags => 1),
	qr/^2BP01: .*"rappel_conso"/, 'nor renamed');
like($node->outcome_of(q{DELETE FROM rappel_conso.source WHERE name = 'rappel_conso'}, role => $boss, tags => 1),
	qr/^2BP01: .*"rappel_conso"/, 'nor can the built-in source be deleted');
$gate->query_safe('SELECT pg_advisory_unlock(42)');
$gate->quit;
$node->sql('DROP TRIGGER gate ON rappel_conso.outbox');

# ---- what is found out by the worker ----

# A row with its search_path, as of a dump, is stored without a check.
is($node->outcome_of(q{
	CREATE TABLE mallory.loot (value text);
	INSERT INTO rappel_conso.stream (name, topics, value_type, search_path, statement)
	VALUES ('restored', '{alice.in}', 'text', 'mallory', 'INSERT INTO mallory.loot SELECT value FROM records')}, role => 'mallory', tags => 1),
	"CREATE TABLE\nINSERT 0 1", 'a row as of a dump is stored');
$node->wait_for('the failure', q{SELECT state = 'failed' AND sqlstate = '42501' FROM rappel_conso.stream_state WHERE stream = 'restored'});
like($node->sql(q{SELECT error, error_detail FROM rappel_conso.stream_state WHERE stream = 'restored'}),
	qr/"alice\.in".*"mallory".*"restored"/, 'but its worker does not read the topic');
like($node->outcome_of(q{SELECT rc_drain('restored')}, role => 'mallory', tags => 1), qr/^42501: (?=.*"mallory")(?=.*"restored").*"alice\.in"/,
	'nor does rc_drain()');
is($node->sql('SELECT count(*) FROM mallory.loot'), '0', 'and nothing was read');
$node->sql(q{DELETE FROM rappel_conso.stream WHERE name = 'restored'});

$node->sql(q{
	DELETE FROM rappel_conso.topic_grant WHERE topic = 'mallory.*';
	UPDATE rappel_conso.stream SET batch_size = 100 WHERE name = 'mallory'});
$node->wait_for('the failure', q{SELECT state = 'failed' AND sqlstate = '42501' FROM rappel_conso.stream_state WHERE stream = 'mallory'});
like($node->sql(q{SELECT hint FROM rappel_conso.stream_state WHERE stream = 'mallory'}),
	qr/rappel_conso\.topic_grant/, 'a grant that is taken back stops the stream');
$kafka->produce_many('mallory.in', [ [ 'k', '{"n": 2}' ] ]);
$node->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('mallory', 'mallory.*', true, true)});
$node->wait_for('the stream', 'SELECT count(*) = 2 FROM mallory.t');
pass('one that is given again lets it go on');

# ---- out of the worker ----

# What each of these does is written down with who did it; a refusal of all
# records is not theirs alone, so the stream waits or fails with it.
$node->sql(qq{
	CREATE TABLE mallory.log (what text, who text DEFAULT current_user, session text DEFAULT session_user);
	ALTER TABLE mallory.log OWNER TO mallory;
	CREATE TABLE public.trophy (who text); REVOKE ALL ON trophy FROM PUBLIC});
$node->outcome_of(q{
	CREATE FUNCTION mallory.note() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN
	  INSERT INTO mallory.log VALUES (TG_NAME || TG_WHEN);
	  BEGIN INSERT INTO public.trophy VALUES (current_user); EXCEPTION WHEN insufficient_privilege THEN NULL; END;
	  RETURN NULL;
	END $$;
	CREATE TABLE mallory.deferred (n int);
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON mallory.deferred DEFERRABLE INITIALLY DEFERRED
	  FOR EACH ROW EXECUTE FUNCTION mallory.note();

	CREATE FUNCTION mallory.same(text, text) RETURNS boolean LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO mallory.log VALUES ('operator'); RETURN true; END $$;
	CREATE OPERATOR mallory.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mallory.same);
	CREATE FUNCTION mallory.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO mallory.log VALUES ('function'); RETURN pg_catalog.now(); END $$;
	CREATE FUNCTION mallory.run(command text) RETURNS int LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE command; RETURN 1; END $$}, role => 'mallory', tags => 1);
my %escapes = (
	role => [ qq{SELECT set_config('role', '$boss', false) FROM records}, qq{42501|permission denied to set role "$boss"} ],
	authorization => [ qq{SELECT set_config('session_authorization', '$boss', false) FROM records}, qq{42501|permission denied to set session authorization "$boss"} ],
	replica => [ q{SELECT set_config('session_replication_role', 'replica', false) FROM records},
		'42501|permission denied to set parameter "session_replication_role"' ],
	brokers => [ q{SELECT set_config('rappel_conso.kafka_brokers', 'elsewhere', false) FROM records},
		'55P02|parameter "rappel_conso.kafka_brokers" cannot be changed now' ],
	offsets => [ q{SELECT mallory.run('UPDATE rappel_conso.stream_offset SET next_offset = 0') FROM records}, '42501|permission denied for table stream_offset' ],
	commit => [ q{SELECT mallory.run('COMMIT') FROM records}, '0A000|EXECUTE of transaction commands is not implemented' ],
	trophy => [ q{SELECT mallory.run('INSERT INTO public.trophy VALUES (current_user)') FROM records}, '42501|permission denied for table trophy' ],
	deferred => [ q{INSERT INTO mallory.deferred SELECT 1 FROM records}, '' ],
	search_path => [ q{SELECT set_config('search_path', 'mallory, pg_catalog', false) FROM records}, '' ],
	temporary => [ q{SELECT mallory.run('SET search_path = mallory, pg_catalog; CREATE TEMP TABLE IF NOT EXISTS pg_class (oid oid)') FROM records}, '' ],
	read_only => [ q{SELECT set_config('default_transaction_read_only', 'on', false) FROM records}, '' ]);
$kafka->create_topic('mallory.escapes');
foreach my $name (sort keys %escapes)
{
	is($node->outcome_of("INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('$name', '{mallory.escapes}', \$q\$$escapes{$name}[0]\$q\$)", role => 'mallory', tags => 1),
		'INSERT 0 1', "$name: can be stored");
}

# Twice, so that what a first batch left behind would meet the second.
foreach my $batch (1, 2)
{
	$kafka->produce_many('mallory.escapes', [ [ 'k', '{}' ] ]);
	foreach my $name (sort keys %escapes)
	{
		my $error = $escapes{$name}[1];
		my ($code) = split(/\|/, $error);

		$node->wait_for("stream $name, batch $batch", $error
			? "SELECT state = 'waiting' AND sqlstate = '$code' FROM rappel_conso.stream_state WHERE stream = '$name'"
			: "SELECT sum(next_offset) = $batch FROM rappel_conso.stream_offset WHERE stream = '$name'");
		next if $batch == 1;
		is( $node->sql(
				$error
				? "SELECT sqlstate, regexp_replace(error, '^.* partition 0 [^:]*: ', '') FROM rappel_conso.stream_state WHERE stream = '$name'"
				: "SELECT DISTINCT sqlstate, message FROM rappel_conso.dead_letter WHERE name = '$name'"),
			$error, "$name: " . ($error ? 'is refused' : 'does no harm'));
	}
}
is($node->sql('SELECT DISTINCT what, who, session FROM mallory.log ORDER BY 1'), 'lateAFTER|mallory|mallory',
	'the deferred trigger ran as mallory, and nothing of hers ran in our own plans');
is($node->sql('SELECT count(*) FROM trophy'), '0', 'nobody has won');

done_testing();
