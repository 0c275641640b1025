# 112_search.pl
#     rc_search(): words, accents and ranks; the column and index that
#     rc_search_index() makes, which is used, follows what arrives, and stays
#     when the extension goes; recalls by GTIN.

use strict;
use warnings FATAL => 'all';
use utf8;

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $MOST = 500;        # as in rc_search()

my $api = start_api();
my $node = new_node('main', api => $api);

# References found, in the order of rank; the query is quoted here.
sub found
{
	my ($query) = @_;

	$query =~ s/'/''/g;
	utf8::encode($query);
	return $node->sql("SELECT string_agg(reference_fiche, ' ') FROM rc_search('$query')");
}

#
# Before the first run
#
like( $node->error_of("SELECT * FROM rc_search('x')"),
	qr/^42P01: .*"rappel_conso_table".*rc_sync_now\(\)/,
	'without the table it says how to get it');
like($node->error_of('SELECT rc_search_index()'), qr/^42P01: .*"rappel_conso_table"/, 'so does rc_search_index()');

# What would take minutes is refused before anything is read.
foreach my $query (
	[ q{repeat('a ', 3000000)}, 6000000, 10000 ],
	[ q{repeat('é', 10001)}, 10001, 10000 ],
	[ q{(SELECT string_agg('mot' || n, ' ') FROM generate_series(1, 301) n)}, 301, 300 ],
	[ q{(SELECT '"' || string_agg(n::text, ' ') || '"' FROM generate_series(1, 1000) n)}, 1000, 300 ],
	[ q{(SELECT string_agg('-x' || n, ' or ') FROM generate_series(1, 400) n)}, 400, 300 ])
{
	my ($sql, $has, $most) = @$query;    # characters, or words

	like($node->error_of("SELECT * FROM rc_search($sql)"), qr/^54000: .*rc_search\(\).* $has\b.* $most\b/, "D11: a query of $has is refused");
}

$node->sql('SELECT rc_sync_now()');

# Recalls of our own beside those of the sample: columns as rc_search() weighs
# them.
$node->sql(<<~'EOC');
	INSERT INTO rappel_conso_table (reference_fiche, date_de_publication, nom_de_la_marque_du_produit,
	    noms_des_modeles_ou_references, libelle, categorie_de_produit, motif_du_rappel, distributeurs, gtin)
	VALUES
	  ('T1', '2030-03-01', 'zorblax', NULL, NULL, 'alimentation', 'un motif', NULL, '{3012345678902,40123455}'),
	  ('T2', '2030-03-02', 'une marque', NULL, NULL, 'alimentation', 'des traces de zorblax', NULL, '{40123455}'),
	  ('T3', '2030-03-03', 'une marque', NULL, NULL, 'alimentation', 'un motif', 'zorblax et fils', NULL),
	  ('T4', '2030-03-04', 'une marque', 'zorblax', 'zorblax', 'zorblax', 'zorblax', 'zorblax', NULL),
	  ('T5', '2030-02-01', 'Pâté frénétique', 'le grand CŒLACANTHE', NULL, NULL, NULL, NULL, NULL),
	  ('T6', NULL, 'pates frenetiques', 'petits coelacanthes', NULL, NULL, NULL, NULL, NULL);
	EOC

my @queries = (
	[ 'a word: best first', 'zorblax', 'T4 T1 T2 T3' ],
	[ 'two words', 'zorblax traces', 'T2' ],
	[ 'capitals and accents of the query', 'ZORBLÂX', 'T4 T1 T2 T3' ],
	[ 'accents of the table', 'pate frenetique', 'T5 T6' ],
	[ 'accents of both, and a plural', 'pâtés frénétiques', 'T5 T6' ],
	[ 'ligatures', 'cœlacanthe', 'T5 T6' ],
	[ 'no ligatures', 'coelacanthe', 'T5 T6' ],
	[ 'one of two words', 'zorblax or frenetique', 'T4 T1 T5 T6 T2 T3' ],
	[ 'without a word', 'zorblax -marque', 'T1' ],
	[ 'a phrase', '"grand coelacanthe"', 'T5' ],
	[ 'a phrase that is none', '"coelacanthe grand"', '' ],
	[ 'an apostrophe', "d'cœlacanthe", 'T5 T6' ],
	[ 'stop words only', 'le la de', '' ],
	[ 'nothing', '', '' ],
	[ 'the mark of a time', '@23:225', '' ],
	[ 'operators', "zorblax & | ! : * ( ' \\", 'T4 T1 T2 T3' ]);

