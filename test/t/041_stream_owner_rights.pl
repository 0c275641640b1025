# 041_stream_owner_rights.pl
#     Whose rights a stream has: its owner's and no more, whatever its
#     statement, functions and triggers try; and who sees and may do what.

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
my $node = new_node(
	'owner',
	api => $api,
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 40\n");

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE ROLE sales LOGIN; CREATE ROLE stock LOGIN; CREATE ROLE team; CREATE ROLE watcher LOGIN;
	GRANT team TO sales; GRANT pg_monitor TO watcher;
	INSERT INTO rappel_conso.topic_grant VALUES ('sales', '*', true, false), ('stock', '*', true, false), ('team', '*', true, false);
	GRANT USAGE ON SCHEMA rappel_conso TO sales, stock;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream TO sales, stock;
	GRANT SELECT ON rappel_conso.stream_offset, rappel_conso.stream_state, rappel_conso.dead_letter, rappel_conso.lag,
	  rappel_conso.source, rappel_conso.run, rappel_conso.task, rappel_conso.source_state TO sales, stock;
	GRANT EXECUTE ON FUNCTION rc_sync_now(text, boolean), rc_seek(text, text) TO sales, stock;
	CREATE SCHEMA sales AUTHORIZATION sales; CREATE SCHEMA stock AUTHORIZATION stock;
	CREATE TABLE secret (word text); INSERT INTO secret VALUES ('of the superuser');
	SELECT rc_start();
	EOC

# ---- who the statement runs as, at every point ----

$kafka->produce_many('who', [ [ 'k', 'statement' ] ]);

# The roles are noted by functions and triggers of the owner.
my $who = q{current_user || ' ' || session_user || ' ' || current_setting('is_superuser')};
is($node->outcome_as('sales', <<~EOC), '', 'a role that has been allowed to makes streams');
	CREATE TABLE sales.log (n serial, place text, who text, path text);
	CREATE FUNCTION sales.note(place text) RETURNS text LANGUAGE plpgsql AS
	  \$\$ BEGIN INSERT INTO sales.log (place, who, path) VALUES (place, $who, current_setting('search_path')); RETURN place; END \$\$;
	CREATE FUNCTION sales.note_trigger() RETURNS trigger LANGUAGE plpgsql AS
	  \$\$ BEGIN PERFORM sales.note(TG_ARGV[0]); RETURN NEW; END \$\$;
	CREATE TABLE sales.target (value text);
	CREATE TRIGGER a BEFORE INSERT ON sales.target FOR EACH ROW EXECUTE FUNCTION sales.note_trigger('before');
	CREATE TRIGGER b AFTER INSERT ON sales.target FOR EACH ROW EXECUTE FUNCTION sales.note_trigger('after');
	CREATE CONSTRAINT TRIGGER c AFTER INSERT ON sales.target DEFERRABLE INITIALLY DEFERRED
	  FOR EACH ROW EXECUTE FUNCTION sales.note_trigger('deferred');
	SET search_path = sales, pg_catalog;
	INSERT INTO rappel_conso.stream (name, topics, value_type, setup, statement) VALUES ('who', '{who}', 'text',
	  'SELECT sales.note(''setup'')', 'INSERT INTO target SELECT note(value) FROM records');
	EOC
$node->wait_applied('who', 1);
is($node->sql(q{SELECT DISTINCT place, who, path FROM sales.log ORDER BY 1}),
	join("\n", map { "$_|sales sales off|sales, pg_catalog" } 'after', 'before', 'deferred', 'setup', 'statement'),
	'everything runs as the owner, with the search_path of the stream');
is($node->sql(q{SELECT usename FROM pg_stat_activity WHERE backend_type = 'rappel_conso stream' AND application_name LIKE '%who%'}),
	'sales', 'the worker is connected as the owner');

# ---- escapes ----

# Each runs as part of a statement; the next record of the same stream shows
# what is left of it.  The trap in between is our own SQL, run as superuser.
my %escapes = (
	role => [ q{set_config('role', 'team', false)} ],
	role_local => [ q{set_config('role', 'team', true)} ],
	session => [ q{set_config('session_authorization', 'sales', false)} ],
	path => [ q{set_config('search_path', 'sales, stock', false)} ],
	path_local => [ q{set_config('search_path', 'pg_temp, sales, pg_catalog', true)} ],
	settings => [ q{set_config('work_mem', '77MB', false) || set_config('DateStyle', 'German', false) || set_config('statement_timeout', '1ms', false)} ],
	superuser => [ q{set_config('role', current_setting('sales.root'), false)}, '42501|permission denied to set role "%s"' ],
	authorization => [ q{set_config('session_authorization', current_setting('sales.root'), false)}, '42501|permission denied to set session authorization "%s"' ],
	replica => [ q{set_config('session_replication_role', 'replica', false)}, '42501|permission denied to set parameter "session_replication_role"' ],
	secret => [ q{sales.run($$SELECT word FROM public.secret$$)}, '42501|permission denied for table secret' ],
	state => [ q{sales.run($$UPDATE rappel_conso.stream_offset SET next_offset = 99$$)}, '42501|permission denied for table stream_offset' ],
	constraints => [ q{sales.run($$SET CONSTRAINTS ALL DEFERRED$$)} ],
	unlock => [ q{pg_advisory_unlock_all()::text} ],
	temporary => [ q{sales.run($$CREATE TEMP TABLE stream_offset (a int); CREATE TEMP TABLE dead_letter (a int)$$)} ]);
my $root = $node->sql('SELECT current_user');
$node->sql("ALTER ROLE sales SET sales.root = '$root'");

# The last record cannot be decoded, so a dead letter is written, too.
my @messages = ([ 'k', '"escape"' ], [ 'k', '"look"' ], [ 'k', 'no json' ]);
$kafka->produce_many($_, \@messages) foreach 'escapes', 'unlock';

my $setup = <<~'EOC';
	CREATE FUNCTION sales.run(command text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; RETURN command; END $$;

	-- traps for our own SQL: names and operators that stand before pg_catalog's
	CREATE TABLE sales.sprung (what text);
	CREATE FUNCTION sales.spring(text, text) RETURNS bool LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO sales.sprung VALUES ('operator'); RETURN true; END $$;
	CREATE OPERATOR sales.= (LEFTARG = text, RIGHTARG = text, FUNCTION = sales.spring);
	CREATE OPERATOR sales.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = sales.spring);
	CREATE FUNCTION sales.now() RETURNS timestamptz LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO sales.sprung VALUES ('now'); RETURN pg_catalog.now(); END $$;
	CREATE FUNCTION sales.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO sales.sprung VALUES ('clock_timestamp'); RETURN pg_catalog.now(); END $$;
	CREATE FUNCTION sales.to_timestamp(double precision) RETURNS timestamptz LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO sales.sprung VALUES ('to_timestamp'); RETURN pg_catalog.now(); END $$;
	CREATE FUNCTION sales.to_timestamp(numeric) RETURNS timestamptz LANGUAGE plpgsql AS
	  $$ BEGIN INSERT INTO sales.sprung VALUES ('to_timestamp'); RETURN pg_catalog.now(); END $$;
	CREATE TABLE sales.escaped (stream text, n bigint, value text, who text, settings text);
	SET search_path = sales, pg_catalog;
	EOC
foreach my $name (sort keys %escapes)
{
	my $topic = $name eq 'unlock' ? $name : 'escapes';

	$setup .= qq{
		INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('e_$name', '{$topic}', 1, \$q\$
		  INSERT INTO sales.escaped SELECT '$name', record_offset,
		    CASE WHEN value = to_jsonb('escape'::text) THEN $escapes{$name}[0] END, $who,
		    concat_ws(' ', current_setting('search_path'), current_setting('work_mem'), current_setting('DateStyle'), current_setting('statement_timeout'))
		  FROM records\$q\$);};
}
is($node->outcome_as('sales', $setup), '', 'the escapes are stored');
my $settings = 'sales, pg_catalog 4MB ISO, MDY 0';
foreach my $name (sort keys %escapes)
{
	my $error = ($escapes{$name}[1] // '') =~ s/%s/$root/r;

	$node->wait_applied("e_$name", 3);
	is( $node->sql("SELECT who, settings FROM sales.escaped WHERE stream = '$name' AND n = 1"),
		"sales sales off|$settings", "escape by $name: nothing of it is left for the next batch");
	is( $node->sql(qq{
			SELECT record_offset, sqlstate, message FROM rappel_conso.dead_letter
			WHERE name = 'e_$name' ORDER BY record_offset}),
		join("\n", ($error ? "0|$error" : ()), '2|22P02|invalid input syntax for type json'),
		"escape by $name: " . ($error ? 'is refused' : 'gives nothing'));
}
is($node->sql('SELECT count(*) FROM sales.sprung'), '0', q{our own SQL steps into no trap});
is($node->sql(q{SELECT word FROM secret}), 'of the superuser', 'what is not the owner\'s is untouched');

# An end of our transaction is no record's fault: not without proof, so the stream waits (V1).
is($node->outcome_as('sales', <<~'EOC'), '', 'a statement that ends the transaction');
	CREATE PROCEDURE sales.finish() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('finish', '{who}', 'text',
	  'INSERT INTO sales.target SELECT sales.run(''CALL sales.finish()'') FROM records');
	EOC
$node->wait_for('the stream that ends the transaction', q{SELECT state = 'waiting' AND sqlstate = '2D000' FROM rappel_conso.stream_state WHERE stream = 'finish'});
like( $node->sql(q{
		SELECT sqlstate, error, next_offset, (SELECT count(*) FROM sales.target)
		FROM rappel_conso.stream_state JOIN rappel_conso.stream_offset USING (stream) WHERE stream = 'finish'}),
	qr/^2D000\|.*\b0\b.*"who".*\b0\b.*invalid transaction termination\|0\|1$/, 'V1: waits for proof, with nothing done');
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'finish'});

