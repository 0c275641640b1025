# 015_library_versions.pl
#     A library that is older than the extension needs, or than it was built with,
#     is refused when the extension is loaded, by name and with what to do.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $versions = preload('versions');
plan(skip_all => 'no C compiler, or no headers of the libraries') unless $versions;

my $node = new_node('main', extension => 0, start => 0);
my $file = $node->basedir . '/versions';

$ENV{RC_TEST_VERSIONS} = $file;

# Have libraries report other versions to processes that begin from now on.
sub report
{
	my (%versions) = @_;

	unlink($file);
	append_to_file($file, join('', map { "$_ $versions{$_}\n" } sort keys %versions));
	return;
}

sub start_shimmed
{
	local $ENV{LD_PRELOAD} = $versions;
	return $node->start(fail_ok => 1);
}

# ---- loaded by a session ----

report();
ok(start_shimmed(), 'a server with the shim');
is($node->outcome_of(q{LOAD 'rappel_conso'}), '', 'libraries as they are');
report(libcurl => '99.0.0-DEV', cJSON => '99.0.0');
is($node->outcome_of(q{LOAD 'rappel_conso'}), '', 'new libraries');

my $built;
foreach my $case (
	[ libcurl => '7.86.0', '7.87.0' ],
	[ libcurl => '7.9.8', '7.87.0' ],
	[ libcurl => 'unknown', '7.87.0' ],
	[ cJSON => '1.7.14', '1.7.15' ],
	[ cJSON => '1.6.20', '1.7.15' ],
	[ cJSON => '0.9.99', '1.7.15' ])
{
	my ($library, $version, $needed) = @$case;

	report($library => $version);
	my $error = $node->outcome_of(q{LOAD 'rappel_conso'});
	like($error, qr/^55000: $library \Q$version\E [^;]*; [^;]*\Q$needed\E[^;]*; [^;]*$library.*\bLD_LIBRARY_PATH\b/,
		"$library $version is refused");
	($built) = $error =~ /; [^;]* (\d+\.\d+\.\d+)\.;/ if $library eq 'libcurl';
	is($node->sqlstate_of('CREATE EXTENSION rappel_conso'), '55000', 'also by CREATE EXTENSION');
}

SKIP:
{
	my ($release, $patch) = $built =~ /^(\d+\.\d+)\.(\d+)$/;

	skip("libcurl $built is the first of its release", 1) if $patch == 0 || $release eq '7.87';
	report(libcurl => "$release." . ($patch - 1));
	like($node->outcome_of(q{LOAD 'rappel_conso'}), qr/^55000: libcurl \Q$release\E\.[^;]*; [^;]*\Q$built\E[^;]*; [^;]*\Q$built\E/,
		'one that is older than at the build is refused');
}
$node->stop;

# ---- preloaded ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rappel_conso'");
my $at = $node->log_position;
report(cJSON => '1.7.1');
ok(!start_shimmed(), 'a server that preloads it does not start');
ok($node->times_logged('55000', 'FATAL', qr/cJSON 1\.7\.1 /, $at), 'and its log says why');
ok($node->times_logged('55000', 'HINT', qr/LD_LIBRARY_PATH/, $at), 'and what to do');
report();
ok(start_shimmed(), 'it starts with the right one');
$node->stop;

done_testing();
