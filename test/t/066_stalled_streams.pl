# 066_stalled_streams.pl
#     Streams that do not go on: their lag is true all the same, and whoever
#     waits for them gets their error.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $api = start_api();
my $node = new_node(
	'main',
	kafka => $kafka,
	api => $api,
	preload => 1,
	conf => "max_worker_processes = 20\n");

sub lag_of { return "(SELECT lag FROM rc_status() WHERE component = 'stream' AND name = '$_[0]')"; }

$node->sql("UPDATE rappel_conso.stream SET paused = true; CREATE TABLE seen (value text); CREATE TABLE gone (value text)");

#
# D13: who waits for a stream
#

$node->sql(<<~'EOC');
	CREATE FUNCTION full_disk() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$;
	EOC
$node->make_source('slow', api => $api, topic => "'slow'");
$node->sql(q{UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.slow SELECT key, value FROM records WHERE public.full_disk() IS NOT NULL' WHERE name = 'slow'});
$kafka->create_topic('slow');
$kafka->produce('slow', 'k', '{}');
$node->becomes_true('a stream waits', "SELECT state = 'waiting' AND detail = 'the disk is full' FROM rappel_conso.stream_state WHERE stream = 'slow' AND rappel_conso.worker_pid('stream', 'slow') > 0");
my $call = $node->start_session("SELECT rc_sync_now('slow')");

$kafka->create_topic('paused');
$node->add_stream('paused', value_type => "'text'", statement => "'INSERT INTO public.seen SELECT value FROM records'");
$kafka->create_topic('failed');
$node->add_stream('failed', value_type => "'text'", statement => "'INSERT INTO public.gone SELECT value FROM records'");
foreach my $topic ('paused', 'failed')
{
	$kafka->produce_texts($topic, 2);
	$node->becomes_true("$topic applies", "SELECT sum(applied) = 2 FROM rappel_conso.stream_offset WHERE stream = '$topic'");
	$node->becomes_true('and is at the end', lag_of($topic) . ' = 0');
}

#
# V10: lag of what has no worker
#

$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = 'paused'; DROP TABLE gone");
$kafka->produce_texts('failed', 3);
$kafka->produce_texts('paused', 5);
$node->becomes_true('one is paused, one has failed', "SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'failed'");
$kafka->produce_texts('failed', 4);
$node->becomes_true('V10: the lag of a paused stream', lag_of('paused') . ' = 5');
$node->becomes_true('V10: and of a failed one', lag_of('failed') . ' = 7');
is($node->sql("SELECT observed_at > now() - interval '5 minutes' AND lag_time IS NOT NULL FROM rappel_conso.lag WHERE stream = 'paused'"), 't', 'the view shows it, too');
$kafka->produce_texts('paused', 1);
$node->becomes_true('V10: it goes on being looked at', lag_of('paused') . ' = 6');
is($node->sql("SELECT sum(next_offset) FROM rappel_conso.stream_offset WHERE stream = 'paused'"), 2, 'and is not moved by that');
$node->becomes_true('V10: who looks does not stay', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'rappel_conso watermarks')");

#
# C7: waiting for a stream whose cause of failure was fixed
#

$call->finish;
like("$call->{sqlstate}: $call->{message}", qr/^55000: .*"slow".*: the disk is full$/,
	'D13: rc_sync_now() ends with the error of a stream that waits');
ok($call->{hint}, 'and says what becomes of the records');

# the stream has failed before, and its cause is fixed: that is not repeated
$node->sql(q{CREATE FUNCTION cured() RETURNS boolean LANGUAGE sql AS 'SELECT true';
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.slow SELECT key, value FROM records WHERE public.cured()' WHERE name = 'slow';
	ALTER FUNCTION cured() RENAME TO hidden});
$node->becomes_true('a stream has failed', "SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'slow'");
$node->sql("ALTER FUNCTION hidden() RENAME TO cured;
       UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream = 'slow'");
is($node->sql("SELECT state FROM rc_sync_now('slow')"), 'success', 'C7: what is mended is tried at once by who waits');
is($node->sql('SELECT count(*) FROM slow'), 301, 'and applied');

done_testing();
