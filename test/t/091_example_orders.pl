# 091_example_orders.pl
#     The example orders.sql as it is: change events of orders on two brokers,
#     one of which is killed and comes back, to suggestions on another topic,
#     with lookups in tables and a state that expires.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;
use Time::HiRes ();

need_kafka();

# The state is swept by pg_cron where there is one; the rest does without.
my $sharedir = `pg_config --sharedir`;
chomp $sharedir;
my $cron = -e "$sharedir/extension/pg_cron.control";

use constant TOPIC => 'shop.public.order_details';

my $json = JSON::PP->new->canonical;
my $kafka = start_kafka(brokers => 2);
my $node = new_node('orders', kafka => $kafka, preload => 1, conf => !$cron ? '' : <<~'EOC');
	shared_preload_libraries = 'rappel_conso, pg_cron'
	cron.database_name = 'postgres'
	cron.launch_active_jobs = off
	EOC
my $sent = 0;

sub now_ms { return int(Time::HiRes::time() * 1000); }

# An order line, as the row of its table.
sub order_line
{
	my ($order, $line, $customer, $product, $quantity, $price) = @_;

	return {
		order_id => $order,
		line => $line,
		customer_id => $customer,
		payment_method_id => 'P1',
		product_id => $product,
		quantity => $quantity // 1,
		unit_price => $price // '2.50',
		ordered_at => '2026-03-01T12:00:00.000000Z',
		note => undef
	};
}

# The schema of a row's columns, as Connect's JsonConverter writes it.
my %fields = map { $_ => { type => 'string', optional => JSON::PP::true, field => $_ } }
  qw(order_id customer_id payment_method_id product_id unit_price ordered_at note);
$fields{$_} = { type => 'int32', optional => JSON::PP::true, field => $_ } foreach qw(line quantity);

