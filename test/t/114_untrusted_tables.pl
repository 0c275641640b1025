# 114_untrusted_tables.pl
#     Where the tables of recalls are missing, a role that may create in the
#     schema puts code of its own under their names: a view, or a table with a
#     policy.  Nothing that reads recalls runs it.

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';

use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $api = start_api();
my $node = new_node('main', api => $api);

# What the roles became, and who ran what.
sub prey
{
	return $node->sql('SELECT rolname FROM pg_roles WHERE rolname = \'mallory\' AND rolsuper; SELECT DISTINCT by FROM prey');
}

my %columns = map { /^(\w+) (.*?)( NOT NULL.*| PRIMARY KEY)?,?$/ ? ($1 => $2) : () }
  $node->sql(q{SELECT setup FROM rappel_conso.stream}) =~ /^      (\w+ (?:text|timestamptz|date|integer|bigint)\S*.*)$/mg;
my @view = map { "NULL::$columns{$_} AS $_" } grep { $_ ne 'reference_fiche' } sort keys %columns;

$node->sql(q{
	CREATE ROLE mallory; CREATE ROLE victim;
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE TABLE prey (by text); GRANT INSERT ON prey TO PUBLIC;
	GRANT EXECUTE ON FUNCTION rc_search(text), rc_recalls_at(timestamptz), rc_search_index() TO victim;
	GRANT pg_monitor TO victim;
	SET ROLE mallory;
	CREATE FUNCTION bite() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO public.prey VALUES (current_user);
	  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE mallory SUPERUSER; END IF;
	  RETURN 'x';
	END $$;
	CREATE FUNCTION bite_all() RETURNS boolean LANGUAGE sql AS 'SELECT public.bite() IS NOT NULL'});

sub put_views
{
	$node->sql('SET ROLE mallory; ' . join('; ', map {
		"CREATE VIEW $_ AS SELECT public.bite() AS reference_fiche, " . join(', ', @view, "NULL::tsvector AS mots", "now() AS valid_from", "now() AS valid_to")
		  . "; GRANT SELECT ON $_ TO PUBLIC" } @_));
	return;
}

sub put_tables
{
	$node->sql('SET ROLE mallory; ' . join('; ', map {
		"CREATE TABLE $_ (reference_fiche text, " . join(', ', map { "$_ $columns{$_}" } grep { $_ ne 'reference_fiche' } sort keys %columns)
		  . ", mots tsvector, valid_from timestamptz, valid_to timestamptz); INSERT INTO $_ (reference_fiche) VALUES ('x'); "
		  . "ALTER TABLE $_ ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON $_ USING (public.bite_all()); GRANT SELECT ON $_ TO PUBLIC" } @_));
	return;
}

my %calls = (
	search => q{SELECT * FROM rc_search('x')},
	past => q{SELECT * FROM rc_recalls_at(now())},
	'index' => q{SELECT rc_search_index()});

sub check
{
	my ($what, $role, $sqlstate) = @_;

	foreach my $call (sort keys %calls)
	{
		my $error = $node->outcome_of("SET ROLE $role; $calls{$call}");
		my ($message) = $error =~ /^\w+: (.*?);/;

		like($error, qr/^$sqlstate: .*"rappel_conso_table"/, "$what: $call, called by $role");
		$message =~ s/"/&quot;/g;
		like($node->sql("SET ROLE $role; SELECT rc_report()"),
			qr{<section id="recalls"><h2>[^<]*</h2><p class="error">[^<]*\Q$message\E[^<]*</p></section>}, "$what: report, called by $role");
	}
	is(prey(), '', "$what: nothing of it was run for $role");
	return;
}

# A view as it is found before the first run; its columns are what is read.
is($node->sql(q{SELECT rc_own_table('rappel_conso_table') IS NULL, rc_own_table('rappel_conso_history') IS NULL}), 't|t', 'nothing is there');
unlike($node->sql('SELECT rc_report()'), qr/<section id="recalls">/, 'the page has no charts then');
my $boss = $node->sql('SELECT current_user');
put_views('rappel_conso_table');
check('a view', $_, '42809') foreach $boss, 'victim';
$node->sql('DROP VIEW rappel_conso_table');

