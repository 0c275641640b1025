# 081_retry_memory.pl
#     rc_retry() holds few dead letters at a time, however large they are: the
#     process that does it stays below 100 MB, and each of them has its turn once.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('main', conf => "autovacuum = off\n");

# Of its process's private memory, the most that the statement has seen, in kB.
$node->sql(q{
	CREATE TABLE kept (id bigint, bytes bigint, rss int);
	CREATE FUNCTION private_memory() RETURNS int LANGUAGE sql AS
	  'SELECT substring(pg_read_file(''/proc/self/status'') FROM ''RssAnon:\s+(\d+)'')::int'});
plan(skip_all => 'this system does not tell RssAnon')
  unless $node->outcome_of('SELECT private_memory() > 0') eq 't';
$node->add_stream('large', value_type => q{'bytea'}, stop_after => 1_000_000, statement => q{$$
	INSERT INTO kept SELECT record_offset, length(value), private_memory() FROM records WHERE 1 / (record_offset % 10) > -1$$});

# What a column holds may be large: the value, the key, or headers.
my %large = (
	value => [ q{'k'}, q{convert_to(repeat('v', 8000000), 'UTF8')}, 'NULL' ],
	key => [ q{convert_to(repeat('k', 8000000), 'UTF8')}, q{'v'}, 'NULL' ],
	headers => [ q{'k'}, q{'v'}, q{jsonb_build_object('h', repeat('h', 8000000))} ]);
foreach my $column (sort keys %large)
{
	my ($key, $value, $headers) = @{ $large{$column} };

	$node->sql(qq{
		INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, key, value, headers, sqlstate, message, owner)
		SELECT 'stream', 'large', 'large', 0, n, $key, $value, $headers, '22000', 'was bad', current_user
		FROM generate_series(1, 20) n});
	is($node->sql('SET client_min_messages = warning; SELECT * FROM rc_retry(\'large\')'), '20|18|2', "large $column: each of 20 dead letters is retried once");
	is($node->sql('SELECT count(*), count(DISTINCT id) FROM kept'), '18|18', "large $column: and applied once");
	cmp_ok($node->sql('SELECT max(rss) FROM kept'), '<', 100 * 1024, "large $column: in less than 100 MB");
	$node->sql(q{TRUNCATE kept; DELETE FROM rappel_conso.dead_letter});
}

# Small ones go together.
$node->sql(q{
	INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, value, sqlstate, message, owner)
	SELECT 'stream', 'large', 'large', 0, 10 * n + 1, 'v', '22000', 'was bad', current_user FROM generate_series(1, 1000) n});
is($node->sql(q{SET client_min_messages = warning; SELECT * FROM rc_retry('large')}), '1000|1000|0', 'small ones: all are retried');
is($node->sql('SELECT count(DISTINCT xmin::text) < 10 FROM rappel_conso.dead_letter'), 't', 'many in a transaction');

done_testing();
