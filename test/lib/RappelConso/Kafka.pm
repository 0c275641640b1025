# RappelConso/Kafka.pm
#     A cluster of test/servers/kafka, and its tools.
#
# It must end when the test does, however that ends.

package RappelConso::Kafka;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my @running;

sub start
{
	my ($class, %args) = @_;
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir('kafka') },
	  $class;
	my %properties = %{ $args{properties} // {} };
	my %listeners = %{ $args{listeners} // {} };

	push @running, $self;
	$self->script(
		'start', $self->{dir},
		'--brokers', $args{brokers} // 1,
		(map { "--$_" } grep { $args{$_} } qw(plain scram tls mtls acls)),
		(defined $args{keys} ? ('--keys', $args{keys}) : ()),
		(map { ('--listener', "$_=$listeners{$_}") } sort keys %listeners),
		(map { ('--property', "$_=$properties{$_}") } sort keys %properties));
	return $self;
}

sub script
{
	my ($self, @command) = @_;
	my ($out, $err) = ('', '');

	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	IPC::Run::run([ "$RappelConso::top/test/servers/kafka", @command ],
		'<', \undef, '>', \$out, '2>', \$err)
	  or die "test/servers/kafka $command[0] failed:\n$out$err";
	return $out;
}

sub slurp
{
	my ($self, $name) = @_;
	my $text = PostgreSQL::Test::Utils::slurp_file("$self->{dir}/$name");

	chomp $text;
	return $text;
}

# The bootstrap list, for rappel_conso.kafka_brokers: by the listener for
# clients, or by another one.
sub brokers
{
	my ($self, $listener) = @_;

	return $self->slurp(defined $listener ? "brokers.$listener" : 'brokers');
}

# The same by listeners that never ask for a password.
sub open_brokers { return $_[0]->slurp('brokers.open'); }

# A librdkafka configuration that comes in by the listener for clients, or by
# another one.
sub config_file
{
	my ($self, $listener) = @_;

	return "$self->{dir}/client"
	  . (defined $listener ? ".$listener" : '') . '.properties';
}

# The same as a hash.
sub config
{
	my ($self, $listener) = @_;
	my $text =
	  PostgreSQL::Test::Utils::slurp_file($self->config_file($listener));

	return { $text =~ /^([^=\n]+)=(.*)$/mg };
}

# Write a configuration as whoever renews a secret does: by rename.
sub write_config
{
	my ($self, $path, $config) = @_;

	PostgreSQL::Test::Utils::append_to_file("$path.new",
		join('', map { "$_=$config->{$_}\n" } sort keys %$config));
	chmod(0600, "$path.new") or die "$path.new: $!";
	rename("$path.new", $path) or die "$path: $!";
	return $path;
}

# Give and take rights: acl('add', 'app', 'read,write', 'topic', 't').
sub acl { my $self = shift; return $self->script('acl', $self->{dir}, @_); }

# What a user logs in with, and another password for him.
sub password { return $_[0]->slurp("password.$_[1]"); }

sub change_password
{
	my ($self, $user, $password) = @_;

	return $self->script('password', $self->{dir}, $user, $password);
}

# Make a certificate, or renew it: certificate('app', expired => 1, ca =>
# 'stranger', cn => 'app', host => '127.0.0.1', passphrase => '..').  Returns
# the paths of certificate and key.
sub certificate
{
	my ($self, $name, %args) = @_;
	my @options = delete $args{expired} ? ('--expired') : ();

	$self->script('certificate', $self->{dir}, $name, @options,
		map { ("--$_", $args{$_}) } sort keys %args);
	return map { "$self->{dir}/tls/$name.$_" } ('pem', 'key');
}

# kill -9 of a broker, and its return on the same port and data.
sub kill { return $_[0]->script('kill', $_[0]->{dir}, $_[1]); }

sub restart { return $_[0]->script('restart', $_[0]->{dir}, $_[1]); }

# A broker that accepts connections and says nothing, until it is resumed.
sub hang { return $_[0]->script('hang', $_[0]->{dir}, $_[1]); }

sub resume { return $_[0]->script('resume', $_[0]->{dir}, $_[1]); }

sub log { return $_[0]->slurp("broker-$_[1].log"); }

# create_topic(name, partitions => 1, replication => n, config => {..})
sub create_topic
{
	my ($self, $name, %args) = @_;
	my %config = %{ $args{config} // {} };

	$self->script(
		'topic', $self->{dir}, $name,
		'--partitions', $args{partitions} // 1,
		(defined $args{replication} ? ('--replication', $args{replication}) : ()),
		(map { ('--config', "$_=$config{$_}") } sort keys %config));
	return;
}

# More partitions for a topic, topics that go, and records that are deleted before
# an offset of a partition.
sub enlarge_topic
{
	my ($self, $topic, $partitions) = @_;

	return $self->script('enlarge', $self->{dir}, $topic, $partitions);
}

sub delete_topics
{
	my ($self, @topics) = @_;

	return $self->script('delete', $self->{dir}, @topics);
}

sub trim_topic
{
	my ($self, $topic, $partition, $offset) = @_;

	return $self->script('trim', $self->{dir}, $topic, $partition, $offset);
}

# One of Kafka's own tools, each a JVM: tool('ConsumerGroupCommand', '--list').
sub tool
{
	my ($self, @arguments) = @_;

	return $self->script('tool', $self->{dir}, @arguments);
}

sub kcat
{
	my ($self, $input, @options) = @_;
	my ($out, $err) = ('', '');

	# A topic that the broker makes for us is asked for again soon, not after
	# a second.
	IPC::Run::run(
		[
			'kcat', '-b', $self->open_brokers, '-q',
			'-X', 'topic.metadata.refresh.interval.ms=100', @options
		],
		'<', \$input, '>', \$out, '2>', \$err)
	  or die "kcat @options failed: $err";
	return $out;
}

# One message; key, value and headers may be undef.  Values are bytes, and hold
# whatever they like.  Headers are [name => value, ..].
sub produce
{
	my ($self, $topic, $key, $value, $headers, @options) = @_;
	my @headers = @{ $headers // [] };
	my $file = "$self->{dir}/message";

	push @options, '-t', $topic;
	while (my ($name, $content) = splice(@headers, 0, 2))
	{
		push @options, '-H', defined $content ? "$name=$content" : $name;
	}

	# kcat sends a file as one message, but not an empty one; those it takes
	# from a line, and with -Z as nulls, keys too.
	if (!defined $value || $value eq '')
	{
		return $self->kcat(($key // '') . "\x1f\n",
			'-P', '-K', '\x1f', (defined $value ? () : '-Z'), @options);
	}
	push @options, '-k', $key if defined $key;
	open(my $handle, '>:raw', $file) or die "$file: $!";
	print $handle $value;
	close($handle);
	return $self->kcat('', '-P', @options, $file);
}

# Many at once: [key, value] pairs, of texts without tabs and line breaks.  They
# stay in order, also where a first batch is refused by a topic that is being
# made, and is sent again.
sub produce_many
{
	my ($self, $topic, $messages, @options) = @_;

	return $self->kcat(join('', map { "$_->[0]\t$_->[1]\n" } @$messages),
		'-P', '-t', $topic, '-K', '\t', '-X', 'max.in.flight=1', @options);
}

# Many in their order: [key, value, headers] as for produce(), of which keys and
# values are texts without line breaks; those that are undef are nulls.
sub produce_in_order
{
	my ($self, $topic, @messages) = @_;
	my @options = ('-P', '-Z', '-K', '\x1f', '-t', $topic, '-X', 'max.in.flight=1');
	my $lines = '';

	foreach my $message (@messages)
	{
		my $line = ($message->[0] // '') . "\x1f" . ($message->[1] // '') . "\n";
		my @headers = @{ $message->[2] // [] };

		$lines .= $line if !@headers;
		next if !@headers && $message != $messages[-1];
		$self->kcat($lines, @options) if $lines ne '';
		$lines = '';
		next if !@headers;
		while (my ($name, $content) = splice(@headers, 0, 2))
		{
			push @options, '-H', "$name=$content";
		}
		$self->kcat($line, @options);
		$#options = 7;
	}
	return;
}

# Records {"n": number}, one for each of the numbers, with a key for each.
sub produce_numbers
{
	my ($self, $topic, $numbers, @options) = @_;

	return $self->produce_many($topic,
		[ map { [ "k$_", qq({"n": $_}) ] } @$numbers ], @options);
}

# So many texts, "value 1" and so on, all of one key.
sub produce_texts
{
	my ($self, $topic, $count) = @_;

	return $self->produce_many($topic,
		[ map { [ 'k', "value $_" ] } 1 .. $count ]);
}

# Values with timestamps: [partition, ms since 1970, value] each, and perhaps how
# many headers "h" it has.
sub produce_at
{
	my ($self, $topic, @messages) = @_;
	my $err = '';

	local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
	IPC::Run::run([ "$RappelConso::top/test/servers/produce_at.py", $self->open_brokers, $topic, map { join(':', @$_[ 0, 1 ], $_->[3] // ()) . "=$_->[2]" } @messages ],
		'<', \undef, '2>', \$err)
	  or die "test/servers/produce_at.py failed:\n$err";
	return;
}

# All messages of a topic, as hashes: key, payload (undef if null), headers (a
# list of names and values), partition, offset, ts.
sub consume
{
	my ($self, $topic, @options) = @_;
	my $out = $self->kcat('', '-C', '-e', '-J', '-o', 'beginning', '-t',
		$topic, @options);

	return map { $json->decode($_) } split(/\n/, $out);
}

# The values of all messages of a topic, one by one as they came, repeats too.
sub payloads
{
	my ($self, $topic) = @_;

	return map { $_->{payload} // 'null' } $self->consume($topic);
}

# {topic => number of partitions}, without Kafka's own.
sub topics
{
	my ($self) = @_;
	my $list = $json->decode($self->kcat('', '-L', '-J'));

	return {
		map { $_->{topic} => scalar(@{ $_->{partitions} }) }
		grep { $_->{topic} !~ /^__/ } @{ $list->{topics} } };
}

sub stop
{
	my ($self, @options) = @_;

	return if $self->{stopped}++;
	local ($?, $@);
	eval { $self->script('stop', $self->{dir}, @options); 1 } or diag($@);
	return;
}

END
{
	$_->stop('--now') foreach @running;
}

1;
