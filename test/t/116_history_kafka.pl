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

sub value { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($what, $sql) = @_;

	$node->poll_query_until('postgres', $sql) or die "has not come: $what";
	return;
}

sub detail { return value(q{SELECT detail FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'}); }

value('SELECT rc_start(); SELECT rc_sync_now()');
wait_for('all recalls', 'SELECT count(*) = 300 FROM rappel_conso_table');

# The history
value('DROP TABLE rappel_conso_history');
$api->control(update => { dataset => DATASET, where => "numero_fiche = '$fiche'", set => { libelle => 'another' } });
$node->psql('postgres', 'SELECT rc_sync_now(full_sync => true)');
wait_for('the change', "SELECT libelle = 'another' FROM rappel_conso_table WHERE reference_fiche = '$fiche'");
is(value('SELECT count(*), min(reference_fiche) FROM rappel_conso_history'), "1|$fiche", 'the history is made again, with the old row');
is(value('SELECT count(*) FROM rappel_conso.dead_letter'), 0, 'and no record is dead');

# The table
value('DROP TABLE rappel_conso_table');
value(q{UPDATE rappel_conso.stream SET batch_size = batch_size - 1 WHERE name = 'rappel_conso'});
wait_for('the table', q{SELECT detail ~ 'made anew' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
is(detail(), 'a table was missing and was made anew: what had been applied before is not in it', 'a table that is made anew is told of');
value(q{UPDATE rappel_conso.stream SET batch_size = batch_size + 1 WHERE name = 'rappel_conso'});
value(q{SELECT rc_seek('rappel_conso', 'earliest')});
wait_for('all recalls again', 'SELECT count(*) = 300 FROM rappel_conso_table');
is(detail(), '', 'until rc_seek()');
is(value(q{SELECT state FROM rc_status() WHERE component = 'stream'}), 'running', 'and the stream runs');

done_testing();
