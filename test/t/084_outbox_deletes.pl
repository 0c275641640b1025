# 084_outbox_deletes.pl
#     Messages are read and deleted without SQL as by SQL: whatever users do with
#     their rows or the table meanwhile, each is sent once and goes once Kafka has
#     it; and what is not as the extension made it is left to SQL.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('deletes', kafka => $kafka, preload => 1, conf => "autovacuum = off\n");
my $share = `pg_config --sharedir`;
chomp $share;
my $counted = -e "$share/extension/pg_stat_statements.control";

if ($counted)
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rappel_conso, pg_stat_statements'\n");
	$node->restart;
	$node->sql('CREATE EXTENSION pg_stat_statements');
}
$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
my $usual = $node->sql('SHOW rappel_conso.fast_paths');

# Without these paths all is done by SQL.
sub restart_with
{
	my ($paths) = @_;

	$node->set_fast_paths($paths);
	$node->sql('SELECT rc_stop(); SELECT rc_start()');
	return;
}

# Confirmed messages are deleted before the publisher ends.
sub stop_publisher
{
	$node->sql('SELECT rc_stop()');
	$node->wait_for('its end', q{SELECT rappel_conso.worker_pid('outbox') IS NULL});
	return;
}

sub publish_some
{
	my ($n, @topics) = @_;

	$node->sql(sprintf(q{SELECT rc_publish(t, n || ' of ' || t, 'k') FROM generate_series(1, %d) n, unnest('{%s}'::text[]) t}, $n, join(',', @topics)));
	return;
}

