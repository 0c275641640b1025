# 051_cron.pl
#     rc_sync_now() as a job of pg_cron: what cron.job_run_details says of a
#     run that succeeds, of one that fails, and of one that meets another's.
#
# Jobs are scheduled for "@reboot", which every version of pg_cron knows: they
# start when its launcher does, so nothing waits for the next minute.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $sharedir = `pg_config --sharedir`;
chomp $sharedir;
plan(skip_all => 'pg_cron is not installed')
  unless -e "$sharedir/extension/pg_cron.control";

my $RECORDS = 300;

# Each way of pg_cron to run a job, as settings.
my %ways = (
	'background workers' => 'cron.use_background_workers = on',
	'connections' => "cron.use_background_workers = off");

my $api = start_api();
my $node = new_node(
	'cron',
	api => $api,
	conf => <<~'EOC');
	shared_preload_libraries = 'pg_cron'
	cron.database_name = 'postgres'
	max_worker_processes = 16
	EOC
$node->append_conf('postgresql.conf', "cron.host = '" . $node->host . "'");
$node->restart;

my %jobs = (
	recalls => 'SELECT rc_sync_now()',
	row => 'SELECT state, fetched FROM rc_sync_now()',
	broken => "SELECT rc_sync_now('broken')",
	nightly => "SELECT rc_sync_now('broken', full_sync => true)");

$node->sql(<<~'EOC');
	CREATE EXTENSION pg_cron;
	INSERT INTO rappel_conso.source (name, dataset, transform, retries, url)
	  SELECT 'broken', 'no-such-dataset', 'none', 0, url
	    FROM rappel_conso.source WHERE name = 'rappel_conso';
	UPDATE rappel_conso.source SET stream = 'rappel_conso' WHERE name = 'broken';
	EOC
$node->sql("SELECT cron.schedule('$_', '\@reboot', \$\$$jobs{$_}\$\$)")
  foreach sort keys %jobs;

foreach my $way (sort keys %ways)
{
	my $number = keys %jobs;
	my %details;

	$node->sql('TRUNCATE cron.job_run_details;
		 DROP TABLE IF EXISTS rappel_conso_table;
		 UPDATE rappel_conso.source SET fold_accents = NOT fold_accents');
	$node->append_conf('postgresql.conf', $ways{$way});
	$node->restart;
	ok( $node->poll_query_until(
			'postgres', "SELECT count(*) = $number FROM cron.job_run_details
			              WHERE status IN ('succeeded', 'failed')"),
		"$way: the jobs end");

	foreach my $line (
		split(/\n/,
			$node->sql("SELECT j.jobname, d.status, replace(d.return_message, chr(10), ' ')
				   FROM cron.job_run_details d JOIN cron.job j USING (jobid)")))
	{
		my ($name, $status, $message) = split(/\|/, $line, 3);

		$details{$name} = { status => $status, message => $message };
	}
	foreach my $name ('recalls', 'row')
	{
		is($details{$name}{status}, 'succeeded', "$way: $name succeeded");
		unlike($details{$name}{message}, qr/ERROR/, 'with no error');
	}
	foreach my $name ('broken', 'nightly')
	{
		my $error = $node->sql("SELECT error FROM rappel_conso.run WHERE source = 'broken'
			  ORDER BY id DESC LIMIT 1");

		is($details{$name}{status}, 'failed', "$way: $name failed");
		like($error, qr/no-such-dataset/, 'the run says why');
		like($details{$name}{message}, qr/ERROR: +\Q$error\E/,
			'and so does the job');
	}
	is( $node->sql("SELECT count(*) FROM rappel_conso_table"),
		$RECORDS, "$way: the recalls are there");
	is( $node->sql("SELECT count(*) FROM rappel_conso.run WHERE state = 'running'"),
		0,
		"$way: no run is left");
}

done_testing();
