# 094_retry_drain.pl
#     Dead letters sent round again by rc_retry(), and streams drained once by
#     rc_drain(), whatever the topic holds: transactions that were committed,
#     aborted or are still open, and compacted offsets.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use IPC::Open2 ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka(properties => { 'log.cleaner.backoff.ms' => 100 });
my $node = new_node('verbs', kafka => $kafka, preload => 1, conf => "max_worker_processes = 30\n");

# ---- rc_retry ----

$kafka->create_topic('letters', partitions => 2);
$node->sql(q{
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	CREATE TABLE letters (n int, place text, at timestamptz, key text, headers jsonb, CHECK (n < 100));
	INSERT INTO rappel_conso.stream (name, topics, output_topic, statement) VALUES ('letters', '{letters}', 'answers', $$
		INSERT INTO letters
		SELECT (value->>'n')::int, partition || ':' || record_offset, record_timestamp, key, headers FROM records
		RETURNING key, n AS value$$)});
$kafka->produce('letters', "k$_", $_ % 4 == 3 ? qq({"n": 10$_}) : qq({"n": $_}), [ h => "v$_" ], '-p', $_ % 2)
  foreach 0 .. 15;
$kafka->produce('letters', 'k16', 'no JSON', undef, '-p', 0);
$node->wait_applied('letters', 17);

my @dead = split(/\n/, $node->sql(q{SELECT id FROM rappel_conso.dead_letter WHERE name = 'letters' ORDER BY record_offset, partition}));
is(scalar(@dead) . '/' . $node->sql('SELECT count(*) FROM letters'), '5/12', 'there are dead letters');
my $places = $node->sql(q{
	SELECT partition || ':' || record_offset, record_timestamp, convert_from(key, 'UTF8'), headers
	FROM rappel_conso.dead_letter WHERE name = 'letters' AND sqlstate = '23514' ORDER BY 1});

sub letters_by_attempts
{
	return $node->sql(q{
		SELECT attempts, resolved_at IS NOT NULL, sqlstate, count(*) FROM rappel_conso.dead_letter
		WHERE name = 'letters' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3});
}

is($node->sql(q{SELECT * FROM rc_retry('letters')}), '5|0|5', 'while the cause is there all stay dead');
is(letters_by_attempts(), "2|f|22P02|1\n2|f|23514|4", 'attempts are counted');
is($node->sql(q{SELECT state FROM rc_status() WHERE component = 'stream' AND name = 'letters'}),
	'running', 'and the stream runs on');
$node->sql('ALTER TABLE letters DROP CONSTRAINT letters_n_check');
is($node->sql(qq{SELECT * FROM rc_retry('letters', $dead[0])}), '1|1|0', 'one by its id');
is(letters_by_attempts(), "2|f|22P02|1\n2|f|23514|3\n3|t|23514|1", 'the others stay as they are');
foreach my $case (
	[ 'letters', $dead[0], 'what is resolved is not tried again' ],
	[ 'letters', 987654321, 'an unknown id is an error' ],
	[ 'letters', 0, 'so is 0, which is not all of them' ],
	[ 'rappel_conso', $dead[1], "so is another stream's" ])
{
	my ($stream, $id, $what) = @$case;

	like($node->error_of("SELECT * FROM rc_retry('$stream', $id)"), qr/^42704: .*"$stream".*$id/, "C10: $what");
}
is($node->sql(q{SELECT * FROM rc_retry('letters')}), '4|3|1', 'all whose cause is mended');
is(letters_by_attempts(), "3|f|22P02|1\n3|t|23514|4", 'are resolved');
is($node->sql(q{SELECT place, at, key, headers FROM letters WHERE n >= 100 ORDER BY 1}),
	$places, 'they were applied at their original places');
$node->sql(q{
	UPDATE rappel_conso.stream SET value_type = 'text', statement = $$
		INSERT INTO letters SELECT -1, NULL, record_timestamp, key FROM records WHERE value = 'no JSON'
		RETURNING key, n AS value$$ WHERE name = 'letters'});
is($node->sql(q{SELECT * FROM rc_retry('letters')}), '1|1|0', 'the current statement is used');
is($node->sql('SELECT count(*), count(DISTINCT key) FROM letters'), '17|17', 'each record is there once');
is($node->sql(q{SELECT * FROM rc_retry('letters')}), '0|0|0', 'then there is nothing to retry');
$node->wait_for('the outbox', 'SELECT count(*) = 0 FROM rappel_conso.outbox');
is(scalar($kafka->consume('answers')), 17, 'and each has its message in the output topic');
like($node->error_of(q{SELECT rc_retry('nonsense')}), qr/^42704: .*"nonsense"/, 'an unknown stream');
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'letters'});

# ---- rc_drain: publish, then consume once, as two tasks ----

$node->sql(q{
	CREATE TABLE drained (topic text, partition int, o bigint, value text, CHECK (value <> 'bad'));
	SELECT rc_publish('tasks', n::text, n::text) FROM generate_series(1, 100) n;
	INSERT INTO rappel_conso.stream (name, topics, value_type, paused, statement) VALUES ('tasks', '{tasks}', 'text', true,
		'INSERT INTO drained SELECT topic, partition, record_offset, value FROM records')});