sub messages { return join(', ', map { s/ of .*//r } $kafka->payloads($_[0])); }

# Statements of the publisher since the last time: those that read messages, and
# those that delete some.
sub statements
{
	return 'not counted' if !$counted;
	return $node->sql(q{
		SELECT concat_ws(' ', CASE WHEN bool_or(query ~ 'CROSS JOIN LATERAL .* rappel_conso.outbox ') THEN 'read' END,
		  CASE WHEN bool_or(query ~ 'DELETE FROM rappel_conso.outbox ') THEN 'delete' END)
		FROM pg_stat_statements WHERE query !~ 'pg_stat_statements' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())});
}

sub deleted { return $node->sql(q{SELECT n_tup_del FROM pg_stat_user_tables WHERE relid = 'rappel_conso.outbox'::regclass}); }

# ---- rows that users change while they are in flight ----

sub in_flight
{
	my ($mode) = @_;
	my @topics = map { "$mode.$_" } 'plain', 'again', 'updated', 'deleted', 'locked';
	my ($plain, $again, $updated, $deleted, $locked) = @topics;
	my @sessions = map { $node->background_psql('postgres', on_error_die => 1) } 1 .. 2;
	my %found;

	$kafka->create_topic($_) foreach @topics;
	publish_some(4, @topics);
	$node->wait_published;
	stop_publisher();
	$node->sql('TRUNCATE rappel_conso.outbox');
	publish_some(4, @topics);
	$node->sql(qq{
		INSERT INTO rappel_conso.dead_letter (origin, name, topic, sqlstate, message, owner)
		SELECT 'outbox', 'rc_publish', '$again', '22023', n::text, current_user FROM generate_series(1, 2) n;
		UPDATE rappel_conso.outbox o SET dead_letter = d.id FROM rappel_conso.dead_letter d
		WHERE o.topic = '$again' AND d.topic = o.topic AND convert_from(o.value, 'UTF8') ~ ('^' || d.message || ' ')});
	my $places = $node->sql("SELECT array_agg(ctid) FROM rappel_conso.outbox WHERE topic = '$deleted'");
	$sessions[0]->query_safe(qq{
		BEGIN; UPDATE rappel_conso.outbox SET origin = 'another' WHERE topic = '$updated' AND id % 2 = 0;
		DELETE FROM rappel_conso.outbox WHERE topic = '$deleted'});
	$sessions[1]->query_safe("BEGIN; SELECT FROM rappel_conso.outbox WHERE topic = '$locked' LIMIT 1 FOR UPDATE");
	$node->sql('SELECT rc_start()');
	$node->wait_published($plain, $again);
	$node->wait_for('those that cannot be deleted', q{SELECT count(*) = 3 FROM rappel_conso.outbox_topic WHERE sqlstate = '55P03'});
	$found{waiting} = $node->sql('SELECT topic, count(*) FROM rappel_conso.outbox GROUP BY topic ORDER BY topic');
	$found{again} = $node->sql(qq{SELECT attempts, resolved_at IS NOT NULL, count(*) FROM rappel_conso.dead_letter WHERE topic = '$again' GROUP BY 1, 2});
	$_->query_safe('COMMIT') foreach @sessions;

	# other messages take the places of those that a user has deleted
	$node->sql('VACUUM rappel_conso.outbox');
	publish_some(200, $deleted);
	$found{reused} = $node->sql("SELECT count(*) > 0 FROM rappel_conso.outbox WHERE ctid = ANY ('$places')");
	stop_publisher();
	$found{left} = $node->sql('SELECT topic, count(*) FROM rappel_conso.outbox GROUP BY topic ORDER BY topic');
	$node->sql('SELECT rc_start()');
	$node->wait_published;
	$node->wait_for('no topic to wait', 'SELECT count(*) = 0 FROM rappel_conso.outbox_topic');
	$found{sent} = join('; ', map { messages($_) } @topics);
	$_->quit foreach @sessions;
	s/\b$mode\.//g foreach values %found;
	return \%found;
}

my %found;
foreach my $mode ('fast', 'sql')
{
	restart_with($mode eq 'fast' ? $usual : '');
	$found{$mode} = in_flight($mode);
}
is($found{fast}{waiting}, "deleted|4\nlocked|4\nupdated|4", 'rows that a session has changed or locked hold up their own topics only');
is($found{fast}{again}, '2|t|2', 'dead letters whose messages are delivered are resolved, once');
is($found{fast}{reused}, 't', 'other messages are in their places');
is($found{fast}{left}, 'deleted|200', 'all that was delivered is gone, and nothing that is in its place');
is($found{fast}{sent}, join('; ', map { join(', ', (1 .. 4) x 2, @$_) } [], [], [], [ 1 .. 200 ], []),
	'each message is sent once, in order');
is_deeply($found{sql}, $found{fast}, 'it is so by SQL, too');

# ---- other messages that take the ids and places of those in flight ----

sub ids_again
{
	my ($mode) = @_;
	my ($moved, $to, $again, $dead) = map { "$mode.$_" } 'moved', 'to', 'numbered', 'dead';
	my $session = $node->background_psql('postgres', on_error_die => 1);

	$kafka->create_topic($_) foreach $moved, $to, $again;
	$kafka->create_topic($dead, config => { 'max.message.bytes' => 1000 });
	stop_publisher();
	$node->sql('TRUNCATE rappel_conso.outbox RESTART IDENTITY');
	publish_some(4, $moved);
	publish_some(4, $again);
	$session->query_safe('BEGIN; LOCK TABLE rappel_conso.outbox IN EXCLUSIVE MODE');
	$node->sql('SELECT rc_start()');
	$node->wait_for('those that cannot be deleted', q{SELECT count(*) = 2 FROM rappel_conso.outbox_topic WHERE sqlstate = '55P03'});
	$session->query_safe(qq{
		CREATE TEMP TABLE waiting AS SELECT * FROM rappel_conso.outbox WHERE topic = '$moved';
		TRUNCATE rappel_conso.outbox RESTART IDENTITY;
		INSERT INTO rappel_conso.outbox (id, message_id, topic, key, value, owner) OVERRIDING SYSTEM VALUE
		SELECT id, message_id, '$to', key, value, owner FROM waiting ORDER BY id;
		SELECT setval(pg_get_serial_sequence('rappel_conso.outbox', 'id'), 4);
		SELECT rc_publish('$again', 'new ' || n, 'k') FROM generate_series(1, 4) n;
		DROP TABLE waiting; COMMIT});
	stop_publisher();
	$node->sql('SELECT rc_start()');
	$node->wait_published;
	is(messages($to), '1, 2, 3, 4', "$mode: messages that get another topic are sent to it");
	is(messages($again), '1, 2, 3, 4, new 1, new 2, new 3, new 4', "$mode: new messages with the ids of old ones are sent");

	# the same with one that Kafka refuses
	$node->sql('TRUNCATE rappel_conso.outbox RESTART IDENTITY');
	$session->query_safe('BEGIN; LOCK TABLE rappel_conso.known_role IN EXCLUSIVE MODE');
	$node->sql("SELECT rc_publish('$dead', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n), 'k')");
	$node->wait_for('what keeps it from becoming a dead letter', q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'rappel_conso.known_role'::regclass});
	$session->query_safe("TRUNCATE rappel_conso.outbox RESTART IDENTITY; SELECT rc_publish('$dead', 'new', 'k'); COMMIT");
	$node->wait_published;
	is(join(', ', map { substr($_, 0, 20) } $kafka->payloads($dead)), 'new', "$mode: a new message with the id of a refused one is sent");
	is($node->sql("SELECT count(*) FROM rappel_conso.dead_letter WHERE topic = '$dead' AND value = 'new'"), 0, "$mode: and is no dead letter");
	$session->quit;
	return;
}

foreach my $mode ('fast', 'sql')
{
	restart_with($mode eq 'fast' ? $usual : '');
	ids_again($mode);
}

# ---- what a superuser may have made of the table ----

$node->sql(q{
	CREATE TABLE public.log (what text);
	CREATE FUNCTION public.logs() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO public.log VALUES (concat_ws(' ', TG_WHEN, TG_LEVEL, to_jsonb(OLD)->>'topic')); RETURN OLD; END $$});

# Each with how to undo it, what is left to SQL, and how often it logs 3 deletions.
my @changes = (
	[ 'nothing', '', '', '', 0 ],
	[ 'a trigger before each row', 'CREATE TRIGGER t BEFORE DELETE ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION logs()', 'DROP TRIGGER t ON rappel_conso.outbox', 'delete', 3 ],
	[ 'a trigger after each row', 'CREATE TRIGGER t AFTER DELETE ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION logs()', 'DROP TRIGGER t ON rappel_conso.outbox', 'delete', 3 ],
	[ 'a trigger after statements', 'CREATE TRIGGER t AFTER DELETE ON rappel_conso.outbox EXECUTE FUNCTION logs()', 'DROP TRIGGER t ON rappel_conso.outbox', 'delete', 1 ],
	[ 'a trigger of inserts', 'CREATE TRIGGER t AFTER INSERT ON rappel_conso.outbox EXECUTE FUNCTION logs()', 'DROP TRIGGER t ON rappel_conso.outbox', '', 3 ],
	[ 'a table that refers to it', 'CREATE TABLE refers (topic text, id bigint, FOREIGN KEY (topic, id) REFERENCES rappel_conso.outbox)', 'DROP TABLE refers', 'delete', 0 ],
	[ 'a table that inherits', 'CREATE TABLE child () INHERITS (rappel_conso.outbox)', 'DROP TABLE child; ANALYZE rappel_conso.outbox', 'read delete', 0 ],
	[ 'row-level security for its owner', 'ALTER TABLE rappel_conso.outbox FORCE ROW LEVEL SECURITY', 'ALTER TABLE rappel_conso.outbox NO FORCE ROW LEVEL SECURITY', '', 0 ],
	[ 'another index', 'CREATE INDEX also ON rappel_conso.outbox (topic, id)', 'DROP INDEX rappel_conso.also', '', 0 ],
	[ 'no such index', 'ALTER TABLE rappel_conso.outbox DROP CONSTRAINT outbox_pkey', 'ALTER TABLE rappel_conso.outbox ADD PRIMARY KEY (topic, id)', 'read', 0 ],
	[ 'a publication', 'CREATE PUBLICATION p FOR TABLE rappel_conso.outbox', 'DROP PUBLICATION p', '', 0 ]);

foreach my $mode ('fast', 'sql')
{
	restart_with($mode eq 'fast' ? $usual : '');
	$kafka->create_topic("$mode.table");
	publish_some(1, "$mode.table");
	$node->wait_published;
	foreach my $change (@changes)
	{
		my ($what, $do, $undo, $statements, $logged) = @$change;

		$node->sql("SET client_min_messages = error; TRUNCATE public.log; $do");
		$node->sql('SELECT pg_stat_statements_reset()') if $counted;
		publish_some(3, "$mode.table");
		$node->wait_published;
		is(statements(), $counted ? ($mode eq 'fast' ? $statements : 'read delete') : 'not counted', "$mode, the outbox has $what: what is left to SQL");
		is($node->sql('SELECT count(*) FROM public.log'), $logged, "$mode, the outbox has $what: what else its deletions do");
		$node->sql($undo) if $undo;
	}
	is(messages("$mode.table"), join(', ', 1, ('1, 2, 3') x @changes), "$mode: each message is sent once");
	stop_publisher();
	my $before = deleted();
	publish_some(5, "$mode.table");
	$node->sql('SELECT rc_start()');
	$node->wait_published;
	stop_publisher();
	is(deleted() - $before, 5, "$mode: each deletion is counted once");
}

# ---- a publication that deletions are forbidden for ----

my %errors;
foreach my $mode ('fast', 'sql')
{
	restart_with($mode eq 'fast' ? $usual : '');
	$node->sql('SET client_min_messages = error; ALTER TABLE rappel_conso.outbox REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE rappel_conso.outbox');
	$kafka->create_topic("$mode.identity");
	publish_some(3, "$mode.identity");
	$node->wait_for('the error', q{SELECT count(*) = 1 FROM rappel_conso.outbox_topic});
	$errors{$mode} = $node->sql('SELECT sqlstate, error FROM rappel_conso.outbox_topic') . ', ' . $node->sql('SELECT count(*) FROM rappel_conso.outbox');
	$node->sql('DROP PUBLICATION p; ALTER TABLE rappel_conso.outbox REPLICA IDENTITY DEFAULT');
	stop_publisher();
	is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 0, "$mode: they are deleted when they may be");
	is(messages("$mode.identity"), '1, 2, 3', "$mode: and were sent once");
}
like($errors{fast}, qr/^55000\|cannot delete from table "outbox".*, 3$/, 'messages that cannot be deleted wait, with the error');
is($errors{sql}, $errors{fast}, 'as by SQL');

done_testing();
