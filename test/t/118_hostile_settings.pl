# 118_hostile_settings.pl
#     R8: what a role or a database sets changes neither what SQL of ours means
#     nor what workers do.  The whole tests of grants, of seek, and of status and
#     report run with such settings of all roles; in make test-all once more,
#     with those of the database.  Then come settings that sessions of tests could
#     not bear: they end a worker, hide rows or change the encoding of messages.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka();

# ---- whole tests ----

# They wait more than they work, so those of a kind run beside each other.
foreach my $whose ('ROLE ALL', $ENV{RAPPEL_CONSO_ALL} ? 'DATABASE postgres' : ())
{
	my @children;

	foreach my $name ('095_role_privileges', '096_seek_and_changed_streams', '110_report')
	{
		my $dir = PostgreSQL::Test::Utils::tempdir($name);
		my $child = { name => $name, out => '' };

		mkdir("$dir/tmp_check") or die "$dir: $!";
		local $ENV{TESTDIR} = $dir;
		local $ENV{TESTDATADIR} = "$dir/tmp_check";
		local $ENV{TESTLOGDIR} = "$dir/tmp_check/log";
		local $ENV{RAPPEL_CONSO_HOSTILE} = $whose;
		local $ENV{PERL5LIB} = join(':', @INC);
		$child->{run} = IPC::Run::start([ $^X, "test/t/$name.pl" ], '<', \undef, '>&', \$child->{out});
		push @children, $child;
	}
	foreach my $child (@children)
	{
		my $passed = $child->{run}->finish;

		like($child->{out}, qr/^1\.\.[1-9]/m, "$child->{name} with settings of $whose: it runs");
		ok($passed, "$child->{name} with settings of $whose: as without")
		  or diag(join("\n", grep { /^not ok|^#/ } split(/\n/, $child->{out})));
	}
}

# ---- settings that tests could not bear ----

my $kafka = start_kafka();
my $node = new_node('hostile', kafka => $kafka, preload => 1, conf => "max_worker_processes = 20\n");

$node->sql(q{
	CREATE ROLE sales LOGIN; CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher;
	CREATE SCHEMA sales AUTHORIZATION sales;
	INSERT INTO rappel_conso.topic_grant VALUES ('sales', 'sales.*', true, true);
	CREATE TABLE sales.t (n int, by_trigger text); ALTER TABLE sales.t OWNER TO sales;
	CREATE FUNCTION sales.mark() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.by_trigger := 'yes'; RETURN NEW; END$$;
	CREATE TRIGGER mark BEFORE INSERT ON sales.t FOR EACH ROW EXECUTE FUNCTION sales.mark();
	CREATE FUNCTION sales.say(n int) RETURNS int LANGUAGE plpgsql AS
	$$BEGIN IF n < 0 THEN RAISE EXCEPTION USING MESSAGE = 'n' || chr(233) || 'gatif', ERRCODE = 'check_violation'; END IF; RETURN n; END$$});
my %settings = (
	exit_on_error => 'on',
	row_security => 'off',
	client_encoding => 'LATIN1',
	session_replication_role => 'replica',
	default_transaction_read_only => 'on',
	default_transaction_isolation => 'serializable',
	lock_timeout => '1ms',
	idle_in_transaction_session_timeout => '1ms',
	transaction_timeout => '1ms',
	transform_null_equals => 'on',
	standard_conforming_strings => 'off',
	client_min_messages => 'debug5');

foreach my $whose ('ROLE sales', 'DATABASE postgres')
{
	# a database's are not for the sessions of this test
	my @known = grep { $node->sql("SELECT count(*) FROM pg_settings WHERE name = '$_'") } sort keys %settings;
	my %calm = (exit_on_error => 'off', row_security => 'on', client_encoding => 'UTF8', session_replication_role => 'origin',
		default_transaction_read_only => 'off', default_transaction_isolation => 'read committed', lock_timeout => '0',
		idle_in_transaction_session_timeout => '0', transaction_timeout => '0', transform_null_equals => 'off',
		standard_conforming_strings => 'on', client_min_messages => 'notice');
	my $stream = 'sales_' . lc($whose =~ /^(\w)/ ? $1 : '');
	my $log_at = $node->log_position;
	my $topic = "sales.$stream";

	$kafka->create_topic($topic);

	$node->sql(join('; ', (map { ("ALTER ROLE CURRENT_USER SET $_ = '$calm{$_}'", "ALTER ROLE watcher SET $_ = '$calm{$_}'") } @known)));
	$node->sql(join('; ', map { "ALTER $whose SET $_ = '$settings{$_}'" } @known));
	$node->sql(qq{
		INSERT INTO rappel_conso.stream (name, topics, owner, statement) VALUES ('$stream', '{$topic}', 'sales',
			'INSERT INTO sales.t SELECT sales.say((value->>''n'')::int) FROM records')});
	$kafka->produce_many($topic, [ map { [ 'k', $_ ] } '{"n": 1}', 'no json', '{"n": 2}', '{"n": -1}', '{"n": 3}' ]);
	$node->wait_for('the records', "SELECT sum(next_offset) = 5 FROM rappel_conso.stream_offset WHERE stream = '$stream'");
	my $pid = $node->sql("SELECT rappel_conso.worker_pid('stream', '$stream')");
	is($node->sql(qq{SELECT DISTINCT sqlstate, message = 'n' || chr(233) || 'gatif' FROM rappel_conso.dead_letter WHERE name = '$stream' ORDER BY 1}),
		"22P02|f\n23514|t", "$whose: what fails is a dead letter, in its own words");
	is($node->sql(q{SELECT DISTINCT by_trigger FROM sales.t}), 'yes', "$whose: triggers fire");
	$kafka->produce_many($topic, [ [ 'k', 'no json' ], map { [ 'k', $_ ] } ('{"n": 4}') x 4 ]);
	$node->wait_for('more records', "SELECT sum(next_offset) = 10 FROM rappel_conso.stream_offset WHERE stream = '$stream'");
	is($node->sql("SELECT rappel_conso.worker_pid('stream', '$stream')"), $pid, "$whose: the worker is the same still");
	unlike($node->log_since($log_at), qr/FATAL/, "$whose: none has died");

	# What a worker says to the backend that waits for it.
	my ($code, $out, $err) = $node->psql('postgres', "SET client_encoding = 'UTF8'; SELECT retried, still_dead FROM rc_retry('$stream')");
	like($out, qr/^\d+\|\d+$/, "$whose: rc_retry()");
	$node->sql("UPDATE rappel_conso.stream SET on_error = 'stop', paused = true WHERE name = '$stream'; SELECT rc_seek('$stream', 'earliest')");
	($code, $out, $err) = $node->psql('postgres', "SET client_encoding = 'UTF8'; UPDATE rappel_conso.stream SET statement = 'INSERT INTO sales.t SELECT sales.say(-1) FROM records' WHERE name = '$stream'; SELECT * FROM rc_drain('$stream')");
	like($err, qr/n\xc3\xa9gatif/, "$whose: an error's words arrive in the encoding of the caller");
	$node->sql(qq{DELETE FROM rappel_conso.stream WHERE name = '$stream'; TRUNCATE sales.t});

	# Who may see all sees all.
	$node->sql(q{ALTER ROLE watcher SET row_security = off});
	($code, $out, $err) = $node->psql('postgres', q{SELECT count(*) > 3 FROM rc_status(); SELECT length(rc_report()) > 1000}, extra_params => [ '-U', 'watcher' ]);
	is($out, "t\nt", "$whose: row_security = off does not end rc_status() and rc_report()");
	$node->sql(join('; ', map { "ALTER $whose RESET $_" } @known));
}

done_testing();
