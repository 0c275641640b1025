# 021_bad_records.pl
#     What wrong records do to a run: each is a dead letter, of the source or of
#     the stream, with its bytes and its error, and all others are there exactly
#     once.

use strict;
use warnings FATAL => 'all';

use JSON::PP     ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use RappelConso;

my $data = 'recalls-of-march';
my $api = start_api();

my %started = (date_debut_commercialisation => '2026-01-01');
my @recalls = map { new_recall($_, %started) } (1 .. 10);
$api->control(replace => { dataset => $data, records => \@recalls });

my $node = new_node('main', api => $api, source => { dataset => "'$data'" });

# Forget everything but the definitions, and serve the ten recalls and more.
sub start_over_with
{
	my (@more) = @_;

	$node->forget_runs;
	$api->serve($data, [ @recalls, @more ]);
	return;
}

# What an undisturbed run brings.
$node->sync;
is($node->newest_counters, 'success|success|1|10|10|0|0|0', 'an undisturbed run brings ten recalls');
my $digest = $node->table_digest;

#
# Lines that cannot become a record: dead letters of the source
#
my @lines = (
	[ 'no JSON', '<html>rubbish</html>', qr/^22P02\|.*JSON/ ],
	[ 'half a record', '{"numero_fiche": "2026-03-0099", "date_pub', qr/^22P02\|./ ],
	[ 'an array', '[{"numero_fiche": "2026-03-0099"}]', qr/^22P02\|.*object/ ],
	[ 'a number', '42', qr/^22P02\|.*object/ ],
	[ 'null', 'null', qr/^22P02\|.*object/ ],
	[
		'no key',
		'{"date_publication": "2026-03-11T08:02:00+00:00", "libelle": "thing"}',
		qr/^22P02\|.*"numero_fiche"/
	],
	[
		'a null key',
		'{"numero_fiche": null, "date_publication": "2026-03-11T08:02:00+00:00"}',
		qr/^22P02\|.*"numero_fiche"/
	],
	[
		'an empty key',
		'{"numero_fiche": "", "date_publication": "2026-03-11T08:02:00+00:00"}',
		qr/^22P02\|.*"numero_fiche"/
	],
	[
		'a key that is a list',
		'{"numero_fiche": ["a"], "date_publication": "2026-03-11T08:02:00+00:00"}',
		qr/^22P02\|.*"numero_fiche"/
	],
	[
		'bytes that are no UTF-8',
		qq({"numero_fiche": "2026-03-0099", "libelle": "caf\xe9"}),
		qr/^22P02\|.*"UTF8".*\b49$/
	],
	[
		'half a character',
		qq({"numero_fiche": "2026-03-0099", "libelle": "caf\xc3"}),
		qr/^22P02\|.*"UTF8".*\b49$/
	],
	[ 'a null byte', qq({"numero_fiche": "2026-03-0099", "libelle": "a\0b"}), qr/^22P02\|./ ],
	[
		'an escaped null character',
		'{"numero_fiche": "2026-03-0099", "libelle": "a\u0000b"}',
		qr/^22P02\|.*"\\u0000".*\b47\b/
	],
	[ 'half a surrogate', '{"numero_fiche": "2026-03-0099", "libelle": "\ud83d"}', qr/^22P02\|./ ]);

# What is wrong with a key is told apart.
my %told;

foreach my $case (@lines)
{
	my ($name, $bytes, $message) = @$case;
	my $hex = unpack('H*', $bytes);
	my $keyless = $name =~ /null character|surrogate/ ? 'f' : 't';

	# in the middle of an export, in place of the fourth record
	start_over_with();
	$api->fault('garbage_line', on => 'export', lines => 3, base64 => encode_base64($bytes, ''));
	$node->sync;
	is($node->newest_counters, 'success|success|1|10|9|0|0|1', "$name: one dead letter, nine rows");
	is( $node->sql(qq{
			SELECT origin, name, run = (SELECT max(id) FROM rappel_conso.run), encode(value, 'hex'), key IS NULL, position('"$data"' IN context) > 0, attempts,
			       resolved_at IS NULL FROM rappel_conso.dead_letter}),
		qq{source|rappel_conso|t|$hex|$keyless|t|1|t},
		"$name: with its bytes and where it came from");
	my $error = $node->sql('SELECT sqlstate, message FROM rappel_conso.dead_letter');
	like($error, $message, "$name: with its error");
	$told{$error} .= "$name;" if $name =~ /key$/;
	is( $node->sql(q{SELECT string_agg(right(reference_fiche, 2), ' ' ORDER BY reference_fiche) FROM rappel_conso_table}),
		'01 02 03 05 06 07 08 09 10',
		"$name: the others are there");
	# The record that was garbled comes with the next full sync.
	$node->sql('SELECT * FROM rc_sync_now(full_sync => true)');
	is($node->table_digest, $digest, "$name: every record is there once");
}

is(join(' ', sort values %told), 'a null key; an empty key; no key;', 'what is wrong with a key has an error of its own');

