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

# A table and a stream whose trigger calls bad_NAME(n) for each row.
sub stream_with_trigger
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

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	EOC

# ---- one bad record among good ones, by any class ----

my @codes = ('39000', '20000', 'ZZ001', '3F000', 'XX000', '38001', '55000', '0A000', '2F005', '42P01', '42883', '42501', '42704', '22012', '23514', 'P0001', '54001', '44000', '21000', '42601');
$kafka->produce_numbers('many', [0 .. 19]);
$node->sql(join('', map { stream_with_trigger(lc "c$codes[$_]", raises($codes[$_], $_ % 19), topics => "'{many}'") } 0 .. $#codes));
foreach my $i (0 .. $#codes)
{
	my $name = lc "c$codes[$i]";

	$node->wait_applied($name, 20);
	is($node->dead_letters($name) . '/' . $node->sql("SELECT count(*), count(DISTINCT n) FROM $name"),
		$i % 19 . "|$codes[$i]/19|19", "V1: $codes[$i], one bad record among good ones is a dead letter");
}

# ---- what is never a record's: the batch waits ----

my @waiting = ('08006', '25006', '40001', '53200', '57P01', '57014', '58030', 'F0000', 'HV00N', 'XX001', 'XX002', '55P03', '55006');
$node->sql(join('', map {
	stream_with_trigger(lc "w$_", "IF EXISTS (SELECT FROM broken) THEN " . raises($_, 7) . ' END IF;', topics => "'{many}'", batch_size => $_ eq '40001' ? 1 : 10000)
} @waiting) =~ s/^/CREATE TABLE broken AS SELECT true AS yes;\n/r);
foreach my $code (@waiting)
{
	my $name = lc "w$code";

	# of serialization failures nothing is said: they are tried again at once
	$node->wait_for("an error of $name", "SELECT state = 'waiting' FROM rappel_conso.stream_state WHERE stream = '$name'")
	  unless $code eq '40001';
}
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name LIKE 'w%'}), '0', 'V1: none of them blames a record');
$node->sql('DELETE FROM broken');
foreach my $code (@waiting)
{
	my $name = lc "w$code";

	$node->wait_applied($name, 20);
	is($node->dead_letters($name) . $node->sql("SELECT count(*), count(DISTINCT n) FROM $name"), '20|20', "V1: $code, the batch waits, and is applied");
}

# ---- one bad record alone ----

$kafka->produce_numbers('alone', [0 .. 2]);
$node->sql(stream_with_trigger('alone', raises('39000', 1)) . stream_with_trigger('alone2', raises('42883', 2), topics => "'{alone}'", batch_size => 1));
$node->wait_applied('alone', 3);
is($node->dead_letters('alone'), '1|39000', 'V1: a record behind it is proof');
$node->wait_state('alone2', 'waiting 42883');
is($node->sql(q{SELECT detail ~ 'bad 2' AND detail ~ 'rc_seek\(.alone2., .0:3.\)', error ~ 'bad 2' FROM rappel_conso.stream_state WHERE stream = 'alone2'}),
	't|t', 'V1: the last record is undecided, and the stream says how to pass over it');
is($node->dead_letters('alone2') . $node->offset_of('alone2') . $node->sql('SELECT count(*) FROM alone2'), '22', 'V1: what precedes it is committed');
is($node->sql(q{SELECT state FROM rc_status() WHERE component = 'stream' AND name = 'alone2'}), 'waiting', 'and rc_status() tells it');
$kafka->produce_numbers('alone', [3 .. 3]);
$node->wait_applied('alone2', 4);
is($node->dead_letters('alone2') . '/' . $node->sql('SELECT count(*) FROM alone2'), '2|42883/3', 'V1: a good one behind it decides, with batches of 1');
$node->wait_for('the state', q{SELECT state = 'running' AND detail IS NULL FROM rappel_conso.stream_state WHERE stream = 'alone2'});
$kafka->produce_numbers('alone', [1 .. 1]);
$node->wait_state('alone', 'waiting 39000');
$node->sql(q{SELECT rc_seek('alone', '0:5')});
$node->wait_for('running', q{SELECT state = 'running' FROM rappel_conso.stream_state WHERE stream = 'alone'});
is($node->dead_letters('alone') . $node->offset_of('alone'), '1|390005', 'V1: rc_seek() passes over it');

