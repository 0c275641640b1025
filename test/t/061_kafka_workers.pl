# 061_kafka_workers.pl
#     Workers that hold foreign libraries: the signals of their threads, how
#     they wait, what they cost when idle, and how they end and come back.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $RECORDS = 300;    # of the sample
my %SIGNALS = (HUP => 1, INT => 2, USR1 => 10, TERM => 15);

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node(
	'main',
	api => $api,
	kafka => $kafka,
	preload => 1,
	conf => <<~'EOC');
	autovacuum = off
	checkpoint_timeout = 1h
	wal_level = minimal
	max_wal_senders = 0
	max_worker_processes = 16
	EOC

sub worker
{
	my ($kind, $name) = @_;

	return $node->sql("SELECT rappel_conso.worker_pid('$kind', '"
		  . ($name // 'rappel_conso')
		  . "')");
}

# Wait until a worker runs, and is not that of before.
sub has_worker
{
	my ($kind, $name, $before) = @_;
	my $of = $kind eq 'scheduler' ? '' : 'rappel_conso';

	return ok(
		$node->poll_query_until(
			'postgres',
			"SELECT rappel_conso.worker_pid('$kind', '$of') <> "
			  . ($before || 0)),
		$name);
}

# {thread => {signal => whether it is blocked}} of a process.
sub blocked
{
	my ($pid) = @_;
	my %threads;

	foreach my $file (glob("/proc/$pid/task/*/status"))
	{
		my ($thread) = $file =~ m{task/(\d+)};
		# a thread may end while they are looked at
		my $status = eval { slurp_file($file) } or next;
		my ($mask) = $status =~ /^SigBlk:\s*([0-9a-f]+)/m;

		$threads{$thread} = {
			map { $_ => (hex(substr($mask, -8)) >> ($SIGNALS{$_} - 1)) & 1 }
			  keys %SIGNALS };
	}
	return \%threads;
}

sub check_threads
{
	my ($pid, $least, $name) = @_;
	my $threads = blocked($pid);
	my $main = delete $threads->{$pid};

	cmp_ok(scalar(keys %$threads), '>=', $least, "$name has foreign threads");
	foreach my $signal (sort keys %SIGNALS)
	{
		is( scalar(grep { !$threads->{$_}{$signal} } keys %$threads),
			0, "$name: none of them takes $signal");
		is($main->{$signal}, 0, "$name: the main one takes $signal");
	}
	return;
}

#
# Threads
#

ok( $node->poll_query_until(
		'postgres', "SELECT state = 'waiting' AND detail ~ '(^|[^0-9])0[^0-9]+1[^0-9].*\"rappel_conso\"'
		               FROM rc_status() WHERE component = 'stream'"),
	'a stream whose topic does not exist waits without a worker');
is( $node->sql("SELECT state, inserted FROM rc_sync_now()"),
	"success|$RECORDS", 'the first sync goes through Kafka');
has_worker('stream', 'now the stream has its worker');

$api->control(faults => [ { fault => 'gate', on => 'export', lines => 50 } ]);
my $run = $node->start_session(
	'SELECT rc_sync_now(full_sync => true)');
$api->wait_held;

# librdkafka: the main thread, and one for each broker
check_threads(worker('run'), 2, 'the run worker');
check_threads(worker('stream'), 2, 'the stream worker');
is( $node->psql(
		'postgres', "SET statement_timeout = '20s'; CREATE DATABASE brief;
		             \nDROP DATABASE brief"),
	0, 'DROP DATABASE of another database waits for neither');

#
# Waits for Kafka can be cancelled
#

my $at = $node->sql("SELECT clock_timestamp() FROM (SELECT pg_cancel_backend(pid)
  FROM pg_stat_activity WHERE query ~ 'rc_sync_now' AND pid <> pg_backend_pid()
   AND backend_type = 'client backend') c");
$run->finish;
like($run->{err}, qr/ERROR:  57014/, 'a run in the middle is cancelled');
my $ended = "SELECT state || ' ' || (finished_at - '%s' < '2 s')
               FROM rappel_conso.run ORDER BY id DESC LIMIT 1";
ok( $node->poll_query_until('postgres',
		"SELECT rappel_conso.worker_pid('run', 'rappel_conso') IS NULL"),
	'its worker has gone');
is($node->sql(sprintf($ended, $at)), 'cancelled true', 'within 2 s');
is( $node->sql("SELECT string_agg(name || ' ' || state, ', ' ORDER BY name)
             FROM rappel_conso.task
            WHERE run = (SELECT max(id) FROM rappel_conso.run)"),
	'extract cancelled, load cancelled',
	'and both tasks');
$api->control(faults => []);

$kafka->kill(1);
$run = $node->start_session(
	'SELECT rc_sync_now(full_sync => true)');
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM rappel_conso.task
		              WHERE name = 'extract' AND state = 'running'"),
	'a run that waits for a broker');
$at = $node->sql("SELECT clock_timestamp() FROM (SELECT pg_cancel_backend(pid)
  FROM pg_stat_activity WHERE query ~ 'rc_sync_now' AND pid <> pg_backend_pid()
   AND backend_type = 'client backend') c");
$run->finish;
ok( $node->poll_query_until('postgres',
		"SELECT rappel_conso.worker_pid('run', 'rappel_conso') IS NULL"),
	'is cancelled, too');
is($node->sql(sprintf($ended, $at)), 'cancelled true', 'within 2 s');
$kafka->restart(1);

#
# Ended by others, they come back
#

foreach my $kind ('stream', 'scheduler')
{
	my $before = worker($kind, $kind eq 'stream' ? undef : '');

	$node->sql("SELECT pg_terminate_backend($before)");
	has_worker($kind, "a terminated $kind worker comes back", $before)
	  if $kind eq 'stream';
}
$api->control(
	append => {
		dataset => DATASET,
		records => [
			{
				numero_fiche => '2031-01-0001',
				numero_version => 1,
				date_publication => '2031-01-02T08:02:00+00:00',
				libelle => 'lot retrouvé'
			}
		]
	});
is($node->sql('SELECT state, inserted FROM rc_sync_now()'),
	'success|1', 'without a scheduler the stream worker goes on');
has_worker('scheduler', 'a terminated scheduler comes back');

#
# Idle
#

ok( $node->poll_query_until(
		'postgres', 'SELECT high_watermark = next_offset
		               FROM rappel_conso.stream_offset'),
	'everything has been applied');
$node->poll_times('stream', 3);
my $lsn = $node->sql('SELECT pg_current_wal_insert_lsn()');
$node->poll_times('stream', 3);
is($node->sql('SELECT pg_current_wal_insert_lsn()'),
	$lsn, 'an idle stream worker writes no WAL');
is( $node->sql("SELECT state, backend_xid IS NULL, backend_xmin IS NULL,
                  xact_start IS NULL FROM pg_stat_activity
            WHERE backend_type = 'rappel_conso stream'"),
	'idle|t|t|t',
	'and holds neither transaction nor snapshot');

#
# Stopped, without a database, without the extension
#

is($node->sql('SELECT rc_stop()'), 2, 'rc_stop() ends both');
is($node->sql("SELECT count(*) FROM pg_stat_activity
           WHERE backend_type ~ '^rappel_conso (stream|scheduler)'"),
	0, 'they have gone');
is($node->sql('SELECT rc_start()'), 't', 'rc_start()');
has_worker('stream', 'brings the stream worker, too');

$node->sql('CREATE DATABASE other');
$node->create_extension(dbname => 'other', api => $api);
$node->sql('SELECT rc_start()', dbname => 'other');
ok( $node->poll_query_until(
		'other', "SELECT rappel_conso.worker_pid('stream', 'rappel_conso') > 0"),
	'another database has workers of its own');
is($node->psql('postgres', 'DROP DATABASE other WITH (FORCE)'),
	0, 'and can be dropped by force');

my $place = $node->log_position;
$node->sql('DROP EXTENSION rappel_conso');
$node->sql('SELECT pg_reload_conf()');
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM pg_stat_activity
		              WHERE backend_type ~ '^rappel_conso (stream|scheduler)'"),
	'without the extension the workers leave');
is( scalar(
		grep { /(?:ERROR|FATAL|PANIC|WARNING):/ }
		  split(/\n/, $node->log_since($place))),
	0, 'without an error');
is($node->sql('SELECT count(*) FROM rappel_conso_table'),
	$RECORDS + 1, 'and the table stays');

$node->create_extension(api => $api);
$node->sql('SELECT rc_start()');
has_worker('stream', 'with it they are back');
is( $node->sql('SELECT state, fetched, inserted, updated FROM rc_sync_now()'),
	'success|' . ($RECORDS + 1) . '|0|0',
	'and a sync finds every recall there');

done_testing();
