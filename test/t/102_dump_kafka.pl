# 102_dump_kafka.pl
#     A dump that is restored on another server, with the same Kafka: streams go
#     on at the offsets of the dump, so no record is applied twice or left out,
#     and a sync writes nothing.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $RECORDS = 300;     # of the sample
my $FIRST = 50;        # messages before the dump
my $LATER = 30;        # and after it

my $kafka = start_kafka();
my $api = start_api();
my %options = (kafka => $kafka, conf => "max_worker_processes = 16\n");
my $old = new_node('old', %options, api => $api);
my $new = new_node('new', %options, extension => 0);

$kafka->create_topic('events', partitions => 3);

sub produce_some_bad
{
	my ($from, $number) = @_;

	$kafka->produce_many('events',
		[ map { [ "k$_", $_ % 10 == 7 ? 'no JSON' : qq({"id": $_, "n": 1}) ] } $from .. $from + $number - 1 ]);
	return;
}

# What the streams have done: rows of the log, their ids once each, sums of the
# upserts, dead letters.
sub done
{
	my ($node) = @_;

	return $node->sql(q{
		SELECT (SELECT count(*) || ' rows, ' || count(DISTINCT id) || ' ids' FROM log),
		       (SELECT sum(n) FROM sums),
		       (SELECT count(*) FROM rappel_conso.dead_letter WHERE origin = 'stream' AND name = 'log')});
}

sub is_applied
{
	my ($node, $expected, $name) = @_;

	$node->wait_for('the streams', "SELECT count(*) = 2 FROM (SELECT stream FROM rappel_conso.stream_offset
		  WHERE topic = 'events' GROUP BY stream HAVING sum(next_offset) = $expected) s");
	my $dead = int(($expected + 2) / 10);
	my $rows = $expected - $dead;
	return is(done($node), "$rows rows, $rows ids|$rows|$dead", $name);
}

$old->sql(<<~'EOC');
	CREATE TABLE log (id integer, partition integer, record_offset bigint);
	CREATE TABLE sums (partition integer PRIMARY KEY, n bigint);
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES
	  ('log', '{events}', $$INSERT INTO log SELECT (value->>'id')::integer, partition, record_offset FROM records$$),
	  ('sums', '{events}', $$
	    INSERT INTO sums AS s SELECT partition, sum((value->>'n')::integer) FROM records GROUP BY partition
	        ON CONFLICT (partition) DO UPDATE SET n = s.n + EXCLUDED.n $$);
	EOC
produce_some_bad(0, $FIRST);
$old->sql('SELECT rc_start()');
is($old->sql('SELECT state, published, inserted, dead FROM rc_sync_now()'),
	"success|$RECORDS|$RECORDS|0", 'a sync by way of Kafka');
is_applied($old, $FIRST, 'streams have applied what is there');

#
# Messages that come between the dump and the restore are read by the new
# server, from where the dump left off.
#
$old->sql('SELECT rc_stop()');
my $digest = $old->table_digest;
my $offsets = 'SELECT stream, topic, partition, next_offset, epoch, cluster_id FROM rappel_conso.stream_offset ORDER BY 1, 2, 3';
my $before = $old->sql($offsets);
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";
command_ok([ 'pg_dump', '-Fc', '-f', $dump, $old->connstr('postgres') ], 'a dump');
$old->stop;
produce_some_bad($FIRST, $LATER);

command_ok([ 'pg_restore', '--exit-on-error', '--jobs', 2, '-d', $new->connstr('postgres'), $dump ],
	'it is restored on another server');
is($new->sql($offsets), $before, 'with its offsets');
is($new->table_digest, $digest, 'and its recalls');
$new->sql('SELECT rc_start()');
is_applied($new, $FIRST + $LATER, 'streams apply what has come, once, and nothing again');
is( $new->sql('SELECT state, fetched, published, inserted, updated, dead FROM rc_sync_now()'),
	'success|0|0|0|0|0', 'a sync finds nothing new');
$api->control(touch => DATASET);
is( $new->sql('SELECT state, fetched > 0, published, unchanged = fetched FROM rc_sync_now()'),
	'success|t|0|t', 'what it reads again is known: no message');
is( $new->sql("SELECT state, fetched, inserted, updated, dead FROM rc_sync_now(full_sync => true)"),
	"success|$RECORDS|0|0|0", 'nor does a full one');
is($new->table_digest, $digest, 'the recalls are as they were');
is( $new->sql(q{
		SELECT string_agg(concat_ws(' ', name, state), ', ' ORDER BY name) FROM rc_status() WHERE component = 'stream'}),
	'log running, rappel_conso running, sums running', 'all streams run');
$new->sql('SELECT rc_stop()');

done_testing();
