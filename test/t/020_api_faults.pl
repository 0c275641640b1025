# 020_api_faults.pl
#     What an API that fails does to a run: what is tried again and what is not,
#     what the caller and the run's row say, where the next try goes on, and that
#     every record is there exactly once in the end.

use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use POSIX    qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use RappelConso;

# A host that does not exist must not be looked for by a proxy.
delete @ENV{ map { ("${_}_proxy", uc "${_}_proxy") } ('http', 'https', 'all') };

my $data = 'recalls-of-march';
my $path = "/api/explore/v2.1/catalog/datasets/$data";
my $api = start_api();

# Ten made-up recalls, of a day each.
my @recalls = map { new_recall($_) } (1 .. 10);
$api->control(replace => { dataset => $data, records => \@recalls });

my %source = (
	url => "'" . $api->url . "'",
	dataset => "'$data'",
	filter => 'NULL',
	cursor_field => "'date_publication'",
	retries => 1,
	retry_delay => "'0'");
my $node = new_node('main', source => \%source);

# Forget everything but the definitions, and serve the ten recalls.
sub start_over
{
	$node->forget_runs;
	$api->serve($data, \@recalls);
	return;
}

sub set_source
{
	my (%set) = @_;

	$node->sql('UPDATE rappel_conso.source SET ' . join(', ', map { "$_ = $set{$_}" } sort keys %set));
	return;
}

# Call rc_sync_now(); returns what psql wrote to standard error.
sub run_source
{
	my ($out, $err) = $node->attempt('SELECT * FROM rc_sync_now()');

	return $err;
}

# Check that the error of the caller is that of the run's row, to the letter.
sub same_error
{
	my ($stderr, $what) = @_;
	my $row = $node->sql(q{
		SELECT format('ERROR:  %s: %s', sqlstate, error) || COALESCE(E'\nDETAIL:  ' || detail, '')
		       || COALESCE(E'\nHINT:  ' || hint, '') FROM rappel_conso.run ORDER BY id DESC LIMIT 1});

	$stderr =~ s/^psql:[^:]*:\d+: //mg;
	cmp_ok(index($stderr, "$row\n"), '>=', 0, "$what: the run's row has the error of the caller")
	  or diag("the caller got:\n$stderr\nthe run has:\n$row");
	is( $node->sql(q{SELECT t.sqlstate = r.sqlstate AND t.error = r.error FROM rappel_conso.run r
		JOIN rappel_conso.task t ON t.run = r.id ORDER BY r.id DESC LIMIT 1}),
		't',
		"$what: so has its task");
	return;
}

# What an undisturbed run brings.
unlike(run_source(), qr/ERROR/, 'an undisturbed run');
is($node->newest_counters, 'success|success|1|10|10|0|0|0', 'it brings ten recalls');
my $digest = $node->table_digest;

