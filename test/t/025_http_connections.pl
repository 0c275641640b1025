# 025_http_connections.pl
#     How a source's server is reached: by TLS, through a proxy, with a key, by
#     IPv6.  Each thing that can be wrong has its own message and hint, and needs
#     nothing but being put right.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Socket ();
use Test::More;

plan(skip_all => 'openssl is not installed')
  unless grep { -x "$_/openssl" } split(/:/, $ENV{PATH});

# Nothing of the environment matters.
delete @ENV{ map { ("${_}_proxy", uc "${_}_proxy") } ('http', 'https', 'all') };

my $dir = PostgreSQL::Test::Utils::tempdir('http');
my $path = '/api/explore/v2.1';

sub make_certificate
{
	my ($name, @options) = @_;

	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	system_or_bail('python3', 'test/servers/certificates.py', "$dir/tls", $name, @options);
	return "$dir/tls/$name.both.pem";
}

my %certificate = (
	good => make_certificate('good', '--host', '127.0.0.1'),
	expired => make_certificate('expired', '--host', '127.0.0.1', '--expired'),
	elsewhere => make_certificate('elsewhere', '--host', 'elsewhere.example'),
	stranger => make_certificate('stranger-server', '--host', '127.0.0.1', '--ca', 'stranger'),
	name => make_certificate('name', '--host', 'api.test'));
my @names = sort keys %certificate;
my $ca = "$dir/tls/ca.pem";
my $ipv6 = can_ipv6();
my $api = start_api(options => [ '--apikey', 's3cret', (map { ('--listen', "127.0.0.1=$certificate{$_}") } @names), $ipv6 ? ('--listen', '::1') : () ]);
my %port;
@port{ @names, 'ipv6' } = $api->other_ports;
my $closed = PostgreSQL::Test::Cluster::get_free_port();

my $names = preload('names');
local $ENV{LD_PRELOAD} = $names if $names;
local $ENV{RC_TEST_NAMES} = 'two.test=::1,127.0.0.1 six.test=::1 wrong.test=127.0.0.1';
my $node = new_node('main', source => { retries => 0 });
delete $ENV{LD_PRELOAD};
$node->append_conf('postgresql.conf', "rappel_conso.http_config_file = '" . $node->http_config_file . "'");
$node->configure_http;
$node->reload;

sub can_ipv6
{
	my $socket;

	return socket($socket, Socket::AF_INET6(), Socket::SOCK_STREAM(), 0)
	  && bind($socket, Socket::pack_sockaddr_in6(0, Socket::inet_pton(Socket::AF_INET6(), '::1')));
}

# Write a file that only we can read, by rename.
sub write_file
{
	my ($file, $text) = @_;

	append_to_file("$file.new", $text);
	chmod(0600, "$file.new") or die "$file: $!";
	rename("$file.new", $file) or die "$file: $!";
	return;
}

# The configuration file: the key, and other lines.
my @key = ('api_key = s3cret', 'api_key.host = 127.0.0.1, api.test, late.test, two.test, [::1]');

# Read a URL; the error, or '' if there is none.
sub error_with
{
	my ($url, @lines) = @_;

	$node->configure_http(@lines);
	$node->set_url('rappel_conso', $url . $path);
	$node->attempt(q{SELECT rc_sync_now('rappel_conso')});
	return $node->newest_error;
}

# A run that finds something wrong succeeds once that is fixed, by itself.
sub recovers
{
	my ($name, $url, $wrong, $fix) = @_;

	$node->configure_http(@$wrong);
	$node->set_url('rappel_conso', $url . $path);
	$node->sql(q{UPDATE rappel_conso.source SET retries = 100 WHERE name = 'rappel_conso'});
	my $session = $node->start_session(q{SELECT state FROM rc_sync_now('rappel_conso')});
	$node->wait_for('a retry', q{SELECT max(attempt) > 1 FROM rappel_conso.task WHERE state IN ('running', 'up_for_retry')});
	$fix->();
	is($session->finish->{out}, 'success', "$name: recovers by itself");
	$node->sql(q{UPDATE rappel_conso.source SET retries = 0 WHERE name = 'rappel_conso'});
	return;
}

# What messages say before libcurl's words, which is one text for each cause.
my %told;

