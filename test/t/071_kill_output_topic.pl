# 071_kill_output_topic.pl
#     kill -9 at random moments of whatever has a part in a stream with an output
#     topic: its workers, the publisher, the broker and the whole server.  The
#     table has to hold each message once, the output topic each at least once,
#     and once for a consumer that drops repeated ids.
#
# The seed is printed; RAPPEL_CONSO_SEED repeats a test.  Only the targets and
# how far the stream is when they are hit are repeated: the rest is up to the
# machine.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use JSON::PP ();
use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $MESSAGES = 200;    # more in each round
my $BATCH = 20;
my $ROUNDS = 5;        # for each target
my $HITS = 10;         # rounds that at least have to hit in the middle

# of a worker or the publisher: the arguments of worker_pid()
my %targets = (
	worker => [ "'stream', 'echoed', 0", "'stream', 'echoed', 1" ],
	publisher => ["'outbox'"],
	broker => undef,
	postmaster => undef);

my $seed = $ENV{RAPPEL_CONSO_SEED} // time() ^ $$;
srand($seed);
note("RAPPEL_CONSO_SEED=$seed");

# A broker that comes back has to wait until the session of the one killed ends.
my $kafka = start_kafka(
	properties => {
		'broker.session.timeout.ms' => 1500,
		'broker.heartbeat.interval.ms' => 300
	});
my $node = new_node(
	'main',
	kafka => $kafka,
	preload => 1,
	conf => <<~'EOC');
	restart_after_crash = on
	max_worker_processes = 16
	autovacuum = off
	EOC
my $produced = 0;

sub wait_for_server
{
	my ($sql, $what) = @_;

	# psql may end before it has read the query when the server goes down
	foreach (1 .. 10)
	{
		my $answer = eval { $node->poll_query_until('postgres', $sql) ? 1 : 0 };

		return if $answer;
		die "$what: not in time" if defined $answer;
		die $@ unless $@ =~ /Broken pipe/;
	}
	die "$what: psql does not get through";
}

# Some more numbered messages.
sub produce_more
{
	my @numbers = ($produced + 1 .. $produced + $MESSAGES);

	$kafka->produce_many('events', [ map { [ "k$_", qq({"n": $_}) ] } @numbers ]);
	$produced += $MESSAGES;
	return;
}

# Let the stream go on, and wait, with hardly a pause, until it is so far.  Returns the
# process to kill, or those of the server, the messages applied and those that
# wait in the outbox.
sub go_on
{
	my ($target, $least, $of) = @_;
	my $pids =
	  defined $of
	  ? "rappel_conso.worker_pid($of)::text"
	  : "(SELECT string_agg(pid::text, ' ') FROM pg_stat_activity)";
	my $waiting = $target eq 'publisher' ? 1 : 0;

	return split(/\|/, $node->sql(<<~EOC));
		SET statement_timeout = '60s';
		UPDATE rappel_conso.stream SET paused = false WHERE name = 'echoed';
		DO \$\$
		DECLARE
		  applied bigint := 0;
		  waiting bigint := 0;
		BEGIN
		  WHILE $pids IS NULL OR applied < $least OR waiting < $waiting AND applied < $produced LOOP
		    SELECT count(*) INTO applied FROM seen;
		    SELECT count(*) INTO waiting FROM rappel_conso.outbox;
		    PERFORM pg_sleep(0.001);
		  END LOOP;
		END \$\$;
		SELECT $pids, (SELECT count(*) FROM seen), (SELECT count(*) FROM rappel_conso.outbox);
		EOC
}

# kill -9 of a worker, and the return of the server with another one.  There is
# no publisher where everything had been published when it was hit.
sub kill_worker
{
	my ($pid, $of) = @_;
	my $needless = $of eq "'outbox'" ? 'NOT EXISTS (SELECT FROM rappel_conso.outbox)' : 'false';

	is(kill('KILL', $pid), 1, 'the process was there');
	wait_for_server("SELECT COALESCE(rappel_conso.worker_pid($of) <> $pid, $needless)", 'a new process');
	return;
}

# One round; whether it has hit the stream in its middle.
sub kill_in_stream
{
	my ($target) = @_;
	my $of = $targets{$target} && $targets{$target}[ rand @{ $targets{$target} } ];
	my $least = $node->sql(q{
		UPDATE rappel_conso.stream SET paused = true WHERE name = 'echoed';
		SELECT count(*) FROM seen}) + 1 + int(rand($MESSAGES * 0.7));

	produce_more();
	my ($pids, $applied, $waiting) = go_on($target, $least, $of);

	if ($target eq 'broker')
	{
		$kafka->kill(1);
		$kafka->restart(1);
	}
	elsif ($target eq 'postmaster')
	{
		$node->kill_server(split(/ /, $pids));
	}
	else
	{
		kill_worker($pids, $of);
	}
	pass("$target" . (defined $of ? " ($of)" : '')
		  . " killed at $applied of $produced messages, $waiting in the outbox");
	return $applied < $produced || $waiting > 0 ? 1 : 0;
}

$kafka->create_topic('events', partitions => 4);
$kafka->create_topic('echo', partitions => 4);
$node->sql(<<~EOC);
	UPDATE rappel_conso.stream SET paused = true;
	CREATE TABLE seen (n int);
	INSERT INTO rappel_conso.stream (name, topics, output_topic, workers, batch_size, statement)
	  VALUES ('echoed', '{events}', 'echo', 2, $BATCH, \$\$
	    WITH s AS (INSERT INTO public.seen SELECT (value->>'n')::int FROM records)
	    SELECT key, value FROM records\$\$);
	SELECT rc_start();
	EOC

my $hits = 0;
$hits += kill_in_stream($_) foreach shuffle(map { ($_) x $ROUNDS } sort keys %targets);
cmp_ok($hits, '>=', $HITS, "$hits rounds have hit the stream in its middle");

wait_for_server("SELECT count(DISTINCT n) >= $produced FROM seen", 'the table');
wait_for_server('SELECT count(*) = 0 FROM rappel_conso.outbox', 'the outbox');
wait_for_server(q{SELECT sum(high_watermark - next_offset) = 0 FROM rappel_conso.stream_offset WHERE stream = 'echoed'},
	'the end of the topic');

is($node->sql('SELECT count(*), count(DISTINCT n), min(n), max(n) FROM seen'),
	"$produced|$produced|1|$produced", 'the table has each message exactly once');

my $json = JSON::PP->new->utf8;
my (%times, %ids, %once);
my @echo = $kafka->consume('echo');
foreach my $message (@echo)
{
	my $n = $json->decode($message->{payload})->{n};
	my %headers = @{ $message->{headers} };

	$times{$n}++;
	$once{$n}++ unless $ids{ $headers{'rappel_conso-id'} }++;
}
note(@echo - keys %ids, ' messages are in the output topic again');
is_deeply([ grep { !$times{$_} } 1 .. $produced ], [], 'the output topic has each at least once');
is(scalar(keys %times), $produced, 'and no other');
is_deeply([ grep { ($once{$_} // 0) != 1 } 1 .. $produced ], [],
	'a consumer that drops repeated ids sees each exactly once');
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'), 0, 'nothing was refused');

done_testing();