# Empty lines and line ends of another system are nothing wrong.
start_over_with();
$api->fault(
	'extra_lines',
	on => 'export',
	lines => 3,
	base64 => encode_base64("\n \r\n\r\n" . JSON::PP->new->encode(new_recall(11, %started)) . " \r\n", ''));
$node->sync;
like($node->newest_counters, qr/^success\|success\|1\|\d+\|11\|0\|0\|\d$/, 'a line that ends with CR LF is a record');
is( $node->sql(q{SELECT libelle FROM rappel_conso_table WHERE reference_fiche = '2026-03-0011'}),
	'thing 11',
	'whole');

#
# Records whose values do not fit: dead letters of the stream
#
my $noise = join('', map { chr(33 + ($_ * $_ * 7 + int($_ / 90) * 31) % 90) } (1 .. 9000));
$noise =~ s/["\\]/x/g;
my @values = (
	[
		'a date that is none',
		{ date_debut_commercialisation => 'tomorrow, perhaps' },
		'22007', 'tomorrow, perhaps'
	],
	[ 'a day that is none', { date_date_fin_commercialisation => '2026-02-30' }, '22008', '2026-02-30' ],
	[ 'an end that is none', { date_de_fin_de_la_procedure_de_rappel => 'mercredi' }, '22007', 'mercredi' ],
	[ 'a version that is none', { numero_version => 'two' }, '22P02', 'two' ],
	[ 'a version too great', { numero_version => 3000000000 }, '22003', '3000000000' ],
	[ 'an id too great', { id => '99999999999999999999' }, '22003', '99999999999999999999' ],
	[ 'a time that is none', { date_publication => 'never' }, '22007', 'never' ],
	[ 'a key too long for its index', { numero_fiche => $noise }, '54000', undef ]);
foreach my $case (@values)
{
	my ($name, $bad, $sqlstate, $raw) = @$case;

	start_over_with(new_recall(11, %started, %$bad), new_recall(12, %started));
	$node->sync;
	is($node->newest_counters, 'success|success|1|12|11|0|0|1', "$name: one dead letter, eleven rows");
	is( $node->sql(q{
			SELECT origin, name, run = (SELECT max(id) FROM rappel_conso.run), topic, partition, record_offset,
			       sqlstate, message <> '', convert_from(key, 'UTF8') = upper(convert_from(value, 'UTF8')::json->>'reference_fiche'),
			       headers->>'rappel_conso-source' FROM rappel_conso.dead_letter}),
		'stream|rappel_conso|t|rappel_conso|0|' . ($name =~ /time/ ? 11 : 10) . "|$sqlstate|t|t|rappel_conso",
		"$name: with its place and error");
	is( $node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE position('}
			  . ($raw // 'libelle')
			  . q{' IN convert_from(value, 'UTF8')) > 0}),
		1,
		"$name: with the value as it came");
	is($node->sql('SELECT count(*), count(DISTINCT libelle) FROM rappel_conso_table'),
		'11|11', "$name: the others are there");

	# It stands in nobody's way: the next run reads on.
	$api->control(append => { dataset => $data, records => [ new_recall(13, %started) ] });
	# (one without a time is not asked for again, the others are known, but for
	# one with a key that cannot be remembered)
	$node->sync;
	my $again = $name =~ /key too long/ ? 1 : 0;
	my $known = $name =~ /time/ || $again ? 11 : 12;
	is($node->newest_counters, 'success|success|1|' . (1 + $known + $again) . "|1|0|$known|$again",
		"$name: the next run succeeds");
	is($node->sql('SELECT count(*), count(DISTINCT libelle) FROM rappel_conso_table'),
		'12|12', "$name: and brings what is new");
}

# What is odd, but no fault.
start_over_with(new_recall(11, %started, libelle => 'x' x 5_000_000), new_recall(12, %started, numero_version => 2, libelle => 'new'), new_recall(12, %started, numero_version => 1, libelle => 'old'), new_recall(13, %started, libelle => 'old'), new_recall(13, %started, numero_version => 2, libelle => 'new'));
$node->sync;
is($node->newest_counters, 'success|success|1|15|13|0|2|0', 'a text of 5 MB and two fiches that come twice');
is( $node->sql(q{SELECT length(libelle) FROM rappel_conso_table WHERE reference_fiche = '2026-03-0011'}),
	5000000,
	'the text is whole');
is( $node->sql(q{SELECT reference_fiche, libelle FROM rappel_conso_table WHERE reference_fiche > '2026-03-0011' ORDER BY 1}
	),
	"2026-03-0012|new\n2026-03-0013|new",
	'the newer version stands, in any order');

start_over_with();
$api->control(replace => { dataset => $data, records => [] });
$node->sync;
is($node->newest_counters, 'success|success|1|0|0|0|0|0', 'an empty dataset is no fault');
is($node->sql('SELECT count(*) FROM rappel_conso_table'), 0, 'its table is empty');
$api->control(replace => { dataset => $data, records => \@recalls });
$node->sync;
is($node->table_digest, $digest, 'and filled when records come');

$node->stop;
done_testing();
