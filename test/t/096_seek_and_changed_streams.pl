# 096_seek_and_changed_streams.pl
#     Streams that are sent to another place by rc_seek(), or changed while
#     they run: statement and table in one transaction, topics, workers, and
#     partitions that are added to a topic.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('seek', kafka => $kafka, preload => 1, conf => "max_worker_processes = 30\n");

# ---- rc_seek ----

# Ten records in each of two partitions, a second apart.
my $T0 = 1_772_366_400;
$kafka->create_topic('sought', partitions => 2);
$node->sql(q{
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	CREATE TABLE sought (place text, at timestamptz);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('sought', '{sought}', 'text',
		$$INSERT INTO sought SELECT partition || ':' || record_offset, record_timestamp FROM records$$)});
foreach my $p (0, 1)
{
	$kafka->produce_many('sought', [ map { [ "k$_", "v$_" ] } 0 .. 9 ], '-p', $p);
}
$node->wait_applied('sought', 20);
my @times = split(/\n/, $node->sql(q{SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS+00') FROM sought WHERE place LIKE '1:%' ORDER BY place}));

sub places
{
	my (%from) = @_;

	return join(' ', map { my $p = $_; map { "$p:$_" } $from{$p} .. 9 } sort keys %from);
}

my %seeks = (
	'earliest' => { places => places(0 => 0, 1 => 0), next => 20 },
	'latest' => { places => '', next => 20 },
	'0:7' => { places => places(0 => 7), next => 20 },
	'1:5,0:8' => { places => places(0 => 8, 1 => 5), next => 20 },
	'0:10,1:10' => { places => '', next => 20 },
	'2000-01-01' => { places => places(0 => 0, 1 => 0), next => 20 },
	'infinity' => { places => '', next => 20 },
	'2100-01-01 00:00:00+00' => { places => '', next => 20 });
foreach my $running (1, 0)
{
	my $how = $running ? 'running' : 'paused';

	$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'sought'}) unless $running;
	foreach my $to (sort keys %seeks)
	{
		$node->sql("BEGIN; TRUNCATE sought; SELECT rc_seek('sought', '$to'); COMMIT");
		$node->sql(q{SELECT rc_drain('sought', '1 min')}) unless $running;
		$node->wait_applied('sought', $seeks{$to}{next});
		is( $node->sql(q{SELECT COALESCE(string_agg(place, ' ' ORDER BY place), '') FROM sought}),
			$seeks{$to}{places}, "$how stream sought to $to");
	}
}
$node->sql("TRUNCATE sought; BEGIN; SELECT rc_seek('sought', 'earliest'); ROLLBACK; SELECT rc_drain('sought')");
is($node->sql('SELECT count(*) FROM sought'), '0', 'rc_seek() that is rolled back does nothing');
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name = 'sought'});

my %refused = (
	'9:1' => qr/^42704: (?=.*"sought").*\b9\b/,
	map { $_ => qr/^22023: .*"\Q$_\E"/ } ('nonsense', '', '0:-1', '2026-02-30', '0:1,'));
like($node->error_of("SELECT rc_seek('sought', '$_')"), $refused{$_}, "it is refused to seek to \"$_\"") foreach sort keys %refused;
like($node->error_of(q{SELECT rc_seek('nonsense', 'earliest')}), qr/^42704: .*"nonsense"/, 'or an unknown stream');
$node->sql(q{SELECT rc_seek('sought', '0:3')});
$node->wait_applied('sought', 20);
is($node->sql('SELECT count(*) FROM sought'), '7', 'after refusals nothing has changed');

# Beyond the end there is nothing that could be known.
$node->sql(q{SELECT rc_seek('sought', '1:1000')});
$node->wait_for('the failure', q{SELECT state = 'failed' AND sqlstate = '55000' FROM rappel_conso.stream_state WHERE stream = 'sought'});
like($node->sql(q{SELECT error || ': ' || error_detail FROM rappel_conso.stream_state WHERE stream = 'sought'}),
	qr/"sought".*\b1\b.*\b1000\b.*\b10\b/,
	'a place beyond the end stops the stream');
$node->sql(q{TRUNCATE sought; SELECT rc_seek('sought', 'earliest')});
$node->wait_applied('sought', 20);
is($node->sql(q{SELECT count(*), count(DISTINCT place) FROM sought}), '20|20', 'another rc_seek() mends it');

# A stream that has never run takes it as its start.
$node->sql(q{
	INSERT INTO rappel_conso.stream (name, topics, value_type, paused, statement) VALUES ('fresh', '{sought}', 'text', true,
		$$INSERT INTO sought SELECT 'fresh', NULL FROM records$$);
	SELECT rc_seek('fresh', 'latest');
	UPDATE rappel_conso.stream SET paused = false WHERE name = 'fresh'});
$node->wait_applied('fresh', 20);
is($node->sql(q{SELECT count(*) FROM sought WHERE place = 'fresh'}), '0', 'rc_seek() before the first record');
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name IN ('fresh', 'sought')});

# ---- table and statement are changed in one transaction ----

my $n = 0;

sub produce_next
{
	my ($topic, $count) = @_;

	$kafka->produce_many($topic, [ map { [ $_, $_ ] } $n + 1 .. $n + $count ]);
	$n += $count;
	return;
}

