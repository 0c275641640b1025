# 046_typed_values.pl
#     Typed records beside json_populate_record(): what a record's JSON becomes
#     in the columns of a row type is what the server makes of the same text,
#     or an error in both; where only ours is an error, the list of
#     kinds and types in docs/streams.md says so.  Values of each built-in type, of their arrays
#     and of types made of them come from a seeded generator.
#
# RAPPEL_CONSO_SEED and RAPPEL_CONSO_VALUES say which values, and how many.
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

my $seed = $ENV{RAPPEL_CONSO_SEED} // 46;
my $values = $ENV{RAPPEL_CONSO_VALUES} // 20_000;

my $node = new_node('typed', conf => "max_worker_processes = 20\nautovacuum = off\n");

# ---- the types ----

# User-defined types of extensions, where the server has them.
my @extensions = split(/\n/, $node->sql_encoded(q{
	SELECT name FROM pg_available_extensions WHERE name IN ('citext', 'cube', 'hstore', 'ltree') ORDER BY 1}));
$node->sql_encoded(join(';', map { "CREATE EXTENSION $_" } @extensions)) if @extensions;
$node->sql_encoded(<<~'EOC');
	CREATE TYPE mood AS ENUM ('1', 'true', 'fine', '{"a": 1}');
	CREATE TYPE pair AS (i int, gone text, d date, t text, "Ju" json, tags text[]);
	ALTER TYPE pair DROP ATTRIBUTE gone;
	CREATE TABLE wide (p pair, n numeric(5,2), m mood, gone int, ps pair[], b boolean, g int GENERATED ALWAYS AS (1) STORED);
	ALTER TABLE wide DROP COLUMN gone;
	CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
	CREATE DOMAIN day AS date;
	CREATE DOMAIN day_again AS day CHECK (VALUE > '2000-01-01');
	CREATE DOMAIN ints AS int[] CHECK (cardinality(VALUE) < 3);
	CREATE DOMAIN document AS json;
	CREATE DOMAIN document_b AS jsonb;
	CREATE DOMAIN short AS varchar(3);
	CREATE DOMAIN good_mood AS mood CHECK (VALUE <> 'fine');
	CREATE DOMAIN good_pair AS pair CHECK ((VALUE).i > 0);
	CREATE TYPE reals AS RANGE (subtype = float8);
	EOC

# Our description of a type: what it takes of JSON by the list in docs/streams.md, from
# its category, and its parts.
my %node_of;

sub scalar_node
{
	my ($takes, @samples) = @_;

	return { takes => { map { $_ => 1 } 'string', split(/ /, $takes) }, samples => \@samples };
}

sub array_node { return { takes => { string => 1, array => 1 }, element => $_[0], samples => [ '{}', '{1,2}', '{"a b",NULL}', '{{1},{2}}' ] }; }

sub row_node
{
	my ($samples, %fields) = @_;

	return { takes => { string => 1, object => 1 }, fields => \%fields, samples => $samples };
}