# The lock that a statement releases is taken again: there is one worker still.
$kafka->produce_many('unlock', [ map { [ 'k', '"escape"' ] } 1 .. 3 ]);
$node->wait_applied('e_unlock', 6);
is( $node->sql(q{
		SELECT count(*), bool_and(pid = rappel_conso.worker_pid('stream', 'e_unlock'))
		FROM pg_stat_activity WHERE application_name LIKE '%e_unlock%'}),
	'1|t', 'pg_advisory_unlock_all(): the worker keeps being the only one');
is($node->sql(q{SELECT count(*) FROM sales.escaped WHERE stream = 'unlock'}), '5', 'each record is applied once');

# A deferred trigger that postpones itself fires at the commit: as the owner.
is($node->outcome_as('sales', <<~'EOC'), '', 'a trigger that postpones itself');
	CREATE TABLE sales.again (n int);
	CREATE FUNCTION sales.again() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  PERFORM sales.note('again ' || NEW.n);
	  SET CONSTRAINTS ALL DEFERRED;
	  IF NEW.n < 3 THEN INSERT INTO sales.again VALUES (NEW.n + 1); END IF;
	  RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON sales.again DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sales.again();
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('again', '{who}', 'text', 'INSERT INTO sales.again SELECT 1 FROM records');
	EOC