put_tables('rappel_conso_table');
check('a table', $_, '42501')
  foreach $boss, 'victim';
is($node->sql("SET ROLE victim; SELECT count(*) FROM rappel_conso_table; RESET ROLE; SELECT * FROM prey"), "1\nvictim", 'while it does run where it is read');
$node->sql('DROP TABLE rappel_conso_table; TRUNCATE prey');

# The table is ours, its history is not.
like($node->sql('SELECT rc_sync_now()'), qr/success/, 'a first run');
$node->sql('GRANT SELECT ON rappel_conso_table TO victim; DROP TABLE rappel_conso_history');
put_views('rappel_conso_history');
foreach my $role ($boss, 'victim')
{
	like($node->outcome_of("SET ROLE $role; $calls{past}"),
		qr/^42809: .*"rappel_conso_history"/,
		"a view for the history, read by $role");
}
$node->sql('DROP VIEW rappel_conso_history');
put_tables('rappel_conso_history');
foreach my $role ($boss, 'victim')
{
	like($node->outcome_of("SET ROLE $role; $calls{past}"),
		qr/^42501: (?=.*"rappel_conso_history").*"mallory"/,
		"a table for the history, read by $role");
}
is(prey(), '', 'nothing of it was run');
like($node->sql(q{SET ROLE victim; SELECT count(*) > 0 FROM rc_report() r WHERE r ~ '<figure>.*<figure>'}), qr/^t$/, 'the charts need the table only');
is($node->outcome_of(q{SET ROLE mallory; SELECT rc_own_table('rappel_conso_table')}), '42501: permission denied for function rc_own_table', 'not everybody may ask whose they are');
like($node->outcome_of(q{SELECT rc_own_table('rappel_conso_history')}), qr/^42501: (?=.*"rappel_conso_history").*"mallory"/, 'who may is told');
is($node->outcome_of(q{SELECT rc_own_table('rappel_conso_table') = 'rappel_conso_table'::regclass}), 't', 'what is ours');

# A stream of another role, and its table.
$node->sql(q{
	DROP TABLE rappel_conso_history, rappel_conso_table;
	DROP FUNCTION rappel_conso_keep_history();
	CREATE ROLE keeper LOGIN; GRANT CREATE ON SCHEMA public TO keeper;
	INSERT INTO rappel_conso.topic_grant VALUES ('keeper', '*', true, true);
	GRANT USAGE ON SCHEMA rappel_conso TO keeper; GRANT USAGE ON TYPE rappel_conso.recall, rappel_conso.reference_fiche TO keeper;
	UPDATE rappel_conso.stream SET owner = 'keeper' WHERE name = 'rappel_conso';
	UPDATE rappel_conso.source SET owner = 'keeper' WHERE name = 'rappel_conso'});
like($node->sql('SELECT rc_sync_now()'), qr/success/, 'a run of another owner');
$node->sql('GRANT SELECT ON rappel_conso_table, rappel_conso_history TO victim; SELECT rc_search_index()');
is($node->sql(q{SET ROLE victim; SELECT count(*) > 0 FROM rc_search('alimentation')}), 't', 'rc_search() reads what is his');
is($node->sql(q{SET ROLE victim; SELECT count(*) > 0 FROM rc_recalls_at('infinity')}), 't', 'so does rc_recalls_at()');
like($node->sql('SET ROLE victim; SELECT rc_report()'), qr/<figure>.*<figure>/s, 'and rc_report()');

# Whatever that owner puts into the table, and whoever has locked it: there is a
# page, and what is not in it is told.
sub page_whatever
{
	my ($role) = @_;

	return $node->outcome_of("SET ROLE $role; SET statement_timeout = '60s'; SELECT rc_report()");
}
my $whole = qr{<section id="recalls"><h2>[^<]*</h2><figure>.*<figure>.*<section id="dead">}s;
$node->sql(q{SET ROLE keeper; CREATE FUNCTION trap() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;
	CREATE INDEX ON rappel_conso_table (date_de_publication) WHERE trap();
	CREATE INDEX ON rappel_conso_table (categorie_de_produit, (trap()));
	CREATE STATISTICS trapped ON (trap()), date_de_publication FROM rappel_conso_table;
	ALTER TABLE rappel_conso_table ADD CHECK (trap()); ANALYZE rappel_conso_table});
