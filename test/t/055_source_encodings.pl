# 055_source_encodings.pl
#     What a source asks the API for, and what it gets, where the encoding of
#     the database is not UTF8 (V16): filter, fields, keys, cursor and the words
#     of errors.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use Encode qw(decode);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', extension => 0);

# A database of an encoding: its name, that of Perl, and a word it can hold.
my %databases = (
	utf8 => [ 'UTF8', 'été €' ],
	latin1 => [ 'LATIN1', 'été à' ],
	win1252 => [ 'WIN1252', 'été €' ],
	koi8r => [ 'KOI8R', 'мир' ],
	euc_jp => [ 'EUC_JP', '日本 あ' ],
	sql_ascii => [ 'SQL_ASCII', 'été €' ]);

# A record's texts, which are bytes here, as the stand-in is to have them.
sub decoded
{
	my ($record) = @_;

	return { map { decode('UTF-8', $_) => decode('UTF-8', $record->{$_}) } keys %$record };
}

# As a client that writes UTF-8; SQL_ASCII takes the bytes as they are.
sub outcome_in
{
	my ($database, $sql) = @_;
	my ($code, $out, $err) = $node->psql($database,
		($database eq 'sql_ascii' ? '' : "SET client_encoding = 'UTF8';\n") . "\\set VERBOSITY verbose\n$sql");
	my $error = $err =~ /ERROR:/ ? join('; ', $err =~ /(?:ERROR|DETAIL|HINT):  (.*)$/mg) : '';

	return $error ne '' ? $error : $out;
}

