# 141_documentation_kafka.pl
#     The examples of the documentation that need Kafka (see test/docs).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use RappelConso;
use RappelConso::Docs;
use Test::More;

need_kafka();

my $api = start_api();
my $kafka = start_kafka();
my $node = new_node(
	'docs',
	kafka => $kafka,
	extension => 0,
	conf => "max_worker_processes = 24\n");

RappelConso::Docs::test_examples($node, $api, 'kafka');

done_testing();