$node->wait_applied('again', 1);
is($node->sql(q{SELECT place, who FROM sales.log WHERE place LIKE 'again%' ORDER BY n}),
	join("\n", map { "again $_|sales sales off" } 1 .. 3), 'runs as the owner to its end');

# ---- who may own, run and change what ----

my @refused = (
	[ 'sales', q{INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('x', '{x}', 'SELECT 1 FROM records', 'stock')},
		qr/^42501: (?=.*"stock").*"x"/ ],
	[ 'sales', qq{UPDATE rappel_conso.stream SET owner = '$root' WHERE name = 'who'},
		qr/^42501: (?=.*"$root").*"who"/ ],
	[ 'sales', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('x', '{x}', 'SELECT word FROM public.secret, records')},
		'42501: permission denied for table secret' ],
	[ 'stock', q{SELECT rc_sync_now()}, qr/^42704: .*"rappel_conso"/ ],
	[ 'stock', q{SELECT rc_seek('who', 'earliest')}, qr/^42704: .*"who"/ ],
	[ 'stock', q{SELECT rc_start()}, '42501: permission denied for function rc_start' ],
	[ 'stock', q{SELECT * FROM rc_status()}, '42501: permission denied for function rc_status' ],
	[ 'stock', q{UPDATE rappel_conso.stream_offset SET next_offset = 0}, '42501: permission denied for table stream_offset' ],
	[ 'stock', q{INSERT INTO rappel_conso.source (name, dataset) VALUES ('x', 'x')}, '42501: permission denied for table source' ],
	[ 'watcher', q{SELECT key FROM rappel_conso.dead_letter}, '42501: permission denied for table dead_letter' ],
	[ 'watcher', q{SELECT value FROM rappel_conso.dead_letter}, '42501: permission denied for table dead_letter' ],
	[ 'watcher', q{SELECT headers FROM rappel_conso.dead_letter}, '42501: permission denied for table dead_letter' ],
	[ 'watcher', q{SELECT detail FROM rappel_conso.dead_letter}, '42501: permission denied for table dead_letter' ],
	[ 'watcher', q{SELECT statement FROM rappel_conso.stream}, '42501: permission denied for table stream' ],
	[ 'watcher', q{SELECT rc_sync_now()}, '42501: permission denied for function rc_sync_now' ]);
