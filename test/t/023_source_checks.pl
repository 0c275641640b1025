# 023_source_checks.pl
#     Whom a source makes the server talk to, and with what: the API key goes to
#     named hosts only, credentials are in no url, and what is restored without a
#     check is checked when it is used.

use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/lib';
use RappelConso;

# What the environment says of proxies must not matter, in either direction.
my $closed = PostgreSQL::Test::Cluster::get_free_port();
$ENV{$_} = "http://127.0.0.1:$closed" foreach ('http_proxy', 'https_proxy', 'all_proxy', 'ALL_PROXY');
$ENV{$_} = '*' foreach ('no_proxy', 'NO_PROXY');

my $path = '/api/explore/v2.1';
my $good = start_api();         # a superuser's source reads from it
my $evil = start_api();         # the server of a role that may store sources
my $node = new_node('main', api => $good, source => { retries => 0 });
my $port = $evil->port;

$node->append_conf('postgresql.conf', "rappel_conso.http_config_file = '" . $node->http_config_file . "'");
$node->restart;
$node->sql(q{
	CREATE ROLE cook LOGIN;
	GRANT USAGE ON SCHEMA rappel_conso TO cook;
	GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.source, rappel_conso.stream TO cook;
	INSERT INTO rappel_conso.topic_grant VALUES ('cook', 'own', true, true);
	CREATE TABLE kept (key text PRIMARY KEY);
	GRANT INSERT, SELECT ON kept TO cook});
$node->sql(qq{
	SET ROLE cook;
	INSERT INTO rappel_conso.stream (name, topics, statement)
	VALUES ('own', '{own}', 'INSERT INTO kept SELECT key FROM records ON CONFLICT DO NOTHING');
	INSERT INTO rappel_conso.source (name, url, dataset, key_field, cursor_field, stream, retries)
	VALUES ('own', '${\$evil->url}', '${\DATASET}', 'numero_fiche', 'date_publication', 'own', 0)});

# Run a source; its error as SQLSTATE, message, detail and hint, or ''.
sub error_of_run
{
	my ($name) = @_;

	$_->clear_log foreach ($good, $evil);
	$node->attempt("SELECT * FROM rc_sync_now('$name', full_sync => true)");
	return $node->newest_error;
}

