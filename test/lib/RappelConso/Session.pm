# RappelConso/Session.pm
#     A session that runs beside the test, until its finish().
#
# It must not wait for its SQL by itself, but for what it says.

package RappelConso::Session;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;

sub start
{
	my ($class, $node, $sql, %args) = @_;
	my $self = bless { out => '', err => '', sql => "$sql\n;\n" }, $class;

	$self->{psql} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-v',
			'ON_ERROR_STOP=1', '-d',
			$node->connstr($args{dbname} // 'postgres'), '-f', '-'
		],
		'<', \$self->{sql}, '>', \$self->{out}, '2>', \$self->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	1 while length $self->{sql} && $self->is_open && $self->pump;
	return $self;
}

# Give it what it is to do, and take what it says; false once psql has ended,
# also if it ends before it has read all, as without a server.
sub pump
{
	my ($self) = @_;

	$self->{ended} = !eval { $self->{psql}->pump; 1 };
	return !$self->{ended};
}

# Wait until it says something on stderr; "\warn" of psql does, too.
sub wait_for
{
	my ($self, $pattern) = @_;

	while ($self->{err} !~ $pattern)
	{
		die "the session ended without $pattern: $self->{err}"
		  unless $self->{psql}->pumpable;
		$self->{psql}->pump;
	}
	return 1;
}

# Whether it can take more SQL, and what a statement more prints there, with what
# psql says of it.
sub is_open { return !$_[0]->{ended} && $_[0]->{psql}->pumpable; }

sub ask
{
	my ($self, $sql) = @_;
	my $end = "end of the answer\n";
	my $answer;

	@$self{ 'out', 'err' } = ('', '');
	$self->{sql} .= "$sql\n;\n\\echo $end\\warn $end";
	until ($self->{out} =~ /^$end/m && $self->{err} =~ /^$end/m)
	{
		return "the session ended: $self->{err}"
		  unless $self->is_open && $self->pump;
	}
	$answer = $self->{out} . $self->{err};
	$answer =~ s/^$end//mg;
	chomp $answer;
	return $answer;
}

# Wait for its end.  Its output is then in out and err; its error, if there was
# one, also in sqlstate, message, detail and hint.
sub finish
{
	my ($self) = @_;

	$self->{psql}->finish;
	chomp $self->{out};
	($self->{sqlstate}, $self->{message}) =
	  $self->{err} =~ /^(?:psql:\S+ )?(?:ERROR|FATAL):  (\w{5}): (.*)$/m;
	($self->{detail}) = $self->{err} =~ /^DETAIL:  (.*)$/m;
	($self->{hint}) = $self->{err} =~ /^HINT:  (.*)$/m;
	return $self;
}

1;
