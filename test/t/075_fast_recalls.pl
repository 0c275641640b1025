# 075_fast_recalls.pl
#     Recalls by the short ways of direct mode and without them: the same rows,
#     dead letters, counts of runs and remembered records.
#
# Recalls are those of the samples of V1 and V2, with values that a seeded
# generator changes.  RAPPEL_CONSO_SEED says which.

use strict;
use warnings FATAL => 'all';
use utf8;

use lib 'test/lib';
use Encode ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use RappelConso::Random;
use Test::More;

my $seed = $ENV{RAPPEL_CONSO_SEED} // 14;
my $api = start_api();
my $data = 'changed';
my $node = new_node('main', api => $api, source => { dataset => "'$data'" }, conf => "max_worker_processes = 20\nautovacuum = off\n");
my $all = $node->sql(q{LOAD 'rappel_conso'; SHOW rappel_conso.fast_paths});

# ---- the recalls ----

my $json = JSON::PP->new->canonical->allow_nonref;
my ($v2, $v1) = map { [ map { $json->decode($_) } split(/\n/, Encode::decode('UTF-8', slurp_file(sample_file($_)))) ] } 'recalls.jsonl', 'recalls_v1.jsonl';

my @texts = ('', ' ', 'plain', 'été à la plage', "œuvre – 5 € l’unité", 'a|b|c', "one¤two¤¤", "line\r\nbreak\rhere\n", "\x{200b}", "\x{a0}", "\x{2028}|",
	'漢字', "\x{1F600} smile", 'tab	quote" back\\slash', "\x{7f}", '3760091724582$lot 12$date limite de consommation$2026-01-01$|12345670', 'x' x 5000);
my @dates = ('2026-03-05', '2026-03-05T08:02:00+00:00', '2026-03-05T08:02:00.123456789Z', '2026-03-05 23:30:00-02:00', 'mercredi 29 septembre 2021', '1er août 2021', '29/09/2021',
	'Du 19/03/2020 au 29/07/2021', 'Depuis le 19/03/2020', "Jusqu’au 29/07/2021", '2026-02-30', '2026-13-01T00:00:00Z', 'today', 'infinity', '0001-01-01', '9999-12-31T23:59:59-10:00', '2323-01-01');
my @others = ('null', 'true', '0', '-1', '01x', '12', '1.5', '1e3', '123456789012', '12345678901234567890', '9' x 80, '[]', '{}', '[1, 2]', '[["a"]]', '{"a": 1}', '"00012"', '"1234567890123456789"',
	'["a", null, "", "b|c"]', '["\u200b", "x"]', '["3760091724582", "|12345670"]');

# Mostly nothing; an export has a record on each line.
sub blank { return chance(0.9) ? '' : pick(' ', "\t", "  \r"); }

sub changed_value
{
	return pick(@others) if chance(0.4);
	return string_text(chance(0.4) ? pick(@dates) : pick(@texts) . (chance(0.3) ? pick(@texts) : ''));
}

# A line of the export: mostly as the API gives it, else with other values.
sub line_of
{
	my ($recall, $change) = @_;
	my @members = map { [ $_, $json->encode($recall->{$_}) ] } sort keys %$recall;
	my $key = exists $recall->{numero_fiche} ? 'numero_fiche' : 'reference_fiche';

	return Encode::encode('UTF-8', $json->encode($recall)) unless $change;
	foreach my $member (@members)
	{
		next if $member->[0] eq $key;
		$member->[1] = changed_value() if chance(0.15);
		$member->[1] = string_text($recall->{ $member->[0] }) if chance(0.1) && defined $recall->{ $member->[0] } && !ref $recall->{ $member->[0] };
	}
	@members = grep { $_->[0] eq $key || !chance(0.03) } @members;
	push @members, [ pick(@members)->[0], changed_value() ] if chance(0.1);
	@members = grep { $_->[0] ne $key } @members if chance(0.01);
	return Encode::encode('UTF-8',
		'{' . join(',', map { blank() . string_text($_->[0]) . blank() . ':' . blank() . $_->[1] } @members) . (chance(0.01) ? '' : '}'));
}

# A sample, of which a part is changed; some fiches are there twice.
sub lines
{
	my ($sample, $share) = @_;
	my @lines;

	foreach my $recall (@$sample)
	{
		push @lines, line_of($recall, chance($share));
		push @lines, line_of({ %$recall, numero_version => 1 + int(rand(3)) }, chance($share)) if chance(0.02);
	}
	return @lines;
}

srand($seed);
my @first = map { line_of($_, 0) } @$v2;
my @second = lines($v2, 0.5);
my @third = lines($v2, 0.1);
my @old = (lines($v1, 0.5), lines($v1, 0.9));

