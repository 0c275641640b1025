# 035_broker_settings.pl
#     Settings of a broker that people have: what it means for messages, streams
#     and runs that it takes small messages only, writes its own timestamps,
#     recompresses, closes idle connections, has no room for consumer groups,
#     makes topics by itself, or has quotas.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka(
	properties => {
		'message.max.bytes' => 200_000,
		'log.message.timestamp.type' => 'LogAppendTime',
		'compression.type' => 'gzip',
		'connections.max.idle.ms' => 3000,
		'offsets.topic.replication.factor' => 3,
		'num.partitions' => 3
	});
my ($port) = $kafka->brokers =~ /:(\d+)/;
my $node = new_node('main', api => $api, kafka => $kafka, conf => <<~'EOC');
	max_worker_processes = 30
	EOC

# Bytes that cannot be compressed, as SQL.
sub random_text
{
	my ($bytes) = @_;

	return "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, $bytes / 32) i)";
}

# The connections to the broker that a worker has.
sub connections
{
	my ($pid) = @_;
	my %inodes = map { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ ? ($1 => 1) : () } glob("/proc/$pid/fd/*");
	my $hex = sprintf('%04X', $port);

	return scalar(
		grep { my @f = split; $f[2] =~ /:$hex$/ && $f[3] eq '01' && $inodes{ $f[9] } }
		split(/\n/, PostgreSQL::Test::Utils::slurp_file("/proc/$pid/net/tcp")));
}

$node->sql('SELECT rc_start()');
my $log = $node->log_position;

# ---- small messages only ----

# Topics that the broker makes take what it says, those that the extension makes
# as much as the outbox.
$kafka->produce('narrow', 'k', 'first');
$kafka->produce('narrow_source', 'k', '{}');
$kafka->produce('to_grow', 'k', $_) foreach 'small', 'large', 'small again';
$node->sql(q{
	INSERT INTO rappel_conso.stream (name, topics, value_type, output_topic, statement) VALUES ('grow', '{to_grow}', 'text', 'narrow',
	  $$SELECT key, CASE value WHEN 'large' THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) i) ELSE value END AS value FROM records$$)});
$node->sql('SELECT rc_publish(t, ' . random_text(300_000) . q{, 'large') FROM unnest('{narrow,wide}'::text[]) t;
	SELECT rc_publish(t, 'last', 'k') FROM unnest('{narrow,wide}'::text[]) t});
$node->wait_applied('grow', 3);
$node->wait_published('narrow', 'wide');
is(join(' ', sort(map { length($_->{payload}) > 100 ? length($_->{payload}) : $_->{payload} } $kafka->consume('narrow'))), 'first last small small again',
	'message.max.bytes: smaller messages of the outbox and of a stream come');
is(join(' ', map { length } $kafka->payloads('wide')), '300000 4', 'a topic that the extension makes takes larger ones than the broker otherwise does');
is($node->sql(q{SELECT origin, name, topic, sqlstate, substring(message FROM 'Broker: .*'), length(value) FROM rappel_conso.dead_letter ORDER BY length(value)}),
	"outbox|rc_publish|narrow|54000|Broker: Message size too large|300000\noutbox|grow|narrow|54000|Broker: Message size too large|320000",
	'those that are too large are dead letters of the outbox, by the name of who wrote them');
$api->control(
	append => {
		dataset => DATASET,
		records => [ new_recall(1, motif_rappel => join(' ', map { Digest::MD5::md5_hex($_) } 1 .. 10_000)), new_recall(2) ]
	});
$node->make_source('narrow_source', api => $api, topic => q{'narrow_source'});
is($node->sync(source => 'narrow_source', columns => 'state, fetched, published, dead'), 'success|302|301|1', 'a record of a source that is too large does not end its run');
is($node->sql(q{SELECT name, topic, sqlstate, substring(message FROM 'Broker: .*'), convert_from(key, 'UTF8') FROM rappel_conso.dead_letter WHERE origin = 'source'}),
	'narrow_source|narrow_source|54000|Broker: Message size too large|2026-03-0001', 'and is a dead letter of it');

# ---- the broker's own timestamps ----

my $began = $node->sql('SELECT clock_timestamp()');
$kafka->produce_at('stamped', map { [ 0, 1_000_000_000_000 + $_, qq({"n": $_}) ] } 1 .. 3);
$node->sql('CREATE TABLE stamped (n int, at timestamptz)');
$node->add_stream('stamped', statement => q{'INSERT INTO stamped SELECT (value->>''n'')::int, record_timestamp FROM records'});
$node->wait_applied('stamped', 3);
is($node->sql("SELECT count(*), bool_and(at BETWEEN timestamptz '$began' - interval '1 s' AND clock_timestamp()) FROM stamped"), '3|t',
	'LogAppendTime: record_timestamp is when the broker has stored it');
