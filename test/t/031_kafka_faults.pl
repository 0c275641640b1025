# 031_kafka_faults.pl
#     What happens to recalls and streams when Kafka is away, is killed in the
#     middle, loses records, or is not the one that we knew.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

# Recalls of 8 kB each: more than a consumer reads ahead.
my $all = 2000;
my $file = PostgreSQL::Test::Utils::tempdir() . '/recalls.jsonl';
{
	my $json = JSON::PP->new->canonical;

	open(my $handle, '>', $file) or die "$file: $!";
	foreach my $n (1 .. $all)
	{
		print $handle $json->encode(
			{
				numero_fiche => sprintf('2025-02-%04d', $n),
				numero_version => 1,
				date_publication => sprintf('2025-02-%02dT08:00:00+00:00', 1 + $n / 80),
				motif_rappel => join(' ', map { $n * $_ } 1 .. 1300)
			}) . "\n";
	}
	close($handle);
}

my $api = start_api(DATASET, $file);
my $kafka = start_kafka();
my $other = new_node('other', api => $api, source => { retries => 0 });
my $node = new_node(
	'main',
	api => $api,
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 30\n");

# rc_sync_now() in the background; finish it with IPC::Run's.
sub start_sync
{
	my ($where) = @_;
	my %sync = (out => '', err => '');

	$sync{run} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $where->connstr('postgres'),
			'-c', 'SELECT state, fetched, published, inserted, updated, unchanged, dead FROM rc_sync_now()'
		],
		'<', \undef, '>', \$sync{out}, '2>', \$sync{err});
	return \%sync;
}

sub end_sync
{
	my ($sync) = @_;

	$sync->{run}->finish;
	chomp $sync->{out};
	return $sync->{out};
}

# ---- no broker at the start; it goes on in the background ----

$other->sql('SELECT rc_sync_now()');
my $digest = $other->table_digest;
like($digest, qr/^$all rows/, 'the rows as direct mode makes them');
$other->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '127.0.0.1:1'\n");
$other->reload;
$other->wait_for('the setting', 'SHOW rappel_conso.kafka_brokers', expected => '127.0.0.1:1');
my $alone = start_sync($other);

# ---- the broker is killed in the middle of extract ----

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET batch_size = 50;
	SELECT rc_start();
	EOC
$api->fault('gate', on => 'export', lines => 1000, dataset => DATASET);
my $sync = start_sync($node);
$api->wait_held;
$node->wait_for('the first half', 'SELECT published = 1000 FROM rappel_conso.run');
my $killed = $node->log_position;
$kafka->kill(1);
$api->release;
$node->wait_logged('08006', 'WARNING', qr/"\Q${\$kafka->brokers}\E"/, $killed);
is($node->sql('SELECT state, published FROM rappel_conso.run'), 'running|1000', 'extract: the run waits for the broker');
$kafka->restart(1);
is(end_sync($sync), "success|$all|$all|$all|0|0|0", 'extract: it goes on when the broker is back');
is($node->table_digest, $digest, 'extract: each recall is in the table, once');
my %times;
$times{$_}++ foreach split(/\n/, $kafka->kcat('', '-C', '-e', '-o', 'beginning', '-t', 'rappel_conso', '-f', '%k\n'));
is(scalar(grep { $_ == 1 } values %times), $all, 'extract: and in the topic, once');

# ---- the broker is killed in the middle of load ----

$node->sql(<<~'EOC');
	TRUNCATE rappel_conso_table;
	UPDATE rappel_conso.source SET topic = 'second';
	UPDATE rappel_conso.stream SET topics = '{second}';
	EOC
