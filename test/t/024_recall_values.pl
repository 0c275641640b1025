# 024_recall_values.pl
#     The columns of a recall, and what its values become: dates of the
#     documented forms and no others, whatever the settings of role and database;
#     texts that have turned into lists; integers.

use strict;
use warnings FATAL => 'all';
use utf8;

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use RappelConso;

my $api = start_api();
my $data = 'values';
$api->control(replace => { dataset => $data, records => [] });
my $node = new_node('main', api => $api, source => { dataset => "'$data'" });

# Serve these records as the whole dataset, and read it as if for the first
# time.
sub read_records
{
	my (@records) = @_;

	$api->control(replace => { dataset => $data, records => \@records });
	$node->sql(q{
		DELETE FROM rappel_conso.source_state;
		DELETE FROM rappel_conso.dead_letter;
		DROP TABLE IF EXISTS rappel_conso_table, rappel_conso_history});
	return $node->sql('SELECT state, fetched, inserted, dead FROM rc_sync_now()');
}

my %dated = (date_publication => '2026-03-05T08:02:00+00:00');

# What SQL prints, as characters.
sub query_utf8
{
	my ($sql) = @_;
	my $out = $node->sql($sql);

	utf8::decode($out);
	return $out;
}

#
# The columns of a recall are those of its type, wherever they are written
#
my $columns = $node->sql(q{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'rappel_conso.recall'::regclass});
$node->sql(qq{
	CREATE TABLE line (value text);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('lines', '{lines}', 'text', 'INSERT INTO line SELECT value FROM records');
	INSERT INTO rappel_conso.source (name, url, dataset, key_field, transform, stream)
	SELECT 'lines', url, dataset, key_field, transform, 'lines' FROM rappel_conso.source});
read_records(new_recall(1, %dated));
$node->sql(q{SELECT FROM rc_sync_now('lines')});
is($node->sql(q{SELECT string_agg(name, ' ' ORDER BY n) FROM line, json_object_keys(value::json) WITH ORDINALITY AS k (name, n)}),
	$columns, 'a record has the columns of rappel_conso.recall, in their order');
foreach my $table ('rappel_conso_table', 'rappel_conso_history')
{
	like($node->sql(qq{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0}),
		qr/^\Q$columns\E first_seen_at updated_at withdrawn_at\b/, "so has $table");
}
is($node->sql(q{SELECT array_to_string(proargnames[2:], ' ') FROM pg_proc WHERE proname = 'rc_recalls_at'}),
	"$columns withdrawn_at", 'and rc_recalls_at()');
$node->sql(q{DELETE FROM rappel_conso.source WHERE name = 'lines'});

#
# V5: dates
#

# What is read as a date, and what of it a time is, in UTC.
my @dates = (
	[ '2026-01-02', '2026-01-02' ],
	[ '2024-02-29', '2024-02-29' ],
	[ '0001-01-01', '0001-01-01' ],
	[ '9999-12-31', '9999-12-31' ],
	[ '2323-07-01', '2323-07-01' ],
	[ '02/01/2026', '2026-01-02' ],
	[ '13/12/2026', '2026-12-13' ],
	[ 'mercredi 29 septembre 2021', '2021-09-29' ],
	[ 'Jeudi 29 Février 2024', '2024-02-29' ],
	[ "dimanche\x{a0}1 ao\x{fb}t 2021", '2021-08-01' ],
	[ 'vendredi 1er janvier 2027', '2027-01-01' ],
	[ ' samedi 4 decembre 2021 ', '2021-12-04' ]);
my @times = (
	[ '2026-03-05T08:02:00+00:00', '2026-03-05', '2026-03-05 08:02:00.000000' ],
	[ '2026-03-05T08:02:00Z', '2026-03-05', '2026-03-05 08:02:00.000000' ],
	[ '2024-01-02T03:04:05+02:00', '2024-01-02', '2024-01-02 01:04:05.000000' ],
	[ '2026-12-31T23:30:00-05:00', '2026-12-31', '2027-01-01 04:30:00.000000' ],
	[ '2026-01-01T00:15:00+0530', '2026-01-01', '2025-12-31 18:45:00.000000' ],
	[ '2026-03-05T08:02:03.25Z', '2026-03-05', '2026-03-05 08:02:03.250000' ],
	[ '2026-03-05T08:02:03.1234560000000Z', '2026-03-05', '2026-03-05 08:02:03.123456' ],
	[ '2026-03-05 08:02:03', '2026-03-05', '2026-03-05 08:02:03.000000' ]);

