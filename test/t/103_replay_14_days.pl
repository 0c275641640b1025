# 103_replay_14_days.pl
#     Fourteen days of the real dataset, day by day: new fiches, new versions,
#     contents that change without one, back-dated RAPEX rows, withdrawals and
#     returns, outages, a used-up quota, a quiet day and a bad one.  Through
#     Kafka and in direct mode, table and history hold what could be known, row
#     for row, and nothing is asked or sent in vain.
#
# The test keeps its own truth: of each fiche the states that the polls could
# know.  Between two days, time moves by a day in the state of the sources.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use IO::Uncompress::Gunzip ();
use JSON::PP ();
use List::Util qw(max sum);
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;
use Time::Local qw(timegm);

my $file = data_file('rappelconso_v2_espaces.jsonl.gz');
need_kafka();

my $DAYS = 14;         # days of publication that are the fortnight
my $OVERLAP = 30;      # days before the newest date that a poll reads
my $RETRIES = 2;
my $NAME = '"' . DATASET . '"';
my $json = JSON::PP->new->utf8->canonical;

#
# The dataset: the fiches that are there, {date, line} by key, and those that
# come, by day and key
#
my (%dataset, %coming, $lines);
IO::Uncompress::Gunzip::gunzip($file, \$lines) or die "cannot read $file";
foreach my $line (split(/\n/, $lines))
{
	my ($date, $key) = $line =~ /^\{"date_publication": "([^"]+)", "numero_fiche": "([^"]+)"/ or die "unexpected: $line";

	$coming{ substr($date, 0, 10) }{$key} = { date => $date, line => $line };
}
undef $lines;
my $fiches = sum(map { scalar(keys %$_) } values %coming);
my @published = (sort keys %coming)[ -$DAYS .. -1 ];
%dataset = map { %{ $coming{$_} } } grep { $_ lt $published[0] } keys %coming;

my $start = "$PostgreSQL::Test::Utils::tmp_check/fortnight.jsonl";
append_to_file($start, join('', map { "$_->{line}\n" } values %dataset));
my $api = start_api(DATASET, $start);
my $kafka = start_kafka();
my @modes = ('direct', 'kafka');
my %server = map {
	my @options = $_ eq 'kafka' ? (kafka => $kafka) : ();
	($_ => new_node($_, api => $api, source => { retries => $RETRIES }, conf => "rappel_conso.user_agent = '$_'\n", @options))
} @modes;

# Have the API show these fiches.  To encode all lines each day would take
# seconds.
sub serve_fiches
{
	my ($name, @fiches) = @_;

	$_->{quoted} //= '"' . $_->{line} =~ s/(["\\])/\\$1/gr . '"' foreach @fiches;
	my $order = qq({"replace": {"dataset": "$name", "records": [) . join(',', map { $_->{quoted} } @fiches) . ']}}';
	$api->answer($api->{http}->post($api->host_url . '/_control', { content => $order }));
	return;
}

#
# What happens to fiches
#
my ($today, %absent);

# A fiche with other values.
sub store_fiche
{
	my ($record, %values) = @_;

	%$record = (%$record, %values);
	$dataset{ $record->{numero_fiche} } = { date => $record->{date_publication}, line => $json->encode($record) };
	return;
}

sub decoded_fiche { return $json->decode($dataset{ $_[0] }{line}); }

# A new version: number, date and id move up, and a text changes.
sub version
{
	foreach my $record (map { decoded_fiche($_) } @_)
	{
		my %moved = (numero_version => $record->{numero_version} + 1, id => $record->{id} + 100000);

		store_fiche($record, %moved, date_publication => "${today}T19:30:00+00:00", motif_rappel => "motif du $today");
	}
	return;
}

# Other words, the same version.
sub reword
{
	store_fiche(decoded_fiche($_), libelle => "\x{e9}t\x{e9} du $today", informations_complementaires => "vu le $today") foreach @_;
	return;
}

# Rows of the European system: half a year old, with few columns, as they are.
my @european = grep { /^a/ && $dataset{$_}{date} lt '2023-07-01' } sort keys %dataset;

sub rapex
{
	my %row = (numero_version => 0, date_publication => '2023-06-16T00:00:00+00:00');

	store_fiche(decoded_fiche($european[0]), %row, numero_fiche => $_, libelle => "jouet $_", rappel_guid => "guid $_") foreach @_;
	return;
}

sub take_away { $absent{$_} = delete $dataset{$_} foreach @_; return; }

sub bring_back { $dataset{$_} = delete $absent{$_} foreach @_; return; }

#
# The truth: by key the states that could be known, {line, gone}; missed: the
# last full read has not found it
#
my (%truth, $cursor);

# What a poll of what is new sees: all that is not older than the overlap.
sub news
{
	my ($year, $month, $day, $time) = $cursor =~ /^(\d+)-(\d+)-(\d+)(.*)/;
	my $from = strftime('%Y-%m-%d', gmtime(timegm(0, 0, 0, $day, $month - 1, $year) - $OVERLAP * 86400)) . $time;

	return grep { $dataset{$_}{date} ge $from } keys %dataset;
}

# A poll has read these fiches.
sub learn
{
	my ($poll, @keys) = @_;

	$poll->{fetched} += @keys;
	foreach my $key (@keys)
	{
		my ($fiche, $now) = ($truth{$key} //= { states => [] }, $dataset{$key});
		my $last = $fiche->{states}[-1];

		delete $fiche->{missed};
		$cursor = $now->{date} if !defined $cursor || $now->{date} gt $cursor;
		next if $last && !$last->{gone} && $last->{line} eq $now->{line};
		push @{ $fiche->{states} }, { line => $now->{line}, gone => 0 };
		$poll->{ $last ? 'changed' : 'new' }++;
	}
	return;
}

# It has read all: what the day before had missed, too, is withdrawn, unless too
# many are missing.
sub miss
{
	my ($poll) = @_;
	my @known = grep { !$truth{$_}{states}[-1]{gone} } keys %truth;
	my @missing = grep { !exists $dataset{$_} } @known;
	my $refused = @missing > max(20, int(@known * 2 / 100));

	foreach my $fiche (@truth{@missing})
	{
		next if !$fiche->{missed}++ || $refused;
		push @{ $fiche->{states} }, { line => $fiche->{states}[-1]{line}, gone => 1 };
		$poll->{withdrawn}++;
	}
	$poll->{error} = "55000|$NAME " . @missing . ' ' . @known if $refused;
	$poll->{said} .= @missing . ' missing ' if @missing && !$refused;
	$poll->{said} .= "$poll->{withdrawn} withdrawn " if $poll->{withdrawn};
	return;
}

#
# Faults, and what the poll does that meets them
#
sub outage
{
	my $error = "08006|$NAME 503";
	my %poll = (tries => 1 + $RETRIES, requests => 'meta ' x (1 + $RETRIES), said => 'failed ' x $RETRIES);

	return (%poll, error => $error, fault => sub { return { fault => 'status', status => 503, times => 0 } });
}

# A fault of the export that has passed at the second try.
sub once
{
	my ($fault) = @_;

	return (fault => $fault, tries => 2, requests => 'meta count export ', said => 'failed ');
}

# The quota is used up for a moment.
my %reset;

sub used_up_quota
{
	return once(sub {
		my $reset = $reset{ $_[0] } = time() + 2;
		return { fault => 'status', on => 'export', status => 429, reset_time => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime($reset)) };
	});
}

# The export breaks off before its last fiches; the second try begins at the
# date that the first has come to.
sub cut
{
	my @dates = sort map { $dataset{$_}{date} } news();
	my $last = $#dates - 4;

	return (
		once(sub { return { fault => 'cut', on => 'export', lines => $last + 1 } }),
		fetched => scalar(grep { $_ eq $dates[$last] } @dates[ 0 .. $last ]));
}

#
# Polls
#
my ($least_messages, $least_requests, %requests) = (0, 0);

# What a poll has to do that finds this dataset.  It reads "nothing", "news",
# "all", or "news all": all when the API counts others after the news; in an
# outage it reads ''.
#
# The least that it could ask for is the metas, and one export where something
# is new.  Beyond this come a count before and one after each export, so that
# none is taken for whole that is not; the news before all, since what has
# vanished or came back-dated shows only in the count; and tries that failed.
# That may be 7 requests in place of 2, but not on most days.
sub expect
{
	my ($reads, %fault) = @_;
	my %poll = (tries => 1, requests => '', said => '', error => '|', map({ $_ => 0 } qw(fetched new changed withdrawn)), %fault);

	$poll{requests} .= 'meta ' if $reads;
	$poll{said} .= 'nothing new ' if $reads eq 'nothing';
	foreach my $read (grep { $_ ne 'nothing' } split(/ /, $reads))
	{
		$poll{requests} .= 'count export count ';
		$poll{said} .= 'counted ' if $read eq 'all' && $reads ne 'all';
		learn(\%poll, $read eq 'news' ? news() : keys %dataset);
		miss(\%poll) if $read eq 'all';
	}
	$poll{published} = $poll{new} + $poll{changed} + $poll{withdrawn};
	$least_messages += $poll{published};
	$least_requests += $reads =~ /news|all/ ? 2 : 1;
	return \%poll;
}

# A number for what this script changes of a table, so that states can be told
# apart.
my $digest = q{sum(hashtextextended(concat_ws('|', r.reference_fiche, r.numero_de_version, r.date_de_publication,
	r.motif_du_rappel, r.libelle, r.withdrawn_at IS NULL), 0))};

my $let_a_day_pass = q{
	UPDATE rappel_conso.source_state SET full_at = full_at - interval '1 day', checked_at = checked_at - interval '1 day';
	UPDATE rappel_conso.source_record SET missed_at = missed_at - interval '1 day' WHERE missed_at IS NOT NULL;};

my $sync = qq{
	\\set ON_ERROR_STOP 0
	\\o /dev/null
	SELECT rc_sync_now();
	\\o
	SELECT state, (SELECT max(attempt) FROM rappel_conso.task WHERE run = id), fetched, published, inserted, updated,
	       unchanged, dead, withdrawn, sqlstate, error FROM rappel_conso.run ORDER BY id DESC LIMIT 1;
	INSERT INTO poll (fiches, digest) SELECT count(*), $digest FROM rappel_conso_table r;
	SELECT count(*), count(withdrawn_at), (SELECT count(*) FROM rappel_conso_history) FROM rappel_conso_table};

# What an error names: first the names, then the numbers.
sub named
{
	my ($text) = @_;

	return join(' ', $text =~ /"[^"]*"/g, $text =~ s/"[^"]*"//gr =~ /\b\d+\b/g);
}

# What notices tell, by what they name: a task that failed, the time since when
# nothing is new, the dataset that misses records, how many were withdrawn, or
# how many the dataset counts where others are known; but not the progress.
sub told
{
	my @told;

	foreach my $text (grep { /\bsource "|"(?:sync|extract)"/ } @_)
	{
		my ($first, $second) = $text =~ s/"[^"]*"//gr =~ /\b\d+\b/g;

		if ($text =~ /"(?:sync|extract)"/) { push @told, 'failed'; }
		elsif ($text =~ /\d{4}-\d\d-\d\dT/) { push @told, 'nothing new'; }
		elsif ($text =~ /$NAME/) { push @told, "$first missing"; }
		elsif (!defined $second) { push @told, "$first withdrawn"; }
		elsif ($first == keys %dataset && $second != $first) { push @told, 'counted'; }
	}
	return map { "$_ " } @told;
}

# A poll of these servers at once, after other SQL, and what they did.  A fault
# is for one of them.
sub poll
{
	my ($name, $poll, $sql, @servers) = @_;
	my @states = map { $_->{states} } values %truth;
	my $holds = join('|', scalar(@states), scalar(grep { $_->[-1]{gone} } @states), sum(map { $#$_ } @states));
	my %said;

	$api->control(faults => [ $poll->{fault} ? $poll->{fault}->(@servers) : () ], clear_log => JSON::PP::true);
	$said{$_} = $server{$_}->start_session($sql . $sync) foreach @servers;
	$_->finish foreach values %said;
	foreach my $mode (@servers)
	{
		my @run = (
			$poll->{error} eq '|' ? 'success' : 'failed', $poll->{tries},
			$poll->{fetched}, $mode eq 'kafka' ? $poll->{published} : 0,
			$poll->{new}, $poll->{changed} + $poll->{withdrawn},
			$poll->{fetched} - $poll->{new} - $poll->{changed}, 0,
			$poll->{withdrawn}, $poll->{error});
		my @kinds = map { $_->{kind} } grep { $_->{user_agent} eq $mode } $api->log;
		my ($run, $held) = split(/\n/, $said{$mode}{out});
		my @said = $said{$mode}{err} =~ /NOTICE:  \w{5}: (.*)/g;

		$run =~ s/\|([^|]*)\|([^|]*)$/"|$1|" . named($2)/e;
		is($run, join('|', @run), "$name, $mode: the run");
		is($held, $holds, "$name, $mode: fiches, withdrawn, superseded");
		is(join('', map { "$_ " } @kinds), $poll->{requests}, "$name, $mode: its requests");
		is(join('', told(@said)), $poll->{said}, "$name, $mode: what it says");
		$requests{$mode} += @kinds;
	}
	return;
}

#
# The script: name, what the poll reads, what happens before it; again: another
# poll follows, quiet: nothing is published
#
my @recent = grep { /^2/ && $dataset{$_}{date} ge '2023-12-05' } sort keys %dataset;
my @old = grep { /^2/ && $dataset{$_}{date} lt '2023-01-01' } sort keys %dataset;
my @bad_day;
my @days = (
	[ 'the first sync', 'all', undef, again => 1, quiet => 1 ],
	[ 'new versions', 'news', sub { version(@recent[ 0, 1 ], $old[0], $european[0]) }, again => 1 ],
	# the old ones are seen a week after the first sync, as they are then
	[ 'rewordings', 'news', sub { reword(@recent[ 2, 3 ], @old[ 1, 9 ]) } ],
	[ 'an outage', '', sub { version($recent[4], $old[2]) }, fault => \&outage ],
	[ 'the day after', 'news', sub { version(@recent[ 2, 4 ]) } ],
	[ 'a used-up quota', 'news', sub { reword($recent[0]); version($old[1]) }, fault => \&used_up_quota ],
	[ 'a cut export', 'news', sub { reword($recent[5]); version($old[3]) }, fault => \&cut ],
	[ 'a week later', 'all', sub { reword($old[4]) }, again => 1 ],
	[ 'some vanish', 'news all', sub { take_away(@recent[ 0, 6 ], @old[ 5, 6, 7 ], $european[1]) }, again => 1 ],
	[ 'one is back', 'all', sub { bring_back($old[5]); version($recent[1]) } ],
	[ 'a bad day', 'news all',
		sub { version($recent[7]); take_away($old[8]); take_away(@bad_day = grep { /^2.*[0-3]$|[0-3]\/..$/ } keys %dataset) } ],
	[ 'they are back', 'all', sub { bring_back(@bad_day, $old[6]); version($old[6]) } ],
	[ 'a quiet day', 'nothing', undef, quiet => 1 ],
	[ 'back-dated rows', 'news all', sub { rapex('sr/00841/23', 'sr/00842/23', 'sr/00850/23'); version($european[2]) } ],
	[ 'more vanish', 'news all', sub { take_away($recent[2], 'sr/00841/23'); version('sr/00842/23') } ],
	[ 'the last day', 'all', sub { version(@recent[ 1, 8 ]); reword($recent[9], 'sr/00850/23') }, again => 1 ]);

$server{$_}->sql(q{CREATE TABLE poll (number serial, at timestamptz DEFAULT clock_timestamp(), fiches bigint, digest numeric)})
  foreach @modes;
foreach my $day (@days)
{
	my ($name, $reads, $happens, %more) = @$day;

	if (!$more{quiet})
	{
		$today = shift @published;
		%dataset = (%dataset, %{ $coming{$today} });
		$happens->();
		serve_fiches(DATASET, values %dataset) if $reads;    # nobody would see it in an outage
	}
	my $poll = expect($reads, $more{fault} ? $more{fault}->() : ());
	poll($name, $poll, $let_a_day_pass, @$_) foreach $poll->{fault} ? map({ [$_] } @modes) : [@modes];
	poll("$name, again", expect('nothing'), '', @modes) if $more{again};
}
is($server{$_}->sql("SELECT finished_at >= to_timestamp($reset{$_}) FROM rappel_conso.task WHERE attempt = 2 ORDER BY run LIMIT 1"),
	't', "$_: the second try was not before the quota's reset")
  foreach @modes;
is(@published, 0, 'all days of the data are over');
is(scalar(keys %truth), $fiches + 3, 'all its fiches have been there');

#
# What table and history should hold, in a new database, in direct mode: first
# the dataset; then the states that it does not hold, under keys of their own:
# with the state's number if superseded, and with W if withdrawn
#
my @states;
foreach my $key (keys %truth)
{
	my @all = @{ $truth{$key}{states} };

	foreach my $number (0 .. $#all)
	{
		my $name = $key . ($number < $#all ? "#$number" : '') . ($all[$number]{gone} ? '#W' : '');

		push @states, { line => $all[$number]{line} =~ s/("numero_fiche": ?)"[^"]+"/$1"$name"/r } if $name ne $key;
	}
}
serve_fiches('states', @states);
$server{'direct'}->sql('CREATE DATABASE truth');
$server{direct}->create_extension(dbname => 'truth', api => $api);
sub truth { return $server{direct}->safe_psql('truth', $_[0]); }
truth('SELECT rc_sync_now()');
truth(q{UPDATE rappel_conso.source SET dataset = 'states' WHERE name = 'rappel_conso'});
truth('SELECT rc_sync_now()');
my $columns = truth(q{
	SELECT string_agg('r.' || attname, ', ' ORDER BY attnum) FROM pg_attribute
	 WHERE attrelid = 'rappel_conso_table'::regclass AND attnum > 1 AND attname !~ '_at$'});

# Rows by a key: hashes of all columns but the times of writing.
sub rows
{
	my ($node, $dbname, $key, $from) = @_;

	return { map { split(/\|/) } split(/\n/, $node->safe_psql($dbname, "SELECT $key, md5(ROW($columns)::text) FROM $from")) };
}

# Compare two such; some that differ are named.
sub same
{
	my ($got, $expected, $name) = @_;
	my @differ = sort grep { ($got->{$_} // '') ne ($expected->{$_} // '') } keys %{ { %$got, %$expected } };

	return is(join(' ', keys(%$got) . ' rows, other:', splice(@differ, 0, 10)), keys(%$expected) . ' rows, other:', $name);
}

my $truth = rows($server{direct}, 'truth', 'reference_fiche', 'rappel_conso_table r');
my %live = map { $_ => $truth->{$_} } grep { !/#/ } keys %$truth;
my %table = map { $_ => $truth->{$_} } grep { !/#\d/ } keys %$truth;
my %history = map { $_ => $truth->{$_} } grep { /#\d/ } keys %$truth;
is(scalar(keys %live), scalar(keys %dataset), 'what should be there is known');
is(scalar(keys %$truth), keys(%dataset) + @states, 'and what has been there');

my $mark = "CASE WHEN withdrawn_at IS NULL THEN '' ELSE '#W' END";
my $number = "row_number() OVER (PARTITION BY reference_fiche ORDER BY valid_from) - 1";
foreach my $mode (@modes)
{
	my @place = ($server{$mode}, 'postgres');

	same(rows(@place, "reference_fiche || $mark", 'rappel_conso_table r'), \%table, "$mode: the table");
	same(rows(@place, "reference_fiche || $mark", 'rc_recalls_at(now()) r'), \%table, "$mode: rc_recalls_at() of now");
	same(rows(@place, "reference_fiche || '#' || $number || $mark", 'rappel_conso_history r'), \%history, "$mode: the history");
	is( $server{$mode}->sql(q{
			WITH life AS (
			  SELECT reference_fiche, first_seen_at, withdrawn_at, valid_from, valid_to FROM rappel_conso_history
			  UNION ALL SELECT reference_fiche, first_seen_at, withdrawn_at, updated_at, NULL FROM rappel_conso_table)
			SELECT count(*) FILTER (WHERE valid_to IS DISTINCT FROM next), count(*) FILTER (WHERE valid_to <= valid_from),
			       count(*) FILTER (WHERE first_seen_at <> first),
			       count(*) FILTER (WHERE withdrawn_at IS NOT NULL AND NOT EXISTS (
			         SELECT FROM rappel_conso.run u
			          WHERE u.withdrawn > 0 AND u.started_at <= l.withdrawn_at AND l.withdrawn_at <= l.valid_from AND l.valid_from <= u.finished_at))
			  FROM (SELECT *, lead(valid_from) OVER w AS next, first_value(valid_from) OVER w AS first FROM life
			        WINDOW w AS (PARTITION BY reference_fiche ORDER BY valid_from)) l}),
		'0|0|0|0', "$mode: each state begins when the one before ends, and withdrawn ones in the run that withdrew them");
	is( $server{$mode}->sql(qq{
			SELECT string_agg(number::text, ' ' ORDER BY number) FROM poll p,
			       LATERAL (SELECT count(*) AS fiches, $digest AS digest FROM rc_recalls_at(p.at) r) past
			 WHERE (past.fiches, past.digest) IS DISTINCT FROM (p.fiches, p.digest)}),
		'', "$mode: rc_recalls_at() gives the table after each poll");
	is($server{$mode}->sql('SELECT count(*) FROM rc_recalls_at((SELECT min(started_at) FROM rappel_conso.run))'),
		0, "$mode: and nothing before the first");
}
my $digests = q{SELECT string_agg(concat_ws(' ', number, fiches, digest), ', ' ORDER BY number) FROM poll};
is($server{'kafka'}->sql($digests), $server{'direct'}->sql($digests), 'both ways gave the same table after each poll');

#
# The topic
#
my $topic = "$PostgreSQL::Test::Utils::tmp_check/fortnight.topic";
append_to_file($topic, $kafka->kcat('', '-C', '-e', '-o', 'beginning', '-t', 'rappel_conso', '-f', '%o\t%k\t%S\t%s\n'));
truth(qq{CREATE TABLE message (record_offset bigint, key text, length integer, value text);
	COPY message FROM '$topic' (FORMAT csv, DELIMITER E'\\t', QUOTE E'\\1')});
same(
	rows($server{direct}, 'truth', 'key',
		q{(SELECT DISTINCT ON (key) * FROM message ORDER BY key, record_offset DESC) m,
		  jsonb_populate_record(NULL::rappel_conso.recall, value::jsonb) r WHERE length >= 0}),
	\%live, 'the topic, replayed, gives what is there');
is( truth(q{SELECT string_agg(n, ', ' ORDER BY n COLLATE "C")
		FROM (SELECT key || ' ' || count(*) AS n FROM message GROUP BY key HAVING count(*) > 1) m}),
	join(', ', sort map { uc($_) . ' ' . @{ $truth{$_}{states} } } grep { @{ $truth{$_}{states} } > 1 } keys %truth),
	'it has a message for each state of a fiche');
my $messages = truth('SELECT count(*) FROM message');
is($messages, $least_messages, 'and no other: one for each that was new, changed or withdrawn');

#
# What it took
#
is($server{$_}->miscounted_runs, '', "$_: the counters of each run are the sums over its tasks") foreach @modes;
cmp_ok($requests{$_}, '<=', 2.5 * $least_requests, "$_: requests") foreach @modes;
diag(sprintf('%-22s %6s %6s', @$_))
  foreach [ '', 'made', 'least' ], map({ [ "requests, $_", $requests{$_}, $least_requests ] } @modes),
  [ 'messages', $messages, $least_messages ];

done_testing();
