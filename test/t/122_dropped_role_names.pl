# 122_dropped_role_names.pl
#     What a dropped role has left in runs, dead letters and the outbox stays
#     nobody's, whoever takes its name and however often these rows are updated
#     (R3), also where updates compute generated columns anew.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('main');
my @tables = ('run', 'dead_letter', 'outbox');

sub value { return $node->safe_psql('postgres', $_[0]); }

# What clerk sees of each table.
sub seen
{
	return join(' ', map { value("SET ROLE clerk; SELECT count(*) FROM rappel_conso.$_") } @tables);
}

sub make_role
{
	value('CREATE ROLE clerk; GRANT USAGE ON SCHEMA rappel_conso TO clerk; GRANT SELECT ON ALL TABLES IN SCHEMA rappel_conso TO clerk');
	return;
}

sub store
{
	value(q{
		INSERT INTO rappel_conso.run (source, owner, state) VALUES ('s', 'clerk', 'success');
		INSERT INTO rappel_conso.dead_letter (origin, name, sqlstate, message, owner) VALUES ('stream', 's', '22023', 'm', 'clerk');
		INSERT INTO rappel_conso.outbox (topic, value, owner) VALUES ('t', 'v', 'clerk')});
	return;
}

sub update
{
	value(q{
		UPDATE rappel_conso.run SET fetched = fetched + 1;
		UPDATE rappel_conso.dead_letter SET attempts = attempts + 1;
		UPDATE rappel_conso.outbox SET created_at = now()});
	return;
}

value(q{
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'});
foreach my $how ('no trigger', 'a trigger')
{
	make_role();
	store();
	is(seen(), '1 1 1', "$how: a role sees what is its own");
	update();
	is(seen(), '1 1 1', "$how: an update leaves it so");
	value('DROP OWNED BY clerk; DROP ROLE clerk');
	make_role();
	is(seen(), '0 0 0', "R3: $how: a new role of that name sees nothing");
	if ($how eq 'a trigger')
	{
		value("CREATE TRIGGER pass BEFORE UPDATE ON rappel_conso.$_ FOR EACH ROW EXECUTE FUNCTION pass()") foreach @tables;
	}
	update() foreach 1 .. 2;
	is(seen(), '0 0 0', "R3: $how: nor after an update");
	store();
	is(seen(), '1 1 1', "R3: $how: but what it has stored itself");
	update();
	is(seen(), '1 1 1', "R3: $how: which stays its own");

	# updated while there is none, then there is one again
	value('DROP OWNED BY clerk; DROP ROLE clerk');
	update();
	make_role();
	update();
	is(seen(), '0 0 0', "R3: $how: nor by way of nobody");
	value(q{UPDATE rappel_conso.dead_letter SET owner = 'clerk' WHERE id = 1});
	is(seen(), '0 1 0', "R3: $how: until a superuser gives it away");
	value('DROP OWNED BY clerk; DROP ROLE clerk; TRUNCATE rappel_conso.run RESTART IDENTITY CASCADE; TRUNCATE rappel_conso.dead_letter, rappel_conso.outbox RESTART IDENTITY');
}
like(($node->psql('postgres', 'CREATE ROLE none'))[2], qr/role name "none" is reserved/, 'nobody can be named so');

done_testing();