#
# The API fails, and goes on failing: the run fails, with its words
#
my $closed = PostgreSQL::Test::Cluster::get_free_port();
my $json = 'application/json; charset=utf-8';
my @failures = (
	{
		name => '500',
		fault => [ 'status', on => 'export', status => 500, body => 'json' ],
		attempts => 2,
		error => qr/^08006: .*\b500\b.*"$data"/,
		detail => qr{"$path/exports/jsonl".*: Something went wrong\.$}
	},
	{
		name => '502 with HTML',
		fault => [ 'status', on => 'export', status => 502 ],
		attempts => 2,
		error => qr/^08006: .*\b502\b.*"$data"/,
		detail => qr{"$path/exports/jsonl".*: 502 Bad Gateway 502 Bad Gateway$}
	},
	{
		name => '503 of the first request',
		fault => [ 'status', on => 'meta', status => 503, body => 'empty' ],
		attempts => 2,
		error => qr/^08006: .*\b503\b.*"$data"/,
		detail => qr/"$path".*: \S+$/
	},
	{
		name => '403 of a firewall',
		fault => [ 'status', on => 'count', status => 403, body => 'html' ],
		attempts => 2,
		error => qr/^08004: .*"$data"/,
		detail =>
		  qr{"$path/records".*\b403\b.*: Access denied This request was blocked$},
		hint => qr/"rappel_conso\.user_agent"/
	},
	{
		name => '403 of the API',
		fault => [ 'status', on => 'meta', status => 403 ],
		attempts => 1,
		error => qr/^42501: .*"$data": You may not read this resource\.$/,
		detail => qr/"$path".*\b403\b/,
		hint => qr/"api_key".*"rappel_conso\.http_config_file"/
	},
	{
		name => '401',
		fault => [ 'status', on => 'meta', status => 401 ],
		attempts => 1,
		error => qr/^42501: .*"$data": The API key is not valid\.$/
	},
	{
		name => '404',
		fault => [ 'status', on => 'meta', status => 404 ],
		attempts => 1,
		error => qr/^42704: .*"$data": There is no such dataset\.$/,
		detail => qr/"$path".*\b404\b/,
		hint => qr/\burl\b.*\bdataset\b/
	},
	{
		name => '400',
		set => { filter => "'marque_produit ='" },
		attempts => 1,
		error => qr/^22023: .*"$data": \S/,
		detail => qr{"$path/records".*\b400\b},
		hint => qr/\bfilter\b.*\bkey_field\b.*\bcursor_field\b/
	},
	{
		name => 'another status',
		fault => [ 'status', on => 'meta', status => 418 ],
		attempts => 1,
		error => qr/^38000: .*\b418\b.*"$data"/
	},
	{
		name => 'connection refused',
		set => { url => "'http://127.0.0.1:$closed/api'" },
		attempts => 2,
		error =>
		  qr{^08006: .*"http://127\.0\.0\.1:$closed/api/catalog/datasets/$data": .*(refused|connect)}
	},
	{
		name => 'no such host',
		set => { url => "'http://name.invalid/api'", retries => 0 },
		attempts => 1,
		error => qr{^08006: .*"http://name\.invalid/api/catalog/datasets/$data": .*resolve}
	},
	{
		name => 'closed without an answer',
		fault => [ 'drop', on => 'export' ],
		attempts => 2,
		error => qr{^08006: .*".*$path/exports/jsonl": Empty reply from server}
	},
	{
		name => 'cut in the middle of a line',
		fault => [ 'cut', on => 'export', lines => 5 ],
		attempts => 2,
		rows => 9,
		error => qr{^08006: .*".*$path/exports/jsonl": \S},
		detail => qr/\b\d+ .*\b5\b/
	},
	{
		name => 'interrupted inside a 200',
		fault => [ 'interrupted', on => 'export', lines => 5, message => 'index is being rebuilt' ],
		attempts => 2,
		rows => 9,
		error =>
		  qr/^08006: .*"$data".*: Streaming interrupted due to the following error: index is being rebuilt$/,
		detail => qr{\b5\b.*"$path/exports/jsonl"}
	},
	{
		name => 'a page with status 200',
		fault => [ 'status', on => 'export', status => 200, body => 'html' ],
		attempts => 2,
		error => qr/^08P01: .*"$data".*JSON/,
		detail =>
		  qr{"$path/exports/jsonl".*"text/html; charset=utf-8".*: 200 OK}
	},
	{
		name => 'metas that are no JSON',
		fault => [ 'garbage_line', on => 'meta', text => 'maintenance' ],
		attempts => 2,
		error => qr/^08P01: .*"$data".*JSON/,
		detail => qr{"$path".*"$json".*: maintenance$}
	},
	{
		name => 'a count that is none',
		fault => [ 'garbage_line', on => 'count', text => '{"total": 3}' ],
		attempts => 2,
		error => qr/^08P01: .*"$data"/,
		detail => qr{"$path/records".*"total_count"}
	},
	{
		name => 'redirect to another host',
		fault => [ 'redirect', on => 'meta', location => "http://127.0.0.1:$closed$path" ],
		attempts => 1,
		error => qr{^38000: ".*$path" .*"http://127\.0\.0\.1:$closed$path"$},
		hint => qr/\burl\b/
	},
	{
		name => 'redirect in a circle',
		fault => [ 'redirect', on => 'meta', location => $path ],
		attempts => 1,
		error => qr{^38000: ".*$path" .*\b5\b}
	},
	{
		name => 'fewer records than the count',
		lie => 13,
		attempts => 2,
		rows => 10,
		again => 10,
		error => qr/^08006: .*"$data".*\b10\b.*\b13\b/
	},
	{
		name => 'no such cursor field',
		set => { cursor_field => "'no_such_field'" },
		attempts => 1,
		error => qr/^42703: (?=.*"$data").*"no_such_field"/,
		hint => qr/cursor_field.*"rappel_conso"/
	});