my ($in, $out, $err) = ('', '', '');
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);
$in = "BEGIN; LOCK rappel_conso_table; SELECT 'locked';\n";
$holder->pump until $out =~ /locked/;
$sync = start_sync($node);
$node->wait_for('the end of extract', q{SELECT state = 'success' FROM rappel_conso.task WHERE name = 'extract' AND run = 2});
$node->wait_for('the stream at the lock',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rappel_conso stream' AND wait_event_type = 'Lock'});
$kafka->kill(1);
$in = "ROLLBACK;\n\\q\n";
$holder->finish;
$node->wait_for('the stream to wait', q{SELECT state = 'waiting' FROM rc_status() WHERE component = 'stream'});
# of one moment: what had been fetched is still being applied
my ($stored, $offset) = split(/\|/, $node->sql(q{
	SELECT (SELECT count(*) FROM rappel_conso_table),
	       (SELECT sum(next_offset) FROM rappel_conso.stream_offset WHERE topic = 'second')}));
cmp_ok($stored, '>', 0, 'load: what was read before is stored');
cmp_ok($stored, '<', $all, 'load: the rest is waited for');
is($offset, $stored, 'load: offset and rows agree');
like($node->sql(q{SELECT detail FROM rc_status() WHERE component = 'stream'}), qr/\b1\b.*\b1\b.*; .*Connect/, 'load: the status says for what');
is($node->sql(q{SELECT state FROM rappel_conso.task WHERE name = 'load' AND run = 2}), 'running', 'load: the task is under way');
$kafka->restart(1);
is(end_sync($sync), "success|$all|$all|$all|0|0|0", 'load: it goes on when the broker is back');
is($node->table_digest, $digest, 'load: each recall is in the table, once');
$node->wait_for('the stream to run', q{SELECT state = 'running' FROM rc_status() WHERE component = 'stream'});

# ---- transactions: markers take offsets without a message (to be seen below) ----

sub produce_transaction
{
	my ($first, $last) = @_;

	$kafka->produce_many('transactional', [ map { [ 'k', $_ ] } $first .. $last ], '-X', 'transactional.id=t');
	return;
}

produce_transaction(1, 5);
produce_transaction(6, 10);
$node->sql(q{
	CREATE TABLE transactional (n bigint, value text);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('transactional', '{transactional}', 'text',
	  'INSERT INTO transactional SELECT record_offset, value FROM records')});
# ---- records that are deleted, and topics that are others ----

my %topics = (
	trimmed => [],
	shorter => [ map { "second $_" } 1 .. 2 ],
	equal => [ map { "second $_" } 1 .. 5 ],
	longer => [ map { "second $_" } 1 .. 9 ],
	live => [ map { "second $_" } 1 .. 3 ],
	cluster => []);
my @names = sort keys %topics;
my $setup = q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'rappel_conso';};

foreach my $name (@names)
{
	$kafka->produce_many($name, [ map { [ "k$_", "first $_" ] } 1 .. 5 ]);
	$setup .= qq{
		CREATE TABLE $name (n bigint, value text);
		INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('$name', '{$name}', 'text',
		  'INSERT INTO $name SELECT record_offset, value FROM records');};
}
$node->sql($setup);
$node->wait_applied($_, 5) foreach @names;

# A topic that goes while its stream runs is noticed by itself.
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name IN ('trimmed', 'shorter', 'equal', 'longer', 'cluster')});
$node->wait_for('the streams to pause', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'rappel_conso stream'});
$kafka->delete_topics('shorter', 'equal', 'longer', 'live');
$node->wait_for('the topic to be missed', q{SELECT state = 'failed' AND sqlstate = '42704' OR state = 'waiting' FROM rappel_conso.stream_state WHERE stream = 'live'});
foreach my $name (@names)
{
	$kafka->produce_many($name, [ map { [ 'k', $_ ] } @{ $topics{$name} } ]) if @{ $topics{$name} };
}
$kafka->produce_many('trimmed', [ map { [ 'k', "first $_" ] } 6 .. 15 ]);
$kafka->trim_topic('trimmed', 0, 12);
$kafka->produce_many('cluster', [ [ 'k', 'first 6' ] ]);
$node->sql(q{UPDATE rappel_conso.stream_offset SET cluster_id = 'another' WHERE stream = 'cluster'});

my $start = $node->log_position;
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name NOT IN ('rappel_conso', 'transactional')});

$node->wait_applied('trimmed', 15);
is($node->sql('SELECT n FROM trimmed ORDER BY n'), join("\n", 0 .. 4, 12 .. 14), 'trimmed: goes on at the earliest record');
my $gap = qr/\b5\b.*\b11\b.*"trimmed".*\b0\b/;
$node->wait_logged('XX001', 'WARNING', qr/"trimmed": .*$gap/, $start);
pass('trimmed: the log reports the gap');
like($node->sql(q{SELECT detail FROM rc_status() WHERE component = 'stream' AND name = 'trimmed' AND state = 'running'}),
	$gap, 'trimmed: so does the status');

