# 060_workers.pl
#     The life of the workers of a database: started by hand or with the
#     server, stopped, ended by others, left without extension or database,
#     after a crash and after a promotion; and what they cost when idle.
#
# The launcher starts a scheduler again after 10 s at the earliest, so what
# waits for that waits together.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample
my $BATCH = 100;

my $api = start_api();
my $node = new_node(
	'main',
	api => $api,
	conf => <<~'EOC');
	autovacuum = off
	checkpoint_timeout = 1h
	restart_after_crash = on
	wal_level = minimal
	max_wal_senders = 0
	EOC

# The scheduler of a database, as the server sees it.
sub scheduler
{
	my ($dbname) = @_;

	return $node->sql("SELECT pid FROM pg_stat_activity
	               WHERE backend_type = 'rappel_conso scheduler'
	                 AND datname = '$dbname'");
}

sub has_scheduler
{
	my ($dbname, $name, $old) = @_;

	return ok(
		$node->poll_query_until(
			$dbname,
			"SELECT rappel_conso.worker_pid('scheduler') <> " . ($old || 0)),
		$name);
}

# The lines of the server's log from a place on that speak of an error.
sub errors_since
{
	my ($place) = @_;

	return join("\n",
		grep { /(?:ERROR|FATAL|PANIC|WARNING):/ }
		  split(/\n/, $node->log_since($place)));
}

#
# Started by hand
#

is($node->status_of('scheduler', columns => 'state'), 'stopped', 'no workers without preloading');
is($node->sql('SELECT rc_start()'), 't', 'rc_start() starts them');
is($node->status_of('scheduler', columns => 'state'), 'running', 'rc_status() says so');
is( $node->sql("SELECT detail FROM rc_status() WHERE component = 'scheduler'"),
	'process ' . scheduler('postgres'),
	'and which process it is');
is($node->sql('SELECT rc_start()'), 'f', 'a second rc_start() finds them');
is($node->sql('SELECT rc_stop()'), 1, 'rc_stop() stops them');
is($node->status_of('scheduler', columns => 'state'), 'stopped', 'rc_status() says so');
is(scheduler('postgres'), '', 'there is no process');
is($node->sql('SELECT rc_stop()'), 0, 'a second rc_stop() finds none');
is($node->sql('SELECT rc_start()'), 't', 'they can be started again');

# polled by the scheduler alone
$node->sql("UPDATE rappel_conso.source SET poll_interval = '1 second'
        WHERE name = 'rappel_conso'");
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 1 FROM rappel_conso.run WHERE state = 'success'"),
	'the scheduler runs a source when it is due');
is($node->sql("SELECT trigger || ' ' || inserted FROM rappel_conso.run"),
	"schedule $RECORDS", 'which the run tells, and the table is filled');
my $checked = $node->sql('SELECT checked_at FROM rappel_conso.source_state');
ok( $node->poll_query_until(
		'postgres', "SELECT checked_at >= '$checked'::timestamptz + '2 s'
		               FROM rappel_conso.source_state"),
	'it goes on looking for what is new');
is($node->sql('SELECT count(*) FROM rappel_conso.run'),
	1, 'and makes no run when there is nothing');
$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '2024-01-0001'",
		set => {
			marque_produit => 'marque b',
			date_publication => '2031-01-02T08:02:00+00:00'
		}
	});
