# 099_outbox_limits.pl
#     Messages that are as large as they may be, or larger: what is too large
#     costs itself and no other, as does what is broken on disk (D3), and headers
#     that are ours (R6).

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
	'limits',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 12\n");
my $memory = 0;

# The publisher's own memory in MB, at its highest: what it shares with others
# only grows, so that at the peak it was no more than it is now.
sub look_at_memory
{
	my $pid = $node->sql(q{SELECT rappel_conso.worker_pid('outbox')});
	my %kb = ($pid ? slurp_file("/proc/$pid/status") : '') =~ /^(VmHWM|RssFile|RssShmem):\s+(\d+) kB/mg;
	my $own = ($kb{VmHWM} // 0) - ($kb{RssFile} // 0) - ($kb{RssShmem} // 0);

	$memory = $own / 1024 if $own / 1024 > $memory;
	return;
}

sub wait_published_and_look
{
	$node->wait_published;
	look_at_memory();
	return;
}

$node->sql(q{
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	-- what no compression makes smaller
	CREATE FUNCTION noise(megabytes int) RETURNS bytea LANGUAGE sql AS $$
		SELECT string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, megabytes * 65536) i $$});

# ---- rows that are too large already ----

$node->sql(q{
	SELECT rc_publish('plain', 'before', 'k');
	INSERT INTO rappel_conso.outbox (topic, key, value, owner)
		SELECT 'plain', k || int4send(n), 'v', current_user FROM (SELECT noise(12) AS k) k, generate_series(1, 10) n;
	INSERT INTO rappel_conso.outbox (topic, key, value, owner)
		SELECT 'plain', noise(1), noise(16), current_user;
	INSERT INTO rappel_conso.outbox (topic, headers, owner)
		VALUES ('plain', jsonb_build_object('h', repeat('x', 200000000)), current_user),
		       ('plain', jsonb_build_object('h', repeat('x', 2000000)), current_user),
		       ('plain', (SELECT jsonb_build_object(repeat('n', 100000), jsonb_agg(n)) FROM generate_series(1, 100000) n), current_user),
		       ('plain', (SELECT jsonb_build_object('n', jsonb_agg(1e131071)) FROM generate_series(1, 5000)), current_user);
	SELECT rc_publish('plain', 'after', 'k');
	SELECT rc_publish('other', 'beside', 'k')});
wait_published_and_look();
is(join(' ', map { $_->{payload} } $kafka->consume('plain')), 'before after', 'D3: what is too large keeps nothing back');
is(join(' ', map { $_->{payload} } $kafka->consume('other')), 'beside', 'D3: nor in another topic');
is($node->sql(q{SELECT sqlstate, (SELECT string_agg(DISTINCT m[1], ' ') FROM regexp_matches(message, '[a-z]+', 'g') m WHERE m[1] IN ('key', 'value', 'headers')),
	substring(message FROM '([0-9]+)[^0-9]*$'), count(*)
	FROM rappel_conso.dead_letter GROUP BY 1, 2, 3 ORDER BY 4 DESC, 2 DESC}),
	"54000|key|1048576|10\n"
	  . "54000|headers|1048576|4\n"
	  . '54000|headers key value|16777216|1',
	'D3: each is a dead letter that names its limit');
is($node->sql('SELECT count(*), max(octet_length(key)) FROM rappel_conso.dead_letter WHERE key IS NOT NULL'), '11|12582916', 'D3: as it was');
is($node->sql('SELECT * FROM rc_republish()'), '0|15', 'D2: none can be put back');

# ---- as large as may be ----

$node->sql(q{
	SELECT rc_publish('large', noise(14), noise(1), jsonb_build_object('h', repeat('x', 1048567)));
	SELECT rc_publish('large', noise(15) || '\x01', 'k') FROM generate_series(1, 6);
	SELECT rc_publish('many', noise(1), n::text::bytea, '{"a": "b"}') FROM generate_series(1, 40) n;
	SELECT rc_publish('each' || n % 20, noise(1), n::text::bytea) FROM generate_series(1, 40) n});
