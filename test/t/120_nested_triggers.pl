# 120_nested_triggers.pl
#     R1: triggers of a superuser on the tables of the extension, on each of
#     them, that call functions of ours ("tell Kafka of each run").  Whoever
#     caused the change is afterwards who he was, in sessions and in workers.

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
my $node = new_node('nested', api => $api, kafka => $kafka, preload => 1, conf => "max_worker_processes = 30\n");

my $boss = $node->sql('SELECT current_user');
$kafka->create_topic('analyst.in');
$node->sql(q{
	CREATE ROLE analyst LOGIN; CREATE SCHEMA AUTHORIZATION analyst;
	GRANT USAGE ON SCHEMA rappel_conso TO analyst;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO analyst;
	GRANT SELECT ON rappel_conso.run TO analyst;
	GRANT EXECUTE ON FUNCTION rc_seek, rc_retry, rc_drain, rc_sync_now, rc_trigger, rc_cancel, rc_backfill,
	  rc_publish(text, text, text, jsonb), rc_publish(text, bytea, bytea, jsonb) TO analyst;
	INSERT INTO rappel_conso.topic_grant VALUES ('analyst', 'analyst.*', true, true), ('analyst', 'nest', true, true);
	INSERT INTO rappel_conso.stream (name, topics, paused, statement) VALUES ('idle', '{analyst.in}', true, 'SELECT 1 FROM records')});

# The trigger publishes, which changes the outbox and so calls it again; and
# moves a stream, which changes two more tables.
$node->sql(q{
	CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
	  who CONSTANT text := concat_ws(' ', current_user, session_user, current_setting('search_path'), current_setting('DateStyle'));
	BEGIN
	  IF pg_trigger_depth() = 1 THEN
	    PERFORM public.rc_publish('nest'::text, TG_TABLE_NAME::text);
	    IF TG_TABLE_NAME NOT LIKE 'stream%' AND current_user = 'BOSS' THEN
	      PERFORM public.rc_seek('idle'::text, 'latest'::text);
	    END IF;
	    BEGIN
	      PERFORM public.rc_seek('nothing'::text, 'latest'::text);
	    EXCEPTION WHEN undefined_object THEN NULL;
	    END;
	  END IF;
	  RAISE LOG 'NEST: % %', TG_TABLE_NAME, CASE WHEN who = concat_ws(' ', current_user, session_user, current_setting('search_path'), current_setting('DateStyle')) THEN 'same' ELSE 'changed' END;
	  RETURN NULL;
	END $$;
	DO $$
	DECLARE t regclass;
	BEGIN
	  FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'rappel_conso'::regnamespace AND relkind = 'r' LOOP
	    EXECUTE format('CREATE TRIGGER zz_nest AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION public.nest()', t);
	  END LOOP;
	END $$} =~ s/BOSS/$boss/gr);

# In one session, by and by; after each it is asked who that is.
my @actions = (
	q{SELECT rc_publish('analyst.out', 'a'::text) IS NOT NULL},
	q{BEGIN; SAVEPOINT s; SELECT rc_publish('analyst.out', 'b'::text) IS NOT NULL; ROLLBACK TO s; SELECT rc_publish('analyst.out', 'c'::text) IS NOT NULL; COMMIT},
	q{CREATE TABLE log (n bigint, who text); INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('hers', '{analyst.in}', 1,
	  'INSERT INTO analyst.log SELECT (value->>''n'')::bigint, concat_ws('' '', current_user, session_user, current_setting(''is_superuser'')) FROM records')},
	q{UPDATE rappel_conso.stream SET stop_after = 50 WHERE name = 'hers'},
	q{SELECT rc_seek('hers', 'earliest')},
	qq{INSERT INTO rappel_conso.source (name, url, dataset, key_field, topic, retries) VALUES ('own', '${\$api->url}', '${\DATASET}', 'numero_fiche', 'analyst.recalls', 0)},
	q{SELECT state FROM rc_sync_now('own')},
	q{UPDATE rappel_conso.source SET dataset = dataset || 'x' WHERE name = 'own'},
	q{SELECT rc_cancel(rc_backfill('own', '2026-01-01', '2026-02-01'))},
	q{DELETE FROM rappel_conso.source WHERE name = 'own'});
foreach my $action (@actions)
{
	my ($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = error;\n$action;\nSELECT 'as ' || current_user || ' ' || session_user || ' ' || current_setting('is_superuser');\nSELECT count(*) FROM pg_authid",
		extra_params => [ '-U', 'analyst' ]);

	like($out, qr/^as analyst analyst off$/m, "R1: after: $action");
	like($err, qr/ERROR:  permission denied for table pg_authid/, 'R1: she reads no more than before');
}

$kafka->produce_many('analyst.in', [ map { [ 'k', $_ ] } '{"n": 1}', 'no json', '{"n": 2}', '{"n": 3}' ]);
$node->wait_for('the stream', q{SELECT sum(next_offset) = 4 FROM rappel_conso.stream_offset WHERE stream = 'hers'});
is($node->sql(q{SELECT string_agg(DISTINCT who, ', ') || ', ' || count(*) FROM analyst.log}), 'analyst analyst off, 3', 'R1: batches of a worker are run as its owner, the later ones too');
is($node->sql(q{SELECT count(*) FROM rc_retry('hers')}), '1', 'a retry');

# What only a superuser does.
$node->sql($_) foreach
  q{INSERT INTO rappel_conso.topic_grant VALUES ('analyst', 'x', true, true); DELETE FROM rappel_conso.topic_grant WHERE topic = 'x'},
  q{CREATE ROLE newcomer; INSERT INTO rappel_conso.topic_grant VALUES ('newcomer', 'x', true, true)},
  q{SELECT rc_seek('hers', '0:1')};

# What has no row here comes to have one by an error elsewhere.
$node->sql("INSERT INTO rappel_conso.$_; DELETE FROM rappel_conso." . (split)[0]) foreach
  q{outbox_topic (topic, failures, sqlstate, error) VALUES ('none', 1, '08000', 'none')},
  q{source_wait (source, reason) VALUES ('rappel_conso', 'none')};
$node->wait_for('the publisher', q{SELECT count(*) > 0 FROM rappel_conso.outbox_state});
$node->sql(q{SELECT rc_stop()});
my ($code, $out, $err) = $node->psql('postgres', q{SET ROLE analyst; SELECT rc_publish('analyst.out', 'd'::text) IS NOT NULL; SELECT current_user});
is($out, "t\nanalyst", 'R1: who became her by SET ROLE is her still');

my %seen;
my $log = slurp_file($node->logfile);
$seen{$1}{$2}++ while $log =~ /LOG:  NEST: (\w+) (same|changed)/g;
foreach my $table (split(/\n/, $node->sql(q{SELECT relname FROM pg_class WHERE relnamespace = 'rappel_conso'::regnamespace AND relkind = 'r' ORDER BY 1})))
{
	cmp_ok($seen{$table}{same} // 0, '>', 0, "R1: the trigger on rappel_conso.$table was run");
	is($seen{$table}{changed} // 0, 0, 'and is afterwards who it was');
}

done_testing();
