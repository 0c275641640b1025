# RappelConso.pm
#     What the TAP tests share: a stand-in for the Explore API, a real Kafka, a
#     server with the extension, and dumps of what it holds.  RappelConso::Api,
#     ::Kafka, ::Node and ::Session are what it gives to a test.
#
# It must not sleep, and must leave no process behind when a test ends, however
# it ends.
#
#     use lib 'test/lib';
#     use RappelConso;
#
#     my $api = start_api();                        # serves the sample
#     my $node = new_node('main', api => $api);     # started, extension made
#     $node->safe_psql('postgres', 'SELECT * FROM rc_sync_now()');
#
# Tests run at the top of the tree (make test, make installcheck).

package RappelConso;

use strict;
use warnings FATAL => 'all';

use Cwd ();
use Digest::MD5 ();
use Exporter 'import';
use File::Basename ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso::Api;
use RappelConso::Kafka;
use RappelConso::Node;
use RappelConso::Session;
use Test::More;
use Time::HiRes ();

our @EXPORT = qw(
  start_api start_kafka start_session need_kafka new_node new_database
  make_source kill_server data_file sample_file set_hostile table_rows table_digest
  table_fingerprint miscounted_runs DATASET
);

# The dataset that the built-in source reads.
use constant DATASET => 'rappelconso-v2-gtin-espaces';

our $top = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../..');

# A test that is interrupted ends what it started, like one that dies.
$SIG{$_} ||= sub { exit 1; }
  foreach ('INT', 'TERM', 'HUP');

