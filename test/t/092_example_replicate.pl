# 092_example_replicate.pl
#     The example replicate.sql as it is: a Debezium topic applied to a table.
#     With a small made-up topic; and with recorded events in both forms, sent
#     twice, and with the stream's worker killed in between.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use IO::Uncompress::Gunzip ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

use constant TOPIC => 'shop.public.order_details';

my $json = JSON::PP->new->ascii->canonical;
my $kafka = start_kafka();
my $node = new_node(
	'replicate',
	kafka => $kafka,
	preload => 1,
	conf => "restart_after_crash = on\n");

sub replicated_row
{
	my ($order, $line, $quantity, %more) = @_;

	return {
		order_id => $order,
		line => $line,
		customer_id => 'C1',
		payment_method_id => undef,
		product_id => 'espresso',
		quantity => $quantity,
		unit_price => '2.50',
		ordered_at => '2026-03-01T12:00:00.000000Z',
		note => undef,
		%more
	};
}

# The schema of a row's columns, as Connect's JsonConverter writes it.
my %fields = map { $_ => { type => 'string', optional => JSON::PP::true, field => $_ } }
  qw(order_id customer_id payment_method_id product_id unit_price note);
$fields{$_} = { type => 'int32', optional => JSON::PP::true, field => $_ } foreach qw(line quantity);
$fields{ordered_at} = { type => 'string', optional => JSON::PP::true, name => 'io.debezium.time.ZonedTimestamp', field => 'ordered_at' };

# A message [key, value] of a change; op "tombstone" has no value.
sub change_event
{
	my ($op, $row, $schemas) = @_;
	my $key = { order_id => $row->{order_id}, line => $row->{line} };
	my $event = {
		op => $op,
		before => ($op eq 'd' || $op eq 'u') ? $row : undef,
		after => $op eq 'd' ? undef : $row,
		ts_ms => 1772366400000
	};

	if ($schemas)
	{
		$key = { schema => connect_struct(map { $fields{$_} } qw(order_id line)), payload => $key };
		$event = {
			schema => connect_struct((map { { %{ connect_struct(values %fields) }, field => $_ } } qw(before after)),
				{ type => 'string', field => 'op' }, { type => 'int64', field => 'ts_ms' }),
			payload => $event
		};
	}
	return [ $json->encode($key), $op eq 'tombstone' ? '' : $json->encode($event) ];
}

$kafka->create_topic(TOPIC, partitions => 3);
$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
$node->command_ok(
	[
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1',
		'-d', $node->connstr('postgres'), '-f', 'sql/examples/replicate.sql'
	],
	'replicate.sql runs as it is');
$node->wait_for('the stream', q{SELECT count(*) = 3 FROM rappel_conso.stream_offset WHERE stream = 'replicate'});

# ---- a made-up topic ----

# Everything lies in the topic before it is read, so that batches hold a key
# many times.
$node->sql(q{UPDATE rappel_conso.stream SET paused = true WHERE name = 'replicate'});
my @changes;
foreach my $schemas (0, 1)
{
	my $order = $schemas ? 'S' : 'P';

	push @changes, map { change_event(@$_, $schemas) } (
		[ 'r', replicated_row("${order}1", 1, 1) ],
		[ 'c', replicated_row("${order}1", 2, 1, note => "a \"note\"\nof two lines, \x{e9}", unit_price => '123456.78') ],
		[ 'u', replicated_row("${order}1", 1, 2) ],
		(map { [ 'u', replicated_row("${order}1", 1, $_) ] } 3 .. 50),
		[ 'c', replicated_row("${order}2", 1, 1) ],
		[ 'd', replicated_row("${order}2", 1, 1) ],
		[ 'tombstone', replicated_row("${order}2", 1, 1) ],

		# deleted and made again
		[ 'c', replicated_row("${order}3", 1, 1) ],
		[ 'd', replicated_row("${order}3", 1, 1) ],
		[ 'tombstone', replicated_row("${order}3", 1, 1) ],
		[ 'c', replicated_row("${order}3", 1, 7) ],

		# a change of the key
		[ 'c', replicated_row("${order}4", 1, 4) ],
		[ 'd', replicated_row("${order}4", 1, 4) ],
		[ 'tombstone', replicated_row("${order}4", 1, 4) ],
		[ 'c', replicated_row("${order}5", 1, 4) ],

		# the delete itself has been compacted away
		[ 'c', replicated_row("${order}6", 1, 4) ],
		[ 'tombstone', replicated_row("${order}6", 1, 4) ]);
}
my $end = @changes;
my $expected = join("\n",
	map { ("${_}1|1|C1||espresso|50|2.50|2026-03-01 12:00:00|", "${_}1|2|C1||espresso|1|123456.78|2026-03-01 12:00:00|24",
		"${_}3|1|C1||espresso|7|2.50|2026-03-01 12:00:00|", "${_}5|1|C1||espresso|4|2.50|2026-03-01 12:00:00|") } 'P', 'S');
