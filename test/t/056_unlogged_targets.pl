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
my $emptied = qr/unlogged table "menu" was emptied by a crash or a promotion: what had been applied before is not in it/;

# A run, and what it says of unlogged tables; then the rows, and what is kept of it.
sub run
{
	my ($on, $call) = @_;
	my ($code, $out, $err) = $on->psql('postgres', "SELECT state, fetched, inserted FROM $call");

	return ($out, $err =~ /WARNING:  (.*)/ ? $1 : '');
}

sub value { my ($on, $sql) = @_; return $on->safe_psql('postgres', $sql); }

sub detail { return value($_[0], q{SELECT detail FROM rc_status() WHERE component = 'stream' AND name = 'menu'}); }

make_source($node, 'menu', api => $api);
value($node, 'ALTER TABLE menu SET UNLOGGED');
is(join(' ', run($node, q{rc_sync_now('menu')})), 'success|300|300 ', 'an unlogged table is filled');
is(join(' ', run($node, q{rc_sync_now('menu', true)})), 'success|300|300 ', 'V15: nothing is said of one that is full');

# ---- a user's own matter ----

value($node, 'TRUNCATE menu');
value($node, q{SELECT pg_stat_reset_shared('wal')});
is((run($node, q{rc_sync_now('menu')}))[1], '', 'V15: nor of one that was truncated, whatever became of statistics');
is(value($node, 'SELECT count(*) FROM menu'), '0', 'which stays empty');
value($node, q{UPDATE rappel_conso.stream SET name = 'carte' WHERE name = 'menu'; UPDATE rappel_conso.stream SET name = 'menu' WHERE name = 'carte'});
is((run($node, q{rc_sync_now('menu')}))[1], '', 'V15: nor when the stream has got another name');
$node->restart;
is((run($node, q{rc_sync_now('menu')}))[1], '', 'V15: nor after a restart');
is((run($node, q{rc_sync_now('menu', true)}))[0], 'success|300|300', 'a full sync fills it');

# ---- a standby is promoted ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$api->control(update => { dataset => DATASET, where => 'numero_version = 1', set => { libelle => 'changed' } });
run($node, q{rc_sync_now('menu')});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->stop;
$standby->promote;
is(value($standby, 'SELECT count(*) FROM menu'), '0', 'a promoted standby has unlogged tables empty');
like((run($standby, q{rc_sync_now('menu')}))[1], $emptied, 'V15: the stream says so');
like(detail($standby), $emptied, 'V15: so does rc_status()');
is((run($standby, q{rc_sync_now('menu')}))[1], '', 'V15: it is said once');
like(detail($standby), $emptied, 'V15: and kept');
is((run($standby, q{rc_sync_now('menu', true)}))[0], 'success|300|300', 'a full sync fills it');

# ---- a crash ----

$standby->stop('immediate');
$standby->start;
is(value($standby, 'SELECT count(*) FROM menu'), '0', 'so has a server that has crashed');
like((run($standby, q{rc_sync_now('menu')}))[1], $emptied, 'V15: which the stream says, too');

done_testing();
