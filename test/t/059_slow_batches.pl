# 059_slow_batches.pl
#     Records that take long (D9): a batch beyond the owner's time limit is cut
#     into smaller ones, proof is looked for among all records of a batch, and
#     no transaction lasts long meanwhile.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node(
	'slow',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 40\nlog_min_messages = log\n");

sub dead_range
{
	return $node->sql(qq{
		SELECT count(*), min(record_offset), max(record_offset), min(sqlstate), max(sqlstate)
		FROM rappel_conso.dead_letter WHERE origin = 'stream' AND name = '$_[0]'});
}

foreach my $topic ([ 'unproven', 300 ], [ 'limit', 600 ], [ 'halved', 40 ])
{
	my ($name, $n) = @$topic;

	$kafka->produce_many($name, [ map { [ "k$_", qq({"n": $_}) ] } 0 .. $n - 1 ]);
}

# Each failure takes 40 ms: 150 of them more than the 5 s of a transaction.
$node->sql(q{
	UPDATE rappel_conso.stream SET paused = true;
	CREATE TABLE unproven (n int);
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	  IF NEW.n < 150 THEN
	    PERFORM pg_sleep(0.04);
	    RAISE LOG 'unproven % in %', NEW.n, pg_current_xact_id();
	    RAISE EXCEPTION 'bad %', NEW.n USING ERRCODE = '39000';
	  END IF;
	  RETURN NEW; END $$;
	CREATE TRIGGER t BEFORE INSERT ON unproven FOR EACH ROW EXECUTE FUNCTION refuse();
	INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES
	  ('unproven', '{unproven}', 300, 'INSERT INTO unproven SELECT (value->>''n'')::int FROM records')});

# All take 2 ms but one, which alone is beyond the limit.
$node->sql(q{
	CREATE ROLE hasty LOGIN;
	ALTER ROLE hasty SET statement_timeout = '400ms';
	GRANT CREATE ON SCHEMA public TO hasty;
	GRANT USAGE ON SCHEMA rappel_conso TO hasty;
	GRANT SELECT, INSERT ON rappel_conso.stream TO hasty;
	INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('hasty', 'limit', true);
	CREATE TABLE "limit" (n int);
	GRANT ALL ON "limit" TO hasty;
	SET ROLE hasty;
	INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('limit', '{limit}', 600, $$
	  INSERT INTO "limit" SELECT (value->>'n')::int FROM records, pg_sleep(CASE value->>'n' WHEN '333' THEN 2 ELSE 0.002 END * (topic = 'limit')::int) $$)});

# More than three together are beyond a limit of 2 s.
$node->sql(q{
	CREATE ROLE patient LOGIN;
	ALTER ROLE patient SET statement_timeout = '2s';
	GRANT CREATE ON SCHEMA public TO patient;
	GRANT USAGE ON SCHEMA rappel_conso TO patient;
	GRANT SELECT, INSERT ON rappel_conso.stream TO patient;
	INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('patient', 'halved', true);
	CREATE TABLE halved (n int);
	GRANT ALL ON halved TO patient;
	CREATE FUNCTION together() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	  RAISE LOG 'halved % in %', (SELECT count(*) FROM rows), pg_current_xact_id();
	  IF (SELECT count(*) FROM rows) > 3 THEN PERFORM pg_sleep(60); END IF;
	  RETURN NULL; END $$;
	CREATE TRIGGER t AFTER INSERT ON halved REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION together();
	SET ROLE patient;
	INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES
	  ('halved', '{halved}', 40, 'INSERT INTO halved SELECT (value->>''n'')::int FROM records')});

$node->sql('SELECT rc_start()');
$node->wait_applied('unproven', 300);
$node->wait_applied('limit', 600);
$node->wait_applied('halved', 40);
my $log = slurp_file($node->logfile);

