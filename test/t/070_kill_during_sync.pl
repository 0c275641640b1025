# 070_kill_during_sync.pl
#     kill -9 at random moments: of the workers, of processes of the server and
#     of the whole server, with Kafka in the middle and without.  After each, a
#     sync has to leave the very table that an undisturbed one leaves.
#
# The seed is printed; RAPPEL_CONSO_SEED repeats a test.  Only the targets and
# how far a sync is when they are hit are repeated: the rest is up to the
# machine.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $FICHES = 2000;
my $BATCH = 20;
my $ROUNDS = 7;        # that hit a run, in each mode
my $MOST_ROUNDS = 20;
my $OLD_VERSIONS = 40; # every so many fiches have one

my $seed = $ENV{RAPPEL_CONSO_SEED} // time() ^ $$;
srand($seed);
note("RAPPEL_CONSO_SEED=$seed");

# Many recalls out of the sample: other fiches with the same traps, some of
# them with an older version somewhere in the dataset.
sub make_dataset
{
	my ($file) = @_;
	my $json = JSON::PP->new->utf8->canonical;
	my @sample = map { $json->decode($_) }
	  split(/\n/, slurp_file(sample_file('recalls.jsonl')));
	my $lines = '';

	foreach my $n (0 .. $FICHES - 1)
	{
		my %recall = %{ $sample[ $n % @sample ] };

		$recall{numero_fiche} .= '-' . int($n / @sample);
		$recall{libelle} = "recall $n";
		$lines .= $json->encode(\%recall) . "\n";
		next if $n % $OLD_VERSIONS;
		$recall{numero_version} = 0;
		$recall{libelle} = "recall $n as it was";
		$lines .= $json->encode(\%recall) . "\n";
	}
	open(my $handle, '>:raw', $file) or die "$file: $!";
	print $handle $lines;
	close($handle) or die "$file: $!";
	return;
}

my $file = PostgreSQL::Test::Utils::tempdir() . '/recalls.jsonl';
make_dataset($file);
my $api = start_api(DATASET, $file);
my $node = new_node(
	'main',
	api => $api,
	conf => <<~'EOC');
	shared_preload_libraries = 'rappel_conso'
	restart_after_crash = on
	max_worker_processes = 16
	autovacuum = off
	EOC

# As if nothing had been read or written yet.
sub empty
{
	$node->sql(<<~'EOC');
		BEGIN;
		TRUNCATE rappel_conso_table;
		UPDATE rappel_conso.source SET fold_accents = NOT fold_accents;
		UPDATE rappel_conso.source SET fold_accents = NOT fold_accents;
		COMMIT;
		EOC
	return $node->sql('SELECT COALESCE(max(id), 0) FROM rappel_conso.run');
}

# Wait, with hardly a pause, until a sync is so far; the processes to kill then, if
# they are there: all of them for the postmaster.
sub victims
{
	my ($target, $what, $least, $from) = @_;
	my $progress =
	  $what eq 'rows'
	  ? 'SELECT count(*) FROM rappel_conso_table'
	  : "SELECT max($what) FROM rappel_conso.run WHERE id > $from";
	my $victim =
	  $target =~ /^(run|stream)$/
	  ? "SELECT rappel_conso.worker_pid('$target', 'rappel_conso')"
	  : "SELECT pid FROM pg_stat_activity
	      WHERE backend_type = '$target' OR '$target' = 'postmaster'";

	return grep { /\d/ } split(/\n/, $node->sql(<<~EOC));
		SET statement_timeout = '60s';
		DO \$\$ BEGIN
		  WHILE COALESCE(($progress), 0) < $least LOOP PERFORM pg_sleep(0.001); END LOOP;
		END \$\$;
		$victim;
		EOC
}

# Wait until the server answers again.  psql may die before it has read its
# query, which IPC::Run tells by this error.
sub await_server
{
	foreach my $try (1 .. 10)
	{
		return if eval { $node->poll_query_until('postgres', 'SELECT true') };
		last unless $@ =~ /Broken pipe/;
	}
	die $@ || 'the server did not come back';
}

