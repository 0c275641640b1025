# 040_stream_apply.pl
#     How streams apply records: what records look like to a statement, which
#     record goes to the dead letters and which error stops the stream, and
#     that nothing is lost by either.

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
	'engine',
	kafka => $kafka,
	preload => 1,
	conf => "max_worker_processes = 60\n");

$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE ROLE app LOGIN;
	INSERT INTO rappel_conso.topic_grant VALUES ('app', '*', true, false);
	SELECT rc_start();
	EOC

# Store a stream of its own topic, unless other columns are given.
sub stream_sql
{
	my ($name, %columns) = @_;

	%columns = (topics => "'{$name}'", %columns, name => "'$name'");
	return
		'INSERT INTO rappel_conso.stream ('
	  . join(', ', sort keys %columns)
	  . ') VALUES ('
	  . join(', ', map { $columns{$_} } sort keys %columns) . ");\n";
}

# ---- one bad record costs one record ----

# Where among ten records the bad ones stand.
my %places = (
	start => [0],
	middle => [4],
	end => [9],
	several => [ 0, 3, 4, 9 ],
	every => [ 0 .. 9 ]);

# How a record that is no JSON fails, each time at another point.
my %failures = (
	decode => {
		columns => { statement => 'INSERT INTO %s SELECT (value->>$$n$$)::int FROM records' },
		error => '22P02|invalid input syntax for type json'
	},
	execute => {
		columns => {
			value_type => "'text'",
			statement => 'INSERT INTO %s SELECT (value::jsonb->>$$n$$)::int FROM records'
		},
		error => '22P02|invalid input syntax for type json'
	},
	constraint => {
		columns => {
			value_type => "'text'",
			statement => 'INSERT INTO %s SELECT CASE WHEN value LIKE $${%%$$ THEN substring(value, $$\d+$$)::int ELSE -1 END FROM records'
		},
		error => '23514|new row for relation "%s" violates check constraint "%s_n_check"'
	});

my $setup = '';
foreach my $place (sort keys %places)
{
	my @messages = map { [ "key$_", qq({"n": $_}) ] } 0 .. 9;

	$messages[$_][1] = "bad $_" foreach @{ $places{$place} };
	$kafka->produce_many($place, \@messages);
	foreach my $failure (sort keys %failures)
	{
		my $name = "${failure}_$place";
		my %columns = %{ $failures{$failure}{columns} };

		$columns{statement} = '$q$' . sprintf($columns{statement}, $name) . '$q$';
		$setup .= "CREATE TABLE $name (n int CHECK (n >= 0));\n"
		  . stream_sql($name, %columns, topics => "'{$place}'");
	}
}
$node->sql($setup);

foreach my $place (sort keys %places)
{
	my %bad = map { $_ => 1 } @{ $places{$place} };
	my $good = join("\n", grep { !$bad{$_} } 0 .. 9);

	foreach my $failure (sort keys %failures)
	{
		my $name = "${failure}_$place";
		my $error = $failures{$failure}{error} =~ s/%s/$name/gr;

		$node->wait_applied($name, 10);
		is($node->sql("SELECT n FROM $name ORDER BY n"),
			$good, "$failure, $place: all other records are there, once");
		is( $node->dead_letters($name, q{record_offset, convert_from(key, 'UTF8'), convert_from(value, 'UTF8'), topic, partition, attempts, resolved_at, sqlstate, message}),
			join("\n", map { "$_|key$_|bad $_|$place|0|1||$error" } @{ $places{$place} }),
			"$failure, $place: bad records are dead letters");
	}
}

# ---- limits of what goes to the dead letters ----

$node->sql(<<~'EOC'
	CREATE TABLE stop_after (n int);
	CREATE TABLE stop_not (n int);
	CREATE TABLE on_error (n int);
	EOC
	. stream_sql('stop_after', topics => "'{every}'", stop_after => 5,
		statement => "'INSERT INTO stop_after SELECT (value->>''n'')::int FROM records'")
	. stream_sql('stop_not', topics => "'{several}'", stop_after => 3,
		statement => "'INSERT INTO stop_not SELECT (value->>''n'')::int FROM records'")
	. stream_sql('on_error', topics => "'{several}'", on_error => "'stop'",
		statement => "'INSERT INTO on_error SELECT (value->>''n'')::int FROM records'"));

