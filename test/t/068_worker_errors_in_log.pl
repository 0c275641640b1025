# 068_worker_errors_in_log.pl
#     An error that ends a worker, in the server's log: one report, with its
#     SQLSTATE, and no word of a process that has exited with code 1.  Who waits
#     for the worker is told all of it.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();

# How a process ended is logged by the server after it has told who waits; so
# the tests look for it in all of the log, when the server has been stopped.
my $node = new_node('main', api => $api, preload => 1);

$api->serve(RappelConso::DATASET(), [ map { new_recall($_) } (1 .. 3) ]);
$node->make_source('plain', api => $api, retries => 0, paused => 'true');
$node->make_source('unknown', api => $api, retries => 0, paused => 'true', dataset => "'no-such-dataset'");
$node->make_source('strict', api => $api, retries => 0, paused => 'true');
$node->sql(q{
	UPDATE rappel_conso.stream SET on_error = 'stop',
	       statement = 'INSERT INTO strict (key, value) SELECT key, (1 / (length(key) - length(key)))::text::jsonb FROM records'
	WHERE name = 'strict';
	CREATE TABLE raised (key text);
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'refused here' USING ERRCODE = '57014', DETAIL = 'a detail', HINT = 'a hint'; END$$;
	CREATE TRIGGER refuse BEFORE INSERT ON raised FOR EACH ROW EXECUTE FUNCTION refuse()});
$node->make_source('raising', api => $api, retries => 0, paused => 'true');
$node->sql(q{
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO raised SELECT key FROM records' WHERE name = 'raising'});

# SQL fails with that SQLSTATE, and a worker has logged it once.
sub fails_with
{
	my ($what, $sql, $sqlstate, $caller) = @_;
	my $position = $node->log_position;
	my ($out, $err) = $node->attempt($sql);
	my @logged;

	like($err, qr/ERROR:  $sqlstate: /, "$what: the caller has the SQLSTATE");
	like($err, $caller, "$what: and what else is said") if $caller;
	@logged = $node->log_since($position) =~ /^.* (\w{5}) \[\d+\] (?:ERROR|FATAL):  .*$/mg;
	is("@logged", $sqlstate, "$what: one worker has logged it, once");
	return;
}

$api->fault('status', on => 'meta', status => 500);
fails_with("the API's 500", q{SELECT rc_sync_now('plain')}, '08006', qr/^DETAIL:  .*500/m);
fails_with('an unknown dataset', q{SELECT rc_sync_now('unknown')}, '42704', qr/^HINT:  /m);
fails_with("the stream's first record", q{SELECT rc_sync_now('strict')}, '22012');
fails_with("an error of the stream's trigger", q{SELECT rc_sync_now('raising')}, '57014', qr/^DETAIL:  a detail\n.*HINT:  a hint/ms);
fails_with('a dead letter that does not exist', q{SELECT rc_retry('plain', 4711)}, '42704');
$node->sql(q{UPDATE rappel_conso.stream SET setup = 'SELECT 1 / (SELECT 0)' WHERE name = 'raising'});
fails_with('rc_retry() of a stream whose setup fails', q{SELECT rc_retry('raising')}, '22012');
fails_with('rc_drain() without Kafka', q{SELECT rc_drain('plain')}, '55000', qr/^HINT:  .*kafka_brokers/m);

# Nobody waits for this one, and it is cancelled.
$api->fault('hang', on => 'export', times => 0);
my $run = $node->sql(q{UPDATE rappel_conso.source SET paused = false WHERE name = 'plain' RETURNING NULL; SELECT rc_trigger('plain')});
$run =~ s/\s//g;
$node->wait_for('the run', "SELECT state = 'running' FROM rappel_conso.run WHERE id = $run");
$node->sql("SELECT rc_cancel($run)");
is($node->wait_run_end($run), 'cancelled', 'a run that was cancelled');
$node->has_no_run_worker('has ended');
is($node->sql(q{SELECT rappel_conso.worker_pid('scheduler') > 0}), 't', 'the scheduler goes on');

# A process that was killed is still seen as one that has failed.
my $scheduler = $node->sql(q{SELECT rappel_conso.worker_pid('scheduler')});
$node->sql("SELECT pg_terminate_backend($scheduler, 10000)");
$node->becomes_true('who was terminated has ended', "rappel_conso.worker_pid('scheduler') IS DISTINCT FROM $scheduler");
$node->stop;

my @exits = $node->log_since(0) =~ /^.*background worker "rappel_conso (.*?)" \(PID \d+\) exited with exit code/mg;
is(join(', ', grep { !/^(?:launcher|scheduler)$/ } @exits), '', 'issue 11: no error has made a worker exit with a code');
is(scalar(grep { $_ eq 'scheduler' } @exits) > 0, 1, 'issue 11: but who was terminated has');

done_testing();
