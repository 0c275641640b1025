# 127_statement_execution.pl
#     How the statement of a stream is executed: what its tables' rules make of
#     it, who sees it (pg_stat_statements, auto_explain), and that what goes
#     wrong before the first record is looked at is no record's fault.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('main', kafka => $kafka, preload => 1, conf => "max_worker_processes = 20\n");
my $share = `pg_config --sharedir`;
chomp $share;

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE ROLE app LOGIN;
	CREATE SCHEMA app AUTHORIZATION app;
	INSERT INTO rappel_conso.topic_grant VALUES ('app', '*', true, true);
	CREATE TABLE app.kept (n int PRIMARY KEY, note text);
	CREATE TABLE app.log (n int, at timestamptz DEFAULT now());
	ALTER TABLE app.kept OWNER TO app;
	ALTER TABLE app.log OWNER TO app;
	EOC

# A stream of app's over a topic of its own name, with so many records.
sub add
{
	my ($name, $statement, %columns) = @_;

	$node->add_stream($name, owner => q{'app'}, statement => "\$q\$$statement\$q\$", %columns);
	return;
}

# Numbers as records, all of one key.
sub add_numbers
{
	my ($topic, @numbers) = @_;

	return $kafka->produce_many($topic, [ map { [ 'k', $_ ] } @numbers ]);
}

# ---- rules ----

$node->sql(<<~'EOC');
	CREATE TABLE app.ruled (n int);
	CREATE TABLE app.instead (n int);
	ALTER TABLE app.ruled OWNER TO app;
	ALTER TABLE app.instead OWNER TO app;
	CREATE RULE also AS ON INSERT TO app.ruled DO ALSO INSERT INTO app.log (n) VALUES (NEW.n);
	CREATE RULE tell AS ON INSERT TO app.ruled DO ALSO NOTIFY told;
	CREATE RULE elsewhere AS ON INSERT TO app.instead DO INSTEAD INSERT INTO app.log (n) VALUES (- NEW.n);
	EOC
add_numbers('ruled', 1, 2, 3);
add_numbers('instead', 4, 5);
add('ruled', 'INSERT INTO app.ruled SELECT value::int FROM records', value_type => q{'text'});
$node->wait_applied('ruled', 3);
is($node->sql('SELECT count(*), sum(n) FROM app.ruled'), '3|6', 'a table with rules is filled');
is($node->sql('SELECT count(*), sum(n) FROM app.log'), '3|6', 'and so is what its rule fills');
is($node->sql(q{SELECT sum(inserted), sum(updated), sum(dead) FROM rappel_conso.stream_offset WHERE stream = 'ruled'}), '3|0|0', 'rows of the statement are counted, not those of its rules');
$node->sql('TRUNCATE app.log');
add('instead', 'INSERT INTO app.instead SELECT value::int FROM records', value_type => q{'text'});
$node->wait_applied('instead', 2);
is($node->sql('SELECT (SELECT count(*) FROM app.instead), count(*), sum(n) FROM app.log'), '0|2|-9', 'a rule does something else instead');

# ---- what is returned ----

add_numbers($_, 7, 8, 9) foreach 'upsert', 'again', 'shout';
add('upsert', 'INSERT INTO app.kept SELECT value::int FROM records ON CONFLICT (n) DO UPDATE SET note = $$twice$$ RETURNING xmax = 0 AS inserted', value_type => q{'text'});
$node->wait_applied('upsert', 3);
add('again', 'INSERT INTO app.kept SELECT value::int FROM records ON CONFLICT (n) DO UPDATE SET note = $$twice$$ RETURNING xmax = 0 AS inserted', value_type => q{'text'});
$node->wait_applied('again', 3);
is($node->sql(q{SELECT string_agg(inserted || ' ' || updated, ', ' ORDER BY stream) FROM rappel_conso.stream_offset WHERE stream IN ('upsert', 'again')}), '0 3, 3 0', 'rows tell whether they were inserted');
add('shout', q{WITH u AS (UPDATE app.kept SET note = 'loud' RETURNING n) SELECT u.n::text AS key, to_jsonb(u.n * 10) AS value, '{"a": "b"}'::jsonb AS headers FROM u, records ORDER BY u.n, record_offset},
	value_type => q{'text'}, output_topic => q{'shouted'}, batch_size => 3);
