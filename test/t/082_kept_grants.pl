# 082_kept_grants.pl
#     What rc_publish() keeps between two calls: which topics a role may write
#     to, and how a row is inserted into the outbox.  It lets nothing through
#     that it would refuse otherwise, whoever takes a right away in between and
#     however; and rows are those of an INSERT, whatever the table has got.
#
# Each case runs twice, with and without what is kept, and must give the same.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('kept', conf => <<'EOC');
shared_preload_libraries = 'rappel_conso'
max_prepared_transactions = 2
autovacuum = off
EOC
my $boss = $node->sql('SELECT current_user');
my $usual = $node->sql(q{SHOW rappel_conso.fast_paths});

# tries() says whether the caller may publish; definer() the same of app.
$node->sql(q{
	CREATE ROLE app; CREATE ROLE team; CREATE ROLE other;
	CREATE FUNCTION tries(topic text DEFAULT 'shop.orders') RETURNS text LANGUAGE plpgsql AS $$
	BEGIN PERFORM rc_publish(topic, 'v'::text, 'k'); RETURN 'sent'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;
	CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT tries()';
	CREATE FUNCTION let_call() RETURNS void LANGUAGE sql AS $$
	GRANT USAGE ON SCHEMA rappel_conso TO PUBLIC;
	GRANT EXECUTE ON FUNCTION rc_publish(text, text, text, jsonb), rc_publish(text, bytea, bytea, jsonb) TO PUBLIC;
	GRANT SELECT, INSERT, DELETE, UPDATE ON rappel_conso.topic_grant TO app $$;
	SELECT let_call(); ALTER FUNCTION definer() OWNER TO app;
	CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO app});

# Run steps, "a: SQL", in new sessions a and b; what they print, in one line.
sub outcome
{
	my ($steps) = @_;
	my %sessions = map { $_ => $node->background_psql('postgres', on_error_stop => 0) } 'a', 'b';
	my @said;

	foreach my $step ('a: SET client_min_messages = error', 'b: SET client_min_messages = error', split /\n/, $steps)
	{
		my ($who, $sql) = $step =~ /^\s*([ab]): (.+)$/ or next;
		my $out = $sessions{$who}->query($sql);

		$out .= "failed: $1" if $sessions{$who}{stderr} =~ /ERROR:  (.*)/;
		$sessions{$who}{stderr} = '';
		push @said, $out if $out ne '';
	}
	$_->quit foreach values %sessions;
	return join ' ', map { s/\s*\n\s*/ /gr } @said;
}

