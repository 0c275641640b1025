# 101_dump.pl
#     What dumps hold of the extension: what pg_dump keeps and a
#     restore brings back, by psql and by pg_restore with several jobs, so that
#     the next sync writes nothing; and VACUUM, which no worker holds back while
#     it waits for the API.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use JSON::PP ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $COUNTERS = 'state, fetched, inserted, updated, unchanged, dead';
my $RECORDS = 300;     # of the sample
my $BAD = 2;           # records of ours that nobody can use
my $VACUUMS = 20;      # at the most, until what is dead is away

my $api = start_api(
	DATASET, sample_file('recalls.jsonl'),
	'rappelconso0' => sample_file('recalls_v1.jsonl'));
my $node = new_node('main', api => $api, conf => "max_worker_processes = 16\nautovacuum = off\n");
my @kept = split(
	/\n/,
	$node->sql(q{
		SELECT c.oid::regclass FROM pg_class c
		 WHERE c.oid = ANY ((SELECT extconfig FROM pg_extension WHERE extname = 'rappel_conso')::oid[]) AND c.relkind = 'r'
		 ORDER BY 1}));

# All that the extension keeps in a database, as a text; the outbox and the rest
# row by row, then its sequences.
sub kept
{
	my ($dbname) = @_;

	return join(
		"\n",
		map({ $node->safe_psql($dbname, "SELECT '$_', to_jsonb(t) FROM $_ t ORDER BY t::text COLLATE \"C\"") } @kept),
		$node->safe_psql(
			$dbname, q{
			SELECT c.oid::regclass, pg_sequence_last_value(c.oid) FROM pg_class c
			 WHERE c.relnamespace = 'rappel_conso'::regnamespace AND c.relkind = 'S' ORDER BY 1}));
}

# What users have of the table: its columns, indexes and triggers.
sub shape_of
{
	my ($dbname) = @_;

	return $node->safe_psql(
		$dbname, q{
		SELECT attnum, attname, format_type(atttypid, atttypmod), attnotnull, attgenerated, col_description(attrelid, attnum)
		  FROM pg_attribute WHERE attrelid = 'rappel_conso_table'::regclass AND attnum > 0 ORDER BY 1;
		SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'rappel_conso_table'::regclass ORDER BY 1;
		SELECT pg_get_triggerdef(oid) FROM pg_trigger
		 WHERE tgrelid = 'rappel_conso_table'::regclass AND NOT tgisinternal ORDER BY 1;
		SELECT relacl, relowner::regrole, obj_description(oid) FROM pg_class WHERE oid = 'rappel_conso_table'::regclass});
}

#
# A database with something of everything
#
$api->control(
	append => {
		dataset => DATASET,
		records => [
			{ numero_fiche => undef, date_publication => '2026-04-29T08:00:00+00:00' },
			{ numero_fiche => '2026-04-9999', date_publication => '2026-04-29T08:00:00+00:00', numero_version => 'many' } ]
	});
is($node->sync(columns => $COUNTERS), "success|" . ($RECORDS + $BAD) . "|$RECORDS|0|0|$BAD", 'a first sync');
$node->sql('SELECT rc_search_index()');
$node->sql(<<~'EOC');
	CREATE ROLE cook LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO cook;
	GRANT INSERT, SELECT, UPDATE ON rappel_conso.stream TO cook;
	INSERT INTO rappel_conso.topic_grant VALUES ('cook', 'prices*', true, true);
	CREATE SCHEMA kitchen AUTHORIZATION cook;
	SET ROLE cook;
	CREATE TABLE kitchen.prices (id integer PRIMARY KEY, price numeric NOT NULL);
	SET search_path = kitchen;
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('prices', '{prices}', $$
	  INSERT INTO prices SELECT (value->>'id')::int, (value->>'price')::numeric FROM records
	      ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price $$);
	RESET ROLE;
	RESET search_path;
	UPDATE rappel_conso.source
	   SET "overlap" = '45 days', retries = 7, retry_delay = '90 ms', partitions = 6 WHERE name = 'rappel_conso';
	UPDATE rappel_conso.stream SET batch_size = 77, stop_after = 5 WHERE name = 'rappel_conso';
	CREATE TABLE archive (reference text PRIMARY KEY, recall jsonb);
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('archive', '{archive}', $$
	  INSERT INTO archive SELECT key, value FROM records ON CONFLICT (reference) DO NOTHING $$);
	INSERT INTO rappel_conso.source (name, dataset, url, key_field, cursor_field, stream, retries)
	  SELECT 'archive', 'rappelconso0', url, 'reference_fiche', 'date_de_publication', 'archive', 0
	    FROM rappel_conso.source WHERE name = 'rappel_conso';
	INSERT INTO rappel_conso.source (name, dataset, url, stream, retries)
	  SELECT 'broken', 'no-such-dataset', url, 'prices', 0 FROM rappel_conso.source WHERE name = 'rappel_conso';
	SELECT rc_publish('prices', '{"id": 1}'::jsonb, '1', '{"a": ["b", "c"]}');
	ALTER TABLE rappel_conso_table ADD COLUMN note text DEFAULT 'none yet';
	CREATE INDEX by_brand ON rappel_conso_table (lower(nom_de_la_marque_du_produit));
	CREATE TABLE changes (reference text, at timestamptz DEFAULT now());
	CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
	  'BEGIN INSERT INTO changes VALUES (NEW.reference_fiche); RETURN NULL; END';
	CREATE TRIGGER note_change AFTER INSERT OR UPDATE ON rappel_conso_table FOR EACH ROW EXECUTE FUNCTION note_change();
	UPDATE rappel_conso_table SET note = 'looked at' WHERE reference_fiche = '2024-01-0001';
	GRANT SELECT ON rappel_conso_table TO cook;
	CREATE VIEW newest AS SELECT reference_fiche, note FROM rappel_conso_table ORDER BY date_de_publication DESC LIMIT 3;
	EOC
