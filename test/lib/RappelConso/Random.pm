# Random.pm
#     Seeded random JSON for tests: choices, white space, and texts in the
#     notations that JSON has for them.
#
# It must draw from rand() alone: the same srand() gives the same values.

package RappelConso::Random;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP ();

our @EXPORT = qw(pick chance space string_text);

# One of some.
sub pick { return $_[ rand @_ ]; }

# True with this probability.
sub chance { return rand() < $_[0]; }

# Mostly nothing.
sub space { return chance(0.9) ? '' : pick(' ', "\n", "\t \r"); }

# A text as a JSON string, sometimes with escapes that it does not need.
sub string_text
{
	my ($text) = @_;
	my $json = JSON::PP->new->allow_nonref;

	$json->ascii(1) if chance(0.3);
	$text = $json->encode($text);
	$text =~ s/([a-z])(?=[^\\]*"$)/sprintf(chance(0.5) ? '\\u%04x' : '\\u%04X', ord($1))/e if $text !~ /\\/ && chance(0.1);
	$text =~ s{/}{\\/} if $text !~ /\\/ && chance(0.3);
	return $text;
}

1;