# while nothing comes behind it, the stream tries it less and less often
$node->sql(q{
	CREATE TABLE tries (at timestamptz);
	CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.tries VALUES (NEW.last_error_at); RETURN NULL; END $$;
	CREATE TRIGGER t AFTER UPDATE ON rappel_conso.stream_state FOR EACH ROW WHEN (NEW.stream = 'quiet' AND NEW.state = 'waiting') EXECUTE FUNCTION tried()});
$kafka->produce_numbers('quiet', [0 .. 0]);
$node->sql(stream_with_trigger('quiet', raises('39000', 0)));

# what speaks of data needs no proof
$kafka->produce_numbers('data', [0 .. 0]);
$node->sql(stream_with_trigger('data', raises('22023', 0)));
$node->wait_applied('data', 1);
is($node->dead_letters('data'), '0|22023', 'V1: class 22 needs no proof');

# a bad one whose proof stands in another partition
$kafka->create_topic('two', partitions => 2);
$node->sql(stream_with_trigger('two', raises('ZZ002', 1), batch_size => 1));
$kafka->produce_numbers('two', [1 .. 1], '-p', 0);
$node->wait_state('two', 'waiting ZZ002');
$kafka->produce_numbers('two', [5 .. 5], '-p', 1);
$node->wait_applied('two', 2);
is($node->dead_letters('two') . $node->sql('SELECT n FROM two'), '0|ZZ0025', 'V1: a record of another partition is proof, too');

# ---- a fault of the server that begins half-way ----

$kafka->produce_numbers('half', [0 .. 999]);
$node->sql('INSERT INTO broken VALUES (true)');
$node->sql(join('', map {
	my $size = $_;

	map { stream_with_trigger("half${_}_$size", "IF n >= 500 AND EXISTS (SELECT FROM broken) THEN " . ($_ eq 'gone' ? 'PERFORM no_such_function(n);' : "RAISE EXCEPTION 'no' USING ERRCODE = 'XX000';") . ' END IF;',
			topics => "'{half}'", batch_size => $size) } 'gone', 'internal'
} 1, 1000));
foreach my $size (1, 1000)
{
	foreach my $kind ('gone', 'internal')
	{
		my $code = $kind eq 'gone' ? '42883' : 'XX000';

		$node->wait_state("half${kind}_$size", ($size == 1 ? 'failed' : 'waiting') . " $code");
		is($node->offset_of("half${kind}_$size") . $node->dead_letters("half${kind}_$size"), '500', "V1: $kind, batches of $size: what precedes it is applied");
	}
}
$node->sql('DELETE FROM broken');
$node->sql(q{UPDATE rappel_conso.stream SET stop_after = stop_after + 1 WHERE name LIKE 'half%' AND batch_size = 1});
foreach my $size (1, 1000)
{
	foreach my $kind ('gone', 'internal')
	{
		$node->wait_applied("half${kind}_$size", 1000);
		is($node->dead_letters("half${kind}_$size") . $node->sql("SELECT count(*), count(DISTINCT n) FROM half${kind}_$size"),
			'1000|1000', "V1: $kind, batches of $size: mended, no record is dead, all are applied");
	}
}

# ---- a fault that is fixed while records are being tried ----

$node->sql('CREATE SEQUENCE calls; CREATE SEQUENCE more_calls');
$node->sql(stream_with_trigger('mended', q{IF n >= 500 AND nextval('calls') <= 250 THEN RAISE EXCEPTION 'no' USING ERRCODE = '39001'; END IF;}, topics => "'{half}'")
	  . stream_with_trigger('mended2', q{IF n = 3 OR n >= 500 AND nextval('more_calls') <= 20 THEN RAISE EXCEPTION 'no' USING ERRCODE = '39001'; END IF;}, topics => "'{half}'"));
$node->wait_applied($_, 1000) foreach ('mended', 'mended2');
is($node->dead_letters('mended') . $node->sql('SELECT count(*), count(DISTINCT n) FROM mended'), '1000|1000', 'V1: mended meanwhile, the records before that are not dead');
is($node->dead_letters('mended2') . '/' . $node->sql('SELECT count(*), count(DISTINCT n) FROM mended2'), '3|39001/999|999', 'V1: but the one that is bad');