like($node->sync(columns => $COUNTERS, source => 'archive'), qr/^success\|\d+\|[1-9]\d*\|/, 'a second source');
$node->psql('postgres', "SELECT rc_sync_now('broken')");
$node->psql('postgres', "SELECT rc_trigger('archive', full_sync => true)");
$node->sql("UPDATE rappel_conso.dead_letter SET resolved_at = now() WHERE id = 1");
is( $node->sql(q{
		SELECT count(DISTINCT r.state), (SELECT count(*) FROM rappel_conso.dead_letter),
		       (SELECT count(*) FROM rappel_conso.outbox), (SELECT count(*) FROM rappel_conso.source_state),
		       (SELECT count(*) FROM changes)
		  FROM rappel_conso.run r}),
	"3|$BAD|1|2|1", 'there is something of everything');

my $state = kept('postgres');
my $shape = shape_of('postgres');
my $digest = $node->table_digest;

#
# Dumps, and what they bring back
#
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump";
command_ok([ 'pg_dump', '-f', "$dump.sql", $node->connstr('postgres') ], 'a plain dump');
command_ok([ 'pg_dump', '-Fc', '-f', "$dump.custom", $node->connstr('postgres') ], 'a custom dump');

# Several jobs fill tables in any order: so does a list that names those of the
# extension backwards.
my ($list, $err) = run_command([ 'pg_restore', '-l', "$dump.custom" ]);
my @list = split(/^/, $list);
my @places = grep { $list[$_] =~ / TABLE DATA rappel_conso / } 0 .. $#list;
is(scalar @places, scalar @kept, 'a dump holds every table of the extension');
@list[@places] = reverse @list[@places];
append_to_file("$dump.list", join('', @list));

