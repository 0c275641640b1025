# 142_managed_server.pl
#     "Managed services" of docs/install.md, as it stands there: a plain server
#     gets the recalls and the rows of a stream from a server with the extension,
#     and its own messages reach the outbox of that.
#
# The blocks of SQL are read from the page and run in their order, on the server
# that their first line names.  Only connection strings are replaced.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample

my $api = start_api();
my $small = new_node('small', api => $api, init => { allows_streaming => 'logical' });
my $managed = RappelConso::Node->new('managed');

$managed->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--no-locale' ]);
$managed->start;

my %nodes = (small => $small, managed => $managed);

# What the page says in place of a connection, and the one of this test.
sub connected
{
	my ($sql) = @_;

	$sql =~ s{'host=(\w+) dbname=[^']*'}
	  {sprintf("'host=%s port=%d dbname=postgres'", $nodes{$1}->host, $nodes{$1}->port)}ge;
	$sql =~ s{host 'managed', dbname 'shop'}
	  {sprintf("host '%s', port '%d', dbname 'postgres'", $managed->host, $managed->port)}e;
	$sql =~ s{user 'loader', password 'secret'}{sprintf("user '%s'", scalar getpwuid($<))}e;
	return $sql;
}

my $page = slurp_file("$RappelConso::top/docs/install.md");
my ($section) = $page =~ /^## Managed services\n(.*?)^## /ms;
my @blocks = $section =~ /^```sql\n-- on the (\w+) server\n(.*?)^```$/msg;
my ($dump) = $section =~ /^    (pg_dump [^|]*?) \\?\n? *\| *psql/m;

is(@blocks / 2, 6, 'the page has three recipes, on two servers each');

# Run the next two blocks.
sub follow_recipe
{
	foreach my $number (1, 2)
	{
		my ($server, $sql) = splice(@blocks, 0, 2);

		$nodes{$server}->sql(connected($sql));
	}
	return;
}

$small->sql('SELECT rc_sync_now()');
like($dump, qr/--section=pre-data -t rappel_conso_table/, 'the table is copied without its triggers');
my ($options) = $dump =~ /^pg_dump (.*) "/;
my ($definition) = run_command([ 'pg_dump', split(' ', $options), '-d', $small->connstr('postgres') ]);
$managed->sql($definition);
follow_recipe();
$managed->becomes_true('the recalls are on the managed server',
	"(SELECT count(*) FROM rappel_conso_table) = $RECORDS");
$small->sql(q{UPDATE rappel_conso_table SET withdrawn_at = '2026-01-01' WHERE reference_fiche =
	  (SELECT min(reference_fiche) FROM rappel_conso_table)});
$managed->becomes_true('and so are changes',
	'(SELECT count(*) FROM rappel_conso_table WHERE withdrawn_at IS NOT NULL) = 1');

follow_recipe();
$small->sql(q{
	INSERT INTO rappel_conso.source (name, url, dataset, key_field, stream)
	  SELECT 'readings', url, dataset, key_field, 'readings' FROM rappel_conso.source WHERE name = 'rappel_conso'});
$small->sql(q{SELECT rc_sync_now('readings')});
is($managed->sql(q{SELECT count(*) FROM reading WHERE value->>'numero_fiche' = id}),
	$RECORDS, 'a stream writes through the foreign table');
$small->sql(q{SELECT rc_sync_now('readings', full_sync => true)});
is($managed->sql('SELECT count(*) FROM reading'), $RECORDS, 'twice is harmless');

follow_recipe();
$managed->sql(q{INSERT INTO outgoing (topic, key, value) VALUES ('orders', '7', '{"total": 5}'), ('orders', '8', NULL)});
$small->becomes_true('messages of the managed server are in the outbox',
	q{(SELECT count(*) FROM rappel_conso.outbox) = 2});
is($small->sql(q{SELECT topic, convert_from(key, 'UTF8'), convert_from(value, 'UTF8') FROM rappel_conso.outbox ORDER BY id}),
	"orders|7|{\"total\": 5}\norders|8|", 'as they were inserted');
is($small->sql('SELECT count(*) FROM outgoing'), 0, 'and nowhere else');

done_testing();
