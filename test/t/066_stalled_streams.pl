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

sub value { return $node->safe_psql('postgres', $_[0]); }

sub lag_of { return "(SELECT lag FROM rc_status() WHERE component = 'stream' AND name = '$_[0]')"; }

sub produce { my ($topic, $n) = @_; return $kafka->produce_many($topic, [ map { [ 'k', "value $_" ] } 1 .. $n ]); }

value("UPDATE rappel_conso.stream SET paused = true; CREATE TABLE seen (value text); CREATE TABLE gone (value text)");

#
# D13: who waits for a stream
#

value(<<~'EOC');
	CREATE FUNCTION full_disk() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$;
	EOC
make_source($node, 'slow', api => $api, topic => "'slow'");
value(q{UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.slow SELECT key, value FROM records WHERE public.full_disk() IS NOT NULL' WHERE name = 'slow'});
$kafka->create_topic('slow');
$kafka->produce('slow', 'k', '{}');
$node->becomes_true("SELECT state = 'waiting' AND detail = 'the disk is full' FROM rappel_conso.stream_state WHERE stream = 'slow' AND rappel_conso.worker_pid('stream', 'slow') > 0", 'a stream waits');
my $call = start_session($node, "SELECT rc_sync_now('slow')");

$kafka->create_topic('paused');
$node->add_stream('paused', value_type => "'text'", statement => "'INSERT INTO public.seen SELECT value FROM records'");
$kafka->create_topic('failed');
$node->add_stream('failed', value_type => "'text'", statement => "'INSERT INTO public.gone SELECT value FROM records'");
foreach my $topic ('paused', 'failed')
{
	produce($topic, 2);
	$node->becomes_true("SELECT sum(applied) = 2 FROM rappel_conso.stream_offset WHERE stream = '$topic'", "$topic applies");
	$node->becomes_true(lag_of($topic) . ' = 0', 'and is at the end');
}

#
# V10: lag of what has no worker
#

value("UPDATE rappel_conso.stream SET paused = true WHERE name = 'paused'; DROP TABLE gone");
produce('failed', 3);
produce('paused', 5);
$node->becomes_true("SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'failed'", 'one is paused, one has failed');
produce('failed', 4);
$node->becomes_true(lag_of('paused') . ' = 5', 'V10: the lag of a paused stream');
$node->becomes_true(lag_of('failed') . ' = 7', 'V10: and of a failed one');
is(value("SELECT observed_at > now() - interval '5 minutes' AND lag_time IS NOT NULL FROM rappel_conso.lag WHERE stream = 'paused'"), 't', 'the view shows it, too');
produce('paused', 1);
$node->becomes_true(lag_of('paused') . ' = 6', 'V10: it goes on being looked at');
is(value("SELECT sum(next_offset) FROM rappel_conso.stream_offset WHERE stream = 'paused'"), 2, 'and is not moved by that');
$node->becomes_true("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'rappel_conso watermarks')", 'V10: who looks does not stay');

#
# C7: who waits for a stream that was mended
#

$call->finish;
is("$call->{sqlstate}: $call->{message}", '55000: stream "slow" waits and does not go on: the disk is full',
	'D13: rc_sync_now() ends with the error of a stream that waits');
like($call->{hint}, qr/^What is published is applied when it goes on/, 'and says what becomes of the records');

# the stream has failed before, and its cause is mended: that is not repeated
value(q{CREATE FUNCTION cured() RETURNS boolean LANGUAGE sql AS 'SELECT true';
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.slow SELECT key, value FROM records WHERE public.cured()' WHERE name = 'slow';
	ALTER FUNCTION cured() RENAME TO hidden});
$node->becomes_true("SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'slow'", 'a stream has failed');
value("ALTER FUNCTION hidden() RENAME TO cured;
       UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream = 'slow'");
is(value("SELECT state FROM rc_sync_now('slow')"), 'success', 'C7: what is mended is tried at once by who waits');
is(value('SELECT count(*) FROM slow'), 301, 'and applied');

done_testing();