my @ways = (
	[ 'plain', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", '-d' ],
	[ 'jobs', 'pg_restore', '--exit-on-error', '--jobs', 2, "$dump.custom", '-d' ],
	[ 'backwards', 'pg_restore', '--exit-on-error', '-L', "$dump.list", "$dump.custom", '-d' ]);

foreach my $way (@ways)
{
	my ($dbname, @command) = @$way;

	$node->sql("CREATE DATABASE $dbname");
	command_ok([ @command, $node->connstr($dbname) ], "$dbname: the dump is restored");
	is(kept($dbname), $state, "$dbname: definitions and state are the same");
	is(shape_of($dbname), $shape, "$dbname: so are columns, indexes and triggers of the table");
	is($node->table_digest(dbname => $dbname), $digest, "$dbname: and its rows");
	is( $node->safe_psql($dbname, 'SELECT count(*) FROM changes'),
		$node->sql('SELECT count(*) FROM changes'), "$dbname: no trigger fired");
	is( $node->safe_psql($dbname, "SELECT count(*) FROM rc_search('listeria')"),
		$node->sql("SELECT count(*) FROM rc_search('listeria')"), "$dbname: the search finds what it found");

	$api->clear_log;
	is($node->sync(columns => $COUNTERS, dbname => $dbname), 'success|0|0|0|0|0', "$dbname: a sync finds nothing new");
	is(join(' ', map { $_->{kind} } $api->log), 'meta', "$dbname: by one request");
}

#
# Afterwards: the records that are there are known, numbers go on
#
sub fingerprint
{
	return $node->safe_psql($_[0],
		q{SELECT md5(string_agg(concat_ws(',', ctid, xmin, xmax), ' ' ORDER BY ctid)) FROM rappel_conso_table});
}

my @restored = map { $_->[0] } @ways;
my $last_run = $node->sql('SELECT max(id) FROM rappel_conso.run');
my $last_dead = $node->sql('SELECT max(id) FROM rappel_conso.dead_letter');

$api->control(touch => $_) foreach DATASET, 'rappelconso0';
foreach my $dbname (@restored)
{
	my $fingerprint = fingerprint($dbname);

	like($node->sync(columns => $COUNTERS, dbname => $dbname), qr/^success\|[1-9]\d*\|0\|0\|/, "$dbname: what lies within the overlap is read, and not written");
	is($node->sync(columns => $COUNTERS, dbname => $dbname, arguments => 'full_sync => true'), 'success|' . ($RECORDS + $BAD) . "|0|0|$RECORDS|$BAD", "$dbname: nor is anything else");
	like($node->sync(columns => $COUNTERS, dbname => $dbname, source => 'archive'), qr/^success\|[1-9]\d*\|0\|0\|/, "$dbname: nor of the second source");
	is(fingerprint($dbname), $fingerprint, "$dbname: no row was touched");
	is( $node->safe_psql($dbname, q{
			SELECT (SELECT sum(withdrawn) FROM rappel_conso.run), (SELECT count(missed_at) FROM rappel_conso.source_record),
			       (SELECT count(withdrawn_at) FROM rappel_conso_table), (SELECT count(*) FROM rappel_conso_history)}),
		'0|0|0|0', "$dbname: nothing was withdrawn or is missing");
	is($node->safe_psql($dbname, 'SELECT count(*) FROM rappel_conso_table'), $RECORDS, "$dbname: none was added");
	is( $node->safe_psql($dbname, "SELECT count(*), count(*) FILTER (WHERE state = 'success') FROM rappel_conso.run WHERE id > $last_run"),
		'4|4', "$dbname: new runs have new numbers");
	is( $node->safe_psql($dbname, "SELECT count(*) FILTER (WHERE id > $last_dead), count(*) FILTER (WHERE resolved_at IS NULL)
		                         FROM rappel_conso.dead_letter"),
		"1|$BAD", "$dbname: and so has the dead letter that was resolved and fails again");
	is( $node->safe_psql($dbname, q{SET ROLE cook; UPDATE rappel_conso.stream SET statement = statement WHERE name = 'prices' RETURNING search_path})
		=~ /kitchen/ ? 'checked' : '', 'checked', "$dbname: the user's stream passes its check");
}

my $newest = $node->sql("SELECT reference_fiche FROM newest WHERE reference_fiche ~ '^20' LIMIT 1");
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '$newest'",
		set => { motif_rappel => 'un autre motif', numero_version => 40 }
	});
foreach my $dbname (@restored)
{
	$node->safe_psql($dbname, 'TRUNCATE changes');
	like($node->sync(columns => $COUNTERS, dbname => $dbname), qr/^success\|\d+\|0\|1\|/, "$dbname: a change comes");
	is( $node->safe_psql($dbname, 'SELECT reference, motif_du_rappel FROM changes JOIN rappel_conso_table ON reference_fiche = reference'),
		"$newest|un autre motif", "$dbname: and the user's trigger sees it");
}

#
# VACUUM while a run waits for the API: neither the run worker nor the
# scheduler holds anything back.
#
$node->sql('SELECT rc_start()');
$node->sql('CREATE TABLE churn AS SELECT generate_series(1, 1000) AS id');
$api->fault('gate', dataset => DATASET, on => 'export', lines => 100);
my $run = $node->sql('SELECT rc_trigger(full_sync => true)');
$api->wait_held;
# the scheduler looks for work now and then, in a short transaction: it is seen
# between two of them, and so it is by VACUUM
ok( $node->poll_query_until(
		'postgres', q{
		SELECT string_agg(DISTINCT regexp_replace(backend_type, '^rappel_conso (\w+).*', '\1'), ' '),
		       count(backend_xmin), count(backend_xid), count(xact_start)
		  FROM pg_stat_activity WHERE backend_type ~ '^rappel_conso'},
		'run scheduler|0|0|0'),
	'in the middle of an export no worker has a transaction or a snapshot');
$node->sql('DELETE FROM churn');
my $removed = 0;
foreach (1 .. $VACUUMS)
{
	my ($status, $out, $said) = $node->psql('postgres', 'VACUUM (VERBOSE) churn');
	my ($gone, $held) = $said =~ /tuples: (\d+) removed, \d+ remain, (\d+) are dead but not yet removable/
	  or die "VACUUM says $said";

	$removed += $gone;
	last if $held == 0;
}
is($removed, 1000, 'VACUUM takes away what is dead');
is($node->sql("SELECT pg_relation_size('churn')"), 0, 'and gives back its space');
is($node->sql("SELECT state FROM rappel_conso.run WHERE id = $run"), 'running', 'the run goes on meanwhile');
$api->release;
is($node->sql("SELECT state, inserted FROM rc_wait($run)"), 'success|0', 'and ends well');

done_testing();
