# 080_worker_memory.pl
#     Memory of workers: it does not grow from batch to batch, and stays below
#     100 MB with a backlog, with records of 10 MB, and with a large dataset.
#
# What is looked at is RssAnon: private memory, that of librdkafka and libcurl
# included, without the server's shared buffers.
#
# Growth is looked at with a malloc that keeps little of what was freed.  As it
# comes, it has arenas for librdkafka's threads that rise and fall by megabytes
# with hardly anything in them.  Even so a small block at the end of the heap
# holds all that was freed below it: for some steps there are 500 kB more, and
# then they are gone.  What leaks stays.  Such a hole would also take in some
# hundred kB of a leak: what is used in memory contexts is looked at, too.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;
use Time::HiRes ();

use constant {
	KB => 1024,
	MB => 1024 * 1024,
	LIMIT => 100 * 1024 * 1024,

	BATCH => 10,
	BATCHES => 500,				# of each of the steps
	STEPS => 6,
	MORE_STEPS => 12,			# where memory is not as low again by then
	GROWTH => 64,				# bytes per batch that memory may grow by

	# One arena for all threads; what is freed goes back: blocks of 4 kB and
	# more by themselves, smaller ones at the end of the heap.
	TUNABLES => join(':',
		map { "glibc.malloc.$_" }
		  'arena_max=1', 'mmap_threshold=4096', 'trim_threshold=4096',
		'top_pad=4096', 'tcache_count=0'),

	BACKLOG => 60_000,
	LARGE_RECORDS => 10,
	DATASET_RECORDS => 50_000,
};

# RssAnon of a process in bytes; undef when there is none.
sub rss_anon
{
	my ($pid) = @_;

	return unless $pid && open(my $file, '<', "/proc/$pid/status");
	while (my $line = readline($file))
	{
		return $1 * KB if $line =~ /^RssAnon:\s+(\d+) kB/;
	}
	return;
}

plan(skip_all => 'this system does not tell RssAnon')
  unless defined rss_anon($$);
need_kafka();

# Numbers that are the same in each run; of rand() nobody promises that.
my $seed = 42;

sub dice
{
	my ($sides) = @_;

	$seed = ($seed * 1103515245 + 12345) % 2147483648;
	return int($seed / 65536) % $sides;
}

# Text that a compressor can halve, and no more.
sub noise
{
	my ($length) = @_;
	my $text = '';

	$text .= sprintf('%04x', dice(32768)) while length($text) < $length;
	return substr($text, 0, $length);
}

my $kafka =
  start_kafka(properties => { 'message.max.bytes' => 20 * MB });
my $node;

{
	local $ENV{GLIBC_TUNABLES} = TUNABLES;

	$node = new_node(
		'memory',
		kafka => $kafka,
		preload => 1,
		conf => "max_worker_processes = 24\nautovacuum = off\n");
}

$node->sql('UPDATE rappel_conso.stream SET paused = true');
$node->sql('CREATE TYPE message AS (id integer, label text)');

# What each kind of stream makes of {"id": .., "label": ..}.
my %kinds = (
	jsonb => [ 'jsonb', q{(value->>'id')::integer, value->>'label'} ],
	typed => [ 'message', 'id, label' ]);

# A stream of a topic and the table that it fills, both of that name.
sub make_filled_table
{
	my ($name, $topic, $kind, %columns) = @_;
	my ($type, $list) = @{ $kinds{$kind} };

	%columns = (
		name => "'$name'",
		topics => "'{$topic}'",
		value_type => "'$type'",
		statement => "\$\$INSERT INTO $name SELECT $list FROM records\$\$",
		%columns);
	$node->sql("CREATE TABLE $name (id integer NOT NULL, label text)");
	$node->sql('INSERT INTO rappel_conso.stream ('
		  . join(', ', sort keys %columns)
		  . ') VALUES ('
		  . join(', ', map { $columns{$_} } sort keys %columns)
		  . ')');
	return;
}

sub worker_pid
{
	my ($kind, $name) = @_;

	return $node->sql("SELECT rappel_conso.worker_pid('$kind', '$name')");
}

# Until all the streams have applied so much of their topic.
sub wait_all_applied
{
	my ($offset, @streams) = @_;
	my $list = join(', ', map { "'$_'" } @streams);
	my $count = @streams;

	$node->wait_for("streams $list", qq{
		SELECT count(*) = $count FROM rappel_conso.stream_offset
		WHERE stream IN ($list) AND next_offset = $offset});
	return;
}