$node->wait_for('the outbox', 'SELECT count(*) = 0 FROM rappel_conso.outbox');
is($node->sql(q{SELECT * FROM rc_drain('tasks', '1 min')}), '100|100|0|0|0', 'a paused stream is drained once');
is($node->sql(q{SELECT count(*), count(DISTINCT value) FROM drained}), '100|100', 'all is there');
is($node->sql(q{SELECT * FROM rc_drain('tasks')}), '0|0|0|0|0', 'a second time there is nothing');
$kafka->produce_many('tasks', [ map { [ $_, $_ ] } 101 .. 150, 'bad' ]);
is($node->sql(q{SELECT applied, inserted, updated, unchanged, dead FROM rc_drain('tasks')}),
	'51|50|0|0|1', 'the counts say what became of the records');
is($node->sql(q{SELECT lag FROM rappel_conso.lag WHERE stream = 'tasks'}), '0', 'no lag is left');
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name = 'tasks'});
$node->wait_for('the worker', q{SELECT rappel_conso.worker_pid('stream', 'tasks') IS NOT NULL});
$kafka->produce_many('tasks', [ map { [ $_, $_ ] } 151 .. 200 ]);
$node->sql(q{SELECT rc_drain('tasks')});
is($node->sql(q{SELECT count(*), count(DISTINCT value) FROM drained}),
	'200|200', 'of a running stream it waits for the workers');

# Somebody stands in the way.
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; LOCK drained IN EXCLUSIVE MODE');
$kafka->produce_many('tasks', [ [ 'late', 'late' ] ]);
foreach my $paused ('false', 'true')
{
	$node->sql("UPDATE rappel_conso.stream SET paused = $paused WHERE name = 'tasks'");
	like( $node->error_of(q{SELECT rc_drain('tasks', '1 s')}),
		qr/^57014: .*\btasks\b.*; .*rc_status\(\).*"tasks"/, "a timeout ends it, and tells where to look, paused: $paused");
}
$session->query_safe('COMMIT');
$session->quit;
is($node->sql(q{SELECT applied, inserted FROM rc_drain('tasks')}), '1|1', 'nothing is lost by that');
$kafka->produce_many('tasks', [ [ 'later', 'later' ] ]);
like( $node->error_of(q{BEGIN; LOCK drained IN EXCLUSIVE MODE; SELECT rc_drain('tasks')}),
	qr/^55006: .*\btasks\b/, 'a caller in its own way is told');
like($node->error_of(q{SELECT rc_drain('nonsense')}), qr/^42704: .*"nonsense"/, 'an unknown stream');

# A statement that always fails as one does whose offset is locked for a moment.
$node->sql(q{
	CREATE FUNCTION conflicts() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'always' USING ERRCODE = '40001'; END $$;
	INSERT INTO rappel_conso.stream (name, topics, value_type, paused, statement) VALUES ('conflicts', '{tasks}', 'text', true, 'SELECT conflicts() FROM records')});
like($node->error_of(q{SELECT rc_drain('conflicts', '5 min')}), qr/^40001: always/, 'D9: what is always a conflict is told, and not tried for ever');

# One that fails so before each batch gets there.
$kafka->produce_many('often', [ map { [ $_, $_ ] } 1 .. 23 ]);
$node->sql(q{
	CREATE SEQUENCE attempts;
	CREATE FUNCTION every_other() RETURNS bool LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('attempts') % 2 = 1 THEN RAISE 'again' USING ERRCODE = '40001'; END IF;
		RETURN true;
	END $$;
	INSERT INTO rappel_conso.stream (name, topics, value_type, batch_size, paused, statement) VALUES ('often', '{often}', 'text', 1, true,
		'INSERT INTO drained SELECT topic, partition, record_offset, value FROM records WHERE every_other()')});
is($node->sql(q{SELECT applied, inserted FROM rc_drain('often', '5 min')}), '23|23', 'D9: conflicts between batches that are applied do not end it');
$node->sql(q{INSERT INTO rappel_conso.stream (name, topics, paused, statement) VALUES ('none', '{none}', true, 'SELECT 1 FROM records')});
like($node->error_of(q{SELECT rc_drain('none')}), qr/^42704: .*"none"/, 'an unknown topic');
is($node->sql(q{SELECT applied FROM rc_drain('tasks')}), '1', 'the stream is as it was');

