# RappelConso.pm
#     What the TAP tests share: a stand-in for the Explore API, a real Kafka and
#     servers with the extension.  RappelConso::Api, ::Kafka, ::Tokens and ::Node
#     are what it gives to a test, and say what can be done with them; so does
#     ::Session, which is what a node gives.
#
# It must not sleep, and must leave no process behind when a test ends, however
# it ends.
#
#     use lib 'test/lib';
#     use RappelConso;
#
#     my $api = start_api();                        # serves the sample
#     my $node = new_node('main', api => $api);     # started, extension made
#     is($node->sync, 'success|300|0|300|0|0|0', 'the first sync');
#
# Tests run at the top of the tree (make test, make installcheck).

package RappelConso;

use strict;
use warnings FATAL => 'all';

use Cwd ();
use Exporter 'import';
use File::Basename ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso::Api;
use RappelConso::Kafka;
use RappelConso::Node;
use RappelConso::Tokens;
use Test::More;

our @EXPORT = qw(
  start_api start_kafka start_tokens need_kafka use_new_librdkafka
  librdkafka_version new_node new_recall is_or_like data_file sample_file preload
  connect_struct
  DATASET
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

=item use_new_librdkafka()

Has all that the test starts use the librdkafka of test/servers/new_librdkafka, or
skips the whole test where there is none.  To be called before the first test.

=cut

sub use_new_librdkafka
{
	my $folder = $ENV{RAPPEL_CONSO_LIBRDKAFKA} // '';

	plan(skip_all =>
		  'there is no newer librdkafka: see test/servers/new_librdkafka, and set RAPPEL_CONSO_LIBRDKAFKA')
	  unless -e "$folder/librdkafka.so.1";
	$ENV{LD_LIBRARY_PATH} = $folder;
	return;
}

=pod

=item librdkafka_version()

Of the one that servers use: "2.0.2".

=cut

sub librdkafka_version
{
	my ($text) = `kcat -V 2>&1` =~ /librdkafka (\d+\.\d+\.\d+)/ or die 'kcat -V';

	return $text;
}

=pod

=item start_tokens()

Starts test/servers/tokens.py; returns a RappelConso::Tokens.

=cut

sub start_tokens
{
	return RappelConso::Tokens->start;
}

=pod

=item start_kafka(brokers => 1, plain => 0, scram => 0, tls => 0, mtls => 0,
acls => 0, listeners => {name => 'word,..'}, keys => url, properties => {..})

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
	$node->append_conf('postgresql.conf', <<~EOC);
		log_line_prefix = '%m %e [%p] %q%a '
		EOC
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
	$node->set_hostile($ENV{RAPPEL_CONSO_HOSTILE})
	  if $ENV{RAPPEL_CONSO_HOSTILE};
	$node->create_extension(%args) if $args{extension} // 1;
	return $node;
}

=pod

=item new_recall(n, field => value, ..)

A made-up recall of the n-th day of March 2026, in the first version, as a hash
for the stand-in.

=cut

sub new_recall
{
	my ($n, %more) = @_;

	return {
		numero_fiche => sprintf('2026-03-%04d', $n),
		date_publication => sprintf('2026-03-%02dT08:02:00+00:00', $n),
		numero_version => 1,
		libelle => "thing $n",
		%more
	};
}

=pod

=item is_or_like(got, expected, name)

like() where a pattern is expected, as for errors, and is() where a text is.

=cut

sub is_or_like
{
	my ($got, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ref $expected
	  ? like($got, $expected, $name)
	  : is($got, $expected, $name);
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

=item preload(name)

Compiles test/preload/NAME.c; returns what to put into LD_PRELOAD, or undef where
there is no compiler.

=cut

sub preload
{
	my ($name) = @_;
	my $library = PostgreSQL::Test::Utils::tempdir($name) . "/$name.so";
	my $err = '';

	return $library
	  if eval
	{
		IPC::Run::run([ $ENV{CC} || 'cc', '-shared', '-fPIC', '-o', $library, "$top/test/preload/$name.c", '-ldl' ], '2>', \$err);
	};
	note($err || $@);
	return;
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

=item connect_struct(fields)

The schema of a row or an event, as Kafka Connect's JsonConverter writes it, from
those of its fields: each a hash with "type" and "field".

=cut

sub connect_struct
{
	return { type => 'struct', optional => JSON::PP::true(), fields => [@_] };
}

1;
