# 098_republish.pl
#     rc_republish(): dead letters of the outbox go back into it, with their
#     ids, oldest first, for whose they are (D2).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('republish', kafka => $kafka, preload => 1);

# After SET ROLE: what it prints, or its error.
sub as_member
{
	my ($role, $sql) = @_;

	return $node->outcome_of("SET ROLE $role;\n$sql");
}

# Topic, number, attempts and whether it is resolved, of all dead letters.
sub outbox_letters
{
	return $node->sql(q{SELECT topic || count(*), min(attempts), bool_and(resolved_at IS NOT NULL), string_agg(DISTINCT sqlstate, ' ')
		FROM rappel_conso.dead_letter WHERE origin = 'outbox' GROUP BY topic ORDER BY topic});
}

$node->sql(q{
	UPDATE rappel_conso.stream SET paused = true;
	SELECT rc_start();
	CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE team IN ROLE alice; CREATE ROLE gone;
	GRANT EXECUTE ON FUNCTION rc_republish(text, bigint), rc_publish(text, text, text, jsonb), rc_publish(text, bytea, bytea, jsonb) TO alice, bob, gone;
	INSERT INTO rappel_conso.topic_grant VALUES ('alice', '*', false, true), ('bob', '*', false, true), ('gone', '*', false, true)});
# no topic can be beside one whose name differs in dot and underscore only
$kafka->create_topic($_) foreach 'a_x', 'b_x';

is($node->sql('SELECT * FROM rc_republish()'), '0|0', 'D2: nothing is dead');
as_member('alice', q{SELECT rc_publish('a.x', n::text, 'k', '{"h": "1"}') FROM generate_series(1, 5) n});
as_member('alice', q{SELECT rc_publish('b.x', '1', 'k')});
as_member('bob', q{SELECT rc_publish('b.x', '2', 'k')});
as_member('gone', q{SELECT rc_publish('b.x', '3', 'k')});
$node->wait_published;
is(outbox_letters(), "a.x5|1|f|22023\nb.x3|1|f|22023", 'D2: there are dead letters');
my $ids = $node->sql(q{SELECT string_agg(message_id::text, ' ' ORDER BY id) FROM rappel_conso.dead_letter WHERE topic = 'a.x'});
my ($first) = $node->sql('SELECT min(id) FROM rappel_conso.dead_letter');

# ---- while the cause is there ----

is($node->sql(qq{SELECT * FROM rc_republish('a.x', $first)}), '1|0', 'D2: one is put back');
$node->wait_published;
$node->wait_for('the dead letter', "SELECT attempts = 2 FROM rappel_conso.dead_letter WHERE id = $first");
is(outbox_letters(), "a.x5|1|f|22023\nb.x3|1|f|22023", 'D2: refused again it is the dead letter that it was');
is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 0, 'D2: and does not wait');

# ---- whose they are ----

like(as_member('bob', "SELECT * FROM rc_republish(NULL, $first)"), qr/^42704: .*$first/,
	'D2: what belongs to another does not exist');
like(as_member('bob', 'SELECT * FROM rc_republish(NULL, 987654)'), qr/^42704: .*987654/, 'D2: nor does an unknown one');
is(as_member('bob', "SELECT * FROM rc_republish('a.x')"), '0|0', 'D2: nor is it counted');
is(as_member('pg_monitor', 'SELECT * FROM rc_republish()') =~ s/ for.*//r, '42501: permission denied', 'D2: it takes EXECUTE');
$node->sql(q{DELETE FROM rappel_conso.topic_grant WHERE role = 'alice'});
is(as_member('alice', 'SELECT * FROM rc_republish()'), '0|6', 'D2: without the grant they stay dead');
is($node->sql(q{SELECT * FROM rc_republish('a.x')}), '0|5', 'D2: for a superuser, too: it is the grant of their owner');
$node->sql(q{DROP OWNED BY gone; DROP ROLE gone; CREATE ROLE gone SUPERUSER});
is($node->sql(q{SELECT * FROM rc_republish('b.x', (SELECT max(id) FROM rappel_conso.dead_letter))}), '0|1',
	'D2: that of a role that is gone stays dead, whoever has its name now');

# ---- in the caller's transaction ----

$node->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('alice', '*', false, true)});
$kafka->delete_topics('a_x');
$node->sql(q{BEGIN; SELECT rc_republish(); ROLLBACK});
is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 0, 'D2: rolled back it is undone');
is(as_member('team', q{
	BEGIN;
	SELECT rc_republish('a.x');
	SELECT rc_republish('a.x');
	COMMIT}), "(5,0)\n(0,0)", 'D2: a member of the owner may, and what is put back is not put back again');
$node->wait_published;
$node->wait_for('resolved', q{SELECT bool_and(resolved_at IS NOT NULL) FROM rappel_conso.dead_letter WHERE topic = 'a.x'});
is(outbox_letters(), "a.x5|2|t|22023\nb.x3|1|f|22023", 'D2: what Kafka has confirmed is resolved');
my @messages = $kafka->consume('a.x');
is(join(' ', map { $_->{payload} } @messages), '1 2 3 4 5', 'D2: they come oldest first, once each');
is(join(' ', map { { @{ $_->{headers} } }->{'rappel_conso-id'} } @messages), $ids, 'D2: with the ids that they had');
is(join(' ', @{ $messages[0]{headers} }[ 0, 1 ]) . '/' . @{ $messages[0]{headers} }, 'h 1/4', 'D2: and their headers');
is($node->sql(qq{SELECT * FROM rc_republish(NULL, $first)}), '0|0', 'D2: what is resolved is not published again');

# ---- twice, and at once ----

$kafka->delete_topics('b_x');
$kafka->kill(1);
is(as_member('bob', 'SELECT * FROM rc_republish()') . ' ' . as_member('bob', 'SELECT * FROM rc_republish()'), '1|0 0|0',
	'D2: what waits in the outbox is not put back again');
$node->sql('SELECT rc_republish()');
is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 2, 'D2: bob and alice have one each there');

# The publisher ends whatever it waits for: here for an answer that does not come.
foreach my $time (1 .. 3)
{
	$node->wait_for('the publisher', q{SELECT rappel_conso.worker_pid('outbox') IS NOT NULL});
	$node->sql(q{UPDATE rappel_conso.outbox_state SET error = NULL});
	$node->wait_for('an error', q{SELECT error IS NOT NULL FROM rappel_conso.outbox_state}) if $time > 1;
	is($node->sql(q{SELECT pg_terminate_backend(rappel_conso.worker_pid('outbox'), 180000)}), 't', "SIGTERM ends the publisher without brokers ($time)");
}
$kafka->restart(1);
$node->wait_published;
is(join(' ', sort map { $_->{payload} } $kafka->consume('b.x')), '1 2', 'D2: once each');
is($node->sql('SELECT * FROM rc_republish()'), '0|1', 'D2: the rest stays dead');

done_testing();
