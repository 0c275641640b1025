# 054_source_names.pl
#     Runs and dead letters go by the name of their source, and names come
#     again: what another role's earlier source of a name has left (R3) goes with
#     no rename, is neither seen nor changed by who has the name now, and is
#     taken for nothing of the new one.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', api => $api);

# Source, state and owner of all runs, and what a role sees of them.
sub runs { return $node->sql(q{SELECT source || ' ' || state || ' ' || owner FROM rappel_conso.run ORDER BY id}) =~ s/\n/, /gr; }
sub runs_seen_by { return $node->outcome_as($_[0], q{SELECT source || ' ' || state FROM rappel_conso.run ORDER BY id}) =~ s/\n/, /gr; }

sub source_letters
{
	my $all = $node->sql(q{SELECT name || ' ' || owner || ' ' || attempts FROM rappel_conso.dead_letter WHERE origin = 'source' ORDER BY id});

	return $all =~ s/\n/, /gr;
}

sub make_roles
{
	foreach my $role (@_)
	{
		$node->sql(qq{
			CREATE ROLE $role LOGIN;
			GRANT USAGE ON SCHEMA rappel_conso TO $role;
			GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.source TO $role;
			GRANT SELECT ON rappel_conso.run, rappel_conso.task, rappel_conso.dead_letter TO $role;
			GRANT EXECUTE ON FUNCTION rc_trigger, rc_wait, rc_cancel, rc_backfill TO $role});
	}
	return;
}

sub store_source { return $node->outcome_as($_[0], "INSERT INTO rappel_conso.source (name, dataset) VALUES ('$_[1]', 'd')"); }