wait_published_and_look();
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'), 15, 'D3: none of them is refused');
is($kafka->kcat('', '-C', '-e', '-t', 'large', '-o', 'beginning', '-f', '%K/%S ', '-X', 'fetch.message.max.bytes=30000000',
		'-X', 'receive.message.max.bytes=100000000'),
	'1048576/14680064 ' . '1/15728641 ' x 6, 'D3: they arrive whole');
is($kafka->kcat('', '-C', '-e', '-t', 'many', '-o', 'beginning', '-f', '%k ', '-X', 'fetch.message.max.bytes=30000000'),
	join('', map { "$_ " } 1 .. 40), 'D3: and in order');
is($kafka->kcat('', '-C', '-e', '-t', 'each7', '-o', 'beginning', '-f', '%k '), '7 27 ', 'D3: in each of more topics than are sent to at a time');
look_at_memory();
cmp_ok($memory, '<', 100, 'D3: the publisher takes less than 100 MB');
note(sprintf('%.1f MB', $memory));

# ---- what cannot be read any more ----

SKIP:
{
	skip 'pg_surgery is not there', 7
	  if $node->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_surgery'}) == 0;
	my $toast = $node->sql(q{SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'rappel_conso.outbox'::regclass});
	# all that is in it is of the message before
	my $break = "SELECT heap_force_kill('$toast', ARRAY(SELECT ctid FROM $toast));";

	$node->sql(qq{
		CREATE EXTENSION pg_surgery;
		TRUNCATE rappel_conso.dead_letter;
		VACUUM rappel_conso.outbox});
	$node->sql(q{SELECT rc_publish(t, 'first', 'k') FROM unnest('{broken,whole}'::text[]) t});
	wait_published_and_look();
	$node->sql(qq{
		BEGIN;
		SELECT rc_publish('broken', 'before', 'k');
		SELECT rc_publish('broken', 'v', 'headers', jsonb_build_object('h', encode(substr(noise(1), 1, 20000), 'base64')));
		$break
		SELECT rc_publish('broken', 'between', 'k');
		SELECT rc_publish('broken', noise(1), 'value');
		$break
		INSERT INTO rappel_conso.outbox (topic, key, value, owner) SELECT 'broken', noise(2), 'key', current_user;
		$break
		SELECT rc_publish('__consumer_offsets', noise(1), 'value');
		$break
		SELECT rc_publish('broken', encode(noise(1), 'hex'), 'large');
		SELECT rc_publish('broken', 'after', 'k');
		SELECT rc_publish('whole', 'beside', 'k');
		COMMIT});
	wait_published_and_look();
	is(join(' ', map { length($_->{payload}) > 100 ? $_->{key} : $_->{payload} } $kafka->consume('broken')),
		'first before between large after', 'D3: what cannot be read keeps nothing back, and order holds');
	is(join(' ', map { $_->{payload} } $kafka->consume('whole')), 'first beside', 'D3: nor in another topic');
	is($node->sql(q{SELECT topic, sqlstate, octet_length(key), octet_length(value), headers IS NOT NULL, (SELECT string_agg(DISTINCT m[1], ' ') FROM regexp_matches(regexp_replace(message, '^.*pg_toast_[0-9]+', ''), '[a-z]+', 'g') m WHERE m[1] IN ('key', 'value', 'headers')),
		message_id IS NOT NULL FROM rappel_conso.dead_letter ORDER BY topic COLLATE "C", id}),
		"__consumer_offsets|XX001|5||f|value|t\n"
		  . "broken|XX001|7|1|f|headers|t\n"
		  . "broken|XX001|5||f|value|t\n"
		  . 'broken|XX001||3|f|key|t', 'D3: each is a dead letter of what could be read');
	like($node->sql(q{SELECT message FROM rappel_conso.dead_letter WHERE topic = 'broken' ORDER BY id LIMIT 1}), qr/missing chunk number 0 /,
		'D3: with the error');
	is($node->sql('SELECT * FROM rc_republish()'), '0|4', 'D2, D3: what is not whole is not put back');
	is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 0, 'D3: none of them waits');
	unlike(slurp_file($node->logfile), qr/terminated by signal/, 'D3: nor did the server end');
}