my %errors = (
	shorter => qr/"shorter".*"shorter".*\|.*\b0\b.*\b5\b.*\b2\b.*/,
	equal => qr/"equal".*"equal".*\|.*\b4\b.*\b0\b.*/,
	longer => qr/"longer".*"longer".*\|.*\b4\b.*\b0\b.*/,
	live => qr/"live".*"live".*\|.*\b0\b.*\b5\b.*\b3\b.*/,
	cluster => qr/"cluster".*\|.*"cluster".*"another".*"${\$node->sql(q{SELECT cluster_id FROM rappel_conso.stream_offset WHERE stream = 'trimmed'})}".*/);
foreach my $name (sort keys %errors)
{
	$node->wait_for("$name to fail", "SELECT state || ' ' || sqlstate FROM rappel_conso.stream_state WHERE stream = '$name'", expected => 'failed 55000');
	like($node->sql("SELECT error, error_detail, hint FROM rappel_conso.stream_state WHERE stream = '$name'"),
		qr/$errors{$name}.*\|.*SELECT rc_seek\('$name', 'earliest'\)/, "$name: the stream stops, with the way out");
	is( $node->sql("SELECT count(*), max(value), (SELECT next_offset FROM rappel_conso.stream_offset WHERE stream = '$name') FROM $name"),
		'5|first 5|5', "$name: nothing of the other topic was read");
	$node->sql("SELECT rc_seek('$name', 'earliest')");
}
foreach my $name (sort keys %errors)
{
	my @again = $name eq 'cluster' ? map { "first $_" } 1 .. 6 : @{ $topics{$name} };

	$node->wait_applied($name, scalar @again);
	is($node->sql("SELECT value FROM $name OFFSET 5"), join("\n", @again), "$name: rc_seek() reads it from the beginning");
	$node->wait_for("$name to run", "SELECT state = 'running' FROM rappel_conso.stream_state WHERE stream = '$name'");
}

# ---- transactions ----

$node->wait_applied('transactional', 12);
is($node->sql('SELECT n, value FROM transactional ORDER BY n'),
	join("\n", map { ($_ <= 5 ? $_ - 1 : $_) . "|$_" } 1 .. 10), 'transactions: each record, once');
is($node->sql(q{SELECT last_offset, lag FROM rappel_conso.stream_offset JOIN rappel_conso.lag USING (stream) WHERE stream = 'transactional'}),
	'10|0', 'transactions: the offset is past the last marker, no lag');
$node->sql(q{UPDATE rappel_conso.stream SET batch_size = 3 WHERE name = 'transactional'});
produce_transaction(11, 15);
$node->wait_for('the third transaction', 'SELECT count(*) = 15 FROM transactional');
is($node->sql('SELECT count(DISTINCT value), max(n) FROM transactional'), '15|16', 'transactions: goes on after it was opened again');

# ---- the run that found no broker ----

is(end_sync($alone), '', 'no broker: the run fails');
like($alone->{err}, qr/ERROR:  08006: .*"127\.0\.0\.1:1": .*Connect/, 'no broker: with the cause');
like($alone->{err}, qr/HINT:  .*"rappel_conso\.kafka_brokers"/, 'no broker: and a hint');
is( $other->sql(q{SELECT r.state, r.sqlstate, string_agg(concat_ws(' ', t.name, t.state, t.attempt, t.sqlstate), ', ' ORDER BY t.name)
		FROM rappel_conso.run r JOIN rappel_conso.task t ON t.run = r.id WHERE r.id = 2 GROUP BY 1, 2}),
	'failed|08006|extract failed 1 08006, load upstream_failed 0', 'no broker: its row and tasks');
$other->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '" . $kafka->brokers . "'\n");
$other->reload;
$other->wait_for('the setting', 'SHOW rappel_conso.kafka_brokers', expected => $kafka->brokers);
$other->sql(q{
	TRUNCATE rappel_conso_table;
	UPDATE rappel_conso.source SET topic = 'later';
	UPDATE rappel_conso.stream SET topics = '{later}'});
$sync = start_sync($other);
is(end_sync($sync), "success|$all|$all|$all|0|0|0", 'no broker: a later run succeeds');
is($other->table_digest, $digest, 'no broker: with all recalls');

done_testing();