# ---- what they leave ----

sub use_fast_paths
{
	my ($paths) = @_;

	$node->sql("LOAD 'rappel_conso'; ALTER SYSTEM SET rappel_conso.fast_paths = '$paths'");
	$node->sql('SELECT pg_reload_conf()');
	$node->wait_for('the fast paths', "SELECT current_setting('rappel_conso.fast_paths', true) = '$paths'");
	return;
}

sub state_of
{
	my ($hashes) = @_;

	return Encode::decode('UTF-8', $node->sql(qq{
		SELECT to_jsonb(t) - 'first_seen_at' - 'updated_at' - 'withdrawn_at', withdrawn_at IS NULL FROM rappel_conso_table t ORDER BY reference_fiche COLLATE "C";
		SELECT origin, name, topic, partition, record_offset, key, value, convert_from(value, 'UTF8'), headers IS NULL, sqlstate, message, detail, context FROM rappel_conso.dead_letter ORDER BY id;
		SELECT state, fetched, published, inserted, updated, unchanged, dead, withdrawn FROM rappel_conso.run ORDER BY id;
		SELECT source, key, version, hash IS NULL, missed_at IS NULL, } . ($hashes ? 'hash' : 'NULL') . q{ FROM rappel_conso.source_record ORDER BY source, key;
		SELECT source, cursor_value, next_offset, complete, records_count FROM rappel_conso.source_state ORDER BY source;
		SELECT n, value FROM line ORDER BY n}));
}

# Sync these datasets from the beginning; returns the state after each.
sub sync_all
{
	my ($paths, $hashes, @datasets) = @_;
	my @states;

	use_fast_paths($paths);
	$node->sql(q{
		DROP TABLE IF EXISTS rappel_conso_table, rappel_conso_history, line;
		DELETE FROM rappel_conso.source_state;
		DELETE FROM rappel_conso.dead_letter;
		TRUNCATE rappel_conso.run CASCADE;
		CREATE TABLE line (n bigint, value text)});
	foreach my $lines (@datasets)
	{
		$api->control(replace => { dataset => $data, records => [ map { Encode::decode('UTF-8', $_) } @$lines ] });
		$node->attempt("SELECT FROM rc_sync_now('$_', full_sync => true)") foreach 'rappel_conso', 'lines';
		push @states, state_of($hashes);
	}
	return \@states;
}

$node->sql(qq{
	CREATE TABLE line (n bigint, value text);
	UPDATE rappel_conso.stream SET batch_size = 150, stop_after = 100000 WHERE name = 'rappel_conso';
	INSERT INTO rappel_conso.stream (name, topics, value_type, statement, stop_after) VALUES ('lines', '{lines}', 'text', 'INSERT INTO line SELECT record_offset, value FROM records', 100000);
	UPDATE rappel_conso.source SET retries = 0 WHERE name = 'rappel_conso';
	INSERT INTO rappel_conso.source (name, url, dataset, key_field, transform, stream, retries)
	SELECT 'lines', url, dataset, key_field, transform, 'lines', 0 FROM rappel_conso.source});

