# 122_dropped_role_names.pl
#     What a dropped role has left in runs, dead letters and the outbox stays
#     nobody's, whoever takes its name and however often these rows are updated
#     (R3), also where updates recompute generated columns.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('main');
my @tables = ('run', 'dead_letter', 'outbox');

# What clerk sees of each table.
sub seen_by_clerk
{
	return join(' ', map { $node->sql("SET ROLE clerk; SELECT count(*) FROM rappel_conso.$_") } @tables);
}

sub make_clerk
{
	$node->sql('CREATE ROLE clerk; GRANT USAGE ON SCHEMA rappel_conso TO clerk; GRANT SELECT ON ALL TABLES IN SCHEMA rappel_conso TO clerk');
	return;
}

sub store_rows
{
	$node->sql(q{
		INSERT INTO rappel_conso.run (source, owner, state) VALUES ('s', 'clerk', 'success');
		INSERT INTO rappel_conso.dead_letter (origin, name, sqlstate, message, owner) VALUES ('stream', 's', '22023', 'm', 'clerk');
		INSERT INTO rappel_conso.outbox (topic, value, owner) VALUES ('t', 'v', 'clerk')});
	return;
}

sub update_rows
{
	$node->sql(q{
		UPDATE rappel_conso.run SET fetched = fetched + 1;
		UPDATE rappel_conso.dead_letter SET attempts = attempts + 1;
		UPDATE rappel_conso.outbox SET created_at = now()});
	return;
}

$node->sql(q{
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'});
foreach my $how ('no trigger', 'a trigger')
{
	make_clerk();
	store_rows();
	is(seen_by_clerk(), '1 1 1', "$how: a role sees what is its own");
	update_rows();
	is(seen_by_clerk(), '1 1 1', "$how: an update leaves it so");
	$node->sql('DROP OWNED BY clerk; DROP ROLE clerk');
	make_clerk();
	is(seen_by_clerk(), '0 0 0', "R3: $how: a new role of that name sees nothing");
	if ($how eq 'a trigger')
	{
		$node->sql("CREATE TRIGGER pass BEFORE UPDATE ON rappel_conso.$_ FOR EACH ROW EXECUTE FUNCTION pass()") foreach @tables;
	}
	update_rows() foreach 1 .. 2;
	is(seen_by_clerk(), '0 0 0', "R3: $how: nor after an update");
	store_rows();
	is(seen_by_clerk(), '1 1 1', "R3: $how: but what it has stored itself");
	update_rows();
	is(seen_by_clerk(), '1 1 1', "R3: $how: which stays its own");

	# updated while there is none, then there is one again
	$node->sql('DROP OWNED BY clerk; DROP ROLE clerk');
	update_rows();
	make_clerk();
	update_rows();
	is(seen_by_clerk(), '0 0 0', "R3: $how: nor by way of nobody");
	$node->sql(q{UPDATE rappel_conso.dead_letter SET owner = 'clerk' WHERE id = 1});
	is(seen_by_clerk(), '0 1 0', "R3: $how: until a superuser gives it away");
	$node->sql('DROP OWNED BY clerk; DROP ROLE clerk; TRUNCATE rappel_conso.run RESTART IDENTITY CASCADE; TRUNCATE rappel_conso.dead_letter, rappel_conso.outbox RESTART IDENTITY');
}
like(($node->psql('postgres', 'CREATE ROLE none'))[2], qr/role name "none" is reserved/, 'nobody can be named so');

done_testing();
