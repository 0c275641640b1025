# 030_kafka.pl
#     Recalls through a real Kafka: the same rows as in direct mode, with and
#     without running workers; what is in the topic, where offsets and counts
#     are kept, and what messages of others do.

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
my $api = start_api();
my $kafka = start_kafka();
my $node = new_node('main', api => $api);
my $all = 300;    # recalls of the sample

# Send source and stream to a topic, with an empty table.
sub use_topic
{
	my ($topic, $partitions) = @_;

	$node->sql(<<~EOC);
		TRUNCATE rappel_conso_table;
		UPDATE rappel_conso.source SET topic = '$topic', partitions = $partitions;
		UPDATE rappel_conso.stream SET topics = '{$topic}' WHERE name = 'rappel_conso';
		EOC
	return;
}

sub offsets
{
	my ($topic) = @_;

	return $node->sql(qq{
		SELECT sum(next_offset), bool_and(next_offset = last_offset + 1), count(DISTINCT cluster_id), count(*)
		FROM rappel_conso.stream_offset WHERE stream = 'rappel_conso' AND topic = '$topic'});
}

# ---- from direct mode to Kafka, without workers ----

is($node->sync, "success|$all|0|$all|0|0|0", 'direct mode');
my $digest = $node->table_digest;

$node->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '" . $kafka->brokers . "'\n");
$node->reload;
$node->wait_for('the setting', "SHOW rappel_conso.kafka_brokers", expected => $kafka->brokers);
use_topic('rappel_conso', 1);
is($node->sync, "success|$all|$all|$all|0|0|0", 'another destination starts with a full sync');
is($node->table_digest, $digest, 'through Kafka: the same rows as in direct mode');
is_deeply($kafka->topics, { rappel_conso => 1 }, 'the topic was made with the partitions of the source');
my $topic = $kafka->tool('TopicCommand', '--describe', '--topic', 'rappel_conso');
like($topic, qr/cleanup\.policy=compact\b/, 'it is compacted');
like($topic, qr/min\.compaction\.lag\.ms=604800000\b/, 'after 7 days');
is(offsets('rappel_conso'), "$all|t|1|1", 'offsets are in rappel_conso.stream_offset');
is( $node->sql(q{SELECT string_agg(name || ' ' || state || ' ' || attempt, ', ' ORDER BY name) FROM rappel_conso.task WHERE run = 2}),
	'extract success 1, load success 1', 'tasks of the run');
is( $node->sql(q{SELECT string_agg(concat_ws(' ', name, fetched, published, inserted, updated, unchanged, dead), ', ' ORDER BY name) FROM rappel_conso.task WHERE run = 2}),
	"extract $all $all 0 0 0 0, load 0 0 $all 0 0 0", 'each counts what it did');

my $system = $node->sql('SELECT system_identifier FROM pg_control_system()');
my $prefix = "$system." . $node->sql(q{SELECT 'rappel_conso.run'::regclass::oid});
my $group = "rappel_conso.$system.postgres.rappel_conso";
my @messages = $kafka->consume('rappel_conso');
is(join("\n", sort map { $_->{key} } @messages),
	$node->sql('SELECT reference_fiche FROM rappel_conso_table ORDER BY reference_fiche COLLATE "C"'),
	'each recall is one message, its key the reference_fiche');
is( join("\n", keys %{ { map { join(' ', @{ $_->{headers} }) => 1 } @messages } }),
	"content-type application/json rappel_conso-source rappel_conso rappel_conso-run $prefix.2",
	'headers tell content type, source and run');
is(scalar(grep { $json->decode($_->{payload})->{reference_fiche} eq $_->{key} } @messages),
	$all, 'values are JSON objects');

is($node->sync, 'success|0|0|0|0|0|0', 'a second run publishes nothing');
is($node->sync(arguments => 'full_sync => true') =~ s/\|\d+\|0\|0\|\d+\|/|p|0|0|u|/r, "success|$all|p|0|0|u|0", 'a full sync changes nothing');
is($node->table_digest, $digest, 'and leaves the same rows');

# ---- three partitions, without and with workers ----