# [what is taken away, what is said, steps]: a grant, app's, is there at first.
my @cases = (
	[ 'by nobody', 'sent sent 1', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		a: SELECT tries()
		a: SELECT count(DISTINCT xmin::text) FROM rappel_conso.topic_grant; COMMIT }],
	[ 'SET ROLE', 'sent 42501 sent', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		a: SET ROLE other; SELECT tries()
		a: SET ROLE app; SELECT tries(); COMMIT }],
	[ 'SET ROLE, of a superuser', 'sent 42501', q{
		a: BEGIN; SELECT tries('else'); SET ROLE app; SELECT tries('else'); COMMIT }],
	[ 'another topic', 'sent 42501 42501 22004 sent', q{
		a: BEGIN; SET ROLE app; SELECT tries(); SELECT tries('shop'); SELECT tries('shop.order'); SELECT tries(NULL); SELECT tries(); COMMIT }],
	[ 'SECURITY DEFINER', '42501 sent 42501 sent 42501', q{
		a: BEGIN; SET ROLE other; SELECT tries(); SELECT definer(); SELECT tries(); SELECT definer(); SELECT tries(); COMMIT }],
	[ 'DELETE', 'sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries(); DELETE FROM rappel_conso.topic_grant; SELECT tries(); COMMIT }],
	[ 'DELETE in a function', 'sent 42501', q{
		a: SET ROLE app; DO $$ DECLARE said text; BEGIN said := tries(); DELETE FROM rappel_conso.topic_grant; PERFORM set_config('x.said', said || ' ' || tries(), false); END $$; SHOW x.said }],
	[ 'DELETE elsewhere', 'sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: DELETE FROM rappel_conso.topic_grant
		a: SELECT tries(); COMMIT }],
	[ 'DELETE elsewhere, not committed', 'sent sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: BEGIN; DELETE FROM rappel_conso.topic_grant
		a: SELECT tries()
		b: COMMIT
		a: SELECT tries(); COMMIT }],
	[ 'DELETE elsewhere, rolled back', 'sent sent', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: BEGIN; DELETE FROM rappel_conso.topic_grant; ROLLBACK
		a: SELECT tries(); COMMIT }],
	[ 'between transactions', 'sent 42501', q{
		a: SET ROLE app; SELECT tries()
		b: DELETE FROM rappel_conso.topic_grant
		a: SELECT tries() }],
	[ 'in a prepared statement', 'sent sent 42501', q{
		a: SET ROLE app; PREPARE p AS SELECT tries(); EXECUTE p; EXECUTE p
		b: DELETE FROM rappel_conso.topic_grant
		a: EXECUTE p }],
	[ 'after the snapshot of REPEATABLE READ', 'sent sent 42501', q{
		a: SET ROLE app; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT tries()
		b: DELETE FROM rappel_conso.topic_grant
		a: SELECT tries(); COMMIT
		a: SELECT tries() }],
	[ 'before the first call of REPEATABLE READ', '1 sent 42501', q{
		a: SET ROLE app; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1
		b: DELETE FROM rappel_conso.topic_grant
		a: SELECT tries(); COMMIT
		a: SELECT tries() }],
	[ 'UPDATE', 'sent 42501 sent 42501 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: UPDATE rappel_conso.topic_grant SET can_write = false
		a: SELECT tries()
		b: UPDATE rappel_conso.topic_grant SET can_write = true
		a: SELECT tries()
		b: UPDATE rappel_conso.topic_grant SET topic = 'shop'
		a: SELECT tries()
		b: UPDATE rappel_conso.topic_grant SET topic = '*', role = 'other'
		a: SELECT tries(); COMMIT }],
	[ 'TRUNCATE', 'sent 42501', q{
		a: SET ROLE app; SELECT tries()
		b: TRUNCATE rappel_conso.topic_grant
		a: SELECT tries() }],
	[ 'TRUNCATE, here', 'sent 42501 sent', q{
		a: BEGIN; SET ROLE app; SELECT tries(); RESET ROLE; SAVEPOINT s; TRUNCATE rappel_conso.topic_grant; SET LOCAL ROLE app; SELECT tries()
		a: ROLLBACK TO s; SET LOCAL ROLE app; SELECT tries(); COMMIT }],
	[ 'ROLLBACK TO SAVEPOINT of a grant', '42501 sent 42501', q{
		a: BEGIN; SET LOCAL ROLE app; SELECT tries('new'); SAVEPOINT s; INSERT INTO rappel_conso.topic_grant VALUES ('app', 'new', true, true); SELECT tries('new')
		a: ROLLBACK TO s; SELECT tries('new'); COMMIT }],
	[ 'ROLLBACK of a grant', 'sent 42501', q{
		a: SET ROLE app; BEGIN; INSERT INTO rappel_conso.topic_grant VALUES ('app', 'new', true, true); SELECT tries('new'); ROLLBACK
		a: SELECT tries('new') }],
	[ 'PREPARE TRANSACTION of a grant', 'sent 42501 sent', q{
		a: SET ROLE app; BEGIN; INSERT INTO rappel_conso.topic_grant VALUES ('app', 'new', true, true); SELECT tries('new'); PREPARE TRANSACTION 'p'
		a: SELECT tries('new'); COMMIT PREPARED 'p'
		a: SELECT tries('new') }],
	[ 'in the same command', 'sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		a: WITH gone AS (DELETE FROM rappel_conso.topic_grant RETURNING 1) SELECT tries() FROM gone; COMMIT }],
	[ 'in the same command, after a message that was refused', 'sent 54000|42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		a: CREATE FUNCTION evil.large() RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM rc_publish(''shop.orders'', ''v''::text, repeat(''k'', 1048577)); EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END'
		a: WITH one AS (SELECT evil.large() AS said OFFSET 0), gone AS (DELETE FROM rappel_conso.topic_grant USING one RETURNING said) SELECT said, tries() FROM gone; ROLLBACK }],
	[ 'row by row in the same command', '1 b', q{
		a: INSERT INTO rappel_conso.topic_grant VALUES ('app', 'a', true, true), ('app', 'b', true, true); BEGIN; SET ROLE app
		a: WITH gone AS (DELETE FROM rappel_conso.topic_grant WHERE tries('a') = 'sent' RETURNING topic) SELECT count(*) - 1 FROM gone
		a: SELECT string_agg(topic, ' ') FROM rappel_conso.topic_grant; COMMIT }],
	[ 'a membership', '42501 sent 42501', q{
		a: UPDATE rappel_conso.topic_grant SET role = 'team'; BEGIN; SET ROLE app; SELECT tries()
		b: GRANT team TO app
		a: SELECT tries()
		b: REVOKE team FROM app
		a: SELECT tries(); COMMIT }],
	[ 'a membership, rolled back', 'sent 42501', q{
		a: UPDATE rappel_conso.topic_grant SET role = 'team'; BEGIN; SAVEPOINT s; GRANT team TO app; SET LOCAL ROLE app; SELECT tries()
		a: ROLLBACK TO s; SET LOCAL ROLE app; SELECT tries(); COMMIT }],
	[ 'a membership of a membership', 'sent 42501', q{
		a: UPDATE rappel_conso.topic_grant SET role = 'team'; GRANT team TO other; GRANT other TO app; BEGIN; SET ROLE app; SELECT tries()
		b: REVOKE team FROM other
		a: SELECT tries(); COMMIT; RESET ROLE; REVOKE other FROM app }],
	[ 'SUPERUSER', '42501 sent 42501 sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries('else')
		b: ALTER ROLE app SUPERUSER
		a: SELECT tries('else')
		b: ALTER ROLE app NOSUPERUSER
		a: SELECT tries('else'); COMMIT; RESET ROLE; BEGIN; ALTER ROLE app SUPERUSER; SET ROLE app; SELECT tries('else'); ROLLBACK
		a: SET ROLE app; SELECT tries('else') }],
	[ 'another role takes the name', 'sent 42501 42501 sent', q{
		a: SET ROLE app; SELECT tries()
		b: ALTER ROLE app RENAME TO app_once; CREATE ROLE app
		a: SELECT tries()
		a: SET ROLE app; SELECT tries(); RESET ROLE; DROP ROLE app
		b: ALTER ROLE app_once RENAME TO app
		a: SET ROLE app; SELECT tries() }],
	[ 'the role is dropped', 'sent 42704', q{
		b: CREATE ROLE brief; INSERT INTO rappel_conso.topic_grant VALUES ('brief', 'shop.orders', true, true)
		a: SET ROLE brief; SELECT tries()
		b: DROP ROLE brief
		a: SELECT tries() }],
	[ 'what is known of the role', 'sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: UPDATE rappel_conso.known_role SET oid = 0 WHERE name = 'app'
		a: SELECT tries(); COMMIT
		b: UPDATE rappel_conso.known_role SET oid = 'app'::regrole WHERE name = 'app' }],
	[ 'the owner of the database', 'sent 42501', q{
		b: ALTER DATABASE postgres OWNER TO app; INSERT INTO rappel_conso.topic_grant VALUES ('pg_database_owner', 'new', true, true)
		a: BEGIN; SET ROLE app; SELECT tries('new')
		b: ALTER DATABASE postgres OWNER TO other
		a: SELECT tries('new'); COMMIT }],
	[ 'without triggers', 'sent 42501', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: SET session_replication_role = replica; DELETE FROM rappel_conso.topic_grant
		a: SELECT tries(); COMMIT }],
	[ 'without any trigger', 'sent sent 42501', q{
		b: BEGIN; ALTER TABLE rappel_conso.topic_grant DISABLE TRIGGER ALL; COMMIT
		a: SET ROLE app; BEGIN; SELECT tries(); COMMIT; BEGIN; SELECT tries(); COMMIT
		b: DELETE FROM rappel_conso.topic_grant
		a: SELECT tries()
		b: ALTER TABLE rappel_conso.topic_grant ENABLE TRIGGER USER, ENABLE ALWAYS TRIGGER z_grant_changes }],
	[ 'a row of a child of the table', 'sent sent 42501', q{
		b: CREATE TABLE evil.more () INHERITS (rappel_conso.topic_grant); INSERT INTO evil.more SELECT * FROM ONLY rappel_conso.topic_grant; DELETE FROM ONLY rappel_conso.topic_grant
		a: SET ROLE app; SELECT tries(); SELECT tries()
		b: DELETE FROM evil.more
		a: SELECT tries()
		b: DROP TABLE evil.more }],
	[ 'the owner of the schema', 'sent 42501 sent', q{
		a: BEGIN; SET ROLE app; SELECT tries()
		b: ALTER SCHEMA rappel_conso OWNER TO other
		a: SELECT tries(); COMMIT
		b: ALTER SCHEMA rappel_conso OWNER TO CURRENT_USER
		a: SELECT tries() }],
	[ 'row security of the table', 'sent 42501', q{
		b: ALTER TABLE rappel_conso.outbox FORCE ROW LEVEL SECURITY; ALTER TABLE rappel_conso.topic_grant ENABLE ROW LEVEL SECURITY
		a: BEGIN; SET ROLE app; SET row_security = off; SELECT tries()
		b: DELETE FROM rappel_conso.topic_grant
		a: SELECT tries(); COMMIT
		b: ALTER TABLE rappel_conso.outbox NO FORCE ROW LEVEL SECURITY; ALTER TABLE rappel_conso.topic_grant DISABLE ROW LEVEL SECURITY }],
	[ 'what search_path and settings mean', 'sent sent sent t', q{
		a: SET ROLE app; CREATE TABLE evil.topic_grant (role name, topic text, can_write bool); CREATE FUNCTION evil.octet_length(bytea) RETURNS int LANGUAGE sql AS 'SELECT 1/0'
		a: SELECT tries(); SET search_path = evil, public, pg_catalog; SET default_transaction_isolation = 'serializable'; SET bytea_output = 'escape'; SET DateStyle = 'SQL, DMY'; SELECT tries(); SELECT tries()
		a: RESET ALL; RESET ROLE; DROP SCHEMA evil CASCADE; CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO app; SELECT bool_and(value = 'v' AND owner = 'app' AND created_at > now() - interval '1 hour') FROM rappel_conso.outbox }],
	[ 'a read-only transaction', 'sent 25006 sent', q{
		a: SET ROLE app; SELECT tries(); BEGIN READ ONLY; SELECT tries(); COMMIT; SELECT tries() }],
	[ 'DROP EXTENSION, rolled back', 'sent 42883 sent', q{
		a: BEGIN; SET LOCAL ROLE app; SELECT tries(); SAVEPOINT s; RESET ROLE; DROP EXTENSION rappel_conso; SET LOCAL ROLE app; SELECT tries()
		a: ROLLBACK TO s; SET LOCAL ROLE app; SELECT tries(); COMMIT }],
	[ 'another extension', 'sent 42501 sent', q{
		a: BEGIN; SET LOCAL ROLE app; SELECT tries(); RESET ROLE; DROP EXTENSION rappel_conso; CREATE EXTENSION rappel_conso; SELECT let_call(); SET LOCAL ROLE app; SELECT tries()
		a: INSERT INTO rappel_conso.topic_grant VALUES ('app', 'shop.orders', true, true); SELECT tries(); COMMIT }]);