sub check_all
{
	my ($how) = @_;

	is(found($_->[1]), $_->[2], "$how: $_->[0]") foreach @queries;
	return;
}

check_all('without an index');
is( $node->sql(q{
		SELECT count(*), count(DISTINCT reference_fiche), bool_and(rank > 0),
		       bool_and(concat_ws(' ', libelle, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
		                categorie_de_produit, motif_du_rappel, '') ~ 'listeri') AS words
		  FROM rc_search('listeria')}),
	$node->sql(q{
		SELECT count(*), count(DISTINCT reference_fiche), true,
		       bool_and(concat_ws(' ', libelle, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
		                categorie_de_produit, motif_du_rappel, '') ~ 'listeri')
		  FROM rappel_conso_table
		 WHERE concat_ws(' ', libelle, nom_de_la_marque_du_produit, noms_des_modeles_ou_references, categorie_de_produit,
		                 sous_categorie_de_produit, motif_du_rappel, risques_pour_le_consommateur, distributeurs) ~ 'listeria'}),
	'recalls of the sample are found by what they hold');
is($node->sql("SELECT rc_search(NULL) IS NULL"), '', 'null gives no row');
is($node->sql(q{SELECT count(*) FROM rc_search(repeat('le ', 3333))}), '0', 'a long query of nothing');
is( $node->sql(q{SELECT string_agg(reference_fiche, ' ' ORDER BY reference_fiche) FROM rc_search('zorblax or ' || (SELECT string_agg('mot' || n, ' or ') FROM generate_series(1, 299) n))}),
	'T1 T2 T3 T4', 'many words');
my ($status, $out, $err) = $node->psql('postgres', "SELECT * FROM rc_search('zorblax')");
like( $err,
	qr/NOTICE:  .*rc_search\(\).*\nHINT:  .*SELECT rc_search_index\(\)/,
	'it tells of the index');

#
# With the index
#
my $before = $node->sql("SELECT array_agg(s) FROM rc_search('alimentation') s");
is($node->sql('SELECT rc_search_index()'), 't', 'the index is made');
is($node->sql('SELECT rc_search_index()'), 'f', 'once');
check_all('with the index');
is($node->sql("SELECT array_agg(s) FROM rc_search('alimentation') s"), $before, 'many are the same as before');
($status, $out, $err) = $node->psql('postgres', "SELECT * FROM rc_search('zorblax')");
is($err, '', 'nothing is said any more');

# More than are ranked: the newest, whatever the month.
$node->sql(<<~'EOC');
	INSERT INTO rappel_conso_table (reference_fiche, date_de_publication, libelle)
	SELECT 'M' || n, timestamptz '2020-01-01 00:00Z' + n * interval '1 day', 'mirliton'
	  FROM generate_series(1, 1200) n;
	EOC
is( $node->sql(q{SELECT count(*), min(substr(reference_fiche, 2)::integer) FROM rc_search('mirliton')}),
	"$MOST|" . (1200 - $MOST + 1),
	'of many the newest are ranked');
is( $node->sql(q{SELECT string_agg(reference_fiche, ' ' ORDER BY reference_fiche) FROM rc_search('mirliton')
		 WHERE date_de_publication > '2023-04-12'}),
	'M1198 M1199 M1200',
	'with the date of each');

