# 106_backfill.pl
#     rc_backfill(): a source is read window by window, each a task of its own.
#     Whatever ends such a run, the same call goes on with the windows that are
#     missing; the cursor stays where it was; and what cannot be asked for is
#     refused.
#
# Each source but the built-in one has a dataset, a stream and a table of its
# own name, so that runs of several go side by side.  The table counts how often
# each record was sent.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample
my $MONTHS = 32;       # that it spans
my $DONE = 4;          # windows of a year that are done when a run breaks off
my $YEAR = "'2024-01-01', '2025-01-01'";

my @broken = ('failing', 'redefined', 'cancelled', 'killed');
my $api = start_api(map { $_ => sample_file('recalls.jsonl') } (DATASET, @broken));
my $node = new_node(
	'main',
	api => $api,
	source => { retries => 1, retry_delay => "'0'" },
	conf => <<~'EOC');
	timezone = 'UTC'
	log_min_messages = notice
	max_worker_processes = 20
	restart_after_crash = on
	EOC

sub backfill
{
	my ($source, $arguments) = @_;

	return $node->sql("SELECT rc_backfill('$source', $arguments)");
}

# The states of a run's windows in their order, each with its number of tries.
sub windows
{
	my ($run) = @_;

	return $node->sql(<<~EOC);
		SELECT string_agg(times || ' ' || state || ' ' || attempt, ', ' ORDER BY first)
		  FROM (SELECT state, attempt, count(*) AS times, min(window_from) AS first
		          FROM rappel_conso.task WHERE run = $run GROUP BY 1, 2) t
		EOC
}

