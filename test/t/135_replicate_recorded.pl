# 135_replicate_recorded.pl
#     rc_replicate() over events that a connector of Debezium has sent, of three
#     configurations: each copy is what the same SQL leaves in a source, but for
#     what the connector itself loses, which is named here.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();
my %files = map { $_ => data_file("debezium/events/$_") } '01_tables.sql', '02_changes.sql', map { "$_.jsonl.gz" } qw(plain schema alt);

my $kafka = start_kafka();
my $node = new_node('recorded', kafka => $kafka, preload => 1, conf => "max_worker_processes = 100\nmax_connections = 150\ntimezone = 'UTC'\n");

plan(skip_all => 'hstore is not there') if $node->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'hstore'}) eq '0';

# The source.  With a publication some updates fail, as they did there.
my $tables = slurp_file($files{'01_tables.sql'});
my $source = sub { return $node->sql($_[0], dbname => 'source') };
$node->sql('UPDATE rappel_conso.stream SET paused = true; CREATE DATABASE source; CREATE EXTENSION hstore');
psql_file('source', $files{'01_tables.sql'});
$source->(q{SET client_min_messages = error; CREATE PUBLICATION p FOR ALL TABLES});
psql_file('source', $files{'02_changes.sql'});

sub psql_file
{
	my ($database, $file) = @_;
	return system('psql', '-qX', '-o', '/dev/null', '-d', $node->connstr($database), '-f', $file);
}

# Events of each topic: [key, value, old key], as JSON or undef.
my %events;
foreach my $prefix (qw(plain schema alt))
{
	open(my $lines, '-|', 'zcat', $files{"$prefix.jsonl.gz"}) or die;
	while (<$lines>)
	{
		/^\{"topic":"([^"]+)","offset":\d+,"ts":\d+,"key":(.*?),"value":(.*?)(?:,"headers":(\{.*\}))?\}$/ or die "not read: $_";
		my ($topic, $key, $value, $headers) = ($1, $2, $3, $4);
		my $old = ($headers // '') =~ /"__debezium.oldkey":"((?:\\.|[^"\\])*)"/ ? $1 =~ s/\\(.)/$1/gr : undef;
		push @{ $events{$topic} }, [ map({ $_ eq 'null' ? undef : $_ } $key, $value), $old ];
	}
	close($lines);
}

# What the copies of each configuration are compared with: all columns but these.
# gen has its generated column in both; time.precision.mode = connect cuts
# microseconds.
my @lossy = qw(c_date c_int_aa c_timetz c_varbit);
my %lossy = (plain => [ @lossy, qw(c_name c_num c_interval c_comp c_multirange c_lsn) ], alt => [ @lossy, qw(c_time c_ts) ]);
$lossy{schema} = $lossy{plain};
my %copies = map { $_ => [qw(plain schema alt)] } qw(order_line keys ri_full ri_nothing toasted toasted_full gen Odd_N_me nopriv_seq types types_full);
$copies{$_} = ['alt'] foreach qw(trunc_a trunc_b part);    # without, truncates are not sent
$copies{late} = [qw(schema alt)];
$copies{$_} = ['plain'] foreach qw(part_eu part_us);

# Empty tables: each prefix has a schema of its own.
my @follow;
foreach my $prefix (qw(plain schema alt))
{
	(my $copy = $tables) =~ s/^INSERT.*?;\n//gms;
	$copy =~ s/\bapp\b/$prefix/g;
	$copy =~ s/^CREATE EXTENSION.*\n//m;
	$copy =~ s/ REFERENCES trunc_a//;
	$node->sql($copy . ';CREATE TABLE late (id integer PRIMARY KEY, v text)');
}
my $publish = '';
foreach my $table (sort keys %copies)
{
	foreach my $prefix (@{ $copies{$table} })
	{
		my $topic = "$prefix.app.$table";
		foreach my $event (@{ $events{$topic} })
		{
			$publish .= publishing_call($topic, $event);
		}
		push @follow, sprintf("SELECT rc_replicate('%s', '%s.%s', '%s')", $topic, $prefix, relation($table), $topic);
		push @follow, "UPDATE rappel_conso.stream SET numeric_time = 'ms' WHERE name = '$topic'" if $prefix eq 'alt';
	}
}
$node->sql("BEGIN; $publish COMMIT; SELECT rc_start()");
$node->wait_published;
$node->sql(join(';', 'BEGIN', @follow, 'COMMIT'));

# The call that publishes an event.
sub publishing_call
{
	my ($topic, $event) = @_;
	my ($key, $value, $old) = map { defined $_ ? q{$json$} . $_ . q{$json$} : 'NULL' } @$event;
	my $headers = $old eq 'NULL' ? 'NULL' : qq{jsonb_build_object('__debezium.oldkey', $old)};

	return "SELECT rc_publish('$topic', $value\::text, $key\::text, $headers);\n";
}

sub relation { return $_[0] eq 'Odd_N_me' ? '"Odd Näme"' : $_[0]; }

