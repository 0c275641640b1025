# 116_history_kafka.pl
#     With Kafka, the tables of recalls are dropped while the stream's worker
#     runs: the history is made again and no record is lost or dead; the table,
#     too, of which the status speaks until rc_seek().

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node('main', api => $api, kafka => $kafka, preload => 1, conf => "max_worker_processes = 16\n");
my $fiche = '2026-06-0299';

sub stream_detail { return $node->sql(q{SELECT detail FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'}); }

$node->sql('SELECT rc_start(); SELECT rc_sync_now()');
$node->wait_for('all recalls', 'SELECT count(*) = 300 FROM rappel_conso_table');

# The history
$node->sql('DROP TABLE rappel_conso_history');
$api->control(update => { dataset => DATASET, where => "numero_fiche = '$fiche'", set => { libelle => 'another' } });
$node->psql('postgres', 'SELECT rc_sync_now(full_sync => true)');
$node->wait_for('the change', "SELECT libelle = 'another' FROM rappel_conso_table WHERE reference_fiche = '$fiche'");
is($node->sql('SELECT count(*), min(reference_fiche) FROM rappel_conso_history'), "1|$fiche", 'the history is made again, with the old row');
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'), 0, 'and no record is dead');

# The table
my $at = $node->log_position;
$node->sql('DROP TABLE rappel_conso_table');
$node->sql(q{UPDATE rappel_conso.stream SET batch_size = batch_size - 1 WHERE name = 'rappel_conso'});
$node->wait_for('the table', q{SELECT state = 'running' AND detail IS NOT NULL FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
ok($node->times_logged('42P01', 'WARNING', qr/"rappel_conso".*\Q${\stream_detail()}\E/, $at), 'a table that is made anew is told of');
$node->sql(q{UPDATE rappel_conso.stream SET batch_size = batch_size + 1 WHERE name = 'rappel_conso'});
$node->sql(q{SELECT rc_seek('rappel_conso', 'earliest')});
$node->wait_for('all recalls again', 'SELECT count(*) = 300 FROM rappel_conso_table');
is(stream_detail(), '', 'until rc_seek()');
is($node->sql(q{SELECT state FROM rc_status() WHERE component = 'stream'}), 'running', 'and the stream runs');

done_testing();