# The conditions of the exports of a dataset since the log was cleared.
sub exports
{
	my ($dataset) = @_;

	return map { $_->{query}->{where} // 'all' }
	  grep { $_->{kind} eq 'export' && $_->{path} =~ m{/\Q$dataset\E/exports} } $api->log;
}

# The condition of a window.
sub between
{
	my ($from, $to) = @_;

	return "(date_publication >= date'${from}Z') and (date_publication < date'${to}Z')";
}

sub month
{
	my ($n) = @_;
	my @at = map { sprintf('%04d-%02d-01T00:00:00', 2024 + int($_ / 12), 1 + $_ % 12) } ($n, $n + 1);

	return between(@at);
}

# What is wrong with the windows of the newest run, which must tile the whole of
# it; then their number.
my $tiles = <<~'EOC';
	SELECT count(*) FILTER (WHERE t.window_from <> t.expected OR t.window_to <= t.window_from
	                           OR t.next IS NULL AND t.window_to <> r.window_to), count(*)
	  FROM (SELECT k.*, COALESCE(lag(k.window_to) OVER w, r.window_from) AS expected, lead(k.window_from) OVER w AS next
	          FROM rappel_conso.task k JOIN rappel_conso.run r ON r.id = k.run
	        WINDOW w AS (PARTITION BY k.run ORDER BY k.window_from)) t
	  JOIN rappel_conso.run r ON r.id = t.run
	 WHERE r.id = (SELECT max(id) FROM rappel_conso.run)
	EOC

$node->make_source($_, api => $api, dataset => "'$_'", $_ eq 'redefined' ? (filter => "'numero_version > 1'") : ())
  foreach @broken;

#
# Queued
#
my $all = "SELECT rc_backfill('rappel_conso', '2023-12-01', '2026-08-01')";
# the numbers of the detail: the run, what it has counted, and its windows
my $status = "SELECT state, (SELECT string_agg(n[1], ' ') FROM regexp_matches(detail, '[0-9]+', 'g') n) FROM rc_status() WHERE component = 'source' AND name = 'rappel_conso'";
like( $node->said($all, 'WARNING'),
	qr/^01000: .*1.*rc_start\(\)/, 'a warning where nobody would start the run');
is( $node->run_row(1, 'source, state, trigger, full_sync, window_from, window_to, window_every, started_at IS NULL'),
	'rappel_conso|queued|backfill|f|2023-12-01 00:00:00+00|2026-08-01 00:00:00+00|1 mon|t', 'the run is queued');
is( $node->sql('SELECT min(name), max(name) FROM rappel_conso.task WHERE run = 1'),
	'window 2023-12-01T00:00:00Z|window 2026-07-01T00:00:00Z', 'each month is a task');
is(windows(1), "$MONTHS queued 0", 'that waits');
is($node->sql($status), "queued|1 0 0 0 0 0 0 $MONTHS", 'rc_status() says so');
is($node->sql($all), 1, 'the same asked again is the same run');
is( $node->sql("BEGIN; $all; SELECT rc_backfill('rappel_conso', '2023-12-01', '2026-08-01', '2 months') > 1; ROLLBACK"),
	"1\nt", 'other windows are another run');
is($node->sql('SELECT count(*), count(DISTINCT run) FROM rappel_conso.run r JOIN rappel_conso.task t ON t.run = r.id'),
	"$MONTHS|1", 'of which nothing stays when the transaction is rolled back');

is($node->sql("SELECT rc_cancel(${\backfill('failing', $YEAR)})"), 't', 'one that is queued is cancelled');
is($node->sql("SELECT state, count(*) FROM rappel_conso.task WHERE run > 1 GROUP BY 1"), 'cancelled|12', 'with all its windows');

#
# Under way, and what else is asked for meanwhile
#
$api->fault('gate', on => 'export', dataset => DATASET, skip => 3, lines => 1);
$node->sql('SELECT rc_start()');
$api->wait_held;
is(windows(1), '3 success 1, 1 running 1, ' . ($MONTHS - 4) . ' queued 0', 'windows are read in turn');
$node->becomes_true('its worker is seen to wait for the API',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %' AND ${\$node->waits_in('Http')}");
$node->becomes_true('and the scheduler for something to do',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rappel_conso scheduler' AND ${\$node->waits_in('Work')}");
my $progress = "running|1 21 21 0 0 0 3 $MONTHS";
is($node->sql($status), $progress, 'rc_status() tells how many are done');
my $full = $node->sql('SELECT rc_trigger(full_sync => true)');
my $overlap = backfill('rappel_conso', "'2025-01-15', '2025-06-01', '10 days'");
is($node->sql($status), $progress, 'also when other runs are queued');
my $wait = $node->start_session("\\warn waiting\nSELECT run_id, state, fetched, inserted FROM rc_wait(1)");
my $sync = $node->start_session('SELECT run_id, state, fetched, inserted FROM rc_sync_now()');
$wait->wait_for(qr/waiting/);
$sync->wait_for(qr/NOTICE:  00000: .*"rappel_conso"/);
$node->wait_for('rc_wait()', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ 'rc_wait' AND ${\$node->waits_in('Run')}");
is($node->sql("SELECT string_agg(state, ' ' ORDER BY id) FROM rappel_conso.run WHERE source = 'rappel_conso'"), 'running queued queued', 'they wait for it');
$api->release;
is($wait->finish->{out}, "1|success|$RECORDS|$RECORDS", 'rc_wait() gives the row of the run');
like($sync->finish->{out}, qr/^(?!1\|)\d+\|success\|(?:$RECORDS|0)\|0$/, 'rc_sync_now() waits for it, and runs then');
like($wait->{err}, qr/NOTICE:  00000: \D*\b1\D+[1-9]\d*\D+[1-9]\d*\D+$MONTHS\b/, 'rc_wait() tells the progress');
like(
	slurp_file($node->logfile),
	$node->log_line('00000', 'NOTICE', qr/"rappel_conso".*\b$MONTHS\b.*\b$MONTHS\b.*\b2026-07-01T00:00:00Z\b.*\b2026-08-01T00:00:00Z\b/),
	'the log of the server does');
is(windows(1), "$MONTHS success 1", 'every window is done');
is_deeply(
	[ (exports(DATASET))[ 0 .. $MONTHS - 1 ] ],
	[ between('2023-12-01T00:00:00', '2024-01-01T00:00:00'), map { month($_) } (0 .. $MONTHS - 2) ],
	'each month was read once, in order');

# Four more sources, whose runs are to break off after four months.
$api->fault('status', on => 'export', dataset => $_, status => 500, skip => $DONE, times => 2)
  foreach ('failing', 'redefined');
$api->fault('gate', on => 'export', dataset => $_, skip => $DONE, lines => 3) foreach ('cancelled', 'killed');
my %first = map { $_ => backfill($_, $YEAR) } @broken;

is($node->wait_run_end($full), 'success', 'the full sync that was asked for meanwhile begins then');
is($node->run_row($full, 'fetched, inserted, updated, unchanged'), "$RECORDS|0|0|$RECORDS", 'and finds each row complete');
is($node->wait_run_end($overlap), 'success', 'so does a backfill of months that were read');
is($node->run_row($overlap, 'fetched > 40, inserted, updated, fetched - unchanged'), 't|0|0|0', 'which writes nothing');
is($node->sql('SELECT count(*), count(DISTINCT reference_fiche) FROM rappel_conso_table'), "$RECORDS|$RECORDS", 'no row is there twice');

#
# Broken off: what is done stays done
#
my $early = "date_de_publication >= '2024-01-01' AND date_de_publication < '2024-05-01'";
my %rows = map { $_ => $node->sql("SELECT count(*) FROM rappel_conso_table WHERE $early") } @broken;
my $rest = 12 - $DONE - 1;
$rows{redefined} = $node->sql("SELECT count(*) FROM rappel_conso_table WHERE $early AND numero_de_version > 1");
is($node->wait_run_end($first{$_}), 'failed', "$_: a window fails more often than it is tried again") foreach ('failing', 'redefined');
like( $node->sql("SELECT state, attempt, sqlstate, error FROM rappel_conso.task WHERE run = $first{failing} AND name ~ ' 2024-05-01T'"),
	qr/^failed\|2\|08006\|.*\b500\b.*"failing"/, 'its task keeps the newest error');
is( $node->sql("SELECT count(*), count(finished_at), count(error) FROM rappel_conso.task WHERE run = $first{failing} AND attempt = 0"),
	"$rest|$rest|0", 'the tasks after it have ended without a try');
is( $node->error_of("SELECT rc_wait($first{failing})"),
	$node->run_row($first{failing}, q{concat_ws('; ', sqlstate || ': ' || error, detail, hint)}), 'rc_wait() raises the error of the run');
like($node->run_row($first{failing}, 'sqlstate, error'), qr/^08006\|.*\b500\b.*"failing"/, 'which is that of the task');
is( $node->sql("SELECT state, detail ~ '[^0-9]${DONE}[^0-9]+12([^0-9]|\$)' FROM rc_status() WHERE component = 'source' AND name = 'failing'"),
	'failed|t', 'rc_status() tells how many were done');
$api->wait_held(2);
is($node->sql("SELECT rc_cancel($first{cancelled})"), 't', 'another is cancelled');
is($node->wait_run_end($first{cancelled}), 'cancelled', 'and ends');
is(windows($first{cancelled}), "$DONE success 1, 1 cancelled 1, $rest cancelled 0", 'with the windows that are left');
like($node->error_of("SELECT rc_wait($first{cancelled})"), qr/^57014: .*\b$first{cancelled}\b/, 'who waits for it is told');
my $place = $node->log_position;
is(kill('KILL', $node->sql("SELECT rappel_conso.worker_pid('run', 'killed')")), 1, 'the worker of a third is killed');
$node->wait_for_log(qr/database system is ready to accept connections/, $place);
foreach my $name (@broken)
{
	is($node->sql("SELECT count(*), max(times) FROM $name"), "$rows{$name}|1", "$name: the rows of the windows before stay");
	is($node->sql("SELECT count(*) FROM rappel_conso.task WHERE run = $first{$name} AND state = 'success'"), $DONE, "$name: which are done");
}

#
# The same asked again, for one with another filter
#
$api->clear_log;
$node->sql(q{UPDATE rappel_conso.source SET filter = NULL WHERE name = 'redefined'});
my %second = map { $_ => backfill($_, $YEAR) } @broken;
my $queued = 12 - $DONE;
is(windows($second{$_}), "$DONE success 0, $queued queued 0", "$_: the same again begins with what was done")
  foreach ('failing', 'cancelled', 'killed');
is(windows($second{redefined}), '12 queued 0', 'but not where the filter has changed');

#
# Borders, and fields that are no time
#
my @times = (
	'2024-01-30T23:59:59', '2024-01-31T00:00:00', '2024-02-28T23:59:59', '2024-02-29T00:00:00',
	'2024-03-30T23:59:59', '2024-03-31T00:00:00', '2024-04-30T00:00:00', '2024-05-14T23:59:59',
	'2024-05-15T00:00:00', '2024-06-01T10:00:00.250');
my @records = map { { numero_fiche => "$_", date_publication => "$times[$_]+00:00", libelle => "thing $_", id => $_ } }
  (0 .. $#times);
$api->control(
	replace => {
		dataset => 'borders',
		records => [ @records, { numero_fiche => 'none', date_publication => undef, libelle => 'thing', id => 99 } ]
	});
$node->make_source('borders', api => $api, dataset => "'borders'");
$node->make_source('fraction', api => $api, dataset => "'borders'");
my %no_time = (plain => 'NULL', number => "'id'", words => "'libelle'", missing => "'no_such_field'");
$node->make_source($_, api => $api, dataset => "'borders'", cursor_field => $no_time{$_}) foreach sort keys %no_time;
my $borders = backfill('borders', "'2024-01-31', '2024-05-15'");
my $fraction = backfill('fraction', "'2024-06-01 10:00:00', '2024-06-01 10:00:00.5'");
my %without = map { $_ => backfill($_, $YEAR) } sort keys %no_time;

#
# Rows that a sync does not bring back, and a cursor that does not move
#
my @new = map {
	{ numero_fiche => "2026-07-900$_", date_publication => "2026-07-1${_}T08:00:00+00:00", numero_version => 1, libelle => "thing $_" }
} (1, 2);
my $state = q{SELECT epoch, cursor_value, complete, data_processed, records_count, full_at, surplus
	FROM rappel_conso.source_state WHERE source = 'rappel_conso'};
is($node->sql("WITH gone AS (DELETE FROM rappel_conso_table WHERE reference_fiche = '2024-03-0021' RETURNING 1) SELECT count(*) FROM gone"),
	1, 'a row is deleted by hand');
$api->control(append => { dataset => DATASET, records => [ $new[0] ] });
is($node->sql('SELECT inserted, updated FROM rc_sync_now()'), '1|0', 'which a sync does not bring back');
$api->control(append => { dataset => DATASET, records => [ $new[1] ] });
my $before = $node->sql($state);
like($before, qr/^1\|2026-07-11T08:00:00\+00:00\|t\|/, 'the cursor stands at the newest recall');
my $march = backfill('rappel_conso', "'2024-03-01', '2024-04-01'");
my $future = backfill('rappel_conso', "'2026-07-01', '2100-01-01', '25 years'");

$node->sql('SELECT rc_start()');
is($node->wait_run_end($march), 'success', 'a backfill of its month');
is($node->run_row($march, 'inserted, updated, fetched - unchanged'), '1|0|1', 'hands on what is equal, and brings it back');
my $year = $node->sql(q{SELECT count(*) FROM rappel_conso_table WHERE date_de_publication >= '2024-01-01' AND date_de_publication < '2025-01-01'});
foreach my $name (@broken)
{
	my $redefined = $name eq 'redefined';

	is($node->wait_run_end($second{$name}), 'success', "$name: the same again succeeds");
	is($node->sql("SELECT count(*), max(times) FROM $name"), "$year|" . ($redefined ? 2 : 1), "$name: every row of the year is there");
	is_deeply([ exports($name) ], [ map { month($_) } ($redefined ? 0 : $DONE) .. 11 ], "$name: only what was missing is read");
}
is( $node->run_row($first{killed}, 'state, sqlstate'),
	'failed|57P02', 'the run that was killed is marked');
is( $node->sql("SELECT count(*) FROM rappel_conso.task WHERE state NOT IN ('success', 'failed', 'upstream_failed', 'cancelled') AND run IN ("
		  . join(', ', values %first) . ')'),
	0, 'and no task of the four waits any more');

is($node->wait_run_end($borders), 'success', 'months from the 31st on');
is($node->run_row($borders, 'fetched'), 7, 'what lies before its start, at its end or nowhere is not read');
is( $node->sql("SELECT string_agg(concat_ws(' ', to_char(window_from, 'MM-DD'), fetched, inserted), ', ' ORDER BY window_from)
		FROM rappel_conso.task WHERE run = $borders"),
	'01-31 2 2, 02-29 2 2, 03-31 1 1, 04-30 2 2', 'each window counts what it read');
is( $node->sql("SELECT string_agg(key || ':' || times, ' ' ORDER BY key) FROM borders"),
	'1:1 2:1 3:1 4:1 5:1 6:1 7:1', 'what lies on a border is read once');
is($node->wait_run_end($fraction), 'success', 'a window that ends within a second');
is($node->sql("SELECT string_agg(key, ' ') FROM fraction"), '9', 'has what comes before that end');
foreach my $name (sort keys %no_time)
{
	my $error = $name eq 'missing'
	  ? qr/^42703\|.*"no_such_field".*"borders"\|.*cursor_field.*"missing"/
	  : qr/^55000\|.*"$name".*\|.*cursor_field/;

	is($node->wait_run_end($without{$name}), 'failed', "$name: a cursor field that is no time");
	like($node->run_row($without{$name}, 'sqlstate, error, hint'), $error, "$name: the run says so");
	is(windows($without{$name}), '1 failed 1, 11 upstream_failed 0', "$name: it is not tried again");
}
is($node->wait_run_end($future), 'success', 'a backfill that ends in the future');
is($node->run_row($future, 'fetched, inserted'), '3|1', 'reads what there is');
is($node->sql($state), $before, 'the cursor has not moved, forward or back');
is($node->sql('SELECT inserted, updated FROM rc_sync_now()'), '0|0', 'a sync finds nothing that it does not know');
is( $node->sql("SELECT cursor_value FROM rappel_conso.source_state WHERE source = 'rappel_conso'"),
	$new[1]->{date_publication}, 'and moves it');
is($node->miscounted_runs, '', 'the counters of each run, whatever ended it, are the sums over its tasks');

#
# Windows, of runs that are never committed
#
foreach my $case (
	[ 'months from the 31st', "'2023-10-31', '2025-03-31'", 17 ],
	[ 'months that end within one', "'2024-01-31', '2024-03-05'", 2 ],
	[ 'months from the 29th of February', "'2024-02-29', '2026-02-28'", 24 ],
	[ 'months and days', "'2024-01-31', '2025-01-31', '1 month 3 days'", 11 ],
	[ 'months of Paris', "'2024-01-31', '2024-12-31'", 11, 'Europe/Paris' ],
	[ 'days where clocks are changed', "'2024-03-29', '2024-04-02', '1 day'", 4, 'Europe/Paris' ],
	[ 'hours where clocks are put back', "'2024-10-26 20:00', '2024-10-27 12:00', '1 hour'", 17, 'Europe/Paris' ],
	[ 'one window, longer than all', "'2024-01-01', '2024-01-02', '10 years'", 1 ],
	[ 'one window, of a century', "'2024-01-01', '2024-01-02', '100 years'", 1 ],
	[ 'the most windows', "'2024-01-01', timestamptz '2024-01-01' + interval '10000 hours', '1 hour'", 10000 ])
{
	my ($name, $arguments, $count, $zone) = @$case;
	my $sql = "SET timezone = '" . ($zone // 'UTC') . "'; BEGIN; SELECT rc_backfill('borders', $arguments) IS NULL; $tiles; ROLLBACK";
	my ($code, $out) = $node->psql('postgres', $sql);

	is($out, "f\n0|$count", "$name: $count windows without gap or overlap");
}

#
# What cannot be asked for
#
my $runs = $node->sql('SELECT count(*), max(id) FROM rappel_conso.run');
$node->sql('CREATE ROLE other; GRANT EXECUTE ON FUNCTION rc_backfill(text, timestamptz, timestamptz, interval) TO other');
foreach my $case (
	[ "'2024-01-01', '2024-01-01'", qr/^22023: .* 2024-01-01 00:00:00\+00.* 2024-01-01 00:00:00\+00/ ],
	[ "'2024-02-01', '2024-01-01'", qr/^22023: .* 2024-02-01 00:00:00\+00.* 2024-01-01 00:00:00\+00/ ],
	[ "'2100-01-01', '2101-01-01'", qr/^22023: .* 2100-01-01 00:00:00\+00/ ],
	[ "'-infinity', '2024-01-01'", qr/^22023: .*\bstart\b.*\bend\b/ ],
	[ "'2024-01-01', 'infinity'", qr/^22023: .*\bstart\b.*\bend\b/ ],
	[ "'infinity', 'infinity'", qr/^22023: / ],
	[ "$YEAR, '0'", qr/^22023: .*window.* 00:00:00$/ ],
	[ "$YEAR, '-1 day'", qr/^22023: .*window.* -1 days$/ ],
	[ "$YEAR, '1 month -31 days'", qr/^22023: .*window.* 1 mon -31 days$/ ],
	[ "'2024-02-01', '2024-06-01', '-1 month 30 days'", qr/^22023: .*window/ ],
	[ "'2024-01-01', timestamptz '2024-01-01' + interval '10000 hours 1 second', '1 hour'", qr/^54000: .*\b10000\b/ ],
	[ "'2024-01-01', '2024-01-02', '1 microsecond'", qr/^22023: .*window.* 00:00:00\.000001$/ ],
	[ "'2025-01-01', '2026-01-01', '1 month -29 days'", qr/^22023: .* 1 mon -29 days .* 2025-01-02 / ],
	[ "'2024-01-01', '2024-01-01 00:00:01', '500 ms'", qr/^22023: / ],
	[ "'0002-01-01 BC', '0002-01-01', '1 year'", qr/^22023: / ])
{
	my ($arguments, $expected) = @$case;

	is_or_like($node->error_of("SELECT rc_backfill('borders', $arguments)"), $expected, "refused: $arguments");
}
foreach my $case (
	[ "SELECT rc_backfill('nobody', $YEAR)", qr/^42704: .*"nobody".*rappel_conso\.source/ ],
	[ "SET ROLE other; SELECT rc_backfill('borders', $YEAR)", qr/^42704: .*"borders"/ ],
	[ "BEGIN READ ONLY; SELECT rc_backfill('borders', $YEAR)", '25006: cannot execute rc_backfill() in a read-only transaction' ])
{
	my ($sql, $expected) = @$case;

	is_or_like($node->error_of($sql), $expected, "refused: $sql");
}
my %null = (
	"NULL, $YEAR" => 'source',
	"'borders', NULL, '2024-01-01'" => 'from',
	"'borders', '2024-01-01', NULL" => 'to',
	"'borders', $YEAR, NULL" => 'every');
like($node->error_of("SELECT rc_backfill($_)"), qr/^22004: .*$null{$_}/, "refused: $_") foreach sort keys %null;
is($node->sql('SELECT count(*), max(id) FROM rappel_conso.run'), $runs, 'no run was made');

$node->stop;
done_testing();