# However they lie in time: many at one instant, few and far between, all of
# long ago, years away from each other, withdrawn, or without a date.
$node->sql(<<~'EOC');
	INSERT INTO rappel_conso_table (reference_fiche, date_de_publication, libelle, withdrawn_at)
	SELECT 'N' || n, timestamptz '2015-06-01', 'turlutu carillon', NULL::timestamptz FROM generate_series(1, 2500) n
	UNION ALL
	SELECT 'O' || n, timestamptz '1999-01-01 00:00Z' + n * interval '1 day', 'turlutu' || repeat(' grelot', n % 2), NULL
	  FROM generate_series(1, 1300) n
	UNION ALL
	SELECT 'P' || n, timestamptz '1965-01-01 00:00Z' + n * interval '50 days', 'carillon grelot', NULL
	  FROM generate_series(1, 450) n
	UNION ALL
	SELECT 'Q' || n, '2029-12-31', 'turlutu grelot', CASE WHEN n % 3 > 0 THEN now() END FROM generate_series(1, 600) n
	UNION ALL
	SELECT 'R' || COALESCE(d::text, ''), d, 'crecelle pipeau', NULL
	  FROM unnest('{infinity,-infinity,9999-12-31,2250-01-01,1969-12-31,"0044-03-15 BC",NULL}'::timestamptz[]) d
	UNION ALL
	SELECT 'S' || n, NULL, repeat('crecelle ', n % 2) || 'clavecin', NULL FROM generate_series(1, 1100) n;
	EOC
foreach my $query ('mirliton', 'turlutu', 'carillon', 'grelot', 'crecelle', 'clavecin', 'pipeau or clavecin', 'turlutu grelot',
	'carillon -turlutu', 'mirliton or turlutu', 'grelot -turlutu', 'turlutu mirliton')
{
	my ($mine, $all) = map { $node->sql($_) } (
		"SELECT reference_fiche FROM rc_search('$query') ORDER BY 1", qq{
		SELECT reference_fiche FROM (
		       SELECT reference_fiche FROM rappel_conso_table
		        WHERE mots @@ websearch_to_tsquery('french', '$query') AND withdrawn_at IS NULL
		        ORDER BY NULLIF(date_de_publication, 'infinity') DESC NULLS LAST, reference_fiche LIMIT $MOST) newest
		 ORDER BY 1});
	is($mine, $all, "$query: the newest of all that match");
}

# The index is used: no sequential scan, and its own scans are counted.
$node->sql('VACUUM ANALYZE rappel_conso_table');
sub scans
{
	return $node->sql(q{
		SELECT pg_stat_force_next_flush();
		SELECT pg_stat_get_numscans('rappel_conso_table_mots_idx'::regclass) || ' ' ||
		       pg_stat_get_numscans('rappel_conso_table'::regclass)});
}
my ($index, $table) = scans() =~ /(\d+) (\d+)/;
$node->sql("SELECT count(*) FROM rc_search('mirliton'); SELECT pg_stat_force_next_flush()");
my ($index_after, $table_after) = scans() =~ /(\d+) (\d+)/;
cmp_ok($index_after, '>', $index, 'the index is read');
is($table_after, $table, 'the table is not read through');

#
# What arrives is found; nothing else in the way of the stream
#
my $newest = $node->sql(q{
	SELECT reference_fiche FROM rappel_conso_table WHERE reference_fiche ~ '^20' ORDER BY date_de_publication DESC LIMIT 1});
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '$newest'",
		set => { marque_produit => 'Frênétik', numero_version => 9 }
	});
is($node->sql('SELECT state, updated, dead FROM rc_sync_now()'), 'success|1|0', 'a recall changes');
is(found('frenetik'), $newest, 'and is found');
is( $node->sql("SELECT to_regclass('rappel_conso_history') IS NULL OR EXISTS (SELECT FROM rappel_conso_history)"),
	't', 'its history is kept as ever');

# Folded or not makes no difference.
$node->sql(q{UPDATE rappel_conso.source SET fold_accents = false});
is($node->sql('SELECT state, dead FROM rc_sync_now()'), 'success|0', 'accents come into the table');
is($node->sql(q{SELECT count(*) FROM rappel_conso_table WHERE nom_de_la_marque_du_produit ~ 'ê'}), 1, 'as they are');
is(found('frenetik'), $newest, 'and are ignored');
is(found('FRÊNÉTIK'), $newest, 'in the query, too');

