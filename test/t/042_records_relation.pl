# 042_records_relation.pl
#     What Kafka's messages look like to a statement: the columns of records,
#     headers, and JSON that is decoded into the columns of a row type.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node(
	'records',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 40\n");

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	EOC

# ---- columns and headers ----

my @messages = (
	[ 'k0', '{"a": 1.50}', [ 'content-type' => 'application/json', h => '1', h => '2' ] ],
	[ undef, '[2]', [ binary => "\xff\xfe\x01", empty => '', none => undef ] ],
	[ 'k2', undef ],
	[ 'k3', '' ],
	[ "\xff\xc3", '"four"' ],
	[ 'k5', "\xff not UTF-8" ],
	[ 'k6', '{"a": "\u0000"}' ],
	[ 'k7', 'é is text', [ "na\xffme" => 'x', n => "\xe9", n => undef ] ],
	[ 'k8', 'x' x 5_000_000 ]);
$kafka->create_topic('all', config => { 'max.message.bytes' => 16777216 });
$kafka->produce('all', @{$_}[ 0 .. 2 ], '-X', 'message.max.bytes=16777216') foreach @messages;

my $setup = '';
foreach my $value ('jsonb', 'text', 'bytea')
{
	foreach my $key ('text', 'bytea')
	{
		my $name = "${value}_$key";

		$setup .= qq{
			CREATE TABLE $name AS SELECT 0::bigint AS record_offset, NULL::$key AS key, NULL::$value AS value, NULL::jsonb AS headers LIMIT 0;
			INSERT INTO rappel_conso.stream (name, topics, value_type, key_type, statement) VALUES ('$name', '{all}', '$value', '$key',
			  'INSERT INTO $name SELECT record_offset, key, value, headers FROM records');
		};
	}
}
$setup .= q{
	CREATE TABLE places AS SELECT ''::text AS topic, 0 AS partition, 0::bigint AS record_offset, now() AS record_timestamp, now() AS inserted LIMIT 0;
	INSERT INTO rappel_conso.stream (name, topics, value_type, key_type, statement) VALUES ('places', '{all}', 'bytea', 'bytea',
	  'INSERT INTO places SELECT topic, partition, record_offset, record_timestamp, now() FROM records');
};
$node->sql($setup);
$node->wait_applied('places', scalar @messages);
is( $node->sql(q{SELECT string_agg(record_offset::text, ',' ORDER BY record_offset), min(topic), max(topic), min(partition), max(partition),
	bool_and(record_timestamp BETWEEN now() - '10 minutes'::interval AND now()) FROM places}),
	'0,1,2,3,4,5,6,7,8|all|all|0|0|t', 'the place and time of each record');
my $stamps = $kafka->kcat('', '-C', '-e', '-o', 'beginning', '-t', 'all', '-f', '%T\n');
chomp $stamps;
is($node->sql('SELECT (extract(epoch FROM record_timestamp) * 1000)::bigint FROM places ORDER BY record_offset'),
	$stamps, 'record_timestamp is the time of Kafka, to the millisecond');

my %headers = (
	0 => '{"h": ["1", "2"], "content-type": "application/json"}',
	1 => '{"none": null, "empty": "", "binary": {"base64": "//4B"}}',
	7 => '{"n": [{"base64": "6Q=="}, null], "base64:bmH/bWU=": "x"}');
my %bad_key = (4 => '22021|key');
my %bad_value = (
	bytea => {},
	text => { 5 => '22021|value' },
	jsonb => {
		3 => '22P02|',
		5 => '22021|value',
		6 => '22P05|',
		7 => '22P02|',
		8 => '22P02|'
	});
my %seen = (
	jsonb => { 0 => '{"a": 1.50}', 1 => '[2]', 2 => undef, 4 => '"four"' },
	text => { map { $_ => $messages[$_][1] } 0 .. 4, 6 .. 8 },
	bytea => { map { $_ => $messages[$_][1] } 0 .. 8 });

