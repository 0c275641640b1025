# 097_outbox_refused.pl
#     What Kafka refuses, and whom that concerns: a message, a topic or all of
#     them.  Messages of other topics go on, once each and in order (D1, D2,
#     D12).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka(plain => 1, acls => 1);
my $node = new_node(
	'refused',
	kafka => $kafka,
	preload => 1,
	conf => "rappel_conso.kafka_config_file = '" . $kafka->config_file . "'\n");

sub status { return $node->sql(qq{SELECT $_[0] FROM rc_status() WHERE component = '$_[1]' ORDER BY name}); }

$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
$kafka->create_topic($_) foreach qw(described forbidden free.a free.b);
$kafka->create_topic('free.small', config => { 'max.message.bytes' => 3000 });
$kafka->create_topic('free.keyed', config => { 'cleanup.policy' => 'compact' });

# ---- a user who may write nowhere: librdkafka's producer itself fails ----

$kafka->acl('add', 'app', 'describe', 'topic', 'described');
$node->sql(q{SELECT rc_publish('described', n::text, 'k') FROM generate_series(1, 5) n});
$node->wait_for('the state', q{SELECT state = 'waiting' AND last_error IS NOT NULL FROM rc_status() WHERE component = 'outbox'});
like(status('last_error', 'outbox'), qr/authorization failed/i, 'D2: without any right all messages wait, with what Kafka says');
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'), 0, 'D2: none is a dead letter');
$kafka->acl('add', 'app', 'write', 'topic', 'described');
$node->wait_published;
is(join(' ', $kafka->payloads('described')), '1 2 3 4 5', 'D2: they go out when the user may write');

# ---- topics that wait, topics that are refused, and the others ----

$kafka->acl('add', 'app', 'all', 'topic', 'free.', '--prefix');
$kafka->acl('add', 'app', 'all', 'topic', '__consumer_offsets');
$kafka->acl('remove', 'app', 'write', 'topic', 'described');
$node->sql(q{
	SELECT rc_publish('free.a', n::text, 'k') FROM generate_series(1, 3) n;
	SELECT rc_publish('__consumer_offsets', n::text, 'k') FROM generate_series(1, 3) n;
	SELECT rc_publish('forbidden', n::text, 'k') FROM generate_series(1, 3) n;
	SELECT rc_publish('missing', n::text, 'k') FROM generate_series(1, 3) n;
	SELECT rc_publish('described', n::text, 'k') FROM generate_series(6, 8) n;
	SELECT rc_publish('free.b', n::text, 'k') FROM generate_series(1, 3) n;
	SELECT rc_publish('free.a', n::text, 'k') FROM generate_series(4, 6) n});
$node->wait_published('free.a', 'free.b', '__consumer_offsets');
is($node->sql(q{SELECT topic, count(*), min(sqlstate), substring(min(message) FROM 'Broker: .*'), bool_and(message_id::text = headers->>'rappel_conso-id')
	FROM rappel_conso.dead_letter GROUP BY topic}),
	'__consumer_offsets|3|22023|Broker: Invalid topic|t',
	'D1: messages of a topic that Kafka has none written to are dead letters, with the SQLSTATE of the error');
$node->wait_for('some tries', q{SELECT count(*) = 3 AND min(failures) >= 3 FROM rappel_conso.outbox_topic});
is(join(' ', $kafka->payloads('free.a')) . '; ' . join(' ', $kafka->payloads('free.b')), '1 2 3 4 5 6; 1 2 3',
	'D1: those of other topics were published once each, whatever is tried again');
is($node->sql('SELECT topic, sqlstate, hint IS NOT NULL, retry_at > last_error_at FROM rappel_conso.outbox_topic ORDER BY topic'),
	"described|42501|t|t\nforbidden|42501|t|t\nmissing|42501|t|t", 'D2: a topic without the right waits alone, with its error and a hint');
is(status('name, state, lag', 'topic'), "described|waiting|3\nforbidden|waiting|3\nmissing|waiting|3", 'D2: rc_status() has a row for each topic that waits');
like(status('last_error', 'topic'), qr/"described": Broker: Topic authorization failed\nHINT: .*\bwrite\b/i,
	'D2: with the error and what to do');
like(status('state, detail', 'outbox'), qr/^waiting\|\D*\b9\b.*; \D*\b3\b/, 'D2: all that is left waits, and the outbox says so');

# Many messages of a topic that waits stand before one of another.
$node->sql(q{
	SELECT count(rc_publish('forbidden', n::text, 'k')) FROM generate_series(4, 30000) n;
	SELECT rc_publish('free.b', '4', 'k')});
$node->wait_published('free.b');
is(join(' ', $kafka->payloads('free.b')), '1 2 3 4', 'D1: 30,000 messages that wait keep no other back');
is(status('state', 'outbox'), 'waiting', 'D1: they still wait');
$node->sql(q{DELETE FROM rappel_conso.outbox WHERE topic = 'forbidden' AND id > (SELECT min(id) + 8 FROM rappel_conso.outbox WHERE topic = 'forbidden');
	DELETE FROM rappel_conso.outbox WHERE topic = 'missing'});
