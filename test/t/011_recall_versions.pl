# 011_recall_versions.pl
#     Which version of a fiche stands in the table, whatever the order they come
#     in; the older shape of the dataset and then the newer one; both datasets as
#     they were recorded.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use RappelConso;

my $api = start_api(DATASET, sample_file('recalls.jsonl'), 'rappelconso0' => sample_file('recalls_v1.jsonl'));
my $node = new_node('main', api => $api);

#
# Versions
#
# For each fiche: what a first sync finds, what a second one finds besides, and
# what then stands in the table.  A record is [version, day, guid, libelle].
#
my @versions = (
	[ 'newer later', [ [ 1, 1, 'a', 'old' ] ], [ [ 2, 1, 'a', 'new' ] ], 'new' ],
	[ 'older later', [ [ 2, 1, 'a', 'new' ] ], [ [ 1, 1, 'a', 'old' ] ], 'new' ],
	[ 'older version, newer day', [ [ 2, 1, 'a', 'new' ] ], [ [ 1, 2, 'a', 'old' ] ], 'new' ],
	[ 'newer last', [ [ 1, 1, 'a', 'old' ], [ 2, 1, 'a', 'new' ] ], [], 'new' ],
	[ 'newer first', [ [ 2, 1, 'a', 'new' ], [ 1, 1, 'a', 'old' ] ], [], 'new' ],
	[
		'three, newest between',
		[ [ 1, 1, 'a', 'old' ], [ 3, 1, 'a', 'new' ], [ 2, 1, 'a', 'mid' ] ],
		[], 'new'
	],
	[ 'ten is more than nine', [ [ 10, 1, 'a', 'new' ], [ 9, 1, 'a', 'old' ] ], [], 'new' ],
	[ 'no version is the least', [ [ undef, 2, 'a', 'old' ], [ 0, 1, 'a', 'new' ] ], [], 'new' ],
	[ 'no version, later', [ [ 0, 1, 'a', 'new' ] ], [ [ undef, 2, 'a', 'old' ] ], 'new' ],
	[ 'newer day later', [ [ 1, 1, 'a', 'old' ] ], [ [ 1, 2, 'a', 'new' ] ], 'new' ],
	[ 'older day later', [ [ 1, 2, 'a', 'new' ] ], [ [ 1, 1, 'a', 'old' ] ], 'new' ],
	[ 'greater guid last', [ [ 1, 1, 'a', 'old' ], [ 1, 1, 'b', 'new' ] ], [], 'new' ],
	[ 'greater guid first', [ [ 1, 1, 'b', 'new' ], [ 1, 1, 'a', 'old' ] ], [], 'new' ],
	[ 'guid by its bytes', [ [ 1, 1, 'a', 'new' ], [ 1, 1, 'B', 'old' ] ], [], 'new' ],
	[ 'no guid later', [ [ 1, 1, 'a', 'new' ] ], [ [ 1, 1, undef, 'old' ] ], 'new' ],
	[ 'equal, other content later', [ [ 1, 1, 'a', 'old' ] ], [ [ 1, 1, 'a', 'new' ] ], 'new' ],
	[ 'equal, other content at once', [ [ 1, 1, 'a', 'old' ], [ 1, 1, 'a', 'new' ] ], [], 'new' ],
	[ 'equal, twice', [ [ 1, 1, 'a', 'new' ], [ 1, 1, 'a', 'new' ] ], [ [ 1, 1, 'a', 'new' ] ], 'new' ],
	[ 'all null', [ [ undef, 1, undef, 'old' ] ], [ [ undef, 1, undef, 'new' ] ], 'new' ],
	[ 'null among known', [ [ 1, 1, 'a', 'old' ] ], [ [ 1, 1, 'a', undef ] ], '' ]);
