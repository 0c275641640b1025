# 069_debezium.pl
#     Change events of Debezium as records: the envelope with and without its
#     schema, flattened rows, tombstones, and what is no change of a row; decoded
#     as jsonb and as a row type.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('debezium', kafka => $kafka, preload => 1, conf => "max_worker_processes = 60\ntimezone = 'Europe/Paris'\nrappel_conso.databases = 'postgres, latin1'\n");

# Rows of an event, as a list of a stream's columns; "row" is the row type.
$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE TYPE item AS (id int, name text, price numeric(8,2), big numeric, sold date, at timestamp(3), at6 timestamp, seen timestamptz, t time, pause interval,
	  raw bytea, flags bit(12), ok boolean, doc jsonb, tags text[], prices numeric(6,2)[], mood text);
	CREATE TABLE seen (stream text, record_offset bigint, key text, op "char", before jsonb, after jsonb, old_key jsonb, ts timestamptz, lsn pg_lsn, xid bigint,
	  unavailable text[], missing text[], extra jsonb, source jsonb, headers jsonb, PRIMARY KEY (stream, record_offset));
	EOC
my $json = JSON::PP->new->utf8->canonical->allow_nonref;

# A stream over a topic of its own, each with its messages: [key, value, headers].
sub follow
{
	my ($name, $columns, @messages) = @_;
	my %columns = (value_type => 'item', envelope => 'debezium', %$columns);
	my @names = sort keys %columns;
	my $row = $columns{value_type} eq 'jsonb' ? '' : 'to_jsonb';

	$kafka->create_topic($name);
	send_events($name, @messages);
	$node->sql(sprintf q{INSERT INTO rappel_conso.stream (name, topics, %s, statement) VALUES ('%s', '{%s}', %s, $$
		INSERT INTO seen SELECT '%s', record_offset, key, op, %s(before), %s(after), %s(old_key), ts, lsn, xid, unavailable, missing, extra, source, headers FROM records $$)},
		join(', ', map { qq("$_") } @names), $name, $name, join(', ', map { "'$columns{$_}'" } @names), $name, $row, $row, $row);
	$node->wait_applied($name, scalar @messages);
	return;
}

sub send_events
{
	my ($topic, @messages) = @_;

	return $kafka->produce_in_order($topic, map { [ text_of($_->[0]), text_of($_->[1]), $_->[2] ] } @messages);
}

# JSON, with the schema in front of what it is of, as Connect's converter has it.
sub text_of
{
	my ($value) = @_;

	return $value if !ref $value;
	return '{"schema":' . $json->encode($value->{schema}) . (exists $value->{payload} ? ',"payload":' . $json->encode($value->{payload}) : '') . '}' if ref $value eq 'HASH' && exists $value->{schema};
	return $json->encode($value);
}

# What a stream has seen, one line for each record.
sub seen
{
	my ($name, @columns) = @_;

	return $node->sql("SELECT record_offset, " . join(', ', @columns) . " FROM seen WHERE stream = '$name' ORDER BY record_offset");
}

my %source = (connector => 'postgresql', name => 'p', db => 'd', schema => 'public', table => 'item', ts_ms => 1709212455123, ts_us => 1709212455123456, txId => 771, lsn => 33168128);

sub event
{
	my ($op, %parts) = @_;

	return { op => $op, before => undef, after => undef, source => \%source, ts_ms => 1, %parts };
}

# The columns of a row that are set, as JSON.
sub without_nulls { return "jsonb_strip_nulls($_[0])"; }

# ---- without a schema ----

my %row = (
	id => 1, name => "caf\x{e9} \"x\"", price => 'EtaH', big => { scale => 3, value => 'Aw==' }, sold => 19782, at => 1709212455123, at6 => 1709212455123456,
	seen => '2024-02-29T13:14:15.123456Z', t => 47655123456, pause => 93784000000, raw => 'AP8Q', flags => 'BQE=', ok => JSON::PP::true, doc => '{"a": [1, 2.50]}',
	tags => [ 'a', undef, 'b,c' ], prices => [ 'AJY=', undef ], mood => 'happy');
my $typed_row = '{"t": "13:14:15.123456", "at": "2024-02-29T13:14:15.123", "id": 1, "ok": true, "at6": "2024-02-29T13:14:15.123456", "big": 0.003, '
  . '"doc": {"a": [1, 2.50]}, "raw": "\\\\x00ff10", "mood": "happy", "name": "café \"x\"", "seen": "2024-02-29T14:14:15.123456+01:00", '
  . '"sold": "2024-02-29", "tags": ["a", null, "b,c"], "flags": "000100000101", "pause": "26:03:04", "price": 12345.67, "prices": [1.50, null]}';