my $between = $node->sql('SELECT clock_timestamp()');
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'stamped'});
$kafka->produce_at('stamped', map { [ 0, 1_000_000_000_000 - $_, qq({"n": $_}) ] } 4 .. 6);
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name = 'stamped'});
$node->wait_applied('stamped', 6);
is($node->sql('SELECT string_agg(n::text, $$ $$ ORDER BY n) FROM stamped'), '1 2 3 4 5 6', 'its last record is recognized');
$node->sql("SELECT rc_seek('stamped', '$between')");
$node->wait_applied('stamped', 6);
is($node->sql('SELECT string_agg(n::text, $$ $$ ORDER BY n) FROM stamped'), '1 2 3 4 4 5 5 6 6', 'rc_seek() to a time goes by it');

# ---- many partitions, none of which holds a record ----

$kafka->create_topic('empty', partitions => 64);
$node->add_stream('empty', statement => q{'SELECT FROM records'});
$node->wait_for('the partitions', q{SELECT count(*) = 64 FROM rappel_conso.stream_offset WHERE stream = 'empty'});
is($node->sql(q{SELECT applied FROM rc_drain('empty')}), '0', 'a topic with many partitions and no record: there is nothing to apply');
$kafka->produce('empty', 'k', '{}');
$node->wait_applied('empty', 1);
is($node->status_of('stream', name => 'empty', columns => 'state'), 'running', 'and its first record is');

# ---- topics that nobody has made: the broker makes those that a client names ----

$node->add_stream('unmade', statement => q{'SELECT FROM records'});
$node->wait_state('unmade', 'waiting');
is($node->sqlstate_of(q{SELECT rc_drain('unmade')}), '42704', 'rc_drain() of a topic that does not exist');
$kafka->delete_topics('stamped');
$node->wait_for('the deleted topic to be missed', q{SELECT state IN ('failed', 'waiting') FROM rappel_conso.stream_state WHERE stream = 'stamped'});
$node->poll_times('scheduler', 3);
is_deeply($kafka->topics,
	{ empty => 64, narrow => 3, narrow_source => 3, to_grow => 3, wide => 1 },
	'auto.create.topics.enable: no topic is made because a stream names it, not again either');

# ---- idle connections ----

# The publisher has had nothing to do for long; the broker has closed what it had.  It may connect again at any moment, to ask for
# metadata.
my $publisher = $node->sql(q{SELECT rappel_conso.worker_pid('outbox')});
my $tries = 0;
my $open;
while (($open = connections($publisher)) > 0 && $tries++ < 1000)
{
	$node->sql('SELECT 1');
}
is($open, 0, 'connections.max.idle.ms: the broker closes connections');
$node->poll_times('outbox', 3);
is($node->status_of('outbox', columns => 'state, last_error'), 'running|', 'the publisher is as before');
$node->sql(q{SELECT rc_publish('wide', 'after', 'k')});
$node->wait_published;
is(join(' ', map { length } $kafka->payloads('wide')), '300000 4 5', 'it connects again when there is a message');

# ---- quotas ----

SKIP:
{
	skip('it takes a minute: make test-all', 3) unless $ENV{RAPPEL_CONSO_ALL};
	my $client = 'rappel_conso.' . $node->sql('SELECT system_identifier FROM pg_control_system()') . '.postgres';

	# a broker never answers a fetch of more than a quota allows in 11 seconds
	$node->sql('SELECT rc_publish(t, n || ' . random_text(60_000) . q{, 'k') FROM generate_series(1, 5) n, unnest('{paced,paced_too}'::text[]) t});
	$node->wait_published;
	foreach my $name ('outbox', 'paced.0')
	{
		$kafka->tool('kafka.admin.ConfigCommand', '--alter', '--entity-type', 'clients', '--entity-name', "$client.$name",
			'--add-config', 'consumer_byte_rate=20000,producer_byte_rate=20000');
	}
	my $quota = $node->log_position;
	$node->sql(q{CREATE TABLE paced (n text)});
	$node->add_stream('paced', value_type => q{'text'}, statement => q{'INSERT INTO paced SELECT left(value, 1) FROM records'});
	$node->sql('SELECT rc_publish(t, n || ' . random_text(60_000) . q{, 'k') FROM generate_series(6, 9) n, unnest('{paced,paced_too}'::text[]) t});
	$node->wait_published;
	$node->wait_applied('paced', 9);
	is($node->sql(q{SELECT string_agg(n, ' ' ORDER BY n) FROM paced}), '1 2 3 4 5 6 7 8 9', 'quotas: a stream reads slowly, each record once');
	is(join(' ', map { substr($_, 0, 1) } $kafka->payloads('paced_too')), '1 2 3 4 5 6 7 8 9', 'so does the outbox send, each message once');
	unlike($node->log_since($quota), qr/ 08006 |Kafka client/, 'and neither takes the wait for an error');
}

unlike($node->log_since($log), qr/ 08006 |Kafka client: (?!GETPID|PARTCNT: .* stamped )/, 'nothing of all that is in the log');

done_testing();