my $everything = 'number boolean object array';
my %samples = (
	bool => [ 't', 'false', 'YES', '0', 'off' ], bytea => [ '\\x00ff', 'abc', '\\134' ],
	char => [ 'a', '', 'long' ], name => [ 'n', 'x' x 70 ], bpchar => [ 'ab', 'a  ' ], varchar => [ 'ab', 'abcd', 'abc   ' ],
	text => [ 'ab', '', "tab\tand \"quotes\" \\", "\x{153} \x{6f22}" ],
	int2 => [ '12', '-32768', ' 7 ' ], int4 => [ '12', '-2147483648', '1' ], int8 => [ '12', '9223372036854775807' ],
	numeric => [ '12.50', '-0.001', 'NaN', '1e5', '999.994', 'Infinity' ], float4 => [ '1.5', '-Infinity', '1e30' ],
	float8 => [ '1.5', 'NaN', '-0', '1e-300' ], money => [ '12.50', '-$1,000.00' ],
	oid => [ '12', '4294967295' ], xid => ['7'], xid8 => ['7'], cid => ['7'], tid => ['(0,1)'],
	regproc => [ 'pg_sleep', '1' ], regprocedure => [ 'pi()', '1' ], regoper => ['!~~*'], regoperator => ['+(integer,integer)'],
	regclass => [ 'pg_class', '1259', '-' ], regtype => [ 'integer', '23' ], regrole => ['pg_monitor'],
	regnamespace => ['pg_catalog'], regconfig => ['english'], regdictionary => ['simple'], regcollation => ['"C"'],
	date => [ '2024-02-29', 'infinity', '20240101', '0044-03-15 BC' ], time => [ '10:00', '23:59:59.999999', '101112' ],
	timetz => [ '10:00+02', '23:59:59.5Z' ], timestamp => [ '2024-02-29 10:00:00.123456', '-infinity', '2024-01-01T00:00:00' ],
	timestamptz => [ '2024-02-29 10:00:00.123456+02', 'infinity', '2024-01-01T00:00:00Z' ],
	interval => [ '1 day', '-1 year 2 mons 3.456789 secs', 'P1DT2H' ],
	inet => [ '10.0.0.1/8', '::1' ], cidr => ['10.0.0.0/8'], macaddr => ['08:00:2b:01:02:03'], macaddr8 => ['08:00:2b:01:02:03:04:05'],
	point => ['(1,2)'], line => ['{1,2,3}'], lseg => ['[(1,2),(3,4)]'], box => ['(3,4),(1,2)'], path => ['((1,2),(3,4))'],
	polygon => ['((1,2),(3,4),(5,6))'], circle => ['<(1,2),3>'],
	bit => [ '101', '1', 'x5' ], varbit => [ '101', '', '10101' ], uuid => ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
	xml => ['<a>b</a>'], json => [ '{"a": 1}', '[1,  2]', '12', 'nope', "\x{e9}" ], jsonb => [ '{"b": 1, "a": 2}', '12', 'nope' ],
	jsonpath => ['$.a[*]'], tsvector => [ 'a b:1', "'x':2A" ], tsquery => [ 'a & b', '!c' ],
	pg_lsn => ['16/B374D848'], pg_snapshot => ['10:20:10,14'], txid_snapshot => ['10:20:10,14'],
	int2vector => [ '1 2', '' ], oidvector => [ '1 2', '' ], refcursor => ['c'], aclitem => [], gtsvector => [],
	int4range => [ '[1,5)', 'empty' ], int8range => ['(,5]'], numrange => ['[1.5,2]'], daterange => ['[2024-01-01,2024-02-01)'],
	tsrange => ['[2024-01-01 10:00,)'], tstzrange => ['[2024-01-01 10:00+00,)'],
	int4multirange => [ '{[1,5)}', '{}' ], int8multirange => ['{[1,5),[7,9)}'], nummultirange => ['{[1.5,2]}'],
	datemultirange => ['{[2024-01-01,2024-02-01)}'], tsmultirange => ['{}'], tstzmultirange => ['{}']);

# What a built-in scalar type takes by its name and category.
sub takes
{
	my ($name, $category) = @_;

	return $everything if $name =~ /^(json|jsonb|text|varchar)$/;
	return { S => 'number boolean', N => 'number', B => 'boolean' }->{$category} // '';
}