# ---- rows that a stream returns ----

$node->sql(q{
	CREATE TABLE seen (n int);
	INSERT INTO rappel_conso.stream (name, topics, output_topic, statement) VALUES ('rows', '{rows}', 'returned', $$
		WITH s AS (INSERT INTO seen SELECT (value->>'n')::int FROM records RETURNING n)
		SELECT CASE WHEN n = 3 THEN repeat('k', 1048577) ELSE n::text END AS key, n AS value,
		       CASE WHEN n = 5 THEN '[1]'::jsonb WHEN n = 6 THEN jsonb_build_object('h', repeat('x', 1048576)) ELSE '{}' END AS headers
		  FROM s $$)});
$kafka->produce_many('rows', [ map { [ "k$_", qq({"n": $_}) ] } 1 .. 10 ]);
$node->wait_for('dead letters', q{SELECT count(*) = 3 FROM rappel_conso.dead_letter WHERE origin = 'stream'});
$node->wait_for('the table', 'SELECT count(*) = 7 FROM seen');
wait_published_and_look();
is($node->sql(q{SELECT convert_from(key, 'UTF8'), sqlstate, substring(message FROM '^[a-z]+'), array_to_string(regexp_matches(message, '([0-9]+)[^0-9]+([0-9]+)|$'), ' ')
	FROM rappel_conso.dead_letter WHERE origin = 'stream' ORDER BY record_offset}),
	"k3|54000|key|1048577 1048576\n"
	  . "k5|22023|headers|\n"
	  . 'k6|54000|headers|1048585 1048576',
	'D3, M1: a row that makes no message is its record\'s fault');
is(join(' ', sort { $a <=> $b } map { $_->{payload} } $kafka->consume('returned')), '1 2 4 7 8 9 10', 'D3: the others go out');

# ---- headers that are ours ----

$node->sql(q{
	SELECT rc_publish('forged', 'v', 'k', '{"rappel_conso-id": "forged", "RAPPEL_CONSO-Id": ["a", null, {"base64": "AA=="}],
		"Rappel_Conso-run": "1.2.3", "rappel_conso-": 1, "rappel_conso-source": {"a": 1}, "rappel_conso": "kept", "x-rappel_conso-id": "kept"}')});
wait_published_and_look();
my ($forged) = $kafka->consume('forged');
my @headers = @{ $forged->{headers} };
is(scalar(grep { /^rappel_conso-/i } @headers), 1, 'R6: one header is ours');
my %headers = @headers;
like($headers{'rappel_conso-id'}, qr/^[0-9a-f]{8}-/, 'R6: it is the id of the message');
is(join(' ', map { "$_=$headers{$_}" } grep { !/^rappel_conso-/ } sort keys %headers), 'rappel_conso=kept x-rappel_conso-id=kept',
	'R6: other names are as they were given');

$node->sql(q{
	INSERT INTO rappel_conso.stream (name, topics, output_topic, value_type, statement) VALUES ('forward', '{forged}', 'forwarded', 'text',
		'SELECT key, value, headers FROM records')});
$kafka->produce('forged', 'k', 'second', [ 'Rappel_Conso-Run' => '1.2.3', 'rappel_conso-id' => $headers{'rappel_conso-id'}, a => 'b' ]);
$node->wait_for('the stream', q{SELECT sum(next_offset) = 2 FROM rappel_conso.stream_offset WHERE stream = 'forward'});
wait_published_and_look();
my @forwarded = map { { @{ $_->{headers} } } } $kafka->consume('forwarded');
my @ids = map { $_->{'rappel_conso-id'} } @forwarded;
is(scalar(@ids), 2, 'R6: both are forwarded');
isnt($ids[0], $ids[1], 'R6: with an id of their own each');
isnt($ids[0], $headers{'rappel_conso-id'}, 'R6: which is not the one that came');
is(join(' ', sort keys %{ $forwarded[1] }), 'a rappel_conso-id', 'R6: and no run of another message');

done_testing();
