# RappelConso/Api.pm
#     The stand-in for the Explore API, test/servers/explore_api.py.
#
# It must end when the test does.

package RappelConso::Api;

use strict;
use warnings FATAL => 'all';

use HTTP::Tiny ();
use IPC::Open2 ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;

sub start
{
	my ($class, $datasets, $options) = @_;
	my $self = bless {}, $class;
	my $python = $ENV{PYTHON} || 'python3';
	my $port;

	# The pipe to it is what keeps it alive: it ends when we do.
	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	$self->{pid} = IPC::Open2::open2(
		$self->{out}, $self->{in},
		$python, "$RappelConso::top/test/servers/explore_api.py",
		'--stdin-eof',
		(map { ('--dataset', "$_=$datasets->{$_}") } sort keys %$datasets),
		@$options);
	$port = readline($self->{out}) // '';
	($self->{port}, my $others) = $port =~ /^PORT (\d+)((?: \d+)*)$/
	  or BAIL_OUT('could not start the stand-in of the API');
	$self->{others} = [ split(' ', $others) ];
	$self->{http} = HTTP::Tiny->new(
		timeout => $PostgreSQL::Test::Utils::timeout_default,
		no_proxy => ['127.0.0.1']);
	return $self;
}

sub port { return $_[0]->{port}; }

# The ports of the addresses that were given as --listen.
sub other_ports { return @{ $_[0]->{others} }; }

sub host_url { return 'http://127.0.0.1:' . $_[0]->{port}; }

# The base URL, for rappel_conso.source.url.
sub url { return $_[0]->host_url . '/api/explore/v2.1'; }

sub answer
{
	my ($self, $response) = @_;
	my $content = eval { $json->decode($response->{content}) };

	die "stand-in of the API: $response->{status} $response->{content}"
	  unless $response->{success};
	return $content;
}

# Steer it: control(fault => {..}, release => JSON::PP::true, ..); see the head
# of explore_api.py.  Dies when it refuses.
sub control
{
	my ($self, %order) = @_;

	return $self->answer(
		$self->{http}->post(
			$self->host_url . '/_control',
			{ content => $json->encode(\%order) }));
}

# One more fault: fault('status', on => 'export', status => 503, times => 2).
sub fault
{
	my ($self, $kind, %args) = @_;

	return $self->control(fault => { fault => $kind, %args });
}

sub release { return $_[0]->control(release => $JSON::PP::true); }

# Wait until a fault holds so many requests.
sub wait_held
{
	my ($self, $count) = @_;
	my $answer = $self->control(
		wait_held => {
			count => $count // 1,
			timeout => $PostgreSQL::Test::Utils::timeout_default - 5
		});

	die 'no request was held' unless $answer->{ok};
	return;
}

# The requests so far, as a list of hashes.
sub log
{
	my ($self) = @_;

	return @{ $self->answer(
			$self->{http}->get($self->host_url . '/_control/log')) };
}

sub clear_log { return $_[0]->control(clear_log => $JSON::PP::true); }

# Serve these records as a dataset, without a fault, and forget what was asked.
sub serve
{
	my ($self, $dataset, $records) = @_;

	return $self->control(
		faults => [],
		release => $JSON::PP::true,
		replace => { dataset => $dataset, records => $records },
		lie => { dataset => $dataset, total_count => undef },
		clear_log => $JSON::PP::true);
}

# Change a dataset, DATASET by default: records that come, those that vanish or
# get other values (where: an expression of ODSQL, or a list of fiches), or a new
# time of modification alone.
sub append
{
	my ($self, $records, $dataset) = @_;

	return $self->control(append =>
		  { dataset => $dataset // RappelConso::DATASET(), records => $records });
}

sub vanish
{
	my ($self, $where, $dataset) = @_;

	return $self->control(
		delete => {
			dataset => $dataset // RappelConso::DATASET(),
			where => _where($where)
		});
}

sub update
{
	my ($self, $where, $set, $dataset) = @_;

	return $self->control(
		update => {
			dataset => $dataset // RappelConso::DATASET(),
			where => _where($where),
			set => $set
		});
}

sub touch
{
	my ($self, $dataset) = @_;

	return $self->control(touch => $dataset // RappelConso::DATASET());
}

sub _where
{
	my ($where) = @_;

	return $where unless ref $where;
	return join(' or ', map { "numero_fiche = '$_'" } @$where);
}

# The kinds of the requests so far, in a line.
sub requests { return join(' ', map { $_->{kind} } $_[0]->log); }

sub state
{
	my ($self) = @_;

	return $self->answer(
		$self->{http}->get($self->host_url . '/_control/state'));
}

sub stop
{
	my ($self) = @_;

	return unless defined $self->{pid};
	local $?;
	close($self->{in});
	waitpid(delete $self->{pid}, 0);
	return;
}

sub DESTROY { return $_[0]->stop; }

1;
