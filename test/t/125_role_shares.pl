# 125_role_shares.pl
#     Worker slots and runs of many roles: what one asks for takes no more than
#     its share, whoever asks in whatever way; a run ends with its source; and
#     nobody's run is done for another's source of that name.
#
# The API of mallory accepts connections and never answers.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use IO::Socket::INET ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $api = start_api();
my $mute = IO::Socket::INET->new(Listen => 1000, LocalAddr => '127.0.0.1') or die "no port: $!";
my $stuck = 'http://127.0.0.1:' . $mute->sockport;
my $node = new_node(
	'main',
	kafka => $kafka,
	api => $api,
	preload => 1,
	conf => <<~'EOC');
	max_worker_processes = 14
	rappel_conso.workers_per_owner = 3
	EOC

# The worker processes of a role: of streams, or of anything else.
sub workers
{
	my ($role, $streams) = @_;

	return "(SELECT count(*) FROM pg_stat_activity WHERE usename = '$role' AND backend_type ~ '^rappel_conso'
	          AND (backend_type = 'rappel_conso stream') = ${\($streams ? 'true' : 'false')})";
}

sub processes { return "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rappel_conso run $_[0]')"; }

sub add_reading_stream
{
	my ($role, $name, $workers) = @_;

	$node->sql("INSERT INTO rappel_conso.stream (name, topics, value_type, workers, owner, statement)
	       VALUES ('$name', '{$role.in}', 'text', $workers, '$role', 'SELECT key FROM records')");
	return;
}

# Sources of a role that never come to an end.
sub add_stuck
{
	my ($role, $columns, @names) = @_;
	my ($names, $values) = @$columns ? ', ' . join(', ', @$columns[ grep { !($_ % 2) } 0 .. $#$columns ]) : '';

	$values = join('', map { ", $_" } @$columns[ grep { $_ % 2 } 0 .. $#$columns ]);
	is($node->outcome_as($role, join('', map {
			"INSERT INTO rappel_conso.source (name, url, dataset, topic, retries$names) VALUES ('$_', '$stuck', 'x', '$role.in', 50$values);"
		} @names)), '', "sources of $role that never end: $names[0] ..");
	return;
}

$node->sql('UPDATE rappel_conso.source SET poll_interval = NULL; UPDATE rappel_conso.stream SET paused = true');
foreach my $role ('alice', 'mallory')
{
	$kafka->create_topic("$role.in", partitions => 4);
	$node->sql(qq{
		CREATE ROLE $role LOGIN;
		GRANT USAGE ON SCHEMA rappel_conso TO $role;
		GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO $role;
		GRANT SELECT ON rappel_conso.run TO $role;
		GRANT EXECUTE ON FUNCTION rc_sync_now, rc_trigger, rc_drain, rc_backfill TO $role;
		INSERT INTO rappel_conso.topic_grant VALUES ('$role', '$role.*', true, true)});
}
$node->make_source('sound', api => $api, topic => "'sound'");
$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = 'sound'; UPDATE rappel_conso.source SET stream = NULL WHERE name = 'sound'");
add_reading_stream('alice', 'alice', 2);
$node->becomes_true('alice has two stream workers', workers('alice', 1) . ' = 2');
my $alices = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE usename = 'alice' AND backend_type = 'rappel_conso stream'";
my $kept = $node->sql($alices);

#
# D4: runs of one role
#

my @polls = map { "poll$_" } 10 .. 39;
my $limit = '"mallory".*rappel_conso.workers_per_owner.*3';
add_stuck('mallory', [ poll_interval => "'1 s'" ], @polls);
$node->becomes_true('D4: a role gets three runs at once', workers('mallory') . ' = 3');
$node->becomes_true('D4: what waits names the setting', "SELECT count(*) = 27 FROM rc_status() WHERE component = 'source' AND name LIKE 'poll%' AND detail ~ '$limit'");
is($node->sql(q{SELECT state FROM rc_sync_now('sound')}), 'success', 'D4: a run of another finds a slot');
like($node->outcome_as('alice', q{SELECT rc_drain('alice')}), qr/^\(/, 'D4: so does a drain');
like($node->outcome_as('mallory', q{SELECT rc_sync_now('poll30')}), qr/^53000: .*\bpoll30"/, 'D4: no more by a call');
is($node->sql('SELECT ' . workers('mallory')), 3, 'D4: a role still has three runs');
is($node->sql($alices), $kept, "D4: no stream of another has given its slot to a run");

# a stream of hers has no place beside them; ended runs make place for others
add_reading_stream('mallory', 'hers', 1);
$node->becomes_true('D4: runs count for streams', qq{SELECT state = 'waiting' AND detail ~ '$limit' FROM rc_status() WHERE component = 'stream' AND name = 'hers'});
$node->sql("UPDATE rappel_conso.source SET poll_interval = NULL WHERE name LIKE 'poll%'");
my $ran = $node->sql("SELECT max(substr(backend_type, 18)) FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %'");
$node->outcome_as('mallory', "DELETE FROM rappel_conso.source WHERE name = '$ran'");
$node->becomes_true('D8: until one of them ends, with its source', workers('mallory', 1) . ' = 1');

# all in one: two runs and a stream; the stream gives its place to a run of hers
my $idle = $node->sql("SELECT min(name) FROM rappel_conso.source WHERE name LIKE 'poll%' AND rappel_conso.worker_pid('run', name) IS NULL");
$node->outcome_as('mallory', "SELECT rc_trigger('$idle')");
$node->becomes_true('D4: a run of hers finds a slot', processes($idle) . ' = 1');
is($node->sql('SELECT ' . workers('mallory', 1)), 0, 'D4: that of her own stream');
is($node->sql($alices), $kept, 'D4: and of nobody else');

# all at once, by calls
$node->outcome_as('mallory', "DELETE FROM rappel_conso.source WHERE name LIKE 'poll%'; UPDATE rappel_conso.stream SET paused = true WHERE name = 'hers'");
$node->becomes_true('D8: no run outlives its source', workers('mallory') . ' = 0');
is($node->sql("SELECT count(*) FROM rappel_conso.run WHERE state IN ('queued', 'running')"), 0, 'D8: nor does it seem to');
my @calls = map { "call$_" } 1 .. 9;
add_stuck('mallory', [], @calls);
my @sessions = map { $node->start_session("SET ROLE mallory; SELECT rc_sync_now('$_')") } @calls;
$node->becomes_true('D4: of many calls at once three stay', "SELECT count(*) = 3 FROM pg_stat_activity WHERE query ~ 'rc_sync_now.''call'");
is($node->sql('SELECT ' . workers('mallory')), 3, 'D4: with their three runs');
is($node->sql($alices), $kept, 'D4: and all streams of others');
$node->outcome_as('mallory', q{DELETE FROM rappel_conso.source WHERE name LIKE 'call%'});
is(join(' ', sort map { $_->finish; $_->{sqlstate} } @sessions), join(' ', ('42704') x 3, ('53000') x 6), 'D8: whose callers are told when their sources go');

#
# D8: a run whose source is not its owner's any more, at a wait for the API and
# for the next try
#

$node->sql(q{INSERT INTO rappel_conso.topic_grant VALUES ('alice', 'mallory.in', false, true)});
add_stuck('mallory', [], 'api1', 'api2');
is($node->outcome_as('mallory', qq{INSERT INTO rappel_conso.source (name, url, dataset, topic, retries, retry_delay)
	SELECT n, 'http://127.0.0.1:1', 'x', 'mallory.in', 50, '1 h' FROM unnest(ARRAY['try1', 'try2']) n}), '', 'sources that wait for their next try');
foreach my $case ([ '1', q{owner = 'alice'}, '55000' ],
	[ '2', q{name = 'NAME.new'}, '42704' ])
{
	my ($number, $change, $sqlstate) = @$case;

	foreach my $name ("api$number", "try$number")
	{
		$node->outcome_as('mallory', "SELECT rc_trigger('$name')");
		$node->becomes_true("$name is under way", $name =~ /try/
			? "SELECT count(*) = 1 FROM rappel_conso.task t JOIN rappel_conso.run r ON r.id = t.run WHERE r.source = '$name' AND t.state = 'up_for_retry'"
			: "SELECT count(*) = 1 FROM rappel_conso.task t JOIN rappel_conso.run r ON r.id = t.run WHERE r.source = '$name' AND t.state = 'running'");
		$node->sql("UPDATE rappel_conso.source SET ${\($change =~ s/NAME/$name/r)} WHERE name = '$name'");
		$node->becomes_true("D8: $name ends", processes($name) . ' = 0');
		is($node->sql("SELECT state, sqlstate, error ~ '\"$name\"' FROM rappel_conso.run WHERE source IN ('$name', '$name.new')"),
			"failed|$sqlstate|t", 'D8: and says why');
	}
}

# Streams of a role that are many: who comes after them by name is started
# before most of them have been looked at.
$node->sql(q{
	SELECT rc_stop();
	CREATE ROLE crowd LOGIN; CREATE ROLE zoe LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO crowd, zoe;
	INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('crowd', '*', true), ('zoe', '*', true);
	CREATE TABLE calm (key text); GRANT INSERT ON calm TO zoe;
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$;
	CREATE TRIGGER slow BEFORE INSERT ON rappel_conso.stream_state FOR EACH ROW WHEN (NEW.stream LIKE 'crowd%') EXECUTE FUNCTION slow();
	INSERT INTO rappel_conso.stream (name, topics, value_type, owner, search_path, statement)
	  SELECT 'crowd' || n, '{missing}', 'text', 'crowd', 'public', 'SELECT key FROM records' FROM generate_series(1, 150) n;
	INSERT INTO rappel_conso.stream (name, topics, value_type, owner, search_path, statement)
	  VALUES ('zoe', '{alice.in}', 'text', 'zoe', 'public', 'INSERT INTO calm SELECT key FROM records')});
$kafka->produce('alice.in', 'k', 'v');
$node->sql('SELECT rc_start()');
$node->becomes_true('D5: a stream beside 150 of another role is started', 'SELECT count(*) > 0 FROM calm');
cmp_ok($node->sql(q{SELECT count(*) FROM rappel_conso.stream_state WHERE stream LIKE 'crowd%'}), '<', 150, 'D5: before all of those have been looked at');
$node->sql(q{DROP TRIGGER slow ON rappel_conso.stream_state; DELETE FROM rappel_conso.stream WHERE owner IN ('crowd', 'zoe')});

# prepared: nobody is told of it, so the scheduler looks; nor of a change that
# fires no trigger
add_stuck('mallory', [], 'unseen');
$node->outcome_as('mallory', q{SELECT rc_trigger('unseen')});
$node->becomes_true('a run is under way', processes('unseen') . ' = 1');
$node->sql(q{SET session_replication_role = replica; DELETE FROM rappel_conso.source WHERE name = 'unseen'});
$node->becomes_true('D8: a run whose source goes without a word ends, too', processes('unseen') . ' = 0');

done_testing();
