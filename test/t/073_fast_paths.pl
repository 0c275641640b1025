# 073_fast_paths.pl
#     Our own ways from JSON text to columns, beside those of the server: the
#     same bytes in the table, or the same error.  JSON texts come from a seeded
#     generator, and a third of them are damaged.
#
# Each text is given to one stream of a row type with all types that have a fast
# path, and to one of jsonb, as the server's functions do it too.
# RAPPEL_CONSO_SEED and RAPPEL_CONSO_VALUES say which texts, and how many.
# Records go in as dead letters, and through rc_retry(): no Kafka is needed.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use RappelConso::Random;
use Test::More;

my $seed = $ENV{RAPPEL_CONSO_SEED} // 39;
my $texts = $ENV{RAPPEL_CONSO_VALUES} // 20_000;

# Texts of which more than one thing is asked.
use constant SOME => 1000;

my $columns = 'i2, i4, i8, b, n, d, ts, tz, t, v, j, jb, ai, at';

my $node = new_node('fast', conf => "max_worker_processes = 20\nautovacuum = off\n");

# ---- the texts ----

sub digits { return join('', map { int(rand(10)) } 1 .. $_[0]); }

sub number
{
	my $sign = chance(0.3) ? '-' : '';
	my $whole = pick('0', int(rand(10)), int(rand(100_000)), 1 + int(rand(9)) . digits(int(rand(20))), '10000', '99990000', '32768',
		'2147483648', '9223372036854775807', '9223372036854775808', '999999999999999999', '1000000000000000000');
	my $fraction = chance(0.4) ? '.' . pick('0', '00', '5', '50', digits(1 + int(rand(18))), '0001', '00000001') : '';
	my $exponent = chance(0.1) ? pick('e', 'E') . pick('', '+', '-') . pick(0, 1, 7, 12, 99, 100, 400, 200_000) : '';

	return "$sign$whole$fraction$exponent";
}

sub two { return sprintf('%02d', int(rand($_[0]))); }

sub date
{
	return sprintf('%04d-%02d-%02d', pick(2024, 2023, 2000, 1900, 1970, 1, 0, 9999, int(rand(10_000))), rand(14), rand(33)) if chance(0.2);
	return sprintf('%04d-%02d-%02d', 1900 + int(rand(200)), 1 + int(rand(12)), 1 + int(rand(29)));
}

sub stamp
{
	my $time = pick('T', ' ') . join(':', two(24), two(60), two(60));

	$time = pick('T', ' ', 't', '  ') . join(':', two(26), two(62), two(62)) if chance(0.1);
	$time = pick('T10:00', 'T24:00:00', 'T10', ' 10:00:60', 'T100000', ' 1:2:3', ' 10:00:00 PM') if chance(0.1);
	$time .= '.' . (chance(0.8) ? digits(1 + int(rand(6))) : pick('', digits(9), '9999999', '5 ')) if chance(0.5);
	return date() . $time
	  . pick('Z', 'Z', 'Z', '', '+00', '+02:00', '-05:30', '+0530', '-11', '+15:59', '+16', '-15:60', '+1', '+02:00:30', ' UTC', ' +02', 'z', ' Europe/Paris', ' BC');
}

my @words = ('', 'x', 'word', 'a longer text of words', 'eight ch', 'true', 'null', '12', '1.5', "caf\x{e9}", "\x{6f22}\x{5b57}", "\x{1F600}",
	"line\nbreak\tand \"quotes\" \\ /", "\x{8}\x{c}\r", "\x{7f}", '{"a": 1}', '[1]', 'infinity', 'epoch', 'NaN', 'x' x 200);

sub text { return pick(@words) . (chance(0.2) ? pick(@words) : ''); }

sub scalar_text
{
	return pick('true', 'false', 'null') if chance(0.2);
	return number() if chance(0.5);
	return string_text(chance(0.2) ? stamp() : text());
}

sub json_text
{
	my ($depth) = @_;
	my $n = chance(0.02) ? 20 + int(rand(60)) : int(rand(5));

	return space() . scalar_text() if $depth > 3 || chance(0.4);
	return '[' x 63 . ']' x 63 if chance(0.003);
	return '[' x 70 . ']' x 70 if chance(0.003);
	return space() . '[' . join(space() . ',', map { json_text($depth + 1) } 1 .. $n) . space() . ']' if chance(0.4);
	return space() . '{' . join(',', map { space() . string_text(pick('a', 'b', 'key', "cl\x{e9}", '', "k$_", 'k' . int(rand(40)))) . space() . ':' . json_text($depth + 1) } 1 .. $n) . space() . '}';
}

