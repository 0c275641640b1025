# 113_idle_cost_and_pg_upgrade.pl
#     What the extension costs its server when idle: a poll that finds nothing new
#     costs one request, one row and under 1 kB of WAL, in direct mode and with
#     Kafka; and pg_upgrade takes everything along, while no worker of ours
#     stirs, even where the library is preloaded.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $COUNTERS = 'state, fetched, inserted, updated, unchanged, dead';
my $RECORDS = 300;     # of the sample
my $BAD = 2;           # records of ours that nobody can use
my $POLLS = 3;         # that are measured
my $POLL_WAL = 1024;   # bytes that each of them may write
my $SYNC_WAL = 8192;   # and a rc_sync_now() that finds nothing new
my $NOTHING = 'success|0|0|0|0|0';

# Nobody else writes: no vacuum, no checkpoint, no standby to be told.
my $QUIET = <<~'EOC';
	autovacuum = off
	checkpoint_timeout = 1h
	wal_level = minimal
	max_wal_senders = 0
	max_worker_processes = 16
	EOC

my $cache = $ENV{RAPPEL_CONSO_CACHE} || "$RappelConso::top/.cache";
my $have_kafka = -e "$cache/kafka/complete";

foreach my $program ('java', 'kcat')
{
	$have_kafka = 0 unless grep { -x "$_/$program" } split(/:/, $ENV{PATH});
}

sub insert_lsn { return $_[0]->sql('SELECT pg_current_wal_insert_lsn()'); }

# What WAL there is from a place on: its bytes, those of whole pages in it, the
# kinds of its records, and the relations that it writes to.
sub wal_since
{
	my ($node, $lsn) = @_;

	return split(/\|/, $node->sql(qq{
		WITH w AS MATERIALIZED (
		  SELECT *, pg_current_wal_insert_lsn() - '$lsn' AS bytes
		    FROM pg_get_wal_records_info('$lsn', pg_current_wal_flush_lsn()))
		SELECT max(bytes), sum(fpi_length), string_agg(DISTINCT resource_manager || '/' || record_type, ' '),
		       (SELECT string_agg(DISTINCT COALESCE(pg_filenode_relation(0, m[1]::oid)::regclass::text, m[1]), ' ')
		          FROM w AS v, regexp_matches(v.block_ref, 'rel \\d+/\\d+/(\\d+)', 'g') m)
		  FROM w}));
}

sub wait_no_run
{
	my ($node) = @_;

	return $node->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %'})
	  || die 'the run worker has not ended';
}

#
# What nothing new costs
#

my $kafka;
my @cases = ({ name => 'direct mode' });

if ($have_kafka)
{
	$kafka = start_kafka();
	push @cases, { name => 'with Kafka', brokers => $kafka->brokers };
}

# The end of the topic, as the broker says it.
sub high_watermark
{
	return $kafka->kcat('', '-Q', '-t', 'rappel_conso:0:-1') =~ /offset (\d+)/ ? $1 : 'none';
}

# A stream worker writes down the end of the topic when that has changed, up to
# 10 s later; a change of the stream makes it look at once.
sub all_observed
{
	my ($node) = @_;

	$node->sql(q{UPDATE rappel_conso.stream SET batch_size = batch_size - 1 WHERE name = 'rappel_conso'});
	return $node->poll_query_until('postgres', "SELECT bool_and(high_watermark = $RECORDS) FROM rappel_conso.stream_offset")
	  || die 'the end of the topic was not observed';
}

# Servers that have all recalls, and a scheduler whose first poll the API holds.
foreach my $case (@cases)
{
	my $api = $case->{api} = start_api();
	my $node = $case->{node} = new_node(
		$case->{brokers} ? 'kafka' : 'direct',
		api => $api,
		kafka => $case->{brokers},
		conf => $QUIET);

	$node->sql('CREATE EXTENSION pg_walinspect; SELECT rc_start()');
	is($node->sync(columns => $COUNTERS), "success|$RECORDS|$RECORDS|0|0|0", "$case->{name}: a first sync");
	wait_no_run($node);
	all_observed($node) if $case->{brokers};
	$api->fault('gate', on => 'meta', times => 0);
	$node->sql(q{
		UPDATE rappel_conso.source SET poll_interval = '1 second' WHERE name = 'rappel_conso';
		VACUUM; CHECKPOINT});
}
$_->{api}->wait_held foreach @cases;

my $new;

# Let the poll that is held go on in each server, until the API holds the next:
# then the one before is over, since a source is polled by one process at once.
sub next_poll
{
	my %seen = map { $_->{name} => scalar(my @log = $_->{api}->log) } @cases;

	$_->{api}->release foreach @cases;

	# there is a second between two polls
	$new //= new_node('new', conf => $QUIET, start => 0);
	foreach my $case (@cases)
	{
		$case->{api}->wait_held
		  until scalar(my @log = $case->{api}->log) > $seen{ $case->{name} };
		push @{ $case->{checked} }, $case->{node}->sql('SELECT checked_at FROM rappel_conso.source_state');
	}
	return;
}

