# 064_seek_positions.pl
#     What rc_seek() and start_at store: many places in one statement, and times
#     that mean the same whatever the settings of caller and worker are.
#
# No Kafka is needed: a worker would do the rest.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $PLACES = 8000;
my $node = new_node('main');

$node->sql(<<~'EOC');
	CREATE TABLE t (v jsonb);
	INSERT INTO rappel_conso.stream (name, topics, paused, statement)
	SELECT n, ts::text[], true, 'INSERT INTO public.t SELECT value FROM records'
	  FROM (VALUES ('many', '{many}'), ('two', '{one,2026-01-02T03}'), ('fresh', '{fresh}')) s (n, ts);
	EOC

#
# D6: many places
#

$node->sql("INSERT INTO rappel_conso.stream_offset (stream, topic, partition, next_offset)
       SELECT 'many', 'many', n, 0 FROM generate_series(0, $PLACES - 1) n");
my $places = "(SELECT string_agg(n || ':' || n + 1, ',' ORDER BY n DESC) FROM generate_series(0, $PLACES - 1) n)";
$node->sql("SET statement_timeout = '10s'; SELECT rc_seek('many', $places)");
is($node->sql("SELECT count(*), min(epoch), max(epoch) FROM rappel_conso.stream_offset WHERE stream = 'many' AND next_offset = partition + 1"),
	"$PLACES|2|2", "D6: $PLACES places in one statement");

my %refused = (
	'3:1,4:2,3:5' => qr/^22023: .*\b3\b.*\b2\b/,
	'3:1,many:3:1' => qr/^22023: .*\b3\b.*\b2\b/,
	"1:1,$PLACES:0" => qr/^42704: (?=.*"many").*\b$PLACES\b/,
	'999999999:0' => qr/^42704: (?=.*"many").*\b999999999\b/,
	map { $_ => qr/^22023: .*"\Q$_\E"/ }
	  ('1000000000:0', '0:1000000000000000000', 'other:0:1', '0:1,,1:1', ' 0:1', '0:+1', ':0:1', '0:1,latest', 'EARLIEST', '2026-13-01'));
like($node->error_of("SELECT rc_seek('many', '$_')"), $refused{$_}, "D6: \"$_\" is refused") foreach sort keys %refused;
is($node->sql("SELECT count(*) FROM rappel_conso.stream_offset WHERE stream = 'many' AND (next_offset, epoch) = (partition + 1, 2)"),
	$PLACES, 'and moves nothing');
like($node->error_of("SELECT rc_seek('fresh', '0:1')"), qr/^42704: (?=.*"fresh").*\b0\b/, 'a stream without offsets');

$node->sql("INSERT INTO rappel_conso.stream_offset (stream, topic, partition, next_offset)
       SELECT 'two', topic, n, 0 FROM unnest(ARRAY['one', '2026-01-02T03']) topic, generate_series(0, 1) n");
like($node->error_of("SELECT rc_seek('two', '0:1')"), qr/^22023: .*"two"/, 'of several topics one has to be named');
like($node->error_of("SELECT rc_seek('two', 'one:0:1,1:7')"), qr/^22023: .*"two"/, 'for each place');
my $two = "SELECT string_agg(next_offset || COALESCE(seek_to, ''), ' ' ORDER BY topic, partition) FROM rappel_conso.stream_offset WHERE stream = 'two'";
$node->sql("SELECT rc_seek('two', 'one:1:5,2026-01-02T03:01:0')");
is($node->sql($two), '0 0 0 5', 'a topic whose name looks like a time is a topic');
$node->sql("SELECT rc_seek('two', '2026-01-02T04:05:06Z')");
is($node->sql($two), join(' ', map { $_ . '2026-01-02T04:05:06Z' } 0, 0, 0, 5), 'a time that looks like a place is a time');

#
# V9: times
#

my @times = (
	[ 'ISO, MDY', 'UTC', '2026-03-02 04:05:06', '2026-03-02T04:05:06Z' ],
	[ 'ISO, MDY', 'UTC', '03/02/2026', '2026-03-02T00:00:00Z' ],
	[ 'SQL, DMY', 'UTC', '03/02/2026', '2026-02-03T00:00:00Z' ],
	[ 'German', 'Europe/Paris', '03.02.2026 04:05', '2026-02-03T03:05:00Z' ],
	[ 'Postgres, YMD', 'America/New_York', '26/03/02 23:59:59.25', '2026-03-03T04:59:59.250000Z' ],
	[ 'ISO, DMY', 'Asia/Kolkata', '2026-03-02T04:05:06.000001', '2026-03-01T22:35:06.000001Z' ],
	[ 'ISO, MDY', 'Asia/Tokyo', '2026-03-02 04:05:06-08', '2026-03-02T12:05:06Z' ],
	[ 'ISO, MDY', 'UTC', 'infinity', 'latest' ],
	[ 'ISO, MDY', 'UTC', '-infinity', 'earliest' ],
	[ 'ISO, MDY', 'UTC', '1969-12-31 23:59:59.999', 'earliest' ],
	[ 'ISO, MDY', 'UTC', '0044-03-15 BC', 'earliest' ],
	[ 'ISO, MDY', 'UTC', '1970-01-01', '1970-01-01T00:00:00Z' ],
	[ 'ISO, MDY', 'UTC', '12026-01-01', '12026-01-01T00:00:00Z' ],
	[ 'SQL, DMY', 'Asia/Tokyo', 'earliest', 'earliest' ]);
foreach my $time (@times)
{
	my ($style, $zone, $text, $stored) = @$time;
	my $set = "SET DateStyle = '$style'; SET TimeZone = '$zone'";

	$node->sql("$set; SELECT rc_seek('two', '$text')");
	is($node->sql("SELECT DISTINCT seek_to FROM rappel_conso.stream_offset WHERE stream = 'two'"),
		$stored, "V9: rc_seek() to $text in $style and $zone");
	$node->sql("$set; SELECT rc_seek('fresh', '$text')");
	is($node->sql("SELECT start_at FROM rappel_conso.stream WHERE name = 'fresh'"), $stored, 'of a stream without offsets, too');
	$node->sql("$set; UPDATE rappel_conso.stream SET start_at = '$text' WHERE name = 'many';
	       INSERT INTO rappel_conso.stream (name, topics, paused, start_at, statement)
	       VALUES ('new', '{new}', true, '$text', 'INSERT INTO public.t SELECT value FROM records')");
	is($node->sql("SELECT DISTINCT start_at FROM rappel_conso.stream WHERE name IN ('many', 'new')"),
		$stored, 'and start_at of INSERT and UPDATE');
	$node->sql("DELETE FROM rappel_conso.stream WHERE name = 'new'");

	# what is stored is read as it is
	foreach my $other ('German', 'SQL, DMY')
	{
		next unless $stored =~ /Z/;
		is( $node->sql("SET DateStyle = '$other'; SET TimeZone = 'Asia/Kolkata';
		           UPDATE rappel_conso.stream SET start_at = start_at || '' WHERE name = 'many';
		           SELECT start_at FROM rappel_conso.stream WHERE name = 'many'"),
			$stored, "which stays in $other");
	}
}

#
# What is none of it, and numbers, which the type would read as some day: what is
# accepted, and how a number of seconds is written
#
my $place = qr/\[topic:\]partition:offset/;    # of the hint of rc_seek() alone
my %hints = (
	'the end' => '', ' latest' => '', 'latest ' => '', 'Latest' => '', 'EARLIEST ' => '', 'earlyest' => '', '' => '', ' ' => '',
	'yesteryear' => '', '2026-02-30' => '', '0:5:6:7' => '', '26:00:00' => '', '2026-01-01 00:00 Mars/Phobos' => '', 'NaN' => '',
	'5' => '', '2026' => '', '101231' => '', '2026013' => '', '-1767225600' => '', '1767225600000000' => '', '0' => '', '1767225600 s' => '',
	'12345678.5' => '',
	'1767225600' => qr/"2026-01-01T00:00:00Z"/,
	'1767221015' => qr/"2025-12-31T22:43:35Z"/,
	' 1767225600.75 ' => qr/"2026-01-01T00:00:00Z"/,
	'1767225600123' => qr/"2026-01-01T00:00:00Z"/,
	'946684800' => qr/"2000-01-01T00:00:00Z"/);
$node->sql("SET TimeZone = 'UTC'; UPDATE rappel_conso.stream SET start_at = '20260304' WHERE name = 'many'; SELECT rc_seek('two', ' 20260304 ')");
is($node->sql("SELECT string_agg(DISTINCT p, ' ') FROM (SELECT start_at AS p FROM rappel_conso.stream WHERE name = 'many'
	UNION ALL SELECT seek_to FROM rappel_conso.stream_offset WHERE stream = 'two') x"), '2026-03-04T00:00:00Z', 'V9: a date without hyphens is none');
foreach my $text (sort keys %hints)
{
	my $start = $node->error_of("UPDATE rappel_conso.stream SET start_at = '$text' WHERE name = 'many'");
	my $seek = $node->error_of("SELECT rc_seek('two', '$text')");

	like($start, qr/^22023: (?!.*$place)(?=.*"many").*"\Q$text\E"/, qq{V9: start_at "$text"});
	like($seek, qr/^22023: (?=.*"two").*"\Q$text\E".*; .*$place/, qq{V9: rc_seek() to "$text"});
	foreach my $error ($start, $seek)
	{
		$hints{$text}
		  ? like($error, $hints{$text}, 'with what it may mean')
		  : unlike($error, qr/1970/, 'of which nobody knows what it means');
	}
}
like($node->error_of("INSERT INTO rappel_conso.stream (name, topics, start_at, statement) VALUES ('x', '{x}', 'Latest', 'SELECT FROM records')"),
	qr/^22023: .*"x".*"Latest"/, 'V9: stored anew, too');
like($node->error_of("SELECT rc_seek('two', NULL)"), qr/^22004: to /, 'a null is an error');
$node->sql("SELECT rc_seek('two', 'yesterday'); UPDATE rappel_conso.stream SET start_at = 'tomorrow' WHERE name = 'many'");
is($node->sql("SELECT bool_and(seek_to::timestamptz = 'yesterday') FROM rappel_conso.stream_offset WHERE stream = 'two'"), 't', "the type's own words are times");
is($node->sql("SELECT start_at::timestamptz = 'tomorrow' FROM rappel_conso.stream WHERE name = 'many'"), 't', 'of start_at, too');

done_testing();