my %value_of = (
	i2 => \&number, i4 => \&number, i8 => \&number, n => \&number, b => sub { pick('true', 'false') },
	d => sub { string_text(date()) }, ts => sub { string_text(chance(0.5) ? stamp() : stamp() =~ s/Z|[-+][0-9:]+$//r) }, tz => sub { string_text(stamp()) },
	t => sub { string_text(text()) }, v => sub { string_text(text()) }, j => sub { json_text(0) }, jb => sub { json_text(0) },
	other => sub { json_text(1) },
	ai => sub { '[' . join(',', map { chance(0.1) ? 'null' : int(rand(100)) } 1 .. rand(4)) . ']' },
	at => sub { '[' . join(', ', map { string_text(text()) } 1 .. rand(4)) . ']' });

sub row_text
{
	my @names = grep { chance(0.25) } split(/, /, "$columns, other");

	push @names, pick(@names) if @names && chance(0.05);
	@names = reverse @names if chance(0.1);
	return space() . '{' . join(',', map {
		space() . string_text($_) . space() . ':' . space() . (chance(0.02) ? 'null' : chance(0.03) ? json_text(2) : $value_of{$_}->())
	} @names) . space() . '}' . space();
}

# One change that makes a text another one, mostly not JSON.
sub damaged
{
	my ($text) = @_;
	my $at = int(rand(length $text));
	my $with = pick('', '"', '\\', ',', ':', '{', '}', '[', ']', ' ', '0', '1', '-', '.', 'e', 'E5', '+', 'x', 'null', "\t", "\x{1}", "\x{e9}", '\\u0000', '\\ud83d', '\\u00', '\\x',
		"\x{feff}", '/', 'Z', '//');

	return substr($text, 0, $at) if chance(0.1);
	substr($text, $at, chance(0.5) ? 1 : 0) = $with;
	return $text;
}

srand($seed);
my @rows = map { chance(1 / 3) ? damaged(row_text()) : row_text() } 1 .. $texts / 2;
my @documents = map { chance(1 / 3) ? damaged(json_text(0) || ' ') : json_text(0) } 1 .. $texts / 2;

# ---- what both make of them ----

$node->sql_encoded(<<~"EOC");
	CREATE TYPE fast AS (i2 int2, i4 int4, i8 int8, b bool, n numeric, d date, ts timestamp, tz timestamptz, t text, v varchar, j json, jb jsonb, ai int[], at text[]);
	CREATE TYPE one AS (value jsonb);
	CREATE TABLE given (n int PRIMARY KEY, content text);
	CREATE TABLE ours_fast (n int PRIMARY KEY, r fast);
	CREATE TABLE ours_one (n int PRIMARY KEY, r one);
	CREATE TABLE theirs_fast (n int PRIMARY KEY, r fast, sqlstate text, message text);
	CREATE TABLE theirs_one (n int PRIMARY KEY, r one, sqlstate text, message text);
	-- a byte order mark before JSON does not count
	CREATE FUNCTION unmarked(content text) RETURNS text LANGUAGE sql AS 'SELECT substr(content, 1 + starts_with(content, chr(65279))::int)';
	CREATE FUNCTION make_fast(content text) RETURNS fast LANGUAGE sql AS 'SELECT json_populate_record(NULL::fast, unmarked(content)::json)';
	CREATE FUNCTION make_one(content text) RETURNS one LANGUAGE sql AS 'SELECT ROW(unmarked(content)::jsonb)::one';
	INSERT INTO rappel_conso.stream (name, topics, value_type, stop_after, statement) VALUES
	  ('fast', '{typed}', 'fast', 2000000000, 'INSERT INTO ours_fast SELECT record_offset, ROW($columns)::fast FROM records'),
	  ('one', '{typed}', 'jsonb', 2000000000, 'INSERT INTO ours_one SELECT record_offset, ROW(value)::one FROM records');
	EOC
foreach my $kind ('fast', 'one')
{
	$node->sql_encoded(<<~"EOC");
		CREATE PROCEDURE make_theirs_$kind() LANGUAGE plpgsql AS \$\$
		DECLARE one given;
		BEGIN
		  FOR one IN SELECT * FROM given LOOP
		    BEGIN
		      INSERT INTO theirs_$kind SELECT one.n, make_$kind(one.content);
		    EXCEPTION WHEN OTHERS THEN
		      INSERT INTO theirs_$kind VALUES (one.n, NULL, SQLSTATE, SQLERRM);
		    END;
		  END LOOP;
		END \$\$;
		EOC
}

# Gives texts to the stream of a kind.
sub give
{
	my ($kind, @given) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/records';
	my $n = 0;
	my $lines = join('', map { $n++ . "\t" . (s/([\\\t\n\r])/sprintf('\\x%02x', ord($1))/ger) . "\n" } @given);

	utf8::encode($lines);
	append_to_file($file, $lines);
	$node->sql(<<~"EOC");
		TRUNCATE given, ours_$kind, theirs_$kind;
		\\copy given FROM '$file'
		CALL make_theirs_$kind();
		EOC
	unlink $file;
	return;
}

# Applies them with these fast paths; returns what differs, and how many were
# applied and refused.
sub apply
{
	my ($kind, $paths) = @_;

	$node->sql("LOAD 'rappel_conso'; ALTER SYSTEM SET rappel_conso.fast_paths = $paths");
	$node->sql('SELECT pg_reload_conf()');
	$node->wait_for('the fast paths', qq(SELECT current_setting('rappel_conso.fast_paths', true) = $paths));
	$node->sql(<<~"EOC");
		TRUNCATE ours_$kind;
		DELETE FROM rappel_conso.dead_letter;
		INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, value, sqlstate, message, owner)
		SELECT 'stream', s.name, 'typed', 0, g.n, convert_to(g.content, 'UTF8'), '00000', 'new', s.owner
		FROM given g, rappel_conso.stream s WHERE s.name = '$kind' ORDER BY g.n;
		SELECT * FROM rc_retry('$kind');
		EOC
	return;
}

# Bytes differ, or one is refused; where only ours is, it is by the list of
# kinds (22P02), of which test 046 knows more.
sub differing
{
	my ($kind) = @_;

	return $node->sql_encoded(<<~"EOC");
		SELECT coalesce(string_agg(content || ': ' || coalesce(o.r::text, '') || ' <> ' || coalesce(t.r::text, '') || coalesce(d.message, '') || coalesce(' <> ' || t.message, ''), E'\\n'), '')
		FROM (SELECT g.n, g.content FROM given g JOIN theirs_$kind t USING (n) LEFT JOIN ours_$kind o USING (n)
		  LEFT JOIN rappel_conso.dead_letter d ON d.record_offset = g.n AND d.resolved_at IS NULL
		  WHERE CASE WHEN o.n IS NOT NULL THEN t.sqlstate IS NOT NULL OR NOT o.r *= t.r
		        ELSE d.sqlstate IS NULL OR (t.sqlstate IS NULL AND NOT (d.sqlstate = '22P02' AND d.message ~ '^cannot convert JSON')) END
		  ORDER BY g.n LIMIT 5) g JOIN theirs_$kind t USING (n) LEFT JOIN ours_$kind o USING (n)
		  LEFT JOIN rappel_conso.dead_letter d ON d.record_offset = g.n AND d.resolved_at IS NULL
		EOC
}

sub errors_of
{
	return $node->sql_encoded(q{
		SELECT md5(string_agg(concat_ws('|', record_offset, sqlstate, message, detail, context), '|' ORDER BY record_offset)) || ' ' || count(*)
		FROM rappel_conso.dead_letter WHERE resolved_at IS NULL AND record_offset < } . SOME);
}

my $all = q('rows, scalars, jsonb');
foreach my $kind ([ fast => \@rows ], [ one => \@documents ])
{
	my ($name, $given) = @$kind;

	give($name, @$given);
	apply($name, $all);
	is(differing($name), '', "$name: values are what the server makes of them");
	my ($applied, $refused) = ($node->sql("SELECT count(*) FROM ours_$name"), $node->sql('SELECT count(*) FROM rappel_conso.dead_letter WHERE resolved_at IS NULL'));
	my $errors = errors_of();
	note("seed $seed, $name: $applied applied, $refused refused");
	cmp_ok($_, '>', @$given / 5, 'some are') foreach $applied, $refused;

	give($name, @$given[ 0 .. SOME - 1 ]);
	apply($name, q(''));
	is(differing($name), '', "$name: the same without fast paths");
	is(errors_of(), $errors, 'and errors have the same words');
}

# ---- some of them, and other settings ----

my @some = @rows[ 0 .. SOME - 1 ];

give('fast', @some);
foreach my $paths (q('rows'), q('rows, scalars'), q('rows, jsonb'), q('scalars, jsonb'))
{
	apply('fast', $paths);
	is(differing('fast'), '', "values are what the server makes of them, with $paths");
}
foreach my $style ('SQL, DMY', 'German', 'ISO, YMD')
{
	$node->sql("ALTER DATABASE postgres SET DateStyle = '$style'; ALTER DATABASE postgres SET TimeZone = 'America/New_York'");
	give('fast', @some);
	apply('fast', $all);
	is(differing('fast'), '', "and with the DateStyle $style, in New York");
}
$node->sql('ALTER DATABASE postgres RESET ALL');

# ---- a database of another encoding ----

$node->sql(q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->create_extension(dbname => 'latin');
my @latin = ('{"t": "ascii"}', "{\"t\": \"caf\x{e9}\"}", '{"t": "caf\\u00e9"}', '{"t": "\\u0041"}', '{"t": "\\u6f22"}', "{\"jb\": {\"\x{e9}\": 1}}", '{"jb": {"\\u00e9": 1.50}}');
my $row = 0;
my $given = join(', ', map { my $bytes = $_; utf8::encode($bytes); '(' . $row++ . ", decode('" . unpack('H*', $bytes) . "', 'hex'))" } @latin);
$node->sql(<<~"EOC", dbname => 'latin');
	CREATE TYPE fast AS (t text, jb jsonb);
	CREATE TABLE ours (n int PRIMARY KEY, t text, jb jsonb);
	INSERT INTO rappel_conso.stream (name, topics, value_type, stop_after, statement) VALUES
	  ('fast', '{typed}', 'fast', 2000000000, 'INSERT INTO ours SELECT record_offset, t, jb FROM records');
	INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, value, sqlstate, message, owner)
	SELECT 'stream', 'fast', 'typed', 0, g.n, g.bytes, '00000', 'new', s.owner
	FROM (VALUES $given) g(n, bytes), rappel_conso.stream s WHERE s.name = 'fast' ORDER BY g.n;
	SELECT * FROM rc_retry('fast');
	EOC
is($node->sql(q{SELECT string_agg(concat_ws(' ', n, encode(convert_to(t, 'LATIN1'), 'hex'), encode(convert_to(jb::text, 'LATIN1'), 'hex')), ', ' ORDER BY n) FROM ours}, dbname => 'latin'),
	'0 6173636969, 1 636166e9, 2 636166e9, 3 41, 5 7b22e9223a20317d, 6 7b22e9223a20312e35307d', 'LATIN1: characters are those of the database');
is($node->sql('SELECT record_offset, sqlstate FROM rappel_conso.dead_letter WHERE resolved_at IS NULL', dbname => 'latin'), '4|22P05',
	'LATIN1: and one that it has not is an error');

# ---- a format that is not the server's ----

# Entries of jsonb by their kind; powers of ten to fill up digits of numeric.
my $patch = preload('patch');
foreach my $case (
	[ 'jsonb', 3 * 4 + (unpack('h', pack('s', 1)) ? 3 : 0), 0x20, pack('L7', 0x40000000, 0x20000000, 0x30000000, 0x10000000, 0, 0x50000000, 0x50000000) ],
	[ 'numeric and jsonb', unpack('h', pack('s', 1)) ? 2 : 3, 0xE9, pack('S4', 1, 1000, 100, 10) ])
{
	my ($types, $at, $value, $bytes) = @$case;

	SKIP:
	{
		skip('no C compiler', 2) unless $patch;
		my $position = $node->log_position;

		$node->stop;
		{
			local $ENV{LD_PRELOAD} = $patch;
			local $ENV{RC_TEST_PATCH} = "/rappel_conso.so $at $value " . unpack('H*', $bytes);
			$node->start;
		}
		give('one', '{"a": [1.5, true, null, "x", {}]}', '0.05', 'nope');
		apply('one', $all);
		is(differing('one'), '', "a byte of $types is patched: values are the server's");
		cmp_ok($node->times_logged('00000', 'LOG', "values of type $types are made by the server's own function", $position), '>', 0, 'and the log says so');
	}
}

done_testing();