my %traps = (
	query_canceled => q{RAISE 'gotcha' USING ERRCODE = 'query_canceled'},
	assert_failure => q{ASSERT false, 'gotcha'},
	admin_shutdown => q{RAISE 'gotcha' USING ERRCODE = 'admin_shutdown'},
	sleep => 'PERFORM pg_sleep(1e6)',
	loop => 'LOOP BEGIN PERFORM pg_sleep(1e6); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP');
foreach my $trap (sort keys %traps)
{
	$node->sql("SET ROLE keeper; CREATE OR REPLACE FUNCTION trap() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN $traps{$trap}; RETURN true; END \$\$");
	like(page_whatever($_), $whole, "D10: an index with $trap does not keep the page from $_") foreach $boss, 'victim';
	next if $trap eq 'loop';
	my $timeout = $trap eq 'sleep' ? '1s' : '60s';
	like($node->outcome_of("SET ROLE $_; SET statement_timeout = '$timeout'; $calls{search}"), $trap eq 'sleep' ? qr/^57014: / : qr/^38000: gotcha/,
		"D10: what $trap says is no cancel of ${_}'s, and a cancel is one") foreach $boss, 'victim';
}
$node->sql('SET ROLE keeper; DROP FUNCTION trap() CASCADE');
my $lock = $node->background_psql('postgres', on_error_die => 1);
$lock->query('SET ROLE keeper; BEGIN; LOCK TABLE rappel_conso_table');
like(page_whatever($_), qr{<p class="error">.*lock timeout.*<section id="dead">}s, "R7: nor does his lock from $_") foreach $boss, 'victim';
$lock->query('ROLLBACK');
$lock->quit;
# the caller's own cancel is one
$node->sql(q{SELECT count(*) FROM pg_class});
like($node->outcome_of(q{SET statement_timeout = 1; SELECT count(rc_report()) FROM generate_series(1, 10000)}), qr/^57014/, 'the caller can cancel it');

$node->sql('ALTER TABLE rappel_conso_table ENABLE ROW LEVEL SECURITY');
like(page_whatever('victim'), qr{<p class="error">.*&quot;rappel_conso_table&quot;.*&quot;victim&quot;}, 'nor are policies passed by');
like(page_whatever($boss), $whole, 'which a superuser is not bound by');
$node->sql('ALTER TABLE rappel_conso_table DISABLE ROW LEVEL SECURITY');
# children count, as in a query, and so do rows of before a column
my $count = qr{of (\d+)</figcaption>};
my ($before) = page_whatever($boss) =~ $count;
$node->sql(q{SET ROLE keeper; CREATE TABLE rest (junk int, LIKE rappel_conso_table INCLUDING ALL); ALTER TABLE rest DROP COLUMN junk, INHERIT rappel_conso_table;
	INSERT INTO rest (reference_fiche, categorie_de_produit) VALUES ('c1', 'a category of the child'), ('c2', repeat('x', 1000000))});
my ($after) = page_whatever($boss) =~ $count;
is($after, $before + 2, 'children of the table count');
$node->sql('SET ROLE keeper; ALTER TABLE rappel_conso_table RENAME categorie_de_produit TO categorie');
like(page_whatever('victim'), qr{<section id="recalls"><h2>[^<]*</h2><p class="error">.*categorie_de_produit}, 'a column that is gone is told');
$node->sql('SET ROLE keeper; ALTER TABLE rappel_conso_table RENAME categorie TO categorie_de_produit; DROP TABLE rest');

$node->sql(q{UPDATE rappel_conso.stream SET owner = current_user WHERE name = 'rappel_conso'});
like($node->outcome_of($calls{search}), qr/^42501: (?=.*"rappel_conso_table").*"keeper"/, 'until the stream is no longer his');

done_testing();