my (@first, @second, $expected);
foreach my $i (0 .. $#versions)
{
	my ($what, $first, $second, $result) = @{ $versions[$i] };

	foreach my $pair ([ $first, \@first ], [ $second, \@second ])
	{
		push @{ $pair->[1] }, map {
			{
				numero_fiche => sprintf('f-%02d', $i),
				numero_version => $_->[0],
				date_publication => sprintf('2026-03-%02dT08:00:00+00:00', $_->[1]),
				rappel_guid => $_->[2],
				libelle => $_->[3]
			}
		} @{ $pair->[0] };
	}
	$expected .= sprintf("F-%02d|%s\n", $i, $result);
}
chomp $expected;
$api->control(replace => { dataset => 'versions', records => \@first });
# One record to a batch brings the same, by more updates: records of one rank
# replace one another each time that they are read.
foreach my $case (
	[ 'versions', 10000, '20|0|11|0', '0|5|79|0', '0|0|42|0' ],
	[ 'versions_by_one', 1, '20|4|7|0', '0|15|69|0', '0|8|34|0' ])
{
	my ($dbname, $batch_size, @counts) = @$case;

	$api->control(replace => { dataset => 'versions', records => \@first });
	$node->new_database($dbname, api => $api, source => { dataset => "'versions'" });
	$node->safe_psql($dbname, "UPDATE rappel_conso.stream SET batch_size = $batch_size");
	is($node->sync(dbname => $dbname), "success|31|0|$counts[0]", "batches of $batch_size: each fiche is inserted once");
	$api->control(append => { dataset => 'versions', records => \@second });
	# more lines than keys: what is new is read, and then everything
	is($node->sync(dbname => $dbname), "success|84|0|$counts[1]", 'a second sync inserts none');
	is($node->safe_psql($dbname, 'SELECT reference_fiche, libelle FROM rappel_conso_table ORDER BY 1'),
		$expected, 'the newest version of each stands: ' . join('; ', map { $_->[0] } @versions));
	is($node->sync(dbname => $dbname, arguments => 'full_sync => true'), "success|42|0|$counts[2]", 'read again');
	is($node->safe_psql($dbname, 'SELECT reference_fiche, libelle FROM rappel_conso_table ORDER BY 1'),
		$expected, 'they stand still');
}
is( $node->table_digest(dbname => 'versions'),
	$node->table_digest(dbname => 'versions_by_one'),
	'whatever the size of a batch');

#
# The older shape, by UPDATE, and then the newer one into the same table
#
$node->new_database('archive',
	api => $api,
	source => {
		dataset => "'rappelconso0'",
		key_field => "'reference_fiche'",
		cursor_field => "'date_de_publication'"
	});
my @v1 = do
{
	open(my $file, '<', sample_file('recalls_v1.jsonl')) or die $!;
	map { /"reference_fiche": "([^"]+)"/ } <$file>;
};
my %v1 = map { uc $_ => 1 } @v1;
my $v1 = keys %v1;
is(scalar(@v1) . ' ' . $v1, '62 60', 'the archive of the sample has two fiches twice');
is($node->sync(dbname => 'archive'), "success|62|0|$v1|0|2|0", 'V1: every distinct fiche once');
is( $node->safe_psql(
		'archive', q{
		SELECT count(*) FILTER (WHERE date_de_fin_de_la_procedure_de_rappel IS NOT NULL) > 10,
		       count(*) FILTER (WHERE date_debut_commercialisation < date_fin_commercialisation) > 10,
		       count(*) FILTER (WHERE date_de_publication IS NULL), count(*) FILTER (WHERE distributeurs ~ '\r')
		  FROM rappel_conso_table}),
	't|t|0|0',
	'French dates and periods are dates');
$node->safe_psql(
	'archive', q{
	UPDATE rappel_conso.source SET dataset = 'rappelconso-v2-gtin-espaces', key_field = 'numero_fiche', cursor_field = 'date_publication'
	 WHERE name = 'rappel_conso'});
is( $node->safe_psql(
		'archive', 'SELECT cursor_value IS NULL, complete, full_at IS NULL FROM rappel_conso.source_state'),
	't|f|t',
	'another dataset resets the cursor in the same command');
my ($state, $fetched, undef, $inserted, $updated, $unchanged, $dead) = split(/\|/, $node->sync(dbname => 'archive'));
is( "$state $fetched $inserted $dead",
	'success 300 240 0',
	'V2 after V1: only the fiches that V1 has not are inserted');
is($updated + $unchanged, $v1, 'the others are updated');
is( $node->safe_psql(
		'archive', 'SELECT count(*), count(DISTINCT upper(reference_fiche)) FROM rappel_conso_table'),
	'300|300',
	'each fiche stands once');

#
# The recorded datasets
#
SKIP:
{
	my $v2_file = data_file('rappelconso_v2_espaces.jsonl.gz');
	my $v1_file = data_file('rappelconso_v1.jsonl.gz');
	my %distinct;

	$api->control(load => { dataset => 'recorded_v2', file => $v2_file });
	$api->control(load => { dataset => 'recorded_v1', file => $v1_file });
	open(my $pipe, '-|', 'gzip', '-dc', $v1_file) or die $!;
	while (<$pipe>) { $distinct{ uc $1 } = 1 if /"reference_fiche": ?"([^"]+)"/; }
	close($pipe);
	my $distinct = keys %distinct;

	$node->new_database('recorded', api => $api, source => { dataset => "'recorded_v2'" });
	is($node->sync(dbname => 'recorded'), 'success|10223|0|10223|0|0|0', 'V2 as recorded');
	my $rows = $node->table_fingerprint(dbname => 'recorded');
	is($node->sync(dbname => 'recorded', arguments => 'full_sync => true'), 'success|10223|0|0|0|10223|0', 'read again');
	is($node->table_fingerprint(dbname => 'recorded'), $rows, 'and left alone');

	$node->new_database('recorded_v1',
		api => $api,
		source => {
			dataset => "'recorded_v1'",
			key_field => "'reference_fiche'",
			cursor_field => "'date_de_publication'"
		});
	is( $node->sync(dbname => 'recorded_v1'),
		"success|10230|0|$distinct|0|" . (10230 - $distinct) . '|0',
		'V1 as recorded: every distinct fiche');
	$node->safe_psql('recorded_v1',
		q{UPDATE rappel_conso.source SET dataset = 'recorded_v2', key_field = 'numero_fiche', cursor_field = 'date_publication'}
	);
	like($node->sync(dbname => 'recorded_v1'), qr/^success\|10223\|0\|\d+\|\d+\|\d+\|0$/, 'V2 after V1');
	my %all = (
		%distinct,
		map { $_ => 1 }
		  split(/\n/, $node->safe_psql('recorded', 'SELECT reference_fiche FROM rappel_conso_table')));
	is( $node->safe_psql(
			'recorded_v1', 'SELECT count(*), count(DISTINCT upper(reference_fiche)) FROM rappel_conso_table'),
		join('|', (scalar keys %all) x 2),
		'gives each fiche once');
}

$node->stop;
done_testing();
