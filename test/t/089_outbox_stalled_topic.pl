# 089_outbox_stalled_topic.pl
#     A topic that has lost the leaders of its partitions takes no messages:
#     those of other topics go on, once each, and its own come in order when the
#     leaders are back (D1).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka(brokers => 2);
my $node = new_node('stalled', kafka => $kafka, preload => 1);

# Numbers of these for each of 8 keys.
sub publish_each
{
	my ($from, $to, @topics) = @_;
	my $topics = join(', ', map { "'$_'" } @topics);

	return $node->sql("SELECT rc_publish(t, m::text, 'k' || n) FROM generate_series($from, $to) m, generate_series(1, 8) n, unnest(ARRAY[$topics]) t");
}

$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
$kafka->create_topic('fine');
$kafka->create_topic($_, partitions => 4, replication => 1) foreach 'stuck', 'stuck.1', 'stuck.2';
publish_each(0, 0, 'stuck', 'fine', 'stuck.1', 'stuck.2');
$node->wait_published;
$node->sql(q{CREATE FUNCTION noise() RETURNS bytea LANGUAGE sql AS
	$$ SELECT string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, 9 * 65536) i $$});

$kafka->kill(2);
publish_each(1, 3, 'stuck', 'fine');
$node->wait_published('fine');
cmp_ok($node->sql('SELECT count(*) FROM rappel_conso.outbox'), '>', 0, 'D1: messages for partitions without a leader wait');
publish_each(4, 4, 'stuck', 'fine');
$node->wait_published('fine');
publish_each(5, 5, 'fine');
$node->wait_published('fine');
pass('D1: those of another topic do not');

# Large messages that go nowhere take no room from others: one of another topic
# comes through before those are tried once more.
sub tries { return $node->sql(q{SELECT COALESCE(max(failures), 0) FROM rappel_conso.outbox_topic WHERE topic LIKE 'stuck._'}); }

$node->sql(q{SELECT rc_publish(t, noise, ('k' || n)::bytea) FROM noise(), generate_series(1, 8) n, unnest('{stuck.1,stuck.2}'::text[]) t});
my ($late, $round) = (0, 0);
while ($round < 15 || tries() < 2)
{
	my $before = tries();

	$node->sql("SELECT rc_publish('quick', '$round', 'k')");
	$node->wait_published('quick');
	# the first try that fails is told with the second
	$late++ if tries() > ($before || 1) + 1;
	$round++;
}
is(join(' ', map { $_->{payload} } $kafka->consume('quick')), join(' ', 0 .. $round - 1), 'D1: 9 MB for partitions without a leader keep no message of another topic waiting');
is($late, 0, 'D1: by no more than a round');
cmp_ok($node->sql(q{SELECT count(*) FROM rappel_conso.outbox WHERE topic LIKE 'stuck._'}), '>', 0, 'D1: while they wait');

$kafka->restart(2);
$node->wait_published;
my (%values, %ids);
foreach my $message ($kafka->consume('stuck'))
{
	my %headers = @{ $message->{headers} };

	$values{ $message->{key} } .= $message->{payload} unless $ids{ $headers{'rappel_conso-id'} }++;
}
is(join(' ', map { "$_=$values{$_}" } sort keys %values), join(' ', map { "k$_=01234" } 1 .. 8),
	'D1: they come when the leaders are back, in order for each key');
is(scalar($kafka->consume('fine')), 6 * 8, 'D1: and the others have come once each');

done_testing();