foreach my $database (sort keys %databases)
{
	my ($encoding, $word) = @{ $databases{$database} };
	my $field = "nom " . (split(/ /, $word))[0];
	my @records = map { { $field => $word, 'ordre' => $_, "rang $field" => "$word $_" } } 1 .. 3;
	my $lacks = { latin1 => '€', koi8r => 'é', euc_jp => '€' }->{$database};    # in a value
	my $key_field = "rang $field";

	$node->sql("CREATE DATABASE $database ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql($database, 'CREATE EXTENSION rappel_conso; CREATE TABLE got (key text, value jsonb, word text)');
	push @records, { $field => 'other', $key_field => 'other', ordre => 4 }, { $field => $word, ordre => 5 };
	$api->control(replace => { dataset => "d_$database", records => [ map { decoded($_) } @records ] });

	# the name of a consumer group is UTF-8 in Kafka, and is not converted
	like(outcome_in($database, "INSERT INTO rappel_conso.stream (name, topics, statement, group_id) VALUES ('g', '{t}', 'SELECT key FROM records', '$word')"),
		$encoding eq 'UTF8' ? qr/^$/ : qr/^0A000: group_id .*ASCII.*\Q$encoding\E/, "$encoding: a consumer group that is not ASCII");

	# all that can be asked for is the same in the API
	is(outcome_in($database, qq{
		INSERT INTO rappel_conso.stream (name, topics, statement)
		VALUES ('s', '{s}', 'INSERT INTO public.got SELECT key, NULL, value->>''$field'' FROM records');
		INSERT INTO rappel_conso.source (name, url, dataset, filter, key_field, cursor_field, stream, retries)
		VALUES ('s', '${\$api->url}', 'd_$database', '`$field` = ''$word''', '$key_field', 'ordre', 's', 0)}), '', "V16: $encoding: a source");
	$api->clear_log;
	is(outcome_in($database, q{SET client_min_messages = error; SELECT state, fetched, dead FROM rc_sync_now('s')}), 'success|4|1', "V16: $encoding: the filter selects, and the key is found");
	is(outcome_in($database, 'SELECT key FROM got ORDER BY 1'), join("\n", map { "$word $_" } 1 .. 3), "V16: $encoding: the keys are");
	is(outcome_in($database, 'SELECT DISTINCT word FROM got'), $word, "V16: $encoding: so is a value");
	is(outcome_in($database, q{SELECT substring(message FROM '"(.*)"') FROM rappel_conso.dead_letter WHERE origin = 'source'}), $key_field,
		"V16: $encoding: a message names the field as it is");
	is(outcome_in($database, q{SELECT state, fetched, inserted FROM rc_sync_now('s', true)}), 'success|4|3', "V16: $encoding: read again");

	# a cursor that is a text, and one that the encoding lacks
	is(outcome_in($database, qq{UPDATE rappel_conso.source SET cursor_field = '$key_field', filter = NULL WHERE name = 's';
		SELECT state FROM rc_sync_now('s')}), 'success', "V16: $encoding: a cursor of words");
	my $cursor = outcome_in($database, q{SELECT cursor_value FROM rappel_conso.source_state WHERE source = 's'});
	ok((grep { $_ eq $cursor } 'other', map { "$word $_" } 1 .. 3), "V16: $encoding: is stored as it is ($cursor)");
	is(outcome_in($database, q{SELECT state FROM rc_sync_now('s')}), 'success', "V16: $encoding: and asked for");

	# what has no such field says which
	like(outcome_in($database, qq{UPDATE rappel_conso.source SET cursor_field = '$word' WHERE name = 's'; SELECT rc_sync_now('s')}),
		qr/^42703: (?=.*"d_$database").*"\Q$word\E"/, "V16: $encoding: an unknown field has its name");

	# the API's own words, which come outside of any transaction
	my $snowman = $database =~ /utf8|sql_ascii/ ? '☃' : '?';
	my %answers = (
		qq({"error_code": "x", "message": "$word inconnu ☃"}) => qr/^22023: .*: \Q$word inconnu $snowman\E;/,
		"<p>$word\ninconnu ☃</p>" => qr/^22023: .*: \Q$word inconnu $snowman\E;/);
	foreach my $body (sort keys %answers)
	{
		$api->fault('status', on => 'meta', status => 400, body => decode('UTF-8', $body),
			content_type => $body =~ /^{/ ? 'application/json' : 'text/html');
		like(outcome_in($database, q{UPDATE rappel_conso.source SET cursor_field = 'ordre' WHERE name = 's'; SELECT rc_sync_now('s')}),
			$answers{$body}, "V16: $encoding: the API's words are told in it");
		like(outcome_in($database, q{SELECT '22023: ' || error || ';' FROM rappel_conso.run ORDER BY id DESC LIMIT 1}),
			$answers{$body}, "V16: $encoding: and stored");
	}
	next unless $lacks;
	$api->control(replace => { dataset => "d_$database", records => [ map { decoded({ k => "$lacks$_", ordre => $_ }) } 1 .. 2 ] });
	is(outcome_in($database, q{UPDATE rappel_conso.source SET cursor_field = 'k', key_field = 'ordre', filter = NULL WHERE name = 's';
		SELECT state, fetched FROM rc_sync_now('s')}), 'success|2', "V16: $encoding: a cursor that it lacks");
	is(outcome_in($database, q{SELECT cursor_value FROM rappel_conso.source_state WHERE source = 's'}), '', "V16: $encoding: is not stored");
	is(outcome_in($database, q{SELECT count(*) FROM rappel_conso.dead_letter WHERE origin = 'stream' AND resolved_at IS NULL}), '2', "V16: $encoding: such values are dead letters");
}

# Bytes that are no UTF-8, in SQL_ASCII; and what WIN1252 has no character for
foreach my $column ('filter', 'key_field', 'cursor_field')
{
	my ($code, $out, $err) = $node->psql('sql_ascii', "\\set VERBOSITY verbose\nINSERT INTO rappel_conso.source (name, dataset, $column) VALUES ('bad', 'd', 'caf\xe9')");
	like(join('; ', $err =~ /(?:ERROR|DETAIL|HINT):  (.*)$/mg), qr/^22021: (?=.*\b$column\b).*"bad".*UTF-8; .*SQL_ASCII/,
		"V16: SQL_ASCII: $column that is no UTF-8 is refused");
}
like(outcome_in('win1252', q{INSERT INTO rappel_conso.source (name, dataset, filter) VALUES ('bad', 'd', convert_from('\x81', 'WIN1252'))}),
	qr/^22021: (?=.*\bfilter\b).*"bad".*UTF-8; .*WIN1252/,
	'V16: WIN1252: what is no character is refused');
# one that was restored without a check says the same when it runs
$node->safe_psql('sql_ascii', "ALTER TABLE rappel_conso.source DISABLE TRIGGER source_address; UPDATE rappel_conso.source SET filter = 'a = ''caf\xe9''' WHERE name = 's'");
my ($code, $out, $err) = $node->psql('sql_ascii', q{SELECT rc_sync_now('s')});
like($err, qr/ERROR:  (?=.*\bfilter\b).*"s".*UTF-8/, 'V16: SQL_ASCII: nor is one asked for');

# Messages to Kafka: UTF-8, whatever the database's encoding is
foreach my $database (sort keys %databases)
{
	my $word = $databases{$database}[1];

	outcome_in($database, qq{SELECT rc_publish('t', '$word'::text, '$word', '{"$word": "$word"}'); SELECT rc_publish('t', '{"a": "$word"}'::jsonb, '$word')});
	is(outcome_in($database, q{SELECT encode(key, 'hex'), encode(value, 'hex') FROM rappel_conso.outbox ORDER BY id}),
		join("\n", map { unpack('H*', $word) . '|' . unpack('H*', $_) } $word, qq({"a": "$word"})),
		"V16: $database: messages are UTF-8");
}

# A list of brokers that the server starts with is taken, and refused by whoever connects
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rappel_conso'\nrappel_conso.kafka_brokers = 'localhost:99999'\n");
$node->restart;
like(outcome_in('utf8', q{SELECT rc_drain('s')}), qr/^22023: .*"rappel_conso.kafka_brokers"; "localhost:99999".*; ./,
	'V17: a wrong list of brokers is no direct mode, and says what is wrong');

done_testing();