is(dead_range('unproven'), '150|0|149|39000|39000', 'D9: a record behind many slow failures is proof');
is($node->sql('SELECT count(*), min(n), max(n) FROM unproven'), '150|150|299', 'D9: and all others are applied');
my %tried = map { $_ => 1 } $log =~ /unproven \d+ in (\d+)/g;
cmp_ok(scalar keys %tried, '>', 1, 'D9: proof is looked for in more than one transaction');

is(dead_range('limit'), '1|333|333|57014|57014', 'D9: the time limit costs the record that is alone beyond it');
is($node->sql('SELECT count(*), count(DISTINCT n) FROM "limit"'), '599|599', 'D9: the others are applied in smaller batches');

is(dead_range('halved'), '0||||', 'D9: a batch beyond the time limit costs no record');
is($node->sql('SELECT count(*), count(DISTINCT n) FROM halved'), '40|40', 'D9: and all of them are applied');
my ($first) = $log =~ /LOG:  halved \d+ in (\d+)/;
my ($passed) = $log =~ /LOG:  halved [123] in (\d+)/;
ok($first && $passed, 'D9: a batch was cut into smaller ones');
isnt($passed, $first, 'D9: the search for a size that passes is no single transaction');

is($node->sql(q{SELECT count(*) FROM rappel_conso.stream_state WHERE state = 'failed' OR last_error_at IS NOT NULL}), 0, 'D9: none of the streams has failed');

# A batch that lasts long is not wanted any more before it is applied to its
# end.  One of the first records is bad, so that it is cut into smaller ones.
my %ends = (
	grant => [ q{DELETE FROM rappel_conso.topic_grant WHERE role = 'slow_grant'}, q{INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('slow_grant', 'slow_grant', true)} ],
	rename => [ 'ALTER ROLE slow_rename RENAME TO other', 'ALTER ROLE other RENAME TO slow_rename' ]);
foreach my $how (sort keys %ends)
{
	my $name = "slow_$how";

	$kafka->produce_many($name, [ map { [ "k$_", qq({"n": $_}) ] } 0 .. 399 ]);
	$node->sql(qq{
		CREATE ROLE $name LOGIN;
		GRANT CREATE ON SCHEMA public TO $name; GRANT USAGE ON SCHEMA rappel_conso TO $name; GRANT SELECT, INSERT ON rappel_conso.stream TO $name;
		INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('$name', '$name', true);
		CREATE TABLE $name (n int); GRANT ALL ON $name TO $name;
		CREATE FUNCTION ${name}_row() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(0.05), 1 / (NEW.n - 7); RETURN NEW; END \$\$;
		CREATE TRIGGER t BEFORE INSERT ON $name FOR EACH ROW EXECUTE FUNCTION ${name}_row();
		SET ROLE $name;
		INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES
		  ('$name', '{$name}', 400, 'INSERT INTO $name SELECT (value->>''n'')::int FROM records')});
}
foreach my $how (sort keys %ends)
{
	my ($end, $undo) = @{ $ends{$how} };
	my $name = "slow_$how";

	$node->wait_for($name, "SELECT count(*) > 0 FROM $name");
	$node->sql($end);
	$node->wait_for($name, "SELECT rappel_conso.worker_pid('stream', '$name') IS NULL OR state <> 'running' FROM rappel_conso.stream_state WHERE stream = '$name'");
	cmp_ok($node->sql("SELECT count(*) FROM $name"), '<', 399, "D9: $how: the stream ends in the middle of what it has fetched");
	is( $node->sql("SELECT next_offset - max(n) FROM rappel_conso.stream_offset, $name WHERE stream = '$name' GROUP BY next_offset"),
		'1', "D9: $how: its offset is not past what is not applied");
	$node->sql("$undo; DROP TRIGGER t ON $name; UPDATE rappel_conso.stream SET owner = owner WHERE name = '$name'");
	$node->wait_applied($name, 400);
	is($node->sql("SELECT count(*), count(DISTINCT n) FROM $name"), '399|399', "D9: $how: then all is applied, once");
}

done_testing();
