# 047_record_encodings.pl
#     Keys, values and headers in encodings other than the database's, or in
#     none: what is skipped, what is a dead letter, and what its message says;
#     in a database that is UTF8 and in one that is LATIN1.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();
$ENV{PGCLIENTENCODING} = 'UTF8';

my $kafka = start_kafka();
my $node = new_node(
	'encodings',
	kafka => $kafka,
	preload => 1,
	extension => 0,
	conf => "max_worker_processes = 40\nrappel_conso.databases = 'utf8, latin1'\n");
my @databases = ('utf8', 'latin1');

my $bom = "\xef\xbb\xbf";
my $euro = "\xe2\x82\xac";

# Errors name the part of the record, and the bytes in it.
my $of_value = qr/^22021\|(?![^|]*\bkey\b)[^|]*\bvalue\b[^|]*\|/;
my $of_key = qr/^22021\|(?![^|]*\bvalue\b)[^|]*\bkey\b[^|]*\|/;

# [name, key, value, what a typed stream and one of jsonb make of it, in LATIN1
# if that differs]
my @messages = (
	[ 'a byte order mark', 'k', "$bom\{\"a\": \"x\"}", 'k: x' ],
	[ 'the mark alone', 'k', $bom, '22P02|invalid input syntax for type json' ],
	[ 'two marks', 'k', "$bom$bom\{}", '22P02|invalid input syntax for type json', '22P05|character with byte sequence 0xef 0xbb 0xbf' ],
	[ 'a mark further on', 'k', "{\"a\": \"$bom\"}", "k: $bom", '22P05|character with byte sequence 0xef 0xbb 0xbf' ],
	[ 'a mark in a key', "${bom}k", '{"a": "y"}', "${bom}k: y", '22P05|character with byte sequence 0xef 0xbb 0xbf' ],
	[ 'half a mark', 'k', "\xef\xbb", qr/$of_value.*\b1\b.*\b0xef 0xbb\W*$/ ],
	[ 'a registry', 'k', "\0\0\0\0\x2a\x02x", qr/$of_value.*\b00 00 00 00 2a\b.*\b42\W*$/ ],
	[ 'a registry of JSON', 'k', "\0\0\1\2\3{\"a\": 1}", qr/$of_value.*\b00 00 01 02 03\b.*\b66051\W*$/ ],
	[ 'a registry for the key', "\0\xff\1\0\0k", '{"a": 1}', qr/$of_key.*\b00 ff 01 00 00\b.*\b4278255616\W*$/ ],
	[ 'LATIN1', 'k', "{\"a\": \"caf\xe9\"}", qr/$of_value.*\b11\b.*\b0xe9 0x22 0x7d\W*$/ ],
	[ 'a LATIN1 key', "caf\xe9", '{"a": "x"}', qr/$of_key.*\b4\b.*\b0xe9\W*$/ ],
	[ 'both', "\xe9", "\xe9", qr/$of_key.*\b1\b.*\b0xe9\W*$/ ],
	[ 'a zero', 'k', "{\"a\": \"x\0y\"}", qr/$of_value.*\b9\b.*\b0x00 0x79 0x22 0x7d\W*$/ ],
	[ 'a surrogate', 'k', "\"\xed\xa0\x80\"", qr/$of_value.*\b2\b.*\b0xed 0xa0 0x80 0x22\W*$/ ],
	[ 'accents', "\xc3\xa9", "{\"a\": \"\xc3\xa9\"}", "\xc3\xa9: \xc3\xa9" ],
	[ 'a euro', 'k', "{\"a\": \"$euro\"}", "k: $euro", '22P05|character with byte sequence 0xe2 0x82 0xac' ],
	[ 'a key with a euro', $euro, '{"a": "x"}', "$euro: x", '22P05|character with byte sequence 0xe2 0x82 0xac' ],
	[ 'an escaped euro', 'k', '{"a": "\u20ac"}', "k: $euro", '22P05|' ],
	[ 'an escaped accent', 'k', '{"a": "\u00e9"}', "k: \xc3\xa9" ]);
my @headers = (
	[],
	[ plain => 'x', accent => "\xc3\xa9", "nom \xc3\xa9" => 'y' ],
	[ price => "4 $euro", "price in $euro" => '4', both => "\xc3\xa9", both => $euro ],
	[ "\xff" => "\xff", 'base64:QUJD' => 'a name like an encoded one', 'base64:' => 'z', 'base64:A' => 'none' ],
	[ 'object' => '{"base64": "QUJD"}', zz => '' ]);

