# RappelConso/Node.pm
#     A server as new_node() makes it: a PostgreSQL::Test::Cluster, and what tests
#     ask of streams and runs in its database "postgres".
#
# It must not sleep: what is waited for is a state.

package RappelConso::Node;

use strict;
use warnings FATAL => 'all';

use parent -norequire, 'PostgreSQL::Test::Cluster';
use PostgreSQL::Test::Cluster;
use Test::More;

# Wait until a query gives "t", or what is expected.
sub wait_for
{
	my ($self, $what, $sql, $expected) = @_;

	$self->poll_query_until('postgres', $sql, $expected // 't')
	  or die "waited for $what";
	return;
}

# The test that an expression of SQL becomes true.
sub becomes_true
{
	my ($self, $expression, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok($self->poll_query_until('postgres', "SELECT ($expression)"),
		$name);
}

# Wait until a stream has applied so much of its topics.
sub wait_applied
{
	my ($self, $stream, $offset) = @_;

	$self->wait_for("$stream to come to offset $offset", qq{
		SELECT sum(next_offset) = $offset FROM rappel_conso.stream_offset
		WHERE stream = '$stream'});
	return;
}

# Store a stream.  Columns are SQL; without topics it reads one of its name.
sub add_stream
{
	my ($self, $name, %columns) = @_;
	my @names;

	%columns = (topics => "'{$name}'", %columns, name => "'$name'");
	@names = sort keys %columns;
	$self->safe_psql('postgres',
		    'INSERT INTO rappel_conso.stream ('
		  . join(', ', @names)
		  . ') VALUES ('
		  . join(', ', @columns{@names})
		  . ')');
	return;
}

# Forget what was read: a run finds the table and its own state empty.
sub forget_runs
{
	my ($self) = @_;

	$self->safe_psql(
		'postgres', q{
		DELETE FROM rappel_conso.source_state;
		DELETE FROM rappel_conso.dead_letter;
		DELETE FROM rappel_conso.run;
		TRUNCATE rappel_conso_table});
	return;
}

# The newest run, as the counters of its row.
sub newest_counters
{
	my ($self) = @_;

	return $self->safe_psql(
		'postgres', q{
		SELECT r.state, t.state, t.attempt, r.fetched, r.inserted, r.updated, r.unchanged, r.dead
		  FROM rappel_conso.run r JOIN rappel_conso.task t ON t.run = r.id ORDER BY r.id DESC LIMIT 1});
}

# Columns of a run's row.
sub run_row
{
	my ($self, $run, $columns) = @_;

	return $self->safe_psql('postgres',
		"SELECT $columns FROM rappel_conso.run WHERE id = $run");
}

# What statements say at a level: SQLSTATE, message, detail and hint.
sub said
{
	my ($self, $sql, $level) = @_;
	my ($status, $out, $err) =
	  $self->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	return join('; ',
		$err =~ /^(?:psql:\S+ )?(?:$level|DETAIL|HINT):  (.*)$/mg);
}

# The error of statements: SQLSTATE, message, detail and hint.
sub failure
{
	my ($self, $sql) = @_;

	return $self->said($sql, 'ERROR');
}

1;
