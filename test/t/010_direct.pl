# 010_direct.pl
#     Direct mode, from the API to the tables without Kafka: what a sync writes,
#     what a second one leaves alone, what users do with the table, another
#     schema, sources of their own.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use RappelConso;

my $api = start_api();
my $node = new_node('main', api => $api);

#
# The first sync
#
is($node->sync, 'success|300|0|300|0|0|0', 'the first sync inserts every recall');
is($api->requests, 'meta count export count', 'it asks for the metas, the count, the export and the count again');
like(($api->log)[0]->{user_agent}, qr{^rappel_conso/\d}, 'it says who it is');
is( $node->sql(q{
		SELECT r.state, r.trigger, r.full_sync, r.destination, r.error IS NULL, r.finished_at >= r.started_at,
		       t.name, t.state, t.attempt, t.error IS NULL
		  FROM rappel_conso.run r JOIN rappel_conso.task t ON t.run = r.id}),
	'success|manual|f|direct|t|t|sync|success|1|t',
	'the run and its task are written down');
is( $node->sql(q{
		SELECT cursor_value::timestamptz = (SELECT max(date_de_publication) FROM rappel_conso_table), complete,
		       records_count, next_offset, full_at IS NOT NULL
		  FROM rappel_conso.source_state WHERE destination = 'direct'}),
	't|t|300|300|t',
	'the cursor stands at the newest recall');
is( $node->sql(q{
		SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute
		 WHERE attrelid = 'rappel_conso_table'::regclass AND attnum > 0}),
	'text timestamp with time zone date'
	  . ' text' x 15
	  . ' date date'
	  . ' text' x 5
	  . ' integer text text text bigint text text[]' . ' timestamp with time zone' x 3,
	'columns are typed');
is( $node->sql(q{
		SET timezone = 'UTC';
		SELECT reference_fiche, date_de_publication, numero_de_version, date_debut_commercialisation,
		       nom_de_la_marque_du_produit, replace(distributeurs, E'\n', '/'),
		       replace(identification_des_produits, E'\n', '/'), gtin
		  FROM rappel_conso_table WHERE reference_fiche = '2024-01-0001'}),
	'2024-01-0001|2024-01-02 08:02:00+00|2|2023-07-25|coeur de garrigue|brico-loire/grands magasins lemercoeur/coop\'alpes|'
	  . 'date de durabilite minimale 2024-07-10/2419345245553 969289 date de durabilite minimale 2024-01-02 2024-07-05|{2419345245553}',
	'values are those of the record, cleaned and folded');
is( $node->sql(q{
		SELECT count(*) FILTER (WHERE reference_fiche <> upper(reference_fiche)),
		       count(*) FILTER (WHERE reference_fiche ~ '^[A-Z]') > 0,
		       count(*) FILTER (WHERE first_seen_at <> updated_at OR first_seen_at > now()),
		       count(*) FILTER (WHERE '' IN (informations_complementaires, libelle, conditionnements)),
		       count(*) FILTER (WHERE concat(distributeurs, motif_du_rappel, risques_pour_le_consommateur, '') ~ '[^\x01-\x7f]'),
		       count(*) FILTER (WHERE EXISTS (SELECT FROM unnest(gtin) g WHERE g !~ '^(\d{8}|\d{12,14})$'))
		  FROM rappel_conso_table}),
	'0|t|0|0|0|0',
	'references are in capitals, no text is empty, folded ones are ASCII');

#
# A second one does nothing
#
my $digest = $node->table_digest;
my $rows = $node->table_fingerprint;
$node->sql('CREATE EXTENSION pg_walinspect; CHECKPOINT');
my $lsn = $node->sql('SELECT pg_current_wal_flush_lsn()');
$api->clear_log;
is($node->sync, 'success|0|0|0|0|0|0', 'a second sync writes nothing');
is($api->requests, 'meta', 'and needs one request');
$node->wait_for('the run worker', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type ~ '^rappel_conso'});
is( $node->sql(qq{
		SELECT count(*) FILTER (WHERE w.block_ref ~ format('/%s( |;|\$)', c.relfilenode)), count(*) > 0
		  FROM pg_get_wal_records_info('$lsn', pg_current_wal_flush_lsn()) w, pg_class c
		 WHERE c.oid IN ('rappel_conso_table'::regclass, 'rappel_conso_table_pkey'::regclass)}),
	'0|t',
	'no WAL of the table or its index');