sub is_same
{
	my ($name, $ours, $theirs) = @_;

	foreach my $sync (0 .. $#$theirs)
	{
		my @ours = split(/\n/, $ours->[$sync]);
		my @theirs = split(/\n/, $theirs->[$sync]);
		my ($at) = grep { ($ours[$_] // '') ne ($theirs[$_] // '') } 0 .. ($#ours > $#theirs ? $#ours : $#theirs);

		ok(!defined $at, "$name: the same after sync " . ($sync + 1) . ', of ' . scalar(@theirs) . ' lines')
		  or diag("ours:   " . ($ours[$at] // 'nothing') . "\ntheirs: " . ($theirs[$at] // 'nothing'));
	}
	return;
}

my @datasets = (\@first, \@second, \@third, \@third);
my $slow = sync_all('', 0, @datasets);
is_same('all short ways', sync_all($all, 0, @datasets), $slow);
ok($slow->[0] =~ /^success\|300\|0\|300\|0\|0\|0\|0$/m, 'recalls as the API gives them are all stored');
cmp_ok(scalar(() = $slow->[1] =~ /^stream\|rappel_conso\|/mg), '>', 40, 'changed ones are dead letters of the stream');
cmp_ok(scalar(() = $slow->[1] =~ /^source\|rappel_conso\|/mg), '>', 3, 'and of the source');
@datasets = (\@second, \@third);
$slow = sync_all('', 1, @datasets);
is_same('what is remembered', sync_all($all =~ s/, fields//r, 1, @datasets), $slow);

sub is_read_by
{
	my ($key, $cursor) = @_;

	return $node->sql("UPDATE rappel_conso.source SET key_field = '$key', cursor_field = '$cursor'");
}

is_read_by('reference_fiche', 'date_de_publication');
@datasets = (\@old, \@old);
$slow = sync_all('', 0, @datasets);
is_same('recalls of V1', sync_all($all, 0, @datasets), $slow);
is_read_by('numero_fiche', 'date_publication');

# ---- a plain INSERT, where it does the same ----

$node->sql('CREATE EXTENSION pg_walinspect') if $node->sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_walinspect'});

# Sync the sample into an empty table that this was done to; returns the counts,
# and whether rows were inserted by many.
sub sync_into
{
	my ($sql) = @_;
	my $from;
	my $many = 'unknown';

	$node->sql(q{
		DELETE FROM rappel_conso.source_state;
		TRUNCATE rappel_conso_table});
	$node->sql($sql);
	$api->control(replace => { dataset => $data, records => [ map { Encode::decode('UTF-8', $_) } @first ] });
	$from = $node->sql('SELECT pg_current_wal_insert_lsn()');
	$node->sql('SELECT FROM rc_sync_now()');
	$node->sql('SELECT pg_switch_wal()');
	$many = $node->sql(qq{
		SELECT CASE WHEN count(*) > 0 THEN 'many' ELSE 'one' END FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())
		WHERE resource_manager = 'Heap2' AND record_type ~ 'MULTI_INSERT' AND block_ref ~ ('/' || pg_relation_filenode('rappel_conso_table') || ' ')})
	  if $node->sql(q{SELECT count(*) FROM pg_extension WHERE extname = 'pg_walinspect'});
	return ($node->newest_counters, $many);
}

sub is_inserted
{
	my ($by, $name, $sql) = @_;
	my ($counters, $many) = sync_into($sql);

	is($counters, 'success|success|1|300|300|0|0|0', "$name: all are inserted");
	is($many, $by, "$name: by $by") if $many ne 'unknown';
	return;
}

use_fast_paths($all);
is_inserted('many', 'the table as it is made', '');
is_inserted('many', 'with a trigger on what is remembered', q{
	CREATE TABLE remembered (key bytea);
	CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN INSERT INTO public.remembered VALUES (NEW.key); RETURN NULL; END $$;
	CREATE TRIGGER remember AFTER INSERT ON rappel_conso.source_record FOR EACH ROW EXECUTE FUNCTION remember()});
is($node->sql('SELECT count(DISTINCT key) || \' \' || count(*) FROM remembered; DROP TRIGGER remember ON rappel_conso.source_record'), '300 300', 'which fires for each record');
is_inserted('one', 'with a trigger for UPDATE', q{
	CREATE TABLE fired (what text);
	CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (TG_OP); RETURN NULL; END $$;
	CREATE TRIGGER fire AFTER UPDATE ON rappel_conso_table EXECUTE FUNCTION fire()});
cmp_ok($node->sql('SELECT count(*) FROM fired'), '>', 0, 'which fires as for the whole statement');
is_inserted('one', 'with policies', 'DROP TRIGGER fire ON rappel_conso_table; ALTER TABLE rappel_conso_table ENABLE ROW LEVEL SECURITY');
is_inserted('one', 'with another statement', q{
	ALTER TABLE rappel_conso_table DISABLE ROW LEVEL SECURITY;
	UPDATE rappel_conso.stream SET statement = statement || ' ' WHERE name = 'rappel_conso'});
is_inserted('many', 'with its own again', q{
	UPDATE rappel_conso.stream SET statement = rtrim(statement, ' ') WHERE name = 'rappel_conso'});
use_fast_paths('rows, inserts, fields');
is_inserted('one', 'without the setting', '');

# ---- a row that another session inserts at the same time ----

use_fast_paths($all);
{
	my ($key) = $node->sql('SELECT max(reference_fiche) FROM rappel_conso_table');
	my $other = $node->start_session('SELECT');
	my $sync;

	$node->sql('DELETE FROM rappel_conso.source_state; TRUNCATE rappel_conso_table');
	$other->ask("BEGIN; INSERT INTO rappel_conso_table (reference_fiche) VALUES ('$key')");
	$sync = $node->start_session('SELECT FROM rc_sync_now()');
	$node->wait_for('a worker that waits for the row',
		q{SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND pid = rappel_conso.worker_pid('run', 'rappel_conso'))});
	$other->ask('COMMIT');
	$_->finish foreach $sync, $other;
	is($node->newest_counters, 'success|success|1|300|299|1|0|0', 'a row that has just been inserted is updated');
}

$node->stop;
done_testing();
