# RappelConso/Node.pm
#     A server as new_node() makes it: a PostgreSQL::Test::Cluster, and what tests
#     do with the extension in it.
#
# It must not sleep: what is waited for is a state.
#
# What is waited for or tested is named first, then comes the SQL.  Further
# arguments are names and values; dbname is "postgres" by default.

package RappelConso::Node;

use strict;
use warnings FATAL => 'all';

use parent -norequire, 'PostgreSQL::Test::Cluster';
use Digest::MD5 ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();    # its names are those of methods of Cluster
use RappelConso::Session;
use Test::More;
use Time::HiRes ();

# ---- SQL ----

# What SQL prints; it must not fail.
sub sql
{
	my ($self, $sql, %args) = @_;

	return $self->safe_psql(delete $args{dbname} // 'postgres', $sql, %args);
}

# The same for SQL whose characters may be beyond ASCII.
sub sql_encoded
{
	my ($self, $sql, %args) = @_;

	utf8::encode($sql);
	return $self->sql($sql, %args);
}

# Run SQL until its first error, as a role if one is given; returns what it
# printed, and what psql said.  With tags, command tags are printed, too.
sub attempt
{
	my ($self, $sql, %args) = @_;
	my ($dbname, $role, $tags) = delete @args{ 'dbname', 'role', 'tags' };
	my ($status, $out, $err) = $self->psql(
		$dbname // 'postgres',
		"\\set VERBOSITY verbose\n" . ($tags ? "\\set QUIET off\n" : '') . $sql,
		extra_params => [ defined $role ? ('-U', $role) : () ],
		%args);

	return ($out, $err);
}

# Of what psql said, the messages at a level, with detail and hint.
sub _messages
{
	my ($err, $level) = @_;

	return $err =~ /^(?:psql:.* )?(?:$level|DETAIL|HINT):  (.*)$/mg;
}

# What statements say at a level: SQLSTATE, message, detail and hint.
sub said
{
	my ($self, $sql, $level, %args) = @_;
	my ($out, $err) = $self->attempt($sql, %args);

	return join('; ', _messages($err, $level));
}

# The error of SQL: "SQLSTATE: message; detail; hint", or '' if there is none.
sub error_of
{
	my ($self, $sql, %args) = @_;

	return $self->said("SET client_min_messages = error;\n$sql",
		'ERROR|FATAL', %args);
}

# Its SQLSTATE alone, 00000 if there is no error.
sub sqlstate_of
{
	my ($self, $sql, %args) = @_;

	return $self->error_of($sql, %args) =~ /^(\w{5}): / ? $1 : '00000';
}

# What SQL prints, or its error as error_of() tells it.
sub outcome_of
{
	my ($self, $sql, %args) = @_;
	my ($out, $err) = $self->attempt($sql, %args);

	return $err =~ /(?:ERROR|FATAL):  /
	  ? join('; ', _messages($err, 'ERROR|FATAL')) : $out;
}

# The same for a session of that role.
sub outcome_as
{
	my ($self, $role, $sql, %args) = @_;

	return $self->outcome_of("SET client_min_messages = error;\n$sql",
		role => $role, %args);
}

# Run SQL in a session beside the test; returns a RappelConso::Session at once.
sub start_session
{
	my ($self, $sql, %args) = @_;

	return RappelConso::Session->start($self, $sql, %args);
}

# ---- waiting ----

# What PostgreSQL::Test::Cluster does with a psql for each try, by one that stays:
# most of what a try costs is its start and that of its backend.  So it can try
# twice as often.
sub poll_query_until
{
	my ($self, $dbname, $query, $expected) = @_;
	my $tries = 20 * $PostgreSQL::Test::Utils::timeout_default;
	my ($session, $answer);

	$expected //= 't';
	while ($tries--)
	{
		$session = RappelConso::Session->start($self, '\set QUIET off', dbname => $dbname)
		  unless $session && $session->is_open;
		$answer = $session->ask($query);
		if ($answer eq $expected)
		{
			$session->finish;
			return 1;
		}
		Time::HiRes::usleep(50_000);
	}
	diag("waited in vain for '$expected' from:\n$query\nthe last answer is:\n$answer");
	return 0;
}

# The condition that a row of pg_stat_activity waits for what the extension calls
# "name": before PostgreSQL 17 all that waits in an extension is called the same.
sub waits_in
{
	my ($self, $name) = @_;

	$self->{wait_events} //= $self->sql(q{SELECT current_setting('server_version_num')::int >= 170000});
	return "wait_event_type = 'Extension' AND wait_event = '"
	  . ($self->{wait_events} eq 't' ? "RappelConso$name" : 'Extension') . "'";
}

# Wait until a query gives "t", or what is expected.
sub wait_for
{
	my ($self, $what, $sql, %args) = @_;

	$self->poll_query_until($args{dbname} // 'postgres', $sql,
		$args{expected} // 't')
	  or die "waited for $what";
	return;
}

# The test that an expression of SQL becomes true.
sub becomes_true
{
	my ($self, $what, $expression, %args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok(
		$self->poll_query_until(
			$args{dbname} // 'postgres', "SELECT ($expression)"),
		$what);
}

# The test that no process works for a run.
sub has_no_run_worker
{
	my ($self, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return $self->becomes_true($what, q{
		NOT EXISTS (SELECT FROM rappel_conso.source WHERE rappel_conso.worker_pid('run', name) IS NOT NULL)
		AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'rappel_conso run %')});
}

# Wait until a stream has applied so much of its topics, or of one of them.
sub wait_applied
{
	my ($self, $stream, $offset, %args) = @_;
	my $topic = defined $args{topic} ? "AND topic = '$args{topic}'" : '';

	$self->wait_for("$stream to come to offset $offset", qq{
		SELECT sum(next_offset) = $offset AND bool_and(seek_to IS NULL)
		FROM rappel_conso.stream_offset WHERE stream = '$stream' $topic},
		dbname => $args{dbname});
	return;
}

# Wait until no message waits in the outbox, or none for these topics.
sub wait_published
{
	my ($self, @topics) = @_;
	my $which = join(', ', map { "'$_'" } @topics);

	$self->wait_for("the outbox @topics",
		'SELECT count(*) = 0 FROM rappel_conso.outbox' . (@topics ? " WHERE topic IN ($which)" : ''));
	return;
}

# Wait until a stream's state is this: "failed", or with its SQLSTATE, too:
# "failed 42501".
sub wait_state
{
	my ($self, $stream, $state) = @_;

	$self->wait_for("$stream to be $state", qq{
		SELECT '$state' IN (state, concat_ws(' ', state, sqlstate))
		FROM rappel_conso.stream_state WHERE stream = '$stream'});
	return;
}

# Have the worker of a kind, "scheduler" or "stream", look for work so many
# times: each reload makes it, and it must have become idle again.
sub poll_times
{
	my ($self, $kind, $times) = @_;
	my $of = "FROM pg_stat_activity WHERE backend_type = 'rappel_conso $kind'";

	foreach (1 .. $times)
	{
		my $at = $self->sql("SELECT state_change $of");

		$self->sql('SELECT pg_reload_conf()');
		$self->wait_for("the $kind worker to look",
			"SELECT state = 'idle' AND state_change > '$at' $of");
	}
	return;
}

# Wait until a run has ended, without rc_wait(); returns columns of its row.
sub wait_run_end
{
	my ($self, $run, $columns) = @_;

	$self->wait_for("the end of run $run",
		"SELECT state NOT IN ('queued', 'running') FROM rappel_conso.run WHERE id = $run");
	return $self->run_row($run, $columns // 'state');
}

# ---- what there is ----

# Run a source; returns columns of what rc_sync_now() gives.
#
#     sync(source => 'rappel_conso', arguments => 'full_sync => true',
#          columns => '..', dbname => '..')
sub sync
{
	my ($self, %args) = @_;
	my $columns = $args{columns}
	  // 'state, fetched, published, inserted, updated, unchanged, dead';
	my $arguments = join(', ', "'" . ($args{source} // 'rappel_conso') . "'",
		$args{arguments} // ());

	return $self->sql("SELECT $columns FROM rc_sync_now($arguments)",
		dbname => $args{dbname});
}

# The same where it may fail: columns of the run's row, the keys of its source
# that are missing after it, and what psql said.
#
#     sync_and_missing(columns => 'state, fetched', source => '..',
#                      arguments => '..')
sub sync_and_missing
{
	my ($self, %args) = @_;
	my $source = $args{source} // 'rappel_conso';
	my $arguments = join(', ', "'$source'", $args{arguments} // ());
	my ($out, $err) = $self->attempt(qq{
		SELECT rc_sync_now($arguments) \\gset
		SELECT concat_ws(' ', $args{columns}) || '; missing: '
		       || COALESCE((SELECT string_agg(convert_from(key, 'UTF8'), ' ' ORDER BY key)
		            FROM rappel_conso.source_record WHERE source = '$source' AND missed_at IS NOT NULL), '')
		FROM rappel_conso.run ORDER BY id DESC LIMIT 1},
		on_error_stop => 0);

	return ($out, $err =~ s/^psql:\S+ //mgr);
}

# Columns of a run's row.
sub run_row
{
	my ($self, $run, $columns) = @_;

	return $self->sql("SELECT $columns FROM rappel_conso.run WHERE id = $run");
}

# The same of the newest run, or of the newest one of a source.
sub newest_run
{
	my ($self, $columns, $source) = @_;

	return $self->sql("SELECT $columns FROM rappel_conso.run "
		  . (defined $source ? "WHERE source = '$source' " : '')
		  . 'ORDER BY id DESC LIMIT 1');
}

# The newest run's error: "SQLSTATE: message", detail and hint, each on a line;
# '' if it has none.
sub newest_error
{
	my ($self) = @_;

	return $self->newest_run(
		q{concat_ws(chr(10), sqlstate || ': ' || error, detail, hint)});
}

# The newest run and its task, as the counters of their rows.
sub newest_counters
{
	my ($self) = @_;

	return $self->sql(q{
		SELECT r.state, t.state, t.attempt, r.fetched, r.inserted, r.updated, r.unchanged, r.dead
		  FROM rappel_conso.run r JOIN rappel_conso.task t ON t.run = r.id ORDER BY r.id DESC LIMIT 1});
}

# The dead letters of a stream: offset and SQLSTATE of each, or other columns.
sub dead_letters
{
	my ($self, $stream, $columns) = @_;

	$columns //= 'record_offset, sqlstate';
	return $self->sql(qq{
		SELECT $columns FROM rappel_conso.dead_letter
		WHERE origin = 'stream' AND name = '$stream' ORDER BY partition, record_offset});
}

# How far a stream has come in all of its topics.
sub offset_of
{
	my ($self, $stream) = @_;

	return $self->sql("SELECT COALESCE(sum(next_offset), 0) FROM rappel_conso.stream_offset WHERE stream = '$stream'");
}

# Of rc_status(), a component's state with its detail, or other columns.
sub status_of
{
	my ($self, $component, %args) = @_;
	my $columns = $args{columns} // "concat_ws(': ', state, detail)";

	return $self->sql("SELECT $columns FROM rc_status() WHERE component = '$component'"
		  . (defined $args{name} ? " AND name = '$args{name}'" : ''),
		dbname => $args{dbname});
}

# The rows of a table as texts of JSON, in the order of the key, without the
# columns that say when a row was written.
#
#     table_rows(dbname => 'postgres', table => 'rappel_conso_table',
#                key => 'reference_fiche')
sub table_rows
{
	my ($self, %args) = @_;
	my $table = $args{table} // 'rappel_conso_table';
	my $key = $args{key} // 'reference_fiche';

	return split(
		/\n/,
		$self->sql(qq{
			SELECT to_jsonb(t) - 'first_seen_at' - 'updated_at'
			FROM $table t ORDER BY t.$key COLLATE "C"}, dbname => $args{dbname}));
}

# One line for the whole of table_rows(): their number and a hash.
sub table_digest
{
	my ($self, %args) = @_;
	my @rows = $self->table_rows(%args);

	return scalar(@rows) . ' rows, '
	  . Digest::MD5::md5_hex(join("\n", @rows));
}

# Where each row of the recalls' table lies and who wrote, locked or deleted it:
# the same text means that nothing was done to it.
sub table_fingerprint
{
	my ($self, %args) = @_;

	return $self->sql(q{
		SELECT pg_relation_size('rappel_conso_table'),
		       md5(string_agg(concat_ws(',', ctid, xmin, xmax), ' ' ORDER BY ctid)) FROM rappel_conso_table},
		dbname => $args{dbname});
}

# The runs whose counters are not the sums over their tasks; '' if there are
# none, and some that count.
sub miscounted_runs
{
	my ($self, %args) = @_;
	my @names = qw(fetched published inserted updated unchanged dead withdrawn);
	my $run = join(', ', map { "r.$_" } @names);
	my $tasks = join(', ', map { "COALESCE(sum(t.$_), 0)" } @names);

	return $self->sql(qq{
		SELECT CASE WHEN NOT bool_or(fetched > 0) THEN 'no run has fetched anything'
		            ELSE string_agg(format('run %s: %s, its tasks: %s', id, run, tasks), '; ' ORDER BY id)
		                 FILTER (WHERE run IS DISTINCT FROM tasks) END
		FROM (SELECT r.id, r.fetched, ARRAY[$run]::numeric[] AS run, ARRAY[$tasks] AS tasks
		        FROM rappel_conso.run r LEFT JOIN rappel_conso.task t ON t.run = r.id GROUP BY r.id) counted},
		dbname => $args{dbname});
}

# ---- making and changing it ----

my $inits = 0;

# PostgreSQL::Test::Cluster::init(), whose initdb is the copy of a folder that is
# made once for all tests.  That is for the first server of a test: others would
# have the same identifier as that one.
sub init
{
	my ($self, %params) = @_;
	my $run = \&PostgreSQL::Test::Utils::system_or_bail;

	no warnings 'redefine';
	local *PostgreSQL::Test::Utils::system_or_bail = sub {
		my (@command) = @_;
		my $data = $self->data_dir;

		return $run->(@command) if $command[0] ne 'initdb' || $inits++;
		my @options = grep { $_ ne $data } @command;
		my ($folder) = grep { -w $_ } "$RappelConso::top/tmp_check",
		  $PostgreSQL::Test::Utils::tmp_check;
		my $template = join('-', "$folder/initdb", Digest::MD5::md5_hex(join(' ', $self->pg_version, @options)));
		unless (-d $template)
		{
			# whoever makes it at the same time makes the same
			$run->(map { $_ eq $data ? "$template.$$" : $_ } @command);
			rename("$template.$$", $template) or -d $template or die "$template: $!";
		}
		$run->('cp', '-Rp', $template, $data);
	};
	return $self->SUPER::init(%params);
}

# Create the extension and point its source at a stand-in of the API, in one
# transaction so that no worker sees it half made.
#
#     create_extension(dbname => 'postgres', api => $api,
#                      source => {column => SQL expression})
sub create_extension
{
	my ($self, %args) = @_;
	my %source = (retry_delay => "'100 ms'", %{ $args{source} // {} });
	my $set;

	$source{url} = "'" . $args{api}->url . "'" if $args{api};
	$set = join(', ', map { "$_ = $source{$_}" } sort keys %source);
	$self->sql(<<~EOC, dbname => $args{dbname});
		BEGIN;
		CREATE EXTENSION rappel_conso;
		UPDATE rappel_conso.source SET $set WHERE name = 'rappel_conso';
		COMMIT;
		EOC
	return;
}

# A database with the extension, as by create_extension(); returns its name.
sub new_database
{
	my ($self, $dbname, %args) = @_;

	$self->sql("CREATE DATABASE $dbname");
	$self->create_extension(dbname => $dbname, %args);
	return $dbname;
}

# A source with a stream and a table of its name.  The table has key, value and
# how often the record was sent.  What is given besides the stream's
# batch_size is SQL for the source's columns.
#
#     make_source(name, api => $api, batch_size => n, dataset => "'..'", ..)
sub make_source
{
	my ($self, $name, %columns) = @_;
	my ($api, $batch_size) = delete @columns{ 'api', 'batch_size' };
	my %source = (
		url => "'" . $api->url . "'",
		dataset => "'" . RappelConso::DATASET() . "'",
		key_field => "'numero_fiche'",
		cursor_field => "'date_publication'",
		retries => 1,
		retry_delay => "'0'",
		%columns);
	my @set = sort keys %source;

	$self->sql(<<~EOC);
		CREATE TABLE IF NOT EXISTS $name (key text PRIMARY KEY, value jsonb, times integer NOT NULL DEFAULT 1);
		INSERT INTO rappel_conso.stream (name, topics, batch_size, statement) VALUES ('$name', '{$name}', ${\($batch_size // 10000)}, \$\$
		  INSERT INTO $name AS t SELECT key, value FROM records
		      ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, times = t.times + 1 \$\$);
		INSERT INTO rappel_conso.source (name, stream, ${\join(', ', @set)}) VALUES ('$name', '$name', ${\join(', ', @source{@set})});
		EOC
	return;
}

# The file for rappel_conso.http_config_file, and these lines in it, as a tool
# that renews secrets writes it: by rename.
sub http_config_file { return $_[0]->basedir . '/http.conf'; }

sub configure_http
{
	my ($self, @lines) = @_;
	my $file = $self->http_config_file;

	PostgreSQL::Test::Utils::append_to_file("$file.new",
		join('', map { "$_\n" } @lines));
	chmod(0600, "$file.new") or die "$file: $!";
	rename("$file.new", $file) or die "$file: $!";
	return;
}

# Have a source read from another URL.
sub set_url
{
	my ($self, $source, $url) = @_;

	$self->sql("UPDATE rappel_conso.source SET url = '$url' WHERE name = '$source'");
	return;
}

# Store a stream.  Columns are SQL; without topics it reads one of its name.
sub add_stream
{
	my ($self, $name, %columns) = @_;
	my @names;

	%columns = (topics => "'{$name}'", %columns, name => "'$name'");
	@names = sort keys %columns;
	$self->sql('INSERT INTO rappel_conso.stream ('
		  . join(', ', @names)
		  . ') VALUES ('
		  . join(', ', @columns{@names})
		  . ')');
	return;
}

# Forget what was read: a run finds the table and its own state empty.
sub forget_runs
{
	my ($self) = @_;

	$self->sql(q{
		DELETE FROM rappel_conso.source_state;
		DELETE FROM rappel_conso.dead_letter;
		DELETE FROM rappel_conso.run;
		TRUNCATE rappel_conso_table});
	return;
}

# Hours pass: what says since when a record is missing, or when all were read,
# moves back.
sub pass_hours
{
	my ($self, $hours) = @_;

	$self->sql(qq{
		UPDATE rappel_conso.source_record SET missed_at = missed_at - interval '$hours hours';
		UPDATE rappel_conso.source_state SET full_at = full_at - interval '$hours hours'});
	return;
}

# Give all roles, or a database ('ROLE ALL' or 'DATABASE postgres'), every
# setting that changes what a text of SQL means, how values become texts or how
# plans are made.  With the environment variable RAPPEL_CONSO_HOSTILE,
# new_node() does so before it creates the extension: a whole test then runs
# under them (see 118_hostile_settings.pl).
sub set_hostile
{
	my ($self, $whose) = @_;
	my %settings = (
		'standard_conforming_strings' => 'off',
		'escape_string_warning' => 'off',
		'backslash_quote' => 'on',
		'array_nulls' => 'off',
		'bytea_output' => 'escape',
		'check_function_bodies' => 'off',
		'DateStyle' => 'German, DMY',
		'IntervalStyle' => 'sql_standard',
		'TimeZone' => 'Pacific/Chatham',
		'extra_float_digits' => '-15',
		'quote_all_identifiers' => 'on',
		'transform_null_equals' => 'on',
		'xmloption' => 'document',
		'default_statistics_target' => '1',
		'enable_seqscan' => 'off',
		'jit' => 'off',    # a plan with a seqscan that is off is worth it
		'enable_hashjoin' => 'off',
		'join_collapse_limit' => '1',
		'plan_cache_mode' => 'force_generic_plan',
		'synchronous_commit' => 'off',
		'plpgsql.variable_conflict' => 'use_variable',
		'plpgsql.extra_errors' => 'all',
		'plpgsql.check_asserts' => 'off',
		'default_text_search_config' => 'pg_catalog.simple');
	my $known = $self->sql(q{
		LOAD 'plpgsql'; SELECT string_agg(lower(name), ' ') FROM pg_settings});

	$self->sql(join(
			'; ', map { "ALTER $whose SET $_ = '$settings{$_}'" }
			  grep { " $known " =~ / \L\Q$_\E / } sort keys %settings));
	return;
}

# All that a server can show of its configuration, as one text: its log, settings,
# activity, states and runs, and a dump.
sub all_shown
{
	my ($self) = @_;
	my @tables = qw(run task stream_state outbox_state outbox_topic dead_letter source_wait);
	my ($dump) = PostgreSQL::Test::Utils::run_command([ 'pg_dump', '-h', $self->host, '-p', $self->port, 'postgres' ]);

	return join("\n",
		PostgreSQL::Test::Utils::slurp_file($self->logfile), $dump,
		$self->sql('TABLE pg_stat_activity; TABLE pg_settings; TABLE pg_file_settings; SELECT * FROM rc_status(); SELECT * FROM rc_report();'
			  . join('', map { "TABLE rappel_conso.$_;" } @tables)));
}

# Use a listener of a Kafka with other properties than its own; undef drops one,
# and brokers are other brokers.  Returns when the server has taken it; workers
# then look at once.
sub use_listener
{
	my ($self, $kafka, $listener, %change) = @_;
	my $brokers = delete $change{brokers} // $kafka->brokers($listener);
	my $file = $self->basedir . '/kafka.conf';
	my %config = -e $kafka->config_file($listener) ? %{ $kafka->config($listener) } : ();

	%config = (%config, %change);
	delete @config{ grep { !defined $config{$_} } keys %config };
	$kafka->write_config($file, \%config);
	$self->append_conf('postgresql.conf', "rappel_conso.kafka_brokers = '$brokers'\nrappel_conso.kafka_config_file = '$file'\n");
	$self->reload;
	$self->wait_for('the reload', "SELECT current_setting('rappel_conso.kafka_brokers') = '$brokers'");
	return;
}

# The test that a stream comes to such a state, "waiting 08006" or "failed F0000",
# by an error with these words and that hint; returns message, detail and hint.
sub is_told
{
	my ($self, $name, $stream, $state, $words, $hint) = @_;
	my $from = "FROM rappel_conso.stream_state WHERE stream = '$stream'";
	my $pattern = $words =~ s/\(\?\^\w*:/(?:/gr =~ s/\\b/\\y/gr;
	my $told;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->becomes_true("$name: $state",
		"(SELECT concat_ws(' ', state, sqlstate) = '$state' AND error ~ \$words\$$pattern\$words\$ $from)");
	$told = $self->sql("SELECT concat_ws(chr(10), error, error_detail, hint) $from");
	like($self->sql("SELECT hint $from"), $hint, "$name: hint");
	return $told;
}

# ---- processes ----

# kill -9 of the server itself, and its start when the processes that it leaves,
# those of the pids, have noticed and ended.
sub kill_server
{
	my ($self, @pids) = @_;
	my $tries = 100 * $PostgreSQL::Test::Utils::timeout_default;
	my ($postmaster) =
	  PostgreSQL::Test::Utils::slurp_file($self->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	$self->kill9;
	push @pids, $postmaster;
	while (grep { kill(0, $_) } @pids)
	{
		die 'processes of the server do not end' unless $tries--;
		Time::HiRes::usleep(10_000);
	}
	$self->start;
	return;
}

# kill -STOP of the scheduler while it waits, so that it holds no lock; returns
# its pid, for kill -CONT.
sub freeze_scheduler
{
	my ($self) = @_;
	my $waiting = "FROM pg_stat_activity WHERE backend_type = 'rappel_conso scheduler' AND datname = current_database()"
	  . " AND ${\$self->waits_in('Work')}";

	$self->wait_for('the scheduler to wait', "SELECT count(*) = 1 $waiting");
	my $pid = $self->sql(q{SELECT rappel_conso.worker_pid('scheduler')});
	kill('STOP', $pid) or die "scheduler $pid: $!";
	return $pid;
}

# Have only these parts of rappel_conso.fast_paths used.
sub set_fast_paths
{
	my ($self, $paths) = @_;

	$self->sql("ALTER SYSTEM SET rappel_conso.fast_paths = '$paths'");
	$self->reload;
	$self->wait_for('the setting', 'SHOW rappel_conso.fast_paths', expected => $paths);
	return;
}

# Where the server's log ends now, and what it has logged since such a place.
# Each line has its SQLSTATE behind the time.
sub log_position { return -s $_[0]->logfile; }

sub log_since
{
	my ($self, $position) = @_;

	return PostgreSQL::Test::Utils::slurp_file($self->logfile, $position);
}

# A line of the log with that SQLSTATE, level (or levels, as a pattern) and words.
sub log_line
{
	my ($self, $sqlstate, $level, $pattern) = @_;

	return qr/^\S+ \S+ \S+ $sqlstate \[\d+\] (?:.* )?(?:$level):  .*$pattern/m;
}

# Wait until such a line is logged, since a place or ever; returns where the log
# ends then.
sub wait_logged
{
	my ($self, $sqlstate, $level, $pattern, $position) = @_;

	return $self->wait_for_log($self->log_line($sqlstate, $level, $pattern),
		$position);
}

# Since a place, how many such lines there are.
sub times_logged
{
	my ($self, $sqlstate, $level, $pattern, $position) = @_;
	my $line = $self->log_line($sqlstate, $level, $pattern);

	return scalar(() = $self->log_since($position // 0) =~ /$line/g);
}

1;