foreach my $table (sort keys %copies)
{
	foreach my $prefix (@{ $copies{$table} })
	{
		my $topic = "$prefix.app.$table";
		my $without = $table =~ /^types/ ? join(',', @{ $lossy{$prefix} }) : '';
		my $rows = sub {
			my $relation = "$_[0]." . relation($table);
			return "SELECT md5(string_agg(j::text, '' ORDER BY j::text)), count(*) FROM (SELECT to_jsonb(t) - '{$without}'::text[] FROM $relation t) t (j)";
		};
		$node->wait_applied($topic, scalar @{ $events{$topic} });
		is($node->sql($rows->($prefix)), $source->($rows->('app')), "$topic: the copy is as its source");
		is($node->dead_letters($topic, 'record_offset, sqlstate, message, detail'), '', "$topic: no change is a dead letter");
	}
}

# What the connector loses, one by one.
my %lost = (
	plain => { c_interval => '10303:05:06.789', c_name => undef, c_comp => undef, c_multirange => undef, c_lsn => undef },
	alt => { c_time => '13:14:15.123', c_ts => '2024-02-29T13:14:15.123' });
foreach my $prefix (qw(plain alt))
{
	my %expected = (%{ $lost{$prefix} }, c_int_aa => '[null, null]', c_timetz => '11:14:15.123456+00', c_varbit => '00010101');
	foreach my $column (sort keys %expected)
	{
		is($node->sql("SELECT to_jsonb(t)->>'$column' FROM $prefix.types_full t"), $expected{$column} // '', "$prefix: what is left of $column");
	}
	is($node->sql("SELECT c_date FROM $prefix.types WHERE id IN (4, 5) ORDER BY id"), "infinity\n4713-01-01", "$prefix: infinity is a date, a date before Christ has lost that");
}
is($node->sql('SELECT c_num IS NULL, c_float8 FROM plain.types WHERE id = 4'), 't|Infinity', 'plain: NaN is null as a numeric only');
is($node->sql('SELECT c_num FROM alt.types WHERE id = 4'), 'NaN', 'alt: but not as a text');

# Tables that no copy can be made of.
foreach my $table (qw(no_pk no_pk_full))
{
	is($node->sqlstate_of("SELECT rc_replicate('plain.app.$table', 'plain.$table')"), '42P16', "$table: refused without a primary key");
}
is($node->sqlstate_of(q{ALTER TABLE plain.trunc_b ADD FOREIGN KEY (a) REFERENCES plain.trunc_a; SELECT rc_replicate('plain.app.trunc_b', 'plain.trunc_b')}),
	'0A000', 'trunc_b: refused with its foreign key');

# A key that the source's replica identity does not have: deletes come with the
# key 0, and the rows stay, as the connector's page warns.
# A table that was altered while the connector was behind: columns that the copy
# does not have are dead letters, or left out.
# The large values, before the row is deleted.
my @cut = @{ $events{'plain.app.toasted'} };
$#cut -= 2;
$node->sql(q{
	CREATE SCHEMA late;
	CREATE TABLE late.ri_index (LIKE plain.ri_index INCLUDING INDEXES);
	DROP INDEX late.ri_index_code_idx;
	CREATE TABLE late.ddl (id integer PRIMARY KEY, a2 text, b bigint, d numeric(6,1), e text);
	CREATE TABLE late.ddl_less (LIKE late.ddl INCLUDING INDEXES);
	CREATE TABLE late.toasted (LIKE plain.toasted INCLUDING INDEXES)});
feed('late.ri_index', @{ $events{'plain.app.ri_index'} });
feed('late.ddl', @{ $events{'plain.app.ddl'} });
feed('late.ddl_less', @{ $events{'plain.app.ddl'} });
feed('late.toasted', @cut);
$node->sql(q{BEGIN; SELECT rc_replicate(t, t::regclass, on_new_column => CASE t WHEN 'late.ddl_less' THEN 'ignore' ELSE 'error' END)
	FROM unnest('{late.ri_index,late.ddl,late.ddl_less,late.toasted}'::text[]) t; COMMIT});
$node->wait_applied('late.ri_index', scalar @{ $events{'plain.app.ri_index'} });
$node->wait_applied($_, scalar @{ $events{'plain.app.ddl'} }) foreach 'late.ddl', 'late.ddl_less';
$node->wait_applied('late.toasted', scalar @cut);
is($node->sql('SELECT count(*) > 0 FROM late.ri_index') . $source->('SELECT count(*) FROM app.ri_index'), 't0', 'ri_index: the row that was deleted stays');
is($node->sql('SELECT id, a2, b, e FROM late.ddl ORDER BY id'), '6|renamed|6000000000|e', 'ddl: only a row with the columns of the copy is there');
is($node->dead_letters('late.ddl', 'DISTINCT ON (partition, record_offset) sqlstate'), join("\n", ('22000') x (@{ $events{'plain.app.ddl'} } - 1)), '.. the others are dead letters');
is($node->sql('SELECT count(*), count(a2) FROM late.ddl_less'), '6|1', 'ddl: or they are there without what the copy lacks');
is($node->sql(q{SELECT id, md5(big) = md5('small now'), md5(bin) = md5(decode(repeat('00ff', 3000), 'hex')), js, md5(arr::text) = md5(ARRAY[repeat('y', 5000)]::text), n FROM late.toasted}),
	'2|t|t|{"k": "small"}|t|2', 'toasted: large values are kept across a change of the key');

# Events into a topic, in their order.
sub feed
{
	my ($topic, @list) = @_;
	my $calls = join('', map { publishing_call($topic, $_) } @list);

	$node->sql("BEGIN; $calls COMMIT");
	$node->wait_published($topic);
	return;
}

done_testing();