# What the server, or a look-alike of its own, might take for one.
my @refused = (
	'today', 'TODAY', 'now', 'tomorrow', 'yesterday', 'epoch', 'infinity', '-infinity', 'allballs', 'never',
	'01/02/26', '1/2/2026', '01/02/02026', '2026-1-2', '20260102', '2026/01/02', '2026.002', 'J2461043', '260102',
	'02.01.2026', '02-01-2026', '02-Jan-2026', 'Jan 2 2026', '2 Jan 2026', 'January 2, 2026', '2 january 2026',
	'Fri Jan 02 2026', '2026-Jan-02', '2026-W01-5', '2026-002', '2026-01', '2026', 'janvier 2026', '29 sept 2021',
	'2026-01-02 BC', '2026-01-02 AD', '12026-01-02', '-2026-01-02', '0000-01-01', '01/01/0000',
	'2023-02-29', '2026-02-30', '2026-13-01', '2026-00-10', '2026-04-31', '2100-02-29', '30/02/2026', '31/04/2026',
	'12/31/2026', '01/13/2026', 'lundi 30 février 2026', '32/01/2026',
	'2026-01-02T24:00:00Z', '2026-01-02T25:00:00Z', '2026-01-02T10:60:00Z', '2026-01-02T23:59:60Z', '2026-01-02T1:02:03Z',
	'2026-01-02T10:00:00 Europe/Paris', '2026-01-02T10:00:00 CET', '2026-01-02T10:00:00+16:00', '2026-01-02T10:00:00+2',
	'2026-01-02T10:00:00+02:00:30', '2026-01-02T10:00:00 PM', '2026-02-30T10:00:00Z', '2026-01-02 UTC', '10:00:00',
	'2026-01-02 2026-01-03', '? today', '02/01/2026 10:00', 'mercredi 29 septembre 2021 à 10 h', '2026-01-02T',
	"\x{ff12}\x{ff10}26-01-02", "2026-01-02\x{6f22}", "\x{662}026-01-02", "2026-01-02\x{200b}", '2026-01-0２',
	'à déterminer', '-', '?', '"', '2026-01-02"', 'x' x 5000,
	20260102, 2026, 0, JSON::PP::true, ['2026-01-02'], [], { a => '2026-01-02' });

