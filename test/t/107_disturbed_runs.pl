# 107_disturbed_runs.pl
#     What runs meet that nobody should do: definitions that change under them,
#     a dataset that changes while it is read, a cancel in the middle, clocks that
#     were set back, 200 who ask at once; and what is removed when it is old.
#     Nothing may be lost, and the next run must be right.
#
# Each source but the built-in one has a stream and a table of its own name; the
# table counts how often each record was sent.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use JSON::PP ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample
my $BATCH = 100;
my $MIDDLE = 150;      # lines of an export, when a gate shuts

my $api = start_api();
my $node = new_node(
	'main',
	api => $api,
	conf => <<~'EOC');
	timezone = 'UTC'
	max_worker_processes = 20
	rappel_conso.keep_history = 1
	EOC

my @small = (api => $api, batch_size => $BATCH);    # of make_source()

# A sync that was begun: its state, and what it fetched and inserted; or its
# error.
sub end_of
{
	my ($call) = @_;

	$call->finish;
	return $call->{out} unless $call->{sqlstate};
	return join('; ', grep { defined } "$call->{sqlstate}: $call->{message}", $call->{hint});
}

sub end_of_sync
{
	my ($name, @arguments) = @_;

	return end_of($node->start_session("SELECT state, fetched, inserted FROM rc_sync_now(" . join(', ', "'$name'", @arguments) . ')'));
}

# Begin a sync and return when it stands in the middle of the export, or where
# the faults hold it.
sub sync_into_middle
{
	my ($name, @faults) = @_;

	$api->control(faults => @faults ? \@faults : [ { fault => 'gate', on => 'export', lines => $MIDDLE } ]);
	my $call = $node->start_session("SELECT state, fetched, inserted FROM rc_sync_now('$name')");
	$api->wait_held;
	return $call;
}

# The outcome of a sync in whose middle something is changed: by SQL, or at the
# API.
sub in_the_middle
{
	my ($name, $change, @faults) = @_;
	my $call = sync_into_middle($name, @faults);

	ref $change ? $api->control(%$change) : $node->sql($change);
	$api->release;
	return end_of($call);
}

# Rows of the table of a source, and how often each was sent at most.
sub table { return $node->sql("SELECT count(*), max(times) FROM $_[0]"); }

#
# Definitions that change in the middle of a run
#
my $changed = '55000: source "NAME"';
my $whole = "success|$RECORDS|$RECORDS";
my $changed_stream = '55000: stream "NAME" .*source "NAME"';
my $rest = 'success|' . ($RECORDS - $BATCH + 11) . '|' . ($RECORDS - $BATCH);    # with the overlap
my $update = 'UPDATE rappel_conso.source SET';
my $filter = q{filter = 'numero_version > 1'};
$node->sql(q{CREATE ROLE cook LOGIN; INSERT INTO rappel_conso.topic_grant VALUES ('cook', '*', true, true)});