$node->wait_applied('stop_not', 10);
is($node->sql('SELECT count(*) FROM stop_not') . '/' . scalar(split(/\n/, $node->dead_letters('stop_not', 'record_offset, sqlstate, message'))),
	'6/4', 'stop_after counts records in a row only');

my %stopped = (
	stop_after => {
		says => qr/\b5\b.*: invalid input syntax for type json\|.*\b4\b.*"every".*\b0\.\|.*"stop_after".*stop_after/,
		mend => 'stop_after = 6 + 5',
		result => '0/10'
	},
	on_error => {
		says => qr/\b0\b.*"several".*\b0\b.*: invalid input syntax for type json\|Token "bad" is invalid\.\|.*"on_error".*\bstop\b/,
		mend => "on_error = 'dead_letter'",
		result => '6/4'
	});
foreach my $name (sort keys %stopped)
{
	my $case = $stopped{$name};

	$node->wait_state($name, 'failed 22P02');
	like($node->sql("SELECT error, error_detail, hint FROM rappel_conso.stream_state WHERE stream = '$name'"),
		$case->{says}, "$name: the stream has failed, and says why");
	is($node->offset_of($name) . $node->dead_letters($name, 'record_offset, sqlstate, message') . $node->sql("SELECT count(*) FROM $name"),
		'00', "$name: nothing is committed");
	is($node->sql("SELECT state, position((SELECT hint FROM rappel_conso.stream_state WHERE stream = '$name') in last_error) > 0
		FROM rc_status() WHERE component = 'stream' AND name = '$name'"),
		'failed|t', "$name: rc_status() tells it");
	$node->sql("UPDATE rappel_conso.stream SET $case->{mend} WHERE name = '$name'");
	$node->wait_applied($name, 10);
	is($node->sql("SELECT count(*) FROM $name") . '/' . scalar(split(/\n/, $node->dead_letters($name, 'record_offset, sqlstate, message'))),
		$case->{result}, "$name: goes on when it is changed");
}

# ---- errors that are the stream's, by phase ----

my %broken = (
	table_lost => {
		break => 'ALTER TABLE %s RENAME TO %s_away',
		mend => 'ALTER TABLE %s_away RENAME TO %s',
		error => '42P01|relation "%s" does not exist'
	},
	table_itself => {
		break => 'ALTER TABLE %s RENAME TO %s_away',
		mend => 'ALTER TABLE %s_away RENAME TO %s',
		itself => 1,
		error => '42P01|relation "%s" does not exist'
	},
	column_lost => {
		break => 'ALTER TABLE %s DROP COLUMN n',
		mend => 'ALTER TABLE %s ADD COLUMN n int',
		error => '42703|column "n" of relation "%s" does not exist'
	},
	privilege => {
		break => 'REVOKE INSERT ON %s FROM app',
		mend => 'GRANT INSERT ON %s TO app',
		error => '42501|permission denied for table %s'
	},

	# a function that is run while the statement is planned
	planned => {
		break => 'REVOKE INSERT ON %s FROM app',
		mend => 'GRANT INSERT ON %s TO app',
		value => 'n * one()',
		error => '42501|permission denied for table %s'
	});

$setup = <<~'EOC';
	CREATE TYPE numbered AS (n int);
	CREATE FUNCTION one() RETURNS int IMMUTABLE LANGUAGE plpgsql AS
	  $$ BEGIN PERFORM FROM pg_class LIMIT 1; RETURN 1; END $$;
	EOC
foreach my $name (sort keys %broken)
{
	my $value = $broken{$name}{value} // 'n';

	$kafka->produce_many($name, [ map { [ 'k', qq({"n": $_}) ] } 1, 2 ]);
	$setup .= "CREATE TABLE $name (k text, n int); GRANT INSERT ON $name TO app;\n"
	  . stream_sql(
		$name,
		owner => "'app'",
		value_type => "'numbered'",
		statement => "'INSERT INTO $name (k, n) SELECT key, $value FROM records'");
}
$node->sql($setup);
foreach my $name (sort keys %broken)
{
	$node->wait_applied($name, 2);
	$node->sql($broken{$name}{break} =~ s/%s/$name/gr);
	$kafka->produce_many($name, [ [ 'k', '{"n": 3}' ] ]);
}
foreach my $name (sort keys %broken)
{
	my $error = $broken{$name}{error} =~ s/%s/$name/gr;
	my ($code) = split(/\|/, $error);

	$node->wait_state($name, "failed $code");
	is($node->sql("SELECT sqlstate, error FROM rappel_conso.stream_state WHERE stream = '$name'"),
		$error, "$name: the stream has failed");
	is($node->dead_letters($name, 'record_offset, sqlstate, message') . $node->offset_of($name), '2', "$name: no record is blamed or passed over");
	$node->sql($broken{$name}{mend} =~ s/%s/$name/gr);
	$node->sql("UPDATE rappel_conso.stream SET batch_size = 500 WHERE name = '$name'")
	  unless $broken{$name}{itself};
}
foreach my $name (sort keys %broken)
{
	my $how = $broken{$name}{itself} ? 'by itself' : 'when its row is updated';

	$node->wait_applied($name, 3);
	is($node->sql("SELECT count(*) FROM $name WHERE n = 3") . $node->dead_letters($name, 'record_offset, sqlstate, message'),
		'1', "$name: comes back $how, nothing is lost");
	$node->wait_state($name, 'running');
}

# Each failure in a row doubles the wait before the next try.
$node->sql('ALTER TABLE table_itself RENAME TO table_itself_away');
$kafka->produce_many('table_itself', [ [ 'k', '{"n": 5}' ] ]);
$node->wait_for('the backoff', q{
	SELECT failures >= 2 AND retry_at - last_error_at > '1.9 s'
	FROM rappel_conso.stream_state WHERE stream = 'table_itself'});
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'table_itself'});
is($node->sql(q{SELECT failures FROM rappel_conso.stream_state WHERE stream = 'table_itself'}),
	'0', 'the backoff grows with failures in a row, and ends when the row is updated');