# A value as an MD5, since some are long and others are no text.
sub digest { return defined $_[0] ? Digest::MD5::md5_hex($_[0]) : 'null'; }

foreach my $value ('jsonb', 'text', 'bytea')
{
	foreach my $key ('text', 'bytea')
	{
		my $name = "${value}_$key";
		my %dead = (%{ $bad_value{$value} }, $key eq 'text' ? %bad_key : ());
		my @rows;

		foreach my $offset (grep { !$dead{$_} } 0 .. $#messages)
		{
			push @rows,
			  join('|', $offset, digest($messages[$offset][0]),
				digest($seen{$value}{$offset}), $headers{$offset} // '');
		}
		$node->wait_applied($name, scalar @messages);
		is( $node->sql(qq{
				SELECT record_offset, COALESCE(md5(key), 'null'), COALESCE(md5(value@{[ $value eq 'jsonb' ? '::text' : '' ]}), 'null'), headers
				FROM $name ORDER BY 1}),
			join("\n", @rows), "$name: keys, values and headers");
		is( $node->sql(qq{
				SELECT record_offset, sqlstate, substring(message FROM '^key|^value') FROM rappel_conso.dead_letter
				WHERE name = '$name' ORDER BY 1}),
			join("\n", map { "$_|$dead{$_}" } sort keys %dead), "$name: what cannot be decoded is a dead letter");
		is( $node->sql(qq{
				SELECT record_offset, COALESCE(md5(key), 'null'), COALESCE(md5(value), 'null'), headers
				FROM rappel_conso.dead_letter WHERE name = '$name' ORDER BY 1}),
			join("\n",
				map { join('|', $_, digest($messages[$_][0]), digest($messages[$_][1]), $headers{$_} // '') } sort keys %dead),
			"$name: with its bytes and headers");
	}
}

# ---- typed records ----

my @typed = (
	[ '{"i": 1, "n": 12345678901234567890.123456789012345678901234567890, "t": "x", "b": true}',
		'{"b": true, "i": 1, "n": 12345678901234567890.123456789012345678901234567890, "t": "x"}' ],
	[ '{"t": {"a": [1, {"b": null}]}, "j": {"z":1.10,"a":[]}, "js": [1,  2]}',
		'{"j": {"a": [], "z": 1.10}, "t": "{\"a\": [1, {\"b\": null}]}", "js": [1, 2]}' ],
	[ '{"a": ["x", null, "y,\"z"], "ia": [1, 2]}', '{"a": ["x", null, "y,\"z"], "ia": [1, 2]}' ],
	[ '{"a": [], "ia": "{3,4}"}', '{"a": [], "ia": [3, 4]}' ],
	[ '{"unknown": 1, "other": {"i": 5, "a": [1]}, "i": 6}', '{"i": 6}' ],
	[ '{}', '{}' ],
	[ '{"i": null, "j": null, "a": null, "t": null}', '{}' ],
	[ '{"i": 1, "i": 2, "t": "x", "t": null}', '{"i": 2}' ],
	[ '{"t": 1.10, "i": "7", "b": "no", "d": "2024-02-29"}', '{"b": false, "d": "2024-02-29", "i": 7, "t": "1.10"}' ],
	[ '{"e": "even", "p": 4, "c": {"x": 1}}', '{"c": {"x": 1}, "e": "even", "p": 4}' ],
	[ "{\"t\": \"\\u00e9\\n\xc3\xa9\"}", "{\"t\": \"\xc3\xa9\\n\xc3\xa9\"}" ],
	[ '{"i": 1.5}', undef, qr/^22P02\|.*"1\.5"\|[^"|]*"i"/ ],
	[ '{"i": 99999999999}', undef, qr/^22003\|.*"99999999999".*\|[^"|]*"i"/ ],
	[ '{"d": "2023-02-29"}', undef, qr/^22008\|.*"2023-02-29"\|[^"|]*"d"/ ],
	[ '{"p": 3}', undef, qr/^23514\|.*"even_check"\|[^"|]*"p"/ ],
	[ '{"e": "uneven"}', undef, qr/^22P02\|.*"uneven"\|[^"|]*"e"/ ],
	[ '{"v": "too long"}', undef, qr/^22001\|.*varying\(3\)\|[^"|]*"v"/ ],
	[ '{"i": {"a": 1}}', undef, qr/^22P02\|.*JSON object.*\binteger.*"i"\|[^"|]*"i"/ ],
	[ '{"ia": [1, [2]]}', undef, qr/^22P02\|.*JSON array.*\binteger.*"ia"\|[^"|]*"ia"/ ],
	[ '{"ia": [{}]}', undef, qr/^22P02\|.*JSON object.*\binteger.*"ia"\|[^"|]*"ia"/ ],
	[ '{"ia": {}}', undef, qr/^22P02\|.*JSON object.*\binteger\[\].*"ia"\|[^"|]*"ia"/ ],
	[ '{"ia": [1, "x"]}', undef, qr/^22P02\|.*"x"\|[^"|]*"ia"/ ],
	[ '{"a": "x"}', undef, qr/^22P02\|.*"x"\|[^"|]*"a"/ ],
	[ '[{"i": 1}]', undef, qr/^22P02\|.*JSON object\|[^|]*\bvalue\b/ ],
	[ '"text"', undef, qr/^22P02\|.*JSON object\|[^|]*\bvalue\b/ ],
	[ 'null', undef, qr/^22P02\|.*JSON object\|[^|]*\bvalue\b/ ],
	[ '{"i": 1', undef, qr/^22P02\|.*\{"i": 1 \/ [^|]*\bvalue\b/ ],
	[ '{"i": 1} x', undef, qr/^22P02\|.*\{"i": 1\} x \/ [^|]*\bvalue\b/ ],
	[ '{"t": "\u0000"}', undef, qr/^22P05\|.*\{"t": "\\u0000\.\.\. \/ [^|]*\bvalue\b/ ],
	[ "{\"t\": \"\xff\"}", undef, qr/^22021\|[^|]*\bvalue\b[^|]*\|[^|]*\bvalue\b/ ]);

$kafka->produce_many('typed', [ map { [ 'k', $_->[0] ] } @typed ]);
$node->sql(q{
	CREATE TYPE parity AS ENUM ('even', 'odd');
	CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
	CREATE TYPE typed AS (i int, n numeric, t text, gone int, b boolean, j jsonb, js json, a text[], ia int[],
	  d date, e parity, p even, v varchar(3), c jsonb);
	ALTER TYPE typed DROP ATTRIBUTE gone;
	CREATE TABLE typed_rows (record_offset bigint, content jsonb, raw json);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('typed', '{typed}', 'typed', $$
	  INSERT INTO typed_rows SELECT record_offset,
	    jsonb_strip_nulls(to_jsonb(r) - '{topic,partition,record_offset,record_timestamp,key,headers}'::text[]), js FROM records r $$);
});
$node->wait_applied('typed', scalar @typed);
my @rows = split(/\n/, $node->sql('SELECT record_offset, content FROM typed_rows ORDER BY 1'));
my @dead = split(/\n/, $node->sql(q{
	SELECT record_offset, sqlstate, message, replace(context, chr(10), ' / ') FROM rappel_conso.dead_letter WHERE name = 'typed' ORDER BY 1}));
my %got = map { /^(\d+)\|(.*)$/s } @rows, @dead;
foreach my $offset (0 .. $#typed)
{
	my ($json, $row, $error) = @{ $typed[$offset] };

	is_or_like($got{$offset} // 'nothing', $row // $error, "typed: $json");
}
is(@rows + @dead, scalar @typed, 'typed: each record is somewhere, once');
is($node->sql('SELECT raw FROM typed_rows WHERE record_offset = 1'), '[1,  2]', 'typed: json keeps its text');

# ---- a row type that is altered between two batches ----

$kafka->produce_many('growing', [ [ 'k', '{"a": 1}' ] ]);
$node->sql(q{
	CREATE TYPE grown_part AS (x int);
	CREATE TYPE growing AS (a int, parts grown_part[]);
	CREATE TABLE grown (record_offset bigint, content jsonb);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('growing', '{growing}', 'growing', $$
	  INSERT INTO grown SELECT record_offset, to_jsonb(r) - '{topic,partition,record_offset,record_timestamp,key,headers}'::text[] FROM records r $$);
	CREATE TABLE target (a int, b text);
	CREATE TABLE grown_table (a int, b text, whole text);
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('of_table', '{growing}', 'target',
	  'INSERT INTO grown_table SELECT a, b, null FROM records');
});
my @steps = (
	[ '', undef, '1||' ],
	[ 'ALTER TYPE growing ADD ATTRIBUTE b text; ALTER TABLE target ADD COLUMN c int', '{"a": 1, "b": "two"}', '1|two|' ],
	[ 'ALTER TYPE growing ALTER ATTRIBUTE a TYPE text; ALTER TABLE target ALTER a TYPE bigint', '{"a": 1, "b": "three"}', '"1"|three|' ],
	[ 'ALTER TYPE growing DROP ATTRIBUTE a; ALTER TABLE target DROP COLUMN c', '{"a": 1, "b": "four"}', '|four|' ],
	[ '', '{"b": "five", "c": 1, "parts": [{"x": 1, "y": 2}]}', '|five|', '[{"x": 1}]' ],
	[ 'ALTER TYPE grown_part ADD ATTRIBUTE y int', '{"b": "six", "parts": [{"x": 1, "y": 2}]}', '|six|', '[{"x": 1, "y": 2}]' ]);
foreach my $step (0 .. $#steps)
{
	my ($sql, $json, $expected, $parts) = @{ $steps[$step] };

	$node->sql($sql);
	$kafka->produce_many('growing', [ [ 'k', $json ] ]) if defined $json;
	$node->wait_applied($_, $step + 1) foreach 'growing', 'of_table';
	is($node->sql("SELECT content->'a', content->>'b', content->>'c' FROM grown WHERE record_offset = $step"),
		$expected, 'altered type: ' . ($sql || 'before'));
	is($node->sql("SELECT content->'parts' FROM grown WHERE record_offset = $step"), $parts, 'altered type of a part: ' . ($sql || 'before')) if $parts;
}
is($node->sql('SELECT a, b FROM grown_table ORDER BY b NULLS FIRST'),
	"1|\n|five\n1|four\n|six\n1|three\n1|two", 'altered table as row type: all rows are there');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name IN ('growing', 'of_table')}), '0', 'and no dead letters');

# ---- more headers than Kafka's client can read ----

$kafka->create_topic('many', config => { 'max.message.bytes' => 10_000_000 });
$kafka->produce_at('many', map { [ 0, 1_700_000_000_000, qq({"n": $_->[0]}), $_->[1] ] } ([ 1, 100_000 ], [ 2, 100_001 ], [ 3, 500_000 ], [ 4, 0 ]));
$node->sql('CREATE TABLE many (n int, headers int)');
$node->add_stream('many', statement => q{$$INSERT INTO many SELECT (value->>'n')::int, jsonb_array_length(headers->'h') FROM records$$});
$node->wait_applied('many', 4);
is($node->sql('SELECT n, headers FROM many ORDER BY n'), "1|100000\n4|", 'a record whose headers cannot be read is not applied as one without');
is($node->sql(q{SELECT record_offset, sqlstate, message, headers, detail ~ '100000 .*rc_retry' FROM rappel_conso.dead_letter WHERE name = 'many' ORDER BY 1}),
	join("\n", map { "$_|22P03|headers of the record cannot be read||t" } 1, 2), 'it is a dead letter that says so');
is($node->sql(q{SET client_min_messages = warning; SELECT * FROM rc_retry('many')}), '2|2|0', 'which is applied without them where that is asked for');

done_testing();
