# 090_example_sensors.pl
#     The example sensors.sql as it is: readings into a table, hot ones to
#     another topic, with repeated and invalid messages among them.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $READINGS = 600;
my $json = JSON::PP->new->canonical;
my $kafka = start_kafka();
my $node = new_node('sensors', kafka => $kafka, preload => 1);

$kafka->create_topic('sensors', partitions => 4);
$node->sql('UPDATE rappel_conso.stream SET paused = true; SELECT rc_start()');

sub message_id { return sprintf('00000000-0000-4000-8000-%012d', $_[0]); }

# A reading; every tenth is 30.5 degrees or more, and one has 30 sharp.
sub reading
{
	my ($n, %changes) = @_;

	return {
		message_id => message_id($n),
		sensor_id => $n % 7,
		message => { temperature => $n % 10 ? 30 : 30.5 + $n, humidity => $n },
		timestamp => sprintf('2026-03-01T12:%02d:%02dZ', $n / 60 % 60, $n % 60),
		%changes
	};
}

# The alerts by message_id; Kafka may have one several times, with one
# rappel_conso-id.
sub alerts
{
	my %seen;
	my %alerts;

	foreach my $message ($kafka->consume('alerts'))
	{
		my %headers = @{ $message->{headers} };
		my $alert = $json->decode($message->{payload});

		next if $seen{ $headers{'rappel_conso-id'} }++;
		push @{ $alerts{ $alert->{message_id} } },
		  "$message->{key} $alert->{sensor_id} $alert->{temperature}";
	}
	return \%alerts;
}

# ---- readings, each tenth of which is sent twice ----

my @messages;
foreach my $n (0 .. $READINGS - 1)
{
	my $message = [ $n % 7, $json->encode(reading($n)) ];

	push @messages, $message;
	push @messages, $message if $n % 10 < 2;
}
$kafka->produce_many('sensors', \@messages);
my $sent = @messages;

$node->command_ok(
	[
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1',
		'-d', $node->connstr('postgres'),
		'-f', 'sql/examples/sensors.sql'
	],
	'sensors.sql runs as it is');
$node->wait_applied('sensors', $sent);
is( $node->sql('SELECT count(*), count(DISTINCT message_id) FROM raw_sensors_data'),
	"$READINGS|$READINGS", 'each reading is there once');
is( $node->sql(q{
		SELECT message_id, sensor_id, message->>'temperature', message->>'humidity',
			"timestamp" AT TIME ZONE 'UTC' FROM raw_sensors_data
		WHERE sensor_id = 3 AND "timestamp" < '2026-03-01 12:00:20Z' ORDER BY 1}),
	join("\n",
		map { message_id($_) . "|3|" . ($_ % 10 ? 30 : 30.5 + $_) . "|$_|2026-03-01 12:00:" . sprintf('%02d', $_) }
		  3, 10, 17),
	'with all its values');
$node->wait_published;
is_deeply(
	alerts(),
	{ map { message_id($_) => [ $_ % 7 . " " . $_ % 7 . " " . (30.5 + $_) ] } map { 10 * $_ } 0 .. $READINGS / 10 - 1 },
	'each reading over 30 degrees is an alert, once');
is($node->sql('SELECT count(*) FROM rappel_conso.dead_letter'),
	'0', 'nothing is a dead letter');

# ---- a reading that came before is no alert again ----

$kafka->produce_many('sensors', [ @messages[0 .. 49] ]);
$node->wait_applied('sensors', $sent += 50);
$node->wait_published;
is_deeply([ $node->sql('SELECT count(*) FROM raw_sensors_data'), scalar(keys %{ alerts() }) ],
	[ $READINGS, $READINGS / 10 ], 'repeats change nothing');
is_deeply([ grep { @$_ > 1 } values %{ alerts() } ], [], 'and warn nobody twice');

# ---- what cannot be a reading ----

my %spoilt = (
	'no JSON' => { value => 'hot!', error => '22P02|invalid input syntax for type json' },
	'no object' => { value => '[1, 2]', error => '22P02|%JSON object' },
	'no message_id' => {
		change => { message_id => undef },
		error => '23502|null value in column "message_id" of relation "raw_sensors_data" violates not-null constraint'
	},
	'a sensor that is no number' => { change => { sensor_id => 'seven' }, error => '22P02|%sensor_id%' },
	'a sensor out of range' => { change => { sensor_id => 3_000_000_000 }, error => '22003|%sensor_id%' },
	'a time that is none' => { change => { timestamp => 'noon' }, error => '22007|%timestamp%' },
	'a temperature that is none' => {
		change => { message => { temperature => 'warm' } },
		error => '22P02|invalid input syntax for type numeric: "warm"'
	});
my $n = 10_000;
foreach my $name (sort keys %spoilt)
{
	my $case = $spoilt{$name};

	$case->{n} = $n;
	$case->{value} //= $json->encode(reading($n, %{ $case->{change} }));
	$kafka->produce('sensors', $name, $case->{value});
	$kafka->produce('sensors', $name, $json->encode(reading($n + 5)));
	$n += 10;
	$sent += 2;
}
$kafka->produce_many('sensors', [ [ 'last', $json->encode(reading(20_000)) ] ]);
$node->wait_applied('sensors', ++$sent);
foreach my $name (sort keys %spoilt)
{
	my $case = $spoilt{$name};
	my ($code, $pattern) = split(/\|/, $case->{error}, 2);

	is( $node->sql(qq{
			SELECT count(*), sqlstate, concat_ws(' ', message, context) LIKE \$p\$$pattern%\$p\$
				FROM rappel_conso.dead_letter
			WHERE name = 'sensors' AND key = convert_to('$name', 'UTF8')
			AND value = convert_to(\$v\$$case->{value}\$v\$, 'UTF8') GROUP BY 2, 3}),
		"1|$code|t", "$name: a dead letter");
	is( $node->sql("SELECT count(*) FROM raw_sensors_data WHERE message_id = '" . message_id($case->{n} + 5) . "'"),
		'1', "$name: the next reading is stored");
}
is($node->sql(q{SELECT count(*) FROM rappel_conso.dead_letter}),
	scalar(keys %spoilt), 'these are all dead letters');
is( $node->sql('SELECT count(*) FROM raw_sensors_data'),
	$READINGS + keys(%spoilt) + 1, 'and all other readings are there');
$node->wait_published;
is_deeply(alerts()->{ message_id(20_000) }, [ (20_000 % 7) . " " . (20_000 % 7) . " 20030.5" ],
	'a hot one after them is an alert');

# ---- the remark in the example, for trying it without another program ----

$node->sql(q{
	SELECT rc_publish('sensors', jsonb_build_object(
	         'message_id', gen_random_uuid(), 'sensor_id', 7,
	         'message', jsonb_build_object('temperature', 31.5),
	         'timestamp', now()), '7')});
$node->wait_for('the published reading', q{SELECT count(*) = 1 FROM raw_sensors_data WHERE sensor_id = 7});
$node->wait_published;
is(scalar(grep { $_->[0] eq '7 7 31.5' } values %{ alerts() }),
	1, 'a reading from rc_publish() comes to the table, and out as an alert');

done_testing();