$kafka->create_topic('changed', partitions => 2);
$node->sql(q{
	CREATE TABLE changed (n int PRIMARY KEY);
	INSERT INTO rappel_conso.stream (name, topics, value_type, batch_size, statement) VALUES ('changed', '{changed}', 'text', 50,
		'INSERT INTO changed (n) SELECT value::int FROM records')});
produce_next('changed', 100);
$node->wait_applied('changed', 100);

my $alter = 'ALTER TABLE changed ADD version int';
my $update = q{UPDATE rappel_conso.stream SET statement = 'INSERT INTO changed (n, version) SELECT value::int, 2 FROM records' WHERE name = 'changed'};
my $blocked = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = rappel_conso.worker_pid('stream', 'changed') AND wait_event_type = 'Lock'};
my $session = $node->background_psql('postgres', on_error_die => 1);

# A batch is under way, and waits for the table, when the row is updated.
foreach my $end ('ROLLBACK', 'COMMIT')
{
	$session->query_safe("BEGIN; $alter");
	produce_next('changed', 100);
	$node->wait_for('a batch under way', $blocked);
	$session->query_safe("$update; $end");
	$node->wait_applied('changed', $n);
	is( $node->sql('SELECT count(*), count(DISTINCT n) FROM changed'),
		"$n|$n", "$end of a change of table and statement: each record is there once");
}
is( $node->sql('SELECT count(*), min(n), max(n) FROM changed WHERE version = 2'),
	'100|201|300', 'rolled back it was the old statement that went on, committed it is the new one');

# One that would fail after the change: no error of the old statement counts.
$session->query_safe('BEGIN; ALTER TABLE changed DROP version');
produce_next('changed', 100);
$node->wait_for('a batch under way', $blocked);
$session->query_safe(q{
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO changed (n) SELECT -value::int FROM records' WHERE name = 'changed';
	COMMIT});
$node->wait_applied('changed', $n);
is($node->sql('SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n < 0) FROM changed'),
	"$n|$n|100", 'a column that is dropped together with its use');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter}), '0', 'makes no dead letter');
is($node->sql(q{SELECT error FROM rappel_conso.stream_state WHERE stream = 'changed'}), '', 'and no failure');

# The other way round: the row first, then the table.
$session->query_safe(q{
	BEGIN;
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO changed (n) SELECT value::int FROM records' WHERE name = 'changed'});
produce_next('changed', 100);
$session->query_safe('ALTER TABLE changed ADD version int DEFAULT 3; COMMIT');
$node->wait_applied('changed', $n);
is($node->sql('SELECT count(*), count(DISTINCT n) FROM changed'), "$n|$n", 'the row first, then the table');

# The table is emptied and filled again while the stream is at work.
$session->query_safe('BEGIN; TRUNCATE changed');
produce_next('changed', 100);
$node->wait_for('a batch under way', $blocked);
$session->query_safe(q{SELECT rc_seek('changed', 'earliest'); COMMIT});
$node->wait_for('the replay', "SELECT count(*) = $n FROM changed");
is($node->sql('SELECT count(*), count(DISTINCT n), min(n), max(n) FROM changed'),
	"$n|$n|1|$n", 'a busy stream is replayed into its emptied table');
$session->quit;

# ---- workers, topics and partitions ----

foreach my $workers (3, 1, 2)
{
	produce_next('changed', 300);
	$node->sql("UPDATE rappel_conso.stream SET workers = $workers, batch_size = 20 WHERE name = 'changed'");
	produce_next('changed', 300);
	$node->wait_applied('changed', $n);
	is($node->sql('SELECT count(*), count(DISTINCT n) FROM changed'), "$n|$n", "with $workers workers: each record is there once");
}
$node->wait_for('two workers', q{SELECT count(rappel_conso.worker_pid('stream', 'changed', i)) = 2 FROM generate_series(0, 5) i});
$kafka->enlarge_topic('changed', 5);
$kafka->produce_many('changed', [ map { [ $_, $_ ] } $n + 10 * $_ - 9 .. $n + 10 * $_ ], '-p', $_ + 1) foreach 1 .. 3;
$n += 30;
$node->wait_for('the new partitions', "SELECT count(*) = $n FROM changed");
is($node->sql('SELECT count(*), count(DISTINCT n) FROM changed'), "$n|$n", 'partitions that were added are found, from their beginning');
is($node->sql(q{SELECT string_agg(partition::text, ' ' ORDER BY partition) FROM rappel_conso.stream_offset WHERE stream = 'changed'}),
	'0 1 2 3 4', 'and have their offsets');

$kafka->create_topic('more', partitions => 2);
produce_next('more', 50);
$node->sql(q{UPDATE rappel_conso.stream SET topics = '{changed, more}' WHERE name = 'changed'});
$node->wait_for('the other topic', "SELECT count(*) = $n FROM changed");
$node->sql(q{UPDATE rappel_conso.stream SET topics = '{more}' WHERE name = 'changed'});
$kafka->produce_many('changed', [ [ 'k', 1_000_000 ] ]);
produce_next('more', 50);
$node->wait_for('the other topic alone', "SELECT count(*) = $n FROM changed");
$node->sql(q{UPDATE rappel_conso.stream SET topics = '{changed, more}' WHERE name = 'changed'});
$node->wait_for('the first topic again', 'SELECT count(*) = 1 FROM changed WHERE n = 1000000');
is($node->sql('SELECT count(*), count(DISTINCT n) FROM changed'), join('|', ($n + 1) x 2), 'topics come and go, and are read on from where they were left');
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'), '0', 'with no dead letter');

done_testing();
