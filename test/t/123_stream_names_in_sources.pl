# 123_stream_names_in_sources.pl
#     What a source names, and what names a source: nobody learns of another's
#     stream, keeps it or waits for it by naming it in a source; nor is a run
#     that was asked for one source done for another one of its name.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', api => $api, preload => 1, conf => "max_prepared_transactions = 2\n");

$node->sql('UPDATE rappel_conso.source SET poll_interval = NULL');
foreach my $role ('alice', 'mallory', 'carol')
{
	$node->sql(qq{
		CREATE ROLE $role LOGIN;
		GRANT USAGE ON SCHEMA rappel_conso TO $role;
		GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO $role;
		GRANT SELECT ON rappel_conso.run TO $role;
		GRANT EXECUTE ON FUNCTION rc_sync_now, rc_trigger, rc_backfill, rc_seek TO $role;
		INSERT INTO rappel_conso.topic_grant VALUES ('$role', '$role.*', true, true)});
}
$node->sql('GRANT alice TO carol');

# As a role that does not wait for locks: what it prints, or its error.
sub as_hasty
{
	my ($role, $sql) = @_;

	return $node->outcome_as($role, "SET lock_timeout = '5s';\n$sql");
}

# SQL that stores a stream or a source of whoever runs it.
sub stream_of { return "INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('$_[0]', '{$_[1].in}', 'SELECT key FROM records')"; }

sub source
{
	my ($name, $stream) = @_;

	return "INSERT INTO rappel_conso.source (name, url, dataset, key_field, retries, stream) VALUES ('$name', '${\$api->url}', '${\DATASET}', 'numero_fiche', 0, "
	  . (defined $stream ? "'$stream'" : 'NULL') . ')';
}

#
# D4: a stream of another
#

is(as_hasty('alice', stream_of($_, 'alice')), '', "alice has a stream $_") foreach 'hers', 'second';
is(as_hasty('mallory', stream_of('own', 'mallory') . ';' . source('mine', 'own')), '', 'mallory has one, too');
foreach my $stream ('hers', 'absent', 'rappel_conso')
{
	like(as_hasty('mallory', source('pin', $stream)), qr/^23503: .*"source_stream_fkey".*\($stream\)/, "D4: a source of another names $stream");
	like(as_hasty('mallory', "UPDATE rappel_conso.source SET stream = '$stream' WHERE name = 'mine'"), qr/^23503: .*"source_stream_fkey".*\($stream\)/, "D4: or is made to name $stream");
	like(as_hasty('mallory', source('pin', 'own') . " ON CONFLICT (name) DO NOTHING; UPDATE rappel_conso.source SET name = 'pin2', stream = '$stream' WHERE name = 'pin'"),
		qr/^23503: .*"source_stream_fkey".*\($stream\)/, "D4: with a new name, too: $stream");
	$node->sql("DELETE FROM rappel_conso.source WHERE name = 'pin'");
}
is(as_hasty('carol', source('theirs', 'hers')), '', 'who may act for its owner may name it');
is($node->sql(source('boss', 'second')), '', 'and a superuser, any');
is(as_hasty('mallory', "UPDATE rappel_conso.source SET stream = stream, filter = 'true' WHERE name = 'mine'"), '', 'what is named already may stay');

# neither keeps nor stops it
my $named = $node->start_session("SET ROLE carol; BEGIN; ${\source('late', 'hers')};\n\\warn done\n");
$named->wait_for(qr/done/);
is(as_hasty('alice', q{SELECT rc_seek('hers', 'latest')}), '', 'D4: rc_seek() waits for no open transaction that names it');
$named->finish;
$node->sql(q{DELETE FROM rappel_conso.source WHERE name = 'late'});

