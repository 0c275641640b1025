# 104_unchanged_and_withdrawn.pl
#     Change detection and deleted records in direct mode: no record is applied
#     twice, none is lost, and a record is withdrawn when two full scans an hour
#     apart have missed it, but not when a portal returns wrong results once.
#
# Time passes by moving what the state says of it.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use Digest::MD5 ();
use Encode ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $all = 300;    # recalls of the sample
my $said = '';    # what the newest sync wrote to standard error
my $stored;       # what the sample leaves
my $api = start_api();
my $node = new_node('main', api => $api, source => { retries => 1 });

my @lines = split(/\n/, Encode::decode('UTF-8', slurp_file(sample_file('recalls.jsonl'))));
my %line = map { /"numero_fiche": "([^"]+)"/ ? ($1 => $_) : () } @lines;
my ($gone, @old) = grep { /^2024-/ } sort keys %line;    # long before the overlap
my @many = @old[ 2 .. 22 ];
my @late = map { { numero_fiche => "2024-01-99$_", numero_version => 0, date_publication => '2024-01-15T00:00:00+00:00' } } (10, 11);

# A sync of a source.  Its run: state, fetched, inserted, updated, unchanged,
# dead, withdrawn; keys that are missing after it, and rows that are withdrawn.
sub synced
{
	my ($arguments, $source) = @_;
	my $out;

	($out, $said) = $node->sync_and_missing(
		source => $source,
		arguments => $arguments,
		columns => 'state, fetched, inserted, updated, unchanged, dead, withdrawn');
	return "$out; withdrawn: " . $node->sql(q{
		SELECT string_agg(reference_fiche, ' ' ORDER BY reference_fiche) FROM rappel_conso_table WHERE withdrawn_at IS NOT NULL});
}

sub full { return synced('full_sync => true', @_); }

