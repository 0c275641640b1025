# 056_unlogged_targets.pl
#     Unlogged targets of streams (V15): they are empty after a crash and on a
#     standby that was promoted, while the offsets stay.  The stream says so; and
#     it does not of tables that somebody has emptied himself.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('primary', api => $api, init => { allows_streaming => 1 });
my $emptied = qr/"menu"/;

# A run, and what it says of unlogged tables; then the rows, and what is kept of it.
sub run_and_warning
{
	my ($on, $call) = @_;
	my ($code, $out, $err) = $on->psql('postgres', "SELECT state, fetched, inserted FROM $call");

	return ($out, $err =~ /WARNING:  (.*)/ ? $1 : '');
}

$node->make_source('menu', api => $api);
$node->sql('ALTER TABLE menu SET UNLOGGED');
is(join(' ', run_and_warning($node, q{rc_sync_now('menu')})), 'success|300|300 ', 'an unlogged table is filled');
is(join(' ', run_and_warning($node, q{rc_sync_now('menu', true)})), 'success|300|300 ', 'V15: nothing is said of one that is full');

# ---- a user's own matter ----

$node->sql('TRUNCATE menu');
$node->sql(q{SELECT pg_stat_reset_shared('wal')});
is((run_and_warning($node, q{rc_sync_now('menu')}))[1], '', 'V15: nor of one that was truncated, whatever became of statistics');
is($node->sql('SELECT count(*) FROM menu'), '0', 'which stays empty');
$node->sql(q{UPDATE rappel_conso.stream SET name = 'carte' WHERE name = 'menu'; UPDATE rappel_conso.stream SET name = 'menu' WHERE name = 'carte'});
is((run_and_warning($node, q{rc_sync_now('menu')}))[1], '', 'V15: nor when the stream has got another name');
$node->restart;
is((run_and_warning($node, q{rc_sync_now('menu')}))[1], '', 'V15: nor after a restart');
is((run_and_warning($node, q{rc_sync_now('menu', true)}))[0], 'success|300|300', 'a full sync fills it');

# ---- a standby is promoted ----

$node->backup('base');
my $standby = RappelConso::Node->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$api->control(update => { dataset => DATASET, where => 'numero_version = 1', set => { libelle => 'changed' } });
run_and_warning($node, q{rc_sync_now('menu')});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->stop;
$standby->promote;
is($standby->sql('SELECT count(*) FROM menu'), '0', 'a promoted standby has unlogged tables empty');
like((run_and_warning($standby, q{rc_sync_now('menu')}))[1], $emptied, 'V15: the stream says so');
like($standby->status_of('stream', name => 'menu', columns => 'detail'), $emptied, 'V15: so does rc_status()');
is((run_and_warning($standby, q{rc_sync_now('menu')}))[1], '', 'V15: it is said once');
like($standby->status_of('stream', name => 'menu', columns => 'detail'), $emptied, 'V15: and kept');
is((run_and_warning($standby, q{rc_sync_now('menu', true)}))[0], 'success|300|300', 'a full sync fills it');

# ---- a crash ----

$standby->stop('immediate');
$standby->start;
is($standby->sql('SELECT count(*) FROM menu'), '0', 'so has a server that has crashed');
like((run_and_warning($standby, q{rc_sync_now('menu')}))[1], $emptied, 'V15: which the stream says, too');

done_testing();