sub tells
{
	my ($cause, $error, $pattern) = @_;
	my ($text) = $error =~ /^\w+: could not \w+ \w+ "[^"]*": ([^:]*)/;
	my $other = $told{ $text // '' };

	like($error, $pattern, $cause);
	is($other // $cause, $cause, "$cause: told as nothing else is");
	$told{$text} = $cause if defined $text;
	return;
}

# ---- TLS ----

my @tls = (@key, "ca_file = $ca");
my $in_file = qr/"rappel_conso\.http_config_file"/;

is(error_with("https://127.0.0.1:$port{good}", @tls), '', 'TLS with an authority of its own');
is($node->newest_run('fetched'), '300', 'records came by TLS');
tells('expired', error_with("https://127.0.0.1:$port{expired}", @tls), qr/^08006: .*certificate has expired\n.*\bclock\b/);
tells('other host', error_with("https://127.0.0.1:$port{elsewhere}", @tls), qr/^08006: .*127\.0\.0\.1'\n.*\burl\b/);
tells('other host', error_with("https://127.0.0.1:$port{name}", @tls), qr/^08006: .*127\.0\.0\.1'\n.*\burl\b/);
tells('unknown authority', error_with("https://127.0.0.1:$port{stranger}", @tls), qr/^08006: .*\bissuer\b.*\n.*"ca_file".*$in_file/);
tells('unknown authority', error_with("https://127.0.0.1:$port{good}", @key), qr/^08006: .*\bissuer\b.*\n.*"ca_file".*$in_file/);
tells('no TLS', error_with('https://127.0.0.1:' . $api->port, @tls), qr/^08006: .*wrong version number\n.*\burl\b/);
like(error_with("http://127.0.0.1:$port{good}", @tls), qr/^08006: .*\n.*"https:/, 'TLS asked for, and not spoken');

# Only what the file names is trusted, however the system keeps its own.
is(error_with("https://127.0.0.1:$port{stranger}", @key, "ca_file = $dir/tls/stranger.pem"), '', 'another authority');
tells('unknown authority', error_with("https://127.0.0.1:$port{good}", @key, "ca_file = $dir/tls/stranger.pem"), qr/^08006: /);
write_file("$dir/bundle.pem", slurp_file($ca) . slurp_file("$dir/tls/stranger.pem"));
is(error_with("https://127.0.0.1:$port{$_}", @key, "ca_file = $dir/bundle.pem"), '', "two authorities in a file: $_") foreach ('good', 'stranger');

foreach my $file ("$dir/absent.pem", $node->http_config_file, "$dir")
{
	my $at = $node->log_position;
	my $error = error_with("https://127.0.0.1:$port{good}", @key, "ca_file = $file");

	like($error, qr/^F0000: .*\n.*"ca_file".*$in_file/, "ca_file = $file: SQLSTATE and hint");
	unlike($error, qr/\Q$file\E/, 'its path is for the log alone');
	ok($node->times_logged('F0000', 'DETAIL', qr/\Q$file\E/, $at), 'which has it');
}

recovers('a missing authority', "https://127.0.0.1:$port{good}", \@key, sub { $node->configure_http(@tls) });
recovers('an expired certificate', "https://127.0.0.1:$port{expired}", \@tls,
	sub { make_certificate('expired', '--host', '127.0.0.1') });
recovers('a certificate of another host', "https://127.0.0.1:$port{elsewhere}", \@tls,
	sub { make_certificate('elsewhere', '--host', '127.0.0.1') });

# ---- a proxy ----

my ($proxy, $rules, $log) = (undef, "$dir/rules.json", "$dir/proxy.log");
my %targets = ('api.test:443' => $port{name}, 'api.test:80' => $api->port, 'down.test:443' => $closed, 'down.test:80' => $closed,
	'wrong.test:443' => $port{good}, "127.0.0.1:${\$api->port}" => $api->port);

# Start a proxy at a port, 0 for any; returns the port.
sub start_proxy
{
	my ($port, @options) = @_;
	my ($in, $out) = (undef, '');

	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	$proxy = IPC::Run::start([ 'python3', 'test/servers/proxy.py', $rules, $log, '--port', $port, @options ], '<', \undef, '>', \$out);
	$proxy->pump until $out =~ /^PORT (\d+)\n/;
	return $1;
}

# Whom the proxy admits, and what it has been asked since the last time.
sub admit { return write_file($rules, JSON::PP::encode_json({ targets => \%targets, @_ })); }

sub asked
{
	my @lines = -e $log ? map { JSON::PP::decode_json($_) } split(/\n/, slurp_file($log)) : ();

	unlink($log);
	return @lines;
}

admit(user => 'mole:h:le @x');
my $at = start_proxy(0);
my @plain = ("proxy = http://127.0.0.1:$at", 'proxy_user = mole', 'proxy_password = h:le @x');
my @through = (@tls, @plain);

is(error_with('https://api.test', @through), '', 'a tunnel, to a name that only the proxy knows');
my @asked = asked();
is_deeply([ sort { $a cmp $b } map { "$_->{method} $_->{target} $_->{status}" } @asked ], [ ('CONNECT api.test:443 200') x @asked ], 'what the proxy is asked');
is(scalar(grep { /^authorization$/ } map { @{ $_->{headers} } } @asked), 0, 'not with the key');
is(error_with('http://api.test', @through), '', 'without TLS: by the proxy, too');
is((asked())[0]->{target}, "http://api.test$path/catalog/datasets/${\DATASET}", 'what the proxy is asked then');
is(error_with('https://api.test', @tls, "proxy = mole:h:le%20%40x\@127.0.0.1:$at"), '', 'user and password in the address, without a scheme');
is(error_with('http://127.0.0.1:' . $api->port, @through), '', 'a private address is asked by the proxy as well');
is(scalar(asked()) > 0, 1, 'which decides');
is(error_with('http://127.0.0.1:' . $api->port, @through, "no_proxy = elsewhere.test, 127.0.0.1:${\$api->port}"), '', 'no_proxy');
is(scalar(asked()), 0, 'is asked directly');
is(error_with('http://api.test', @through, "no_proxy = 127.0.0.1, 127.0.0.1:80, https://api.test"), '', 'no_proxy with others');
ok(scalar(asked()) > 0, 'is for those only');

tells('wrong password', error_with('https://api.test', @through, 'proxy_password = x'), qr/^42501: .* 407\n.*"proxy_user".*"proxy_password".*$in_file/);
tells('wrong password', error_with('https://api.test', @tls, $plain[0]), qr/^42501: .* 407\n.*"proxy_user".*"proxy_password".*$in_file/);
like(error_with('http://api.test', @through, 'proxy_user = x'), qr/^42501: (?=.*"${\DATASET}").* 407\b.*"proxy_user".*"proxy_password".*$in_file/s, 'wrong user, without TLS');
tells('refused', error_with('https://no.test', @through), qr/^08004: .* 403\n.*\bproxy\b/);
like(error_with('http://no.test', @through), qr/^08004: .* 403\b.*\n.*\bproxy\b/s, 'refused, without TLS');
tells('not reached', error_with('https://down.test', @through), qr/^08006: .* 502\n.*\burl\b/);
like(error_with('http://down.test', @through), qr/^08006: .* 502\b.*\n.*\bproxy\b/s, 'not reached, without TLS');
tells('other host', error_with('https://wrong.test', @through), qr/^08006: .*'wrong\.test'\n.*\burl\b/);
tells('unknown authority', error_with('https://api.test', @key, @plain), qr/^08006: .*\bissuer\b.*\n.*"ca_file".*$in_file/);

my $position = $node->log_position;
foreach my $case (
	[ "proxy = http://127.0.0.1:$closed", 'no proxy' ],
	[ 'proxy = http://nowhere.invalid:3128', 'no proxy' ],
	[ 'proxy = http://127.0.0.1:' . $api->port, 'none' ],
	[ "proxy = https://127.0.0.1:$at", 'TLS to the proxy' ],
	[ "proxy = https://mole:hole\@127.0.0.1:$port{expired}", 'none' ])
{
	my ($line, $cause) = @$case;
	my ($address) = $line =~ m{([^/\@]*)$};
	my $error = error_with('https://api.test', @tls, $line);

	like($error, qr/^08006: .*\n.*"proxy".*$in_file/s, "$line: SQLSTATE and hint");
	unlike($error, qr/\Q$address\E|mole|hole/, 'its address is for the log alone');
}
unlike($node->log_since($position), qr/hole/, 'a password is not in the log');

foreach my $value ('ftp://127.0.0.1', 'http://', 'http://a b', 'http://mole:s3cret@', 'http://mole:s3cret@x y:1', 'gopher://mole:s3cret@x:1', 'http://x:99999', "file:///$ca")
{
	my $error = error_with('https://api.test', @tls, "proxy = $value");

	like($error, qr/^F0000: .*"proxy".* 4 .*$in_file/, "proxy = $value is an error");
	unlike($error, qr/s3cret|mole/, 'which does not show it');
}
like(error_with('https://api.test', @tls, "no_proxy = $_"), qr/^F0000: .*"no_proxy".* 4 .*$in_file/, "no_proxy = $_ is an error")
  foreach ('*', '.test', '10.0.0.0/8', '*.test', '127.0.0.1, 10.0.0.0/8');

recovers('a host that the proxy refuses', 'https://late.test', \@through,
	sub { $targets{'late.test:443'} = $port{good}; admit(user => 'mole:h:le @x'); make_certificate('good', '--host', 'late.test') });
$proxy->kill_kill;
recovers('a proxy that is away', 'https://api.test', \@through, sub { start_proxy($at) });
admit(user => 'mole:new');
is($node->sqlstate_of(q{SELECT rc_sync_now('rappel_conso')}), '42501', 'a password that was changed at the proxy');
is(error_with('https://api.test', @through, 'proxy_password = new'), '', 'and then in the file: without a reload');
$proxy->kill_kill;

# A proxy that is reached by TLS.
my $secure = start_proxy(0, '--certificate', $certificate{expired});
is(error_with('https://api.test', @through, 'proxy_password = new', "proxy = https://127.0.0.1:$secure"), '', 'a proxy by TLS');
make_certificate('expired', '--host', '127.0.0.1', '--ca', 'stranger');
tells('TLS to the proxy', error_with('https://api.test', @through, "proxy = https://127.0.0.1:$secure"), qr/^08006: .*\n.*"proxy".*"ca_file".*$in_file/);
$proxy->kill_kill;

# ---- the key ----

my $direct = 'http://127.0.0.1:' . $api->port;
my %hint;
foreach my $case (
	[ 'none', [], qr/"api_key"/ ],
	[ 'an empty one', ['api_key ='], qr/"api_key"/ ],
	[ 'a wrong one', [ 'api_key = wr0ng', 'api_key.host = 127.0.0.1' ], qr/"api_key"/ ],
	[ 'one for others', [ 'api_key = s3cret', 'api_key.host = api.test' ], qr/"api_key\.host"/ ])
{
	my ($name, $lines, $hint) = @$case;
	my $error = error_with($direct, @$lines);

	like($error, qr/^42501: .*"${\DATASET}".*\n.* 401.*\n.*$hint.*$in_file/, "key: $name");
	unlike($error, qr/s3cret|wr0ng/, 'which is not shown');
	$hint{ $error =~ s/.*\n//sr } = 1;
}
is(scalar(keys %hint), 3, 'key: missing, wrong and withheld have a hint each');
is(error_with($direct, @key), '', 'a key that was changed in the file: without a reload');

# ---- addresses ----

SKIP:
{
	skip('this machine has no IPv6', 5) unless $ipv6;
	is(error_with("http://[::1]:$port{ipv6}", @key), '', 'an IPv6 address in the url, and its key');
	is(error_with("http://[0:0:0:0:0:0:0:1]:$port{ipv6}", @key), '', 'written otherwise');
	like(error_with("http://[::1]:${\$api->port}", @key), qr/^08006: .*"http:\/\/\[::1\]:.*\n.*\burl\b/, 'nobody there');
	skip('no C compiler', 2) unless $names;
	is(error_with("http://six.test:$port{ipv6}", 'api_key = s3cret', 'api_key.host = six.test'), '', 'a name with an IPv6 address only');
	is(error_with("http://two.test:${\$api->port}", @key), '', 'a name with two addresses, of which the first refuses');
}

# ---- no secret anywhere ----

$node->sql('CREATE ROLE other LOGIN');
is($node->outcome_as('other', q{SELECT count(*) FROM pg_settings WHERE name = 'rappel_conso.http_config_file'}), '0', 'others do not see where the file is');
unlike(slurp_file($node->logfile), qr/s3cret|wr0ng|h:le|hole|bW9sZT/, 'no secret in the log');
unlike($node->sql('SELECT r, t FROM rappel_conso.run r, rappel_conso.task t'), qr/s3cret|wr0ng|h:le|hole/, 'no secret in the tables');

done_testing();