# The first ones log whole pages after the checkpoint.
next_poll() foreach 1, 2;
foreach my $case (@cases)
{
	$case->{api}->clear_log;
	$case->{checked} = [];
	$case->{high_watermark} = high_watermark() if $case->{brokers};
	# the first poll has failed where Kafka took longer to start than the API may
	$case->{runs} = $case->{node}->sql('SELECT count(*) FROM rappel_conso.run');
	$case->{lsn} = insert_lsn($case->{node});
}
next_poll() foreach 1 .. $POLLS;
foreach my $case (@cases)
{
	my ($name, $node, $api) = @$case{ 'name', 'node', 'api' };
	my ($bytes, $pages, $kinds, $relations) = wal_since($node, $case->{lsn});

	is($api->requests, join(' ', ('meta') x $POLLS), "$name: $POLLS polls ask for the metas and nothing else");
	is(scalar(keys %{ { map { $_ => 1 } @{ $case->{checked} } } }),
		$POLLS, "$name: each of them is over after its one request");
	cmp_ok($bytes / $POLLS, '<', $POLL_WAL, sprintf('%s: a poll writes %.0f bytes of WAL', $name, $bytes / $POLLS));
	is($pages, 0, "$name: no page as a whole");
	is($relations, 'rappel_conso.source_state', "$name: of the source's state alone");
	like($kinds, qr{^(Heap2/PRUNE )?Heap/HOT_UPDATE Transaction/COMMIT$}, "$name: whose row is updated in its place");
	is($node->sql('SELECT count(*) FROM rappel_conso.run'), $case->{runs}, "$name: there is no row of a run");
	is(high_watermark(), $case->{high_watermark}, "$name: no message came to the topic") if $case->{brokers};
}

# rc_sync_now(), which makes the row of a run.
foreach my $case (@cases)
{
	my ($name, $node, $api) = @$case{ 'name', 'node', 'api' };
	my $lsn;

	$node->sql(q{UPDATE rappel_conso.source SET poll_interval = NULL WHERE name = 'rappel_conso'});
	$api->control(faults => [], release => JSON::PP::true);
	wait_no_run($node);
	is($node->sync(columns => $COUNTERS), $NOTHING, "$name: rc_sync_now() finds nothing new") foreach 1, 2;
	wait_no_run($node);
	$api->clear_log;
	$lsn = insert_lsn($node);
	is($node->sync(columns => $COUNTERS), $NOTHING, "$name: nor does it again") foreach 1 .. $POLLS;
	wait_no_run($node);

	my ($bytes, $pages, $kinds, $relations) = wal_since($node, $lsn);

	is($api->requests, join(' ', ('meta') x $POLLS), "$name: by one request each");
	cmp_ok($bytes / $POLLS, '<', $SYNC_WAL, sprintf('%s: each writes %.0f bytes of WAL', $name, $bytes / $POLLS));
	is( join(' ', grep { !/^rappel_conso\.(run|task|source_state)(_pkey|_source_idx|_running_idx|_id_seq)?$/ } split(/ /, $relations)),
		'', "$name: of runs, tasks and the source's state alone");
	is($node->sql('SELECT count(*) FROM rappel_conso.run'), $case->{runs} + 2 + $POLLS, "$name: there is the row of each run");
	is(high_watermark(), $case->{high_watermark}, "$name: no message came to the topic") if $case->{brokers};
}

SKIP:
{
	skip('there is no Kafka', 1) unless $have_kafka;
	is($cases[1]->{high_watermark}, $RECORDS, 'with Kafka: the topic holds each recall once');
	$cases[1]->{node}->stop('fast');
	$cases[1]->{api}->stop;
	$kafka->stop;
}

#
# pg_upgrade: a server with something of everything
#

my ($api, $old) = @{ $cases[0] }{ 'api', 'node' };

$old->sql('SELECT rc_stop()');
$api->control(
	append => {
		dataset => DATASET,
		records => [
			{ numero_fiche => undef, date_publication => '2026-04-29T08:00:00+00:00' },
			{ numero_fiche => '2026-04-9999', date_publication => '2026-04-29T08:00:00+00:00', numero_version => 'many' } ]
	});