$node->sql('CREATE DATABASE utf8');
$node->sql(q{CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
$kafka->create_topic('encodings');
$kafka->create_topic('headers');
foreach my $message (@messages)
{
	my ($name, $key, $value) = @$message;

	# a key with a zero byte is no argument of a program
	if ($key =~ /\0/) { $kafka->produce_many('encodings', [ [ $key, $value ] ]); }
	else { $kafka->produce('encodings', $key, $value); }
}
foreach my $i (0 .. $#headers) { $kafka->produce('headers', "k$i", '{}', $headers[$i]); }

foreach my $database (@databases)
{
	$node->sql(<<~"EOC", dbname => $database);
		CREATE EXTENSION rappel_conso;
		UPDATE rappel_conso.stream SET paused = true;
		CREATE TYPE typed AS (a text);
		CREATE TABLE typed_rows (n bigint, content text);
		CREATE TABLE jsonb_rows (n bigint, content text);
		CREATE TABLE header_rows (n bigint, headers jsonb);
		INSERT INTO rappel_conso.stream (name, topics, value_type, stop_after, statement) VALUES
		  ('typed', '{encodings}', 'typed', 1000, \$\$INSERT INTO typed_rows SELECT record_offset, key || ': ' || a FROM records\$\$),
		  ('jsonb', '{encodings}', 'jsonb', 1000, \$\$INSERT INTO jsonb_rows SELECT record_offset, key || ': ' || (value->>'a') FROM records\$\$);
		INSERT INTO rappel_conso.stream (name, topics, output_topic, statement) VALUES
		  ('headers', '{headers}', 'forwarded_$database', \$\$
		    WITH kept AS (INSERT INTO header_rows SELECT record_offset, headers FROM records)
		    SELECT key, value, headers FROM records ORDER BY record_offset\$\$);
		SELECT rc_start();
		EOC
}

# ---- keys and values ----

foreach my $database (@databases)
{
	foreach my $stream ('typed', 'jsonb')
	{
		$node->wait_applied($stream, scalar @messages, dbname => $database);
		my %got = map { /^(\d+)\|(.*)$/ } split(/\n/, $node->sql(<<~"EOC", dbname => $database));
			SELECT n, content FROM ${stream}_rows
			UNION ALL SELECT record_offset, concat_ws('|', sqlstate, message, detail) FROM rappel_conso.dead_letter WHERE name = '$stream'
			EOC
		foreach my $n (0 .. $#messages)
		{
			my ($name, undef, undef, $expected, $in_latin1) = @{ $messages[$n] };

			$expected = $in_latin1 if $database eq 'latin1' && $in_latin1;
			is_or_like(ref $expected ? $got{$n} // 'nothing' : substr($got{$n} // 'nothing', 0, length $expected), $expected, "M2, V14: $database, $stream: $name");
		}
		is($node->sql("SELECT count(*) FROM rappel_conso.dead_letter WHERE name = '$stream' AND sqlstate = '22P05'
			AND COALESCE(context, '') !~ '(^|[^a-z])(key|value)([^a-z]|\$)|JSON data'", dbname => $database),
			'0', "M2: $database, $stream: characters that it lacks are said to be of key or value");
	}
}

# ---- headers ----

my %seen = (
	utf8 => [ '{}', '{"plain": "x", "accent": "é", "nom é": "y"}', '{"both": ["é", "€"], "price": "4 €", "price in €": "4"}' ],
	latin1 => [ '{}', '{"plain": "x", "accent": "é", "nom é": "y"}',
		'{"both": ["é", {"base64": "4oKs"}], "price": {"base64": "NCDigqw="}, "base64:cHJpY2UgaW4g4oKs": "4"}' ]);
push @{ $seen{$_} }, '{"base64:/w==": {"base64": "/w=="}, "base64:YmFzZTY0OkE=": "none", "base64:YmFzZTY0Og==": "z",'
  . ' "base64:YmFzZTY0OlFVSkQ=": "a name like an encoded one"}', '{"zz": "", "object": "{\"base64\": \"QUJD\"}"}'
  foreach @databases;

# Kafka's headers, without ours.
sub headers_of
{
	my ($topic, $n) = @_;
	my $out = $kafka->kcat('', '-C', '-e', '-o', $n, '-c', 1, '-t', $topic, '-f', '%h\n');

	chomp $out;
	return join(',', sort grep { !/^rappel_conso-/ } split(/,/, $out));
}

foreach my $database (@databases)
{
	$node->wait_applied('headers', scalar @headers, dbname => $database);
	$node->wait_for('the outbox', 'SELECT count(*) = 0 FROM rappel_conso.outbox', dbname => $database);
	foreach my $n (0 .. $#headers)
	{
		is($node->sql("SELECT headers = '$seen{$database}[$n]' FROM header_rows WHERE n = $n", dbname => $database), $n ? 't' : '', "V16: $database: headers of message $n");
		is(headers_of("forwarded_$database", $n), headers_of('headers', $n), "V16: $database: as they were sent on, message $n");
	}
	is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name = 'headers'}, dbname => $database), '0', "V16: $database: no dead letters");
}

# A record that is dead for its value has such headers, too; and what is
# nested goes out as UTF-8.
$kafka->produce('headers', 'k', 'no JSON', $headers[2]);
foreach my $database (@databases)
{
	$node->wait_applied('headers', @headers + 1, dbname => $database);
	is($node->sql("SELECT headers = '$seen{$database}[2]' FROM rappel_conso.dead_letter WHERE name = 'headers'", dbname => $database), 't', "V16: $database: headers of a dead letter");
	$node->sql(qq{SELECT rc_publish('nested_$database', 'v', 'k', '{"a": {"b": "é"}}')}, dbname => $database);
	$node->wait_for('the outbox', 'SELECT count(*) = 0 FROM rappel_conso.outbox', dbname => $database);
	is(headers_of("nested_$database", 0), 'a={"b": "é"}', "V16: $database: what is nested is UTF-8 in Kafka");
}

done_testing();