# Each: its name, the change; what the run says, and what the next one says;
# then the rows of the table, and how often they were sent.
my $few = 55;          # of the sample, that the filter selects
my $late = 33;         # of them, after the first batch
foreach my $case (
	[ 'filter', "$update $filter WHERE name = 'NAME'", $changed, "success|$few|$few", $BATCH + $late . '|2' ],
	[ 'and_back', "$update $filter WHERE name = 'NAME'; $update filter = NULL WHERE name = 'NAME'", $changed, $whole, "$RECORDS|2" ],
	[ 'key', "$update key_field = 'rappel_guid' WHERE name = 'NAME'", $changed, $whole, $RECORDS + $BATCH . '|1' ],
	[ 'paused', qq{$update "overlap" = '1 day', retries = 9, retry_delay = '1 h', poll_interval = '1 h', paused = true WHERE name = 'NAME'},
		$whole, 'success|0|0', "$RECORDS|1" ],
	[ 'owner', "$update owner = 'cook' WHERE name = 'NAME'", $whole,
		qr/^42501: source "owner".*stream "owner"/,
		"$RECORDS|1" ],
	[ 'stream_paused', "UPDATE rappel_conso.stream SET paused = true WHERE name = 'NAME'", $changed_stream,
		qr/^55000: stream "stream_paused".*SET paused = false WHERE name = 'stream_paused'/, "$BATCH|1" ],
	[ 'statement', "UPDATE rappel_conso.stream SET statement = 'SELECT key FROM records' WHERE name = 'NAME'", $changed_stream, $rest, "$BATCH|1" ],
	[ 'stream_renamed', "UPDATE rappel_conso.stream SET name = 'renamed_stream' WHERE name = 'NAME'", $changed_stream, $rest, "$RECORDS|1" ])
{
	my ($name, $change, $said, $next, $rows) = @$case;

	$node->make_source($name, @small);
	is_or_like(in_the_middle($name, $change =~ s/NAME/$name/gr), $said eq $whole ? $said : qr/^${\($said =~ s{NAME}{$name}gr)}/, "$name changes in the middle: what the caller is told");
	is( $node->newest_run(q{state, inserted, (SELECT string_agg(t.state, ' ') FROM rappel_conso.task t WHERE t.run = run.id)}, $name),
		$said eq $whole ? "success|$RECORDS|success" : "failed|$BATCH|failed",
		"$name: the run says so, too, and what was stored stays");
	is_or_like(end_of_sync($name), $next, "$name: the next run");
	is(table($name), $rows, "$name: every row is there");
}
$node->sql("UPDATE rappel_conso.stream SET paused = false WHERE name = 'stream_paused'");
is(end_of_sync('stream_paused'), $rest, 'a stream that was paused goes on');
is(table('stream_paused'), "$RECORDS|1", 'and gets what is missing');
$node->sql(q{ALTER TABLE owner OWNER TO cook; UPDATE rappel_conso.stream SET owner = 'cook' WHERE name = 'owner'});
is(end_of_sync('owner', 'true'), "success|$RECORDS|$RECORDS", 'so does a source whose stream follows to its owner');
is(table('owner'), "$RECORDS|2", 'and reads everything');

# Another stream, at once or after none
$node->make_source($_, @small) foreach ('other', 'spare', 'moved', 'orphan', 'deleted', 'old_name', 'patient', 'cancelled', 'refused', 'leaving', 'before');
like(in_the_middle('moved', "$update stream = 'other' WHERE name = 'moved'"), qr/^55000: source "moved"/, 'another stream in the middle');
is(end_of_sync('moved'), $whole, 'the next run feeds that');
is(table('other'), "$RECORDS|1", 'with everything');
like(
	$node->error_of("DELETE FROM rappel_conso.stream WHERE name = 'orphan'"),
	qr/^23503: .*"stream".*"source_stream_fkey".*"source"; /,
	'a stream that a source feeds is not deleted');
like(
	in_the_middle('orphan', "$update stream = NULL WHERE name = 'orphan'; DELETE FROM rappel_conso.stream WHERE name = 'orphan'"),
	qr/^55000: (source "orphan"|stream "orphan" .*source "orphan")/,
	'one that no source feeds any more is, in the middle of a run');
like( end_of_sync('orphan'),
	qr/^55000: .*"orphan".*"stream"/,
	'the next run says what is missing');
$node->sql("$update stream = 'spare' WHERE name = 'orphan'");
is(end_of_sync('orphan'), $whole, 'with another stream it reads everything');
is(table('spare'), "$RECORDS|1", 'which that stream gets');

# Deleted and made again; renamed
like(
	in_the_middle('deleted', "DELETE FROM rappel_conso.source WHERE name = 'deleted'"),
	qr/^42704: .*"deleted"/, 'a source that is deleted in the middle');
is( $node->sql(q{SELECT (SELECT count(*) FROM rappel_conso.source_state WHERE source = 'deleted') + count(*)
		FROM rappel_conso.source_record WHERE source = 'deleted'}),
	0, 'leaves neither cursor nor memory');