# ---- what the user's own triggers and constraints say ----

$kafka->produce_many('ten', [ map { [ "key$_", qq({"n": $_}) ] } 0 .. 9 ]);
my %refusals = (
	trigger_raises => {
		sql => q{
			CREATE FUNCTION f_%s() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN IF NEW.n = 3 THEN RAISE EXCEPTION 'not three' USING DETAIL = 'It is 3.'; END IF; RETURN NEW; END $$;
			CREATE TRIGGER t BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION f_%s()},
		dead => '3|P0001|not three|It is 3.'
	},
	check_refuses => {
		sql => 'ALTER TABLE %s ADD CHECK (n <> 7)',
		dead => '7|23514|new row for relation "%s" violates check constraint "%s_n_check"|Failing row contains (7).'
	},
	deferred_refuses => {
		sql => 'ALTER TABLE %s ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED; INSERT INTO %s VALUES (6)',
		dead => '6|23505|duplicate key value violates unique constraint "%s_n_key"|Key (n)=(6) already exists.'
	},
	# one that is deferred stays so for the ranges after the first one
	deferred_parent => {
		sql => q{
			CREATE TABLE %s_parent (n int PRIMARY KEY);
			ALTER TABLE %s ADD FOREIGN KEY (n) REFERENCES %s_parent DEFERRABLE INITIALLY DEFERRED, ADD CHECK (n <> 3);
			CREATE FUNCTION f_%s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO %s_parent VALUES (NEW.n); RETURN NULL; END $$;
			CREATE TRIGGER t AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION f_%s()},
		dead => '3|23514|new row for relation "%s" violates check constraint "%s_n_check"|Failing row contains (3).'
	},
	statement_timeout => {
		sql => 'ALTER ROLE app IN DATABASE postgres SET statement_timeout = 400',
		columns => { owner => "'app'" },
		value => '(value->>$$n$$)::int FROM records WHERE value->>$$n$$ <> $$2$$ OR pg_sleep(60) IS NOT NULL',
		dead => '2|57014|canceling statement due to statement timeout|'
	});
