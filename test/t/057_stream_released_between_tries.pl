# 057_stream_released_between_tries.pl
#     A run that does a stream's work releases the stream while it waits for
#     its next try, and others can do the work meanwhile.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node('load', api => $api, kafka => $kafka, source => { retries => 1, retry_delay => "'1 hour'" });

$node->sql(q{
	CREATE TABLE broken AS SELECT true AS yes;
	CREATE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	  IF EXISTS (SELECT FROM public.broken) THEN RAISE EXCEPTION 'no disk' USING ERRCODE = '58030'; END IF;
	  RETURN NEW; END $$;
	CREATE TABLE copy (value jsonb);
	CREATE TRIGGER t BEFORE INSERT ON copy FOR EACH ROW EXECUTE FUNCTION disk();
	UPDATE rappel_conso.stream SET statement = 'INSERT INTO public.copy SELECT value FROM records', setup = NULL, value_type = 'jsonb', workers = 2});
my $call = $node->start_session('SELECT rc_sync_now()');

$node->wait_for('the wait', q{SELECT count(*) = 1 FROM rappel_conso.task WHERE name = 'load' AND state = 'up_for_retry'});
is($node->sql(q{SELECT count(rappel_conso.worker_pid('stream', 'rappel_conso', n)) FROM generate_series(0, 1) n}), '0',
	'C1: a run that waits for its next try holds no place of the stream');
$node->sql('DELETE FROM broken; SELECT rc_start()');
$node->wait_for('the records', 'SELECT count(*) = 300 FROM copy');
pass('C1: its workers apply what the run has published');
is($node->sql(q{SELECT state FROM rappel_conso.task WHERE name = 'load'}), 'up_for_retry', 'C1: while the run waits');
$node->sql('SELECT rc_cancel(max(id)) FROM rappel_conso.run');
is($call->finish->{sqlstate}, '57014', 'C1: a wait for the next try can be cancelled');
is($node->sql('SELECT state FROM rappel_conso.run'), 'cancelled', 'C1: and so is the run');

done_testing();
