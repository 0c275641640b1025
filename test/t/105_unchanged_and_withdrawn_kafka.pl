# 105_unchanged_and_withdrawn_kafka.pl
#     Change detection and deleted records,
#     with Kafka in the middle: what is not published again, what a tombstone
#     looks like and does, and that whoever reads the topic from its start gets
#     the same table.
#
# Time passes by moving what the state says of it.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use Encode ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

my $all = 300;    # recalls of the sample
my $said = '';    # what the newest sync wrote to standard error
my $api = start_api();
my $kafka = start_kafka();
my $node = new_node(
	'main',
	api => $api,
	kafka => $kafka,
	source => { retries => 1 },
	conf => <<~'EOC');
	max_worker_processes = 16
	max_prepared_transactions = 1
	restart_after_crash = on
	EOC

my @lines = split(/\n/, Encode::decode('UTF-8', slurp_file(sample_file('recalls.jsonl'))));
my %line = map { /"numero_fiche": "([^"]+)"/ ? ($1 => $_) : () } @lines;
my ($gone, @old) = grep { /^2024-/ } sort keys %line;    # long before the overlap
my @many = @old[ 0 .. 20 ];

# A sync.  Its run: state, fetched, published, inserted, updated, unchanged,
# dead, withdrawn; and keys that are missing after it.
sub sync_published
{
	my $out;

	($out, $said) = $node->sync_and_missing(
		columns => 'state, fetched, published, inserted, updated, unchanged, dead, withdrawn');
	return $out;
}