my %said;
foreach my $paths ($usual, '')
{
	$node->set_fast_paths($paths);
	foreach my $case (@cases)
	{
		$node->sql(q{
			TRUNCATE rappel_conso.topic_grant, rappel_conso.outbox; INSERT INTO rappel_conso.topic_grant VALUES ('app', 'shop.orders', true, true)});
		push @{ $said{$paths} }, outcome($case->[2]);
	}
}
foreach my $i (0 .. $#cases)
{
	is($said{$usual}[$i], $cases[$i][1], "taken away: $cases[$i][0]");
	is($said{''}[$i], $cases[$i][1], 'the same when nothing is kept');
}

# ---- the rows ----

# Messages of each kind, some of them toasted, by a role; then what is in the
# outbox and the log, but for what differs in each run.
$node->sql(q{
	CREATE TABLE given AS SELECT * FROM (VALUES
	  (1, ''::bytea, NULL::bytea, NULL::jsonb), (2, NULL, '', '{}'), (3, NULL, NULL, NULL), (4, '\\x00ff', '\\x6b', '{"a": [1, {"b": null}]}'),
	  (5, convert_to(repeat('long ', 100000), 'UTF8'), 'k', NULL),
	  (6, (SELECT string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 5000) n), NULL, jsonb_build_object('h', repeat('x', 5000))),
	  (7, repeat('v', 300)::bytea, repeat('k', 1048577)::bytea, NULL), (8, 'v', 'k', '[1]')) v (n, value, key, headers);
	CREATE TABLE log (what text);
	CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO public.log SELECT concat_ws(' ', TG_OP, TG_WHEN, current_user, current_setting('search_path')); IF TG_LEVEL = 'ROW' THEN NEW.origin := 'changed'; END IF; RETURN NEW; END $$;
	CREATE FUNCTION whose() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT concat_ws(' ', current_user, current_setting('search_path'), current_setting('DateStyle')) $$;
	CREATE FUNCTION publish_given() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE row record; said text := ''; id uuid;
	BEGIN
	  FOR row IN SELECT * FROM given ORDER BY n LOOP
	    BEGIN
	      id := rc_publish('shop.orders', row.value, row.key, row.headers);
	      said := said || CASE WHEN uuid_send(id)::text ~ '^.x.{12}4.{3}[89ab]' THEN '.' ELSE id::text END;
	    EXCEPTION WHEN OTHERS THEN said := said || ' ' || SQLSTATE || ' ';
	    END;
	  END LOOP;
	  RETURN said;
	END $$;
	CREATE FUNCTION seen() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
	SELECT concat_ws(' ', count(*), count(DISTINCT o.message_id), count(*) FILTER (WHERE o.owner_oid = 'app'::regrole),
	  count(*) FILTER (WHERE o.created_at BETWEEN now() AND clock_timestamp()),
	  md5(string_agg((to_jsonb(o) - '{id,message_id,owner_oid,created_at}'::text[])::text, ' ' ORDER BY o.id)), (SELECT string_agg(what, ',') FROM log))
	  FROM rappel_conso.outbox o $$;
	GRANT SELECT ON given TO app; GRANT INSERT ON log TO app});

