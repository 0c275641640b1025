# RappelConso/Docs.pm
#     Runs the examples of documentation in a server of a test.
#
# What an example is, and what is compared, test/docs knows.

package RappelConso::Docs;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use Test::More;

my $pages = 0;

# The pages with examples that need "server" or "kafka".
sub list
{
	my ($needs) = @_;

	return split(/\n/, _call('--list', $needs));
}

# Run the examples of a page, which gets a database of its own; returns what is
# wrong with them.
sub run
{
	my ($node, $api, $page) = @_;
	my $name = 'page' . ++$pages;

	$node->sql("CREATE DATABASE $name");
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = $name;
	local $ENV{DOCS_API} = $api->url;
	my $wrong = _call('--run', $page);
	my $schema = $node->sql(q{
		SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'rappel_conso'},
		dbname => $name);
	$node->sql("SELECT $schema.rc_stop()", dbname => $name) if $schema;
	return $wrong;
}

# Test that nothing is wrong with any page.
sub test_examples
{
	my ($node, $api, $needs) = @_;

	is(run($node, $api, $_), '', "examples of $_") foreach list($needs);
	return;
}

sub _call
{
	my @command = ("$RappelConso::top/test/docs", @_);
	my ($out, $err) = ('', '');

	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	return $out . $err;
}

1;