# [column, type, node], in the order of the row type.
my @columns;
foreach my $row (split(/\n/, $node->sql_encoded(q{
	SELECT typname, typcategory, oid::regtype, NULLIF(typarray, 0)::regtype, get_element FROM (
	  SELECT *, CASE WHEN typname IN ('int2vector', 'oidvector') THEN typelem::regtype END AS get_element FROM pg_type) t
	WHERE typtype IN ('b', 'r', 'm') AND oid < 16384 AND typisdefined AND NOT (typcategory = 'A' AND get_element IS NULL)
	ORDER BY oid})))
{
	my ($name, $category, $type, $array, $element) = split(/\|/, $row);

	$node_of{$name} = $element ? array_node($node_of{$element eq 'oid' ? 'oid' : 'int2'}) :
	  scalar_node(takes($name, $category), @{ $samples{$name} // [] });
	$node_of{$name}{samples} = $samples{$name} // [];
	push @columns, [ "v_$name", $type, $node_of{$name} ];
	push @columns, [ "a_$name", $array, array_node($node_of{$name}) ] if $array;
}
foreach my $row (split(/\n/, $node->sql_encoded(q{
	SELECT t.typname, t.oid::regtype, b.typname, b.typcategory FROM pg_type t JOIN pg_type b ON b.oid = t.typbasetype
	WHERE t.typtype = 'd' AND t.oid < 16384 ORDER BY t.oid})))
{
	my ($name, $type, $base, $category) = split(/\|/, $row);

	push @columns, [ "i_$name", $type, scalar_node(takes($base, $category), @{ $samples{$base} }) ];
}
my $built_in = @columns;

# What takes modifiers, with them.
foreach my $type (
	[ bpchar => 'char(3)' ], [ varchar => 'varchar(3)' ], [ numeric => 'numeric(5,2)' ], [ numeric => 'numeric(3,-1)' ], [ bit => 'bit(3)' ],
	[ varbit => 'varbit(3)' ], [ time => 'time(1)' ], [ timetz => 'timetz(1)' ], [ timestamp => 'timestamp(2)' ],
	[ timestamptz => 'timestamptz(0)' ], [ interval => 'interval(1)' ], [ interval => 'interval day to minute' ])
{
	my $at = @columns;

	push @columns, [ "m_$at", $type->[1], $node_of{ $type->[0] } ], [ "ma_$at", "$type->[1]\[]", array_node($node_of{ $type->[0] }) ];
}

# What is made of built-in types.
my $all = scalar_node($everything, '1', 'true', 'fine', '{"a": 1}');
my $pair = row_node([ '(1,2024-01-01,x,{},{})', '(,,,,)', '(1)' ],
	i => $node_of{int4}, d => $node_of{date}, t => $node_of{text}, Ju => $node_of{json}, tags => array_node($node_of{text}));
my $wide = row_node([ '(,1,1,,t,)', '("(1,,,,)",1,1,{},t,1)' ],
	p => $pair, n => $node_of{numeric}, m => $all, ps => array_node($pair), b => $node_of{bool}, g => $node_of{int4});
my $am = row_node(['(1,x,2,i)'], map { $_->[0] => $node_of{ $_->[1] } } [ oid => 'oid' ], [ amname => 'name' ], [ amhandler => 'regproc' ], [ amtype => 'char' ]);
my $ints = { %{ array_node($node_of{int4}) } };
push @columns, [ mood => 'mood', $all ], [ moods => 'mood[]', array_node($all) ], [ good_mood => 'good_mood', $all ],
  [ pair => 'pair', $pair ], [ pairs => 'pair[]', array_node($pair) ], [ wide => 'wide', $wide ], [ wides => 'wide[]', array_node($wide) ],
  [ pg_am => 'pg_catalog.pg_am', $am ], [ good_pair => 'good_pair', $pair ], [ good_pairs => 'good_pair[]', array_node($pair) ],
  [ even => 'even', $node_of{int4} ], [ evens => 'even[]', array_node($node_of{int4}) ],
  [ day => 'day', $node_of{date} ], [ day_again => 'day_again', $node_of{date} ], [ days => 'day_again[]', array_node($node_of{date}) ],
  [ ints => 'ints', $ints ], [ many_ints => 'ints[]', array_node($ints) ], [ short => 'short', $node_of{varchar} ],
  [ document => 'document', $node_of{json} ], [ documents => 'document[]', array_node($node_of{json}) ],
  [ document_b => 'document_b', $node_of{jsonb} ], [ reals => 'reals', scalar_node($everything, '[1,2)', 'empty') ],
  [ qq(with "quotes" \\ and \x{e9}) => 'pair', $pair ];
push @columns, [ "x_$_", $_, scalar_node($everything, '1', 'a.b', '"a"=>"1"', '(1,2)') ], [ "xa_$_", "$_\[]", array_node(scalar_node($everything, '1', 'a.b')) ]
  foreach @extensions;

# ---- the values: [kind, content], content of an object [[key, value], ..] ----

my @numbers = qw(0 1 -1 2 12 -0 1.0 1.50 1e2 1E-3 101231 100000 32768 2147483648 9223372036854775808 20240229
  12345678901234567890123 0.1 1e400 -1e400 1e-400);
my @words = ('x', '', 'null', 'abc', "\x{e9}", "a\nb", '"', '\\', '12', '1.5', '{1}', '(1)', '[]', "\x{1F600}", 'true');

sub any_value
{
	my ($depth) = @_;
	my $kind = pick('string', 'string', 'number', 'number', 'boolean', 'null', $depth > 2 ? () : ('object', 'array'));

	return [ string => pick(@words, @{ pick(values %samples) }) ] if $kind eq 'string';
	return [ number => pick(@numbers) ] if $kind eq 'number';
	return [ boolean => pick('true', 'false') ] if $kind eq 'boolean';
	return ['null'] if $kind eq 'null';
	return [ array => [ map { any_value($depth + 1) } 1 .. rand(4) ] ] if $kind eq 'array';
	return [ object => [ map { [ pick('a', 'i', 'd', 'b'), any_value($depth + 1) ] } 1 .. rand(4) ] ];
}

sub some_members
{
	my ($type) = @_;
	my @members = map { [ $_, value_for($type->{fields}{$_}) ] } grep { chance(0.5) } sort keys %{ $type->{fields} };

	# an early one of equal keys does not count, whatever it is
	unshift @members, [ pick(@members)->[0], any_value(0) ] if @members && chance(0.2);
	push @members, [ 'other', any_value(0) ] if chance(0.1);
	return \@members;
}

sub elements
{
	my ($type, $dimensions) = @_;
	my $n = chance(0.15) ? 0 : 1 + int(rand(3));

	return [ map { chance(0.03) ? any_value(0) : value_for($type) } 1 .. $n ] if $dimensions == 1;
	return [ map { [ array => elements($type, $dimensions - 1) ] } 1 .. (chance(0.1) ? 0 : 2) ];
}

# Mostly one that the type takes.
sub value_for
{
	my ($type) = @_;

	return any_value(0) if chance(0.05);
	return ['null'] if chance(0.05);
	return pick([ number => pick(@numbers) ], [ boolean => 'true' ], [ object => [] ], [ array => [] ]) if chance(0.08);
	return [ object => some_members($type) ] if $type->{fields} && chance(0.85);
	return [ array => elements($type->{element}, chance(0.15) ? 2 : 1) ] if $type->{element} && chance(0.85);
	return [ number => pick(@numbers[ 0 .. 9 ], @numbers) ] if $type->{takes}{number} && chance(0.3);
	return [ boolean => pick('true', 'false') ] if $type->{takes}{boolean} && chance(0.3);
	return any_value(1) if $type->{takes}{object} && $type->{takes}{array} && chance(0.3);
	return [ string => @{ $type->{samples} } && chance(0.92) ? pick(@{ $type->{samples} }) : pick(@words) ];
}

sub value_text
{
	my ($value) = @_;
	my ($kind, $content) = @$value;

	return space() . string_text($content) if $kind eq 'string';
	return space() . ($kind eq 'null' ? 'null' : $content) if $kind =~ /^(number|boolean|null)$/;
	return space() . '[' . join(space() . ',', map { value_text($_) } @$content) . space() . ']' if $kind eq 'array';
	return space() . '{' . join(',', map { space() . string_text($_->[0]) . space() . ':' . value_text($_->[1]) } @$content) . space() . '}';
}

# ---- the list in docs/streams.md ----

# The last of equal keys, by key.
sub last_of { return { map { $_->[0] => $_->[1] } @{ $_[0] } }; }

# Of an array's first value that is no array, or of the first empty array.
sub dimensions
{
	my ($array) = @_;

	return 1 unless @$array && $array->[0][0] eq 'array';
	return 1 + dimensions($array->[0][1]);
}

sub refused_element
{
	my ($type, $array, $dimensions) = @_;

	return scalar grep { is_refused_value($type, $_) } @$array if $dimensions == 1;
	return scalar grep { $_->[0] eq 'array' && refused_element($type, $_->[1], $dimensions - 1) } @$array;
}

sub is_refused_value
{
	my ($type, $value) = @_;
	my ($kind, $content) = @$value;

	return 0 if $kind eq 'null';
	return 1 unless $type->{takes}{$kind};
	return refused_element($type->{element}, $content, dimensions($content)) if $kind eq 'array' && $type->{element};
	if ($kind eq 'object' && $type->{fields})
	{
		my $members = last_of($content);

		return scalar grep { $members->{$_} && is_refused_value($type->{fields}{$_}, $members->{$_}) } keys %{ $type->{fields} };
	}
	return 0;
}

# ---- records, through both ----

sub name { return '"' . ($_[0] =~ s/"/""/gr) . '"'; }

my $names = join(', ', map { name($_->[0]) } @columns);
$node->sql_encoded(join(', ', map { name($_->[0]) . " $_->[1]" } @columns) =~ s/(.*)/CREATE TYPE typed AS ($1)/sr);
$node->sql_encoded(<<~"EOC");
	CREATE TABLE given (n int PRIMARY KEY, content text);
	CREATE TABLE applied (n int PRIMARY KEY, content text);
	CREATE TABLE expected (n int PRIMARY KEY, content text, sqlstate text, message text);
	CREATE DOMAIN present AS int NOT NULL;
	CREATE DOMAIN present_pair AS pair NOT NULL CHECK ((VALUE).i IS NOT NULL);
	CREATE TYPE strict AS (id present, pair present_pair, ids present[]);
	EOC

# A stream of a type, and a procedure for the same by the server's function.
foreach my $type ([ typed => $names ], [ strict => 'id, pair, ids' ])
{
	$node->sql_encoded(<<~"EOC");
		INSERT INTO rappel_conso.stream (name, topics, value_type, stop_after, statement) VALUES ('$type->[0]', '{typed}', '$type->[0]', 2000000000, \$\$
		  INSERT INTO applied SELECT record_offset, ROW($type->[1])::text FROM records \$\$);
		CREATE PROCEDURE populate_$type->[0]() LANGUAGE plpgsql AS \$\$
		DECLARE one given;
		BEGIN
		  FOR one IN SELECT * FROM given LOOP
		    BEGIN
		      INSERT INTO expected SELECT one.n, json_populate_record(NULL::$type->[0], one.content::json)::text;
		    EXCEPTION WHEN OTHERS THEN
		      INSERT INTO expected VALUES (one.n, NULL, SQLSTATE, SQLERRM);
		    END;
		  END LOOP;
		END \$\$;
		EOC
}

# Gives records to the stream of a type, and the same text to the server's
# function.  Returns what both made of each.
sub compare
{
	my ($type, @texts) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/records';
	my $n = 0;
	my $lines = join('', map { $n++ . "\t" . (s/([\\\t\n\r])/sprintf('\\x%02x', ord($1))/ger) . "\n" } @texts);

	utf8::encode($lines);
	append_to_file($file, $lines);
	$node->sql(<<~"EOC");
		TRUNCATE given, applied, expected;
		DELETE FROM rappel_conso.dead_letter;
		\\copy given FROM '$file'
		INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, value, sqlstate, message, owner)
		SELECT 'stream', s.name, 'typed', 0, g.n, convert_to(g.content, 'UTF8'), '00000', 'new', s.owner
		FROM given g, rappel_conso.stream s WHERE s.name = '$type' ORDER BY g.n;
		SELECT * FROM rc_retry('$type');
		CALL populate_$type();
		EOC
	unlink $file;
	return @{ JSON::PP->new->utf8->decode($node->sql_encoded(q{
		SELECT json_agg(json_build_object('ours', a.content, 'state', d.sqlstate, 'message', d.message, 'detail', d.detail,
		  'context', d.context, 'theirs', e.content, 'their_state', e.sqlstate, 'their_message', e.message) ORDER BY g.n)
		FROM given g LEFT JOIN applied a USING (n) JOIN expected e USING (n)
		LEFT JOIN rappel_conso.dead_letter d ON d.record_offset = g.n AND d.resolved_at IS NULL})) };
}

srand($seed);
my @records;
foreach my $i (0 .. $values - 1)
{
	# each column in turn, sometimes with another
	my @members = map { [ $columns[$_]->[0], value_for($columns[$_]->[2]), $columns[$_]->[2] ] }
	  ($i % @columns, chance(0.1) ? int(rand(@columns)) : ());

	unshift @members, [ $members[0][0], any_value(0) ] if chance(0.1);
	push @members, [ pick('other', 'v_INT4', 'pair.i', 'x' x 64), any_value(0) ] if chance(0.05);
	push @records, \@members;
}
my %type_of = map { $_->[0] => $_->[2] } @columns;
my @results = compare('typed', map { value_text([ object => $_ ]) } @records);
my %count = map { $_ => 0 } 'accepted', 'refused by both', 'refused by the list', 'wrong';
my @wrong;
foreach my $i (0 .. $#records)
{
	my $result = $results[$i];
	my $members = last_of($records[$i]);
	my @refused = grep { $type_of{$_} && is_refused_value($type_of{$_}, $members->{$_}) } keys %$members;
	my $kind;

	if (defined $result->{ours})
	{
		$kind = !@refused && defined $result->{theirs} && $result->{ours} eq $result->{theirs} ? 'accepted' : 'wrong';
	}
	elsif (!defined $result->{state}) { $kind = 'wrong'; }
	elsif (!defined $result->{theirs}) { $kind = 'refused by both'; }
	else
	{
		$kind = $result->{state} eq '22P02' && (grep { index($result->{message}, "column \"$_\"") > 0 } @refused) ?
		  'refused by the list' : 'wrong';
	}
	$count{$kind}++;
	push @wrong, value_text([ object => $records[$i] ]) . ': ' . JSON::PP->new->canonical->ascii->encode($result) if $kind eq 'wrong';
}
note("seed $seed: " . join(', ', map { "$_: $count{$_}" } sort keys %count));
diag(s{([^ -~])}{sprintf(q(\x{%x}), ord($1))}ger) foreach @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ];
is($count{wrong}, 0, "V2, V3, V4: $values values of " . @columns . ' types are what the server makes of them');
cmp_ok($count{accepted} * 2, '>=', $values, 'at least half of them are accepted');
cmp_ok($count{$_}, '>', $values / 200, "some are $_") foreach 'refused by both', 'refused by the list';
cmp_ok($built_in, '>', 150, 'all built-in types are there');

# ---- some by name ----

# What a record became: the row without its nulls, or the error.
sub ours
{
	my ($result) = @_;

	return $result->{ours} =~ s/,{20,}/,/gr =~ s/^\(,*|,*\)$//gr if defined $result->{ours};
	return join('|', map { $_ // '' } @$result{ 'state', 'message', 'detail' });
}

my @listed = (
	[ '{"v_date": 101231}', qr/JSON number.* date .*"v_date"\|[^.]*\bnumeric_time\b[^.]*\.$/ ],
	[ '{"v_time": 100000}', qr/JSON number.* time without time zone .*"v_time"\|[^.]*\bnumeric_time\b[^.]*\.$/ ],
	[ '{"v_timestamptz": 20240229}', qr/JSON number.* timestamp with time zone .*"v_timestamptz"\|[^.]*\bnumeric_time\b[^.]*\.$/ ],
	[ '{"v_bytea": {"a": 1}}', qr/JSON object.* bytea .*"v_bytea"\|$/ ],
	[ '{"v_name": [1]}', qr/JSON array.* name .*"v_name"\|$/ ],
	[ '{"v_int4range": []}', qr/JSON array.* int4range .*"v_int4range"\|$/ ],
	[ '{"v_bit": 1}', qr/JSON number.* bit .*"v_bit"\|$/ ],
	[ '{"v_bpchar": {}}', qr/JSON object.* character .*"v_bpchar"\|$/ ],
	[ '{"v_int4": true}', qr/JSON boolean.* integer .*"v_int4"\|$/ ],
	[ '{"v_bool": 1}', qr/JSON number.* boolean .*"v_bool"\|$/ ],
	[ '{"v_interval": 5}', qr/JSON number.* interval .*"v_interval"\|[^.]*\bnumeric_time\b[^.]*\.$/ ],
	[ '{"day_again": 20240229}', qr/JSON number.* day_again .*"day_again"\|[^.]*\bnumeric_time\b[^.]*\.$/ ],
	[ '{"a_date": ["2024-01-01", null, 20240229]}', qr/JSON number.* date .*"a_date"\|.*\ba_date\[3\]\.  .*\bnumeric_time\b.*$/ ],
	[ '{"a_date": [["2024-01-01"], [20240229]]}', qr/JSON number.* date .*"a_date"\|.*\ba_date\[2\]\[1\]\.  .*\bnumeric_time\b.*$/ ],
	[ '{"pair": {"d": 20240229}}', qr/JSON number.* date .*"pair"\|.*\bpair\.d\W*$/ ],
	[ '{"wides": [{"ps": []}, {"ps": [{"i": 1}, {"tags": ["a"], "d": 1}]}]}',
		qr/JSON number.* date .*"wides"\|.*\bwides\[2\]\.ps\[2\]\.d\W*$/ ]);
my @both = (
	[ '{"v_int4": "x", "v_int4": 7}', '7' ],
	[ '{"v_int4": {"a": [1]}, "v_date": 1, "v_int4": null, "v_date": "2024-01-01"}', '2024-01-01' ],
	[ '{"v_int4": 7, "v_int4": null}', '' ],
	[ '{"pair": {"i": "x", "d": 5, "d": "2024-01-01", "i": 7}}', '"(7,2024-01-01,,,)"' ],
	[ '{"pair": "(7,,,,)", "pair": {"i": 1}}', '"(1,,,,)"' ],
	[ '{"a_int4": ["x", {}], "a_int4": [1, null]}', '"{1,NULL}"' ],
	[ '{"a_json": ["12", 12, "abc", {"a":  1}, null]}', undef ],
	[ '{"a_jsonb": ["12", 12, "abc", [[1]]]}', undef ],
	[ '{"document": "12", "document_b": "abc"}', undef ],
	[ '{"document": 12, "v_jsonb": "\u00e9", "v_json": "\u00e9\n"}', undef ],
	[ '{"ints": [1, 2], "many_ints": [[3], [4, 5]]}', undef ],
	[ '{"ints": [1, 2, 3]}', undef ],
	[ '{"v_text": {"a":  [1, {"b" : "\u00e9"}]}, "v_varchar": [1,  2]}', undef ],
	[ '{"a_int4": [[1, 2], [3]]}', undef ],
	[ '{"a_int4": [[1], 2]}', undef ],
	[ '{"a_int4": [[], []]}', undef ],
	[ '{"a_int4": ' . '[' x 6 . '1' . ']' x 6 . '}', undef ],
	[ '{"a_int4": ' . '[' x 7 . '1' . ']' x 7 . '}', undef ],
	[ '{"v_json": ' . '[' x 500 . ']' x 500 . '}', undef ],
	[ '{"v_json": ' . '[' x 200_000 . ']' x 200_000 . '}', undef ],
	[ '{"other": ' . '{"a":' x 200_000 . '1' . '}' x 200_000 . '}', undef ],
	[ '{"v_t\u0065xt": "x"}', 'x' ],
	[ '{"v_text": "\ud83d\ude00", "v_name": "' . ('x' x 100) . '"}', undef ],
	(map { [ qq({"v_text": "$_"}), undef ] } '\u0000', '\ud83d', '\ude00', '\ud83d\ud83d', '\u12', '\x', "\t"),
	(map { [ qq({"$_": 1}), undef ] } '\u0000', '\ud83d', '\u00', ''),
	(map { [ qq({"v_numeric": $_, "v_float8": 1}), undef ] } '-0', '1e400', '1e-400', '9' x 400, '0.' . '1' x 400, '1e200000', '01', '1.', '.5', '+1', 'NaN'),
	(map { [ qq({"v_float8": $_}), undef ] } '-0', '1e400', '-1e400', '1e-400'),
	(map { [ qq({"m_" : null, "v_int8": $_}), undef ] } '9223372036854775808', '1.0', '1e2', '-9223372036854775808'),
	[ '{"with \"quotes\" \\\\ and \u00e9": {"i": 1}}', '"(1,,,,)"' ],
	(map { [ $_, undef ] } '', ' ', '{', '{}', '[]', '[{"v_int4": 1}]', 'null', '"x"', '12', '{} {}', '{"v_int4": 1,}', '{"v_int4" 1}', '{v_int4: 1}', "\x{feff}"));
@results = compare('typed', map { $_->[0] } @listed, @both);
foreach my $case (@listed)
{
	my $result = shift @results;

	like(ours($result), qr/^22P02\|.*$case->[1]/, "V2: $case->[0]");
	like($result->{context}, qr/^[^"]*"$1"/, 'with its column') if $case->[0] =~ /"(\w+)"/;
}
foreach my $case (@both)
{
	my $result = shift @results;
	my $name = length $case->[0] > 100 ? substr($case->[0], 0, 100) . '..' : $case->[0];

	# of what is no object we say 22P02
	is($result->{ours} // "error $result->{state}", $result->{theirs} // "error $result->{their_state}" =~ s/22023/22P02/r, "V3, V4: $name");
	is(ours($result), $case->[1], 'as one expects') if defined $case->[1];
}

# Null, and keys that are missing, for domains that refuse null.
@both = (
	'{}', '{"id": 1}', '{"id": null, "pair": {"i": 1}}', '{"id": 1, "pair": null}', '{"id": 1, "pair": {}}', '{"id": 1, "pair": {"i": null}}',
	'{"id": 1, "pair": {"i": 1}}', '{"id": 1, "pair": "(1,,,,)"}', '{"id": 1, "id": null, "pair": {"i": 1}}', '{"id": null, "id": 1, "pair": {"i": 1}}',
	'{"id": 1, "pair": {"i": 1}, "ids": [1, null]}', '{"id": 1, "pair": {"i": 1}, "ids": [1, 2]}', '{"id": 1, "pair": {"i": 1}, "ids": [{}]}');
@results = compare('strict', @both);
foreach my $i (0 .. $#both)
{
	is($results[$i]{ours} // "error $results[$i]{state}", $results[$i]{theirs} // "error $results[$i]{their_state}", "null: $both[$i]");
}
is_deeply([ map { $_->{state} // 'ok' } @results ], [ ('23502') x 4, '23514', '23514', 'ok', 'ok', '23502', 'ok', '23502', 'ok', '22P02' ],
	'null: some are refused, some not');

done_testing();