# A trigger of a dead letter may be deferred, too.
$node->sql(q{
	CREATE TABLE told (name text, n bigint);
	CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.told VALUES (NEW.name, NEW.record_offset); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER tells AFTER INSERT ON rappel_conso.dead_letter DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tells()});
$setup = '';
foreach my $name (sort keys %refusals)
{
	my $case = $refusals{$name};
	my $value = $case->{value} // '(value->>$$n$$)::int FROM records';

	$setup .= "CREATE TABLE $name (n int); GRANT INSERT ON $name TO app;\n"
	  . ($case->{sql} =~ s/%s/$name/gr) . ";\n"
	  . stream_sql(
		$name,
		topics => "'{ten}'",
		%{ $case->{columns} // {} },
		statement => "\$q\$INSERT INTO $name SELECT $value\$q\$");
}
$node->sql($setup);
foreach my $name (sort keys %refusals)
{
	$node->wait_applied($name, 10);
	is($node->dead_letters($name, 'record_offset, sqlstate, message, detail'),
		$refusals{$name}{dead} =~ s/%s/$name/gr, "$name: that record is a dead letter");
	is($node->sql("SELECT count(*), count(DISTINCT n) FROM $name"),
		$name eq 'deferred_refuses' ? '10|10' : '9|9', "$name: the others are there");
}
is($node->sql(q{SELECT string_agg(name || ' ' || n, ', ' ORDER BY name) FROM told}), join(', ', map { "$_ " . $refusals{$_}{dead} =~ s/[|].*//r } sort keys %refusals),
	'a trigger of dead letters fires once for each');
$node->sql('DROP TRIGGER tells ON rappel_conso.dead_letter');

# A timeout that stops the stream is no error that may pass.
$node->sql(stream_sql('timeout_stops', topics => "'{ten}'", owner => "'app'", on_error => "'stop'",
		statement => '$q$SELECT pg_sleep(60) FROM records WHERE value->>$$n$$ = $$2$$$q$'));
$node->wait_state('timeout_stops', 'failed 54000');
like($node->sql(q{SELECT error, hint FROM rappel_conso.stream_state WHERE stream = 'timeout_stops'}),
	qr/\b2\b.*"ten".*\b0\b.*: canceling statement due to statement timeout\|.*"timeout_stops".*\bstop\b/,
	'on_error = stop: so does a statement timeout');
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'timeout_stops'});
$node->sql('ALTER ROLE app IN DATABASE postgres RESET statement_timeout');

# An error that may pass is no record's fault.
$node->sql(<<~'EOC' . stream_sql('disk_full', topics => "'{ten}'", statement => '$q$INSERT INTO disk_full SELECT (value->>$$n$$)::int FROM records$q$'));
	CREATE TABLE full_now (); CREATE TABLE disk_full (n int);
	CREATE FUNCTION f_disk_full() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN
	  IF NEW.n = 8 AND to_regclass('full_now') IS NOT NULL THEN
	    RAISE EXCEPTION 'disk quota exceeded' USING ERRCODE = 'disk_full';
	  END IF;
	  RETURN NEW;
	END $$;
	CREATE TRIGGER t BEFORE INSERT ON disk_full FOR EACH ROW EXECUTE FUNCTION f_disk_full();
	EOC
$node->wait_state('disk_full', 'waiting');
ok($node->poll_query_until('postgres',
		q{SELECT state = 'waiting' FROM rc_status() WHERE name = 'disk_full' AND detail LIKE '%; disk quota exceeded'}),
	'class 53: the stream waits, and says for what');
is($node->dead_letters('disk_full', 'record_offset, sqlstate, message') . $node->offset_of('disk_full') . $node->sql('SELECT count(*) FROM disk_full'),
	'00', 'class 53: no record is blamed or passed over');
$node->sql('DROP TABLE full_now');
$node->wait_applied('disk_full', 10);
is($node->sql('SELECT count(*), count(DISTINCT n) FROM disk_full') . $node->dead_letters('disk_full', 'record_offset, sqlstate, message'),
	'10|10', 'class 53: goes on by itself, all records are there once');

done_testing();