sub check_failure
{
	my ($case) = @_;
	my $name = $case->{name};
	my ($stderr, $rows);

	start_over();
	set_source(%{ $case->{set} })                                           if $case->{set};
	$api->control(lie => { dataset => $data, total_count => $case->{lie} }) if $case->{lie};
	my ($kind, @fault) = @{ $case->{fault} // [] };
	$api->fault($kind, @fault, times => 0) if $kind;

	$stderr = run_source();
	like($node->newest_counters, qr/^failed\|failed\|$case->{attempts}\|/, "$name: fails at attempt $case->{attempts}");
	same_error($stderr, $name);
	my %found;
	@found{ 'error', 'detail', 'hint' } = split(
		/\n/,
		$node->sql(q{SELECT sqlstate || ': ' || error, COALESCE(detail, ''), COALESCE(hint, '')
			FROM rappel_conso.run ORDER BY id DESC LIMIT 1}, extra_params => [ '-F', "\n" ]));
	foreach my $part (grep { $case->{$_} } ('error', 'detail', 'hint'))
	{
		my $expected = $case->{$part};
		is_or_like($found{$part}, $expected, "$name: $part");
	}
	$rows = $node->sql('SELECT count(*) FROM rappel_conso_table');
	is($rows, $case->{rows} // 0, "$name: what came whole is stored");

	# Once it has passed, the next run goes on.
	$api->control(faults => [], release => JSON::PP::true, lie => { dataset => $data, total_count => undef });
	set_source(%source);
	run_source();
	like($node->newest_counters, qr/^success\|success\|1\|/, "$name: the next run succeeds");
	is($node->table_digest, $digest, "$name: every record is there once");
	return;
}
check_failure($_) foreach @failures;

#
# The API fails once: the run succeeds at its second try
#
my @passing = (
	[ 'status', on => 'meta', status => 500 ],
	[ 'status', on => 'count', status => 502 ],
	[ 'status', on => 'count', status => 504, skip => 1 ],
	[ 'status', on => 'export', status => 403, body => 'html' ],
	[ 'drop', on => 'meta' ],
	[ 'cut', on => 'meta' ],
	[ 'cut', on => 'export', lines => 0 ],
	[ 'cut', on => 'export', lines => 4 ],
	[ 'interrupted', on => 'export', lines => 4 ]);

foreach my $fault (@passing)
{
	my ($kind, %args) = @$fault;
	my $name = join(' ', $kind, map { "$_=$args{$_}" } sort keys %args);

	start_over();
	$api->fault($kind, %args);
	my $stderr = run_source();
	like($node->newest_counters, qr/^success\|success\|2\|\d+\|10\|0\|\d+\|0$/, "$name: the second try succeeds");
	like(
		$stderr,
		qr/NOTICE:  00000: .*\b1\b.*\b2\b.*"sync".*: .*\n(?:DETAIL:  .*\n)?HINT:  .*\d\d:\d\d:\d\d/,
		"$name: the caller hears of it");
	is($node->table_digest, $digest, "$name: every record is there once");
	is( $node->sql('SELECT r.error IS NULL, t.error IS NOT NULL FROM rappel_conso.run r JOIN rappel_conso.task t ON t.run = r.id'
		),
		't|t',
		"$name: the task keeps the error, the run has none");
}

# A cut export goes on from where it was, and what is there is not written again.
start_over();
$node->sql('UPDATE rappel_conso.stream SET batch_size = 2');
$api->fault('cut', on => 'export', lines => 5);
run_source();
is($node->newest_counters, 'success|success|2|11|10|0|1|0', 'cut after five lines: the fifth is read again, no more');
is( join('; ', map { $_->{query}->{where} // 'all' } grep { $_->{kind} eq 'export' } $api->log),
	q{all; (date_publication >= date'2026-03-05T08:02:00+00:00' or date_publication is null)},
	'by a condition on the last one');
# Another run goes on too, before its overlap.
start_over();
set_source('"overlap"' => "'1 day'");
$api->fault('cut', on => 'export', lines => 3, times => 2);
run_source();
is($node->newest_counters, 'failed|failed|2|6|5|0|1|0', 'cut twice: each try brings more');
is($node->sql('SELECT cursor_value, complete FROM rappel_conso.source_state'),
	'2026-03-05T08:02:00+00:00|f', 'up to the cursor');
run_source();
is($node->newest_counters, 'success|success|1|7|5|0|2|0', 'the next run starts an overlap before it');
is($node->table_digest, $digest, 'every record is there once');
set_source('"overlap"' => "'30 days'");
$node->sql('UPDATE rappel_conso.stream SET batch_size = 10000');

# A quota that is used up: not before it is reset.
start_over();
my $reset = time() + 2;
$api->fault(
	'status',
	on => 'meta',
	status => 429,
	reset_time => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime($reset)),
	times => 2);
my $stderr = run_source();
like($node->newest_counters, qr/^failed\|failed\|2\|0/, '429: fails at attempt 2');
same_error($stderr, '429');
is( $node->sql(qq{
		SELECT sqlstate, strpos(error, '"$data"') > 0, to_timestamp($reset) = substring(detail FROM '\\d{4}-\\d\\d-[^.]*')::timestamptz,
		       substring(detail FROM 'The quota of requests.*') FROM rappel_conso.run}),
	q{53400|t|t|The quota of requests for this site is used up.},
	'429: with the time of the reset');
is($node->sql("SELECT finished_at >= to_timestamp($reset) FROM rappel_conso.task"),
	't', '429: the second try was after it');
run_source();
is($node->table_digest, $digest, '429: every record is there once');

# What is left of a quota is known whether the run succeeds or fails.
sub quota
{
	return $node->sql(q{
		SELECT quota_limit, quota_remaining, detail ~ format('[^0-9]%s [^0-9]*%s [^0-9]', quota_remaining, quota_limit)
		  FROM rappel_conso.source_state, rc_status() WHERE component = 'source'});
}

start_over();
set_source(retries => 0);
$api->control(rate => { limit => 1000, remaining => 61 });
run_source();
is(quota(), '1000|57|t', 'a quota that runs low');
$api->control(rate => { limit => 1000, remaining => 0 });
same_error(run_source(), 'a quota that is used up');
is(quota(), '1000|0|t', 'has nothing left');
$api->control(rate => { limit => 1000, remaining => 90 });
$api->fault('status', on => 'meta', status => 500);
like(run_source(), qr/ERROR:  08006: .*\b500\b/, 'any error');
is(quota(), '1000|89|t', 'tells of the quota');
$api->fault('drop', on => 'meta');
like(run_source(), qr/ERROR/, 'no answer');
is(quota(), '1000|89|t', 'tells nothing');
set_source(retries => 1);
$api->control(rate => { limit => 50000 });

# A redirect on the same host is followed.
start_over();
$api->fault('redirect', on => 'meta', location => "$path?again");
run_source();
is($node->newest_counters, 'success|success|1|10|10|0|0|0', 'a redirect on the same host is followed');

#
# An API that is there, but says nothing
#
$node->append_conf('postgresql.conf', 'rappel_conso.http_timeout = 2');
$node->restart;
$source{retries} = 0;
set_source(%source);
check_failure($_)
  foreach (
	{
		name => 'hangs before the first answer',
		fault => [ 'hang', on => 'meta' ],
		attempts => 1,
		error => qr{^08006: .*".*$path": .*\b2\b}
	},
	{
		name => 'hangs before the export',
		fault => [ 'hang', on => 'export' ],
		attempts => 1,
		error =>
		  qr{^08006: .*".*$path/exports/jsonl": .*\b2\b}
	},
	{
		name => 'hangs inside the export',
		fault => [ 'hang_after', on => 'export', lines => 5 ],
		attempts => 1,
		rows => 5,
		error =>
		  qr{^08006: .*".*$path/exports/jsonl": .*\b2\b},
		detail => qr/\b\d+ .*\b5\b/
	},
	{
		name => 'one byte a second',
		fault => [ 'slow', on => 'export', lines => 5, rate => 1 ],
		attempts => 1,
		rows => 5,
		error =>
		  qr{^08006: .*".*$path/exports/jsonl": .*\b2\b},
		detail => qr/\b\d+ .*\b5\b/
	});
set_source(retries => 1);
start_over();
$api->fault('hang_after', on => 'export', lines => 5);
run_source();
is($node->newest_counters, 'success|success|2|11|10|0|1|0', 'a hang that passes: the second try goes on from there');
is($node->table_digest, $digest, 'every record is there once');

$node->stop;
done_testing();
