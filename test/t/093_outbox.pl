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
my $kafka = start_kafka(properties => { 'message.max.bytes' => 100_000 });
my $node = new_node(
	'outbox',
	kafka => $kafka,
	preload => 1,
	conf => "restart_after_crash = on\n");

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($sql, $what) = @_;

	$node->poll_query_until('postgres', $sql) or die "$what: not in time";
	return;
}

sub wait_published { return wait_for('SELECT count(*) = 0 FROM rappel_conso.outbox', 'the outbox'); }

# What a consumer sees that drops repeats by their id: "key=value" of each.
sub messages
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

sub error_of
{
	my ($sql) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	return $err =~ /ERROR:  (.*)/ ? $1 : 'none';
}

query('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
foreach my $topic ('first', 'refused')
{
	$kafka->create_topic($topic, partitions => 3);
}

# ---- a transaction's messages are its own ----

is(query(q{SELECT rc_publish('first', 'hello'::text, 'k') ~~* '%'::text IS NOT NULL FROM (SELECT 1) x}) // '', 't', 'x')
  if 0;
like(query(q{SELECT rc_publish('first', 'one', 'k')}), qr/^[0-9a-f-]{36}$/, 'rc_publish() returns the id of the message');
wait_published();
query(q{BEGIN; SELECT rc_publish('first', 'never', 'k'); ROLLBACK});
query(q{
	BEGIN;
	SELECT rc_publish('first', 'two', 'k');
	SAVEPOINT s;
	SELECT rc_publish('first', 'never', 'k');
	ROLLBACK TO s;
	SELECT rc_publish('first', 'three', 'k');
	COMMIT});
$node->psql('postgres', q{BEGIN; SELECT rc_publish('first', 'never', 'k'); SELECT 1 / 0; COMMIT});
query(q{DO $$ BEGIN PERFORM rc_publish('first', jsonb_build_object('n', 4), 'k'); END $$});
query(q{SELECT rc_publish('first', '\x00ff'::bytea, '\x6b'::bytea, NULL)});
wait_published();
is(join(' ', map { s/[^ -~]/?/gr } messages('first')), 'k=one k=two k=three k={"n": 4} k=??',
	'what is rolled back is not published, the rest is, in order');
is(scalar(messages('first')), scalar($kafka->consume('first')), 'each once');

my ($with_id) = grep { $_->{payload} eq 'one' } $kafka->consume('first');
like({ @{ $with_id->{headers} } }->{'rappel_conso-id'}, qr/^[0-9a-f-]{36}$/, 'each has its id as a header');

# ---- values, keys and headers ----

my %forms = (
	'a text' => [ q{'text', 'key'}, 'key', 'text', {} ],
	'no key' => [ q{'text'}, undef, 'text', {} ],
	'no value' => [ q{NULL::text, 'key'}, 'key', undef, {} ],
	'an empty value' => [ q{'', ''}, '', '', {} ],
	'headers' => [
		q{'v', 'k', '{"a": "x", "n": 12345678901234567890.10, "yes": true, "none": null, "accent": "é"}'},
		'k', 'v', { a => 'x', n => '12345678901234567890.10', yes => 'true', none => undef, accent => "\x{e9}" }
	],
	'headers with one name' => [ q{'v', 'k', '{"a": ["1", "2", "3"]}'}, 'k', 'v', { a => [ 1, 2, 3 ] } ],
	'a header of bytes' => [ q{'v', 'k', '{"a": {"base64": "AP8="}}'}, 'k', 'v', { a => { base64 => 'AP8=' } } ],
	'a header that is an object' => [ q{'v', 'k', '{"a": {"b": 1}}'}, 'k', 'v', { a => '{"b": 1}' } ]);

# They go through Kafka into a table, where headers are jsonb again.
query(q{
	CREATE TABLE seen (key text, value text, headers jsonb);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('seen', '{forms}', 'text',
		'INSERT INTO seen SELECT key, value, headers FROM records')});
foreach my $name (sort keys %forms)
{
	query("SELECT rc_publish('forms', $forms{$name}[0])");
	wait_for('SELECT count(*) = 1 FROM seen', $name);
	my $row = JSON::PP->new->decode(query(q{
		SELECT jsonb_build_array(key, value, headers - 'rappel_conso-id',
			headers->>'rappel_conso-id' ~ '^[0-9a-f-]{36}$') FROM seen}));

	ok(pop @$row, "$name: the id is among the headers");
	is_deeply($row, [ @{ $forms{$name} }[ 1 .. 3 ] ], "$name: comes as it was sent");
	query('TRUNCATE seen');
}
query(q{DELETE FROM rappel_conso.stream WHERE name = 'seen'});

my %wrong = (
	q{rc_publish('a b', 'v')} => '42602: topic of rc_publish() is not a name that Kafka allows: "a b"',
	q{rc_publish('', 'v')} => '42602: topic of rc_publish() is not a name that Kafka allows: ""',
	q{rc_publish(NULL, 'v')} => '22004: topic must not be null',
	q{rc_publish('t', 'v', 'k', '[1]')} => '23514: new row for relation "outbox" violates check constraint "outbox_headers_check"');
is(error_of("SELECT $_"), $wrong{$_}, "$_ is refused") foreach sort keys %wrong;

# ---- at once ----

my $since = query(q{
	SELECT rc_publish('first', 'quick') IS NULL;
	SELECT created_at FROM rappel_conso.outbox UNION ALL SELECT clock_timestamp() LIMIT 1}) =~ s/^f\n//r;
wait_published();
my ($quick) = grep { ($_->{payload} // '') eq 'quick' } $kafka->consume('first');
my $delay = query("SELECT round(1000 * (extract(epoch FROM timestamptz '$since') - $quick->{ts} / 1000.0))");
cmp_ok(abs($delay), '<', 3000, 'a commit wakes the publisher, which else looks every 5 s');

# ---- many, of several sessions, in order for each key ----

$kafka->create_topic('many', partitions => 3);
$node->pgbench(
	'--client=4 --transactions=50 --no-vacuum', 0,
	[qr{number of transactions actually processed: 200/200}], [qr/^$/],
	'several sessions publish',
	{
		'093_publish' => q{
			BEGIN;
			SELECT rc_publish('many', (:client_id * 1000 + n)::text, 'c' || :client_id)
			FROM (SELECT COALESCE(max(n), 0) AS n FROM counted WHERE client = :client_id) c;
			INSERT INTO counted SELECT :client_id, COALESCE(max(n), 0) + 1 FROM counted WHERE client = :client_id;
			COMMIT;
		}
	}) if query('CREATE TABLE counted (client int, n int)') eq '';
wait_published();
my %order;
foreach my $message (messages('many'))
{
	my ($key, $value) = split(/=/, $message);

	push @{ $order{$key} }, $value;
}
is_deeply(\%order, { map { my $c = $_; "c$c" => [ map { $c * 1000 + $_ } 0 .. 49 ] } 0 .. 3 },
	'each key has all its messages, in order');

# ---- what Kafka refuses ----

query(q{
	SELECT rc_publish('refused', 'small ' || n, 'k') FROM generate_series(1, 5) n;
	SELECT rc_publish('refused', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 5000) n), 'big',
		'{"a": "b"}');
	SELECT rc_publish('refused', 'small ' || n, 'k') FROM generate_series(6, 10) n;
	SELECT rc_publish('__share_group_state', 'internal', 'k');
	SELECT rc_publish('in.valid_' || repeat('x', 240), 'long', 'k');
	SELECT rc_publish('refused', 'small ' || n, 'k') FROM generate_series(11, 15) n}
	=~ s/SELECT rc_publish\('__.*\n//r);
wait_published();
is_deeply([ messages('refused') ], [ map { "k=small $_" } 1 .. 15 ],
	'a message that is too large does not keep back the others');
is( query(q{
		SELECT origin, name, topic, partition, record_offset, convert_from(key, 'UTF8'), length(value),
			headers->>'a', headers ? 'rappel_conso-id', sqlstate, message, attempts, resolved_at, owner
		FROM rappel_conso.dead_letter}),
	'outbox|rc_publish|refused|||big|160000|b|t|54000|Kafka refused the message: Broker: Message size too large|1||'
	  . query('SELECT current_user'),
	'it is a dead letter of the outbox');

done_testing();