# ---- rc_retry(): a dead letter that fails again stays dead whatever its class ----

$kafka->produce_numbers('again', [0 .. 9]);
$node->sql(stream_with_trigger('again', raises('22012', 3)));
$node->wait_applied('again', 10);
foreach my $code ('39000', 'XX000', 'ZZ009', '42P01')
{
	$node->sql("CREATE OR REPLACE FUNCTION bad_again(n int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN ${\raises($code, 3)} END \$\$");
	is($node->sql(q{SELECT * FROM rc_retry('again')}) . '/' . $node->dead_letters('again'), "1|0|1/3|$code", "V1: rc_retry(), $code: still dead");
}
$node->sql("CREATE OR REPLACE FUNCTION bad_again(n int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN ${\raises('53100', 3)} END \$\$");
my ($code, $out, $err) = $node->psql('postgres', q{SELECT * FROM rc_retry('again')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  53100: /, 'V1: rc_retry(), 53100: raised');
is($node->sql(q{SELECT attempts FROM rappel_conso.dead_letter WHERE name = 'again'}), '5', 'and not counted');

# ---- on_error = stop, with proof ----

$node->sql(stream_with_trigger('stops', raises('39004', 4), topics => "'{many}'", on_error => "'stop'"));
$node->wait_state('stops', 'failed 39004');
is($node->offset_of('stops') . $node->dead_letters('stops'), '0', 'V1: on_error = stop stops by what is proven, too');

# ---- short context, error texts cut where they are stored ----

$kafka->produce_numbers('long', [0 .. 3]);
$node->sql(stream_with_trigger('long', q{IF n = 1 THEN RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = repeat('é', 3000000), DETAIL = repeat('à', 3000000) || 'x', HINT = repeat('ü', 3000000); END IF;}));
$node->wait_applied('long', 4);
is($node->sql(q{SELECT octet_length(message) <= 8192 AND octet_length(detail) <= 8192 AND length(message) > 4000 AND message LIKE '%é...' FROM rappel_conso.dead_letter WHERE name = 'long'}),
	't', 'D11: the texts of a dead letter are cut, between two characters');
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE position('FROM records' in context) > 0 OR length(context) > 300}),
	'0', 'C10: no context repeats the statement');
is($node->sql(q{SELECT context ~ 'bad_long' FROM rappel_conso.dead_letter WHERE name = 'long'}), 't', 'C10: it says in which function');
$node->sql(q{UPDATE rappel_conso.stream SET on_error = 'stop' WHERE name = 'long'});
$kafka->produce_numbers('long', [1 .. 1]);
$node->wait_for('long to fail', q{SELECT state = 'failed' FROM rappel_conso.stream_state WHERE stream = 'long'});
is($node->sql(q{SELECT octet_length(error) <= 8192 AND octet_length(error_detail) <= 8192 FROM rappel_conso.stream_state WHERE stream = 'long'}),
	't', 'D11: so are those of a stream');
cmp_ok($node->sql('SELECT octet_length(rc_report())'), '<', 1_000_000, 'D11: and rc_report() stays small');

# ---- rc_seek() back over bad records ----

$kafka->produce_numbers('back', [0 .. 3]);
$kafka->produce_many('back', [ [ 'x', 'no JSON' ] ]);
$node->sql(stream_with_trigger('back', raises('22023', 2)));
$node->wait_applied('back', 5);
foreach my $time (2, 3)
{
	$node->sql(q{SELECT rc_seek('back', 'earliest')});
	$node->wait_for('the records again', "SELECT count(*) = 3 * $time FROM back");
	$node->wait_applied('back', 5);
}
is($node->sql(q{SELECT record_offset, attempts FROM rappel_conso.dead_letter WHERE name = 'back' ORDER BY 1, 2}),
	"2|3\n4|3", 'V8: one dead letter for each place, tried three times');