is($old->sync(columns => $COUNTERS, arguments => 'full_sync => true'), 'success|' . ($RECORDS + $BAD) . "|0|0|$RECORDS|$BAD", 'dead letters');
$old->sql(<<~'EOC');
	SELECT rc_search_index();
	ALTER TABLE rappel_conso_table ADD COLUMN note text DEFAULT 'none yet';
	UPDATE rappel_conso_table SET note = 'looked at' WHERE reference_fiche = '2024-01-0001';
	CREATE INDEX by_brand ON rappel_conso_table (lower(nom_de_la_marque_du_produit));
	CREATE TABLE changes (reference text, at timestamptz DEFAULT now());
	CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
	  'BEGIN INSERT INTO changes VALUES (NEW.reference_fiche); RETURN NULL; END';
	CREATE TRIGGER note_change AFTER INSERT OR UPDATE ON rappel_conso_table FOR EACH ROW EXECUTE FUNCTION note_change();
	CREATE ROLE cook LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO cook;
	GRANT INSERT, SELECT, UPDATE ON rappel_conso.stream TO cook;
	INSERT INTO rappel_conso.topic_grant VALUES ('cook', 'prices*', true, true);
	CREATE SCHEMA kitchen AUTHORIZATION cook;
	SET ROLE cook;
	CREATE TYPE kitchen.price AS (id integer, price numeric);
	CREATE TABLE kitchen.prices (id integer PRIMARY KEY, price numeric NOT NULL);
	SET search_path = kitchen;
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES ('prices', '{prices}', 'price', $$
	  INSERT INTO prices SELECT id, price FROM records ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price $$);
	RESET ROLE;
	RESET search_path;
	INSERT INTO rappel_conso.stream_offset (stream, topic, partition, next_offset, epoch, cluster_id, last_offset)
	  VALUES ('prices', 'prices', 0, 4711, 3, 'a-cluster', 4710), ('prices', 'prices', 1, 12, 3, 'a-cluster', 10);
	SELECT rc_publish('prices', '{"id": 1}'::jsonb, '1', '{"a": ["b", "c"]}');
	EOC
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '2024-01-0002'",
		set => { numero_version => 9, motif_rappel => 'un autre motif' }
	});
$api->control(delete => { dataset => DATASET, where => "numero_fiche = '2024-01-0003'" });
like($old->sync(columns => $COUNTERS, arguments => 'full_sync => true'), qr/^success\|\d+\|0\|1\|\d+\|$BAD$/, 'a recall changes, another one is missing');
is( $old->sql(q{
		SELECT (SELECT count(*) FROM rappel_conso_history), (SELECT count(*) FROM changes),
		       (SELECT count(*) FROM rappel_conso.dead_letter), (SELECT count(*) FROM rappel_conso.outbox),
		       (SELECT count(*) || ' ' || count(missed_at) FROM rappel_conso.source_record)}),
	"1|1|$BAD|1|" . ($RECORDS + 1) . ' 1', 'there is something of everything');
$old->sql(q{UPDATE rappel_conso.source SET poll_interval = '1 second' WHERE name = 'rappel_conso'});

# All that pg_dump writes: definitions and rows, also those of the extension's
# own tables, and what users have made.
sub dump_of
{
	my ($node) = @_;
	my ($dump, $err) = run_command([ 'pg_dump', $node->connstr('postgres') ]);

	return $dump =~ s/^\\(?:un)?restrict .*\n//mgr;
}

# What pg_dump leaves to CREATE EXTENSION: the members of the extension, one
# line for each.
sub extension_members
{
	return $_[0]->sql(q{
		SELECT 'relation', c.oid, c.oid::regclass, c.relkind, c.relowner::regrole, c.relacl, c.relrowsecurity, c.reloptions
		  FROM pg_class c WHERE c.relnamespace = 'rappel_conso'::regnamespace ORDER BY c.oid::regclass::text;
		SELECT 'column', a.attrelid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
		       a.attacl, pg_get_expr(d.adbin, d.adrelid)
		  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		 WHERE c.relnamespace = 'rappel_conso'::regnamespace AND a.attnum > 0 ORDER BY 2, 3;
		SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
		 WHERE c.relnamespace = 'rappel_conso'::regnamespace ORDER BY 2;
		SELECT 'constraint', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k
		 WHERE k.connamespace = 'rappel_conso'::regnamespace ORDER BY 2, 3;
		SELECT 'trigger', pg_get_triggerdef(t.oid, true), t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		 WHERE c.relnamespace = 'rappel_conso'::regnamespace AND NOT t.tgisinternal ORDER BY 2;
		SELECT 'policy', to_jsonb(p) FROM pg_policies p WHERE p.schemaname = 'rappel_conso' ORDER BY p.tablename, p.policyname;
		SELECT 'function', p.oid::regprocedure, p.proowner::regrole, p.proacl, md5(pg_get_functiondef(p.oid))
		  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		  JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
		 WHERE e.extname = 'rappel_conso' ORDER BY p.oid::regprocedure::text;
		SELECT 'extension', extname, extversion, extnamespace::regnamespace, extowner::regrole,
		       array_to_string(extconfig::regclass[], ' '), extcondition FROM pg_extension ORDER BY extname;
		SELECT 'member', pg_describe_object(classid, objid, objsubid), obj_description(objid, classid::regclass::name) FROM pg_depend
		 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' ORDER BY 2;
		SELECT 'sequence', c.oid::regclass, pg_sequence_last_value(c.oid) FROM pg_class c
		 WHERE c.relnamespace = 'rappel_conso'::regnamespace AND c.relkind = 'S' ORDER BY 2});
}

