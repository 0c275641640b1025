# 072_hanging_broker.pl
#     Brokers that accept connections and never answer: whoever is told to end
#     ends, since no request is waited for any longer, and nothing is lost.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node(
	'main',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 20\n");

sub pid_of { return $node->sql("SELECT rappel_conso.worker_pid('$_[0]', '$_[1]')"); }

# Wait until a worker is seen between two attempts to get an answer.
sub wait_asking
{
	my ($kind, $name) = @_;

	$node->wait_for("$kind $name to ask Kafka", qq{
		SELECT count(*) = 1 FROM pg_stat_activity
		WHERE pid = rappel_conso.worker_pid('$kind', '$name') AND ${\$node->waits_in('Kafka')}});
	return;
}

my $none = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso%' AND backend_type !~ 'launcher')";

$node->sql('UPDATE rappel_conso.stream SET paused = true; CREATE TABLE seen (value text)');
foreach my $topic ('early', 'late')
{
	$kafka->create_topic($topic);
	$kafka->produce_texts($topic, 2);
}
$node->add_stream('early', value_type => "'text'", statement => "'INSERT INTO public.seen SELECT value FROM records'");
$node->wait_applied('early', 2);
$node->sql("SELECT rc_publish('out', '1')");
$node->wait_published;

$kafka->hang(1);

#
# C5: a pause is not kept waiting by a request that nobody answers
#

$node->add_stream('late', value_type => "'text'", statement => "'INSERT INTO public.seen SELECT value FROM records'");
wait_asking('stream', 'late');
my $late = pid_of('stream', 'late');
my $position = $node->log_position;
$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = 'late'");
$node->becomes_true('C5: a stream that asks a silent broker is paused', "rappel_conso.worker_pid('stream', 'late') IS NULL");
unlike($node->log_since($position), qr/\[$late\].*could not reach/, 'and its request was given up, not waited for');

$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = 'early'");
$node->becomes_true('a stream that had been connected is paused', "rappel_conso.worker_pid('stream', 'early') IS NULL");

#
# The same with a change of the definition: the next one is used.
#

$node->sql("UPDATE rappel_conso.stream SET paused = false WHERE name = 'late'");
wait_asking('stream', 'late');
$node->sql("UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.seen SELECT value || ''*'' FROM records' WHERE name = 'late'");

#
# C5: a stop of all workers while messages are due
#

$node->sql("SELECT rc_publish('out', '2'); SELECT rc_publish('new', '3')");
wait_asking('outbox', '');
cmp_ok($node->sql('SELECT rc_stop()'), '>=', 3, 'C5: rc_stop() with a silent broker');
$node->becomes_true('no worker is left', $none);
is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), '2', 'unconfirmed messages are still in the outbox');

$node->sql('SELECT rc_start()');
wait_asking('stream', 'late');
$node->stop('fast');
pass('C5: a fast shutdown with a silent broker');

$kafka->resume(1);
$node->start;
$node->wait_applied('late', 2);
is($node->sql('SELECT array_agg(DISTINCT value ORDER BY value) FROM seen WHERE value LIKE $$%*$$'), '{"value 1*","value 2*"}',
	'the changed definition is the one that was used');
$node->wait_published;
my %seen = map { $_ => 1 } $kafka->payloads('out'), $kafka->payloads('new');
is(join(' ', sort keys %seen), '1 2 3', 'no message was lost');

done_testing();
