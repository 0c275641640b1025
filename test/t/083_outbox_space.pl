# 083_outbox_space.pl
#     The outbox stays small, without autovacuum: rows that are deleted leave
#     room for the next ones, and an empty outbox takes none.  Neither a long
#     transaction nor a lock of somebody else stops the publisher, and it stops
#     none of them.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

use constant MB => 1024 * 1024;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('space', kafka => $kafka, preload => 1, conf => "autovacuum = off\n");

sub send_some
{
	my ($n) = @_;

	$node->sql("SELECT count(rc_publish('space', repeat('v', 200), n::text)) FROM generate_series(1, $n) n");
	return;
}

sub heap_size
{
	return $node->sql("SELECT pg_relation_size('rappel_conso.outbox')");
}

my $empty = q{pg_relation_size('rappel_conso.outbox') < 1024 * 1024};

$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
$kafka->create_topic('space');
send_some(1);
$node->wait_published;
my $from = $node->log_position;

# ---- under load ----

my $vacuums = q{SELECT pg_stat_get_vacuum_count('rappel_conso.outbox'::regclass)};
my $largest = 0;
foreach my $round (1 .. 8)
{
	my $before = $node->sql($vacuums);

	send_some(15_000);
	my $size = heap_size();
	$largest = $size if $size > $largest;
	$node->wait_published;
	$node->wait_for('a VACUUM of these', "SELECT ($vacuums) > $before");
}
note(sprintf('%.1f MB at most', $largest / MB));
cmp_ok($largest, '<', 12 * MB, 'the table is not larger than two rounds of messages');
$node->becomes_true('an empty outbox takes no room', $empty);

# ---- beside others ----

my $old = $node->background_psql('postgres', on_error_die => 1);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM rappel_conso.outbox');
send_some(12_000);
$node->wait_published;
cmp_ok(heap_size(), '>', 2 * MB, 'what an old transaction may see is kept');
is($old->query_safe('SELECT count(*) FROM rappel_conso.outbox'), 0, 'it sees what it saw');
$old->query_safe('COMMIT');
$node->becomes_true('then it is removed', $empty);

my $user = $node->background_psql('postgres', on_error_die => 1);
$user->query_safe(q{BEGIN; SELECT rc_publish('space', 'not committed'::text)});
send_some(12_000);
$node->wait_published;
is($node->sql(q{SET lock_timeout = '5s'; SELECT rc_publish('space', 'v'::text) IS NOT NULL}), 't', 'who publishes waits for nobody');
$node->wait_published;
$user->query_safe('COMMIT');
$node->becomes_true('when a transaction that publishes has ended, the table shrinks', $empty);

$user->query_safe('BEGIN; LOCK TABLE rappel_conso.outbox IN SHARE UPDATE EXCLUSIVE MODE');
send_some(12_000);
$node->wait_published;
cmp_ok(heap_size(), '>', 2 * MB, 'a lock of somebody else keeps the rows, not the messages');
$user->query_safe('COMMIT');
$node->becomes_true('and is waited for', $empty);

is($node->log_since($from) =~ /((?:ERROR|WARNING): .*)/ ? $1 : '', '', 'the log is silent');

# ---- rows that are not where they were read ----

$node->sql('SELECT rc_stop()');
send_some(10);
$user->query_safe('BEGIN; UPDATE rappel_conso.outbox SET dead_letter = NULL WHERE id % 2 = 0');
$node->sql('SELECT rc_start()');
$node->wait_for('the publisher', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'rappel_conso outbox' AND wait_event_type = 'Lock'});
$user->query_safe('COMMIT');
$node->wait_published;
is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 0, 'rows that a user has updated meanwhile are deleted, too');

my @ids = split(/\n/, $kafka->kcat('', '-C', '-e', '-o', 'beginning', '-t', 'space', '-f', '%h\n'));
my %seen = map { $_ => 1 } @ids;
is(scalar(@ids), 1 + 6 * 20_000 + 3 * 12_000 + 2 + 10, 'each message is sent once');
is(scalar(keys %seen), scalar(@ids), 'and has an id of its own');
done_testing();