# The messages of the topic from an offset on: key, length of the value (-1: it
# has none) and names of the headers.
sub messages_from
{
	my ($from) = @_;

	return map { s/=[^,]*//gr } split(/\n/, $kafka->kcat('', '-C', '-e', '-t', 'rappel_conso', '-o', $from, '-f', '%k %S %h\n'));
}

# All rows without their times.
sub stored_rows
{
	return $node->sql(q{SELECT count(*), count(withdrawn_at), md5(string_agg((to_jsonb(t) - 'first_seen_at' - 'updated_at' - 'withdrawn_at')::text
		|| (withdrawn_at IS NULL), ' ' ORDER BY reference_fiche)) FROM rappel_conso_table t});
}

# ---- nothing is published twice ----

is(sync_published(), "success $all $all $all 0 0 0 0; missing: ", 'the first sync');
is(scalar(messages_from(0)), $all, 'publishes each record');
my $recent = $node->sql(q{SELECT count(*) FROM rappel_conso_table
	WHERE date_de_publication >= (SELECT max(date_de_publication) - interval '30 days' FROM rappel_conso_table)});
$api->touch;
is(sync_published(), "success $recent 0 0 0 $recent 0 0; missing: ", 'the second one publishes nothing');
$api->update([ '2026-07-0300' ], { libelle => 'other words' });
is(sync_published(), "success $recent 1 0 1 " . ($recent - 1) . ' 0 0; missing: ', 'one record changes');
like(join('; ', messages_from($all)), qr/^2026-07-0300 \d{3,} content-type,rappel_conso-source,rappel_conso-run$/, 'one message');

# ---- too many vanish, and no worker of the stream runs ----

$api->vanish([ @many ]);
$api->append([ { numero_fiche => '2026-07-0301', numero_version => 1, date_publication => '2026-07-03T00:00:00+00:00' } ]);
is(sync_published() =~ s/;.*//r, 'failed ' . ($recent + 1 + $all - 20) . ' 1 1 0 ' . ($recent + $all - 20) . ' 0 0', 'too many are missing: the run fails');
like($said, qr/ERROR:  55000: .*\b21\b.*\b301\b/, 'and says so');
is( $node->sql(q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM rappel_conso.task WHERE run = (SELECT max(id) FROM rappel_conso.run);
	SELECT count(*) FROM rappel_conso_table WHERE reference_fiche = '2026-07-0301'}),
	"extract success, load success\n1", 'what is new was published, and loaded');
is(scalar(messages_from($all + 1)), 1, 'and nothing else');
$api->append([ @line{@many} ]);
is(sync_published(), 'success ' . ($all + 1) . ' 0 0 0 ' . ($all + 1) . ' 0 0; missing: ', 'they are back: it succeeds');
$all++;
$recent++;

# ---- killed when Kafka has confirmed, before the commit ----

my $end = messages_from(0);
my $short = '2026-07-0302';    # that is there no longer when somebody looks again
$api->update([ '2026-07-0300', '2026-07-0301' ], { libelle => 'new words' });
$api->append([ { numero_fiche => $short, numero_version => 1, date_publication => '2026-07-03T00:00:00+00:00' } ]);
$api->fault('gate', on => 'export');
my $held = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT rc_sync_now()' ], '<', \undef, '>', \my $out, '2>', \my $err);
$api->wait_held;
$node->sql(q{BEGIN; SELECT FROM rappel_conso.run WHERE state = 'running' FOR UPDATE; PREPARE TRANSACTION 'held'});
$api->release;
$node->wait_for('the commit', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %' AND wait_event_type = 'Lock'});
is(join(' ', map { (split)[0] } messages_from($end)), "2026-07-0300 2026-07-0301 $short", 'Kafka has what is not committed');
kill('KILL', $node->sql(q{SELECT rappel_conso.worker_pid('run', 'rappel_conso')}));
$held->finish;
foreach (1 .. 10)
{
	last if eval { $node->poll_query_until('postgres', 'SELECT true') };
}
$node->sql(q{ROLLBACK PREPARED 'held'});
$api->update([ '2026-07-0300' ], { libelle => 'other words' });
$api->vanish([ $short ]);
like(sync_published(), qr/^success $recent 2 0 /, 'the next run publishes them again, also what is as it was before');
is(join(' ', map { (split)[0] } messages_from($end)), "2026-07-0300 2026-07-0301 $short 2026-07-0300 2026-07-0301", 'nothing is lost');
is( $node->sql(q{SELECT reference_fiche, libelle FROM rappel_conso_table WHERE reference_fiche ~ '^2026-07-030[01]$' ORDER BY 1}),
	"2026-07-0300|other words\n2026-07-0301|new words", 'and the table is as the dataset is');

# ---- tombstones ----

$api->vanish([ $gone ]);
is(sync_published(), 'success ' . ($recent + $all - 1) . ' 0 0 0 ' . ($recent + $all - 1) . " 0 0; missing: $gone $short", 'a record is missing, and the one that was published without a commit');
$node->pass_hours(2);
$end = messages_from(0);
is(sync_published(), 'success ' . ($all - 1) . ' 2 0 2 ' . ($all - 1) . ' 0 2; missing: ', 'after the hour they are withdrawn');
is(join('; ', messages_from($end)), join('; ', map { "$_ -1 rappel_conso-source,rappel_conso-run" } $gone, $short), 'by their keys, without a value and its type');
is($node->sql('SELECT string_agg(reference_fiche, $$ $$ ORDER BY reference_fiche) FROM rappel_conso_table WHERE withdrawn_at <= updated_at'), "$gone $short", 'the rows say so');
$api->touch;
is(sync_published(), "success $recent 0 0 0 $recent 0 0; missing: ", 'once');

$node->sql('SELECT rc_start()');
$node->wait_for('the worker', q{SELECT rappel_conso.worker_pid('stream', 'rappel_conso') IS NOT NULL});
$api->append([ $line{$gone} ]);
is(sync_published(), 'success ' . ($recent + $all) . ' 1 0 1 ' . ($recent + $all - 1) . ' 0 0; missing: ', 'it comes back, through a worker of the stream');
$api->vanish([ @old[ 0 .. 1 ] ]);
sync_published();
$node->pass_hours(2);
is(sync_published(), 'success ' . ($all - 2) . ' 2 0 2 ' . ($all - 2) . ' 0 2; missing: ', 'others go, through the worker');
is($node->sql('SELECT string_agg(reference_fiche, $$ $$ ORDER BY reference_fiche) FROM rappel_conso_table WHERE withdrawn_at <= updated_at'), "@old[0 .. 1] $short", 'and their rows say so');
$api->append([ { numero_fiche => $old[0], numero_version => 1, date_publication => '2024-01-01T00:00:00+00:00', libelle => 'the first' } ]);
is(sync_published(), 'success ' . ($recent + $all - 1) . ' 1 0 1 ' . ($recent + $all - 2) . ' 0 0; missing: ', 'one comes back in an older version');
$all--;

my $stored = stored_rows();
like($stored, qr/^302\|2\|/, 'all rows are there, two of them withdrawn');
$node->sql(q{UPDATE rappel_conso.stream SET batch_size = 100; TRUNCATE rappel_conso_table; SELECT rc_seek('rappel_conso', 'earliest')});
is($node->psql('postgres', q{SELECT rc_drain('rappel_conso', '1 minute')}), 0, 'the topic from its start, right after a change of the stream');
is(stored_rows(), $stored, 'gives the same table');

# ---- any order, by hand ----

# Every sequence of up to three messages of four kinds, and of four of three:
# two versions, another text of the second one, and a tombstone.
my %kind = (a => [ 1, 'a' ], b => [ 2, 'b' ], c => [ 2, 'c' ]);
my @sequences = ('');
my @longer = @sequences;
foreach my $length (1 .. 4)
{
	@longer = map { my $first = $_; map { $first . $_ } ('a', 'b', 't', $length < 4 ? 'c' : ()) } grep { $length < 4 || !/c/ } @longer;
	push @sequences, @longer;
}

# What a sequence leaves.
sub outcome_of_kinds
{
	my ($version, $text, $withdrawn) = (0);

	foreach my $kind (split(//, $_[0]))
	{
		if ($kind eq 't')
		{
			$withdrawn = 1;
		}
		elsif ($withdrawn || $kind{$kind}[0] >= $version)
		{
			($version, $text, $withdrawn) = (@{ $kind{$kind} }, 0);
		}
	}
	return $text ? $text . ($withdrawn ? ' withdrawn' : '') : '';
}

my $json = JSON::PP->new->canonical;
my @messages = ([ '', '' ]);    # a tombstone without a key
foreach my $sequence (@sequences)
{
	push @messages, map { [ "k-$sequence", $kind{$_}
			? $json->encode({ reference_fiche => "k-$sequence", numero_de_version => $kind{$_}[0], libelle => $kind{$_}[1] }) : '' ] } split(//, $sequence);
}
$kafka->produce_many('sequences', \@messages, '-Z');

$node->sql('CREATE DATABASE sequences');
$node->create_extension(dbname => 'sequences');
$node->safe_psql('sequences', q{UPDATE rappel_conso.stream SET topics = '{sequences}'});
foreach my $batch_size (10000, 1, 2, 3)
{
	$node->safe_psql('sequences', qq{
		UPDATE rappel_conso.stream SET batch_size = $batch_size;
		DROP TABLE IF EXISTS rappel_conso_table;
		SELECT rc_seek('rappel_conso', 'earliest')});
	is( $node->safe_psql('sequences', q{SELECT applied, dead FROM rc_drain('rappel_conso', '3 minutes')}), @messages . '|0',
		"sequences of messages in batches of $batch_size");
	my %left = map { split(/ /, $_, 2) } split(/\n/, $node->safe_psql('sequences',
		q{SELECT substr(reference_fiche, 3) || ' ' || libelle || CASE WHEN withdrawn_at IS NULL THEN '' ELSE ' withdrawn' END FROM rappel_conso_table}));
	is( join(', ', map { "$_ " . ($left{$_} // 'nothing') } grep { ($left{$_} // '') ne outcome_of_kinds($_) } @sequences),
		'', 'each leaves what its messages say one after the other');
}

# ---- another topic of the same name ----

$kafka->delete_topics('rappel_conso');
$kafka->produce('rappel_conso', 'stray', undef);
like(sync_published(), qr/^failed $all /, 'a topic that was made anew: the run reads all, without news in the dataset');
like($said, qr/NOTICE:  00000: topic "rappel_conso" .*source "rappel_conso"/, 'with a notice');
like($said, qr/ERROR:  55000: .*topic "rappel_conso" .*stream "rappel_conso".*rc_seek\('rappel_conso', 'earliest'\)/s, 'its stream asks for rc_seek()');
is(join(' ', sort map { (split)[0] } messages_from(1)), join(' ', sort map { uc } grep { $_ ne $old[1] } keys %line, '2026-07-0301'), 'everything is in the new topic');
$node->sql(q{SELECT rc_seek('rappel_conso', 'earliest')});
like(sync_published(), qr/^success /, 'then it succeeds');
$node->wait_for('the end', 'SELECT bool_and(next_offset = high_watermark) FROM rappel_conso.stream_offset');
is(stored_rows(), $stored, 'and the table is the same');
is($node->miscounted_runs, '', 'the counters of each run are the sums over its tasks');

done_testing();