my %before = (dump => dump_of($old), members => extension_members($old), rows => $old->table_digest);

like($before{dump}, qr/^COPY rappel_conso\.\Q$_\E \(/m, "the dump has rappel_conso.$_")
  foreach 'source_state', 'source_record', 'stream_offset', 'dead_letter', 'outbox', 'stream', 'run';

# From now on the library is preloaded in both, and a poll is due: whoever
# started a worker would ask the API.
foreach my $node ($old, $new)
{
	$node->append_conf('postgresql.conf', <<~'EOC');
		shared_preload_libraries = 'rappel_conso'
		rappel_conso.databases = 'postgres'
		EOC
}
$old->stop('fast');
$api->clear_log;
$api->fault('gate', on => 'meta', times => 0);

chdir($PostgreSQL::Test::Utils::tmp_check) or die $!;
my $bindir = $old->config_data('--bindir');
my @upgrade = (
	'pg_upgrade', '--no-sync', '--retain', '--jobs', 2,
	'-b', $bindir, '-B', $bindir,
	'-d', $old->data_dir, '-D', $new->data_dir,
	'-p', $old->port, '-P', $new->port, '-s', $new->host);

command_ok([ @upgrade, '--check' ], 'pg_upgrade finds nothing against it');
command_ok(\@upgrade, 'and does it');
is(scalar(my @log = $api->log), 0, 'meanwhile nobody has asked the API');
my $server_log = join('', map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log'));
like($server_log, qr/database system is ready to accept connections/, 'servers were started for it');
unlike($server_log, qr/\] (?:LOG|WARNING|ERROR|FATAL):  .*\brappel_conso/, 'and no worker of ours in them');

$new->start;
$api->wait_held;
is($new->sql('SELECT rappel_conso.worker_pid(\'scheduler\') IS NOT NULL'), 't', 'the new server starts the scheduler, which polls');
is(dump_of($new), $before{dump}, 'the new server has the same definitions and rows');
is(extension_members($new), $before{members}, 'the extension has the same members, with their rights');
is($new->table_digest, $before{rows}, 'recalls are the same');
is($new->sql(q{SELECT count(*) > 1, bool_and(k.oid = r.oid) FROM rappel_conso.known_role k LEFT JOIN pg_roles r ON r.rolname = k.name}),
	't|t', 'R3: and each owner is the role that it was');
$api->control(faults => [], release => JSON::PP::true);

$new->sql(q{UPDATE rappel_conso.source SET poll_interval = NULL WHERE name = 'rappel_conso'});
wait_no_run($new);
is($new->sync(columns => $COUNTERS), $NOTHING, 'a sync finds nothing new');
$api->control(touch => DATASET);
like($new->sync(columns => $COUNTERS), qr/^success\|[1-9]\d*\|0\|0\|\d+\|\d$/, 'what lies within the overlap is known');
is($new->sync(columns => $COUNTERS, arguments => 'full_sync => true'),
	'success|' . ($RECORDS - 1 + $BAD) . '|0|0|' . ($RECORDS - 1) . "|$BAD", 'nor does a full sync write a row');
is($new->sql('SELECT sum(withdrawn), count(*) FILTER (WHERE state <> \'success\') FROM rappel_conso.run'),
	'0|0', 'and nothing is withdrawn');
is($new->table_digest, $before{rows}, 'recalls are still the same');
is( $new->sql(q{SET ROLE cook; UPDATE rappel_conso.stream SET statement = statement WHERE name = 'prices' RETURNING value_type, search_path}),
	'kitchen.price|kitchen', q{the user's stream passes its check});
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '2024-01-0001'",
		set => { numero_version => 40, motif_rappel => 'encore un motif' }
	});
like($new->sync(columns => $COUNTERS, arguments => 'full_sync => true'), qr/^success\|\d+\|0\|1\|/, 'a change comes');
is( $new->sql(q{
		SELECT t.note, t.motif_du_rappel, (SELECT count(*) FROM rappel_conso_history), (SELECT count(*) FROM changes),
		       (SELECT string_agg(reference_fiche, ' ') FROM rc_search('"encore un motif"'))
		  FROM rappel_conso_table t WHERE reference_fiche = '2024-01-0001'}),
	'looked at|encore un motif|2|2|2024-01-0001', q{history, the user's trigger and the search go on});

done_testing();
