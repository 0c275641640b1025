# 128_topic_made_again.pl
#     A topic that is deleted and made again while a stream reads it stops the
#     stream, however soon the new one is longer than the old one was: none of its
#     records is passed over in silence.  And nothing but that is taken for it: a
#     record may have any timestamp.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('main', kafka => $kafka, preload => 1, conf => "max_worker_processes = 20\n");

sub make_again
{
	my ($topic) = @_;

	$kafka->delete_topics($topic);
	$kafka->create_topic($topic);
	return;
}

sub pause
{
	my ($stream) = @_;

	$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = '$stream'");
	$node->wait_for('the stream to pause', "SELECT rappel_conso.worker_pid('stream', '$stream') IS NULL");
	return;
}

sub read_on
{
	my ($stream) = @_;

	$node->sql("UPDATE rappel_conso.stream SET paused = false WHERE name = '$stream'");
	return;
}

# ---- it is longer than the old one before anybody has looked ----

# Its worker hears that there is nothing where it begins to read, together with
# records of another topic; while it applies those, the new topic grows.
$kafka->create_topic($_) foreach ('again', 'beside');
$kafka->produce_numbers('again', [ 1 .. 10 ]);
$kafka->produce_numbers('beside', [1]);
$node->sql('CREATE TABLE seen (topic text, n int)');
$node->add_stream('again', topics => q{'{again,beside}'}, statement => q{'INSERT INTO seen SELECT topic, (value->>''n'')::int FROM records'});
$node->wait_applied('again', 11);
pause('again');
make_again('again');
$kafka->produce_numbers('beside', [2]);
my $lock = $node->start_session("BEGIN; LOCK TABLE seen;\n\\warn locked\nSELECT pg_sleep(1000)");
$lock->wait_for(qr/locked/);
read_on('again');
$node->wait_for('the record beside to be applied', q{
	SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'seen'::regclass)});
$kafka->produce_numbers('again', [ 101 .. 130 ]);
$node->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1000)%' AND pid <> pg_backend_pid()});
$node->wait_state('again', 'failed 55000');
is($node->sql(q{SELECT topic, count(*), max(n) FROM seen GROUP BY 1 ORDER BY 1}), "again|10|10\nbeside|2|2",
	'a topic made again that is longer: the stream stops at the old end');
like($node->sql(q{SELECT error || ' ' || error_detail || ' ' || hint FROM rappel_conso.stream_state WHERE stream = 'again'}),
	qr/^topic "again" .*stream "again" .*offset 9 .*rc_seek\('again', 'earliest'\)/, 'it says so, and what to do');
$node->sql(q{SELECT rc_seek('again', 'earliest')});
$node->wait_for('the new topic', q{SELECT count(*) = 30 AND count(DISTINCT n) = 30 FROM seen WHERE topic = 'again' AND n > 100});
pass('rc_seek() reads all of the new topic');

# ---- records were deleted in front, the last one that was applied among them ----

$kafka->produce_numbers('trimmed', [ 1 .. 5 ]);
$node->sql('CREATE TABLE trimmed (n int)');
$node->add_stream('trimmed', statement => q{'INSERT INTO trimmed SELECT (value->>''n'')::int FROM records'});
$node->wait_applied('trimmed', 5);
pause('trimmed');
$kafka->trim_topic('trimmed', 0, 5);
$kafka->produce_numbers('trimmed', [ 6 .. 8 ]);
read_on('trimmed');
$node->wait_applied('trimmed', 8);
is($node->sql('SELECT count(*), count(DISTINCT n) FROM trimmed'), '8|8', 'a topic that was only trimmed is read on, each record once');

# ---- timestamps of all kinds, each that of the last record of its partition ----

my @timestamps = (-100, -1_000_000_000_000_000, -1, 1, 9_223_372_036_854_775_000);
$kafka->create_topic('at', partitions => scalar @timestamps,
	config => { 'message.timestamp.before.max.ms' => 9223372036854775807, 'message.timestamp.after.max.ms' => 9223372036854775807 });
$kafka->produce_at('at', map { [ $_, $timestamps[$_], '{"n": 1}' ] } 0 .. $#timestamps);
$node->sql('CREATE TABLE at (partition int, n int, at timestamptz)');
$node->add_stream('at', statement => q{'INSERT INTO at SELECT partition, (value->>''n'')::int, record_timestamp FROM records'});
$node->wait_applied('at', scalar @timestamps);
pause('at');
$kafka->produce_at('at', map { [ $_, 1_700_000_000_000, '{"n": 2}' ] } 0 .. $#timestamps);
read_on('at');
$node->wait_applied('at', 2 * @timestamps);
is($node->sql(q{SELECT partition, string_agg(n::text, ' ' ORDER BY n), count(at) FROM at GROUP BY 1 ORDER BY 1}),
	join("\n", map { "$_|1 2|" . ($timestamps[$_] == 1 ? 2 : 1) } 0 .. $#timestamps),
	'a stream goes on after a record of before 1970, of none or any other time');

done_testing();