my @changes = (
	[ 'nothing' ],
	[ 'a trigger for each row', 'CREATE TRIGGER t BEFORE INSERT ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION logs()' ],
	[ 'a trigger after statements', 'CREATE TRIGGER t AFTER INSERT ON rappel_conso.outbox EXECUTE FUNCTION logs()' ],
	[ 'a rule', q{CREATE RULE r AS ON INSERT TO rappel_conso.outbox DO ALSO INSERT INTO public.log VALUES ('rule')} ],
	[ 'another default', q{ALTER TABLE rappel_conso.outbox ALTER origin SET DEFAULT 'somebody'} ],
	[ 'no default', 'ALTER TABLE rappel_conso.outbox ALTER message_id DROP DEFAULT' ],
	[ 'a default that depends on who runs it', 'ALTER TABLE rappel_conso.outbox ALTER origin SET DEFAULT whose()' ],
	[ 'a column that says who runs it', 'ALTER TABLE rappel_conso.outbox ADD who name DEFAULT current_user, ADD at text DEFAULT current_date::text' ],
	[ 'a generated column', 'ALTER TABLE rappel_conso.outbox ADD upper text GENERATED ALWAYS AS (upper(topic)) STORED' ],
	[ 'another column with the role', 'ALTER TABLE rappel_conso.outbox ADD again oid GENERATED ALWAYS AS (rappel_conso.role_oid(owner)) STORED, ADD CHECK (again = owner_oid)' ],
	[ 'a column that must be given', 'ALTER TABLE rappel_conso.outbox ADD must int NOT NULL' ],
	[ 'a column that is gone', 'ALTER TABLE rappel_conso.outbox ADD gone int NOT NULL DEFAULT 1; ALTER TABLE rappel_conso.outbox DROP gone' ],
	[ 'a check', 'ALTER TABLE rappel_conso.outbox ADD CHECK (octet_length(value) < 100)' ],
	[ 'a check by a function', q{ALTER TABLE rappel_conso.outbox ADD CHECK (whose() ~ '^[^ ]+ pg_catalog, pg_temp ISO, MDY')} ],
	[ 'a unique index', 'CREATE UNIQUE INDEX ON rappel_conso.outbox (topic, key) WHERE octet_length(key) < 100' ],
	[ 'a deferred constraint', 'ALTER TABLE rappel_conso.outbox ADD UNIQUE (topic, dead_letter, key) DEFERRABLE INITIALLY DEFERRED' ],
	[ 'an index on an expression', 'CREATE INDEX ON rappel_conso.outbox (length(topic))' ],
	[ 'indexes of other kinds', 'CREATE INDEX ON rappel_conso.outbox USING brin (id); CREATE INDEX ON rappel_conso.outbox USING gin (headers)' ],
	[ 'a foreign key', 'CREATE TABLE o (topic text PRIMARY KEY); ALTER TABLE rappel_conso.outbox ADD FOREIGN KEY (topic) REFERENCES o' ],
	[ 'another name', 'ALTER TABLE rappel_conso.outbox RENAME key TO key_once' ],
	[ 'numbers that are taken', 'ALTER TABLE rappel_conso.outbox ALTER id RESTART 1' ],
	[ 'a copy of role_oid()', q{CREATE OR REPLACE FUNCTION rappel_conso.role_oid(name) RETURNS oid LANGUAGE sql AS 'SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1'} ]);