my $table = q{
	SELECT order_id, line, customer_id, payment_method_id, product_id, quantity, unit_price,
		ordered_at AT TIME ZONE 'UTC', length(note) FROM order_details ORDER BY 1, 2};

$kafka->produce_many(TOPIC, \@changes, '-Z');
$node->sql(q{UPDATE rappel_conso.stream SET paused = false WHERE name = 'replicate'});
$node->wait_applied('replicate', $end, topic => TOPIC);
is($node->sql($table), $expected, 'insert, update, delete and changes of the key arrive');

# Sent again, in small batches.
$node->sql(q{UPDATE rappel_conso.stream SET batch_size = 3 WHERE name = 'replicate'});
$kafka->produce_many(TOPIC, \@changes, '-Z');
$node->wait_applied('replicate', $end *= 2, topic => TOPIC);
is($node->sql($table), $expected, 'sent twice, in small batches: the same');
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'), '0', 'nothing is a dead letter');

# ---- a record that failed does not come back after a newer one ----

$node->sql(q{ALTER TABLE order_details ADD CONSTRAINT sober CHECK (quantity < 1000)});
$kafka->produce_many(TOPIC, [ change_event('c', replicated_row('L1', 1, 1000)), change_event('c', replicated_row('L2', 1, 2000)), change_event('u', replicated_row('L3', 1, 3000)) ]);
$kafka->produce(TOPIC, '{"order_id": "L4", "line": "x"}', '{}');
$node->wait_applied('replicate', $end += 4, topic => TOPIC);
$kafka->produce_many(TOPIC, [ change_event('u', replicated_row('L1', 1, 1)), change_event('d', replicated_row('L2', 1, 1)) ]);
$node->wait_applied('replicate', $end += 2, topic => TOPIC);
is( $node->sql(q{SELECT convert_from(key, 'UTF8')::jsonb->>'order_id', sqlstate FROM rappel_conso.dead_letter ORDER BY 1}),
	"L1|23514\nL2|23514\nL3|23514\nL4|22P02",
	'records that fail alone are dead letters, the later ones of their keys are applied');
$node->sql(q{ALTER TABLE order_details DROP CONSTRAINT sober});
is($node->sql(q{SELECT * FROM rc_retry('replicate')}), '2|1|1', 'rc_retry() applies those that have no newer record, if their cause is fixed');
is( $node->sql(q{SELECT order_id, quantity FROM order_details WHERE order_id LIKE 'L%' ORDER BY 1}),
	"L1|1\nL3|3000",
	'a newer row stays, a deleted one stays deleted, and what was missing is there');

# ---- building the copy again, as the example says ----

my $rows = $node->sql('SELECT count(*) FROM order_details');
$node->sql(q{
	BEGIN;
	TRUNCATE order_details;
	SELECT rc_seek('replicate', 'earliest');
	COMMIT;
	UPDATE rappel_conso.stream SET batch_size = 10000 WHERE name = 'replicate'});
$node->wait_for('the copy', qq{SELECT sum(next_offset) = $end AND (SELECT count(*) = $rows FROM order_details)
	FROM rappel_conso.stream_offset WHERE stream = 'replicate'});
is($node->sql($table =~ s/ORDER/WHERE order_id < 'L' OR order_id >= 'M' ORDER/r), $expected, 'the copy can be built again');

# ---- recorded events ----

