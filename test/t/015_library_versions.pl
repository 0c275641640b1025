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
report(libcurl => '99.0.0-DEV', cJSON => '99.0.0', librdkafka => '10.0.0-RC1-dirty');
is($node->outcome_of(q{LOAD 'rappel_conso'}), '', 'new libraries');

my $built;
foreach my $case (
	[ libcurl => '7.86.0', '7.87.0' ],
	[ libcurl => '7.9.8', '7.87.0' ],
	[ libcurl => 'unknown', '7.87.0' ],
	[ cJSON => '1.7.14', '1.7.15' ],
	[ cJSON => '1.6.20', '1.7.15' ],
	[ cJSON => '0.9.99', '1.7.15' ],
	[ librdkafka => '2.0.1', '2.0.2' ],
	[ librdkafka => '1.9.2-PRE3', '2.0.2' ])
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

# ---- at the build ----

# Compile the check with a header that says another version; returns what the
# compiler says.
sub compile_with
{
	my ($header, $macro, $value) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('headers');
	my ($server) = run_command([ $ENV{PG_CONFIG} || 'pg_config', '--includedir-server' ]);
	my $said = '';

	mkdir("$dir/" . ($header =~ s{/.*}{}r)) or die "$dir: $!";
	append_to_file("$dir/$header", "#include_next <$header>\n#undef $macro\n#define $macro $value\n");
	IPC::Run::run([ $ENV{CC} || 'cc', '-fsyntax-only', '-DRC_VERSION="test"', "-I$dir", "-I$RappelConso::top/src", "-I$server", "$RappelConso::top/src/library_versions.c" ],
		'>', \my $ignored, '2>', \$said);
	return $said;
}

my ($curl, $cjson) = ([ 'curl/curl.h', 'LIBCURL_VERSION_NUM' ], [ 'cjson/cJSON.h', 'CJSON_VERSION_PATCH' ]);
like(compile_with(@$curl, '0x0756ff'), qr/#error .*libcurl 7\.87 /, 'headers of an old libcurl');
is(compile_with(@$curl, '0x075700'), '', 'headers of the oldest libcurl that is enough');
like(compile_with(@$cjson, 14), qr/#error .*cJSON 1\.7\.15 /, 'headers of an old cJSON');
is(compile_with(@$cjson, 15), '', 'headers of the oldest cJSON that is enough');

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
