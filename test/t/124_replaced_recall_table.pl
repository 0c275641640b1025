# 124_replaced_recall_table.pl
#     The table of recalls is dropped while its stream runs, and a role that may
#     create in the schema puts another one in its place: the stream does not
#     write it, for its triggers would run with the rights of the stream's owner.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node('main', api => $api, kafka => $kafka, preload => 1, conf => "max_worker_processes = 20\n");

$node->sql(q{
	CREATE ROLE mallory;
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE TABLE prey (by text); GRANT INSERT ON prey TO PUBLIC;
	SET ROLE mallory;
	CREATE FUNCTION bite() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.prey VALUES (current_user); RETURN NEW; END $$});

# One recall changes, and is published.
sub change_and_trigger
{
	my ($label) = @_;

	$api->control(update => { dataset => DATASET, where => "numero_fiche = '2026-06-0299'", set => { libelle => $label } });
	$node->sql('SELECT rc_trigger()');
	return;
}

like($node->sql('SELECT rc_sync_now()'), qr/success/, 'a first run');
$node->wait_for('the stream', q{SELECT state = 'running' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
my $columns = $node->sql(q{SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'rappel_conso_table'::regclass AND attnum > 0});

foreach my $what ('a table with a trigger', 'a view')
{
	$node->sql('DROP TABLE rappel_conso_table, rappel_conso_history');
	$node->sql($what eq 'a view' ? "SET ROLE mallory; CREATE TABLE hers ($columns, PRIMARY KEY (reference_fiche)); CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON hers FOR EACH ROW EXECUTE FUNCTION bite();
		CREATE VIEW rappel_conso_table AS SELECT * FROM hers; GRANT ALL ON rappel_conso_table TO PUBLIC"
		: "SET ROLE mallory; CREATE TABLE rappel_conso_table ($columns, PRIMARY KEY (reference_fiche)); GRANT ALL ON rappel_conso_table TO PUBLIC;
		CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso_table FOR EACH ROW EXECUTE FUNCTION bite()");
	change_and_trigger($what);
	$node->wait_for('the stream', q{SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'});
	like($node->sql(q{SELECT sqlstate, error FROM rappel_conso.stream_state WHERE stream = 'rappel_conso'}),
		qr/^(?:42501\|.*"mallory"|42809\|.*"rappel_conso_table")/, "R1: $what in its place: the stream has failed");
	is($node->sql('SELECT * FROM prey'), '', "R1: $what in its place: nothing of it was run");
	$node->sql($what eq 'a view' ? 'DROP VIEW rappel_conso_table' : 'DROP TABLE rappel_conso_table');

	# and it goes on when that is gone
	$node->sql(q{SELECT rc_seek('rappel_conso', 'earliest')});
	$node->wait_for('the stream', 'SELECT count(*) = 300 FROM rappel_conso_table');
	pass("$what is gone: everything is applied again");
}

done_testing();