#
# By GTIN
#
is( $node->sql(q{SELECT string_agg(reference_fiche, ' ' ORDER BY reference_fiche) FROM rappel_conso_table WHERE gtin @> '{40123455}'}),
	'T1 T2', 'recalls by GTIN');
like( $node->sql(q{SET enable_seqscan = off;
		EXPLAIN (COSTS OFF) SELECT FROM rappel_conso_table WHERE gtin @> '{40123455}'}),
	qr/Bitmap Index Scan on rappel_conso_table_gtin_idx/, 'by their index');

#
# Rights: execution of the function, and the table
#
$node->sql(q{CREATE ROLE reader; GRANT EXECUTE ON FUNCTION rc_search(text) TO reader});
is( $node->error_of("SET ROLE reader; SELECT * FROM rc_search('zorblax')"),
	'42501: permission denied for table rappel_conso_table', 'who may not read the table finds nothing');
$node->sql('GRANT SELECT ON rappel_conso_table TO reader');
is($node->sql("SET ROLE reader; SELECT count(*) FROM rc_search('zorblax')"), 4, 'who may, does');
like($node->error_of('SET ROLE reader; SELECT rc_search_index()'), qr/^42501: permission denied for function/, 'the index is not everybody\'s');

#
# Databases of other encodings: what they cannot hold was never in them
#
foreach my $encoding ('LATIN1', 'WIN1254', 'SQL_ASCII')
{
	my $dbname = lc $encoding;
	my $has = $encoding eq 'LATIN1' ? 'a' : $encoding eq 'SQL_ASCII' ? '' : 'al';    # accents, ligatures
	my $search = sub {
		my ($query) = @_;

		utf8::encode($query);
		return $node->safe_psql($dbname,
			"SET client_encoding = 'UTF8'; SELECT string_agg(reference_fiche, ' ') FROM rc_search('$query')");
	};

	$node->sql("CREATE DATABASE $dbname TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->create_extension(dbname => $dbname, api => $api);
	is($node->safe_psql($dbname, 'SELECT state, inserted + dead FROM rc_sync_now()'), 'success|300', "$encoding: a sync");
	my $insert = "INSERT INTO rappel_conso_table (reference_fiche, date_de_publication, libelle) VALUES ('T1', '2030-01-01', 'pates frenetiques, coelacanthe')";
	$insert .= ", ('T2', '2030-01-02', 'pâtés FRÉNÉTIQUES')" if $has =~ /a/;
	$insert .= ", ('T3', '2030-01-03', 'grand CŒLACANTHE, cœlacanthe')" if $has =~ /l/;
	utf8::encode($insert);
	$node->safe_psql($dbname, "SET client_encoding = 'UTF8'; $insert");
	foreach my $how ('without an index', 'with the index')
	{
		is(join(' ', sort split(/ /, $search->('pates frenetiques'))), $has =~ /a/ ? 'T1 T2' : 'T1', "$encoding, $how: words");
		is(join(' ', sort split(/ /, $search->('coelacanthe'))), $has =~ /l/ ? 'T1 T3' : 'T1', "$encoding, $how: a ligature");
		is($search->('PÂTÉS'), $search->('pates'), "$encoding, $how: accents of the query");
		is($search->('cœlacanthe'), $search->('coelacanthe'), "$encoding, $how: a ligature of the query") if $encoding ne 'LATIN1';
		is($node->safe_psql($dbname, 'SELECT rc_search_index()'), 't', "$encoding: the index") if $how =~ /without/;
	}
}

#
# Without the extension
#
$node->sql('REVOKE ALL ON FUNCTION rc_search(text) FROM reader; DROP EXTENSION rappel_conso');
is( $node->sql(q{SELECT string_agg(reference_fiche, ' ' ORDER BY reference_fiche) FROM rappel_conso_table WHERE mots @@ 'zorblax'}),
	'T1 T2 T3 T4', 'column and index stay when the extension goes');
$node->sql(q{INSERT INTO rappel_conso_table (reference_fiche, libelle) VALUES ('T9', 'zorblax')});
is($node->sql(q{SELECT count(*) FROM rappel_conso_table WHERE mots @@ 'zorblax'}), 5, 'and go on to work');

done_testing();