foreach my $case (@refused)
{
	my ($role, $sql, $error) = @$case;

	is_or_like($node->outcome_as($role, $sql), $error, "$role may not: $sql");
}
$node->sql(q{GRANT SELECT ON rappel_conso.source TO sales; UPDATE rappel_conso.source SET owner = 'stock' WHERE name = 'rappel_conso'});
like($node->outcome_as('sales', 'SELECT rc_sync_now()'), qr/^42704: .*"rappel_conso"/, 'R12: who is not its owner may not run a source');
like($node->outcome_as('stock', 'SELECT rc_sync_now()'), qr/^55000: stream "rappel_conso"/, 'its owner may');
$node->sql(qq{UPDATE rappel_conso.source SET owner = '$root'});

# Nobody connects as a role that may not log in.
is($node->outcome_as('sales', q{INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('nologin', '{who}', 'SELECT 1 FROM records', 'team')}),
	'', 'a member makes a stream of a role that cannot log in');
$node->wait_for('the stream of a role without LOGIN', q{SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'nologin'});
like($node->sql(q{SELECT sqlstate, hint FROM rappel_conso.stream_state WHERE stream = 'nologin'}), qr/^55000\|.*\bLOGIN\b/,
	'it fails with a hint');
$node->sql('ALTER ROLE team LOGIN');
$node->sql(q{UPDATE rappel_conso.stream SET batch_size = 5 WHERE name = 'nologin'});
$node->wait_applied('nologin', 1);
is($node->sql(q{SELECT usename FROM pg_stat_activity WHERE application_name LIKE '%nologin%'}), 'team', 'and runs when it may log in');

# ---- who sees what ----

$kafka->produce_many('stock', [ [ 'k', 'no json' ] ]);
is($node->outcome_as('stock', q{INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('of_stock', '{stock}', 'SELECT 1 FROM records')}),
	'', 'another owner');
$node->wait_applied('of_stock', 1);
is($node->outcome_as('stock', q{UPDATE rappel_conso.stream SET batch_size = 7 WHERE name = 'who'; DELETE FROM rappel_conso.stream WHERE name = 'who'}),
	'', 'rows of others cannot be changed');
is($node->sql(q{SELECT batch_size FROM rappel_conso.stream WHERE name = 'who'}), '10000', 'since they are not seen');
foreach my $table ('stream_offset', 'stream_state', 'stream', 'dead_letter', 'lag')
{
	my $name = { stream => 'name', dead_letter => 'name' }->{$table} // 'stream';

	is($node->outcome_as('stock', "SELECT DISTINCT $name FROM rappel_conso.$table"), 'of_stock', "owners see their own rows of $table");
	is($node->outcome_as('sales', "SELECT count(*) FROM rappel_conso.$table WHERE $name IN ('of_stock', 'rappel_conso')"), '0', "and no others of $table");
	is($node->outcome_as('watcher', "SELECT count(*) FROM rappel_conso.$table WHERE $name IN ('of_stock', 'e_role')"),
		$node->sql("SELECT count(*) FROM rappel_conso.$table WHERE $name IN ('of_stock', 'e_role')"),
		"pg_monitor sees all rows of $table");
}
is($node->outcome_as('watcher', q{SELECT origin, topic, partition, record_offset, sqlstate, message FROM rappel_conso.dead_letter WHERE name = 'of_stock'}),
	'stream|stock|0|0|22P02|invalid input syntax for type json', 'pg_monitor sees what failed and why');
is($node->outcome_as('watcher', q{SELECT count(*) FROM rc_status() WHERE name IN ('of_stock', 'who') AND state = 'running'}), '2', 'and calls rc_status()');
is($node->outcome_as('watcher', q{SELECT count(*) > 0 FROM rappel_conso.run}), 't', 'and sees runs');

done_testing();