use_topic('thirds', 3);
is($node->sync, "success|$all|$all|$all|0|0|0", 'three partitions, without workers');
is($node->table_digest, $digest, 'the same rows');
is($kafka->topics->{thirds}, 3, 'a topic with three partitions');
is(offsets('thirds'), "$all|t|1|3", 'all offsets are kept');
my %by_partition;
push @{ $by_partition{ $_->{partition} } }, $_->{key} foreach $kafka->consume('thirds');
is(scalar(keys %by_partition), 3, 'keys are spread over all partitions');

# What Kafka's own tool says of our group: offset, end and lag by partition.
my @group = map { join(':', (split)[ 2 .. 5 ]) }
  grep { (split)[1] eq 'thirds' }
  grep { /\S/ } split(/\n/, $kafka->tool('consumer.group.ConsumerGroupCommand', '--describe', '--group', $group));
is( join(' ', sort @group),
	join(' ', map { my $n = @{ $by_partition{$_} }; "$_:$n:$n:0" } sort keys %by_partition),
	q{Kafka's own tool shows the offsets and no lag});

$node->append_conf('postgresql.conf', <<~'EOC');
	shared_preload_libraries = 'rappel_conso'
	rappel_conso.databases = 'postgres'
	max_worker_processes = 20
	EOC
$node->restart;
$node->sql('SELECT rc_start()');
$node->sql(q{UPDATE rappel_conso.stream SET workers = 2 WHERE name = 'rappel_conso'});
use_topic('live', 3);
is($node->sync, "success|$all|$all|$all|0|0|0", 'three partitions, two workers');
is($node->table_digest, $digest, 'the same rows');
is(offsets('live'), "$all|t|1|3", 'all offsets are kept');
$node->becomes_true('two stream workers run',
	q{SELECT count(*) = 2 AND bool_and(usename = current_user) FROM pg_stat_activity WHERE backend_type = 'rappel_conso stream'});
$node->wait_for('watermarks', qq{
	SELECT sum(high_watermark) = $all AND sum(lag) = 0 AND count(*) = 3 FROM rappel_conso.lag WHERE topic = 'live'});
is($node->sql(q{SELECT component, state, lag FROM rc_status() WHERE component IN ('scheduler', 'kafka', 'stream', 'source') ORDER BY 1}),
	"kafka|configured|\nscheduler|running|\nsource|success|\nstream|running|0", 'rc_status()');
is($node->sync, 'success|0|0|0|0|0|0', 'a second run publishes nothing, with workers');

# A new version; the source's own stream alone counts, not others of its topic.
$node->sql(q{
	CREATE TABLE versions (reference_fiche text, numero_de_version int);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('versions', '{live}', 'rappel_conso.recall',
	  'INSERT INTO versions SELECT reference_fiche, numero_de_version FROM records')});
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '2024-01-0002'",
		set => { numero_version => 9, libelle => 'new words' }
	});
is($node->sync(arguments => 'full_sync => true') =~ s/\|\d+\|0\|1\|\d+\|/|p|0|1|u|/r, "success|$all|p|0|1|u|0", 'a new version replaces the old one');
is($node->sql(q{SELECT numero_de_version, libelle FROM rappel_conso_table WHERE reference_fiche = '2024-01-0002'}),
	'9|new words', 'its columns');
