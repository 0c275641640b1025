# 110_report.pl
#     rc_report(): what the page shows of each part, that nothing of it comes
#     from elsewhere, that data cannot become markup, who may call it and what he
#     sees, and how it looks in a browser.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $HOSTILE = q{<img src=x onerror="alert('1')">&};
my $ESCAPED = '&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;';
my $SHOWN = 30;        # runs of a source

my $api = start_api();
my $node = new_node('main', api => $api, conf => "max_worker_processes = 16\n");

# The page as a role sees it.
sub page_as
{
	my ($role) = @_;

	return $node->sql(($role ? "SET ROLE $role; " : '') . 'SELECT rc_report()');
}

# The part of a page that has this id.
sub section
{
	my ($page, $id) = @_;
	my ($section) = $page =~ m{<section id="$id">(.*?)</section>}s;

	return $section;
}

# Whether every tag is closed, attributes are quoted and no id occurs twice.
my $check = <<'EOC';
import html.parser, sys
VOID = {"meta"}
class Page(html.parser.HTMLParser):
    stack, ids, wrong, tags = [], set(), [], set()
    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name.startswith("on") or name in ("src", "href"):
                self.wrong.append(f"attribute {name} of {tag}")
            if name == "id":
                if value in self.ids:
                    self.wrong.append(f"id {value} twice")
                self.ids.add(value)
        if tag not in VOID:
            self.stack.append(tag)
    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")
page = Page(convert_charrefs=False)
page.feed(sys.stdin.buffer.read().decode("utf-8"))
page.close()
print(" ".join(page.wrong + page.stack) or "well formed", *sorted(page.tags))
EOC
my @tags = sort qw(html head meta title style body header h1 h2 h3 p section table thead tbody tr th td i b time span div
  figure figcaption svg text line rect);