# Publish change events [op, row, ts_ms], each second one with the envelope of
# schemas, and wait until they are applied and what follows is published.
sub publish_changes
{
	my @messages;

	foreach my $change (@_)
	{
		my ($op, $row, $ts) = @$change;
		my $key = { order_id => $row->{order_id}, line => $row->{line} };
		my $event = {
			op => $op,
			before => ($op eq 'd' || $op eq 'u') ? $row : undef,
			after => $op eq 'd' ? undef : $row,
			source => { ts_ms => $ts // now_ms() }
		};

		if ($sent++ % 2)
		{
			$key = { schema => connect_struct(map { $fields{$_} } qw(order_id line)), payload => $key };
			$event = {
				schema => connect_struct((map { { %{ connect_struct(values %fields) }, field => $_ } } qw(before after)),
					{ type => 'string', field => 'op' }, { %{ connect_struct({ type => 'int64', field => 'ts_ms' }) }, field => 'source' }),
				payload => $event
			};
		}
		push @messages, [ $json->encode($key), $json->encode($event) ];

		# as Debezium does it: a tombstone after each delete
		push @messages, [ $json->encode($key), '' ] if $op eq 'd';
		$sent++ if $op eq 'd';
	}
	$kafka->produce_many(TOPIC, \@messages, '-Z');
	wait_through();
	return;
}

sub wait_through
{
	$node->wait_applied('orders', $sent);
	$node->wait_published;
	return;
}

# All suggestions of an order, in their order: customer, total, suggestion.
# What Kafka got twice has one rappel_conso-id.
sub suggestions
{
	my ($order) = @_;
	my %seen;
	my @result;

	foreach my $message ($kafka->consume('order_suggestions'))
	{
		my %headers = @{ $message->{headers} };
		my $value = $json->decode($message->{payload});

		next if $seen{ $headers{'rappel_conso-id'} }++ || $message->{key} ne $order;
		push @result, sprintf('%s %s %s %.2f %s %.2f',
			@$value{ 'order_id', 'customer', 'payment_method', 'total', 'suggestion', 'price' });
	}
	return \@result;
}

$kafka->create_topic(TOPIC, partitions => 3);
$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');
$node->sql('CREATE EXTENSION pg_cron') if $cron;
$node->command_ok(
	[
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1',
		'-d', $node->connstr('postgres'), '-f', 'sql/examples/orders.sql'
	],
	'orders.sql runs as it is');
$node->wait_for('the stream', q{SELECT count(*) = 3 FROM rappel_conso.stream_offset WHERE stream = 'orders'});

# ---- who gets which suggestion ----

publish_changes(
	[ 'c', order_line('A1', 1, 'C1', 'espresso', 2) ],
	[ 'c', order_line('A2', 1, 'C2', 'espresso') ],
	[ 'r', order_line('A3', 1, 'C3', 'brownie', 1, '2.60') ],
	[ 'c', order_line('A4', 1, 'C9', 'espresso') ]);
publish_changes([ 'c', order_line('A3', 2, 'C3', 'latte', 1, '3.90') ], [ 'c', order_line('A5', 1, 'C1', 'latte', 3, '3.90') ]);

my %first = (
	A1 => ['A1 First Customer card 5.00 Croissant 1.80'],
	A2 => [],
	A3 => [],
	A4 => [],
	A5 => ['A5 First Customer card 11.70 Brownie 2.60']);
my %why = (
	A1 => 'a diamond customer gets what goes with the order',
	A2 => 'one of another level does not',
	A3 => 'what is in the order already is not suggested',
	A4 => 'an unknown customer gets nothing',
	A5 => 'the dearest of another order');
is_deeply(suggestions($_), $first{$_}, $why{$_}) foreach sort keys %first;

# ---- one broker is killed; everything goes on, and it comes back ----

$kafka->kill(1);
publish_changes([ 'u', order_line('A1', 1, 'C1', 'espresso', 4) ], [ 'd', order_line('A5', 1, 'C1', 'latte', 3, '3.90') ]);
is_deeply(suggestions('A1'), [ @{ $first{A1} }, 'A1 First Customer card 10.00 Croissant 1.80' ],
	'with one broker of two: a changed quantity makes another total');
is_deeply(suggestions('A5'), $first{A5}, 'a deleted order gets no more suggestion');
is($node->sql(q{SELECT order_id, quantity FROM current_orders WHERE order_id IN ('A1', 'A5')}),
	'A1|4', 'the state has it');

publish_changes([ 'c', order_line('A1', 2, 'C1', 'latte', 1, '3.90') ]);
$kafka->restart(1);
publish_changes([ 'c', order_line('A1', 3, 'C1', 'brownie', 1, '2.60') ]);
publish_changes([ 'c', order_line('A1', 4, 'C1', 'croissant', 1, '1.80') ]);
is_deeply(
	suggestions('A1'),
	[
		@{ $first{A1} },
		'A1 First Customer card 10.00 Croissant 1.80',
		'A1 First Customer card 13.90 Brownie 2.60',
		'A1 First Customer card 16.50 Croissant 1.80'
	],
	'when it is back: each further line changes the suggestion, until nothing is left to suggest');

# ---- an older event changes nothing; nor does a late one ----

my $before = $node->sql('SELECT * FROM order_state ORDER BY 1, 2');
my $published = @{ suggestions('A1') };
publish_changes(
	[ 'u', order_line('A1', 1, 'C1', 'espresso', 99), now_ms() - 60_000 ],
	[ 'c', order_line('A5', 1, 'C1', 'latte', 3), now_ms() - 60_000 ],
	[ 'c', order_line('A6', 1, 'C1', 'espresso', 9), now_ms() - 91_000 ],
	[ 'd', order_line('A1', 2, 'C1', 'latte'), now_ms() - 3_600_000 ]);
is($node->sql('SELECT * FROM order_state ORDER BY 1, 2'), $before, 'an older event, or an expired one, leaves the state as it is');
is_deeply([ map { scalar @{ suggestions($_) } } 'A1', 'A5', 'A6' ], [ $published, 1, 0 ], 'and makes no suggestion');

# ---- what is 90 seconds old is not seen any more, before it is deleted ----

$node->sql(q{UPDATE order_state SET changed_at = changed_at - interval '91 seconds'});
is($node->sql('SELECT count(*) FROM current_orders') . '/' . $node->sql('SELECT count(*) > 0 FROM order_state'),
	'0/t', 'lines expire by a predicate');
publish_changes([ 'c', order_line('A1', 5, 'C1', 'espresso', 1) ]);
is(suggestions('A1')->[-1], 'A1 First Customer card 2.50 Croissant 1.80',
	'a suggestion does not count lines that have expired');
SKIP:
{
	skip('pg_cron is not installed', 2) unless $cron;
	is($node->sql('SELECT schedule, command FROM cron.job'),
		q{* * * * *|DELETE FROM order_state WHERE changed_at < now() - interval '90 seconds'},
		'pg_cron has the DELETE');
	$node->sql($node->sql('SELECT command FROM cron.job'));
	is($node->sql('SELECT order_id, line FROM order_state'), 'A1|5', 'which leaves what is current');
}

# ---- what is no event of an order ----

my %poison = (
	'no JSON' => [ 'nothing', '22P02' ],
	'no op' => [ $json->encode({ after => order_line('B1', 1, 'C1', 'latte'), source => { ts_ms => now_ms() } }), '22P02' ],
	'no time' => [ $json->encode({ op => 'c', after => order_line('B2', 1, 'C1', 'latte') }), '23502' ],
	'no number' => [ $json->encode({ op => 'c', after => order_line('B3', 1, 'C1', 'latte', 'two'), source => { ts_ms => now_ms() } }), '22P02' ]);
foreach my $name (sort keys %poison)
{
	$kafka->produce(TOPIC, $name, $poison{$name}[0]);
	$sent++;
}
$kafka->produce(TOPIC, 'a truncate', $json->encode({ op => 't', before => undef, after => undef, source => { ts_ms => now_ms() } }));
$sent++;
publish_changes([ 'c', order_line('B4', 1, 'C3', 'latte', 1, '3.90') ]);
is( $node->sql(q{SELECT convert_from(key, 'UTF8'), sqlstate FROM rappel_conso.dead_letter WHERE name = 'orders' ORDER BY key}),
	join("\n", map { "$_|$poison{$_}[1]" } sort keys %poison),
	'what is no event of an order is a dead letter');
is_deeply(suggestions('B4'), ['B4 Third Customer card 3.90 Brownie 2.60'], 'and does no harm to others');
is($node->sql(q{SELECT state FROM rc_status() WHERE component = 'stream' AND name = 'orders'}),
	'running', 'the stream runs');

done_testing();