is($node->newest_run('state, inserted', 'deleted'), "failed|$BATCH", 'but its run');
is(table('deleted'), "$BATCH|1", 'and its rows');
$node->sql("DELETE FROM rappel_conso.stream WHERE name = 'deleted'");
$node->make_source('deleted', @small);
is(end_of_sync('deleted'), $whole, 'made again, it reads everything');
is(table('deleted'), "$RECORDS|2", 'and no row is missing');
like( in_the_middle('old_name', "$update name = 'new_name' WHERE name = 'old_name'"),
	qr/^42704: .*"old_name"/, 'a source that is renamed in the middle');
like(end_of_sync('new_name'), qr/^success\|2\d\d\|${\($RECORDS - $BATCH)}$/, 'goes on under its new name');
is(table('old_name'), "$RECORDS|1", 'where it was');

# A change that is taken back holds the run up, no more
my $call = sync_into_middle('patient');
my $changer = $node->start_session("BEGIN; $update $filter WHERE name = 'patient';\n\\warn changed\n");
$changer->wait_for(qr/changed/);
$api->release;
$node->wait_for('the run', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pid = rappel_conso.worker_pid('run', 'patient')");
$changer->finish;
is(end_of($call), $whole, 'a change that is rolled back leaves the run alone');
is(table('patient'), "$RECORDS|1", 'and its rows');

#
# Cancelled
#
$node->sql(<<~'EOC');
	CREATE ROLE other;
	CREATE ROLE member;
	GRANT cook TO member;
	GRANT EXECUTE ON FUNCTION rc_cancel(bigint) TO other, member;
	EOC
$node->sql("ALTER TABLE cancelled OWNER TO cook; $update owner = 'cook' WHERE name = 'cancelled';
	UPDATE rappel_conso.stream SET owner = 'cook' WHERE name = 'cancelled'");
$call = sync_into_middle('cancelled');
my $run = $node->newest_run('id', 'cancelled');
my $queued = $node->sql("SELECT rc_trigger('cancelled')");
like($node->error_of("SET ROLE other; SELECT rc_cancel($_)"), qr/^42704: .*$_/, 'R12: another role may not cancel')
  foreach ($run, $queued);
is($node->sql("SELECT string_agg(state, ' ' ORDER BY id) FROM rappel_conso.run WHERE source = 'cancelled'"), 'running queued', 'and does not');
is($node->sql("SET ROLE member; SELECT rc_cancel($queued)"), 't', 'a member of the owner may: a run that is queued');
is($node->sql("SET ROLE member; SELECT rc_cancel($run)"), 't', 'and one that is under way');
like(end_of($call), qr/^57014: /, 'its caller is told');
is( $node->sql("SELECT r.state, r.inserted, t.name, t.state, t.attempt FROM rappel_conso.run r
		JOIN rappel_conso.task t ON t.run = r.id WHERE r.id = $run"),
	"cancelled|$BATCH|sync|cancelled|1", 'the run ends with its task');
is(table('cancelled'), "$BATCH|1", 'what was stored stays');
$api->clear_log;
like(end_of_sync('cancelled'), qr/^success\|2\d\d\|${\($RECORDS - $BATCH)}$/, 'the next run brings the rest');
like((grep { $_->{kind} eq 'export' } $api->log)[0]->{query}->{where} // 'all', qr/^date_publication >= /, 'from where it was');
is(table('cancelled'), "$RECORDS|1", 'every row is there');
$api->control(faults => [ { fault => 'status', on => 'export', status => 503, times => 0 } ]);
$node->sql("$update retry_delay = '1 hour' WHERE name = 'refused'");
$call = $node->start_session("SELECT rc_sync_now('refused')");
$node->wait_for('the retry', "SELECT count(*) = 1 FROM rappel_conso.task WHERE state = 'up_for_retry'");
is($node->sql("SELECT rc_cancel(${\$node->newest_run('id', 'refused')})"), 't', 'a run that waits for a retry is cancelled');
is($call->finish->{sqlstate}, '57014', 'at once');
is( $node->sql("SELECT state, next_try_at IS NULL, sqlstate FROM rappel_conso.task WHERE run = ${\$node->newest_run('id', 'refused')}"),
	'cancelled|t|08006', 'its task keeps the error');
$api->control(faults => []);
is(end_of_sync('refused'), $whole, 'the next one reads everything');
$run = $node->sql("INSERT INTO rappel_conso.run (source, state) VALUES ('refused', 'running') RETURNING id");
is($node->sql("SELECT rc_cancel($run)"), 'f', 'there is nobody to cancel where the process has gone');

# Who waits for a queued run of a source that goes, and of one that is renamed
$run = $node->sql("SELECT rc_trigger('leaving')");
my $wait = $node->start_session("SELECT rc_wait($run, NULL)");
$node->wait_for('rc_wait()', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'rc_wait.*NULL' AND ${\$node->waits_in('Run')}");
like($node->error_of("SELECT rc_wait($run, '1000000 years')"), qr/^22008: .*\brc_wait\b/, 'a wait for longer than there is time is refused');
$node->sql("DELETE FROM rappel_conso.source WHERE name = 'leaving'");
$wait->finish;
is($wait->{sqlstate}, '57014', 'who waits for a run of a source that is deleted is told') or diag($wait->{err});
is($node->newest_run('state, sqlstate, error IS NOT NULL', 'leaving'), 'cancelled|57014|t', 'since the run is cancelled, which says why');
$node->sql(q{SELECT rc_trigger('before')});
$node->sql("$update name = 'after' WHERE name = 'before'");
is( $node->sql(q{SELECT count(*) FROM rappel_conso.run WHERE state = 'queued' AND source NOT IN (SELECT name FROM rappel_conso.source)}),
	0, 'no run stays queued for a name that no source has any more');

#
# A dataset that changes while it is read
#
my @things = map {
	{ numero_fiche => "$_", date_publication => sprintf('2026-03-%02dT08:02:00+00:00', $_), libelle => "thing $_" }
} (11 .. 30);
my $gate = { fault => 'gate', on => 'export', dataset => 'moving', lines => 5 };
$node->make_source('moving', @small, dataset => "'moving'");
$api->control(replace => { dataset => 'moving', records => [ @things[ 0 .. 9 ] ] });

# The table is the dataset, but for the rows of what has vanished.
sub as_the_dataset
{
	my ($name, @keys) = @_;

	return is($node->sql("SELECT string_agg(key || ' ' || (value->>'libelle'), ', ' ORDER BY key) FROM moving"),
		join(', ', map { "$_->{numero_fiche} $_->{libelle}" } @keys), $name);
}

is( in_the_middle('moving', { append => { dataset => 'moving', records => [ @things[ 10 .. 14 ] ] } }, $gate),
	'success|10|10', 'records that come during the export');
is(end_of_sync('moving'), 'success|15|5', 'are read by the next run');
as_the_dataset('none is missing', @things[ 0 .. 14 ]);

$api->control(touch => 'moving');
is( in_the_middle('moving', { delete => { dataset => 'moving', where => "numero_fiche = '11' or numero_fiche = '12'" } }, $gate),
	'success|15|0', 'records that vanish during the export');
like(end_of_sync('moving'), qr/^success\|\d+\|0$/, 'are missed by the next run');
is( $node->sql(q{SELECT string_agg(convert_from(key, 'UTF8'), ' ' ORDER BY key) FROM rappel_conso.source_record
		WHERE source = 'moving' AND missed_at IS NOT NULL}),
	'11 12', 'they and no others');

$api->control(touch => 'moving');
$things[5]->{libelle} = 'changed';
$things[5]->{date_publication} = '2026-03-31T08:02:00+00:00';
is( in_the_middle('moving', { update => { dataset => 'moving', where => "numero_fiche = '16'", set => $things[5] } }, $gate),
	'success|13|0', 'a record that changes during the export');
like(end_of_sync('moving'), qr/^success\|\d+\|1$/, 'comes with the next run');
as_the_dataset('as it is now', @things[ 0 .. 14 ]);

# Fewer than both counts: one vanishes after the first, and others come before
# the second.
$api->control(touch => 'moving');
$call = sync_into_middle('moving', { fault => 'gate', on => 'count', dataset => 'moving' }, $gate);
$api->control(delete => { dataset => 'moving', where => "numero_fiche = '13'" }, release => JSON::PP::true);
$api->wait_held;
$api->control(append => { dataset => 'moving', records => [ @things[ 15 .. 16 ] ] }, release => JSON::PP::true);
like(end_of($call), qr/^success\|\d+\|2$/, 'an export that has fewer than the counts before and after is read again');
like( $node->sql('SELECT state, attempt, sqlstate, error FROM rappel_conso.task ORDER BY run DESC LIMIT 1'),
	qr/^success\|2\|08006\|.*"moving".*\b12\b.*\b13\b/, 'as its task tells');
as_the_dataset('nothing is missing', @things[ 0 .. 16 ]);

#
# Old history, and clocks that were set back
#
foreach my $name ('early', 'hourly')
{
	$node->make_source($name, @small, dataset => "'$name'");
	$api->control(replace => { dataset => $name, records => \@things });
	end_of_sync($name);
}
$node->sql(q{
	UPDATE rappel_conso.source SET poll_interval = '1 second' WHERE name = 'early';
	UPDATE rappel_conso.source SET poll_interval = '1 hour' WHERE name = 'hourly';
	UPDATE rappel_conso.source_state SET checked_at = checked_at + interval '1 day', full_at = full_at + interval '1 day'
	 WHERE source IN ('early', 'hourly');
	UPDATE rappel_conso.run SET started_at = started_at + interval '1 day', finished_at = finished_at + interval '1 day'
	 WHERE source IN ('early', 'hourly');
	WITH made AS (
	  INSERT INTO rappel_conso.run (source, state, trigger, started_at, finished_at, context)
	  SELECT source, state, 'manual', clock_timestamp() - age,
	         CASE WHEN state NOT IN ('queued', 'running') THEN clock_timestamp() - age END, label
	    FROM (VALUES (1, 'kept', 'success', interval '2 days', 'old success'), (2, 'kept', 'failed', '2 days', 'old failure'),
	                 (3, 'kept', 'cancelled', '2 days', 'old cancel'), (4, 'kept', 'running', '2 days', 'running'),
	                 (5, 'kept', 'queued', '2 days', 'queued'), (6, 'kept', 'success', '2 hours', 'young'),
	                 (7, 'kept', 'failed', '1 hour', 'newest'), (8, 'quiet', 'success', '3 days', 'older'),
	                 (9, 'quiet', 'success', '2 days', 'last'))
	           AS v (ord, source, state, age, label) ORDER BY ord
	  RETURNING id, context)
	INSERT INTO rappel_conso.task (run, name, state, attempt) SELECT id, 'sync', 'success', 1 FROM made;
	INSERT INTO rappel_conso.dead_letter (origin, name, sqlstate, message, created_at, resolved_at)
	SELECT 'source', 'kept', '22000', label, clock_timestamp() - interval '9 days', clock_timestamp() - age
	  FROM (VALUES ('unresolved', NULL), ('resolved long ago', interval '2 days'), ('resolved', '2 hours')) AS v (label, age)});
my $runs = q{SELECT string_agg(context, ', ' ORDER BY id) FROM rappel_conso.run WHERE source IN ('kept', 'quiet')};
my $tasks = q{SELECT string_agg(context, ', ' ORDER BY id) FROM rappel_conso.run JOIN rappel_conso.task ON run = id
	WHERE source IN ('kept', 'quiet')};
my $letters = q{SELECT string_agg(message, ', ' ORDER BY id) FROM rappel_conso.dead_letter WHERE name = 'kept'};
my $polled = q{SELECT count(*) FROM rappel_conso.run WHERE source IN ('early', 'hourly')};
is($node->sql($runs), 'old success, old failure, old cancel, running, queued, young, newest, older, last', 'runs, young and old');
my $before = $node->sql($polled);
my $alive = $node->background_psql('postgres');    # whoever calls himself its worker is none
$alive->query_safe(q{SET application_name = 'rappel_conso run kept'});
# what is queued for no source is cancelled, unless somebody is about to change it
$alive->query_safe(q{BEGIN; SELECT FROM rappel_conso.run WHERE context = 'queued' FOR UPDATE});
$node->sql('SELECT rc_start()');
ok($node->poll_query_until('postgres', "SELECT ($runs) = 'running, queued, young, newest, last'"),
	'a scheduler that starts removes what is older than keep_history');
is($node->sql($tasks), 'running, queued, young, newest, last', 'with its tasks');
is($node->sql(q{SELECT state, sqlstate FROM rappel_conso.run WHERE context = 'running'}), 'failed|57P02',
	'C6: a session that calls itself the worker of a run does not keep it running');
is($node->sql($letters), 'unresolved, resolved', 'and dead letters that were resolved');

ok( $node->poll_query_until(
		'postgres',
		q{SELECT count(*) = 2 FROM rappel_conso.source_state WHERE source IN ('early', 'hourly') AND checked_at <= clock_timestamp()}),
	'sources that were polled in the future are polled');
$api->clear_log;
my $checked = $node->sql(q{SELECT checked_at FROM rappel_conso.source_state WHERE source = 'early'});
ok( $node->poll_query_until(
		'postgres', "SELECT checked_at >= '$checked'::timestamptz + '2 s' FROM rappel_conso.source_state WHERE source = 'early'"),
	'one again and again');
is(scalar(grep { $_->{path} =~ m{/hourly$} } $api->log), 0, 'the other, that is due each hour, once');
is($node->sql($polled), $before + 2, 'and only their first polls were runs');

#
# 200 in one transaction, while others ask, too
#
$node->sql(q{UPDATE rappel_conso.source SET poll_interval = NULL});
$api->control(faults => [ { fault => 'gate', on => 'export', dataset => DATASET, lines => 1 } ]);
$run = $node->sql('SELECT rc_trigger()');
$api->wait_held;
my $waiting = q{SELECT string_agg(id::text, ' ') FROM rappel_conso.run WHERE source = 'rappel_conso' AND state = 'queued'};
foreach my $end ('ROLLBACK', 'COMMIT')
{
	my $asker = $node->background_psql('postgres', on_error_die => 1);
	my $id = $asker->query_safe("BEGIN; SELECT string_agg(DISTINCT rc_trigger()::text, ' ') FROM generate_series(1, 200)");
	like($id, qr/^\d+$/, "$end: 200 in one transaction get one run");
	my @others = map { $node->start_session('SELECT rc_trigger()') } (1 .. 5);
	$node->wait_for('the others', q{SELECT count(*) = 5 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'trigger'});
	$asker->query_safe($end);
	$asker->quit;
	my %ids = map { $_->finish->{out} => 1 } @others;
	is(scalar(keys %ids), 1, "$end: others, who have waited, get one");
	is((keys %ids)[0] == $id ? 'COMMIT' : 'ROLLBACK', $end, "$end: the same if it was committed");
	is($node->sql($waiting), (keys %ids)[0], "$end: which waits");
	$node->sql("SELECT rc_cancel(${\(keys %ids)[0]})") if $end eq 'ROLLBACK';
}
$run = $node->sql($waiting);
$api->release;
ok($node->poll_query_until('postgres', "SELECT state = 'success' FROM rappel_conso.run WHERE id = $run"),
	'it succeeds when the run before it has ended');
is($node->sql(q{SELECT count(*) FROM rappel_conso_table}), $RECORDS, 'the table is whole');
is($node->sql($waiting), '', 'nothing waits any more');

# The newest run of each source stays, however short history is kept.
$node->sql('SELECT rc_stop()');
$node->append_conf('postgresql.conf', 'rappel_conso.keep_history = 0');
$node->reload;
$node->wait_for('the setting', q{SELECT current_setting('rappel_conso.keep_history') = '0'});
$node->sql('SELECT rc_start()');
ok($node->poll_query_until('postgres', "SELECT ($runs) = 'queued, newest, last'"),
	'without history the newest of each source stays, and what has not ended');
is($node->sql($letters), 'unresolved', 'and dead letters that are dead');
$alive->quit;
is($node->sql(q{SELECT string_agg(id::text, ' ') FROM rappel_conso.run WHERE source = 'rappel_conso'}), $run, 'the last one of the recalls');
is( $node->sql("SELECT state FROM rc_status() WHERE component = 'source' AND name = 'rappel_conso'"),
	'success', 'which rc_status() knows');

$node->stop;
done_testing();
