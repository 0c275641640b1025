# 067_locked_tables.pl
#     A role that locks a table of ours stops nobody for longer than it is
#     locked, and whoever waits for it says so.  Tables that callers lock
#     against each other's streams.

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
	api => $api,
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 20\n");

$node->sql("UPDATE rappel_conso.stream SET paused = true; CREATE TABLE seen (value text)");
$kafka->create_topic('fine');
$node->add_stream('fine', value_type => "'text'", statement => "'INSERT INTO public.seen SELECT value FROM records'");
$kafka->produce_texts('fine', 4);
$node->becomes_true('a stream works', "SELECT count(*) = 4 FROM seen");

#
# R7: tables that a role locks
#

$node->sql(<<~'EOC');
	CREATE ROLE rude LOGIN; GRANT USAGE ON SCHEMA rappel_conso TO rude; GRANT SELECT, UPDATE ON rappel_conso.stream TO rude;
	CREATE VIEW said AS SELECT stream, state, detail FROM rappel_conso.stream_state;
	EOC
foreach my $mode ('EXCLUSIVE', 'ACCESS EXCLUSIVE')
{
	my $place = $node->log_position;
	my $lock = $node->start_session("SET ROLE rude; BEGIN; LOCK TABLE rappel_conso.stream IN $mode MODE;
		\n\\warn locked\nSELECT pg_sleep(1000)");

	$lock->wait_for(qr/locked/);
	my $pid = $node->sql("SELECT pid FROM pg_locks WHERE mode = '${\($mode =~ s/(\w)(\w*)\s?/$1\L$2/gr)}Lock' AND relation = 'rappel_conso.stream'::regclass");
	if ($mode eq 'ACCESS EXCLUSIVE')
	{
		$node->becomes_true("R7: under $mode a stream says that it waits, and for whom", "SELECT state = 'waiting' AND detail ~ '\"rappel_conso.stream\".*[^0-9]$pid([^0-9]|\$)' FROM said WHERE stream = 'fine'");
		ok($node->wait_logged('55P03', 'LOG', qr/"rappel_conso\.stream".*\b$pid\b/, $place), 'R7: the scheduler, too');
		is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso%' AND xact_start < now() - interval '20 s'"), 0, 'R7: nobody waits in a transaction for long');
	}
	else
	{
		$kafka->produce_texts('fine', 1);
		$node->becomes_true("R7: $mode stops nothing", "SELECT count(*) = 5 FROM seen");
	}
	$node->sql("SELECT pg_terminate_backend($pid)");
	$lock->finish;
}
$kafka->produce_texts('fine', 1);
$node->becomes_true('R7: then it goes on', "SELECT count(*) = 6 FROM seen");
$node->becomes_true('and says so', "SELECT state = 'running' FROM rc_status() WHERE component = 'stream' AND name = 'fine'");

#
# D5: rows that an owner keeps locked, of streams that wait for a slot: those of
# others are started meanwhile
#
$node->sql(<<~'EOC');
	GRANT INSERT, UPDATE ON rappel_conso.stream TO rude;
	GRANT INSERT ON seen TO rude;
	INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('rude', 'rude.*', true);
	ALTER SYSTEM SET rappel_conso.workers_per_owner = 1;
	SELECT pg_reload_conf();
	EOC
$kafka->create_topic($_) foreach 'rude.1', 'rude.2', 'rude.3', 'later';
$node->sql("SET ROLE rude; INSERT INTO rappel_conso.stream (name, topics, value_type, statement)
	SELECT 'a_rude_' || n, ARRAY['rude.' || n], 'text', 'INSERT INTO public.seen SELECT value FROM records' FROM generate_series(1, 3) n");
$node->becomes_true('two of three streams of a role wait for its share', "SELECT count(*) = 2 FROM rappel_conso.stream_state WHERE stream LIKE 'a_rude%' AND detail ~ 'rappel_conso.workers_per_owner'");
my $rows = $node->start_session("BEGIN; UPDATE rappel_conso.stream SET batch_size = 777 WHERE name LIKE 'a_rude%';
	SELECT FROM rappel_conso.stream_state WHERE stream LIKE 'a_rude%' FOR UPDATE;\n\\warn locked\nSELECT pg_sleep(1000)");
$rows->wait_for(qr/locked/);
my $holder = $node->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND backend_xid IS NOT NULL");
$node->sql(q{UPDATE rappel_conso.stream_state SET retry_at = NULL WHERE stream = 'fine'; SELECT pg_terminate_backend(rappel_conso.worker_pid('stream', 'fine'))});
$node->add_stream('later', value_type => "'text'", statement => "'INSERT INTO public.seen SELECT value FROM records'");
$kafka->produce_texts($_, 1) foreach 'later', 'fine';
$node->becomes_true('D5: a new stream of another role is started', "SELECT next_offset = 1 FROM rappel_conso.stream_offset WHERE stream = 'later'");
$node->becomes_true('D5: and one that has lost its worker', "SELECT rappel_conso.worker_pid('stream', 'fine') > 0");
is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $holder AND backend_xid IS NOT NULL"), 1, 'D5: while the rows are still locked');
$node->sql("SELECT pg_terminate_backend($holder)");
$rows->finish;
$node->sql("DELETE FROM rappel_conso.stream WHERE name LIKE 'a_rude%'; ALTER SYSTEM RESET rappel_conso.workers_per_owner; SELECT pg_reload_conf()");

#
# D5: a change that nobody was told of cancels the statement of a direct run,
# also when the scheduler finds the table of sources locked at first
#

$node->make_source('direct', api => $api, topic => 'NULL');
{
	my $table = $node->start_session("BEGIN; LOCK TABLE direct;\n\\warn locked\nSELECT pg_sleep(1000)");
	$table->wait_for(qr/locked/);
	my $call = $node->start_session("SELECT rc_sync_now('direct')");
	$node->becomes_true('the statement of a direct run waits', "SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity USING (pid) WHERE NOT granted AND backend_type = 'rappel_conso run direct'");

	# the run has read it, so that this one waits, before everybody who comes later
	my $sources = $node->start_session("SET application_name = 'sources'; BEGIN; LOCK TABLE rappel_conso.source");
	$node->becomes_true('somebody wants to lock the table of sources', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'sources' AND wait_event_type = 'Lock'");
	my $pid = $node->sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'sources'");
	my $place = $node->log_position;
	$node->sql("SET session_replication_role = replica; UPDATE rappel_conso.stream SET batch_size = 321 WHERE name = 'direct'");
	ok($node->wait_logged('55P03', 'LOG', qr/"rappel_conso\.source".*\b$pid\b/, $place), 'D5: the scheduler is held up when it looks for whom to cancel');
	$node->sql("SELECT pg_terminate_backend($pid)");
	$sources->finish;
	is($call->finish->{sqlstate}, '55000', 'D5: it cancels when that is over');
	$node->sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'direct'::regclass");
	$table->finish;
}

#
# C3: a circle over runs that wait for streams
#

foreach my $name ('one', 'two')
{
	$kafka->create_topic($name);
	$node->make_source($name, api => $api, topic => "'$name'");
	$node->becomes_true("stream $name has a worker", "rappel_conso.worker_pid('stream', '$name') > 0");
}
my $gate = $node->start_session("SELECT pg_advisory_lock(1);\n\\warn shut\nSELECT pg_sleep(1000)");
$gate->wait_for(qr/shut/);
my @callers;
foreach my $pair ([ 'one', 'two' ], [ 'two', 'one' ])
{
	my $caller = $node->start_session("BEGIN;\nLOCK TABLE $pair->[0];\n\\warn holds\n
		SELECT pg_advisory_xact_lock_shared(1);\nSELECT rc_sync_now('$pair->[1]');\nCOMMIT");

	$caller->wait_for(qr/holds/);
	push @callers, $caller;
}
$node->sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND mode = 'ExclusiveLock'");
$_->finish foreach ($gate, @callers);
my @errors = grep { defined } map { $_->{sqlstate} } @callers;
ok(@errors > 0, 'C3: two callers whose runs wait for each other\'s streams do not hang');
is(join(' ', grep { $_ ne '55006' } @errors), '', 'C3: with the same error');
is($node->sql("SELECT state FROM rc_sync_now('$_')"), 'success', "the run of $_ works") foreach ('one', 'two');

done_testing();