# While another process has the row of an offset locked, as the one that stores
# watermarks has for a moment, the batch is tried again.
my $drains = q{SELECT FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso drain%'};

$kafka->produce_many('held', [ [ 'k', 'held' ] ]);
$node->sql('CREATE TABLE held (value text)');
$node->add_stream('held', paused => 'true', value_type => q{'text'},
	statement => q{'INSERT INTO held SELECT value FROM records, pg_advisory_xact_lock_shared(7)'});
$session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('SELECT pg_advisory_lock(7)');
my $drain = $node->start_session(q{SELECT applied FROM rc_drain('held', '1 min')});
$node->wait_for('the statement', "SELECT EXISTS ($drains AND wait_event = 'advisory')");
$node->becomes_true('rc_drain() is seen to wait for its worker',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'FROM rc_drain' AND ${\$node->waits_in('Reply')}");
$session->query_safe(q{
	BEGIN;
	SELECT FROM rappel_conso.stream_offset WHERE stream = 'held' FOR UPDATE;
	SELECT pg_advisory_unlock(7)});
$node->wait_for('the end of the batch', "SELECT NOT EXISTS ($drains AND state <> 'idle')");
$session->query_safe('COMMIT');
$session->quit;
is($drain->finish->{out}, '1', 'a locked offset is no error of rc_drain()');
is($node->sql('SELECT value FROM held'), 'held', 'the record is applied once');

# ---- transactions ----

# Send values in a transaction, and commit or abort it; or leave it open, and
# return what close() aborts it with.
sub produce_in_transaction
{
	my ($topic, $how, @values) = @_;
	my ($out, $in);
	my $pid = IPC::Open2::open2($out, $in, $ENV{PYTHON} || 'python3',
		'test/servers/transaction.py', $kafka->open_brokers, $topic, $how, @values);

	(readline($out) // '') eq "sent\n" or die 'the transaction failed';
	my $end = sub { close($in); waitpid($pid, 0); die 'the transaction has not ended' if $?; };
	return $end if $how eq 'open';
	$end->();
	return;
}

my %runs = (paused => 'true', running => 'false');
foreach my $how (sort keys %runs)
{
	my $topic = "transactions_$how";
	my $values = "SELECT string_agg(value, ' ' ORDER BY o) FROM drained WHERE topic = '$topic'";

	$kafka->create_topic($topic);
	$node->sql(qq{INSERT INTO rappel_conso.stream (name, topics, value_type, paused, statement)
		VALUES ('$topic', '{$topic}', 'text', $runs{$how}, 'INSERT INTO drained SELECT topic, partition, record_offset, value FROM records')});
	produce_in_transaction($topic, 'commit', 'a1', 'a2');
	produce_in_transaction($topic, 'abort', 'b1', 'b2', 'b3');
	produce_in_transaction($topic, 'commit', 'c1');
	$node->sql("SELECT rc_drain('$topic', '1 min')");
	is($node->sql($values), 'a1 a2 c1', "$how: of transactions only what was committed is seen");
	produce_in_transaction($topic, 'abort', 'd1', 'd2');
	$node->sql("SELECT rc_drain('$topic', '1 min')");
	is($node->sql($values), 'a1 a2 c1', "$how: markers at the end of the topic do not hold up a drain");
	is($node->sql("SELECT next_offset = high_watermark, lag FROM rappel_conso.lag WHERE stream = '$topic'"),
		't|0', "$how: nor are they a lag");

	my $abort = produce_in_transaction($topic, 'open', 'e1', 'e2');
	$node->sql("SELECT rc_drain('$topic', '1 min')");
	is($node->sql($values), 'a1 a2 c1', "$how: an open transaction is not waited for");
	$abort->();
	produce_in_transaction($topic, 'commit', 'f1');
	$node->sql("SELECT rc_drain('$topic', '1 min')");
	is($node->sql($values), 'a1 a2 c1 f1', "$how: what comes after it is seen in its turn");
}

# ---- a compacted topic ----

$kafka->create_topic('compacted', config => {
	'cleanup.policy' => 'compact', 'segment.ms' => 100, 'min.cleanable.dirty.ratio' => '0.01', 'segment.bytes' => 1048576 });
$kafka->produce_many('compacted', [ map { [ $_ % 3, $_ ] } 1 .. 30 ]);
$node->sql(q{INSERT INTO rappel_conso.stream (name, topics, value_type, paused, statement)
	VALUES ('compacted', '{compacted}', 'text', true, 'INSERT INTO drained SELECT topic, partition, record_offset, value FROM records')});
is($node->sql(q{SELECT applied FROM rc_drain('compacted', '1 min')}), '30', 'a compacted topic, before it is compacted');
$kafka->produce_many('compacted', [ map { [ $_ % 3, $_ ] } 31 .. 60 ]);

# A new segment makes the older ones fit for the cleaner.
my $tries = 0;
while ($kafka->consume('compacted') > 10 && $tries++ < 100)
{
	$kafka->produce_many('compacted', [ [ 'roll', "roll $tries" ] ]);
}
cmp_ok(scalar($kafka->consume('compacted')), '<', 60, 'Kafka has compacted it');
$node->sql(q{SELECT rc_drain('compacted', '1 min')});
is( $node->sql(q{SELECT string_agg(value, ' ' ORDER BY o) FROM drained WHERE topic = 'compacted' AND o >= 30 AND value !~ 'roll'}),
	'58 59 60', 'what is left after our offset is applied');
is($node->sql(q{SELECT state, last_error FROM rc_status() WHERE name = 'compacted'}) . $node->sql(q{SELECT lag FROM rappel_conso.lag WHERE stream = 'compacted'}),
	'paused|0', 'that the record before it is gone is no error');

done_testing();
