# 093_outbox.pl
#     The outbox: what a transaction publishes reaches Kafka when it commits,
#     at once, in order for each key, at least once; a message that Kafka
#     refuses does not stop the others.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $json = JSON::PP->new->canonical;
my $kafka = start_kafka();
my $node = new_node(
	'outbox',
	kafka => $kafka,
	preload => 1,
	conf => "restart_after_crash = on\n");

# What a consumer sees that drops repeats by their id: "key=value" of each.
sub distinct_messages
{
	my ($topic) = @_;
	my %seen;

	return grep { defined $_ } map {
		my %headers = @{ $_->{headers} };

		$seen{ $headers{'rappel_conso-id'} }++
		  ? undef
		  : ($_->{key} // 'null') . '=' . ($_->{payload} // 'null');
	} $kafka->consume($topic);
}

$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');

# This one is looked at in the end: that a broker is not there takes a while.
my $far = new_node('far', kafka => '127.0.0.1:1', preload => 1);
$far->sql(q{UPDATE rappel_conso.stream SET paused = true; SELECT rc_start(); SELECT rc_publish('far', 'far', 'k')});

$kafka->create_topic('first', partitions => 3);
$kafka->create_topic('many', partitions => 3);
$kafka->create_topic('refused', config => { 'max.message.bytes' => 100_000 });

# ---- a transaction's messages are its own ----

like($node->sql(q{SELECT rc_publish('first', 'one', 'k')}), qr/^[0-9a-f-]{36}$/, 'rc_publish() returns the id of the message');
$node->wait_published;
$node->sql(q{BEGIN; SELECT rc_publish('first', 'never', 'k'); ROLLBACK});
$node->sql(q{
	BEGIN;
	SELECT rc_publish('first', 'two', 'k');
	SAVEPOINT s;
	SELECT rc_publish('first', 'never', 'k');
	ROLLBACK TO s;
	SELECT rc_publish('first', 'three', 'k');
	COMMIT});
$node->psql('postgres', q{BEGIN; SELECT rc_publish('first', 'never', 'k'); SELECT 1 / 0; COMMIT});
$node->sql(q{DO $$ BEGIN PERFORM rc_publish('first', jsonb_build_object('n', 4), 'k'); END $$});
$node->sql(q{SELECT rc_publish('first', '\x00c3a9'::bytea, '\x6b'::bytea, NULL)});
$node->wait_published;
is(join(' ', map { s/[^ -~]/?/gr } distinct_messages('first')), 'k=one k=two k=three k={"n": 4} k=??',
	'what is rolled back is not published, the rest is, in order');
is(scalar(distinct_messages('first')), scalar($kafka->consume('first')), 'each once');

my ($with_id) = grep { $_->{payload} eq 'one' } $kafka->consume('first');
like({ @{ $with_id->{headers} } }->{'rappel_conso-id'}, qr/^[0-9a-f-]{36}$/, 'each has its id as a header');

# ---- values, keys and headers ----

my %forms = (
	'a text' => [ q{'text', 'key'}, 'key', 'text', {} ],
	'bytes' => [ q{'\x00ff'::bytea, '\x6b'::bytea}, 'k', "\0\xff", {} ],
	'jsonb' => [ q{'{"a": 1}'::jsonb, 'k'}, 'k', '{"a": 1}', {} ],
	'no key' => [ q{'text'}, undef, 'text', {} ],
	'no value' => [ q{NULL::text, 'key'}, 'key', undef, {} ],
	'an empty value' => [ q{'', ''}, '', '', {} ],
	'headers' => [
		q{'v', 'k', '{"a": "x", "n": 12345678901234567890.10, "yes": true, "none": null, "accent": "\u00e9"}'},
		'k', 'v', { a => 'x', n => '12345678901234567890.10', yes => 'true', none => undef, accent => "\x{e9}" }
	],
	'headers with one name' => [ q{'v', 'k', '{"a": ["1", "2", "3"]}'}, 'k', 'v', { a => [ 1, 2, 3 ] } ],
	'a header of bytes' => [ q{'v', 'k', '{"a": {"base64": "AP8="}}'}, 'k', 'v', { a => { base64 => 'AP8=' } } ],
	'a header that is an object' => [ q{'v', 'k', '{"a": {"b": 1}}'}, 'k', 'v', { a => '{"b": 1}' } ]);

# They go through Kafka into a table, where headers are jsonb again.
$node->sql(q{
	CREATE TABLE seen (key text, value bytea, headers jsonb);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('seen', '{forms}', 'bytea',
		'INSERT INTO seen SELECT key, value, headers FROM records')});
foreach my $name (sort keys %forms)
{
	$node->sql("SELECT rc_publish('forms', $forms{$name}[0])");
	$node->wait_for($name, 'SELECT count(*) = 1 FROM seen');
	my $row = JSON::PP->new->utf8->decode($node->sql(q{
		SELECT jsonb_build_array(key, encode(value, 'hex'), headers - 'rappel_conso-id',
			headers->>'rappel_conso-id' ~ '^[0-9a-f-]{36}$') FROM seen}));

	ok(pop @$row, "$name: the id is among the headers");
	my ($call, $key, $value, $headers) = @{ $forms{$name} };
	$value = unpack('H*', $value) if defined $value;
	is_deeply($row, [ $key, $value, $headers ], "$name: comes as it was sent");
	$node->sql('TRUNCATE seen');
}
$node->sql(q{DELETE FROM rappel_conso.stream WHERE name = 'seen'});

my %wrong = (
	q{rc_publish('a b', 'v')} => qr/^42602: .*rc_publish\(\).*"a b"/,
	q{rc_publish('', 'v')} => qr/^42602: .*rc_publish\(\).*""/,
	q{rc_publish(NULL, 'v')} => qr/^22004: topic /,
	q{rc_publish('t', 'v', 'k', '[1]')} => qr/^22023: headers /);
like($node->error_of("SELECT $_"), $wrong{$_}, "$_ is refused") foreach sort keys %wrong;

# ---- at once ----

# One after the other, each as soon as the last one is published: a publisher
# that only looked by itself, every 5 s, would not be done before psql gives up.
$node->sql(q{
	CREATE PROCEDURE one_by_one(n int) LANGUAGE plpgsql AS $$
	BEGIN
	  FOR i IN 1 .. n LOOP
	    PERFORM rc_publish('first', 'quick');
	    COMMIT;
	    WHILE EXISTS (SELECT FROM rappel_conso.outbox) LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP;
	  END LOOP;
	END $$});
my $rounds = int($PostgreSQL::Test::Utils::timeout_default / 5) + 10;
is($node->psql('postgres', "CALL one_by_one($rounds)", timeout => $PostgreSQL::Test::Utils::timeout_default), 0, 'a commit wakes the publisher');
is(scalar(grep { ($_->{payload} // '') eq 'quick' } $kafka->consume('first')), $rounds, 'and each is published once');

# ---- many, in order for each key ----

$node->sql(q{
	CREATE TABLE counter AS SELECT client, 0 AS n FROM generate_series(0, 3) client;
	SELECT count(rc_publish('many', n::text, 'bulk')) FROM generate_series(1, 12000) n});
$node->pgbench(
	'--client=4 --transactions=50 --no-vacuum', 0,
	[qr{processed: 200/200}], [qr/^$/],
	'several sessions publish',
	{
		'093_publish' => q{
			BEGIN;
			UPDATE counter SET n = n + 1 WHERE client = :client_id;
			SELECT rc_publish('many', n::text, 'c' || client) FROM counter WHERE client = :client_id;
			COMMIT;
		}
	});
$node->wait_published;
my %order;
foreach my $message (distinct_messages('many'))
{
	my ($key, $value) = split(/=/, $message);

	push @{ $order{$key} }, $value;
}
is_deeply(
	\%order,
	{ bulk => [ 1 .. 12000 ], map { ("c$_" => [ 1 .. 50 ]) } 0 .. 3 },
	'each key has all its messages, in order');

# ---- what Kafka refuses ----

$kafka->create_topic('refused_too');
$node->sql(q{
	SELECT rc_publish('refused', 'small ' || n, 'k') FROM generate_series(1, 5) n;
	SELECT rc_publish('refused', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 5000) n), 'big',
		'{"a": "b"}');
	SELECT rc_publish('refused', 'small ' || n, 'k') FROM generate_series(6, 10) n;
	SELECT rc_publish('refused.too', 'a name that collides', 'k');
	SELECT rc_publish('refused', 'small ' || n, 'k') FROM generate_series(11, 15) n});
$node->wait_published;

# A broker refuses whole batches; the good messages of such a batch are sent
# again, after those of a later one perhaps.
is_deeply([ sort(distinct_messages('refused')) ], [ sort(map { "k=small $_" } 1 .. 15) ],
	'a message that Kafka refuses does not keep back the others');
is( $node->sql(q{
		SELECT origin, name, topic, partition, record_offset, convert_from(key, 'UTF8'), length(value),
			headers->>'a', headers ? 'rappel_conso-id', sqlstate, attempts, resolved_at, owner = current_user
		FROM rappel_conso.dead_letter ORDER BY length(value)}),
	"outbox|rc_publish|refused.too|||k|20||t|22023|1||t\n" . "outbox|rc_publish|refused|||big|160000|b|t|54000|1||t",
	'they are dead letters of the outbox: one too large, one whose topic cannot be');
my @words = split(/\n/, $node->sql('SELECT message FROM rappel_conso.dead_letter ORDER BY length(value)'));
like($words[0], qr/"refused\.too": .*collide/, 'with what Kafka says of the topic');
like($words[1], qr/Broker: Message size too large$/, 'and of the message');
is($node->sql('SELECT state, lag FROM rc_status() WHERE component = $$outbox$$'), 'running|0', 'the publisher goes on');

# ---- killed between what it has sent and what it deletes ----

$node->sql(q{
	CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN OLD; END $$;
	CREATE TRIGGER gate BEFORE DELETE ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION gate()});
my $gate = $node->background_psql('postgres', on_error_die => 1);
$gate->query_safe('SELECT pg_advisory_lock(42)');
$node->sql(q{SELECT rc_publish('killed', n::text, 'k') FROM generate_series(1, 20) n});
$node->wait_for('the publisher at the gate', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE pid = rappel_conso.worker_pid('outbox') AND wait_event_type = 'Lock'});
is(scalar($kafka->consume('killed')) . '/' . $node->sql('SELECT count(*) FROM rappel_conso.outbox'),
	'20/20', 'messages are deleted only after Kafka has them');
my $pid = $node->sql(q{SELECT rappel_conso.worker_pid('outbox')});
kill('KILL', $pid) == 1 or die "could not kill process $pid";
eval { $gate->quit };
$node->wait_for('the server', q{SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND objsubid = 1});
$node->wait_published;
cmp_ok(scalar($kafka->consume('killed')), '>', 20, 'after kill -9 of the publisher they are sent again: at least once');
is_deeply([ distinct_messages('killed') ], [ map { "k=$_" } 1 .. 20 ], 'with the same ids: exactly once without repeats');
$node->sql('DROP TRIGGER gate ON rappel_conso.outbox');

# ---- no broker for a while ----

$kafka->kill(1);
$node->sql(q{SELECT rc_publish('down', n::text, 'k') FROM generate_series(1, 3) n});
like($node->sql('SELECT lag, detail FROM rc_status() WHERE component = $$outbox$$'),
	qr/^3\|\D*\b3\b.* 20\d\d-/, 'without a broker messages wait, and rc_status() says so');
$node->sql(q{SELECT rc_publish('down', n::text, 'k') FROM generate_series(4, 6) n});
$kafka->restart(1);
$node->wait_published;
is_deeply([ distinct_messages('down') ], [ map { "k=$_" } 1 .. 6 ], 'they go when it is back');

# A server whose broker never was there; it was started at the beginning.
$far->wait_for('the publisher', q{SELECT state = 'waiting' FROM rc_status() WHERE component = 'outbox'});
like($far->sql(q{SELECT lag, last_error FROM rc_status() WHERE component = 'outbox'}),
	qr/^1\|.*"127\.0\.0\.1:1": /, 'a publisher that finds no broker says so');
$far->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '" . $kafka->brokers . "'\n");
$far->reload;
$far->wait_for('the message', 'SELECT count(*) = 0 FROM rappel_conso.outbox');
is_deeply([ distinct_messages('far') ], ['k=far'], 'and publishes when the setting names one');

done_testing();