sub trigger { return $node->outcome_as($_[0], "SELECT rc_trigger('$_[1]')") =~ s/\D//gr; }

# A dead letter of the source as its run would write it.
sub bury
{
	my ($role, $source) = @_;

	$node->sql(qq{INSERT INTO rappel_conso.dead_letter (origin, name, run, value, sqlstate, message, owner)
		SELECT 'source', '$source', max(id), '$role', '22P02', 'bad', '$role' FROM rappel_conso.run WHERE source = '$source'});
	return;
}

make_roles('ann', 'bob');

#
# Bob's source of the name was deleted; Ann takes the name, and then another one
#
foreach my $name ('fish', 'meat')
{
	store_source('bob', $name);
	trigger('bob', $name);
	bury('bob', $name);
	$node->outcome_as('bob', "DELETE FROM rappel_conso.source WHERE name = '$name'");
}
is(runs(), 'fish cancelled bob, meat cancelled bob', 'R3: runs keep whose they are');
is(store_source('ann', 'fish'), '', 'another role takes the name');
is(runs_seen_by('ann'), '', 'R3: and sees no run of the earlier source');
is($node->outcome_as('ann', 'SELECT count(*) FROM rappel_conso.task'), '0', 'R3: nor a task');
is(runs_seen_by('bob'), 'fish cancelled, meat cancelled', 'R3: whose owner does');
my $his = $node->sql('SELECT min(id) FROM rappel_conso.run');
my $missing = qr/^42704: .*\b$his\b/;
like($node->outcome_as('ann', "SELECT rc_wait($his)"), $missing, 'R3: it does not exist for rc_wait()');
$node->sql("UPDATE rappel_conso.run SET state = 'running', finished_at = NULL WHERE id = $his");
like($node->outcome_as('ann', "SELECT rc_cancel($his)"), $missing, 'R3: nor for rc_cancel() while it runs on');
$node->sql("UPDATE rappel_conso.run SET state = 'failed', error = 'his' WHERE id = $his");
$node->sql('GRANT pg_monitor TO ann');
like($node->outcome_as('ann', "SELECT rc_wait($his)"), qr/^42501: .*$his.*"fish"/,
	'R3: who sees all is told why');
$node->sql('REVOKE pg_monitor FROM ann');
is($node->sql(q{SELECT state, last_error FROM rc_status() WHERE component = 'source' AND name = 'fish'}), 'never run|', 'R3: rc_status() takes it for none of hers');

my $hers = trigger('ann', 'fish');
bury('ann', 'fish');
is(runs_seen_by('ann'), 'fish queued', 'a run of her own');
is($node->outcome_as('ann', q{UPDATE rappel_conso.source SET name = 'meat' WHERE name = 'fish'}), '', 'and another name, which was his, too');
is(runs(), 'fish failed bob, meat cancelled bob, meat queued ann', 'R3: his run stays where it was');
is(source_letters(), 'fish bob 1, meat bob 1, meat ann 1', 'R3: his dead letter, too');
is(runs_seen_by('ann'), 'meat queued', 'R3: of what has the name already she sees nothing');
is($node->outcome_as('ann', q{SELECT name FROM rappel_conso.dead_letter}), 'meat', 'R3: of dead letters neither');
is(trigger('ann', 'meat'), $hers, 'what was queued is queued under the new name');
is($node->outcome_as('ann', "SELECT rc_cancel($hers)"), 't', 'and hers to cancel');

#
# Given away, a source takes along what is its owner's; so does a stream
#
trigger('ann', 'meat');
is($node->sql(q{UPDATE rappel_conso.source SET owner = 'bob' WHERE name = 'meat'; SELECT count(*) FROM rappel_conso.run WHERE owner = 'ann'}), '0',
	'R3: a source that is given away takes its runs along');
is(runs_seen_by('ann'), '', 'R3: its earlier owner sees them no more');
is(source_letters(), 'fish bob 1, meat bob 1, meat bob 1', 'R3: and its dead letters');
$node->sql(q{UPDATE rappel_conso.source SET owner = 'ann', name = 'fowl' WHERE name = 'meat'});
is(runs(), 'fish failed bob, fowl cancelled ann, fowl cancelled ann, fowl queued ann', 'R3: owner and name in one go: all of one owner');
$node->sql(q{UPDATE rappel_conso.source SET name = name, owner = owner});
is(source_letters(), 'fish bob 1, fowl ann 1, fowl ann 1', 'R3: and nothing moves where nothing changes');

#
# The role goes, and another one has its name
#
$node->sql('DROP OWNED BY ann; DROP ROLE ann');
make_roles('ann');
is(runs_seen_by('ann'), '', 'R3: a new role of the name sees no run');
is($node->sql(q{UPDATE rappel_conso.source SET owner = 'ann' WHERE name = 'fowl';
	UPDATE rappel_conso.source SET name = 'game' WHERE name = 'fowl'; SELECT count(*) FROM rappel_conso.run WHERE source = 'game'}), '1',
	'R3: given the source it gets what waits');
is(runs_seen_by('ann'), 'game queued', 'R3: and no more');
is(source_letters(), 'fish bob 1, fowl ann 1, fowl ann 1', 'R3: no dead letter either');

#
# What counts as done before: windows of a backfill, and dead letters
#
store_source('bob', 'windows');
my $backfill = "SELECT rc_backfill('windows', '2026-01-01', '2026-03-01')";
$node->outcome_as('bob', $backfill);
sub window_states { return $node->sql(q{SELECT string_agg(t.state, ' ' ORDER BY t.name) FROM rappel_conso.task t WHERE t.run = (SELECT max(id) FROM rappel_conso.run)}); }
$node->sql(q{UPDATE rappel_conso.task SET state = 'success' WHERE run = (SELECT max(id) FROM rappel_conso.run) AND window_from < '2026-01-15';
	UPDATE rappel_conso.run SET state = 'failed', reads = rappel_conso.reads('windows') WHERE id = (SELECT max(id) FROM rappel_conso.run)});
$node->outcome_as('bob', $backfill);
is(window_states(), 'success queued', 'a backfill goes on where one of the same owner ended');
$node->outcome_as('bob', q{DELETE FROM rappel_conso.source WHERE name = 'windows'});
$node->sql(q{UPDATE rappel_conso.run SET state = 'failed', reads = (SELECT reads FROM rappel_conso.run WHERE source = 'windows' AND reads IS NOT NULL LIMIT 1)
	WHERE id = (SELECT max(id) FROM rappel_conso.run)});
store_source('ann', 'windows');
$node->outcome_as('ann', $backfill);
is(window_states(), 'queued queued', 'R3: and not where one of another owner did');

# Real runs over a record that has no key
$api->control(replace => { dataset => 'keyless', records => [
	{ date_publication => '2026-03-02T08:02:00+00:00', libelle => 'no key' },
	{ date_publication => '2026-03-02T08:02:00+00:00', numero_fiche => '1' } ] });
$node->sql(q{DELETE FROM rappel_conso.dead_letter; DELETE FROM rappel_conso.source WHERE name <> 'rappel_conso'});
foreach my $role ('bob', 'ann')
{
	$node->sql(qq{CREATE TABLE IF NOT EXISTS cellar (key text, value jsonb); GRANT INSERT ON cellar TO $role;
		INSERT INTO rappel_conso.topic_grant VALUES ('$role', '*', true, true);
		DELETE FROM rappel_conso.source WHERE name = 'cellar'; DELETE FROM rappel_conso.stream WHERE name = 'cellar';
		INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('cellar', '{cellar}', 'INSERT INTO cellar SELECT key, value FROM records', '$role');
		INSERT INTO rappel_conso.source (name, url, dataset, key_field, stream, retries, owner)
		VALUES ('cellar', '${\$api->url}', 'keyless', 'numero_fiche', 'cellar', 0, '$role')});
	$node->sql(q{SELECT rc_sync_now('cellar', true)}) foreach 1 .. 2;
}
is(source_letters(), 'cellar bob 2, cellar ann 2', 'R3: a dead letter that is read again is its own source\'s');

# A run of the deleted source is under way when the new one is to be read
$api->control(replace => { dataset => 'long', records => [ map { { numero_fiche => $_, date_publication => '2026-03-02T08:02:00+00:00' } } 1 .. 30 ] });
$node->sql(q{UPDATE rappel_conso.source SET owner = 'bob', dataset = 'long' WHERE name = 'cellar';
	UPDATE rappel_conso.stream SET owner = 'bob' WHERE name = 'cellar'});
$api->control(faults => [ { fault => 'gate', on => 'export', lines => 10 } ]);
my $first = $node->start_session(q{SELECT state FROM rc_sync_now('cellar')});
$api->wait_held;
$node->sql(qq{DELETE FROM rappel_conso.source WHERE name = 'cellar'; UPDATE rappel_conso.stream SET owner = 'ann' WHERE name = 'cellar';
	INSERT INTO rappel_conso.source (name, url, dataset, key_field, stream, retries, owner)
	VALUES ('cellar', '${\$api->url}', 'long', 'numero_fiche', 'cellar', 0, 'ann')});
my $second = $node->start_session("SELECT state, fetched FROM rc_sync_now('cellar')");
$second->wait_for(qr/NOTICE:  00000: .*"cellar"/);
$api->release;
$_->finish foreach $first, $second;
ok($first->{sqlstate}, 'a run whose source was deleted fails');
is($second->{out}, 'success|30', 'R3: who waits for it on behalf of the new source has a run of his own');

done_testing();