my (@records, @expected, @dead);
foreach my $case (@dates, @times)
{
	my ($text, $date, $time) = @$case;
	my $n = @records;

	push @records, new_recall($n, %dated, date_debut_commercialisation => $text, date_publication => $text);
	push @expected, sprintf('2026-03-%04d|%s|%s', $n, $date, $time // "$date 00:00:00.000000");
}
foreach my $text (@refused)
{
	push @records, new_recall(scalar(@records), %dated, date_debut_commercialisation => $text);
	push @dead, sprintf('2026-03-%04d', $#records);
	push @records, new_recall(scalar(@records), %dated, date_publication => $text);
	push @dead, sprintf('2026-03-%04d', $#records);
	push @records, new_recall(scalar(@records), %dated, date_de_fin_de_la_procedure_de_rappel => $text);
	push @dead, sprintf('2026-03-%04d', $#records);
}
# so many in a row are more than a stream takes by default
$node->sql('UPDATE rappel_conso.stream SET stop_after = 1000000');

my @settings = (
	{},
	{
		DateStyle => 'SQL, DMY',
		TimeZone => 'Pacific/Kiritimati',
		IntervalStyle => 'iso_8601',
		lc_time => 'C.UTF-8'
	},
	{
		DateStyle => 'German, MDY',
		TimeZone => 'America/St_Johns',
		IntervalStyle => 'sql_standard',
		lc_time => 'POSIX',
		timezone_abbreviations => 'India'
	},
	{ DateStyle => 'Postgres, YMD', TimeZone => 'Asia/Kathmandu', lc_time => 'C' });

foreach my $at (0 .. $#settings)
{
	my %set = %{ $settings[$at] };
	my $whose = $at % 2 ? 'ROLE CURRENT_USER' : 'DATABASE postgres';
	my $what = $at ? "V5: with $set{DateStyle}, $set{TimeZone} of the " . lc($whose) : 'V5: with the defaults';

	$node->sql("ALTER $whose SET $_ = '$set{$_}'") foreach keys %set;
	is( read_records(@records),
		'success|' . @records . '|' . @expected . '|' . @dead,
		"$what, the documented dates are rows and all others dead letters");
	is( query_utf8(q{SELECT reference_fiche, to_char(date_debut_commercialisation, 'YYYY-MM-DD'),
			         to_char(date_de_publication AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
			    FROM rappel_conso_table ORDER BY 1}),
		join("\n", @expected),
		"$what, each is the day and the time that it says");
	is( query_utf8(q{SELECT convert_from(key, 'UTF8') FROM rappel_conso.dead_letter
			   WHERE origin = 'stream' AND sqlstate IN ('22007', '22008') ORDER BY 1}),
		join("\n", @dead),
		"$what, each of the others says that it is no date");
	$node->sql("ALTER $whose RESET $_") foreach keys %set;
}
my ($bad, $odd) = map {
	my $sought = $_;
	(grep { ($_->{date_debut_commercialisation} // '') eq $sought } @records)[0]->{numero_fiche}
} ('today', '2026-02-30');
is( query_utf8(qq{
		SELECT substring(convert_from(value, 'UTF8')::jsonb->>'date_debut_commercialisation' FROM '[^ ]+\$') FROM rappel_conso.dead_letter
		 WHERE convert_from(key, 'UTF8') IN ('$bad', '$odd') ORDER BY id}),
	"today\n2026-02-30",
	'V5: the dead letters have the texts');

# The cursor is a time in UTC too, also one without a zone.
$data = 'days';
$api->control(replace => { dataset => $data, records => [ new_recall(1, %dated, date_publication => '2026-03-05') ] });
$node->sql("UPDATE rappel_conso.source SET dataset = '$data'");
foreach my $zone ('Pacific/Kiritimati', 'America/St_Johns')
{
	$node->sql("ALTER DATABASE postgres SET TimeZone = '$zone'");
	read_records(
		new_recall(1, %dated, date_publication => '2026-03-05'),
		new_recall(2, %dated, date_publication => '2026-04-05'));
	$api->control(touch => $data, clear_log => JSON::PP::true);
	$node->sql('SELECT * FROM rc_sync_now()');
	is( join(' ', map { $_->{query}->{where} // 'all' } grep { $_->{kind} eq 'export' } $api->log),
		q{date_publication >= date'2026-03-06T00:00:00Z'},
		"V5: the next read begins an overlap before the cursor, in $zone, too");
}
$node->sql('ALTER DATABASE postgres RESET TimeZone');

# V1 writes both ends of the sale in one text.
my @periods = (
	[ 'Du 19/03/2020 au 29/07/2021', '2020-03-19', '2021-07-29' ],
	[ 'Depuis le 01/02/2026', '2026-02-01', '' ],
	[ "Jusqu'au 01/02/2026", '', '2026-02-01' ],
	[ "Jusqu\x{2019}au 13/02/2326", '', '2326-02-13' ]);
my @no_periods = (
	'Du 19/03/20 au 29/07/21', 'Du 30/02/2026 au 01/03/2026', 'Depuis 01/02/2026', 'Depuis le 1/2/2026', 'today',
	'01/02/2026', '2026-02-01', 'Du 2020-03-19 au 2021-07-29', 'Depuis le today', 'infinity', 'Du 19/03/2020',
	'Depuis le 12/31/2026');
my $n = 0;
$node->sql(q{UPDATE rappel_conso.source SET key_field = 'reference_fiche', cursor_field = 'date_de_publication'});
is( read_records(
		map {
			{
				reference_fiche => sprintf('2026-04-%04d', $n++),
				date_de_publication => '2026-04-05',
				date_debut_fin_de_commercialisation => $_,
				ndeg_de_version => 1
			}
		} (map { $_->[0] } @periods),
		@no_periods),
	'success|' . ($n) . '|' . @periods . '|' . @no_periods,
	'V5: the documented periods of sale are rows and all others dead letters');
is( query_utf8(q{SELECT date_debut_commercialisation, date_fin_commercialisation FROM rappel_conso_table ORDER BY reference_fiche}),
	join("\n", map { "$_->[1]|$_->[2]" } @periods),
	'V5: each begins and ends on its days');
$node->sql(q{UPDATE rappel_conso.source SET key_field = 'numero_fiche', cursor_field = 'date_publication'});

#
# V12: texts that have turned into lists
#
my @fields = qw(categorie_produit sous_categorie_produit marque_produit modeles_ou_references conditionnements
  temperature_conservation zone_geographique_de_vente distributeurs motif_rappel numero_contact
  modalites_de_compensation liens_vers_les_images lien_vers_la_liste_des_produits
  lien_vers_la_liste_des_distributeurs lien_vers_affichette_pdf lien_vers_la_fiche_rappel
  nature_juridique_rappel marque_salubrite libelle rappel_guid);
is( read_records(
		new_recall(1, %dated, map { $_ => [ 'one', 'two', 'three' ] } @fields),
		new_recall(2, %dated, map { $_ => ['one'] } @fields),
		new_recall(3, %dated, map { $_ => [ undef, '', 'one', undef, 7, JSON::PP::true, '' ] } @fields),
		new_recall(4, %dated, map { $_ => [] } @fields),
		new_recall(
			5, %dated,
			zone_geographique_de_vente => [ 'nord|sud', "est\x{a4}ouest" ],
			distributeurs => [ 'a|b', "c\r\nd" ],
			motif_rappel => [ 'é', 'à' ]),
		new_recall(
			6, %dated,
			risques_encourus => [ 'r1', 'r2' ],
			description_complementaire_risque => ['r3'],
			preconisations_sanitaires => [],
			conduites_a_tenir_par_le_consommateur => [ 'c1', 'c2' ],
			informations_complementaires => 'i1',
			informations_complementaires_publiques => [ undef, 'i2' ])),
	'success|6|6|0',
	'V12: lists in the place of texts are no fault');
my $texts = q{categorie_de_produit, sous_categorie_de_produit, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
	conditionnements, temperature_de_conservation, zone_geographique_de_vente, distributeurs, motif_du_rappel,
	numero_de_contact, modalites_de_compensation, liens_vers_les_images, lien_vers_la_liste_des_produits,
	lien_vers_la_liste_des_distributeurs, lien_vers_affichette_pdf, lien_vers_la_fiche_rappel,
	nature_juridique_du_rappel, marque_de_salubrite, libelle, rappelguid};
is( query_utf8(qq{
		SELECT right(reference_fiche, 1), count(t), to_json(min(t)), to_json(max(t))
		  FROM rappel_conso_table, LATERAL unnest(ARRAY[$texts]) t WHERE reference_fiche <= '2026-03-0004' GROUP BY 1 ORDER BY 1}),
	"1|20|\"one\\ntwo\\nthree\"|\"one\\ntwo\\nthree\"\n2|20|\"one\"|\"one\"\n3|20|\"one\\n7\\ntrue\"|\"one\\n7\\ntrue\"\n4|0||",
	'V12: their elements are lines, in every text column');
is( query_utf8(q{SELECT to_json(ARRAY[zone_geographique_de_vente, distributeurs, motif_du_rappel]) FROM rappel_conso_table
		   WHERE reference_fiche = '2026-03-0005'}),
	'["nord\nsud\nest\nouest","a|b\nc\nd","e\na"]',
	'V12: by the rules of their texts');
is( query_utf8(q{SELECT to_json(ARRAY[risques_pour_le_consommateur, recommandations_sante, informations_complementaires])
		    FROM rappel_conso_table WHERE reference_fiche = '2026-03-0006'}),
	'["r1\nr2\nr3","c1\nc2","i1\ni2"]',
	'V12: also in the columns that are made of two');

#
# Integers: digits, and nothing that a server's version takes for some
#
is( read_records(
		new_recall(1, %dated, numero_version => '007', id => '12345678901'),
		map { new_recall(2 + $_->[0], %dated, numero_version => $_->[1]) } (
			[ 0, '0x10' ], [ 1, '1_000' ], [ 2, ' 12' ], [ 3, '-' ], [ 4, '1e3' ], [ 5, 1.5 ], [ 6, [1] ], [ 7, '१' ])),
	'success|9|1|8',
	'V5: an integer is digits');
is(query_utf8('SELECT numero_de_version, id FROM rappel_conso_table'), '7|12345678901', 'as they are written');
is(query_utf8(q{SELECT DISTINCT sqlstate FROM rappel_conso.dead_letter}), '22P02', 'all else is a dead letter');

#
# M6: before the first sync nothing was known, which is not the same as no recall
#
sub notices
{
	my ($at) = @_;
	my ($out, $err);

	$node->psql('postgres', "SELECT count(*) FROM rc_recalls_at($at)", stdout => \$out, stderr => \$err);
	return "$out $err";
}
read_records();
like(notices('now()'), qr/^0 .*NOTICE:  [^\n]+\nHINT:  .*SELECT \* FROM rc_sync_now\(\)/s,
	'M6: an empty table');
read_records(new_recall(1, %dated), new_recall(2, %dated));
is(notices(q{'infinity'}), '2 ', 'M6: what is known is there, without a word');
my $since = query_utf8(q{SELECT to_char(min(updated_at), 'YYYY-MM-DD HH24:MI:SS.USOF') FROM rappel_conso_table});
foreach my $at ("'-infinity'", "'$since'::timestamptz - '1 us'::interval", "now() - '1 year'::interval")
{
	like(notices($at), qr/^0 .*NOTICE:  [^\n]+ \Q$since\E$/s, "M6: $at is before the first sync");
}
is(notices("'$since'"), '2 ', 'M6: and that is where it begins');
query_utf8(q{DELETE FROM rappel_conso_table});
like(notices("'-infinity'"), qr/^0 .*NOTICE:  [^\n]+ \Q$since\E$/s,
	'M6: also when only the history is left');
is(notices("now() + '1 hour'::interval"), '0 ', 'M6: what has gone since is no recall');

$node->stop;
done_testing();
