# 058_waiting_for_removed_topic.pl
#     Who waits for a stream to come to the end of a topic is told when the
#     stream goes, or does not read that topic any more (D10, D13).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node('main', api => $api, kafka => $kafka, conf => "max_worker_processes = 20\n");

$node->sql(q{
	CREATE TABLE slow (key text);
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;
	CREATE TRIGGER slow BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION slow()});
$kafka->create_topic('other');

my %changes = (
	topic => [ q{UPDATE rappel_conso.stream SET topics = '{other}' WHERE name = 'NAME'}, qr/55000: stream "NAME" .*topic "NAME"/ ],
	deleted => [ q{UPDATE rappel_conso.source SET stream = NULL WHERE stream = 'NAME'; DELETE FROM rappel_conso.stream WHERE name = 'NAME'}, qr/55000: stream "NAME"/ ]);
foreach my $scheduler (0, 1)
{
	$node->sql('SELECT rc_start()') if $scheduler;
	foreach my $how (sort keys %changes)
	{
		foreach my $call ('drain', 'run')
		{
			my $name = "${call}_${how}_$scheduler";
			my ($change, $error) = map { s/NAME/$name/gr } @{ $changes{$how} };
			my $sql = $call eq 'drain' ? "SELECT rc_drain('$name')" : "SELECT rc_sync_now('$name')";

			$kafka->create_topic($name);
			$kafka->produce_many($name, [ map { [ "k$_", 'v' ] } 1 .. 300 ]) if $call eq 'drain';
			$node->sql("INSERT INTO rappel_conso.stream (name, topics, value_type, batch_size, statement)
				VALUES ('$name', '{$name}', 'text', 5, 'INSERT INTO public.slow SELECT ''$name'' FROM records')");
			$node->sql("INSERT INTO rappel_conso.source (name, url, dataset, key_field, topic, stream, retries)
				VALUES ('$name', '${\$api->url}', '${\DATASET}', 'numero_fiche', '$name', '$name', 0)") if $call eq 'run';
			my $session = $node->start_session("\\set VERBOSITY verbose\n$sql");
			$node->wait_for($name, "SELECT count(*) > 0 FROM slow WHERE key = '$name'");
			$node->sql($change);
			$session->finish;
			# where it does the stream's work itself, its statement is cancelled
			$error = qr/55000: stream "$name"/ if !$scheduler;
			like($session->{err}, qr/$error/, "D13: $name is told");
			$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = '$name'");
		}
	}
}

done_testing();
