# 130_dropped_by_nobody.pl
#     DROP EXTENSION by a role that may not drop it, while a transaction is open
#     that has called a function of ours (D13): PostgreSQL locks an extension
#     before it checks who drops it, and who waits for that lock must not make
#     others wait.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use RappelConso;
use Test::More;

my $node = new_node('main');

$node->sql(<<~'EOC');
	CREATE ROLE app LOGIN;
	CREATE ROLE nobody LOGIN;
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO app, other;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app, other;
	INSERT INTO rappel_conso.topic_grant VALUES ('app', '*', true, true), ('other', '*', true, true);
	EOC

my $open = $node->start_session("\\connect - app\nBEGIN; SELECT rc_publish('app', 'x'::text);\n\\warn open\nSELECT pg_sleep(1000)");
$open->wait_for(qr/open/);

# It is refused at once, whoever else uses the extension.
is($node->sqlstate_of(q{SET statement_timeout = '60s'; DROP EXTENSION rappel_conso}, role => 'nobody'), '42501', 'D13: who may not drop the extension waits for nobody');

# One that may drop it does wait, and nothing is dropped meanwhile.
is($node->sqlstate_of(q{SET lock_timeout = '100ms'; DROP EXTENSION rappel_conso}), '55P03', 'R1: who may drop it waits for the transaction');

# It waits without a lock on another table: no deadlock.
my $drop = $node->start_session('DROP EXTENSION rappel_conso');
$node->wait_for('DROP EXTENSION to wait', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted});
is( $node->sql(q{SELECT l.relation::regclass, l.granted FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
	WHERE l.mode = 'AccessExclusiveLock' AND c.relnamespace = 'rappel_conso'::regnamespace}),
	'rappel_conso.known_role|f', 'R1: before it has locked any table');
$node->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'});
$open->finish;
$drop->finish;
is($node->sql(q{SELECT count(*) FROM pg_extension WHERE extname = 'rappel_conso'}), '0', 'then it is dropped');

done_testing();
