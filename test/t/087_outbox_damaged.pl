# 087_outbox_damaged.pl
#     Messages of the outbox that cannot be read from disk: they keep those of
#     their own topic waiting at most, with words that say what to do (D1).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;
use Time::HiRes qw(usleep);

need_kafka();

my $kafka = start_kafka();
my $node = new_node('damaged', kafka => $kafka, preload => 1, conf => "autovacuum = off\n");
my $data = $node->data_dir;

sub numbers_in { return join(' ', map { substr($_, 0, 3) } $kafka->payloads($_[0])); }

# The table itself cannot be asked while a page is broken.
sub wait_consumed
{
	my ($topic, $n) = @_;

	foreach (1 .. 600)
	{
		return if $kafka->topics->{$topic} && $kafka->consume($topic) >= $n;
		usleep(100_000);
	}
	die "$n messages of $topic: not in time";
}

# So that a page has few of them, and none is outside of it.
sub publish_padded
{
	my ($topic, $from, $to) = @_;

	return $node->sql("SELECT rc_publish('$topic', rpad(n::text || ' ', 1500, md5(n::text)), 'k') FROM generate_series($from, $to) n");
}

# Overwrite part of a file of the stopped server; returns what was there.
sub overwrite
{
	my ($file, $at, $bytes) = @_;

	open(my $handle, '+<', "$data/$file") or die "$file: $!";
	seek($handle, $at, 0);
	read($handle, my $old, length($bytes));
	seek($handle, $at, 0);
	print $handle $bytes;
	close($handle) or die "$file: $!";
	return $old;
}

$node->sql('UPDATE rappel_conso.stream SET paused = true');
$kafka->create_topic($_) foreach 'broken', 'fine', 'other', 'later';

# ---- a page of the table ----

$node->append_conf('postgresql.conf', "rappel_conso.databases = ''");
$node->restart;
$node->sql('ALTER TABLE rappel_conso.outbox ALTER value SET STORAGE PLAIN');
publish_padded('fine', 100, 103);
publish_padded('broken', 200, 209);
publish_padded('other', 300, 303);
my $pages = $node->sql(q{
	SELECT string_agg(DISTINCT (ctid::text::point)[0]::text, ' '), max((ctid::text::point)[0]) FROM rappel_conso.outbox
	WHERE topic = 'broken' AND NOT EXISTS (SELECT FROM rappel_conso.outbox o
	  WHERE (o.ctid::text::point)[0] = (outbox.ctid::text::point)[0] AND o.topic <> 'broken')});
my ($page) = $pages =~ /^(\d+)/ or die "no page has messages of one topic only: $pages";
my $heap = $node->sql(q{SELECT pg_relation_filepath('rappel_conso.outbox')});

$node->stop;
my $good = overwrite($heap, 8192 * $page, "\xff" x 24);
$node->append_conf('postgresql.conf', "rappel_conso.databases = 'postgres'");
$node->start;
$node->wait_for('the topic to wait', q{SELECT count(*) = 1 FROM rappel_conso.outbox_topic});
like($node->sql('SELECT topic, sqlstate, error, hint FROM rappel_conso.outbox_topic'),
	qr/^broken\|XX001\|.*: invalid page in block $page .*\|./, 'D1: the topic of a broken page waits, with what to do');
ok($node->times_logged('XX001', 'LOG', qr/"broken".*: invalid page in block $page /), 'D1: the log names it');
$node->sql(q{SELECT rc_publish(t, n || ' more', 'k') FROM generate_series(110, 111) n, unnest('{fine,other,apart,later}'::text[]) t});
wait_consumed($_, 2) foreach 'apart', 'later';
is(numbers_in('apart') . '/' . numbers_in('later'), '110 111/110 111', 'D1: topics that are new meanwhile do not wait for it');
$node->wait_for('the state', q{SELECT error ~ '(^|[^0-9])1[^0-9].*"rappel_conso.outbox"' AND sqlstate = 'XX001' AND hint <> '' FROM rappel_conso.outbox_state});
is(numbers_in('broken'), '', 'D1: what is readable of the broken topic does not go before the rest');

$node->stop;
overwrite($heap, 8192 * $page, $good);
$node->start;
$node->wait_published($_) foreach 'fine', 'broken', 'other';
is(numbers_in('fine'), '100 101 102 103 110 111', 'D1: messages of another topic come once each');
is(numbers_in('other'), '300 301 302 303 110 111', 'D1: whatever their place in the table');
is(numbers_in('broken'), join(' ', 200 .. 209), 'D1: those of the broken page come in order once it can be read');
$node->wait_for('no topic to wait', q{SELECT count(*) = 0 FROM rappel_conso.outbox_topic});

done_testing();