# Nothing that talks to 127.0.0.1 may go through a proxy.
$ENV{no_proxy} = $ENV{NO_PROXY} =
  join(',', '127.0.0.1', 'localhost', $ENV{no_proxy} // ());

=pod

=item start_api(dataset => file, .., options => [..])

Starts test/servers/explore_api.py; without datasets it serves the sample as
DATASET.  Options go to its command line.  Returns a RappelConso::Api.

=cut

sub start_api
{
	my %args = @_;
	my $options = delete $args{options} // [];

	%args = (DATASET, sample_file('recalls.jsonl')) unless %args;
	return RappelConso::Api->start(\%args, $options);
}

=pod

=item need_kafka(program, ..)

Skips the whole test where a real Kafka cannot be run, or one of the programs is
absent: 'openssl' for a cluster with certificates.  To be called before the first
test.

=cut

sub need_kafka
{
	my @programs = ('java', 'kcat', @_);
	my $cache = $ENV{RAPPEL_CONSO_CACHE} || "$top/.cache";

	foreach my $program (@programs)
	{
		plan(skip_all => "$program is not installed")
		  unless grep { -x "$_/$program" } split(/:/, $ENV{PATH});
	}
	plan(skip_all =>
		  'the jars of Apache Kafka are absent: run test/servers/kafka fetch')
	  unless -e "$cache/kafka/complete";
	return;
}

=pod

=item start_kafka(brokers => 1, plain => 0, scram => 0, tls => 0, mtls => 0,
acls => 0, listeners => {name => 'word,..'}, properties => {..})

Starts test/servers/kafka, whose head says what these mean, and waits until it
answers.  Returns a RappelConso::Kafka.

=cut

sub start_kafka
{
	return RappelConso::Kafka->start(@_);
}

=pod

=item new_node(name, option => value, ..)

Makes a server whose databases are UTF8 with locale C, starts it and creates the
extension in "postgres"; returns a RappelConso::Node.  Options:

    api        a RappelConso::Api: the built-in source reads from it
    kafka      a RappelConso::Kafka, or a list of brokers as a text
    preload    preload the library, and start workers in "postgres"
    conf       text for postgresql.conf
    source     {column => SQL expression}: changes of the built-in source; by
               default retries come after 100 ms
    init       arguments of PostgreSQL::Test::Cluster::init
    start      0: only make it
    extension  0: start it, but create nothing

=cut

sub new_node
{
	my ($name, %args) = @_;
	my $node = RappelConso::Node->new($name);
	my %init = %{ $args{init} // {} };
	my $brokers = $args{kafka};

	push @{ $init{extra} }, '--encoding=UTF8', '--no-locale';
	$node->init(%init);
	$node->append_conf('postgresql.conf', <<~EOC) if $args{preload};
		shared_preload_libraries = 'rappel_conso'
		rappel_conso.databases = 'postgres'
		EOC
	if (defined $brokers)
	{
		$brokers = $brokers->brokers if ref $brokers;
		$node->append_conf('postgresql.conf',
			"rappel_conso.kafka_brokers = '$brokers'\n");
	}
	$node->append_conf('postgresql.conf', $args{conf}) if $args{conf};
	return $node unless $args{start} // 1;

	$node->start;
	set_hostile($node, $ENV{RAPPEL_CONSO_HOSTILE})
	  if $ENV{RAPPEL_CONSO_HOSTILE};
	create_extension($node, %args) if $args{extension} // 1;
	return $node;
}

=pod

=item set_hostile(node, 'ROLE ALL' or 'DATABASE postgres')

Gives all roles, or a database, every setting that changes what a text of SQL
means, how values become texts or how plans are made.  With the environment
variable RAPPEL_CONSO_HOSTILE, new_node() does so before it creates the
extension: a whole test then runs under them (see 118_hostile_settings.pl).

=cut

sub set_hostile
{
	my ($node, $whose) = @_;
	my %settings = (
		'standard_conforming_strings' => 'off',
		'escape_string_warning' => 'off',
		'backslash_quote' => 'on',
		'array_nulls' => 'off',
		'bytea_output' => 'escape',
		'check_function_bodies' => 'off',
		'DateStyle' => 'German, DMY',
		'IntervalStyle' => 'sql_standard',
		'TimeZone' => 'Pacific/Chatham',
		'extra_float_digits' => '-15',
		'quote_all_identifiers' => 'on',
		'transform_null_equals' => 'on',
		'xmloption' => 'document',
		'default_statistics_target' => '1',
		'enable_seqscan' => 'off',
		'enable_hashjoin' => 'off',
		'join_collapse_limit' => '1',
		'plan_cache_mode' => 'force_generic_plan',
		'synchronous_commit' => 'off',
		'plpgsql.variable_conflict' => 'use_variable',
		'plpgsql.extra_errors' => 'all',
		'plpgsql.check_asserts' => 'off',
		'default_text_search_config' => 'pg_catalog.simple');
	my $known = $node->safe_psql('postgres', q{
		LOAD 'plpgsql'; SELECT string_agg(lower(name), ' ') FROM pg_settings});

	$node->safe_psql('postgres', join(
			'; ', map { "ALTER $whose SET $_ = '$settings{$_}'" }
			  grep { " $known " =~ / \L\Q$_\E / } sort keys %settings));
	return;
}

=pod

=item RappelConso::create_extension(node, dbname => 'postgres', api, source)

Creates the extension and points its source at the stand-in, in one transaction
so that no worker sees it half made.

=cut

sub create_extension
{
	my ($node, %args) = @_;
	my %source = (retry_delay => "'100 ms'", %{ $args{source} // {} });
	my $set;

	$source{url} = "'" . $args{api}->url . "'" if $args{api};
	$set = join(', ', map { "$_ = $source{$_}" } sort keys %source);
	$node->safe_psql($args{dbname} // 'postgres', <<~EOC);
		BEGIN;
		CREATE EXTENSION rappel_conso;
		UPDATE rappel_conso.source SET $set WHERE name = 'rappel_conso';
		COMMIT;
		EOC
	return;
}

=pod

=item new_database(node, name, api => api, source => {..})

A database of that name with the extension, as by create_extension(); returns
the name.

=cut

sub new_database
{
	my ($node, $dbname, %args) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	create_extension($node, dbname => $dbname, %args);
	return $dbname;
}

=pod

=item make_source(node, name, api => api, batch_size => n, dataset => "'..'", ..)

A source with a stream and a table of its name.  The table has key, value and
how often the record was handed on.  What is given besides the stream's
batch_size is SQL for the source's columns.

=cut

sub make_source
{
	my ($node, $name, %columns) = @_;
	my ($api, $batch_size) = delete @columns{ 'api', 'batch_size' };
	my %source = (
		url => "'" . $api->url . "'",
		dataset => "'${\DATASET}'",
		key_field => "'numero_fiche'",
		cursor_field => "'date_publication'",
		retries => 1,
		retry_delay => "'0'",
		%columns);
	my @set = sort keys %source;

	$node->safe_psql('postgres', <<~EOC);
		CREATE TABLE IF NOT EXISTS $name (key text PRIMARY KEY, value jsonb, times integer NOT NULL DEFAULT 1);
		INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('$name', '{$name}', ${\($batch_size // 10000)}, \$\$
		  INSERT INTO $name AS t SELECT key, value FROM records
		      ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, times = t.times + 1 \$\$);
		INSERT INTO rappel_conso.source (name, stream, ${\join(', ', @set)}) VALUES ('$name', '$name', ${\join(', ', @source{@set})});
		EOC
	return;
}

=pod

=item kill_server(node, pid, ..)

kill -9 of the server itself, and its start when the processes that it leaves,
those of the pids, have noticed and ended.

=cut

sub kill_server
{
	my ($node, @pids) = @_;
	my $tries = 100 * $PostgreSQL::Test::Utils::timeout_default;
	my ($postmaster) =
	  slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	$node->kill9;
	push @pids, $postmaster;
	while (grep { kill(0, $_) } @pids)
	{
		die 'processes of the server do not end' unless $tries--;
		Time::HiRes::usleep(10_000);
	}
	$node->start;
	return;
}

=pod

=item start_session(node, sql, dbname => 'postgres')

Runs SQL in a session of its own, which lasts until its finish(), and returns at
once, with a RappelConso::Session.

=cut

sub start_session
{
	return RappelConso::Session->start(@_);
}

=pod

=item sample_file(name)

The path of a file of test/sample.

=cut

sub sample_file
{
	my ($name) = @_;

	return "$top/test/sample/$name";
}

=pod

=item data_file(name)

The path of a file of recorded data (RAPPEL_CONSO_DATA).  Where it is absent the
whole test is skipped, or, when tests have run already, the SKIP block that the
call stands in.

=cut

sub data_file
{
	my ($name) = @_;
	my $folder = $ENV{RAPPEL_CONSO_DATA} || "$top/../shared/data";
	my $reason = "$name is absent (RAPPEL_CONSO_DATA)";

	return "$folder/$name" if -r "$folder/$name";
	plan(skip_all => $reason) if Test::More->builder->current_test == 0;
	skip($reason, 1);
	return;
}

=pod

=item table_rows(node, dbname => 'postgres', table => 'rappel_conso_table', key
=> 'reference_fiche')

The rows of the table as texts of JSON, in the order of the key, without the
columns that say when a row was written.

=cut

sub table_rows
{
	my ($node, %args) = @_;
	my $table = $args{table} // 'rappel_conso_table';
	my $key = $args{key} // 'reference_fiche';

	return split(
		/\n/,
		$node->safe_psql(
			$args{dbname} // 'postgres', qq{
			SELECT to_jsonb(t) - 'first_seen_at' - 'updated_at'
			FROM $table t ORDER BY t.$key COLLATE "C"}));
}

=pod

=item table_digest(node, ..)

One line for the whole of table_rows(): their number and a hash.

=cut

sub table_digest
{
	my @rows = table_rows(@_);

	return scalar(@rows) . ' rows, '
	  . Digest::MD5::md5_hex(join("\n", @rows));
}

=pod

=item table_fingerprint(node, dbname => 'postgres')

Where each row of the recalls' table lies and who wrote, locked or deleted it:
the same text means that nothing was done to it.

=cut

sub table_fingerprint
{
	my ($node, %args) = @_;

	return $node->safe_psql(
		$args{dbname} // 'postgres', q{
		SELECT pg_relation_size('rappel_conso_table'),
		       md5(string_agg(concat_ws(',', ctid, xmin, xmax), ' ' ORDER BY ctid)) FROM rappel_conso_table});
}

=pod

=item miscounted_runs(node, dbname => 'postgres')

The runs whose counters are not the sums over their tasks; '' if there are
none, and some that count.

=cut

sub miscounted_runs
{
	my ($node, %args) = @_;
	my @names = qw(fetched published inserted updated unchanged dead withdrawn);
	my $run = join(', ', map { "r.$_" } @names);
	my $tasks = join(', ', map { "COALESCE(sum(t.$_), 0)" } @names);

	return $node->safe_psql(
		$args{dbname} // 'postgres', qq{
		SELECT CASE WHEN NOT bool_or(fetched > 0) THEN 'no run has fetched anything'
		            ELSE string_agg(format('run %s: %s, its tasks: %s', id, run, tasks), '; ' ORDER BY id)
		                 FILTER (WHERE run IS DISTINCT FROM tasks) END
		FROM (SELECT r.id, r.fetched, ARRAY[$run]::numeric[] AS run, ARRAY[$tasks] AS tasks
		        FROM rappel_conso.run r LEFT JOIN rappel_conso.task t ON t.run = r.id GROUP BY r.id) counted});
}

1;