is($node->sync(arguments => 'full_sync => true'),
	'success|300|0|0|0|300|0', 'a full sync reads everything and writes nothing');
is($api->requests, 'meta meta count export count', 'by one export');
$node->wait_for('the run worker', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type ~ '^rappel_conso'});
is( $node->sql(q{SELECT n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, n_dead_tup FROM pg_stat_user_tables WHERE relname = 'rappel_conso_table'}
	),
	'300|0|0|0|0',
	'no row was touched since it was inserted');
is($node->table_fingerprint, $rows, 'nor locked');

# New times at the API, the same records: what lies within the overlap is read.
$api->clear_log;
$api->control(touch => DATASET);
my $recent = $node->sql(q{SELECT count(*) FROM rappel_conso_table
	 WHERE date_de_publication >= (SELECT max(date_de_publication) - interval '30 days' FROM rappel_conso_table)}
);
is( $node->sync,
	"success|$recent|0|0|0|$recent|0",
	'records within the overlap are read again, and written never');
my ($export) = grep { $_->{kind} eq 'export' } $api->log;
is( "$export->{query}->{where}; $export->{query}->{order_by}",
	$node->sql(q{
		SELECT format('date_publication >= date''%s''; date_publication,numero_fiche',
		              to_char((max(date_de_publication) - interval '30 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
		  FROM rappel_conso_table}),
	'by a condition on the cursor, in its order');
is($node->table_fingerprint, $rows, 'the table is as it was');
cmp_ok($recent, '<', 100, 'the overlap is a part of the dataset');

#
# What users add to the table lives on
#
$node->sql(q{
	ALTER TABLE rappel_conso_table ADD COLUMN note text;
	UPDATE rappel_conso_table SET note = 'mine' WHERE reference_fiche IN ('2024-01-0001', '2024-01-0002');
	CREATE INDEX by_brand ON rappel_conso_table (lower(nom_de_la_marque_du_produit));
	CREATE TABLE seen (reference text, operation text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
	  'BEGIN INSERT INTO public.seen VALUES (NEW.reference_fiche, TG_OP); RETURN NEW; END';
	CREATE TRIGGER note AFTER INSERT OR UPDATE ON rappel_conso_table FOR EACH ROW EXECUTE FUNCTION note();});
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '2024-01-0001'",
		set => { numero_version => 3, motif_rappel => "erreur d'\x{e9}tiquetage" }
	});
is($node->sync(arguments => 'full_sync => true'),
	'success|300|0|0|1|299|0', 'a new version of one fiche updates one row');
is( $node->sql(q{
		SELECT numero_de_version, motif_du_rappel, note, updated_at > first_seen_at FROM rappel_conso_table
		 WHERE reference_fiche = '2024-01-0001'}),
	"3|erreur d'etiquetage|mine|t",
	'the column of the user keeps its value');
is($node->sql('SELECT * FROM seen'),
	'2024-01-0001|UPDATE', 'the trigger of the user fires for that row alone');
$digest = $node->table_digest;

$node->sql('DROP EXTENSION rappel_conso');
is($node->table_digest, $digest, 'DROP EXTENSION keeps the table');
$node->create_extension(api => $api);
is($node->sync, 'success|300|0|0|0|300|0', 'CREATE EXTENSION goes on with it');
is($node->table_digest, $digest, 'and changes nothing');
is( $node->sql(q{
		SELECT (SELECT count(*) FROM rappel_conso_table WHERE note = 'mine'), (SELECT count(*) FROM seen),
		       (SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_brand'::regclass)}),
	'2|1|t',
	'column, trigger and index are there');

# Without folding, and with it again.
$node->sql(q{ALTER TABLE rappel_conso_table DISABLE TRIGGER note;
	UPDATE rappel_conso.source SET fold_accents = false WHERE name = 'rappel_conso'});
my $accented = $node->sync;
like($accented, qr/^success\|300\|0\|0\|\d{3}\|\d+\|0$/, 'a change of fold_accents reads everything again');
is( $node->sql(q{
		SELECT motif_du_rappel, nom_de_la_marque_du_produit FROM rappel_conso_table WHERE reference_fiche = '2024-01-0001'}
	),
	"erreur d'étiquetage|cœur de garrigue",
	'accents are kept');
$node->sql(q{UPDATE rappel_conso.source SET fold_accents = true WHERE name = 'rappel_conso'});
is($node->sync, $accented, 'the change back updates the same rows');
is($node->table_digest, $digest, 'the table is as it was');

#
# Another schema; a table that somebody else has put there
#
$node->sql('CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', sprintf(<<~'EOC', $api->url));
	CREATE SCHEMA kitchen;
	CREATE EXTENSION rappel_conso SCHEMA kitchen;
	UPDATE rappel_conso.source SET url = '%s';
	EOC
is($node->safe_psql('elsewhere', 'SELECT state, inserted FROM kitchen.rc_sync_now()'),
	'success|300', 'in another schema');
is( $node->safe_psql(
		'elsewhere',
		q{SELECT count(*), to_regclass('public.rappel_conso_table') IS NULL FROM kitchen.rappel_conso_table}),
	'300|t',
	'the table is made in it');

$node->new_database('squatted', api => $api);
$node->safe_psql(
	'squatted', q{
	CREATE ROLE squatter;
	CREATE TABLE rappel_conso_table (reference_fiche text PRIMARY KEY);
	ALTER TABLE rappel_conso_table OWNER TO squatter;});
my ($code, $stdout, $stderr) = $node->psql(
	'squatted', '\set VERBOSITY verbose
SELECT * FROM rc_sync_now()');
isnt($code, 0, 'a table of somebody else is refused');
like(
	$stderr,
	qr/ERROR:  42501: .*"rappel_conso_table".*"squatter".*\n(?:DETAIL.*\n)?HINT:  /,
	'with the reason and a hint');
like($node->safe_psql('squatted', 'SELECT state, sqlstate, error FROM rappel_conso.run'),
	qr/^failed\|42501\|.*"rappel_conso_table".*"squatter"/,
	'which the run keeps');
is( $node->safe_psql(
		'squatted', 'SELECT state, attempt FROM rappel_conso.task; SELECT count(*) FROM rappel_conso_table'),
	"failed|1\n0",
	'it is not tried again, and nothing is written');
$node->safe_psql('squatted', 'ALTER TABLE rappel_conso_table RENAME TO theirs');
is($node->sync(dbname => 'squatted'), 'success|300|0|300|0|0|0', 'renamed, it does not matter');

#
# Another dataset, as it comes, into a stream of one's own
#
# Another owner of source and stream, before anything is there.
$node->new_database('owned', api => $api);
$node->safe_psql(
	'owned', q{
	CREATE ROLE keeper LOGIN; GRANT CREATE ON SCHEMA public TO keeper;
	INSERT INTO rappel_conso.topic_grant VALUES ('keeper', '*', true, true);
	GRANT USAGE ON SCHEMA rappel_conso TO keeper; GRANT USAGE ON TYPE rappel_conso.recall, rappel_conso.reference_fiche TO keeper;
	UPDATE rappel_conso.stream SET owner = 'keeper' WHERE name = 'rappel_conso';
	UPDATE rappel_conso.source SET owner = 'keeper' WHERE name = 'rappel_conso'});
is($node->sync(dbname => 'owned'), 'success|300|0|300|0|0|0', 'source and stream of another role, from the first run on');
is( $node->safe_psql('owned', q{SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname ~ '^rappel_conso_(table|history)$'}),
	'keeper', 'whose tables they are');
$node->new_database('menus', api => $api);
$api->control(
	replace => {
		dataset => 'menu',
		records => [
			'{"code": 12345678901234567890, "name": "caf\u00e9", "price": 1.50, "changed": "2026-01-01"}',
			'{"code": 2, "name": "th\u00e9 \u00e0 la menthe", "price": 2e0, "changed": "2026-01-02", "more": {"a": [1, null]}}'
		]
	});
$node->safe_psql('menus', sprintf(<<~'EOC', $api->url, $api->url));
	CREATE TABLE dish (code numeric PRIMARY KEY, name text, price numeric, more jsonb, key text, topic text, at bigint, headers jsonb);
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('dishes', '{menu}', $$
	  INSERT INTO dish SELECT (value->>'code')::numeric, value->>'name', (value->'price')::numeric, value->'more',
	                          key, topic, record_offset, headers FROM records
	  ON CONFLICT (code) DO UPDATE SET name = EXCLUDED.name, price = EXCLUDED.price, at = EXCLUDED.at $$);
	INSERT INTO rappel_conso.source (name, url, dataset, key_field, cursor_field, "overlap", stream)
	VALUES ('menu', '%s', 'menu', 'code', 'changed', '0', 'dishes');
	CREATE TABLE line (record jsonb, at bigint, key text);
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('lines', '{menu}', 'INSERT INTO line SELECT value, record_offset, key FROM records');
	INSERT INTO rappel_conso.source (name, url, dataset, filter, stream) VALUES ('plain', '%s', 'menu', 'code < 10', 'lines');
	EOC
is($node->sync(dbname => 'menus', source => 'menu'), 'success|2|0|2|0|0|0', 'a source of its own');
is( $node->safe_psql(
		'menus',
		q{SELECT code, name, price, more, key, topic, at, headers - 'rappel_conso-run' FROM dish ORDER BY at}
	),
	qq{12345678901234567890|café|1.50||12345678901234567890|menu|0|{"content-type": "application/json", "rappel_conso-source": "menu"}\n}
	  . qq{2|thé à la menthe|2|{"a": [1, null]}|2|menu|1|{"content-type": "application/json", "rappel_conso-source": "menu"}},
	'records as they came, digits kept, keys and headers as through Kafka');
is( $node->safe_psql(
		'menus',
		q{SELECT count(DISTINCT headers->>'rappel_conso-run'), bool_and(headers ? 'rappel_conso-run') FROM dish}
	),
	'1|t',
	'the header of the run too');
$api->control(append =>
	  { dataset => 'menu', records => [ { code => 3, name => 'eau', price => 0, changed => '2026-01-03' } ] }
);
is($node->sync(dbname => 'menus', source => 'menu'),
	'success|2|0|1|0|1|0', 'with an overlap of nothing, what is at the cursor is read again, and known');
is( $node->safe_psql('menus', 'SELECT code, at FROM dish ORDER BY at'),
	"12345678901234567890|0\n2|1\n3|2",
	'record_offset rises from run to run');
is($node->sync(dbname => 'menus', source => 'plain'), 'success|2|0|2|0|0|0', 'a source with a filter, without key and cursor');
$api->control(touch => 'menu');
is($node->sync(dbname => 'menus', source => 'plain'), 'success|2|0|2|0|0|0', 'is read whole each time');
is( $node->safe_psql(
		'menus', q{SELECT string_agg(record->>'code', ' ' ORDER BY at), bool_and(key IS NULL) FROM line}),
	'2 3 2 3|t',
	'into its own stream');
is($node->safe_psql('menus', q{SELECT to_regclass('rappel_conso_table') IS NULL}),
	't', 'and the recalls were left alone');

$node->stop;
done_testing();