# What synced() returns after so many records were read and this was done.
sub success
{
	my ($fetched, %n) = @_;
	my ($inserted, $updated, $dead, $withdrawn) = map { $n{$_} // 0 } ('inserted', 'updated', 'dead', 'withdrawn');

	return join(' ', 'success', $fetched, $inserted, $updated + $withdrawn, $fetched - $inserted - $updated - $dead, $dead, $withdrawn)
	  . '; missing: ' . join(' ', @{ $n{missing} // [] }) . '; withdrawn: ' . join(' ', @{ $n{gone} // [] });
}

sub week_later { return $node->sql(q{UPDATE rappel_conso.source_state SET full_at = full_at - interval '8 days'; } . ($_[0] // '')); }

# All rows without their times, and what is remembered.
sub stored_and_remembered
{
	return $node->sql(q{SELECT count(*), md5(string_agg((to_jsonb(t) - 'first_seen_at' - 'updated_at')::text, ' ' ORDER BY reference_fiche)),
		(SELECT count(*) FROM rappel_conso.source_record WHERE source = 'rappel_conso') FROM rappel_conso_table t});
}

# All is back; what did not belong to the sample goes.
sub bring_all_back
{
	$api->control(faults => [], load => { dataset => DATASET, file => sample_file('recalls.jsonl') });
	week_later(q{DELETE FROM rappel_conso_table WHERE reference_fiche ~ '^2024-01-99'; DELETE FROM rappel_conso.source_record WHERE key LIKE '2024-01-99%'});
	synced();
	is(stored_and_remembered(), $stored, "$_[0]: all is back, and the table as it was");
	return;
}

# ---- an unchanged record is not sent again ----

is(synced(), success($all, inserted => $all), 'the first sync');
$stored = stored_and_remembered();
like($stored, qr/^$all\|\w+\|$all$/, 'each record is stored, and remembered');
my $recent = $node->sql(q{SELECT count(*) FROM rappel_conso_table
	WHERE date_de_publication >= (SELECT max(date_de_publication) - interval '30 days' FROM rappel_conso_table)});
$api->touch;
is(synced(), success($recent), 'what lies in the overlap is read again, and unchanged');
$api->update("numero_fiche = '2026-06-0299'", { libelle => 'other words' }, DATASET);
is(synced(), success($recent, updated => 1), 'one record in the overlap changes');
$node->sql("DELETE FROM rappel_conso_table WHERE reference_fiche = '$old[1]'");
$api->update("numero_fiche = '$old[0]'", { libelle => 'other words' }, DATASET);
is(synced(), success($recent), 'a change before the overlap, and a row that a user deletes, are not seen');
week_later();
is(synced(), success($all, updated => 1), 'the change is after full_interval');
is(full(), success($all, inserted => 1), 'the row after a full sync by hand');
bring_all_back('changes');

# ---- found through the count ----

$api->append([ $late[0] ]);
is(synced(), success($recent + $all + 1, inserted => 1), 'a record that comes back-dated is found');
like($said, qr/NOTICE:  00000: .*"rappel_conso".*\b301\b.*\b300\b/, 'through the count');
$api->vanish([ $old[0] ]);
$api->append([ $late[1] ]);
is(synced(), success($recent), 'one comes and one goes: the count does not tell');
week_later();
is(synced(), success($all + 1, inserted => 1, missing => [ $old[0] ]), 'but full_interval does');
bring_all_back('count');

# ---- a record vanishes ----

$api->vanish([ $gone ]);
is(synced(), success($recent + $all - 1, missing => [$gone]), 'a record vanishes: everything is read, and it is missing');
is(stored_and_remembered(), $stored, 'the table is not touched');
$api->touch;
is(synced(), success($recent, missing => [$gone]), 'a run within the hour reads no more than ever');
is(full(), success($all - 1, missing => [$gone]), 'and a full one withdraws nothing');
$node->pass_hours(2);
is(synced(), success($all - 1, withdrawn => 1, gone => [$gone]), 'after the hour it is withdrawn, without news in the dataset');
like($said, qr/NOTICE:  00000: .*"rappel_conso"[^\d\n]*\b1\b[^\d\n]*$/m, 'with a notice');
is( $node->sql(qq{SELECT withdrawn_at <= updated_at, withdrawn_at > first_seen_at, numero_de_version FROM rappel_conso_table WHERE reference_fiche = '$gone';
	SELECT count(*), count(withdrawn_at) FROM rappel_conso_history WHERE reference_fiche = '$gone'}),
	"t|t|2\n1|0", 'the row stays, with the time; its history has it alive');
like($node->sql(q{SELECT state || ': ' || detail FROM rc_status() WHERE component = 'source'}),
	qr/^success: .*\b299\b.*\b0\D+1\D*$/, 'rc_status() counts it');
is(full(), success($all - 1, gone => [$gone]), 'it is withdrawn once');
$api->append([ $line{$gone} ]);
is(synced(), success($recent + $all, updated => 1), 'it comes back as it was: the row is alive');
is(stored_and_remembered(), $stored, 'and as it was');
is($node->sql("SELECT count(*), count(withdrawn_at) FROM rappel_conso_history WHERE reference_fiche = '$gone'"), '2|1', 'its history has it withdrawn, too');

$api->vanish([ $gone ]);
synced();
$node->pass_hours(2);
synced();
$api->append([ { numero_fiche => $gone, numero_version => 1, date_publication => '2024-01-01T00:00:00+00:00', libelle => 'the first' } ]);
is(synced(), success($recent + $all, updated => 1), 'withdrawn, it comes back in an older version');
is($node->sql("SELECT numero_de_version, libelle FROM rappel_conso_table WHERE reference_fiche = '$gone'"), '1|the first', 'which the row has');
bring_all_back('older version');

$api->vanish([ @old[ 0 .. 1 ] ]);
synced();
$api->append([ $line{$old[0]} ]);
is(synced(), success($recent + $all - 1, missing => [ $old[1] ]), 'of two that are missing one is back before the hour');
$node->pass_hours(2);
is(synced(), success($all - 1, withdrawn => 1, gone => [ $old[1] ]), 'the other one alone is withdrawn');

# ---- too many vanish ----

sub misses_too_many
{
	my ($missing, $known, $name) = @_;

	like(synced(), qr/^failed .*; withdrawn: $/, "$name: the run fails, and nothing is withdrawn");
	like($said,
		qr/^ERROR:  55000: $missing .* $known .*"${\DATASET}".*\nDETAIL:  .* 20 .*\nHINT:  .*rc_sync_now\('rappel_conso', full_sync => true\)/m,
		"$name: with message, detail and hint");
	return;
}

bring_all_back('two');
$api->vanish([ @many[ 1 .. 20 ] ]);
is(synced(), success($recent + $all - 20, missing => [ @many[ 1 .. 20 ] ]), '20 of 300 may vanish at once');
$node->pass_hours(2);
$node->sql('UPDATE rappel_conso.stream SET batch_size = 7');
is(synced(), success($all - 20, withdrawn => 20, gone => [ @many[ 1 .. 20 ] ]), 'they are withdrawn, in batches of 7');
$node->sql('UPDATE rappel_conso.stream SET batch_size = DEFAULT');
bring_all_back('20');

$api->vanish([ @many ]);
$api->append([ $late[0] ]);
misses_too_many(21, $all + 1, '21 of 301');
is($node->sql(q{SELECT count(*) FROM rappel_conso_table WHERE reference_fiche = '2024-01-9910'}), 1, 'what is new is stored all the same');
is( $node->sql(qq{SELECT state, last_error ~ '\\m21\\M.*\\m301\\M.*"${\DATASET}"' FROM rc_status() WHERE component = 'source'; SELECT missing_refused FROM rappel_conso.source_state}),
	"failed|t\nt", 'rc_status() says failed, and why');
$node->pass_hours(2);
misses_too_many(21, $all + 1, 'the next run, after the hour');
$api->append([ @line{@many} ]);
is(synced(), success($all + 1), 'they come back: it succeeds');
$api->vanish([ @many ]);
misses_too_many(21, $all + 1, 'gone again');
is(full(), success($all - 20, missing => \@many), 'a full sync by hand accepts it');
is(synced(), success(0, missing => \@many), 'the next run has nothing to do');
$node->pass_hours(2);
is(synced(), success($all - 20, withdrawn => 21, gone => \@many), 'after the hour they are withdrawn, without another question');
$api->vanish([ @old[ 23 .. 43 ] ]);
like(synced(), qr/^failed .*; withdrawn: @many$/, 'what was accepted does not count for others');
bring_all_back('accepted');
$api->control(replace => { dataset => DATASET, records => [] });
misses_too_many($all, $all, 'an empty dataset');
bring_all_back('empty');

# ---- bad days of a portal ----

$api->vanish([ $gone ]);
$api->fault('garbage_line', on => 'export', lines => 5);
is(full(), success($all - 1, dead => 1), 'an unreadable line: the run succeeds with a dead letter, and nothing is missing');
like($said, qr/NOTICE:  00000: .*"rappel_conso".*\nDETAIL:  .*\b1\b.*"${\DATASET}"/, 'with a notice');
$api->touch;
is(synced(), success($recent + $all - 1, missing => [$gone]), 'the next run reads everything, and finds what has vanished');
bring_all_back('unreadable');
$node->sql(q{SELECT rappel_conso.forget('rappel_conso'); DELETE FROM rappel_conso_table});
$api->fault('garbage_line', on => 'export', lines => 5);
is(synced(), success($all, inserted => $all - 1, dead => 1), 'an unreadable line in the first run of all');
$api->touch;
is(synced(), success($recent + $all, inserted => 1), 'the next run has the record');
bring_all_back('unreadable at first');
$api->fault('garbage_line', on => 'export', lines => 5);
$api->fault('status', on => 'count', status => 500, skip => 1);
like(full(), qr/^success .*; missing: ;/, 'an unreadable line in the first of two tries: nothing is missing');
bring_all_back('unreadable in the first try');

$api->vanish([ $gone ]);
$api->fault('cut', on => 'export', lines => 150);
is(full(), success($all, missing => [$gone]), 'a cut export is read on: what came before the cut is not missing');
$api->vanish([ $old[0] ]);
$api->fault('cut', on => 'export', lines => 30, skip => 1);
is(synced(), success($recent + $all - 1, missing => [ $gone, $old[0] ]), 'nor when the count has asked for it');
bring_all_back('cut');

$api->append([ '{"numero_fiche": null, "date_publication": "2024-01-01T00:00:00+00:00"}' ]);
is(synced(), success($recent + $all + 1, dead => 1), 'a line without a key');
$api->vanish([ $gone ]);
is(synced(), success($recent + $all, dead => 1, missing => [$gone]), 'a line without a key does not hide what vanishes');
$node->pass_hours(2);
is(synced(), success($all, dead => 1, withdrawn => 1, gone => [$gone]), 'nor stop its withdrawal');
bring_all_back('without a key');

$api->vanish([ $gone ]);
$api->control(lie => { dataset => DATASET, total_count => $all });
like(full(), qr/^failed .*; missing: ;/, 'fewer records than the API counts: the run fails, and nothing is missing');
$api->control(lie => { dataset => DATASET, total_count => 5, records_count => 7 });
$api->append([ $line{$gone} ]);
is(synced(), success($recent + $all), 'a count of far fewer: everything is read, and nothing is missing');
bring_all_back('lies');

# ---- the clock was a day ahead ----

$api->vanish([ $gone ]);
synced();
$node->sql(q{UPDATE rappel_conso.source_record SET missed_at = missed_at + interval '1 day';
	UPDATE rappel_conso.source_state SET full_at = full_at + interval '1 day', checked_at = checked_at + interval '1 day'});
is(synced(), success($all - 1, missing => [$gone]), 'a full pass in the future: one is due');
is( $node->sql(q{SELECT count(*) FROM rappel_conso.source_record WHERE missed_at BETWEEN now() - interval '5 minutes' AND now();
	SELECT full_at <= now() AND checked_at <= now() FROM rappel_conso.source_state}),
	"1\nt", 'the hour begins anew, and no time is ahead');
is(synced(), success(0, missing => [$gone]), 'and nothing is withdrawn too early');
bring_all_back('clock');

# ---- memory and table are taken away ----

$node->sql('TRUNCATE rappel_conso.source_record');
$api->touch;
is(synced(), success($recent + $all), 'nothing is remembered: everything is read');
is(stored_and_remembered(), $stored, 'the table is the same, and all is remembered again');

$node->sql(qq{UPDATE rappel_conso.source SET filter = 'numero_fiche != "$gone"' WHERE name = 'rappel_conso';
	INSERT INTO rappel_conso.source (name, url, dataset, filter, key_field, cursor_field, transform, stream)
	SELECT 'second', url, dataset, 'numero_fiche = "$gone"', key_field, cursor_field, transform, stream FROM rappel_conso.source WHERE name = 'rappel_conso'});
is(synced() . synced(undef, 'second'), success($all - 1) . success(1), 'two sources of one table');
$node->sql('DROP TABLE rappel_conso_table');
is(synced(), success($all - 1, inserted => $all - 1), 'a table that was dropped is filled again, without news in the dataset');
is(synced(undef, 'second'), success(1, inserted => 1), 'by both of them');
$node->sql(q{UPDATE rappel_conso.source SET filter = NULL WHERE name = 'rappel_conso'; DELETE FROM rappel_conso.source WHERE name = 'second'});
bring_all_back('dropped');

# ---- another definition ----

my $part = grep { /"date_publication": "2026/ } @lines;
$node->sql(q{UPDATE rappel_conso.source SET filter = 'date_publication >= date"2026-01-01"'});
is($node->sql('SELECT count(*) FROM rappel_conso.source_record'), 0, 'a filter: all is forgotten');
is(synced(), success($part), 'the part that is left is read');
$node->pass_hours(2);
$api->touch;
$api->clear_log;
is(synced(), success($recent), 'and nothing else is missing, later neither');
is((grep { $_->{kind} eq 'count' } $api->log)[-1]{query}{where}, 'date_publication >= date"2026-01-01"', 'the count is asked with the filter');
$api->vanish([ $gone, '2026-01-0241' ]);
is(synced(), success($recent + $part - 1, missing => ['2026-01-0241']), 'what vanishes from the part is missing, but not from the rest');
$node->pass_hours(2);
is(synced(), success($part - 1, withdrawn => 1, gone => ['2026-01-0241']), 'and withdrawn');
$node->sql('UPDATE rappel_conso.source SET filter = NULL');
bring_all_back('filter');

# ---- streams of one's own, which add a row for each record ----

sub add_source
{
	my ($name, $value_type, $columns, $records, %source) = @_;

	$api->control(replace => { dataset => $name, records => $records });
	%source = (name => $name, url => $api->url, dataset => $name, stream => $name, retries => 0, %source);
	$node->sql(qq{CREATE TABLE $name (at bigserial, key text, value text);
		INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('$name', '{$name}', '$value_type',
		  'INSERT INTO $name (key, value) SELECT key, $columns FROM records ORDER BY record_offset');
		INSERT INTO rappel_conso.source (} . join(', ', sort keys %source) . ') VALUES (' . join(', ', map { "'$source{$_}'" } sort keys %source) . ')');
	return;
}

# What a sync adds to the table.
sub added
{
	my ($name, $arguments, $source) = @_;
	my $before = $node->sql("SELECT COALESCE(max(at), 0) FROM $name");
	my ($run) = synced($arguments, $source // $name) =~ /^(\w+ \d+)/;

	return "$run: " . $node->sql("SELECT string_agg(concat_ws(' ', COALESCE(key, '-'), COALESCE(value, 'null')), ', ' ORDER BY at) FROM $name WHERE at > $before");
}

my @menu = map { { code => $_, day => "2026-03-0$_", n => 1 } } (1 .. 4);
add_source('menu', 'jsonb', q{value->>''n''}, \@menu, key_field => 'code', cursor_field => 'day');
is(added('menu'), 'success 4: 1 1, 2 1, 3 1, 4 1', 'each record once');
$api->touch('menu');
is(added('menu'), 'success 4: ', 'read again, none');
$api->update('code = 2', { n => 2 }, 'menu');
is(added('menu'), 'success 4: 2 2', 'the one that has changed');
$api->control(delete => { dataset => 'menu', where => 'code = 3' });
is(added('menu'), 'success 6: ', 'nothing of what vanishes');
$node->sql(q{UPDATE rappel_conso.source SET name = 'carte' WHERE name = 'menu'});
$node->pass_hours(2);
is(added('menu', undef, 'carte'), 'success 3: 3 null', 'after the hour its key, even when the source has another name');
is(added('menu', 'full_sync => true', 'carte'), 'success 3: 1 1, 2 2, 4 1', 'a full sync by hand hands on all');
$node->sql(q{DELETE FROM rappel_conso.source WHERE name = 'carte'});
is($node->sql(q{SELECT count(*) FROM rappel_conso.source_record WHERE source <> 'rappel_conso'}), 0, 'a source goes with its memory');

# Newer and older ones of a fiche, in both orders.
my @versions = map { { numero_fiche => $_->[0], numero_version => $_->[1], date_publication => "2026-03-0$_->[2]T00:00:00+00:00" } }
  ([ 'a', 2, 1 ], [ 'a', 1, 5 ], [ 'b', 1, 1 ], [ 'b', 2, 5 ]);
add_source('versions', 'rappel_conso.recall', 'numero_de_version', \@versions, key_field => 'numero_fiche', cursor_field => 'date_publication', transform => 'recall');
foreach my $batch_size (1, 10)
{
	$node->sql("SELECT rappel_conso.forget('versions'); UPDATE rappel_conso.stream SET batch_size = $batch_size WHERE name = 'versions'");
	is(added('versions'), 'success 4: A 2, B 1, B 2', "an older version does not come after the newer, in batches of $batch_size");
	$api->touch('versions');
	is(added('versions'), 'success 4: ', 'nor does any when they are read again');
	is(added('versions', 'full_sync => true'), 'success 4: A 2, B 1, B 2', 'a full sync by hand brings all again, in this order');
	$api->fault('status', on => 'export', status => 500);
	is(added('versions', 'full_sync => true'), 'failed 0: ', 'when one has failed');
	$api->touch('versions');
	is(added('versions'), 'success 4: ', 'no older version comes later, either');
}

# Keys that are long, and keys that are not ASCII.
my $random = join('', map { Digest::MD5::md5_hex($_) } (1 .. 100));
my @keys = ("\x{e9}t\x{e9}", "e\x{301}t\x{e9}", "\x{65e5}\x{672c}", "it's a \\", substr($random, 0, 1024), "\x{e9}" x 512);
my @long = (substr($random, 0, 1025), "\x{e9}" x 513, $random);
add_source('keys', 'jsonb', q{NULL}, [ map { { k => $_, day => '2026-03-01' } } @keys, @long ], key_field => 'k', cursor_field => 'day');
synced(undef, 'keys');
is($node->sql(q{SELECT count(*), count(k.key) FROM rappel_conso.source_record r LEFT JOIN keys k ON convert_to(k.key, 'UTF8') = r.key WHERE r.source = 'keys'}),
	@keys . '|' . @keys, 'keys up to 1024 bytes are remembered, whatever is in them');
$api->touch('keys');
$api->clear_log;
synced(undef, 'keys');
is($node->sql('SELECT count(*), min(length(key)) FROM keys WHERE at > ' . (@keys + @long)), @long . '|513', 'the others are handed on each time');
is(scalar(grep { $_->{kind} eq 'export' } $api->log), 1, 'which the count knows: not everything is read after it');
$api->control(replace => { dataset => 'keys', records => [ { k => 'one', day => '2026-03-01' } ] });
synced(undef, 'keys');
$node->sql('DELETE FROM keys');
$node->pass_hours(2);
synced(undef, 'keys');
is($node->sql('SELECT md5(string_agg(md5(key), $$ $$ ORDER BY md5(key))) FROM keys'), Digest::MD5::md5_hex(join(' ', sort map { Digest::MD5::md5_hex(Encode::encode('UTF-8', $_)) } @keys)), 'all that were remembered are withdrawn');

# More keys than stay in memory; two of a hundred may vanish.
my $file = PostgreSQL::Test::Utils::tempdir() . '/many.jsonl';
add_source('many', 'jsonb', 'NULL', [], key_field => 'k', cursor_field => 'n');
append_to_file($file, join('', map { sprintf(qq({"k": "%01000d", "n": %d}\n), $_, $_) } (1 .. 4500)));
$api->control(load => { dataset => 'many', file => $file });
like(synced(undef, 'many'), qr/^success 4500 4500 0 0 0 0/, '4500 records with keys of 1000 bytes');
$api->control(delete => { dataset => 'many', where => 'n <= 90' });
like(synced(undef, 'many') =~ s/0{900}//gr, qr/^success 4411 0 0 4411 0 0; missing: (\d+ ){89}\d+;/, '90 may vanish at once');
$api->control(delete => { dataset => 'many', where => 'n <= 91' });
synced(undef, 'many');
like($said, qr/ERROR:  55000: 91 .* 4500 .*"many".*\nDETAIL:  .* 90 /, '91 may not');

# Without a key, without a cursor.
add_source('keyless', 'jsonb', q{value->>''n''}, \@menu, cursor_field => 'day');
add_source('cursorless', 'jsonb', q{value->>''n''}, \@menu, key_field => 'code');
is(added('keyless'), 'success 4: - 1, - 1, - 1, - 1', 'without a key');
is(added('cursorless'), 'success 4: 1 1, 2 1, 3 1, 4 1', 'without a cursor');
$api->control(delete => { dataset => $_, where => 'code = 2' }) foreach ('keyless', 'cursorless');
is(added('keyless'), 'success 3: - 1, - 1, - 1', 'without a key nothing is remembered');
is(added('cursorless'), 'success 3: ', 'without a cursor each record is');
$api->touch('keyless');
$node->pass_hours(2);
is(added('keyless'), 'success 3: - 1, - 1, - 1', 'without a key nothing is withdrawn');
is(added('cursorless'), 'success 3: 2 null', 'without a cursor what has vanished is');

done_testing();
