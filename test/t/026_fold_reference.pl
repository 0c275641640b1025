# 026_fold_reference.pl
#     rc_fold() beside the Python package Unidecode 1.4.0: each character of
#     the Latin, Greek and Cyrillic scripts becomes what the package makes of
#     it, or is kept or folded where that has nothing; no letter, mark or number
#     of any other script is lost.  Skipped where the package is absent; nothing
#     of it is in this tree.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use Encode ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $node = new_node('fold');
$ENV{PGCLIENTENCODING} = 'UTF8';

my @characters = map { chr } grep { chr =~ /\p{Assigned}/ } 0x80 .. 0xD7FF, 0xE000 .. 0x10FFFF;

# What rc_fold() makes of each of some characters.
sub fold_all
{
	my $json = JSON::PP->new->utf8;

	$node->sql("CREATE TABLE IF NOT EXISTS characters (n int, c text); TRUNCATE characters;"
		. "\\copy characters FROM '" . write_characters(@_) . "'");
	return @{ $json->decode($node->sql('SELECT json_agg(rc_fold(c) ORDER BY n) FROM characters')) };
}

sub write_characters
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/characters';
	my $n = 0;

	unlink $file;
	append_to_file($file, join('', map { $n++ . "\t" . Encode::encode('UTF-8', $_) . "\n" } @_));
	return $file;
}

# ---- nothing is lost ----

my @folded = fold_all(@characters);
is(scalar @folded, scalar @characters, 'each character has a result');
my @lost = map { sprintf('U+%04X', ord $characters[$_]) }
  grep { $folded[$_] eq '' && $characters[$_] =~ /[\p{L}\p{N}]/ } 0 .. $#folded;
is_deeply(\@lost, ['U+037A'], 'V18: no letter and no number is lost, but for a spacing accent of Greek');
@lost = map { sprintf('U+%04X', ord $characters[$_]) }
  grep { $folded[$_] eq '' && $characters[$_] =~ /\p{M}/ && $characters[$_] !~ /[\p{Script=Inherited}\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}]/ } 0 .. $#folded;
is_deeply(\@lost, [], 'V18: no mark of another script is lost');

# ---- beside the reference ----

SKIP:
{
	my $program = 'import json, sys, unidecode, importlib.metadata as m;'
	  . ' assert m.version("unidecode") == "1.4.0";'
	  . ' print(json.dumps([unidecode.unidecode(c) for c in json.load(sys.stdin)]))';
	my @script = grep { $characters[$_] =~ /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}]/ } 0 .. $#characters;
	my $in = JSON::PP->new->ascii->encode([ @characters[@script] ]);
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'python3', '-W', 'ignore', '-c', $program ], '<', \$in, '>', \$out, '2>', \$err)
	  or skip('the Python package unidecode 1.4.0 is not there', 2);
	my $reference = JSON::PP->new->decode($out);
	my @differ;
	my $same = 0;

	foreach my $i (0 .. $#script)
	{
		next if $reference->[$i] eq '';
		if ($folded[ $script[$i] ] eq $reference->[$i]) { $same++; }
		else { push @differ, sprintf('U+%04X: %s, not %s', ord $characters[ $script[$i] ], Encode::encode('UTF-8', $folded[ $script[$i] ]), $reference->[$i]); }
	}
	is_deeply(\@differ, [], 'V18: Latin, Greek and Cyrillic are folded as by the reference');
	cmp_ok($same, '>', 1500, "V18: $same characters are");
}

done_testing();