# The highest RssAnon of workers, looked at again and again until the query
# says t.  By name, and undef for one that was never seen.
sub peaks
{
	my ($kind, $names, $until) = @_;
	my $limit = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $session = $node->start_session('');
	my (%pids, %peaks);

	for (;;)
	{
		my $done = $session->ask($until);

		foreach my $name (@$names)
		{
			my $size = rss_anon($pids{$name} ||= worker_pid($kind, $name));

			$peaks{$name} = $size
			  if defined $size && $size > ($peaks{$name} // 0);
		}
		last if $done eq 't';
		die "waited in vain for: $until\n$done" if time() > $limit;
		Time::HiRes::usleep(10_000);
	}
	$session->finish;
	return %peaks;
}

sub is_below_limit
{
	my ($size, $name) = @_;

	cmp_ok($size // LIMIT, '<', LIMIT,
		sprintf('%s: %.0f MB, below 100 MB', $name, ($size // 0) / MB));
	return;
}

# -- No growth from batch to batch: the same number again and again, so that
# what is read ahead is the same, too.
# Decoding fails in one place, the statement in another: both kinds of dead
# letters are there, one in each other batch.

my @growing = (
	{ name => 'g_jsonb', topic => 'good', kind => 'jsonb' },
	{ name => 'g_typed', topic => 'good', kind => 'typed' },
	{ name => 'd_jsonb', topic => 'mixed', kind => 'jsonb', dead => 1 },
	{ name => 'd_typed', topic => 'mixed', kind => 'typed', dead => 1 });

foreach my $case (@growing)
{
	make_filled_table($case->{name}, $case->{topic}, $case->{kind},
		batch_size => BATCH);
}

my $labels = noise(8 * KB);

# Batches from .. to, as messages; "mixed" has the bad ones among them.
sub batches
{
	my ($topic, $from, $to) = @_;
	my @bad = ('{"id": 1, "label"', '{"label": "no id"}');
	my @messages;

	foreach my $at ($from * BATCH .. $to * BATCH - 1)
	{
		my $value = sprintf('{"id": %d, "label": "%s"}',
			$at, substr($labels, dice(7 * KB), 100));

		$value = $bad[ int($at / BATCH / 2) % 2 ]
		  if $topic eq 'mixed' && $at % (2 * BATCH) == 5;
		push @messages, [ $at, $value ];
	}
	return \@messages;
}

# What a worker uses of its memory contexts, as it says itself.
sub used_in_contexts
{
	my ($pid) = @_;
	my $seen = $node->log_position;

	$node->sql("SELECT pg_log_backend_memory_contexts($pid)");
	$node->wait_for_log(qr/\[$pid\] LOG:\s+Grand total: .*used/, $seen);
	$node->log_since($seen) =~
	  /\[$pid\] LOG:\s+Grand total: .* (\d+) used/
	  or die "worker $pid does not say what it uses";
	return $1;
}

# By how much more than they may the sizes have grown since the lowest of the
# first ones, at the step at which that was the least.
sub excess
{
	my @sizes = @_;
	my $first = STEPS / 2;
	my ($lowest) = sort { $sizes[$a] <=> $sizes[$b] } 0 .. $first - 1;
	my ($excess) = sort { $a <=> $b } map {
		$sizes[$_] - $sizes[$lowest] - ($_ - $lowest) * BATCHES * GROWTH
	} $first .. $#sizes;

	return $excess;
}

sub grows
{
	my ($case) = @_;

	return grep { excess(@{ $case->{$_} }) >= 0 } 'rss', 'used';
}

my $steps = 0;

while ($steps < STEPS
	|| ($steps < STEPS + MORE_STEPS && grep { grows($_) } @growing))
{
	my $from = $steps++ * BATCHES;
	my $to = $steps * BATCHES;

	$kafka->produce_many($_, batches($_, $from, $to)) foreach 'good', 'mixed';
	wait_all_applied($to * BATCH, map { $_->{name} } @growing);
	foreach my $case (@growing)
	{
		my $pid = worker_pid('stream', $case->{name});

		# another process would have forgotten what it had grown to
		is($pid, $case->{pid} // $pid,
			"$case->{name}: one worker up to batch $to");
		$case->{pid} = $pid;
		push @{ $case->{used} }, used_in_contexts($pid);
		push @{ $case->{rss} }, rss_anon($pid);
	}
}

foreach my $case (@growing)
{
	my $name = $case->{name};
	my $dead = $case->{dead} ? $steps * BATCHES / 2 : 0;

	is($node->sql("SELECT count(*), count(DISTINCT id) FROM $name"),
		join('|', ($steps * BATCHES * BATCH - $dead) x 2),
		"$name: each good record is there once");
	is( $node->sql(qq{
		SELECT sqlstate, count(*) FROM rappel_conso.dead_letter
		WHERE name = '$name' GROUP BY 1 ORDER BY 1}),
		$dead ? join("\n", map { "$_|" . $dead / 2 } '22P02', '23502') : '',
		"$name: $dead dead letters");

	# each batch is a sub-transaction at least
	cmp_ok($node->sql("SELECT count(DISTINCT xmin::text) FROM $name"),
		'>=', $steps * BATCHES, "$name: there were as many batches");
	foreach my $what ('rss', 'used')
	{
		my @sizes = @{ $case->{$what} };

		cmp_ok(excess(@sizes), '<', 0,
			sprintf(
				'%s does not grow: %s kB %s, after %d batches each',
				$name, join(', ', map { int($_ / KB) } @sizes),
				$what, BATCHES));
	}
	is_below_limit($case->{rss}[-1], $name);
}
$node->sql(q{UPDATE rappel_conso.stream SET paused = true});

# From here on with malloc as it comes.
$node->restart;

# -- A backlog: much is there to be read ahead, and it compresses a hundredfold,
# so that little comes as much.

my @backlog = ('b_jsonb', 'b_typed');

{
	my $filler = noise(120) x 16;
	my @messages =
	  map { [ $_, qq({"id": $_, "label": "$filler"}) ] } 1 .. BACKLOG;
	my %peaks;

	$kafka->create_topic('backlog', partitions => 3);
	$kafka->produce_many('backlog', \@messages, '-z', 'lz4');
	make_filled_table($_, 'backlog', substr($_, 2)) foreach @backlog;
	%peaks = peaks('stream', \@backlog, sprintf(q{
		SELECT coalesce(sum(next_offset), 0) = %d
		FROM rappel_conso.stream_offset WHERE stream LIKE 'b\_%%'},
			@backlog * BACKLOG));
	foreach my $name (@backlog)
	{
		is( $node->sql("SELECT count(*), count(DISTINCT id) FROM $name"),
			join('|', BACKLOG, BACKLOG),
			"$name: each record of the backlog is there once");
		is_below_limit($peaks{$name}, "$name, with a backlog");
	}
	$node->sql(q{UPDATE rappel_conso.stream SET paused = true});
}

# -- Records of 10 MB that are mostly one text.

my @large = ('l_jsonb', 'l_typed');

{
	my $text = noise(64 * KB) x 160;
	my %peaks;

	$kafka->create_topic('large',
		config => { 'max.message.bytes' => 20 * MB });
	foreach my $at (1 .. LARGE_RECORDS)
	{
		$kafka->produce('large', $at,
			sprintf('{"id": %d, "label": "%s"}', $at, $text),
			[], '-z', $at % 2 ? 'none' : 'lz4',
			'-X', 'message.max.bytes=' . 20 * MB);
	}
	make_filled_table($_, 'large', substr($_, 2)) foreach @large;
	%peaks = peaks('stream', \@large, sprintf(q{
		SELECT coalesce(sum(next_offset), 0) = %d
		FROM rappel_conso.stream_offset WHERE stream LIKE 'l\_%%'},
			@large * LARGE_RECORDS));
	foreach my $name (@large)
	{
		is( $node->sql(qq{
			SELECT count(*), count(DISTINCT id), min(length(label)),
			       max(length(label))
			FROM $name}),
			join('|', (LARGE_RECORDS) x 2, (length($text)) x 2),
			"$name: each large record is there once");
		is_below_limit($peaks{$name}, "$name, with records of 10 MB");
	}
	$node->sql(q{UPDATE rappel_conso.stream SET paused = true});
}
$kafka->stop;

# -- A large dataset in direct mode, made of the sample.

{
	my $path = PostgreSQL::Test::Utils::tempdir() . '/recalls.jsonl';
	my @sample = split(/\n/, slurp_file(sample_file('recalls.jsonl')));
	my ($api, $direct, $sync, %peaks, $out, $err);

	open(my $file, '>:raw', $path) or die "$path: $!";
	foreach my $at (0 .. DATASET_RECORDS - 1)
	{
		my $line = $sample[ $at % @sample ];

		$line =~ s/"numero_fiche": "[^"]*/"numero_fiche": "made-$at/
		  or die "no key in: $line";
		print $file "$line\n";
	}
	close($file);

	$api = start_api(DATASET, $path);
	$direct = new_node('direct', api => $api);
	$sync = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $direct->connstr('postgres'),
			'-c', 'SELECT state, fetched, inserted, dead FROM rc_sync_now()'
		],
		'<', \undef, '>', \$out, '2>', \$err);
	$node = $direct;
	%peaks = peaks('run', ['rappel_conso'], q{
		SELECT EXISTS (SELECT FROM rappel_conso.run WHERE state <> 'running')});
	$sync->finish;
	chomp $out;
	is($out, join('|', 'success', (DATASET_RECORDS) x 2, 0),
		'the large dataset is read');
	is_below_limit($peaks{rappel_conso}, 'the run in direct mode');
	$direct->stop;
	$api->stop;
}

done_testing();