$node->wait_for('the row of a topic without messages', q{SELECT count(*) = 0 FROM rappel_conso.outbox_topic WHERE topic = 'missing'});
pass('D1: a topic whose messages were deleted waits no more');

$kafka->acl('add', 'app', 'write,describe', 'topic', $_) foreach qw(forbidden described);
$node->sql('SELECT pg_reload_conf()');
$node->wait_published;
is(join(' ', $kafka->payloads('forbidden')) . '; ' . join(' ', $kafka->payloads('described')), '1 2 3; 1 2 3 4 5 6 7 8', 'D2: what waited goes out in its order when the right is there');
is($node->sql(q{SELECT count(*) FROM rc_status() WHERE component = 'topic'}) . '/' . $node->sql('SELECT count(*) FROM rappel_conso.outbox_topic'), '0/0', 'D2: and no topic waits');
is(status('state', 'outbox'), 'running', 'D2: the outbox is running');

# A right that is taken while messages flow.
$kafka->acl('remove', 'app', 'write', 'topic', 'described');
$node->sql(q{SELECT rc_publish(t, (100 + n)::text, 'k') FROM generate_series(1, 300) n, unnest(ARRAY['described', 'free.b']) t});
$node->wait_published('free.b');
$node->wait_for('the topic', q{SELECT count(*) = 1 FROM rappel_conso.outbox_topic});
is(join(' ', $kafka->payloads('free.b')), join(' ', 1 .. 4, 101 .. 400), 'D2: nothing of another topic is published again while one waits');
$kafka->acl('add', 'app', 'write', 'topic', 'described');
$node->wait_published;
is(join(' ', $kafka->payloads('described')), join(' ', 1 .. 8, 101 .. 400), 'D2: order holds across tries');

# ---- batches that are refused whole ----

$node->sql('TRUNCATE rappel_conso.dead_letter');
$node->sql(q{
	SELECT rc_publish('free.small', n || '-' || (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 10) i), 'k')
	FROM generate_series(1, 100) n;
	SELECT rc_publish('free.small', '101-' || (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i), 'k');
	SELECT rc_publish('free.small', n || '-', 'k') FROM generate_series(102, 200) n;
	SELECT rc_publish('free.b', 'meanwhile', 'k')});
$node->wait_published('free.small', 'free.b');
is(join(' ', map { s/-.*//r } split(/ /, join(' ', $kafka->payloads('free.small')))), join(' ', 1 .. 100, 102 .. 200),
	'D1: a batch that is refused whole is sent in parts: each once, and in order');
is($node->sql('SELECT count(*), min(left(convert_from(value, $$UTF8$$), 3)), min(sqlstate), substring(min(message) FROM $$Broker: .*$$) FROM rappel_conso.dead_letter'),
	'1|101|54000|Broker: Message size too large', 'D1: the one that is too large is a dead letter');
is(join(' ', $kafka->payloads('free.b')), join(' ', 1 .. 4, 101 .. 400, 'meanwhile'), 'D1: nothing else is published again for it');

$node->sql(q{SELECT rc_publish('free.keyed', n::text, CASE WHEN n % 3 > 0 THEN n::text END) FROM generate_series(1, 9) n});
$node->wait_published;
is(join(' ', $kafka->payloads('free.keyed')), '1 2 4 5 7 8', 'D1: a compacted topic takes what has a key');
is($node->sql(q{SELECT string_agg(convert_from(value, 'UTF8'), ' ' ORDER BY id), min(sqlstate) FROM rappel_conso.dead_letter WHERE topic = 'free.keyed'}),
	'3 6 9|22023', 'D1: what has none are dead letters');

# ---- many new topics ----

$node->sql(q{
	SELECT rc_publish('free.new' || n, '1', 'k') FROM generate_series(1, 100) n;
	SELECT rc_publish('free.a', 'quick', 'k')});
$node->wait_published;
my $topics = $kafka->topics;
is(scalar(grep { /^free[.]new/ } keys %$topics), 100, 'D12: topics that are missing are made');
my ($quick) = grep { $_->{payload} eq 'quick' } $kafka->consume('free.a');
my @new = map { $kafka->consume("free.new$_") } 1, 20, 40, 60, 80, 100;
is(scalar(@new), 6, 'D12: each has its message once');
my ($first, $last) = (sort { $a <=> $b } map { $_->{ts} } @new)[ 0, -1 ];
cmp_ok($quick->{ts}, '<=', $first, 'D12: a message for a topic that is there does not wait for them');
note('they took ' . ($last - $quick->{ts}) . ' ms');

# More topics with much to send than have a large share of a read each.
$node->sql(q{
	CREATE TABLE busy AS SELECT DISTINCT 'free.new' || n AS topic FROM generate_series(1, 100) n
		UNION ALL VALUES ('free.small'), ('described'), ('forbidden');
	SELECT rc_publish(topic, 'ready', 'k') FROM busy;
	SELECT rc_publish('free.keyed', 'ready', 'k')});
$node->wait_published;
$node->sql(q{
	BEGIN;
	SELECT count(rc_publish(topic, n::text, 'k')) FROM (SELECT topic FROM busy ORDER BY topic) b, generate_series(1000, 1100) n;
	SELECT rc_publish('free.keyed', 'newest', 'k');
	COMMIT});
$node->wait_published;
my ($newest) = grep { $_->{payload} eq 'newest' } $kafka->consume('free.keyed');
my ($end) = grep { $_->{payload} eq '1100' } $kafka->consume('described');
cmp_ok($newest->{ts}, '<=', $end->{ts}, 'D1: the newest of more than 100 topics does not wait for the messages of all others');

# ---- what goes wrong in the database ----

$node->sql(q{
	CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no dead letter today'; END $$;
	CREATE TRIGGER no BEFORE INSERT ON rappel_conso.dead_letter FOR EACH ROW EXECUTE FUNCTION no()});
$node->sql(q{
	SELECT rc_publish('__consumer_offsets', 'x', 'k');
	SELECT rc_publish('free.a', 'beside', 'k')});
$node->wait_published('free.a');
$node->wait_for('the topic', q{SELECT count(*) = 1 FROM rappel_conso.outbox_topic WHERE topic = '__consumer_offsets' AND error = 'no dead letter today'});
pass('D1: a dead letter that cannot be written keeps its own topic waiting');
$node->sql('DROP TRIGGER no ON rappel_conso.dead_letter; SELECT pg_reload_conf()');
$node->wait_published;
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE topic = '__consumer_offsets'}), 1, 'D1: a reload ends the wait');