$node->sql('CREATE OR REPLACE FUNCTION bad_back(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF n = 2 THEN RAISE EXCEPTION USING ERRCODE = $q$23514$q$; END IF; END $$');
$node->sql(q{UPDATE rappel_conso.stream SET name = 'front' WHERE name = 'back'; SELECT rc_seek('front', '0:2')});
$node->wait_for('the renamed stream', q{SELECT attempts = 4 AND sqlstate = '23514' FROM rappel_conso.dead_letter WHERE name = 'front' AND record_offset = 2});
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter WHERE name IN ('front', 'back')}), '2', 'V8: also when the stream was renamed; the newest error stands there');

$node->wait_for('the backoff to grow', q{SELECT max(gap) > '3 s' FROM (SELECT at - lag(at) OVER (ORDER BY at) AS gap FROM tries) g});
is($node->dead_letters('quiet') . $node->offset_of('quiet'), '0', 'V1: a lone record is tried again with a growing pause');

# ---- a foreign table whose server goes away half-way ----

SKIP:
{
	skip('postgres_fdw is not installed', 2)
	  if $node->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}) eq '0';

	my $far = RappelConso::Node->new('far');

	$far->init;
	$far->start;
	$far->sql('CREATE TABLE target (n int)');
	my ($host, $port, $user) = ($far->host, $far->port, $node->sql('SELECT current_user'));
	$kafka->produce_numbers('abroad', [0 .. 499]);
	$node->sql(qq{
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
		CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user '$user');
		CREATE FOREIGN TABLE abroad (n int) SERVER far OPTIONS (table_name 'target');
		INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('abroad', '{abroad}', 100, 'INSERT INTO abroad SELECT (value->>''n'')::int FROM records')});
	$node->wait_applied('abroad', 500);
	$far->stop('immediate');
	$kafka->produce_numbers('abroad', [500 .. 999]);
	$node->wait_for('abroad to wait', q{SELECT state = 'waiting' FROM rappel_conso.stream_state WHERE stream = 'abroad'});
	is($node->offset_of('abroad') . $node->dead_letters('abroad'), '500', 'V1: a foreign server that is away: the stream waits, no record is blamed');
	$far->start;
	$node->wait_applied('abroad', 1000);
	is($far->sql('SELECT count(*), count(DISTINCT n) FROM target') . $node->dead_letters('abroad'), '1000|1000', 'V1: and goes on when it is back');
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

	return ($err =~ /ERROR:  (\w{5}): /m ? $1 : $out) . '/' . $direct->sql("SELECT string_agg(key, ' ' ORDER BY key) FROM $source");
}

sub more { return $api->control(append => { dataset => 'rows', records => [ map { { k => "k$_", day => "2026-03-0$_", n => $_ } } @_ ] }); }

$direct->sql(q{
	CREATE FUNCTION dislikes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	  IF NEW.value->>'n' IN ('3', '7') THEN RAISE EXCEPTION 'bad %', NEW.key USING ERRCODE = '39000'; END IF; RETURN NEW; END $$});
foreach my $size (1, 3, 10000)
{
	$direct->make_source("direct_$size", api => $api, batch_size => $size, dataset => "'rows'", key_field => "'k'", cursor_field => "'day'");
	$direct->sql("CREATE TRIGGER t BEFORE INSERT ON direct_$size FOR EACH ROW EXECUTE FUNCTION dislikes()");
	is(run_of("direct_$size"), 'success|1/k1 k2 k4 k5', "V1: direct mode, batches of $size: one bad record is a dead letter");
}
more(6, 7);
foreach my $size (1, 3, 10000)
{
	is(run_of("direct_$size"), '39000/k1 k2 k4 k5 k6', "V1: direct mode, batches of $size: the last record fails the run, what precedes it is stored");
	is($direct->sql("SELECT cursor_value FROM rappel_conso.source_state WHERE source = 'direct_$size'") =~ s/T.*//r,
		'2026-03-06', 'and the cursor stands before it');
}
more(8);
foreach my $size (1, 3, 10000)
{
	is(run_of("direct_$size"), 'success|1/k1 k2 k4 k5 k6 k8', "V1: direct mode, batches of $size: a later one is proof");
	is($direct->sql("SELECT string_agg(convert_from(key, 'UTF8'), ' ' ORDER BY key) FROM rappel_conso.dead_letter WHERE name = 'direct_$size'"),
		'k3 k7', 'and no record is dead but these');
}
is($direct->miscounted_runs, '', 'V1: the counters of the runs are those of their tasks');

done_testing();