sub well_formed
{
	my ($page, $name) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $ENV{PYTHON} || 'python3', '-c', $check ], '<', \$page, '>', \$out, '2>', \$err)
	  or die $err;
	my ($verdict, @used) = $out =~ /^well formed (.*)$/ ? ('well formed', split(/ /, $1)) : ($out);
	my %allowed = map { $_ => 1 } @tags;

	is($verdict, 'well formed', "$name: every tag is closed");
	is(join(' ', grep { !$allowed{$_} } @used), '', "$name: there are no other tags than ours");
	unlike($page, qr{<script|url\(|\@import|https?://(?!127\.0\.0\.1)[^<]*"}i, "$name: nothing comes from elsewhere");
	unlike($page, qr/[^\x00-\x7f]/, "$name: it is ASCII");
	return;
}

#
# With nothing in it
#
my $page = page_as();
like($page, qr/\A<!DOCTYPE html>\n<html lang="en">.*<\/html>\s*\z/s, 'a page');
well_formed($page, 'empty');
like($page, qr{<h1>rappel_conso in postgres</h1>.*<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d</time> \S+, version [\d.]+, PostgreSQL \d+}s,
	'its head says database, time and versions');
is(join(' ', $page =~ /<section id="(\w+)">/g), 'parts runs dead outbox', 'parts that there are already');
# what has nothing to show says so instead of a table
my $nothing = qr{</h2><p class="dim">[^<]+</p>};
like(section($page, $_), qr/$nothing(?!.*<table)/s, "no $_") foreach 'runs', 'outbox';
my @parts = split(/\n/, $node->sql('SELECT component, name, state FROM rc_status()'));
foreach my $part (@parts)
{
	my ($component, $name, $state) = split(/\|/, $part);

	like( section($page, 'parts'),
		qr{<td class="k">$component</td><td class="k">\Q$name\E</td><td class="state"><i class="\w+">&#\d+;</i> $state</td>},
		"$component: $state, by a sign and a word");
}

#
# With data: a sync, a failed run, more runs than are shown, a backfill, lag,
# dead letters and messages
#
$api->control(
	append => { dataset => DATASET,
		records => [ { numero_fiche => '2026-04-9999', date_publication => '2026-04-29T08:00:00+00:00', numero_version => $HOSTILE } ] });
$node->sql('SELECT rc_sync_now()');
$node->sql(q{INSERT INTO rappel_conso.source (name, dataset, url, stream, retries)
	SELECT 'broken', 'no-such-dataset', url, 'rappel_conso', 0 FROM rappel_conso.source});
$node->psql('postgres', "SELECT rc_sync_now('broken')");
my $quoted = $HOSTILE =~ s/'/''/gr;
$node->sql(<<~EOC);
	INSERT INTO rappel_conso.run (source, state, trigger, started_at, finished_at, fetched)
	  SELECT 'rappel_conso', 'success', 'schedule', now() - n * interval '1 h', now() - n * interval '1 h' + n * interval '1 s', 1234567
	    FROM generate_series(1, 34) n;
	INSERT INTO rappel_conso.task (run, name, state, attempt, started_at, finished_at, error)
	  SELECT r.id, t.name, t.state, 2, r.started_at, r.finished_at, '$quoted' || chr(7)
	    FROM rappel_conso.run r, (VALUES ('extract', 'failed'), ('load', 'upstream_failed')) t (name, state)
	   WHERE r.trigger = 'schedule';
	WITH r AS (INSERT INTO rappel_conso.run (source, state, trigger) VALUES ('filled', 'running', 'backfill') RETURNING id)
	INSERT INTO rappel_conso.task (run, name, state, window_from, fetched, dead)
	  SELECT r.id, 'window ' || n, CASE n WHEN 3 THEN 'up_for_retry' ELSE 'success' END, now(), n, 1 FROM r, generate_series(1, 5) n;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'SELECT 1 FROM records');
	INSERT INTO rappel_conso.stream_offset (stream, topic, partition, next_offset, high_watermark)
	  SELECT 's', 't' || CASE n WHEN 60 THEN '$quoted' ELSE '' END, n, 100, 100 + n * 1000 FROM generate_series(1, 60) n;
	INSERT INTO rappel_conso.stream_state (stream, state, error) VALUES ('s', 'failed', '$quoted');
	INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, sqlstate, message, detail, key, value, headers)
	  SELECT 'stream', '$quoted', 't', 0, n, '22P02', 'bad: $quoted', 'SECRET', 'SECRET', 'SECRET', '{"a": "SECRET"}'
	    FROM generate_series(1, 24) n;
	UPDATE rappel_conso.run SET published = 12345, withdrawn = 7 WHERE id = (SELECT max(id) FROM rappel_conso.run WHERE trigger = 'schedule');
	ALTER TABLE rappel_conso.task DROP CONSTRAINT task_name_check;
	UPDATE rappel_conso.task SET name = '$quoted' WHERE run = (SELECT max(id) FROM rappel_conso.run WHERE source = 'broken');
	UPDATE rappel_conso.dead_letter SET message = repeat('long ', 60) || 'END' WHERE record_offset = 22 AND name <> 'rappel_conso';
	UPDATE rappel_conso.dead_letter SET resolved_at = now() WHERE record_offset = 24 AND name <> 'rappel_conso';
	INSERT INTO rappel_conso.outbox (topic, key, value, headers, owner) VALUES ('$quoted', 'SECRET', 'SECRET', '{"a": "SECRET"}', current_user);
	SELECT rc_publish('alerts', 'SECRET'::text) FROM generate_series(1, 3);
	UPDATE rappel_conso_table SET categorie_de_produit = '$quoted' WHERE reference_fiche = '2024-01-0001';
	EOC
$page = page_as();
well_formed($page, 'full');
is(join(' ', $page =~ /<section id="(\w+)">/g), 'parts runs recalls lag dead outbox', 'all parts are there');
unlike($page, qr/<img|onerror="|SECRET|\x07/, 'data is not markup, and no key, value or header is shown');
foreach my $id ('parts', 'runs', 'recalls', 'lag', 'dead', 'outbox')
{
	like(section($page, $id), qr/\Q$ESCAPED\E/, "$id: a hostile name is shown as it is");
}

# Parts
like(section($page, 'parts'), qr{<td class="k">stream</td><td class="k">s</td><td class="state"><i class="bad">&#10007;</i> failed</td>}, 'a failed stream');

# Runs: for each source a grid of the newest, with a row for each task
my %grids = section($page, 'runs') =~ m{<h3>(.*?)</h3><table class="grid"[^>]*><tbody>(.*?)</tbody>}gs;
is(join(' ', sort keys %grids), 'broken filled rappel_conso', 'a grid for each source that ran');
my %rows = $grids{rappel_conso} =~ m{<tr><th scope="row">(\w+)</th>(.*?)</tr>}gs;
is(join(' ', $grids{rappel_conso} =~ m{<th scope="row">(\w+)</th>}g), 'duration run extract load', 'rows: the run and its tasks');
is(scalar(() = $rows{$_} =~ /<td>/g), $SHOWN, "$_: a column for each of the last runs") foreach sort keys %rows;
is(scalar(() = $rows{extract} =~ m{<td><i class="bad" title="[^"]*\bextract\b[^"]*\bfailed\b[^"]*\b2\b[^"]*\Q$ESCAPED\E ">&#10007;</i></td>}g),
	$SHOWN, 'a failed task: colour, sign, and all of it as title');
is(scalar(() = $rows{load} =~ m{<i class="off" title="[^"]*\bload\b[^"]*\bupstream_failed\b}g), $SHOWN, 'a task that could not begin');
my @heights = $rows{duration} =~ /height:(\d+)px/g;
is("@heights", join(' ', map { sprintf('%.0f', 40 * $_ / 34) } 5 .. 34), 'durations are in proportion, in the order of runs');
like($grids{filled}, qr{<th scope="row">windows</th><td><i class="wait" title="[^"]*\bup_for_retry\b\D*\b4\b\D*\b5\b\D*\b15\b\D*\b5\b[^"\d]*"}, 'a backfill has one row for its windows, with their numbers');
my $error = $node->sql("SELECT error FROM rappel_conso.run WHERE source = 'broken'");
$error =~ s/"/&quot;/g;
like(section($page, 'runs'), qr/<i class="bad">&#10007;<\/i> failed<.*<td class="w error">\Q$error\E</s, 'a failed run says why');
like(section($page, 'runs'), qr/data-name="fetched">1,234,567</, 'with its numbers');

like(section($page, 'runs'), qr/data-name="published">12,345<.*data-name="withdrawn">7</, 'what was published and withdrawn, too');
like(section($page, 'runs'), qr/data-name="published"><.*data-name="withdrawn"></, 'where there was something');
like($grids{broken}, qr{<th scope="row">\Q$ESCAPED\E</th>}, 'the name of a task is no markup');

# Recalls: each bar of the charts
my $recalls = section($page, 'recalls');
is( join(', ', $recalls =~ m{<title>(\d{4}-\d\d-\d\d: \d+)</title>}g),
	$node->sql(q{
		SELECT string_agg(to_char(day, 'YYYY-MM-DD') || ': ' || n, ', ' ORDER BY day)
		  FROM (SELECT (date_de_publication AT TIME ZONE 'UTC')::date AS day, count(*) AS n FROM rappel_conso_table GROUP BY 1) d
		 WHERE day > (SELECT max(date_de_publication) FROM rappel_conso_table)::date - 60}),
	'a bar for each day of the last 60');
is( scalar(() = $recalls =~ m{rx="2"><title>}g),
	$node->sql('SELECT LEAST(12, count(DISTINCT categorie_de_produit)) FROM rappel_conso_table'), 'a bar for each category');
my ($most) = $recalls =~ m{width="100.00%" height="9" rx="2"><title>(.*?)</title>};
is($most, $node->sql(q{SELECT categorie_de_produit || ': ' || count(*) FROM rappel_conso_table GROUP BY categorie_de_produit ORDER BY count(*) DESC, 1 LIMIT 1}),
	'the most frequent is the longest');

# Lag, dead letters, outbox
my $lag = section($page, 'lag');
is(scalar(() = $lag =~ /data-name="lag">/g), 50, 'lag of 50 partitions');
like($lag, qr/data-name="lag">60,000<.*data-name="lag">59,000</s, 'the greatest first');
like($lag, qr/\b50\b[^<]*\b60\b/, 'and how many there are');
my $dead = section($page, 'dead');
like($dead, qr/<p>\D*\b24\b\D+\b1\b\D*<\/p>/, 'dead letters are counted');
is(scalar(() = $dead =~ /<tr><td data-name="number">/g), 20, 'the newest are shown');
like($dead, qr/22P02 (?:long ){39}long\.\.\.</, 'a long message is cut');
like($dead, qr/22P02 bad: \Q$ESCAPED\E</, 'with their error');
like($dead, qr/>t\b[^<]*\b0\b[^<]*\b23</, 'and their place');
like(section($page, 'outbox'), qr{<td class="w">alerts</td><td class="w" data-name="from">rc_publish</td><td class="n" data-name="messages">3</td>}, 'messages per topic');

#
# Who may call it
#
$node->sql(q{CREATE ROLE monitor; GRANT pg_monitor TO monitor; CREATE ROLE nobody_else;});
my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET ROLE nobody_else; SELECT rc_report()");
like($err, qr/ERROR:  42501: permission denied for function rc_report/, 'not everybody');
$page = page_as('monitor');
well_formed($page, 'monitor');
is(join(' ', $page =~ /<section id="(\w+)">/g), 'parts runs lag dead outbox', 'pg_monitor sees all but the charts');
is(scalar(() = section($page, 'dead') =~ /<tr><td data-name="number">/g), 20, 'the dead letters of all');
unlike($page, qr/SECRET/, 'but no content');
$node->sql('GRANT SELECT ON rappel_conso_table TO monitor');
is(join(' ', page_as('monitor') =~ /<section id="(\w+)">/g), 'parts runs recalls lag dead outbox', 'and the charts, where he may read the table');
$node->sql('REVOKE SELECT ON rappel_conso_table FROM monitor; GRANT SELECT (date_de_publication, categorie_de_produit) ON rappel_conso_table TO monitor');
like(page_as('monitor'), qr/<section id="recalls">/, 'or the two columns that they need');
$node->sql(q{DELETE FROM rappel_conso.dead_letter WHERE resolved_at IS NULL AND name <> 'rappel_conso' OR record_offset = 24});
like(section(page_as(), 'dead'), qr/<p>\D*\b1\b\D+\b0\b\D*<\/p>/, 'one dead letter is one');
$node->sql('TRUNCATE rappel_conso_table');
like(section(page_as(), 'recalls'), qr/$nothing(?!.*<figure)/s, 'an empty table');
$node->sql('ALTER TABLE rappel_conso_table RENAME categorie_de_produit TO categorie');
like(section(page_as(), 'recalls'), qr/<p class="error">.*categorie_de_produit/, 'a table that lacks a column');
$node->sql('ALTER TABLE rappel_conso_table RENAME categorie TO categorie_de_produit');
$api->control(touch => DATASET);
$node->sql('SELECT rc_sync_now(full_sync => true)');

#
# As docs/monitoring.md has it written to a file, and in a browser
#
my $file = "$PostgreSQL::Test::Utils::tmp_check/report.html";
command_ok([ 'psql', '-XAtq', '-o', $file, '-c', 'SELECT rc_report()', '-d', $node->connstr('postgres') ], 'psql writes it to a file');
like(slurp_file($file), qr/\A<!DOCTYPE html>.*<\/html>\s*\z/s, 'all of it');
my $copied = "$PostgreSQL::Test::Utils::tmp_check/copied.html";
$node->sql(qq{COPY (SELECT line FROM string_to_table(rc_report(), E'\\n') AS line) TO '$copied'
	(FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01', ESCAPE E'\\x01', NULL E'\\x03')});
my ($by_psql, $by_copy) = map { slurp_file($_) =~ s{<time>[^<]*</time>}{}r =~ s/\s+\z//r } $file, $copied;
$_ =~ s/\d+:\d\d:\d\d\.\d+|height:\d+px//g foreach $by_psql, $by_copy;
is($by_copy, $by_psql, 'and COPY the same');

SKIP:
{
	my ($browser) = grep { -x } map { my $dir = $_; map { "$dir/$_" } 'chromium', 'chromium-browser', 'google-chrome' } split(/:/, $ENV{PATH});

	skip('no Chromium is installed', 4) unless $browser;
	my $profile = PostgreSQL::Test::Utils::tempdir('browser');
	local $ENV{HOME} = $profile;
	my %ways = (light => [ [], 'f4f5f7' ], dark => [ ['--blink-settings=preferredColorScheme=0'], '12161c' ]);

	foreach my $way (sort keys %ways)
	{
		my ($options, $background) = @{ $ways{$way} };
		my $picture = "$PostgreSQL::Test::Utils::tmp_check/report-$way.png";
		my ($stdout, $stderr) = ('', '');

		IPC::Run::run(
			[
				$browser, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
				'--disable-background-networking', '--disable-component-update', '--disable-sync', '--hide-scrollbars',
				"--user-data-dir=$profile/$way", '--window-size=390,2000', @$options, "--screenshot=$picture", "file://$file"
			],
			'<', \undef, '>', \$stdout, '2>', \$stderr, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
		my ($seen, undef) = run_command([ $ENV{PYTHON} || 'python3', '-c', <<~'EOC', $picture ]);
			import struct, sys, zlib
			data, at, body = open(sys.argv[1], "rb").read(), 8, b""
			while at < len(data):
			    length, kind = struct.unpack(">I4s", data[at:at + 8])
			    chunk = data[at + 8:at + 8 + length]
			    if kind == b"IHDR":
			        width, height = struct.unpack(">II", chunk[:8])
			    elif kind == b"IDAT":
			        body += chunk
			    at += length + 12
			body = zlib.decompress(body)
			print(width, body[1:4].hex(), len(set(body)) > 100)
			EOC
		is($seen, "390 $background True", "$way: a picture as wide as a phone, with its background and something on it");
	}
}

done_testing();