$node->wait_for('the second stream', q{SELECT count(*) >= 301 FROM versions});
is( $node->sql(q{SELECT inserted, updated FROM rappel_conso.run ORDER BY id DESC LIMIT 1}), '0|1',
	q{records are counted by the source's own stream alone});

# ---- two runs in one batch are counted apart ----

$node->sql(q{UPDATE rappel_conso.stream SET paused = true});
$node->sql(<<~'EOC');
	TRUNCATE rappel_conso_table;
	UPDATE rappel_conso.source SET stream = NULL, topic = 'apart';
	EOC
my $first = $node->sql(q{SELECT run_id FROM rc_sync_now(full_sync => true)});
$api->control(
	append => {
		dataset => DATASET,
		records => [ { numero_fiche => '2026-09-0001', numero_version => 1, date_publication => '2026-09-01T08:00:00+00:00', libelle => 'one more' } ]
	});
$api->control(delete => { dataset => DATASET, where => "numero_fiche = '2024-01-0001'" });
my $second = $node->sql(q{SELECT run_id FROM rc_sync_now(full_sync => true)});
my $published = $node->sql("SELECT sum(published) FROM rappel_conso.run WHERE id IN ($first, $second)");
$node->sql(<<~'EOC');
	UPDATE rappel_conso.source SET stream = 'rappel_conso';
	UPDATE rappel_conso.stream SET topics = '{apart}', paused = false WHERE name = 'rappel_conso';
	EOC
$node->wait_applied('rappel_conso', $published, topic => 'apart');
is( $node->sql("SELECT id - $first, inserted, updated, inserted + updated + unchanged + dead = published FROM rappel_conso.run WHERE id IN ($first, $second) ORDER BY id"),
	"0|$all|0|t\n1|1|0|t", 'two runs in one topic are counted apart');

# ---- messages of others ----

my %recall = (reference_fiche => '2025-01-0001', numero_de_version => 3, libelle => 'by hand', date_de_publication => '2025-01-01T00:00:00Z');
my @cases = (
	[ 'without a key', undef, $json->encode({ %recall, reference_fiche => '2025-01-0002' }) ],
	[ 'a tombstone', '2024-01-0003', undef ],
	[ 'no JSON', 'k1', 'not { json', '22P02|value' ],
	[ 'an empty value', 'k2', '', '22P02|value' ],
	[ 'no object', 'k3', '["2025-01-0003"]', '22P02|value' ],
	[ 'no UTF-8', 'k4', qq({"reference_fiche": "\xe9"}), '22021|value' ],
	[ 'a zero', 'k5', '{"reference_fiche": "\u0000"}', '22P05|value' ],
	[ 'a wrong type', 'k6', $json->encode({ %recall, numero_de_version => 'three' }),
		'22P02|"numero_de_version"' ],
	[ 'no date', 'k7', $json->encode({ %recall, date_debut_commercialisation => 'bientôt' }),
		'22007|"date_debut_commercialisation"' ],
	[ 'without reference_fiche', 'k8', '{"libelle": "nobody"}',
		'23502|"reference_fiche"' ],
	[ 'a large one', 'k9', $json->encode({ %recall, reference_fiche => '2025-01-0004', motif_du_rappel => 'm' x 5_000_000 }) ],
	[ 'a good one', '2025-01-0001', $json->encode(\%recall) ]);
use_topic('others', 1);
$node->sql('UPDATE rappel_conso.stream SET paused = true');
$kafka->create_topic('others', config => { 'max.message.bytes' => 16777216 });
$kafka->produce('others', $_->[1], $_->[2], [ origin => $_->[0] ], '-X', 'message.max.bytes=16777216') foreach @cases;
$node->sql(q{INSERT INTO rappel_conso_table (reference_fiche, libelle) VALUES ('2024-01-0003', 'of the tombstone');
	UPDATE rappel_conso.stream SET paused = false WHERE name = 'rappel_conso'});
my $end = @cases;
$node->wait_applied('rappel_conso', $end, topic => 'others');
is($node->sql('SELECT reference_fiche, libelle, length(motif_du_rappel) FROM rappel_conso_table ORDER BY 1'),
	"2024-01-0003|of the tombstone|\n2025-01-0001|by hand|\n2025-01-0002|by hand|\n2025-01-0004|by hand|5000000",
	'all good messages are applied, a tombstone deletes nothing');
my %dead = map { (split(/\|/, $_, 2)) } split(/\n/, $node->sql(q{
	SELECT record_offset, encode(key, 'escape'), md5(value), headers, topic, partition, run, sqlstate, substring(context FROM '("[a-z_]+"|value)[^"]*$')
	FROM rappel_conso.dead_letter WHERE origin = 'stream' AND topic = 'others'}));
foreach my $offset (0 .. $#cases)
{
	my ($name, $key, $value, $error) = @{ $cases[$offset] };
	my $expected =
	  defined $error
	  ? join('|', $key, Digest::MD5::md5_hex($value), qq({"origin": "$name"}), 'others', 0, '', $error)
	  : undef;

	is($dead{$offset}, $expected, "message of others: $name");
}
is($node->sql(q{SELECT detail ~ '(^|[^0-9])8([^0-9]|$)' FROM rc_status() WHERE component = 'stream' AND name = 'rappel_conso'}),
	't', 'rc_status() counts the dead letters');
is($node->miscounted_runs, '', q{the counters of each run are the sums over its tasks});

done_testing();
