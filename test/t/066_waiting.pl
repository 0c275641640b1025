# 066_waiting.pl
#     Streams that do not go on: their lag is true all the same, whoever waits
#     for them gets their error, and a table that somebody has locked stops
#     nobody for longer than it is locked.

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

sub wait_for
{
	my ($sql, $name) = @_;

	return ok($node->poll_query_until('postgres', "SELECT ($sql)"), $name);
}

sub add_stream
{
	my ($name, $topic, $statement, %columns) = @_;
	my @names = sort keys %columns;

	$kafka->create_topic($topic);
	value("INSERT INTO rappel_conso.stream (" . join(', ', 'name', 'topics', 'value_type', 'statement', @names) . ")
	       VALUES (" . join(', ', "'$name'", "'{$topic}'", "'text'", "'$statement'", @columns{@names}) . ")");
	return;
}

sub lag_of { return "(SELECT lag FROM rc_status() WHERE component = 'stream' AND name = '$_[0]')"; }

sub produce { my ($topic, $n) = @_; return $kafka->produce_many($topic, [ map { [ 'k', "value $_" ] } 1 .. $n ]); }

value("UPDATE rappel_conso.stream SET paused = true; CREATE TABLE seen (value text); CREATE TABLE gone (value text)");
add_stream('paused', 'paused', 'INSERT INTO public.seen SELECT value FROM records');
add_stream('failed', 'failed', 'INSERT INTO public.gone SELECT value FROM records');
add_stream('fine', 'fine', 'INSERT INTO public.seen SELECT value FROM records');
foreach my $topic ('paused', 'failed', 'fine')
{
	produce($topic, 2);
	wait_for("SELECT sum(applied) = 2 FROM rappel_conso.stream_offset WHERE stream = '$topic'", "$topic applies");
	wait_for(lag_of($topic) . ' = 0', 'and is at the end');
}

#
# V10: lag of what has no worker
#

value("UPDATE rappel_conso.stream SET paused = true WHERE name = 'paused'; DROP TABLE gone");
produce('failed', 3);
produce('paused', 5);
wait_for("SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'failed'", 'one is paused, one has failed');
produce('failed', 4);
wait_for(lag_of('paused') . ' = 5', 'V10: the lag of a paused stream');
wait_for(lag_of('failed') . ' = 7', 'V10: and of a failed one');
is(value("SELECT observed_at > now() - interval '5 minutes' AND lag_time IS NOT NULL FROM rappel_conso.lag WHERE stream = 'paused'"), 't', 'the view shows it, too');
produce('paused', 1);
wait_for(lag_of('paused') . ' = 6', 'V10: it goes on being looked at');
is(value("SELECT sum(next_offset) FROM rappel_conso.stream_offset WHERE stream = 'paused'"), 2, 'and is not moved by that');
wait_for("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'rappel_conso watermarks')", 'V10: who looks does not stay');

#
# R7: tables that a role locks
#

value(<<~'EOC');
	CREATE ROLE rude LOGIN; GRANT USAGE ON SCHEMA rappel_conso TO rude; GRANT SELECT, UPDATE ON rappel_conso.stream TO rude;
	CREATE VIEW said AS SELECT stream, state, detail FROM rappel_conso.stream_state;
	EOC
foreach my $mode ('EXCLUSIVE', 'ACCESS EXCLUSIVE')
{
	my $place = -s $node->logfile;
	my $lock = start_session($node, "SET ROLE rude; BEGIN; LOCK TABLE rappel_conso.stream IN $mode MODE;
		\n\\warn locked\nSELECT pg_sleep(1000)");

	$lock->wait_for(qr/locked/);
	my $pid = value("SELECT pid FROM pg_locks WHERE mode = '${\($mode =~ s/(\w)(\w*)\s?/$1\L$2/gr)}Lock' AND relation = 'rappel_conso.stream'::regclass");
	if ($mode eq 'ACCESS EXCLUSIVE')
	{
		wait_for("SELECT state = 'waiting' AND detail = 'table \"rappel_conso.stream\" is locked by process $pid' FROM said WHERE stream = 'fine'",
			"R7: under $mode a stream says that it waits, and for whom");
		ok($node->wait_for_log(qr/rappel_conso scheduler waits: table "rappel_conso.stream" is locked by process $pid/, $place), 'R7: the scheduler, too');
		is(value("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso%' AND xact_start < now() - interval '20 s'"), 0, 'R7: nobody waits in a transaction for long');
	}
	else
	{
		produce('fine', 1);
		wait_for("SELECT count(*) = 5 FROM seen", "R7: $mode stops nothing");
	}
	value("SELECT pg_terminate_backend($pid)");
	$lock->finish;
}
produce('fine', 1);
wait_for("SELECT count(*) = 6 FROM seen", 'R7: then it goes on');
wait_for("SELECT state = 'running' FROM rc_status() WHERE component = 'stream' AND name = 'fine'", 'and says so');

#
# D13, C7: who waits for a stream
#

value(<<~'EOC');
	CREATE FUNCTION full_disk() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$;
	EOC
make_source($node, 'slow', api => $api, topic => "'slow'");
value(q{UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.slow SELECT key, value FROM records WHERE public.full_disk() IS NOT NULL' WHERE name = 'slow'});
$kafka->create_topic('slow');
$kafka->produce('slow', 'k', '{}');
wait_for("SELECT state = 'waiting' AND detail = 'the disk is full' FROM said WHERE stream = 'slow' AND rappel_conso.worker_pid('stream', 'slow') > 0", 'a stream waits');
my ($result, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT rc_sync_now('slow')");
like($err, qr/ERROR:  55000: stream "slow" waits and does not go on: the disk is full/, 'D13: rc_sync_now() ends with the error of a stream that waits');

# the stream has failed before, and its cause is mended: that is not repeated
value(q{CREATE FUNCTION cured() RETURNS boolean LANGUAGE sql AS 'SELECT true';
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.slow SELECT key, value FROM records WHERE public.cured()' WHERE name = 'slow';
	ALTER FUNCTION cured() RENAME TO hidden});
wait_for("SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'slow'", 'a stream has failed');
value("ALTER FUNCTION hidden() RENAME TO cured;
       UPDATE rappel_conso.stream_state SET retry_at = clock_timestamp() + '4 minutes' WHERE stream = 'slow'");
is(value("SELECT state FROM rc_sync_now('slow')"), 'success', 'C7: what is mended is tried at once by who waits');
is(value('SELECT count(*) FROM slow'), 301, 'and applied');

done_testing();
