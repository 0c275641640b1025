# RappelConso/Tokens.pm
#     The token endpoint of OAUTHBEARER, test/servers/tokens.py.
#
# It must end when the test does.

package RappelConso::Tokens;

use strict;
use warnings FATAL => 'all';

use HTTP::Tiny ();
use IPC::Open2 ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

sub start
{
	my ($class) = @_;
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir('tokens') },
	  $class;
	my $line;

	# The pipe to it is what keeps it alive: it ends when we do.
	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	$self->{pid} = IPC::Open2::open2(
		$self->{out}, $self->{in},
		$ENV{PYTHON} || 'python3', "$RappelConso::top/test/servers/tokens.py",
		$self->{dir});
	$line = readline($self->{out}) // '';
	@$self{ 'http', 'https' } = $line =~ /^PORT (\d+) (\d+)$/
	  or BAIL_OUT('could not start the token endpoint');
	return $self;
}

# The URL of a page, "token", "token/MODE" or "keys", by "http" or "https".
sub url
{
	my ($self, $page, $scheme) = @_;

	$scheme //= 'http';
	return "$scheme://127.0.0.1:$self->{$scheme}/$page";
}

# The authority of its certificate.
sub authority { return "$_[0]->{dir}/ca.pem"; }

# What the client proves itself with.
sub secret
{
	my ($self) = @_;
	my $text = PostgreSQL::Test::Utils::slurp_file("$self->{dir}/token.secret");

	chomp $text;
	return $text;
}

# Steer it: control(secret => 'x', ..); see the head of tokens.py.  Returns
# how many tokens were asked for and given: {asked => n, given => n}.
sub control
{
	my ($self, %order) = @_;
	my $response = HTTP::Tiny->new(no_proxy => ['127.0.0.1'])->post(
		$self->url('_control'), { content => JSON::PP::encode_json(\%order) });

	die "token endpoint: $response->{status} $response->{content}"
	  unless $response->{success};
	return JSON::PP::decode_json($response->{content});
}

1;
