# 134_replicate.pl
#     rc_replicate(): tables that follow topics of Debezium, by events that need
#     an order of their own.  Those of a real connector: 135_replicate_recorded.pl.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $kafka = start_kafka();
my $node = new_node('replicate', kafka => $kafka, preload => 1, conf => "max_worker_processes = 40\n");
my $json = JSON::PP->new->canonical;
my $toast = '__debezium_unavailable_value';
$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');

# The table of each test: its topic has the same name, and a message for each
# event: {op, id, old id, the row's other columns}, with headers and tombstones
# as the connector has them.
sub follow_new
{
	my ($name, %args) = @_;
	my $options = join('', map { ", $_ => '$args{$_}'" } grep { $_ ne 'partitions' } sort keys %args);

	$kafka->create_topic($name, partitions => $args{partitions} // 1);
	$node->sql("CREATE TABLE $name (id integer PRIMARY KEY, big text, n integer); SELECT rc_replicate('$name', '$name'$options)");
	return;
}

sub send_event
{
	my ($topic, $partition, $op, $id, $row, %more) = @_;
	my $line = { id => $id, %{ $row // {} } };
	my %event = (op => $op, before => undef, after => undef, source => { ts_ms => 0 });
	my $key = $op eq 't' ? undef : $json->encode({ id => $id });
	my @headers = defined $more{old} ? ('__debezium.oldkey' => $json->encode({ id => $more{old} })) : ();

	$event{ $op eq 'd' ? 'before' : 'after' } = $line if $op ne 't';
	$kafka->produce($topic, $key, $json->encode(\%event), \@headers, '-p', $partition);
	$kafka->produce($topic, $key, undef, [], '-p', $partition) if $op eq 'd';
	return;
}

# Send events, each [partition, op, id, row, old => id], while the stream is
# paused, so that they are one batch; the table as it is then.
sub apply_changes
{
	my ($name, @events) = @_;
	my $sent = $node->sql("SELECT COALESCE(sum(next_offset), 0) FROM rappel_conso.stream_offset WHERE stream = '$name'");

	$node->sql("UPDATE rappel_conso.stream SET paused = true WHERE name = '$name'");
	send_event($name, @$_) foreach @events;
	$sent += $_->[1] eq 'd' ? 2 : 1 foreach @events;
	$node->sql("UPDATE rappel_conso.stream SET paused = false WHERE name = '$name'");
	$node->wait_applied($name, $sent);
	return copy_of($name);
}

sub copy_of { return $node->sql("SELECT COALESCE(string_agg(concat_ws(':', id, big, n), ' ' ORDER BY id), '') FROM $_[0]"); }

sub letters { return $node->dead_letters($_[0], q{record_offset || ' ' || sqlstate || CASE WHEN resolved_at IS NOT NULL THEN ' resolved' ELSE '' END}); }

# What a source does to one row, and to many.
follow_new('plain');
is(apply_changes('plain', [ 0, 'r', 1, { big => 'a', n => 1 } ], [ 0, 'c', 2, { big => 'b', n => 1 } ], [ 0, 'u', 2, { big => $toast, n => 2 } ], [ 0, 'c', 3, { big => 'c', n => 1 } ], [ 0, 'd', 3 ]),
	'1:a:1 2:b:2', 'inserts, an update without its large value, a delete: one batch');
is(apply_changes('plain', [ 0, 'u', 1, { big => $toast, n => 5 } ], [ 0, 'd', 2 ], [ 0, 'c', 2, { big => 'again', n => 1 } ]), '1:a:5 2:again:1',
	'the large value of a row that is there; deleted and made again');
is(letters('plain'), '', 'nothing is a dead letter');

# Keys that change.
follow_new('swapped');
apply_changes('swapped', [ 0, 'c', 1, { big => 'one', n => 1 } ], [ 0, 'c', 2, { big => 'two', n => 2 } ]);
is(apply_changes('swapped',
		[ 0, 'd', 1 ], [ 0, 'c', 3, { big => $toast, n => 1 }, old => 1 ],
		[ 0, 'd', 2 ], [ 0, 'c', 1, { big => $toast, n => 2 }, old => 2 ],
		[ 0, 'd', 3 ], [ 0, 'c', 2, { big => $toast, n => 1 }, old => 3 ]),
	'1:two:2 2:one:1', 'two keys that are exchanged in one transaction, without large values');
is(apply_changes('swapped', [ 0, 'd', 1 ], [ 0, 'c', 4, { big => $toast, n => 2 }, old => 1 ], [ 0, 'u', 4, { big => $toast, n => 9 } ]), '2:one:1 4:two:9',
	'an update without the large value after a change of the key');

follow_new('apart', partitions => 2);
apply_changes('apart', [ 1, 'c', 1, { big => 'one', n => 1 } ]);
is(apply_changes('apart', [ 1, 'd', 1 ], [ 0, 'c', 2, { big => $toast, n => 1 }, old => 1 ]), '2:one:1', 'a changed key, whose delete is in another partition');

# A value that nobody has.
follow_new('lost');
is(apply_changes('lost', [ 0, 'u', 1, { big => $toast, n => 1 } ], [ 0, 'c', 2, { big => 'two', n => 1 } ]), '2:two:1', 'an update whose large value was never sent');
is(letters('lost'), '0 22000', '.. is a dead letter');
like($node->dead_letters('lost', 'detail'), qr/out of line/, '.. that says why');

# A dead letter does not come back after a newer change of its row.
follow_new('late');
apply_changes('late', [ 0, 'c', 1, { big => 'one', n => 'x' } ], [ 0, 'c', 2, { big => 'two', n => 'x' } ], [ 0, 'c', 3, { big => 'three', n => 'x' } ]);
is(letters('late'), "0 22P02\n1 22P02\n2 22P02", 'three rows that do not fit');
is(apply_changes('late', [ 0, 'u', 1, { big => 'new', n => 1 } ], [ 0, 'd', 2 ], [ 0, 'u', 3, { big => 'no', n => 'y' } ]), '1:new:1', 'newer changes of them');
is(letters('late'), "0 22P02 resolved\n1 22P02 resolved\n2 22P02\n6 22P02", '.. resolve the dead letters of those that they were applied to');
$node->sql('ALTER TABLE late ALTER n TYPE text');
is($node->sql(q{SELECT resolved, still_dead FROM rc_retry('late')}), '2|0', 'the others are applied again');
is(copy_of('late'), '1:new:1 3:no:y', '.. in their order, and no row goes back');

# However many there are, and however long their keys; a record that fails again
# under an old number has not been applied.
follow_new('many');
apply_changes('many', [ 0, 'c', 1, { big => 'one', n => 'x' } ], [ 0, 'u', 1, { big => 'one', n => 'y' } ], [ 0, 'c', 2, { big => 'two', n => 'x' } ], [ 0, 'c', 3, { big => 'three', n => 1 } ]);
$node->sql(q{
	INSERT INTO rappel_conso.dead_letter (origin, name, topic, partition, record_offset, key, value, sqlstate, message, owner)
	SELECT 'stream', 'many', 'many', 0, 1000 + i, convert_to(repeat('long', 3000) || i, 'UTF8'), 'x', '22000', 'another', current_user
	  FROM generate_series(1, 11000) i});
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'many'});
send_event('many', 0, 'u', 2, { big => 'new', n => 2 });
$node->sql(q{SELECT rc_seek('many', '0:0'); UPDATE rappel_conso.stream SET paused = false WHERE name = 'many'});
$node->wait_applied('many', 5);
is(copy_of('many'), '2:new:2 3:three:1', 'a newer change of one of many dead letters');
is($node->sql(q{
	SELECT string_agg(record_offset::text, ' ' ORDER BY record_offset) FILTER (WHERE resolved_at IS NULL AND record_offset < 1000),
	       string_agg(record_offset::text, ' ' ORDER BY record_offset) FILTER (WHERE resolved_at IS NOT NULL)
	  FROM rappel_conso.dead_letter WHERE name = 'many'}), '0 1|2', '.. resolves it, and only it');

# Columns that only one side has.
follow_new('wide');
follow_new('wide_ignored', on_new_column => 'ignore');
$node->sql("ALTER TABLE wide ADD own text DEFAULT 'default'");
apply_changes('wide', [ 0, 'c', 1, { big => 'a', n => 1 } ]);
$node->sql(q{UPDATE wide SET own = 'mine'});
apply_changes('wide', [ 0, 'u', 1, { big => 'a', n => 2 } ], [ 0, 'c', 2, { big => 'b', n => 2 } ], [ 0, 'u', 1, { big => 'x', n => 3, more => 'm' } ]);
is($node->sql('SELECT * FROM wide ORDER BY id'), "1|a|2|mine\n2|b|2|default", 'a column of the copy keeps its value, or has its default');
is(letters('wide'), '3 22000', 'a column that the copy does not have is an error');
$node->sql('ALTER TABLE wide ADD more text');
is($node->sql(q{SELECT resolved FROM rc_retry('wide')}), '0', '.. also if the table has it, but not the statement');
$node->sql(q{SELECT rc_replicate('wide', 'wide')});
is($node->sql(q{SELECT resolved FROM rc_retry('wide')}), '1', '.. until both have it');
is($node->sql('SELECT * FROM wide WHERE id = 1'), '1|x|3|mine|m', '.. and then nothing is lost');
is(apply_changes('wide_ignored', [ 0, 'c', 1, { big => 'a', n => 1, more => 'm' } ]), '1:a:1', 'or is left out');

# Truncates.
follow_new('cut');
follow_new('cut_ignored', on_truncate => 'ignore');
follow_new('cut_refused', on_truncate => 'error');
foreach my $name (qw(cut cut_ignored cut_refused))
{
	apply_changes($name, [ 0, 'c', 1, { big => 'old', n => 1 } ], [ 0, 'c', 2, { big => 'old', n => 1 } ]);
	apply_changes($name, [ 0, 'c', 3, { big => 'before', n => 1 } ], [ 0, 't' ], [ 0, 'c', 2, { big => 'after', n => 2 } ]);
}
is(copy_of('cut'), '2:after:2', 'a truncate empties the table, but for what follows it');
is(copy_of('cut_ignored'), '1:old:1 2:after:2 3:before:1', '.. or is ignored');
is(copy_of('cut_refused'), '1:old:1 2:after:2 3:before:1', '.. or refused');
is(letters('cut') . letters('cut_ignored') . '/' . letters('cut_refused'), '/3 22000', '.. as a dead letter then');

# The rights are those of a stream: the owner's.
$node->sql(q{
	CREATE ROLE follower LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO follower;
	GRANT INSERT, SELECT ON rappel_conso.stream TO follower;
	INSERT INTO rappel_conso.topic_grant (role, topic, can_read) VALUES ('follower', 'own', true);
	CREATE TABLE own (id integer PRIMARY KEY); ALTER TABLE own OWNER TO follower});
is($node->sqlstate_of(q{SET ROLE follower; SELECT rc_replicate('own', 'own')}), '42501', 'a role needs EXECUTE on rc_replicate()');
$node->sql('GRANT EXECUTE ON FUNCTION rc_replicate TO follower');
is($node->sqlstate_of(q{SET ROLE follower; SELECT rc_replicate('own', 'own')}), '42501', '.. and on what its statement calls');
$node->sql('GRANT EXECUTE ON FUNCTION rc_debezium_fold TO follower');
is($node->sql(q{SET ROLE follower; SELECT rc_replicate('own', 'own')}), 'own', '.. and no more');
is($node->sqlstate_of(q{SET ROLE follower; SELECT rc_replicate('own', 'plain')}), '42501', 'a table of others is not written to');

done_testing();
