# 140_documentation.pl
#     The documentation: its marks, links and coverage, and the examples of all
#     pages that need no Kafka (see test/docs).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use RappelConso::Docs;
use Test::More;

my $api = start_api();
my $node = new_node('docs', extension => 0, conf => "max_worker_processes = 24\n");
my $folder = PostgreSQL::Test::Utils::tempdir();
my $number = 0;

# What is said of a page with this text.
sub said_of
{
	my ($text) = @_;
	my $page = "$folder/page" . ++$number . '.md';

	append_to_file($page, $text);
	return RappelConso::Docs::run($node, $api, $page) =~ s/^\Q$folder\E\///mgr;
}

foreach my $check ([], ['--self-check'])
{
	my ($out, $err) = run_command([ "$RappelConso::top/test/docs", @$check ]);
	is($out . $err, '', "test/docs @$check");
}

# Each way in which an example can be wrong is seen.

is(said_of("<!-- run -->\n```sql\nSELECT 1 AS n, now();\n```\n\n```text\n n | now\n---+---\n"
		  . " 1 | 2026-01-01 00:00:00.1+00\n(1 row)\n```\n"),
	'', 'what varies and white space do not count');
like(said_of("<!-- run -->\n```sql\nSELECT 1 AS n;\n```\n```text\n n\n---\n 2\n(1 row)\n```\n"),
	qr/^page2\.md:2: it prints\n n/, 'another result is seen');
like(said_of("<!-- run -->\n```sql\nSELECT 1;\n```\n\n<!-- run -->\n```sql\nSELECT 1/0; SELECT 1;\n```\n"),
	qr/^page3\.md:7: it fails:\n.*division by zero/, 'an error is seen');
like(said_of("<!-- run: fails -->\n```sql\nSELECT 1;\n```\n```text\nERROR: no\n```\n"),
	qr/^page4\.md:2: it should fail/, 'an error that does not come is seen');
like(said_of("<!-- run: fails -->\n```sql\nSELECT 1/0;\n```\n```text\nERROR:  no\n```\n"),
	qr/^page5\.md:2: it prints\n.*division by zero/, 'another error is seen');
like(said_of("<!-- run\nSELECT 1/0;\n-->\n"), qr/^page6\.md:1: it fails/, 'an error of hidden SQL is seen');
like(said_of("<!-- wait: SELECT 1/0 = 1 -->\n"), qr/^page7\.md:1: waited in vain/, 'an error of a wait is seen');

RappelConso::Docs::test_examples($node, $api, 'server');

done_testing();
