# 044_error_class.pl
#     Whose fault an error is (V1): of a record only what speaks of data, or
#     what is proven by a later record that could be applied; all else makes
#     the batch wait, or fails the stream, and costs no record.

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
	'class',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 60\n");

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_state
{
	my ($stream, $state) = @_;

	$node->wait_for("$stream to be $state",
		"SELECT concat_ws(' ', state, sqlstate) FROM rappel_conso.stream_state WHERE stream = '$stream'", $state);
	return;
}

sub offset_of
{
	return query("SELECT COALESCE(sum(next_offset), 0) FROM rappel_conso.stream_offset WHERE stream = '$_[0]'");
}

sub dead
{
	return query(qq{
		SELECT record_offset, sqlstate FROM rappel_conso.dead_letter
		WHERE origin = 'stream' AND name = '$_[0]' ORDER BY partition, record_offset});
}

sub numbers
{
	my ($topic, $from, $to, @options) = @_;

	$kafka->produce_many($topic, [ map { [ "k$_", qq({"n": $_}) ] } $from .. $to ], @options);
	return;
}

# A table and a stream whose trigger calls bad_NAME(n) for each row.
sub stream
{
	my ($name, $bad, %columns) = @_;
	my ($names, $values) = ('', '');

	foreach my $column (sort keys %columns)
	{
		$names .= ", $column";
		$values .= ", $columns{$column}";
	}
	$columns{topics} //= "'{$name}'";
	return <<~EOC;
		CREATE TABLE $name (n int);
		CREATE FUNCTION bad_$name(n int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $bad END \$\$;
		CREATE FUNCTION f_$name() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM bad_$name(NEW.n); RETURN NEW; END \$\$;
		CREATE TRIGGER t BEFORE INSERT ON $name FOR EACH ROW EXECUTE FUNCTION f_$name();
		INSERT INTO rappel_conso.stream (name${\($columns{topics} eq "'{$name}'" ? ', topics' : '')}$names, statement) VALUES ('$name'${\($columns{topics} eq "'{$name}'" ? ", '{$name}'" : '')}$values, 'INSERT INTO $name SELECT (value->>''n'')::int FROM records');
		EOC
}

sub raises { return "IF n = $_[1] THEN RAISE EXCEPTION 'bad %', n USING ERRCODE = '$_[0]'; END IF;"; }

query(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	EOC

# ---- one bad record among good ones, by any class ----

my @codes = ('39000', '20000', 'ZZ001', '3F000', 'XX000', '38001', '55000', '0A000', '2F005', '42P01', '42883', '42501', '42704', '22012', '23514', 'P0001', '54001', '44000', '21000', '42601');
numbers('many', 0, 19);
query(join('', map { stream(lc "c$codes[$_]", raises($codes[$_], $_ % 19), topics => "'{many}'") } 0 .. $#codes));
foreach my $i (0 .. $#codes)
{
	my $name = lc "c$codes[$i]";

	$node->wait_applied($name, 20);
	is(dead($name) . '/' . query("SELECT count(*), count(DISTINCT n) FROM $name"),
		$i % 19 . "|$codes[$i]/19|19", "V1: $codes[$i], one bad record among good ones is a dead letter");
}

# ---- what is never a record's: the batch waits ----

my @waiting = ('08006', '25006', '40001', '53200', '57P01', '57014', '58030', 'F0000', 'HV00N', 'XX001', 'XX002', '55P03', '55006');
query(join('', map {
	stream(lc "w$_", "IF EXISTS (SELECT FROM broken) THEN " . raises($_, 7) . ' END IF;', topics => "'{many}'", batch_size => $_ eq '40001' ? 1 : 10000)
} @waiting) =~ s/^/CREATE TABLE broken AS SELECT true AS yes;\n/r);
foreach my $code (@waiting)
{
	my $name = lc "w$code";

	# of serialization failures nothing is said: they are tried again at once
	$node->wait_for("an error of $name", "SELECT state = 'waiting' FROM rappel_conso.stream_state WHERE stream = '$name'")
	  unless $code eq '40001';
}
is(query(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name LIKE 'w%'}), '0', 'V1: none of them blames a record');
query('DELETE FROM broken');
foreach my $code (@waiting)
{
	my $name = lc "w$code";

	$node->wait_applied($name, 20);
	is(dead($name) . query("SELECT count(*), count(DISTINCT n) FROM $name"), '20|20', "V1: $code, the batch waits, and is applied");
}

# ---- one bad record alone ----

numbers('alone', 0, 2);
query(stream('alone', raises('39000', 1)) . stream('alone2', raises('42883', 2), topics => "'{alone}'", batch_size => 1));
$node->wait_applied('alone', 3);
is(dead('alone'), '1|39000', 'V1: a record behind it is proof');
wait_state('alone2', 'waiting 42883');
is(query(q{SELECT detail ~ 'bad 2' AND detail ~ 'rc_seek\(.alone2., .0:3.\)', error ~ 'bad 2' FROM rappel_conso.stream_state WHERE stream = 'alone2'}),
	't|t', 'V1: the last record is undecided, and the stream says how to pass over it');
is(dead('alone2') . offset_of('alone2') . query('SELECT count(*) FROM alone2'), '22', 'V1: what precedes it is committed');
is(query(q{SELECT state FROM rc_status() WHERE component = 'stream' AND name = 'alone2'}), 'waiting', 'and rc_status() tells it');
numbers('alone', 3, 3);
$node->wait_applied('alone2', 4);
is(dead('alone2') . '/' . query('SELECT count(*) FROM alone2'), '2|42883/3', 'V1: a good one behind it decides, with batches of 1');
$node->wait_for('the state', q{SELECT state = 'running' AND detail IS NULL FROM rappel_conso.stream_state WHERE stream = 'alone2'});
numbers('alone', 1, 1);
wait_state('alone', 'waiting 39000');
query(q{SELECT rc_seek('alone', '0:5')});
$node->wait_for('running', q{SELECT state = 'running' FROM rappel_conso.stream_state WHERE stream = 'alone'});
is(dead('alone') . offset_of('alone'), '1|390005', 'V1: rc_seek() passes over it');

# while nothing comes behind it, the stream tries it less and less often
query(q{
	CREATE TABLE tries (at timestamptz);
	CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.tries VALUES (NEW.last_error_at); RETURN NULL; END $$;
	CREATE TRIGGER t AFTER UPDATE ON rappel_conso.stream_state FOR EACH ROW WHEN (NEW.stream = 'quiet' AND NEW.state = 'waiting') EXECUTE FUNCTION tried()});
numbers('quiet', 0, 0);
query(stream('quiet', raises('39000', 0)));

# what speaks of data needs no proof
numbers('data', 0, 0);
query(stream('data', raises('22023', 0)));
$node->wait_applied('data', 1);
is(dead('data'), '0|22023', 'V1: class 22 needs no proof');

# a bad one whose proof stands in another partition
$kafka->create_topic('two', partitions => 2);
query(stream('two', raises('ZZ002', 1), batch_size => 1));
numbers('two', 1, 1, '-p', 0);
wait_state('two', 'waiting ZZ002');
numbers('two', 5, 5, '-p', 1);
$node->wait_applied('two', 2);
is(dead('two') . query('SELECT n FROM two'), '0|ZZ0025', 'V1: a record of another partition is proof, too');

# ---- a fault of the server that begins half-way ----

numbers('half', 0, 999);
query('INSERT INTO broken VALUES (true)');
query(join('', map {
	my $size = $_;

	map { stream("half${_}_$size", "IF n >= 500 AND EXISTS (SELECT FROM broken) THEN " . ($_ eq 'gone' ? 'PERFORM no_such_function(n);' : "RAISE EXCEPTION 'no' USING ERRCODE = 'XX000';") . ' END IF;',
			topics => "'{half}'", batch_size => $size) } 'gone', 'internal'
} 1, 1000));
foreach my $size (1, 1000)
{
	foreach my $kind ('gone', 'internal')
	{
		my $code = $kind eq 'gone' ? '42883' : 'XX000';

		wait_state("half${kind}_$size", ($size == 1 ? 'failed' : 'waiting') . " $code");
		is(offset_of("half${kind}_$size") . dead("half${kind}_$size"), '500', "V1: $kind, batches of $size: what precedes it is applied");
	}
}
query('DELETE FROM broken');
query(q{UPDATE rappel_conso.stream SET stop_after = stop_after + 1 WHERE name LIKE 'half%' AND batch_size = 1});
foreach my $size (1, 1000)
{
	foreach my $kind ('gone', 'internal')
	{
		$node->wait_applied("half${kind}_$size", 1000);
		is(dead("half${kind}_$size") . query("SELECT count(*), count(DISTINCT n) FROM half${kind}_$size"),
			'1000|1000', "V1: $kind, batches of $size: mended, no record is dead, all are applied");
	}
}

# ---- a fault that is mended while records are being tried ----

query('CREATE SEQUENCE calls; CREATE SEQUENCE more_calls');
query(stream('mended', q{IF n >= 500 AND nextval('calls') <= 250 THEN RAISE EXCEPTION 'no' USING ERRCODE = '39001'; END IF;}, topics => "'{half}'")
	  . stream('mended2', q{IF n = 3 OR n >= 500 AND nextval('more_calls') <= 20 THEN RAISE EXCEPTION 'no' USING ERRCODE = '39001'; END IF;}, topics => "'{half}'"));
$node->wait_applied($_, 1000) foreach ('mended', 'mended2');
is(dead('mended') . query('SELECT count(*), count(DISTINCT n) FROM mended'), '1000|1000', 'V1: mended meanwhile, the records before that are not dead');
is(dead('mended2') . '/' . query('SELECT count(*), count(DISTINCT n) FROM mended2'), '3|39001/999|999', 'V1: but the one that is bad');

# ---- rc_retry(): a dead letter that fails again stays dead whatever its class ----

numbers('again', 0, 9);
query(stream('again', raises('22012', 3)));
$node->wait_applied('again', 10);
foreach my $code ('39000', 'XX000', 'ZZ009', '42P01')
{
	query("CREATE OR REPLACE FUNCTION bad_again(n int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN ${\raises($code, 3)} END \$\$");
	is(query(q{SELECT * FROM rc_retry('again')}) . '/' . dead('again'), "1|0|1/3|$code", "V1: rc_retry(), $code: still dead");
}
query("CREATE OR REPLACE FUNCTION bad_again(n int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN ${\raises('53100', 3)} END \$\$");
my ($code, $out, $err) = $node->psql('postgres', q{SELECT * FROM rc_retry('again')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  53100: /, 'V1: rc_retry(), 53100: raised');
is(query(q{SELECT attempts FROM rappel_conso.dead_letter WHERE name = 'again'}), '5', 'and not counted');

# ---- on_error = stop, with proof ----

query(stream('stops', raises('39004', 4), topics => "'{many}'", on_error => "'stop'"));
wait_state('stops', 'failed 39004');
is(offset_of('stops') . dead('stops'), '0', 'V1: on_error = stop stops by what is proven, too');

# ---- short context, error texts cut where they are stored ----

numbers('long', 0, 3);
query(stream('long', q{IF n = 1 THEN RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = repeat('é', 3000000), DETAIL = repeat('à', 3000000) || 'x', HINT = repeat('ü', 3000000); END IF;}));
$node->wait_applied('long', 4);
is(query(q{SELECT octet_length(message) <= 8192 AND octet_length(detail) <= 8192 AND length(message) > 4000 AND message LIKE '%é...' FROM rappel_conso.dead_letter WHERE name = 'long'}),
	't', 'D11: the texts of a dead letter are cut, between two characters');
is(query(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE position('FROM records' in context) > 0 OR length(context) > 300}),
	'0', 'C10: no context repeats the statement');
is(query(q{SELECT context ~ 'bad_long' FROM rappel_conso.dead_letter WHERE name = 'long'}), 't', 'C10: it says in which function');
query(q{UPDATE rappel_conso.stream SET on_error = 'stop' WHERE name = 'long'});
numbers('long', 1, 1);
$node->wait_for('long to fail', q{SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'long'});
is(query(q{SELECT octet_length(error) <= 8192 AND octet_length(error_detail) <= 8192 FROM rappel_conso.stream_state WHERE stream = 'long'}),
	't', 'D11: so are those of a stream');
cmp_ok(query('SELECT octet_length(rc_report())'), '<', 1_000_000, 'D11: and rc_report() stays small');

# ---- rc_seek() back over bad records ----

numbers('back', 0, 3);
$kafka->produce_many('back', [ [ 'x', 'no JSON' ] ]);
query(stream('back', raises('22023', 2)));
$node->wait_applied('back', 5);
foreach my $time (2, 3)
{
	query(q{SELECT rc_seek('back', 'earliest')});
	$node->wait_for('the records again', "SELECT count(*) = 3 * $time FROM back");
	$node->wait_applied('back', 5);
}
is(query(q{SELECT record_offset, attempts FROM rappel_conso.dead_letter WHERE name = 'back' ORDER BY 1, 2}),
	"2|3\n4|3", 'V8: one dead letter for each place, tried three times');
query('CREATE OR REPLACE FUNCTION bad_back(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF n = 2 THEN RAISE EXCEPTION USING ERRCODE = $q$23514$q$; END IF; END $$');
query(q{UPDATE rappel_conso.stream SET name = 'front' WHERE name = 'back'; SELECT rc_seek('front', '0:2')});
$node->wait_for('the renamed stream', q{SELECT attempts = 4 AND sqlstate = '23514' FROM rappel_conso.dead_letter WHERE name = 'front' AND record_offset = 2});
is(query(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name IN ('front', 'back')}), '2', 'V8: also when the stream was renamed; the newest error stands there');

$node->wait_for('the backoff to grow', q{SELECT max(gap) > '3 s' FROM (SELECT at - lag(at) OVER (ORDER BY at) AS gap FROM tries) g});
is(dead('quiet') . offset_of('quiet'), '0', 'V1: a lone record is tried again with a growing pause');

# ---- a foreign table whose server goes away half-way ----

SKIP:
{
	skip('postgres_fdw is not installed', 2)
	  if query(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}) eq '0';

	my $far = PostgreSQL::Test::Cluster->new('far');

	$far->init;
	$far->start;
	$far->safe_psql('postgres', 'CREATE TABLE target (n int)');
	my ($host, $port, $user) = ($far->host, $far->port, query('SELECT current_user'));
	numbers('abroad', 0, 499);
	query(qq{
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user '$user');
		CREATE FOREIGN TABLE abroad (n int) SERVER far OPTIONS (table_name 'target');
		INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('abroad', '{abroad}', 100, 'INSERT INTO abroad SELECT (value->>''n'')::int FROM records')});
	$node->wait_applied('abroad', 500);
	$far->stop('immediate');
	numbers('abroad', 500, 999);
	$node->wait_for('abroad to wait', q{SELECT state = 'waiting' FROM rappel_conso.stream_state WHERE stream = 'abroad'});
	is(offset_of('abroad') . dead('abroad'), '500', 'V1: a foreign server that is away: the stream waits, no record is blamed');
	$far->start;
	$node->wait_applied('abroad', 1000);
	is($far->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM target') . dead('abroad'), '1000|1000', 'V1: and goes on when it is back');
}

# ---- direct mode: what a run leaves undecided at its end ----

my $lines = PostgreSQL::Test::Utils::tempdir() . '/rows.jsonl';
my $direct = do
{
	append_to_file($lines, join('', map { qq({"k": "k$_", "day": "2026-03-0$_", "n": $_}\n) } 1 .. 5));
	new_node('direct');
};
my $api = start_api('rows' => $lines);

# Its state, or its error, and what is in the table.
sub run_of
{
	my ($source) = @_;
	my ($code, $out, $err) = $direct->psql('postgres', "SELECT state, dead FROM rc_sync_now('$source')", extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return ($err =~ /ERROR:  (\w{5}): /m ? $1 : $out) . '/' . $direct->safe_psql('postgres', "SELECT string_agg(key, ' ' ORDER BY key) FROM $source");
}

sub more { return $api->control(append => { dataset => 'rows', records => [ map { { k => "k$_", day => "2026-03-0$_", n => $_ } } @_ ] }); }

$direct->safe_psql('postgres', q{
	CREATE FUNCTION dislikes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	  IF NEW.value->>'n' IN ('3', '7') THEN RAISE EXCEPTION 'bad %', NEW.key USING ERRCODE = '39000'; END IF; RETURN NEW; END $$});
foreach my $size (1, 3, 10000)
{
	make_source($direct, "direct_$size", api => $api, batch_size => $size, dataset => "'rows'", key_field => "'k'", cursor_field => "'day'");
	$direct->safe_psql('postgres', "CREATE TRIGGER t BEFORE INSERT ON direct_$size FOR EACH ROW EXECUTE FUNCTION dislikes()");
	is(run_of("direct_$size"), 'success|1/k1 k2 k4 k5', "V1: direct mode, batches of $size: one bad record is a dead letter");
}
more(6, 7);
foreach my $size (1, 3, 10000)
{
	is(run_of("direct_$size"), '39000/k1 k2 k4 k5 k6', "V1: direct mode, batches of $size: the last record fails the run, what precedes it is stored");
	is($direct->safe_psql('postgres', "SELECT cursor_value FROM rappel_conso.source_state WHERE source = 'direct_$size'") =~ s/T.*//r,
		'2026-03-06', 'and the cursor stands before it');
}
more(8);
foreach my $size (1, 3, 10000)
{
	is(run_of("direct_$size"), 'success|1/k1 k2 k4 k5 k6 k8', "V1: direct mode, batches of $size: a later one is proof");
	is($direct->safe_psql('postgres', "SELECT string_agg(convert_from(key, 'UTF8'), ' ' ORDER BY key) FROM rappel_conso.dead_letter WHERE name = 'direct_$size'"),
		'k3 k7', 'and no record is dead but these');
}
is(miscounted_runs($direct), '', 'V1: the counters of the runs are those of their tasks');

done_testing();