my %large = (name => '__debezium_unavailable_value', raw => 'X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==', tags => ['__debezium_unavailable_value']);
my @plain = (
	[ { id => 1 }, event('r', after => \%row) ],
	[ { id => 1 }, event('u', before => \%row, after => { %row, %large }) ],
	[ { id => 1 }, event('d', before => { map { $_ => $_ eq 'id' ? 1 : undef } keys %row }) ],
	[ { id => 1 }, undef ],
	[ undef, event('t') ],
	[ { prefix => 'note' }, { op => 'm', ts_ms => 1, source => \%source, message => { prefix => 'note', content => 'YWJj' } } ],
	[ { id => 2 }, event('c', after => { id => 2, name => 'short', new_one => 7 }), [ '__debezium.oldkey' => '{"id":1,"price":2.50,"sold":2024-02-01}' ] ],
	[ undef, undef ],
	[ { serverName => 'p' }, { ts_ms => 1709212455123 } ],
	[ { id => 't' }, { status => 'BEGIN', id => 't', event_count => undef, data_collections => undef, ts_ms => 1 } ],
	[ { databaseName => 'd' }, { source => \%source, ts_ms => 1, databaseName => 'd', ddl => 'CREATE TABLE t (id int)', tableChanges => [] } ]);
follow('plain', {}, @plain);
is($node->sql(q{SELECT after FROM seen WHERE stream = 'plain' AND record_offset = 0}), $typed_row, 'B1: each column has its value, of a type that the column tells');
is(seen('plain', 'op', 'key', without_nulls('before'), "after->>'id'", 'old_key IS NULL'), <<~'EOC' =~ s/\n\z//r =~ s/TYPED/$typed_row/r, 'B1: op, key, before and after of each event');
	0|r|{"id":1}||1|t
	1|u|{"id":1}|TYPED|1|t
	2|d|{"id":1}|{"id": 1}||t
	3|d|{"id":1}|{"id": 1}||t
	4|t||||t
	5|m|{"prefix":"note"}|||t
	6|c|{"id":2}||2|f
	EOC
is(seen('plain', "ts AT TIME ZONE 'UTC'", 'lsn', 'xid', "source->>'table'"),
	join("\n", map { "$_|" . ($_ == 3 ? '|||' : '2024-02-29 13:14:15.123456|0/1FA1B00|771|item') } 0 .. 6), 'B1: when, where and in which transaction');
is(seen('plain', 'unavailable', without_nulls('after')) =~ /^(1\|\{name,raw,tags\}\|.*)$/m && $1 !~ /"(name|raw|tags)"/ ? 1 : 0, 1, 'B1: a value that the event does not have is null, and named');
is($node->sql(q{SELECT missing, extra, jsonb_strip_nulls(old_key), jsonb_strip_nulls(after) FROM seen WHERE stream = 'plain' AND record_offset = 6}),
	'{price,big,sold,at,at6,seen,t,pause,raw,flags,ok,doc,tags,prices,mood}|{"new_one": 7}|{"id": 1, "sold": "2024-02-01", "price": 2.50}|{"id": 2, "name": "short"}',
	'B1: columns that are missing, fields without a column, and the key before it was changed');
is($node->dead_letters('plain'), '', 'B1: what is no change of a row gives no row, and no dead letter');
is($node->sql(q{SELECT applied, dead FROM rappel_conso.stream_offset WHERE stream = 'plain'}), '11|0', 'B1: it counts as applied');

follow('jsonb', { value_type => 'jsonb' }, @plain);
is(seen('jsonb', 'op', 'unavailable', 'missing', "after - '{id,big,sold,at,at6,seen,t,pause,flags,ok,doc,prices,mood}'::text[]"), <<~'EOC' =~ s/\n\z//r, 'B2: as jsonb a row has the values of the message, and no field for those that it lacks');
	0|r|||{"raw": "AP8Q", "name": "café \"x\"", "tags": ["a", null, "b,c"], "price": "EtaH"}
	1|u|{name,raw,tags}||{"price": "EtaH"}
	2|d|||
	3|d|||
	4|t|||
	5|m|||{"prefix": "note", "content": "YWJj"}
	6|c|||{"name": "short", "new_one": 7}
	EOC
is($node->sql(q{SELECT before, old_key FROM seen WHERE stream = 'jsonb' AND record_offset IN (3, 6) ORDER BY 1}), qq({"id": 1}|\n|{"id": 1, "sold": "2024-02-01", "price": 2.50}), 'B2: the keys of a tombstone and of a header');

# ---- with a schema ----

sub field
{
	my ($name, $type, $meaning, %more) = @_;
	my $parameters = delete $more{parameters};

	return { field => $name, type => $type, optional => JSON::PP::true, (defined $meaning ? (name => $meaning, version => 1) : ()), (defined $parameters ? (parameters => $parameters) : ()), %more };
}

my @fields = (
	field('id', 'int32'), field('name', 'string'),
	field('price', 'bytes', 'org.apache.kafka.connect.data.Decimal', parameters => { scale => '4' }),
	field('big', 'struct', 'io.debezium.data.VariableScaleDecimal', fields => [ field('scale', 'int32'), field('value', 'bytes') ]),
	field('sold', 'int32', 'io.debezium.time.Date'), field('at', 'int64', 'io.debezium.time.NanoTimestamp'), field('at6', 'int64', 'io.debezium.time.Timestamp'),
	field('seen', 'string', 'io.debezium.time.ZonedTimestamp'), field('t', 'int32', 'io.debezium.time.Time'), field('pause', 'int64', 'io.debezium.time.MicroTime'),
	field('raw', 'bytes'), field('flags', 'bytes', 'io.debezium.data.Bits', parameters => { length => '12' }), field('ok', 'int16'),
	field('doc', 'string', 'io.debezium.data.Json'), field('tags', 'string', 'io.debezium.data.EnumSet', parameters => { allowed => 'a,b,c' }),
	field('prices', 'array', undef, items => { type => 'bytes', optional => JSON::PP::true, name => 'org.apache.kafka.connect.data.Decimal', parameters => { scale => '2' } }),
	field('mood', 'string', 'io.debezium.data.Enum', parameters => { allowed => 'sad,happy' }));

sub with_schema
{
	my ($event, @of) = @_;
	my @row = map { field($_, 'struct', 'p.public.item.Value', fields => \@of) } qw(before after);

	return { schema => { type => 'struct', optional => JSON::PP::false, name => 'p.public.item.Envelope', fields => [ @row, field('source', 'struct', undef, fields => []), field('op', 'string'), field('ts_ms', 'int64') ] }, payload => $event };
}
sub key_with_schema { return { schema => { type => 'struct', optional => JSON::PP::false, name => 'p.public.item.Key', fields => [ field('id', 'int32'), field('price', 'bytes', 'org.apache.kafka.connect.data.Decimal', parameters => { scale => '4' }) ] }, payload => $_[0] }; }

my %of_schema = (
	%row, price => 'B1vNFQ==', at => '1709212455123456789', at6 => 1709212455123, t => 47655123, pause => 363600000000, ok => 1, tags => 'a,c');
$of_schema{at} += 0;
my @schema = map { [ key_with_schema($_->[0]), defined $_->[1] ? with_schema($_->[1], @fields) : undef ] } (
	[ { id => 1, price => 'TiA=' }, event('c', after => \%of_schema) ],
	[ { id => 1, price => 'TiA=' }, event('u', after => { %of_schema, %large, tags => 'b' }) ],
	[ { id => 1, price => 'TiA=' }, undef ]);
follow($_ eq 'item' ? 'schema' : 'schema_jsonb', { value_type => $_ }, @schema, [ key_with_schema({ id => 2, price => 'TiA=' }), { schema => undef, payload => undef } ]) foreach 'item', 'jsonb';
is($node->sql(q{SELECT key, after FROM seen WHERE stream = 'schema' AND record_offset = 0}),
	'{"id":1,"price":"TiA="}|{"t": "13:14:15.123", "at": "2024-02-29T13:14:15.123", "id": 1, "ok": true, "at6": "2024-02-29T13:14:15.123", "big": 0.003, "doc": {"a": [1, 2.50]}, "raw": "\\\\x00ff10", '
	  . '"mood": "happy", "name": "café \"x\"", "seen": "2024-02-29T14:14:15.123456+01:00", "sold": "2024-02-29", "tags": ["a", "c"], "flags": "000100000101", "pause": "101:00:00", "price": 12345.68, "prices": [1.50, null]}',
	'B3: with a schema its types decide, and not those of the columns');
is($node->sql(q{SELECT after FROM seen WHERE stream = 'schema_jsonb' AND record_offset = 0}),
	'{"t": "13:14:15.123", "at": "2024-02-29T13:14:15.123456789", "id": 1, "ok": 1, "at6": "2024-02-29T13:14:15.123", "big": 0.003, "doc": {"a": [1, 2.50]}, "raw": "\\\\x00ff10", '
	  . '"mood": "happy", "name": "café \"x\"", "seen": "2024-02-29T13:14:15.123456Z", "sold": "2024-02-29", "tags": "a,c", "flags": "000100000101", "pause": "101:00:00", "price": 12345.6789, "prices": [1.50, null]}',
	'B3: as jsonb, too');
is(seen('schema', 'op', 'unavailable', without_nulls('before')), qq(0|c||\n1|u|{name,raw}|\n2|d||{"id": 1, "price": 2.00}\n3|d||{"id": 2, "price": 2.00}), 'B3: tombstones, one of an old converter');
is($node->dead_letters($_), '', "B3: $_ has no dead letter") foreach 'schema', 'schema_jsonb';

# ---- flattened ----

my %flat = (id => 1, name => 'f', price => 'APo=', __op => 'c', __table => 'item', __lsn => 33168128, __source_ts_ms => 1709212455123);
follow('flat', {},
	[ { id => 1 }, \%flat ],
	[ { id => 1 }, { %flat, __op => 'u', __deleted => 'false', name => '__debezium_unavailable_value' } ],
	[ { id => 1 }, { %flat, __op => 'd', __deleted => 'true', name => undef } ],
	[ { id => 1 }, undef ],
	[ { id => 2 }, { id => 2, name => 'g', __deleted => 'false', __ts_ms => 1709212455123 } ],
	[ { id => 3 }, { id => 3, name => 'h' }, [ __op => 'r' ] ],
	[ { id => 4 }, { schema => { type => 'struct', fields => [ field('id', 'int32'), field('sold', 'int32', 'io.debezium.time.Date'), field('__op', 'string') ] }, payload => { id => 4, sold => 1, __op => 'c' } } ],
	[ { id => 5 }, { id => 5, name => 'op of a column', op => 'x', __op => 'u' } ]);
is(seen('flat', 'op', without_nulls('before'), without_nulls('after'), 'unavailable', 'extra', 'lsn', "ts AT TIME ZONE 'UTC'", 'source'), <<~'EOC' =~ s/\n\z//r, 'B4: flattened rows');
	0|c||{"id": 1, "name": "f", "price": 2.50}|||0/1FA1B00|2024-02-29 13:14:15.123|{"__op": "c", "__lsn": 33168128, "__table": "item", "__source_ts_ms": 1709212455123}
	1|u||{"id": 1, "price": 2.50}|{name}||0/1FA1B00|2024-02-29 13:14:15.123|{"__op": "u", "__lsn": 33168128, "__table": "item", "__deleted": "false", "__source_ts_ms": 1709212455123}
	2|d|{"id": 1, "price": 2.50}||||0/1FA1B00|2024-02-29 13:14:15.123|{"__op": "d", "__lsn": 33168128, "__table": "item", "__deleted": "true", "__source_ts_ms": 1709212455123}
	3|d|{"id": 1}||||||
	4|u||{"id": 2, "name": "g"}||||2024-02-29 13:14:15.123|{"__ts_ms": 1709212455123, "__deleted": "false"}
	5|r||{"id": 3, "name": "h"}|||||
	6|c||{"id": 4, "sold": "1970-01-02"}|||||{"__op": "c"}
	7|u||{"id": 5, "name": "op of a column"}||{"op": "x"}|||{"__op": "u"}
	EOC
is($node->dead_letters('flat'), '', 'B4: no dead letter');

# ---- MySQL ----

$node->sql('CREATE TYPE mysql_item AS (id int, small boolean, big numeric(20,0), y int, t time(0), long_t interval, kinds text[], kind text, doc json, made timestamp(0), seen timestamptz)');
my %mysql = (connector => 'mysql', name => 'm', db => 'shop', table => 'item', ts_ms => 1709212455000, server_id => 223344, file => 'mysql-bin.000003', pos => 484, gtid => undef, row => 0, thread => 7, query => undef);
follow('m.shop.item', { value_type => 'mysql_item', decimal => 'precise' },
	[ { id => 1 }, { op => 'c', source => \%mysql, before => undef, ts_ms => 1, after => { id => 1, small => 1, big => 'AP//////////', y => 2024, t => 47655000000, long_t => -3020399000000, kinds => 'a,b', kind => 'x',
				doc => '{"k": 1}', made => 1709212455000, seen => '2024-02-29T13:14:15Z' } } ]);
is(seen('m.shop.item', 'op', 'lsn', 'xid', "source->>'file'", "source->>'pos'", "ts AT TIME ZONE 'UTC'", 'after'),
	'0|c|||mysql-bin.000003|484|2024-02-29 13:14:15|{"t": "13:14:15", "y": 2024, "id": 1, "big": 18446744073709551615, "doc": {"k": 1}, "kind": "x", "made": "2024-02-29T13:14:15", "seen": "2024-02-29T14:14:15+01:00", "kinds": ["a", "b"], "small": true, "long_t": "-838:59:59"}',
	'B5: what MySQL writes in another way');

# ---- bad input ----

sub errors { return $node->dead_letters($_[0], q{record_offset, sqlstate, message, coalesce(detail, '')}); }

my @bad = (
	[ { id => 1 }, { schema => { type => 'struct', fields => [] } } ],
	[ { id => 1 }, event('x', after => { id => 1 }) ],
	[ { id => 1 }, { id => 1, name => 'no event' } ],
	[ { id => 1 }, '[1]' ],
	[ { id => 1 }, '{"op": "c", "after": {"id": 1}' ],
	[ { id => 1 }, event('c', after => { id => 1, price => 'not base64!' }) ],
	[ { id => 1 }, event('c', after => { id => 1, price => '1234' }) ],
	[ { id => 1 }, event('c', after => { id => 1, big => { scale => 20000, value => 'AQ==' } }) ],
	[ { id => 1 }, event('c', after => { id => 1, raw => 'deadbeef' }) ],
	[ { id => 1 }, event('c', after => { id => 1, sold => 1.5 }) ],
	[ { id => 1 }, with_schema(event('c', after => { id => 'one' }), @fields) ],
	[ { id => 1 }, with_schema(event('c', after => { id => 1, name => 'x' }), $fields[0]) ],
	[ { id => 1 }, with_schema(event('c', after => { id => 1 }), field('id', 'int99')) ],
	[ { id => 1 }, with_schema(event('c', after => { id => 1 }), field('id', 'bytes', 'org.apache.kafka.connect.data.Decimal', parameters => { scale => '99999' })) ],
	[ { id => 1 }, event('u') ],
	[ 'text', undef ],
	[ { id => 1 }, event('c', after => [1]) ],
	[ { id => 1 }, event('c', after => { id => 1 }), [ '__debezium.oldkey' => 'Struct{id=1}' ] ],
	[ { id => 1 }, { op => 'c', after => { id => 1, doc => 1 }, source => 7 } ],
	[ { id => 1 }, '{}' ]);
follow('bad', {}, @bad);
is(errors('bad'), <<~'EOC' =~ s/\n\z//r, 'B6: each has its error');
	0|22P02|the record's value is not a change event of Debezium|It has a schema, but no payload.
	1|22P02|the record's value is not a change event of Debezium|It has an unknown operation in op.
	2|22P02|the record's value is not a change event of Debezium|It has neither the field op of an event nor the fields __op or __deleted of a flattened one.
	3|22P02|the record's value is not a change event of Debezium|It is not a JSON object.
	4|22P02|invalid input syntax for type json|The input string ended unexpectedly.
	5|22P02|cannot convert the value of column "price" to type numeric|It is neither a number nor the base64 of one.  The stream's column decimal says how decimals are written.
	6|22P02|cannot convert the value of column "price" to type numeric|It could be a number, and the base64 of another.  The stream's column decimal says how decimals are written.
	7|22P02|cannot convert the value of column "big" to type numeric|It has a scale that numeric does not take.  The stream's column decimal says how decimals are written.
	8|22P02|it is not known how the bytes of column "raw" are written|The text "deadbeef" could be base64 and hexadecimal digits.
	9|22P02|cannot convert the value of column "sold" to type date|It is neither a whole number of 64 bits nor a string.
	10|22P02|the schema of the record contradicts its value in column "id"|The schema says that it is an integer.
	11|22P02|the schema of the record contradicts its value in column "name"|The schema has no such field.
	12|22P02|the schema of the record cannot be used|It has a type that is none of Kafka Connect.
	13|22P02|the schema of the record cannot be used|It has a decimal whose scale is none of type numeric.
	14|22P02|the record's value is not a change event of Debezium|It has no row in the field after.
	15|22P02|the record is a tombstone whose key is not a JSON object|The key is text.
	16|22P02|the record's value is not a change event of Debezium|Its fields before and after are not JSON objects.
	17|22P02|header "__debezium.oldkey" of the record is not a key|It is Struct{id=1}.
	19|22P02|the record's value is not a change event of Debezium|It has neither the field op of an event nor the fields __op or __deleted of a flattened one.
	EOC
is(seen('bad', 'op', without_nulls('after'), 'source'), '18|c|{"id": 1, "doc": 1}|7', 'B6: one is not bad');
follow('bad_jsonb', { value_type => 'jsonb' }, @bad);
is(errors('bad_jsonb'), <<~'EOC' =~ s/\n\z//r, 'B6: as jsonb, too');
	0|22P02|the record's value is not a change event of Debezium|It has a schema, but no payload.
	1|22P02|the record's value is not a change event of Debezium|It has an unknown operation in op.
	2|22P02|the record's value is not a change event of Debezium|It has neither the field op of an event nor the fields __op or __deleted of a flattened one.
	3|22P02|the record's value is not a change event of Debezium|It is not a JSON object.
	4|22P02|invalid input syntax for type json|The input string ended unexpectedly.
	10|22P02|cannot convert field "id" of the record|It is not an integer, as the schema says.
	11|22P02|cannot convert field "name" of the record|It is not in the schema.
	12|22P02|the schema of the record cannot be used|It has a type that is none of Kafka Connect.
	13|22P02|the schema of the record cannot be used|It has a decimal whose scale is none of type numeric.
	14|22P02|the record's value is not a change event of Debezium|It has no row in the field after.
	15|22P02|the record is a tombstone whose key is not a JSON object|The key is text.
	16|22P02|the record's value is not a change event of Debezium|Its fields before and after are not JSON objects.
	17|22P02|header "__debezium.oldkey" of the record is not a key|It is Struct{id=1}.
	19|22P02|the record's value is not a change event of Debezium|It has neither the field op of an event nor the fields __op or __deleted of a flattened one.
	EOC

# ---- times at the end of what there is ----

my @ts = map { event('c', after => { id => 1 }, source => { %source, ts_ms => undef, ts_us => undef, %$_ }) }
  { ts_us => -9223372036854775807 }, { ts_us => -9222425352054775809 }, { ts_us => 9223372036854775807 }, { ts_us => -62135596800000000 }, { ts_ms => -9223372036854775807 }, { ts_ms => 9223372036854775 };
follow('ts', {}, (map { [ { id => 1 }, $_ ] } @ts), map { [ { id => 1 }, { id => 1, __op => 'c', __ts_ms => $_ } ] } -9223372036854775807, -18446744073709552, 9223372036854775);
is(seen('ts', q{to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD AD')}), <<~'EOC' =~ s/\n\z//r, 'B1: a time that is none of timestamptz is null, and no other one');
	0|
	1|
	2|294247-01-10 AD
	3|0001-01-01 AD
	4|
	5|294247-01-10 AD
	6|
	7|
	8|294247-01-10 AD
	EOC

# ---- what only resembles a record without a row ----

my @alike = ({ id => 't', status => 'paid' }, { id => 't', status => 'BEGIN' }, { id => 7, status => 'END', ts_ms => 1 }, { id => 't', status => 'END', ts_ms => 1, total => 5 },
	{ id => 't', status => undef, event_count => 1 }, { ddl => 'x' }, { ddl => 'x', databaseName => 'd' }, { ddl => 'x', source => \%source }, { ts_ms => 1, id => 't' }, { ts_ms => 1, name => 'x' });
follow('alike', {}, (map { [ { id => 1 }, $_ ] } @alike),
	(map { [ { id => 1 }, with_schema($_) ] } { id => 't', status => 'END', event_count => 2, data_collections => [ { data_collection => 'a', event_count => 2 } ], ts_ms => 1 }, { ts_ms => 1 }),
	[ undef, { source => \%source, ts_ms => 1, ts_us => 1, ts_ns => 1, databaseName => 'd', schemaName => 's', ddl => 'DROP TABLE t', tableChanges => [] } ]);
is($node->dead_letters('alike', q{record_offset, sqlstate, message}), join("\n", map { "$_|22P02|the record's value is not a change event of Debezium" } 0 .. $#alike),
	'B6: a record with some of the fields of a border of a transaction or a change of tables is a dead letter');

# ---- keys that are no objects ----

my @keys = (
	[ 'null', undef ], [ ' null ', undef ], [ '{"schema":null,"payload":null}', undef ], [ 'null', { schema => undef, payload => undef } ], [ '7', undef ], [ 'nul', undef ],
	map { [ $_, event('c', after => { id => 1 }) ] } 'null', '{"payload":null,"schema":null}', '{"payload":', '{"schema":{}}x', '{"schema":{},"payload":{"id":1}}', "{\"schema\":null,\"payload\":7}");
follow('keys', {}, @keys);
is(seen('keys', 'op', 'key', "key IS NULL"), <<~'EOC' =~ s/\n\z//r, 'B6: a null key is none, and a text that is no key with a schema stays as it is');
	6|c|null|f
	7|c||t
	8|c|{"payload":|f
	9|c|{"schema":{}}x|f
	10|c|{"id":1}|f
	11|c|7|f
	EOC
is(errors('keys'), <<~'EOC' =~ s/\n\z//r, 'B6: tombstones with such keys');
	4|22P02|the record is a tombstone whose key is not a JSON object|The key is 7.
	5|22P02|the record is a tombstone whose key is not a JSON object|The key is nul.
	EOC

# ---- numbers as times, and decimals, without events ----

my @times = map { [ 'k', $_ ] } (
	'{"sold": 19782, "at": 1709212455, "seen": 1709212455, "t": 47655, "pause": 90, "price": "EtaH"}', '{"at": "2024-02-29 13:14:15.1", "price": "1.50"}', '{"sold": 19782.5}', '{"at": 1709212455123, "t": 86400}', '{"price": "1234", "at": 1e3}');
foreach my $mode ('error', 's', 'ms', 'us', 'ns', 'adaptive')
{
	my $decimal = { error => 'string', s => 'auto', ms => 'precise' }->{$mode};

	$kafka->create_topic("t_$mode");
	send_events("t_$mode", @times);
	$node->sql(sprintf q{INSERT INTO rappel_conso.stream (name, topics, value_type, numeric_time, "decimal", statement) VALUES ('t_%s', '{t_%s}', 'item', '%s', %s, $$
		INSERT INTO seen (stream, record_offset, after) SELECT 't_%s', record_offset, jsonb_strip_nulls(jsonb_build_object('sold', sold, 'at', at, 'seen', seen AT TIME ZONE 'UTC', 't', t, 'pause', pause, 'price', price)) FROM records $$)},
		$mode, $mode, $mode, (defined $decimal ? "'$decimal'" : 'NULL'), $mode);
	$node->wait_applied("t_$mode", scalar @times);
}
is($node->sql(q{SELECT stream, record_offset, after FROM seen WHERE stream ~ '^t_' ORDER BY 1, 2}), <<~'EOC' =~ s/\n\z//r, 'V2: numbers are times where the stream says so');
	t_adaptive|1|{"at": "2024-02-29T13:14:15.1", "price": 1.50}
	t_adaptive|3|{"t": "00:00:00.0864", "at": "2024-02-29T13:14:15.123"}
	t_error|1|{"at": "2024-02-29T13:14:15.1", "price": 1.50}
	t_ms|0|{"t": "00:00:47.655", "at": "1970-01-20T18:46:52.455", "seen": "1970-01-20T18:46:52.455", "sold": "2024-02-29", "pause": "00:00:00.09", "price": 12345.67}
	t_ms|3|{"t": "00:01:26.4", "at": "2024-02-29T13:14:15.123"}
	t_ns|1|{"at": "2024-02-29T13:14:15.1", "price": 1.50}
	t_ns|3|{"t": "00:00:00.000086", "at": "1970-01-01T00:28:29.212"}
	t_s|0|{"t": "13:14:15", "at": "2024-02-29T13:14:15", "seen": "2024-02-29T13:14:15", "sold": "2024-02-29", "pause": "00:01:30", "price": 12345.67}
	t_s|1|{"at": "2024-02-29T13:14:15.1", "price": 1.50}
	t_s|3|{"t": "24:00:00", "at": "56132-10-14T13:32:03"}
	t_us|1|{"at": "2024-02-29T13:14:15.1", "price": 1.50}
	t_us|3|{"t": "00:00:00.0864", "at": "1970-01-20T18:46:52.455"}
	EOC
is(join("\n", map { errors("t_$_") } 'error', 's', 'ms', 'us', 'ns', 'adaptive'), <<~'EOC' =~ s/\n\z//r, 'V2: and refused where it does not, or they are none');
	0|22P02|invalid input syntax for type numeric: "EtaH"|
	2|22P02|cannot convert JSON number to type date of column "sold"|The stream's column numeric_time can say what a number is there.
	3|22P02|cannot convert JSON number to type timestamp without time zone of column "at"|The stream's column numeric_time can say what a number is there.
	4|22P02|cannot convert JSON number to type timestamp without time zone of column "at"|The stream's column numeric_time can say what a number is there.
	2|22P02|cannot convert the value of column "sold" to type date|It is neither a whole number of 64 bits nor a string.
	4|22P02|cannot convert the value of column "price" to type numeric|It could be a number, and the base64 of another.  The stream's column decimal says how decimals are written.
	1|22P02|cannot convert the value of column "price" to type numeric|It is not base64.  The stream's column decimal says how decimals are written.
	2|22P02|cannot convert the value of column "sold" to type date|It is neither a whole number of 64 bits nor a string.
	4|22P02|cannot convert the value of column "at" to type timestamp without time zone|It is neither a whole number of 64 bits nor a string.
	0|22P02|invalid input syntax for type numeric: "EtaH"|
	2|22P02|cannot convert the value of column "sold" to type date|It is neither a whole number of 64 bits nor a string.
	4|22P02|cannot convert the value of column "at" to type timestamp without time zone|It is neither a whole number of 64 bits nor a string.
	0|22P02|invalid input syntax for type numeric: "EtaH"|
	2|22P02|cannot convert the value of column "sold" to type date|It is neither a whole number of 64 bits nor a string.
	4|22P02|cannot convert the value of column "at" to type timestamp without time zone|It is neither a whole number of 64 bits nor a string.
	0|22P02|invalid input syntax for type numeric: "EtaH"|
	2|22P02|cannot convert the value of column "sold" to type date|It is neither a whole number of 64 bits nor a string.
	4|22P02|cannot convert the value of column "at" to type timestamp without time zone|It is neither a whole number of 64 bits nor a string.
	EOC

# ---- a database in another encoding ----

$node->sql(q{CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
$node->sql(q{
	SET client_encoding = 'UTF8';
	CREATE EXTENSION rappel_conso;
	UPDATE rappel_conso.stream SET paused = true;
	CREATE TYPE place AS (id int, "köln" text, price numeric(8,2), tags text[]);
	CREATE TABLE places (id bigint, after jsonb, unavailable text[], extra jsonb);
	INSERT INTO rappel_conso.stream (name, topics, value_type, envelope, statement) VALUES ('places', '{places}', 'place', 'debezium',
	  'INSERT INTO places SELECT record_offset, to_jsonb(after), unavailable, extra FROM records WHERE old_key IS NULL');
	INSERT INTO rappel_conso.stream (name, topics, envelope, statement) VALUES ('places_jsonb', '{places}', 'debezium',
	  'INSERT INTO places SELECT record_offset + 10, after, unavailable, extra FROM records WHERE old_key IS NULL');}, dbname => 'latin1');
$kafka->create_topic('places');
my @broken = ([ $json->encode("caf\x{e9}"), undef ], [ $json->encode(("\x{e9}" x 120)), undef ], [ { id => 1 }, event('c', after => { id => 1 }), [ '__debezium.oldkey' => "\x{c3}\x{bc}\x{e2}\x{82}\x{ac}" ] ],
	[ { id => 1 }, event('c', after => { id => 1 }), [ '__debezium.oldkey' => "\x{c3}\x{bc}" . ("\x{c3}\x{a9}" x 120) ] ]);
my %place = (id => 1, "k\x{f6}ln" => "caf\x{e9}", price => 'APo=', tags => "\x{e9},b");
send_events('places',
	[ { id => 1 }, event('c', after => { %place, "extr\x{e4}" => "\x{fc}" }) ],
	[ { id => 1 }, event('u', after => { %place, "k\x{f6}ln" => '__debezium_unavailable_value' }) ],
	[ { id => 1 }, with_schema(event('c', after => \%place), field('id', 'int32'), field("k\x{f6}ln", 'string'), field('price', 'bytes', 'org.apache.kafka.connect.data.Decimal', parameters => { scale => '2' }), field('tags', 'string', 'io.debezium.data.EnumSet')) ],
	[ { id => 1 }, event('c', after => { %place, "k\x{f6}ln" => "\x{20ac}" }) ],
	@broken);
$node->wait_for("the streams have applied all", 'SELECT count(*) = 2 AND min(applied) = 8 FROM rappel_conso.stream_offset', dbname => 'latin1');
is($node->sql(q{SET client_encoding = 'UTF8'; SELECT * FROM places ORDER BY id}, dbname => 'latin1'), <<~'EOC' =~ s/\n\z//r, 'B7: names and values in another encoding');
	0|{"id": 1, "köln": "café", "tags": ["é", "b"], "price": 2.50}||{"exträ": "ü"}
	1|{"id": 1, "köln": null, "tags": ["é", "b"], "price": 2.50}|{köln}|
	2|{"id": 1, "köln": "café", "tags": ["é", "b"], "price": 2.50}||
	10|{"id": 1, "köln": "café", "tags": "é,b", "exträ": "ü", "price": "APo="}||
	11|{"id": 1, "tags": "é,b", "price": "APo="}|{köln}|
	12|{"id": 1, "köln": "café", "tags": "é,b", "price": 2.50}||
	EOC

my $cut = "\x{c3}\x{a9}";
is($node->sql(q{SET client_encoding = 'UTF8'; SELECT record_offset, detail FROM rappel_conso.dead_letter WHERE name = 'places' AND record_offset > 3 ORDER BY 1}, dbname => 'latin1'),
	join("\n", qq(4|The key is "caf$cut".), qq(5|The key is ") . ($cut x 99) . '....', "6|It is \x{c3}\x{bc}....", "7|It is \x{c3}\x{bc}" . ($cut x 99) . '....'), 'B7: an error shows whole characters, of the encoding of the server');
follow('shown', {}, @broken);
is($node->dead_letters('shown', q{record_offset, detail}), join("\n", qq(0|The key is "caf$cut".), qq(1|The key is ") . ($cut x 99) . '....', "2|It is \x{c3}\x{bc}\x{e2}\x{82}\x{ac}.", "3|It is \x{c3}\x{bc}" . ($cut x 99) . '....'), 'B7: so in UTF-8');

# ---- columns that a statement reads ----

# From the second batch on, only these are made, until its meaning changes.
$node->sql(q{
	CREATE TABLE narrow (source text, id int);
	CREATE TABLE counted (n bigint, source jsonb, at timestamptz DEFAULT clock_timestamp());});
$kafka->create_topic('narrow');
send_events('narrow', [ { id => 1 }, event('c', after => { id => 1 }) ]);
$node->sql(q{INSERT INTO rappel_conso.stream (name, topics, value_type, envelope, statement) VALUES ('narrow', '{narrow}', 'item', 'debezium', $$
	INSERT INTO counted (n, source) SELECT (after).id, to_jsonb((SELECT source FROM narrow WHERE narrow.id = (after).id)) FROM records $$)});
$node->wait_applied('narrow', 1);
send_events('narrow', [ { id => 2 }, event('c', after => { id => 2 }) ], [ { id => 2 }, event('d', before => { id => 2, price => 'bad' }, after => undef) ]);
$node->wait_applied('narrow', 3);
$node->sql(q{INSERT INTO narrow VALUES ('x', 3); ALTER TABLE narrow DROP COLUMN source});
send_events('narrow', [ { id => 3 }, event('c', after => { id => 3 }) ]);
$node->wait_applied('narrow', 4);
is($node->sql(q{SELECT n, source->>'table' FROM counted ORDER BY at, n}), "1|\n2|\n|\n3|item", 'B8: what a name means is seen when a table has lost a column');

done_testing();