# given away: sources of its old owner
like(as_hasty('carol', q{DELETE FROM rappel_conso.stream WHERE name = 'hers'}), qr/^42501|^23503|^$/, 'carol may delete it, or not');
is($node->sql(q{SELECT count(*) FROM rappel_conso.stream WHERE name = 'hers'}), '1', 'a source of her own keeps it');
$node->sql(q{UPDATE rappel_conso.stream SET owner = 'mallory', topics = '{mallory.in}' WHERE name = 'hers'});
is(as_hasty('mallory', q{UPDATE rappel_conso.stream SET name = 'taken' WHERE name = 'hers'}), '', 'D4: its new owner may rename it');
is($node->sql(q{SELECT stream FROM rappel_conso.source WHERE name = 'theirs'}), 'taken', 'and the source follows');
is(as_hasty('mallory', q{DELETE FROM rappel_conso.stream WHERE name = 'taken'}), '', 'D4: and delete it');
is($node->sql(q{SELECT stream IS NULL FROM rappel_conso.source WHERE name = 'theirs'}), 't', 'D4: the source of the old one has none then');
like(as_hasty('carol', q{SELECT rc_sync_now('theirs')}), qr/^55000: .*"theirs"/, 'D4: which its run says');
like(as_hasty('mallory', q{DELETE FROM rappel_conso.stream WHERE name = 'own'}), qr/^23503: .*"stream".*"source_stream_fkey"/,
	'a source of hers keeps her stream');
is(as_hasty('alice', q{DELETE FROM rappel_conso.stream WHERE name = 'second'}), '', 'D4: one of another, a superuser\'s too, does not');

#
# D5: a run that was asked for a source that goes
#

foreach my $case ([ 'race', q{SELECT rc_trigger('race')} ], [ 'filled', q{SELECT rc_backfill('filled', '2024-01-01', '2025-01-01', '1 year')} ])
{
	my ($name, $ask) = @$case;

	is(as_hasty('mallory', source($name, 'own')), '', "mallory has a source $name");
	as_hasty('mallory', "BEGIN; $ask; PREPARE TRANSACTION 'asking'");
	foreach my $change ("DELETE FROM rappel_conso.source WHERE name = '$name'", "UPDATE rappel_conso.source SET name = 'other' WHERE name = '$name'")
	{
		like(as_hasty('mallory', "SET lock_timeout = '200ms'; $change"), qr/^55P03/, "D5: a source that a run is being asked for stays: $change");
	}
	$node->sql(q{COMMIT PREPARED 'asking'});
	my $run = $node->sql("SELECT max(id) FROM rappel_conso.run WHERE source = '$name'");
	isnt($node->wait_run_end($run, q{state, COALESCE(error, '')}), 'queued|', 'the run begins');
	$node->sql("DELETE FROM rappel_conso.source WHERE name = '$name'");
}

# what is queued for an earlier source, by whatever way, is not done for the
# next one of the name
$node->sql(q{UPDATE rappel_conso.source SET paused = true});
foreach my $change (
	[ 'gone', q{SET session_replication_role = replica; DELETE FROM rappel_conso.source WHERE name = 'gone'} ],
	[ 'given', q{SET session_replication_role = replica; UPDATE rappel_conso.source SET owner = 'alice', stream = NULL WHERE name = 'given'} ])
{
	my ($name, $sql) = @$change;

	is(as_hasty('mallory', source($name, 'own')), '', "mallory has a source $name");
	$node->sql('SELECT rc_stop()');
	as_hasty('mallory', "SELECT rc_trigger('$name')");
	my $run = $node->sql("SELECT id FROM rappel_conso.run WHERE source = '$name' AND state = 'queued'");
	$node->sql($sql);
	as_hasty('alice', source($name, undef)) if $name eq 'gone';
	$node->sql('SELECT rc_start()');
	is($node->wait_run_end($run, q{state, error IS NOT NULL}), 'cancelled|t', "D5: a run of a source that is $name is not done for its next owner");
	$node->sql('SELECT rc_stop()');
	$node->sql("INSERT INTO rappel_conso.run (source, owner, state, trigger, started_at) VALUES ('$name', 'mallory', 'queued', 'trigger', NULL)");
	my $asked = as_hasty('alice', "SELECT rc_trigger('$name')");
	cmp_ok($asked, '>', $run + 1, 'D5: nor is it what the next one who asks gets');
	$node->sql('SELECT rc_start()');
	like($node->wait_run_end($asked, 'state, sqlstate, error'), qr/^failed\|55000\|source "$name"/, 'whose run is begun');
}

done_testing();