# The messages of one form, for each partition in their order.
sub recorded
{
	my ($form) = @_;
	my $file = data_file("debezium/order_details_$form.jsonl.gz");
	my $handle = IO::Uncompress::Gunzip->new($file) or die "could not read $file";
	my @partitions;

	while (my $line = $handle->getline)
	{
		my $message = JSON::PP::decode_json($line);
		my ($key, $value) = @$message{ 'key', 'payload' };

		foreach my $text ($key, $value)
		{
			utf8::encode($text) if defined $text;
		}
		push @{ $partitions[ $message->{partition} ] }, [ $key, $value // '' ];
	}
	return \@partitions;
}

SKIP:
{
	my $final = data_file('debezium/order_details_final.csv.gz');
	my $csv = IO::Uncompress::Gunzip->new($final) or die "could not read $final";
	my $plain = $node->basedir . '/final.csv';

	append_to_file($plain, join('', $csv->getlines));
	$node->sql(qq{
		CREATE TABLE expected AS SELECT * FROM order_details LIMIT 0;
		COPY expected FROM '$plain' (FORMAT csv, HEADER)});

	foreach my $form ('plain', 'schema')
	{
		my $partitions = recorded($form);
		my $topic = "$form.public.order_details";
		my $end = 0;
		my $produce = sub {
			my ($from, $to) = @_;

			foreach my $p (0 .. $#$partitions)
			{
				my @all = @{ $partitions->[$p] };
				my @part = @all[ int($from * @all) .. int($to * @all) - 1 ];

				$kafka->produce_many($topic, \@part, '-Z', '-p', $p);
				$end += @part;
			}
		};

		$kafka->create_topic($topic, partitions => 3);
		$node->sql(qq{
			BEGIN;
			TRUNCATE order_details;
			UPDATE rappel_conso.stream SET topics = '{$topic}', batch_size = 40 WHERE name = 'replicate';
			COMMIT});
		$produce->(0, 1 / 2);
		$node->wait_applied('replicate', $end, topic => $topic);
		kill_within_a_batch(sub { $produce->(1 / 2, 1) });
		$node->wait_applied('replicate', $end, topic => $topic);
		is($node->sql('SELECT count(*) FROM order_details') . differences(),
			'5090', "recorded, $form: arrives at the final table, with a worker killed in between");

		$produce->(0, 1 / 3);
		$node->wait_applied('replicate', $end, topic => $topic);
		kill_within_a_batch(sub { $produce->(1 / 3, 1) });
		$node->wait_applied('replicate', $end, topic => $topic);
		is($node->sql('SELECT count(*) FROM order_details') . differences(),
			'5090', "recorded, $form: also when all is sent twice");
		is($node->sql("SELECT count(*) FROM rappel_conso.dead_letter WHERE topic = '$topic'"),
			'0', "recorded, $form: nothing is a dead letter");
	}
}

# kill -9 of the stream's worker while it has a transaction under way, which
# restarts the server.
sub kill_within_a_batch
{
	my ($produce) = @_;
	my $session = $node->background_psql('postgres', on_error_die => 1);
	my $postmaster = $node->sql('SELECT pg_postmaster_start_time()');
	my $log = $node->log_position;
	my $pid;

	$session->query_safe('BEGIN; LOCK order_details IN EXCLUSIVE MODE');
	$produce->();
	$node->wait_for('a batch under way', q{
		SELECT count(*) = 1 FROM pg_stat_activity
		WHERE pid = rappel_conso.worker_pid('stream', 'replicate') AND wait_event_type = 'Lock'});
	$pid = $node->sql(q{SELECT rappel_conso.worker_pid('stream', 'replicate')});
	kill('KILL', $pid) == 1 or die "could not kill process $pid";
	eval { $session->quit };
	$node->wait_for_log(qr/database system is ready to accept connections/, $log);
	$node->wait_for('the server', qq{SELECT pg_postmaster_start_time() = '$postmaster'});
	return;
}

# How many rows are in one of the tables only.
sub differences
{
	return $node->sql(q{
		SELECT count(*) FROM (
			(SELECT * FROM expected EXCEPT ALL SELECT * FROM order_details)
			UNION ALL
			(SELECT * FROM order_details EXCEPT ALL SELECT * FROM expected)) AS d});
}

done_testing();
