# 036_kafka_async_commit.pl
#     With synchronous_commit = off a crash takes back what was committed
#     last.  What Kafka has been told cannot be taken back: whatever it
#     rests on is on disk before (C4).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();
my $api = start_api();
my $kafka = start_kafka();
my $node = new_node(
	'main',
	api => $api,
	kafka => $kafka,
	conf => <<~'EOC');
	synchronous_commit = off
	wal_writer_delay = 10s
	wal_writer_flush_after = 1GB
	checkpoint_timeout = 1h
	autovacuum = off
	max_worker_processes = 16
	EOC

# Kill the server with all that it has not flushed.
sub crash
{
	my @pids = split(/\n/, $node->sql('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	# one of them may stand still, and would not see that the others are gone
	kill('KILL', $postmaster, @pids);
	$node->kill_server(@pids);
	return;
}

# From here on nothing reaches the disk but what a commit waits for: the process
# that would write it in the background stands still until the crash.
sub keep_back
{
	$node->sql('CHECKPOINT');
	kill('STOP', $node->sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'}));
	return;
}

sub mark { return $api->control(update => { dataset => DATASET, where => $_[0], set => { motif_rappel => $_[1] } }); }

# The newest text of a recall in the topic.
sub newest_text
{
	my ($key) = @_;
	my ($last) = grep { $_->{key} eq $key } reverse $kafka->consume('rappel_conso');

	return $last->{payload};
}

is($node->sql('SELECT state FROM rc_sync_now()'), 'success', 'a first sync');
my $key = $node->sql(q{SELECT max(reference_fiche) FROM rappel_conso_table WHERE reference_fiche ~ '^2026'});
my $where = $node->sql("SELECT format('numero_fiche = %L', '$key')");
my $before = newest_text($key);
my ($line) = grep { /"numero_fiche": "\Q$key\E"/ } split(/\n/, slurp_file(sample_file('recalls.jsonl')));
my $text = JSON::PP->new->utf8->decode($line)->{motif_rappel};
my $row = $node->sql("SELECT motif_du_rappel FROM rappel_conso_table WHERE reference_fiche = '$key'");

my $hash = $node->sql("SELECT hash FROM rappel_conso.source_record WHERE key = '$key'");

keep_back();

# Published, and then as if nothing had happened, since the API has the old text
# again.  Without the marks the record would seem to be equal to the last one.
mark($where, 'changed');
is($node->sql(q{SELECT state || ' ' || published FROM rc_sync_now(full_sync => false)}), 'success 1', 'a record that has changed is published');
my $run = $node->sql('SELECT max(id) FROM rappel_conso.run');
isnt(newest_text($key), $before, 'and is in the topic');
crash();
is($node->sql('SELECT max(id) FROM rappel_conso.run'), $run, 'C4: the row of a run that has published survives a crash');
isnt($node->sql("SELECT hash FROM rappel_conso.source_record WHERE key = '$key'"), $hash, 'C4: the old state is not taken for the last one published');
mark($where, $text);
is($node->sql(q{SELECT state FROM rc_sync_now()}), 'success', 'a sync after the crash');
is(newest_text($key), $before, 'C4: the topic ends with what the API has');
is($node->sql("SELECT motif_du_rappel FROM rappel_conso_table WHERE reference_fiche = '$key'"), $row, 'C4: and so does the table');

# A record that vanishes: its tombstone rests on a mark of the same kind.
$node->sql("UPDATE rappel_conso.source_record SET missed_at = now() - '2 days'::interval WHERE key = '$key'");
keep_back();
$api->control(delete => { dataset => DATASET, where => $where });
is($node->sql(q{SELECT state FROM rc_sync_now(full_sync => true)}), 'success', 'a record is withdrawn');
is(newest_text($key), undef, 'with a tombstone');
crash();
is($node->sql("SELECT count(*) FROM rappel_conso.source_record WHERE key = '$key' AND hash IS NOT NULL"), 0, 'C4: it is in doubt after the crash');

# Without a key nothing is marked before it is published, but the run's number is
# in the headers.
$node->sql(q{
	INSERT INTO rappel_conso.source (name, dataset, url, transform, key_field, cursor_field, topic, stream)
	SELECT 'keyless', dataset, url, 'none', NULL, NULL, 'keyless', NULL FROM rappel_conso.source WHERE name = 'rappel_conso'});
keep_back();
is($node->sql(q{SELECT state FROM rc_sync_now('keyless')}), 'success', 'a source without a key');
$run = $node->sql('SELECT max(id) FROM rappel_conso.run');
crash();
is($node->sql('SELECT max(id) FROM rappel_conso.run'), $run, 'C4: the row of its run survives a crash, too');

# Where "latest" is, is known before anything is read from there.
$node->sql(q{
	CREATE TABLE t (v text);
	INSERT INTO rappel_conso.stream (name, topics, start_at, statement)
	VALUES ('late', '{t}', 'latest', 'INSERT INTO t SELECT value FROM records')});
$kafka->produce('t', undef, '"too early"');
keep_back();
is($node->sql(q{SELECT applied FROM rc_drain('late')}), 0, 'a stream that starts at the latest');
crash();
$kafka->produce('t', undef, '"read"');
is($node->sql(q{SELECT applied FROM rc_drain('late')}), 1, 'C4: after a crash it starts where it did before');
is($node->sql('SELECT v FROM t'), '"read"', 'and has read what came');

done_testing();
