# 133_debezium_recorded.pl
#     Events that a connector of Debezium has sent, of three configurations: what
#     they leave behind is what their source had, but for what the connector itself
#     loses.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();
my %files = map { $_ => data_file("debezium/events/$_") } '01_tables.sql', '02_changes.sql', map { "$_.jsonl.gz" } qw(plain schema alt);

my $kafka = start_kafka();
my $node = new_node('recorded', kafka => $kafka, preload => 1, conf => "max_worker_processes = 60\ntimezone = 'UTC'\n");

plan(skip_all => 'hstore is not there') if $node->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'hstore'}) eq '0';

# The source: some of its statements are meant to fail.  And the same tables as
# row types.
sub run_file
{
	my ($dbname, $file) = @_;
	my ($out, $err);

	IPC::Run::run([ 'psql', '-q', '-X', '-d', $node->connstr($dbname), '-f', $files{$file} ], '>', \$out, '2>', \$err) or die $err;
	return;
}
$node->sql('CREATE DATABASE source');
run_file('source', $_) foreach '01_tables.sql', '02_changes.sql';
run_file('postgres', '01_tables.sql');
$node->sql(<<~'EOC');
	UPDATE rappel_conso.stream SET paused = true;
	CREATE TABLE seen (topic text, record_offset bigint, key text, op "char", before jsonb, after jsonb, old_key jsonb, unavailable text[], PRIMARY KEY (topic, record_offset));
	SELECT rc_start();
	EOC

# What the connector loses of each table, as the README of the recording says;
# "ms" is what times are without a schema, with time.precision.mode = connect.
my @always = qw(c_timetz c_int_aa c_varbit);
my @unknown = qw(c_comp c_multirange c_lsn c_interval c_name);
my %files_of = (
	plain => { lost => [ @always, @unknown ] },
	schema => { lost => [ @always, @unknown ] },
	alt => { lost => [ @always, qw(c_time c_ts c_name) ], time => 'ms' });
my %tables = (types => 'types', order_line => 'order_line', keys => 'keys', ri_full => 'ri_full', toasted => 'toasted', Odd_N_me => '"Odd Näme"');

my %events;
foreach my $file (sort keys %files_of)
{
	open(my $lines, '-|', 'zcat', $files{"$file.jsonl.gz"}) or die;
	while (<$lines>)
	{
		# the texts of key and value, not what they become and are written as
		/^\{"topic":"([^"]+)","offset":\d+,"ts":\d+,"key":(.*?),"value":(.*?)(?:,"headers":(\{.*\}))?\}$/ or die "not read: $_";
		my ($topic, $key, $value, $headers) = ($1, $2, $3, $4);
		my $old = ($headers // '') =~ /"__debezium.oldkey":"((?:\\.|[^"\\])*)"/ ? $1 =~ s/\\(.)/$1/gr : undef;

		push @{ $events{$topic} }, [ map({ $_ eq 'null' ? undef : $_ } $key, $value), defined $old ? [ '__debezium.oldkey' => $old ] : undef ];
	}
	close($lines);
}

foreach my $file (sort keys %files_of)
{
	foreach my $table (sort keys %tables)
	{
		my $topic = "$file.app.$table";

		$kafka->produce_in_order($topic, @{ $events{$topic} });
		$node->sql(sprintf q{INSERT INTO rappel_conso.stream (name, topics, value_type, envelope, numeric_time, statement) VALUES ('%s', '{%s}', 'app.%s', 'debezium', %s, $$
			INSERT INTO public.seen SELECT topic, record_offset, key, op, to_jsonb(before), to_jsonb(after), to_jsonb(old_key), unavailable FROM records $$)},
			$topic, $topic, $tables{$table}, defined $files_of{$file}{time} ? "'$files_of{$file}{time}'" : 'NULL');
	}
}

# The last event of each key is the row, or it is gone.
foreach my $file (sort keys %files_of)
{
	my $lost = join(',', @{ $files_of{$file}{lost} });

	foreach my $table (sort keys %tables)
	{
		my $topic = "$file.app.$table";
		my $row = "to_jsonb(row_) - '{$lost}'::text[] - CASE WHEN to_jsonb(row_)->>'id' = '5' THEN 'c_date' WHEN to_jsonb(row_)->>'id' = '4' AND '$file' <> 'alt' THEN 'c_num' ELSE '' END";

		$node->wait_applied($topic, scalar @{ $events{$topic} });
		is($node->dead_letters($topic, 'record_offset, message, detail'), '', "$topic: no dead letter");
		next if $table eq 'toasted';
		is( $node->sql("SELECT $row FROM (SELECT DISTINCT ON (key) op, after FROM seen WHERE topic = '$topic' ORDER BY key, record_offset DESC) s, to_jsonb(s.after) row_ WHERE op <> 'd' ORDER BY 1"),
			$node->sql("SET timezone = 'UTC'; SELECT $row FROM app.$tables{$table} row_ ORDER BY 1", dbname => 'source'), "$topic: what its source has");
	}
	is($node->sql("SELECT record_offset, op, unavailable, old_key->>'id' FROM seen WHERE topic = '$file.app.toasted' AND unavailable IS NOT NULL ORDER BY 1"),
		"1|u|{big,bin,js,arr}|\n2|u|{big,bin,arr}|\n5|c|{big,bin,arr}|1\n6|u|{bin,arr}|", "$file: large values that events do not have, also after a change of the key");
	is($node->sql("SELECT jsonb_strip_nulls(old_key) FROM seen WHERE topic = '$file.app.keys' AND old_key IS NOT NULL"),
		'{"d": "2024-01-01", "n": 1.50, "u": "00000000-0000-0000-0000-000000000001"}', "$file: a key of three types before it was changed");
}
done_testing();