# What a server has received as credentials, with how many requests.
sub received
{
	my ($api) = @_;
	my %values = map { ($_->{authorization} // '') . ($_->{proxy_authorization} // '') => 1 } $api->log;

	return %values ? join(' and ', map { $_ eq '' ? 'nothing' : $_ } sort keys %values) : 'no request';
}

#
# R15: by default the key goes where a superuser's built-in source does
#
$node->configure_http('api_key = s3cret');
is(error_of_run('rappel_conso'), '', 'R15: the built-in source is read');
is(received($good), 'Apikey s3cret', 'R15: with the key');
is(error_of_run('own'), '', q{R15: a role's source is read from its own server});
is(received($evil), 'nothing', 'R15: which receives nothing');
is(received($good), 'no request', 'R15: and nobody else hears of it');
foreach my $url ("http://localhost:$port$path", "http://127.0.0.1.:$port$path", "http://2130706433:$port$path")
{
	$node->set_url('own', $url);
	error_of_run('own');
	unlike(received($evil), qr/s3cret/, "R15: nor by another name: $url");
}
$node->set_url('own', $good->url);
error_of_run('own');
is(received($good), 'Apikey s3cret', 'R15: a source of another that reads from the same place has the key');

# Who may change the built-in source chooses the place: then it is none.
$node->sql(q{
	INSERT INTO rappel_conso.topic_grant VALUES ('cook', 'rappel_conso', true, true);
	DROP TABLE rappel_conso_table, rappel_conso_history;
	DROP FUNCTION rappel_conso_keep_history;
	GRANT CREATE ON SCHEMA public TO cook;
	GRANT USAGE ON TYPE rappel_conso.recall, rappel_conso.reference_fiche TO cook;
	UPDATE rappel_conso.stream SET owner = 'cook' WHERE name = 'rappel_conso';
	UPDATE rappel_conso.source SET owner = 'cook' WHERE name = 'rappel_conso'});
$node->sql(qq{SET ROLE cook; UPDATE rappel_conso.source SET url = '${\$evil->url}' WHERE name = 'rappel_conso'});
is(error_of_run('rappel_conso'), '', 'R15: the built-in source in the hands of another is read');
is(received($evil), 'nothing', 'R15: the built-in source in the hands of another gets no key');
$node->set_url('own', $evil->url);
error_of_run('own');
is(received($evil), 'nothing', 'R15: and makes none go to where it leads');
$node->sql(qq{
	DROP TABLE IF EXISTS rappel_conso_table, rappel_conso_history;
	DROP FUNCTION IF EXISTS rappel_conso_keep_history;
	UPDATE rappel_conso.stream SET owner = CURRENT_USER WHERE name = 'rappel_conso';
	UPDATE rappel_conso.source SET owner = CURRENT_USER, url = '${\$good->url}' WHERE name = 'rappel_conso'});

#
# R15: with api_key.host, to these hosts
#
my $other = $good->port;
foreach my $case (
	[ 'localhost', "http://localhost:$port$path", 1 ],
	[ 'LocalHost.', "http://localhost:$port$path", 1 ],
	[ 'localhost', "http://LOCALHOST:$port$path", 1 ],
	[ 'localhost', "HTTP://LocalHost:$port$path/", 1 ],
	[ "localhost:$port", "http://localhost:$port$path", 1 ],
	[ "http://localhost:$port", "http://localhost:$port$path", 1 ],
	[ "http://localhost:$port/", "http://localhost:$port$path", 1 ],
	[ 'example.org, localhost', "http://localhost:$port$path", 1 ],
	[ 'example.org,localhost,example.com', "http://localhost:$port$path", 1 ],
	[ 'localhost', "http://127.0.0.1:$port$path", 0 ],
	[ '127.0.0.1', "http://localhost:$port$path", 0 ],
	[ "localhost:$other", "http://localhost:$port$path", 0 ],
	[ "http://localhost:$other", "http://localhost:$port$path", 0 ],
	[ 'http://localhost', "http://localhost:$port$path", 0 ],
	[ 'https://localhost', "http://localhost:$port$path", 0 ],
	[ "https://localhost:$port", "http://localhost:$port$path", 0 ],
	[ 'localhos', "http://localhost:$port$path", 0 ],
	[ 'ocalhost', "http://localhost:$port$path", 0 ],
	[ 'localhost.example.org', "http://localhost:$port$path", 0 ],
	[ 'example.localhost', "http://localhost:$port$path", 0 ],
	[ '127.0.0.11', "http://127.0.0.1:$port$path", 0 ],
	[ '[::1]', "http://127.0.0.1:$port$path", 0 ],
	[ 'data.economie.gouv.fr', "http://127.0.0.1:$port$path", 0 ])
{
	my ($hosts, $url, $sent) = @$case;

	$node->configure_http('api_key = s3cret', "api_key.host = $hosts");
	$node->set_url('own', $url);
	is(error_of_run('own'), '', "R15: api_key.host = $hosts: $url is read");
	is(received($evil), $sent ? 'Apikey s3cret' : 'nothing', 'R15: ' . ($sent ? 'with the key' : 'without the key'));
}
$node->configure_http('api_key.host = example.org', 'api_key = s3cret', 'api_key.host = localhost');
$node->set_url('own', "http://localhost:$port$path");
error_of_run('own');
is(received($evil), 'Apikey s3cret', 'R15: several lines are one list');
error_of_run('rappel_conso');
is(received($good), 'nothing', 'R15: which takes the place of the default');

# One that cannot be read lets nothing out.
foreach my $hosts (
	'', ',', '*', '*.example.org', 'localhost/api', 'http://localhost/api', 'user@localhost', 'http://user:pw@localhost',
	'localhost?', 'localhost#', 'localhost:', 'localhost:0', 'localhost:65536', 'localhost:x', 'ftp://localhost', 'http://',
	'://localhost', '[::1', 'local\\host', 'localhost, *', 'ex%61mple.org')
{
	$node->configure_http('api_key = s3cret', "api_key.host = $hosts");
	like(
		error_of_run('own'),
		qr/^F0000: .*"api_key\.host".* 2 .*"rappel_conso\.http_config_file"/,
		"R15: api_key.host = $hosts is an error");
	is(received($evil), 'no request', 'R15: and nothing is asked');
}

# Redirects lead nowhere else.
$node->configure_http('api_key = s3cret', "api_key.host = localhost:$other");
$node->set_url('own', "http://localhost:$other$path");
foreach my $location ("http://localhost:$port$path", "http://127.0.0.1:$port$path", "//localhost:$port$path",
	"https://localhost:$other$path", "http://localhost.evil.example:$other$path", "http://localhost:$other\@127.0.0.1:$port/")
{
	$good->control(faults => [ { fault => 'redirect', on => 'meta', location => $location } ]);
	my $shown = $location =~ /\@/ ? '' : quotemeta($location =~ s{^//}{http://}r);

	like(error_of_run('own'), qr/^38000: "\Qhttp:\/\/localhost:$other$path\E\S*" .*$shown/, "R15: a redirect to $location is an error");
	is(received($evil), 'no request', 'R15: which is not followed');
}
$good->control(faults => [ { fault => 'redirect', on => 'meta', location => "http://user:pw\@localhost:$other$path/x" } ]);
my $error = error_of_run('own');
like($error, qr/^38000: "\Qhttp:\/\/localhost:$other$path\E\S*" /, 'R9: a redirect that names a user is an error');
unlike($error, qr/pw/, 'R9: that does not show the password');
is(received($good), 'Apikey s3cret', 'R9: and sends none');
$good->control(faults => [ { fault => 'redirect', on => 'meta', location => "$path/catalog/datasets/${\DATASET}?x" } ]);
is(error_of_run('own'), '', 'R15: a redirect on the same host is followed');
is(received($good), 'Apikey s3cret', 'R15: with the key');
$good->control(faults => [ { fault => 'redirect', on => 'meta', times => 0, location => "http://localhost:$other$path/catalog/datasets/\xe9\xff" } ]);
like(error_of_run('own'), qr/^38000: .*\b5\b/, 'a redirect to bytes that are no text is an error');
is($node->sql(q{SELECT convert_from(convert_to(error, 'UTF8'), 'UTF8') <> '' FROM rappel_conso.run ORDER BY id DESC LIMIT 1}), 't', 'which is text');
$good->control(faults => []);

#
# A proxy: its credentials are for it alone, and the key is not for it
#
$node->configure_http(
	'api_key = s3cret', "api_key.host = https://data.economie.gouv.fr",
	"proxy = http://127.0.0.1:$port", 'proxy_user = mole', 'proxy_password = hole');
foreach my $url ("http://data.economie.gouv.fr$path", "http://127.0.0.1:$other$path", "http://api.invalid:8080$path")
{
	$node->set_url('own', $url);
	is(error_of_run('own'), '', "R15: $url is read by the proxy, whatever no_proxy says");
	is(received($evil), 'Basic bW9sZTpob2xl', 'R15: which gets its own credentials only');
	is(received($good), 'no request', 'R15: and nobody else is asked');
}
$node->configure_http('api_key = s3cret', 'api_key.host = example.org', 'proxy_user = mole', 'proxy_password = hole');
$node->set_url('own', $evil->url);
is(error_of_run('own'), '', 'R15: without a proxy');
is(received($evil), 'nothing', 'R15: nobody gets them');

#
# R9, V17: rows that were restored without a check are refused when they are used
#
$node->configure_http();
foreach my $case (
	[ "http://user:pw\@127.0.0.1:$port$path", DATASET, 'url', '' ],
	[ "http://user\@127.0.0.1:$port$path", DATASET, 'url', '' ],
	[ "http://localhost:$other\@127.0.0.1:$port$path", DATASET, 'url', '' ],
	[ "http://localhost:$other\\\@127.0.0.1:$port$path", DATASET, 'url', '' ],
	[ "http://127.0.0.1:$port$path?apikey=pw", DATASET, 'url', '' ],
	[ "http://127.0.0.1:$port$path#pw", DATASET, 'url', '' ],
	[ "http://127.0.0.1:$port$path/%2e%2e", DATASET, 'url', '"%"' ],
	[ "http://127.0.0.1:$port/api/explore/x/../v2.1", DATASET, 'url', '".."' ],
	[ "http://127.0.0.1:$port$path\t", DATASET, 'url', '' ],
	[ "file:///etc/passwd", DATASET, 'url', '"file:///etc/passwd"' ],
	[ $evil->url, '..', 'dataset', '".."' ],
	[ $evil->url, '.', 'dataset', '"."' ],
	[ $evil->url, 'a/b', 'dataset', '"a/b"' ],
	[ $evil->url, 'a%2Fb', 'dataset', '"a%2Fb"' ],
	[ $evil->url, 'a b', 'dataset', '"a b"' ],
	[ $evil->url, "a\nb", 'dataset', "\"a\nb\"" ])
{
	my ($url, $dataset, $column, $value) = @$case;
	my $shown = "$url $dataset" =~ s/\n/ /gr;

	$node->sql("SET session_replication_role = replica; UPDATE rappel_conso.source SET url = '$url', dataset = '$dataset' WHERE name = 'own'");
	$error = error_of_run('own');
	like($error, qr/^22023: (?=.*\b$column\b)(?=.*"own").*\Q$value\E/s, "V17: $shown is refused when it is used");
	unlike($error, qr/pw/, 'R9: and nothing secret is shown');
	is(received($evil), 'no request', 'V17: and nothing is asked');
}
$node->sql("UPDATE rappel_conso.source SET paused = true WHERE name = 'own'");
is($node->sql("SELECT paused FROM rappel_conso.source WHERE name = 'own'"),
	't', 'V17: another column of such a row can be changed');
$node->sql("UPDATE rappel_conso.source SET url = '${\$evil->url}', dataset = '${\DATASET}' WHERE name = 'own'");
is(error_of_run('own'), '', 'V17: and it can be set right');

#
# M5: what to do where the API cannot be reached
#
foreach my $url ("http://127.0.0.1:$closed$path", "http://name.invalid$path")
{
	$node->set_url('own', $url);
	like(
		error_of_run('own'),
		qr/^08006: .*\n.*"proxy".* "rappel_conso\.http_config_file"/s,
		"M5: $url: a hint at the proxy");
}
$node->configure_http("proxy = http://127.0.0.1:$closed");
$node->set_url('own', $evil->url);
$error = error_of_run('own');
like($error, qr/^08006: .*\n.*"proxy".* "rappel_conso\.http_config_file"/s,
	'M5: a proxy that cannot be reached');
unlike($error, qr/$closed/, 'M5: whose address is for the log alone');
$node->configure_http("proxy = http://name.invalid:3128");
$error = error_of_run('own');
like($error, qr/^08006: .*\n.*"proxy"/s, 'M5: a proxy that is not found');
unlike($error, qr/name\.invalid/, 'M5: whose name is for the log alone');
# a tunnel for https, which our proxy does not know how to make
$node->configure_http("proxy = http://127.0.0.1:$port");
$node->set_url('own', "https://data.economie.gouv.fr$path");
like(error_of_run('own'), qr/^08006: .* 501\n.*"proxy"/s,
	'M5: a proxy that refuses');

$node->stop;
done_testing();
