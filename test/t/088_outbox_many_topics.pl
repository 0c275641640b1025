# 088_outbox_many_topics.pl
#     Very many topics that wait: the publisher knows some of them at a time,
#     each has its turn, and messages of others are published meanwhile (D1).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $TOPICS = 3_000;
my $kafka = start_kafka(plain => 1, acls => 1);
my $node = new_node('many', kafka => $kafka, preload => 1, start => 0);

$node->append_conf('postgresql.conf', "rappel_conso.kafka_config_file = '" . $kafka->config_file . "'\n");
$node->start;
$node->create_extension;

sub wait_published_like { return $node->wait_for($_[0], "SELECT count(*) = 0 FROM rappel_conso.outbox WHERE topic ~ '$_[0]'"); }

# Memory of what the publisher knows of topics, in bytes.
sub memory
{
	my $from = $node->log_position;
	my $log;

	$node->sql(q{SELECT pg_log_backend_memory_contexts(rappel_conso.worker_pid('outbox'))});
	$node->wait_for_log(qr/Grand total/, $from);
	$log = $node->log_since($from);
	my $all = 0;
	$all += $1 while $log =~ /rappel_conso outbox topics: (\d+) total/g;
	return $all;
}

$kafka->acl('add', 'app', 'all', 'topic', $_, '--prefix') foreach 'aa.', 'zz.';
$kafka->create_topic('aa.free');
$node->sql(qq{
	UPDATE rappel_conso.stream SET paused = true;
	SELECT count(rc_publish('secret.' || n, n::text, 'k')) FROM generate_series(1, $TOPICS) n;
	SELECT rc_publish(t, '1', 'k') FROM unnest('{aa.free,zz.free}'::text[]) t});
wait_published_like('free');
is(join(' ', $kafka->payloads('aa.free')) . '/' . join(' ', $kafka->payloads('zz.free')), '1/1', 'D1: the first and the last of very many topics have their turn');
$node->wait_for('all to wait', "SELECT count(*) = $TOPICS AND bool_and(sqlstate = '42501') FROM rappel_conso.outbox_topic");
pass('D1: and so have all others, which wait, each with its error');
cmp_ok(memory(), '<', 4 * 1024 * 1024, 'D1: what is known of them at a time takes little memory');
$node->sql(q{SELECT rc_publish(t, '2', 'k') FROM unnest('{aa.free,zz.free,zz.new}'::text[]) t});
wait_published_like('free|new');
is(join(' ', $kafka->payloads('aa.free')) . '/' . join(' ', $kafka->payloads('zz.free')) . '/' . join(' ', $kafka->payloads('zz.new')), '1 2/1 2/2', 'D1: messages of other topics are published while those wait');
$node->wait_for('another try of all', q{SELECT min(failures) >= 2 FROM rappel_conso.outbox_topic});
cmp_ok($node->sql('SELECT min(failures) FROM rappel_conso.outbox_topic'), '>=', 2, 'D1: each is tried again, and its tries are counted, though it was forgotten meanwhile');

# A right that is given later counts for a topic wherever it is.
$kafka->acl('add', 'app', 'all', 'topic', 'secret.77');
$node->sql('SELECT pg_reload_conf()');
wait_published_like('secret[.]77$');
is(join(' ', $kafka->payloads('secret.77')), '77', 'D2: a topic goes out when it may, after a reload');
$node->sql(q{DELETE FROM rappel_conso.outbox WHERE topic LIKE 'secret.%'});
$node->wait_for('rows to go', 'SELECT count(*) = 0 FROM rappel_conso.outbox_topic');
pass('D1: topics whose messages were deleted wait no more');

done_testing();