sub rows_of
{
	my ($session, $change) = @_;
	my $sql = "RESET ROLE; TRUNCATE rappel_conso.outbox, log; SET ROLE app; SELECT publish_given(); RESET ROLE; BEGIN; DELETE FROM rappel_conso.outbox; $change; SET search_path = evil, public; SET DateStyle = 'SQL, DMY'; SET ROLE app; SELECT publish_given(), seen(); ROLLBACK; RESET ROLE; RESET ALL; SELECT seen()";
	my $out = $session->query($sql);

	$out .= $1 if $session->{stderr} =~ /(ERROR: .*)/;
	$session->{stderr} = '';
	return $out;
}

my %rows;
foreach my $paths ($usual, '')
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$node->set_fast_paths($paths);
	$session->query('SET client_min_messages = error');
	$node->sql(q{TRUNCATE rappel_conso.topic_grant; INSERT INTO rappel_conso.topic_grant VALUES ('app', 'shop.*', true, true)});
	push @{ $rows{$paths} }, rows_of($session, $_->[1] // 'SELECT') foreach @changes;
	$session->quit;
}
foreach my $i (0 .. $#changes)
{
	unlike($rows{$usual}[$i], qr/ERROR/, "the outbox has $changes[$i][0]: messages");
	is($rows{$usual}[$i], $rows{''}[$i], 'as by an INSERT');
}
like($rows{$usual}[0], qr/^\.{6} 54000  22023 $/m, 'what can be sent is there');
my %different = map { $_ => 1 } @{ $rows{$usual} };
cmp_ok(scalar(keys %different), '>', @changes / 2, 'what the table has got counts');

# ---- that it is kept ----

$node->set_fast_paths($usual);
is($node->sql(q{
	BEGIN; SET LOCAL ROLE app; SELECT count(rc_publish('shop.orders', 'v'::text)) FROM generate_series(1, 100); RESET ROLE;
	SELECT seq_scan + COALESCE(idx_scan, 0) < 5 FROM pg_stat_xact_all_tables WHERE relid = 'rappel_conso.topic_grant'::regclass; COMMIT}),
	"100\nt", 'the grant is looked up once');
done_testing();