# One round; whether it has hit a run in its middle.
sub kill_in_sync
{
	my ($mode, $target, $what) = @_;
	my $from = empty();
	my $least = $BATCH + int(rand($FICHES * 0.8));

	# \q: a server that is started meanwhile inherits the pipe, so that psql
	# may not wait for its end
	my $sync = $node->start_session("SELECT rc_sync_now();\n\\q");
	my @pids = victims($target, $what, $least, $from);

	if ($target eq 'postmaster')
	{
		$node->kill_server(@pids);
		$sync->finish;
	}
	else
	{
		# none: the sync was quicker
		kill('KILL', @pids);
		$sync->finish;
		await_server();
	}

	# one whose caller has seen the server die is cancelled
	my $hit = $node->sql("SELECT count(*) FROM rappel_conso.run
	                  WHERE id > $from AND (state IN ('running', 'cancelled')
	                        OR sqlstate = '57P02')");
	my $rows = $node->sql('SELECT count(*) FROM rappel_conso_table');
	my $name = "$mode: $target killed at $rows rows, $what >= $least";

	$node->sql('SELECT rc_sync_now()');
	return ($hit, $name, $from);
}

sub rounds
{
	my ($mode, $expected, $targets, $whats) = @_;
	my $hits = 0;

	foreach my $n (1 .. $MOST_ROUNDS)
	{
		my ($hit, $name, $from) = kill_in_sync(
			$mode,
			$targets->[ $n % @$targets ],
			$whats->[ rand @$whats ]);

		is($node->table_digest, $expected, $name);
		is( $node->sql("SELECT sum(inserted) FROM rappel_conso.run WHERE id > $from"),
			$FICHES, 'and each row was counted once');
		$hits += $hit;
		last if $hits == $ROUNDS;
	}
	is($hits, $ROUNDS, "$mode: so many runs were hit in their middle");
	is( $node->sql("SELECT count(*) FROM rappel_conso.run
	            WHERE state = 'failed' AND sqlstate <> '57P02'"),
		0, "$mode: none has failed by itself");
	is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'),
		0, "$mode: nothing was refused");
	is($node->miscounted_runs, '', "$mode: the counters of each run are the sums over its tasks");
	return;
}

$node->sql("UPDATE rappel_conso.stream SET batch_size = $BATCH");
$node->sql('SELECT rc_sync_now()');
my $expected = $node->table_digest;
like($expected, qr/^$FICHES rows, /, 'an undisturbed sync');
$node->sql('TRUNCATE rappel_conso.run CASCADE');

rounds('direct', $expected, [ 'run', 'walwriter', 'postmaster' ],
	['fetched']);

SKIP:
{
	my $cache = $ENV{RAPPEL_CONSO_CACHE} || '.cache';

	skip('there is no Kafka here', 1)
	  unless -e "$cache/kafka/complete"
	  && grep { -x "$_/java" } split(/:/, $ENV{PATH});

	my $kafka = start_kafka();
	my $brokers = $kafka->brokers;

	# Every record once, whatever its key: a row for each offset.
	$node->sql(<<~'EOC');
		CREATE TABLE applied (topic text, partition int, record_offset bigint);
		INSERT INTO rappel_conso.stream (name, topics, statement)
		  VALUES ('applied', '{rappel_conso}',
		          'INSERT INTO public.applied SELECT topic, partition, record_offset FROM records');
		EOC
	$node->append_conf('postgresql.conf',
		"rappel_conso.kafka_brokers = '$brokers'");
	$node->restart;
	rounds('Kafka, loaded by the run', $expected, [ 'run', 'postmaster' ],
		[ 'fetched', 'rows', 'rows' ]);

	$node->append_conf('postgresql.conf',
		"rappel_conso.databases = 'postgres'");
	$node->restart;
	ok( $node->poll_query_until(
			'postgres',
			"SELECT rappel_conso.worker_pid('stream', 'applied') > 0"),
		'workers have started');
	rounds(
		'Kafka, with workers',
		$expected,
		[ 'stream', 'run', 'postmaster', 'stream' ],
		[ 'fetched', 'rows', 'rows' ]);

	ok( $node->poll_query_until(
			'postgres',
			"SELECT max(high_watermark) > 0 AND bool_and(next_offset = high_watermark)
			   AND count(*) = 2 FROM rappel_conso.stream_offset"),
		'both streams come to the end of the topic');
	is( $node->sql("SELECT count(*) - count(DISTINCT record_offset) FROM applied"),
		0, 'no record was applied twice');
	is( $node->sql("SELECT count(*) - (SELECT max(high_watermark)
	             FROM rappel_conso.stream_offset) FROM applied"),
		0, 'and none was left out');
}

done_testing();