# A message that another session has locked cannot be deleted for a while.
my $locker = $node->background_psql('postgres', on_error_die => 1);
$node->sql(q{
	CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN IF OLD.topic = 'free.b' THEN PERFORM pg_advisory_xact_lock(42); END IF; RETURN OLD; END $$;
	CREATE TRIGGER gate BEFORE DELETE ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION gate()});
$locker->query_safe('SELECT pg_advisory_lock(42)');
$node->sql(q{
	SELECT rc_publish('free.b', 'locked', 'k');
	SELECT rc_publish('free.a', 'not locked', 'k')});
$node->wait_published('free.a');
$node->wait_for('the topic', q{SELECT count(*) = 1 FROM rappel_conso.outbox_topic WHERE topic = 'free.b'});
$node->sql(q{SELECT rc_publish('free.a', 'nor this', 'k')});
$node->wait_published('free.a');
$locker->query_safe('SELECT pg_advisory_unlock(42)');
$node->wait_published;
is(join(' ', $kafka->payloads('free.b')) =~ s/.*meanwhile //r, 'locked', 'D1: what was confirmed is not published again when it cannot be deleted at once');
is(join(' ', $kafka->payloads('free.a')), '1 2 3 4 5 6 quick beside not locked nor this', 'D1: nor is another');

# The publisher is told to end between a confirmation and its deletion.
$locker->query_safe('SELECT pg_advisory_lock(42)');
$node->sql(q{SELECT rc_publish('free.b', n::text, 'k') FROM generate_series(1, 20) n});
$node->wait_for('the publisher at the gate', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE pid = rappel_conso.worker_pid('outbox') AND wait_event_type = 'Lock'});
my $pid = $node->sql(q{SELECT rappel_conso.worker_pid('outbox')});
$node->sql("SELECT pg_terminate_backend($pid)");
$locker->query_safe('SELECT pg_advisory_unlock(42)');
$node->wait_for('the end of the publisher', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
$node->wait_published;
is(join(' ', $kafka->payloads('free.b')) =~ s/.*locked //r, join(' ', 1 .. 20), 'D1: what Kafka has confirmed is settled when the worker is told to end');
$locker->quit;

# A refused message whose dead letter cannot be written is tried less and less
# often, and nothing of it is lost.
$node->sql(q{
	DROP TRIGGER gate ON rappel_conso.outbox;
	CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100', HINT = 'Make some.'; END $$;
	CREATE TRIGGER no_space BEFORE INSERT ON rappel_conso.dead_letter FOR EACH ROW EXECUTE FUNCTION no_space();
	SELECT rc_publish('free.small', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i), 'k')});
$node->wait_for('three failures', q{SELECT failures >= 3 FROM rappel_conso.outbox_topic WHERE topic = 'free.small'});
is($node->sql(q{SELECT sqlstate, error, hint FROM rappel_conso.outbox_topic WHERE topic = 'free.small'}), '53100|no space left|Make some.', 'D1: a dead letter that cannot be written: the topic says why');
$node->sql('DROP TRIGGER no_space ON rappel_conso.dead_letter');
$node->wait_published;
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE topic = 'free.small' AND record_offset IS NULL AND octet_length(value) = 32000}), '1', 'D1: then it is there');
$node->wait_for('the row of the topic to go', q{SELECT count(*) = 0 FROM rappel_conso.outbox_topic WHERE topic = 'free.small'});

done_testing();