$node->wait_applied('shout', 3);
$node->wait_published;
is(join(' ', map { "$_->{key}=$_->{payload}" } $kafka->consume('shouted')), '7=70 7=70 7=70 8=80 8=80 8=80 9=90 9=90 9=90', 'each row that is returned is a message, in order');

# ---- what is wrong before a record is looked at ----

foreach my $case (
	[ 'denied', 'REVOKE INSERT ON app.gone FROM app', 'GRANT INSERT ON app.gone TO app', '42501' ],
	[ 'dropped', 'ALTER TABLE app.gone RENAME TO went', 'ALTER TABLE app.went RENAME TO gone', '42P01' ],
	[ 'column', 'ALTER TABLE app.gone RENAME COLUMN n TO m', 'ALTER TABLE app.gone RENAME COLUMN m TO n', '42703' ])
{
	my ($name, $break, $mend, $sqlstate) = @$case;

	$node->sql('DROP TABLE IF EXISTS app.gone; CREATE TABLE app.gone (n int); GRANT INSERT, SELECT ON app.gone TO app');
	add_numbers($name, 1);
	add($name, 'INSERT INTO app.gone (n) SELECT value::int FROM records', value_type => q{'text'}, batch_size => 1);
	$node->wait_applied($name, 1);
	$node->sql($break);
	add_numbers($name, 2, 3);
	$node->wait_for("the error of $name", "SELECT sqlstate = '$sqlstate' FROM rappel_conso.stream_state WHERE stream = '$name' AND state IN ('waiting', 'failed')");
	is($node->sql("SELECT count(*) FROM rappel_conso.dead_letter WHERE name = '$name'"), '0', "$name: no record is blamed");
	$node->sql("$mend; UPDATE rappel_conso.stream_state SET retry_at = NULL WHERE stream = '$name'");
	$node->wait_applied($name, 3);
	is($node->sql('SELECT count(*), sum(n) FROM app.gone'), '3|6', "$name: all of them are applied when it is mended");
	$node->sql("DELETE FROM rappel_conso.stream WHERE name = '$name'");
}

# ---- who sees it ----

SKIP:
{
	skip 'this server has no pg_stat_statements', 2 if !-e "$share/extension/pg_stat_statements.control";
	my $preload = $node->sql('SHOW shared_preload_libraries');

	$node->append_conf('postgresql.conf', <<~"EOC");
		shared_preload_libraries = '$preload, pg_stat_statements, auto_explain'
		auto_explain.log_min_duration = 0
		auto_explain.log_analyze = on
		compute_query_id = on
		EOC
	$node->restart;
	$node->sql('CREATE EXTENSION pg_stat_statements; CREATE TABLE app.seen (n int); ALTER TABLE app.seen OWNER TO app');
	my $place = $node->log_position;
	add_numbers('seen', 1 .. 5);
	add('seen', 'INSERT INTO app.seen SELECT value::int FROM records', value_type => q{'text'});
	$node->wait_applied('seen', 5);
	is($node->sql(q{SELECT sum(s.rows), string_agg(DISTINCT r.rolname, ' ') FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE s.query ~ 'INSERT INTO app.seen'}), '5|app', 'pg_stat_statements counts its rows, as its owner');
	like($node->log_since($place), qr/Query Text: INSERT INTO app\.seen SELECT value::int FROM records\s+Insert on seen .*\n\s+->  Named Tuplestore Scan/, 'auto_explain shows its plan');
}

done_testing();