ok( $node->poll_query_until(
		'postgres',
		"SELECT nom_de_la_marque_du_produit = 'marque b'
		   FROM rappel_conso_table WHERE reference_fiche = '2024-01-0001'"),
	'a changed record comes without anybody asking');
$node->sql("UPDATE rappel_conso.source SET paused = true");
ok( $node->poll_query_until(
		'postgres', "SELECT rappel_conso.worker_pid('run', 'rappel_conso')
		                    IS NULL"),
	'a paused source');
my $runs = $node->sql('SELECT count(*) FROM rappel_conso.run');

$node->poll_times('scheduler', 2);
my $lsn = $node->sql('SELECT pg_current_wal_insert_lsn()');
$node->poll_times('scheduler', 2);
is($node->sql('SELECT pg_current_wal_insert_lsn()'),
	$lsn, 'an idle scheduler writes no WAL');
is( $node->sql("SELECT state, backend_xid IS NULL, backend_xmin IS NULL,
                  xact_start IS NULL FROM pg_stat_activity
            WHERE backend_type = 'rappel_conso scheduler'"),
	'idle|t|t|t',
	'and holds neither transaction nor snapshot');
is($node->sql('SELECT count(*) FROM rappel_conso.run'), $runs, 'and starts no run');

# a run in the middle of a request
$api->control(faults => [ { fault => 'gate', on => 'export', lines => 1 } ]);
$node->sql("UPDATE rappel_conso.source SET paused = false, full_interval = '1 s'");
$api->wait_held;
is( $node->psql(
		'postgres', "SET statement_timeout = '20s'; CREATE DATABASE brief;
		             \nDROP DATABASE brief"),
	0, 'DROP DATABASE of another database waits for no worker');
is($node->sql('SELECT rc_stop()'), 2, 'rc_stop() ends scheduler and run');
is($node->sql("SELECT count(*) FROM pg_stat_activity
           WHERE backend_type LIKE 'rappel_conso%'"),
	0, 'both have gone');
is( $node->sql("SELECT state FROM rc_status() WHERE component = 'source'"),
	'failed', 'the run has failed');
$api->control(faults => []);
$node->sql("UPDATE rappel_conso.source SET poll_interval = NULL");

#
# Started with the server
#

$node->append_conf('postgresql.conf', <<~'EOC');
	shared_preload_libraries = 'rappel_conso'
	rappel_conso.databases = 'postgres, forced, stopped, bare, missing, "Later One"'
	max_worker_processes = 20
	wal_level = replica
	max_wal_senders = 5
	EOC
foreach my $dbname ('forced', 'stopped', 'bare')
{
	$node->sql("CREATE DATABASE $dbname");
	$node->create_extension(dbname => $dbname, api => $api);
}
is(scheduler('bare'), '', 'nothing runs');
my $oid = $node->sql("SELECT oid FROM pg_database WHERE datname = 'stopped'");
$node->restart;
my $started = $node->log_position;
has_scheduler($_, "with the server: the scheduler of $_")
  foreach ('postgres', 'forced', 'stopped', 'bare');
is($node->sql('SELECT rc_start()'), 'f', 'rc_start() finds it');
my %before = map { $_ => scheduler($_) } ('postgres', 'bare');

my $place = $node->log_position;
$node->sql('DROP EXTENSION rappel_conso', dbname => 'bare');
$node->sql('CREATE DATABASE "Later One"');
$node->create_extension(dbname => 'Later One', api => $api);
$node->becomes_true('one without its extension leaves',
	"NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $before{bare})");
is(errors_since($place), '', 'without an error');
is($node->sql('SELECT rc_stop()', dbname => 'stopped'), 1, 'one is stopped');
$node->create_extension(dbname => 'bare', api => $api);

is($node->psql('postgres', 'DROP DATABASE forced WITH (FORCE)'),
	0, 'a database with a scheduler can be dropped by force');
like($node->error_of('SELECT 1', dbname => 'forced'), qr/database "forced"/, 'it is gone');
$node->sql("SELECT pg_terminate_backend($before{postgres})");
$node->sql("SELECT pg_reload_conf()");
has_scheduler('postgres', 'a terminated scheduler comes back',
	$before{postgres});
has_scheduler('bare', 'so does one whose extension was made again',
	$before{bare});
has_scheduler('Later One', 'a database that is made later gets its own');

ok($node->wait_logged('3D000', 'LOG', qr/"forced"/, $place),
	'the dropped database is told');
is($node->times_logged('3D000', 'LOG', qr/"missing"/), 1,
	'the missing one once');

# The launcher has asked for the stopped one again, before the two that came
# back, but it stays away.
is( scalar(grep { /\] LOG:  .*\b$oid\b/ }
		  split(/\n/, $node->log_since(0))),
	1, 'a stopped one stays stopped');
is($node->psql('postgres', 'DROP DATABASE stopped'),
	0, 'its database can be dropped');

# One worker that is killed takes all of them along; the server comes back.
my $killed = scheduler('postgres');
$place = $node->log_position;
kill('KILL', $killed) == 1 or die "could not kill $killed";
$node->wait_for_log(qr/database system is ready to accept connections/,
	$place);
has_scheduler('postgres', 'after a crash of the server the workers are back',
	$killed);
is( $node->sql("SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'rappel_conso launcher'"),
	1, 'with one launcher');

# rc_stop() lasts over a crash, not over a restart
$node->sql('SELECT rc_stop()', dbname => 'bare');
$node->append_conf('postgresql.conf',
	"rappel_conso.databases = 'bare, \"Later One\", added'");
$node->sql('CREATE DATABASE added');
$node->create_extension(dbname => 'added', api => $api);
$node->reload;
has_scheduler('added', 'a list that is reloaded is looked at');
$node->append_conf('postgresql.conf', "rappel_conso.databases = 'postgres, bare'");
$node->restart;
has_scheduler($_, "after a restart: the scheduler of $_")
  foreach ('postgres', 'bare');

#
# Promotion
#

$node->sql('DROP TABLE rappel_conso_table');
$node->sql("UPDATE rappel_conso.source SET fold_accents = NOT fold_accents,
       poll_interval = NULL, full_interval = '7 days';
       UPDATE rappel_conso.stream SET batch_size = $BATCH");
my $from = $node->sql('SELECT COALESCE(max(id), 0) FROM rappel_conso.run');
$node->backup('base');
my $standby = RappelConso::Node->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
like($standby->error_of('SELECT rc_sync_now()'),
	qr/^25006: .*"rappel_conso".*rc_sync_now\(\)/,
	'a standby refuses rc_sync_now() with a hint');
like($standby->error_of('SELECT rc_start()'),
	qr/^25006: cannot execute rc_start\(\) during recovery$/,
	'and rc_start()');
is( $standby->sql("SELECT count(*) FROM pg_stat_activity
		              WHERE backend_type LIKE 'rappel_conso%'"),
	0, 'it has no workers');

# the primary dies in the middle of a run
$api->control(
	faults => [ { fault => 'gate', on => 'export', lines => $BATCH + 50 } ]);
$node->sql("UPDATE rappel_conso.source SET poll_interval = '1 second'
        WHERE name = 'rappel_conso'");
$api->wait_held;
$node->wait_for('a batch', "SELECT fetched = $BATCH FROM rappel_conso.run ORDER BY id DESC LIMIT 1");
$node->wait_for_catchup($standby, 'replay',
	$node->sql('SELECT pg_current_wal_insert_lsn()'));
$node->stop('immediate');
$api->control(faults => []);
$standby->promote;
$node = $standby;
has_scheduler('postgres', 'the promoted server starts its scheduler');
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM rappel_conso.run
		              WHERE id > $from AND state = 'success'"),
	'which goes on with the source');
is( $node->sql("SELECT count(*) || ' ' || count(DISTINCT reference_fiche)
             FROM rappel_conso_table"),
	"$RECORDS $RECORDS", 'every recall is there once');
is( $node->sql("SELECT string_agg(state || ' ' || inserted, ', ' ORDER BY id)
             FROM rappel_conso.run WHERE id > $from"),
	"failed $BATCH, success " . ($RECORDS - $BATCH),
	'the run that died is marked, and nothing was inserted twice');

#
# Too few slots
#

# launchers of ours and of logical replication, and the scheduler
$node->append_conf('postgresql.conf', <<~'EOC');
	max_worker_processes = 3
	rappel_conso.databases = 'postgres'
	rappel_conso.kafka_brokers = '127.0.0.1:1'
	EOC
$node->restart;
my $stream = "SELECT state || ': ' || detail FROM rc_status()
               WHERE component = 'stream'";
$node->becomes_true('a stream without a slot', "($stream) ~ 'max_worker_processes'");
like($node->sql($stream),
	qr/^waiting: \D*\b0\D+1\b.*max_worker_processes/,
	'waits, and says for what');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
ok( $node->poll_query_until(
		'postgres',
		"SELECT rappel_conso.worker_pid('stream', 'rappel_conso') > 0"),
	'with more slots it gets its worker');
$node->stop('fast');
ok(!-e $node->data_dir . '/postmaster.pid',
	'workers that wait for a broker do not hold up a shutdown');

done_testing();
