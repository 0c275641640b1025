# 115_history.pl
#     rappel_conso_history: it is made again where it was dropped, unless it is
#     switched off; and its times follow each other, whichever transaction
#     began first, so that a fiche is once in rc_recalls_at().

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', api => $api);
my $changes = 0;

# A fiche changes at the API, and is read.
my $fiche = '2026-06-0299';

sub change_recall
{
	my ($note) = @_;

	$api->control(update => { dataset => DATASET, where => "numero_fiche = '$fiche'", set => { libelle => "libelle " . ++$changes } });
	is($node->sql('SELECT state, updated, dead FROM rc_sync_now(full_sync => true)'), 'success|1|0', "$note: a recall changes");
	return;
}

sub history { return $node->sql("SELECT libelle FROM rappel_conso_history WHERE reference_fiche = '$fiche' ORDER BY valid_from"); }

#
# Dropped
#
like( $node->error_of('SELECT * FROM rc_recalls_at(now())'),
	qr/^42P01: .*"rappel_conso_table".*rc_sync_now\(\)/,
	'before the first run it says how to get it');
$node->sql('SELECT rc_sync_now()');
my $columns = q{
	SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum)), ', ' ORDER BY attnum)
	  FROM pg_attribute WHERE attrelid = 'rappel_conso_history'::regclass AND attnum > 0 AND NOT attisdropped};
my $made = $node->sql($columns);
like($made, qr/^reference_fiche text t .*, date_de_publication .* f .*, withdrawn_at timestamp with time zone f .*, valid_from .* t .*, valid_to .* t /,
	'the history has the columns of the table');
is($node->sql(q{
	SELECT string_agg(attrelid::regclass || '.' || attname, ' ') FROM pg_attribute
	 WHERE attrelid IN ('rappel_conso_table'::regclass, 'rappel_conso_history'::regclass) AND attnum > 0
	   AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL}),
	'', 'each column of both tables has a comment');
$node->sql(q{SELECT rc_search_index(); ALTER TABLE rappel_conso_table ADD COLUMN note text NOT NULL DEFAULT 'mine'});
change_recall('as ever');
is(history(), $node->sql(q{SELECT libelle FROM rappel_conso_history}), 'its old row is kept');

$node->sql('DROP TABLE rappel_conso_history');
like( $node->error_of('SELECT * FROM rc_recalls_at(now())'),
	qr/^42P01: .*keep_superseded.*keep_deleted/,
	'where it was dropped, it says how to get it back');
like( $node->error_of("DELETE FROM rappel_conso_table WHERE reference_fiche = '$fiche'"),
	qr/^58P01: .*"rappel_conso_history"/,
	'an old row is not lost');
change_recall('dropped');
is(history(), 'libelle 1', 'the run has made it again, and the old row is in it');
is($node->sql($columns), $made, 'with the same columns, and none of the user');
is($node->sql(q{SELECT count(*) FROM pg_index WHERE indrelid = 'rappel_conso_history'::regclass}), 1, 'and its index');
is($node->sql("SELECT count(*) FROM rc_recalls_at(now()) WHERE reference_fiche = '$fiche'"), 1, 'rc_recalls_at() goes on');

$node->sql('ALTER TABLE rappel_conso_table DISABLE TRIGGER keep_superseded, DISABLE TRIGGER keep_deleted; DROP TABLE rappel_conso_history');
change_recall('switched off');
is($node->sql(q{SELECT to_regclass('rappel_conso_history') IS NULL}), 't', 'switched off, it stays away');
$node->sql('ALTER TABLE rappel_conso_table ENABLE TRIGGER keep_superseded, ENABLE TRIGGER keep_deleted');
change_recall('switched on');
is(history(), 'libelle 3', 'switched on, it is back');

#
# Times
#
my $chain = qq{
	WITH version AS (
	  SELECT valid_from, valid_to FROM rappel_conso_history WHERE reference_fiche = '$fiche'
	   UNION ALL
	  SELECT updated_at, NULL FROM rappel_conso_table WHERE reference_fiche = '$fiche'
	), next AS (
	  SELECT *, lead(valid_from) OVER (ORDER BY valid_from, valid_to) AS follows FROM version
	)
	SELECT count(*), count(*) FILTER (WHERE valid_to <= valid_from), count(*) FILTER (WHERE valid_to IS DISTINCT FROM follows),
	       (SELECT string_agg(DISTINCT count::text, ' ') FROM (SELECT (SELECT count(*) FROM rc_recalls_at(v.valid_from) r WHERE r.reference_fiche = '$fiche') FROM version v) n)
	  FROM next};
is($node->sql($chain), '2|0|0|1', 'each version begins where the one before ended');

# A transaction that begins before another one of its kind, and writes after it.
my $update = "UPDATE rappel_conso_table SET libelle = 'late', updated_at = now() WHERE reference_fiche = '$fiche'";
foreach my $late ($update, qq{
	INSERT INTO rappel_conso_table AS t (reference_fiche) VALUES ('$fiche')
	ON CONFLICT (reference_fiche) DO UPDATE SET withdrawn_at = now(), updated_at = now()})
{
	my $before = $node->sql('SELECT count(*) FROM rappel_conso_history');
	my $other = sprintf('psql -XAtq -d "%s" -c', $node->connstr('postgres'));

	$api->control(update => { dataset => DATASET, where => "numero_fiche = '$fiche'", set => { libelle => 'libelle ' . ++$changes } });
	$node->sql(qq{
		BEGIN;
		SELECT now();
		\\! $other "SELECT rc_sync_now(full_sync => true)"
		\\! $other "UPDATE rappel_conso_table SET libelle = 'by hand', updated_at = now() WHERE reference_fiche = '$fiche'"
		$late;
		COMMIT});
	is($node->sql('SELECT count(*) FROM rappel_conso_history'), $before + 3, 'three changes, the last by the oldest transaction');
}
is($node->sql($chain), '8|0|0|1', 'versions follow each other all the same');

# A time that is yet to come, and the stream after it.
$node->sql("UPDATE rappel_conso_table SET updated_at = now() + interval '1 day' WHERE reference_fiche = '$fiche'");
change_recall('in the future');
is($node->sql($chain), '10|0|0|1', 'the stream writes a time after that');
$node->sql("UPDATE rappel_conso_table SET motif_du_rappel = 'x' WHERE reference_fiche = '$fiche'");
is($node->sql($chain), '10|0|0|1', 'an update that leaves the time alone keeps nothing');

my ($deleted) = $node->sql("DELETE FROM rappel_conso_table WHERE reference_fiche = '$fiche' RETURNING updated_at") =~ /(.*)/;
is($node->sql("SELECT max(valid_from) = '$deleted', bool_and(valid_from <= valid_to) FROM rappel_conso_history WHERE reference_fiche = '$fiche'"),
	't|t', 'a row that is deleted before its time never was');

done_testing();
