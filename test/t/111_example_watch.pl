# 111_example_watch.pl
#     sql/examples/watch.sql as it is: a recall of what a shop sells is put into
#     the outbox and notified in the commit that brings or changes it; others,
#     and what is read once more, are not.

use strict;
use warnings FATAL => 'all';
use utf8;

use lib 'test/lib';

use JSON::PP ();
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

my $RECORDS = 300;     # of the sample
my $SCRIPT = "$RappelConso::top/sql/examples/watch.sql";

my $api = start_api();
my $node = new_node('main', api => $api);
my $json = JSON::PP->new->utf8;

# A new record at the API, made of the first of the sample: its own columns are
# those given.
open(my $handle, '<:raw', sample_file('recalls.jsonl')) or die "sample: $!";
my $template = $json->decode(scalar readline($handle));
close($handle);
my $number = 0;

sub watched_recall
{
	my (%columns) = @_;

	$number++;
	return {
		%$template,
		numero_fiche => sprintf('2031-01-%04d', $number),
		numero_version => 1,
		id => 900000 + $number,
		rappel_guid => "watch-$number",
		date_publication => '2031-01-02T08:00:00+00:00',
		(map { $_ => undef } 'identification_produits', 'libelle'),
		marque_produit => 'une autre marque',
		modeles_ou_references => 'une chose',
		sous_categorie_produit => 'autres',
		motif_rappel => 'un motif',
		%columns
	};
}

# A sync in a session that listens; returns its notifications, sorted.
sub notified
{
	my ($out) = ('', '');

	$node->psql('postgres', 'LISTEN recall_alerts; SELECT run_id FROM rc_sync_now(); SELECT 1',
		stdout => \$out, on_error_stop => 1, on_error_die => 1);
	return join(' ', sort $out =~ /notification "recall_alerts" with payload "([^"]*)"/g);
}

# What is in the outbox: reference, change and ids, in the order of sending;
# taken out by the look.
sub sent
{
	return $node->sql(q{
		WITH sent AS (DELETE FROM rappel_conso.outbox RETURNING *)
		SELECT string_agg(concat_ws(' ', convert_from(key, 'UTF8'), m->>'change', m->>'watched'), ', ' ORDER BY id)
		  FROM sent, LATERAL (SELECT convert_from(value, 'UTF8')::jsonb) AS x (m)
		 WHERE topic = 'recall_alerts' AND m->>'reference' = convert_from(key, 'UTF8')});
}

#
# Before the first run there is no table to watch.
#
my ($status, $out, $err) = $node->psql('postgres', "\\i $SCRIPT", on_error_stop => 1);
is($status, 3, 'without the table the script fails');
like($err, qr/type "?rappel_conso_table"? does not exist/, 'and says what is missing');
is($node->sql("SELECT to_regclass('watched') IS NULL"), 't', 'and leaves nothing behind');

$node->sql('SELECT rc_sync_now()');
command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $SCRIPT ],
	'after the first run it is made');
is($node->sql('SELECT count(*) FROM watched'), 3, 'three things are watched');
is(notified(), '', 'what is known already is not announced');
is($node->sql('SELECT count(*) FROM rappel_conso.outbox'), 0, 'nor sent');

#
# Which recalls are announced: one for each case, in one batch
#
my @cases = (
	[ 'the brand, without its accents', { marque_produit => 'creamerie du lac' }, undef ],
	[ 'the brand in other letters', { marque_produit => 'CRÈMERIE DU LAC' }, '[1]' ],
	[ 'the brand as it is', { marque_produit => "crèmerie du lac" }, '[1]' ],
	[ 'a longer brand', { marque_produit => "crèmerie du lac bleu" }, undef ],
	[ 'all words', { modeles_ou_references => 'fromages au lait cru' }, '[2]' ],
	[ 'words in two columns', { modeles_ou_references => 'lait cru', motif_rappel => 'fromage trop salé' }, '[2]' ],
	[ 'one of the words', { modeles_ou_references => 'fromage frais' }, undef ],
	[ 'words of a phrase apart', { modeles_ou_references => 'fromage cru et lait' }, undef ],
	[ 'the GTIN', { identification_produits => [ '3012345678902', 'lot 1' ] }, '[3]' ],
	[ 'the GTIN with a zero', { identification_produits => [ '03012345678902', 'lot 1' ] }, '[3]' ],
	[ 'another GTIN', { identification_produits => ['3574100075109'] }, undef ],
	[
		'several',
		{ marque_produit => "crèmerie du lac", modeles_ou_references => 'fromage au lait cru' },
		'[1, 2]'
	],
	[ 'nothing at all', { (map { $_ => undef } keys %$template) }, undef ]);
my @records = map { watched_recall(%{ $_->[1] }) } @cases;
my @announced = grep { defined $cases[$_][2] } 0 .. $#cases;

$records[-1]{$_} = watched_recall()->{$_} foreach 'date_publication';
$records[-1]{numero_fiche} = sprintf('2031-01-%04d', scalar @cases);
$api->control(append => { dataset => DATASET, records => \@records });
is( notified(),
	join(' ', map { $records[$_]{numero_fiche} } @announced),
	'recalls of what is watched are notified');
is( $node->sql(q{
		SELECT count(*) FROM rappel_conso.outbox o
		  JOIN rappel_conso_table t ON t.reference_fiche = convert_from(o.key, 'UTF8') AND t.xmin = o.xmin}),
	scalar @announced,
	'messages are of the transaction that wrote the rows');
is( $node->sql(q{SELECT string_agg(DISTINCT k, ' ') FROM rappel_conso.outbox, jsonb_object_keys(convert_from(value, 'UTF8')::jsonb) k}),
	'brand change gtin link models published reason reference watched',
	'what a message holds');
my %sent = map { /^(\S+) new (.*)$/ ? ($1, $2) : () } split(/, (?=\d{4}-)/, sent());
is($sent{ $records[$_]{numero_fiche} }, $cases[$_][2], $cases[$_][0] . (defined $cases[$_][2] ? '' : ': none'))
  foreach 0 .. $#cases;
is($node->sql('SELECT count(*) FROM rappel_conso_table'), $RECORDS + @cases, 'all recalls are in the table');

#
# What changes, and what does not
#
$api->control(touch => DATASET);
is(notified(), '', 'what is read once more is not announced');
is(sent(), '', 'nor sent');

$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '$records[4]{numero_fiche}' or numero_fiche = '$records[6]{numero_fiche}'",
		set => { motif_rappel => 'un autre motif', numero_version => 2 }
	});
is(notified(), $records[4]{numero_fiche}, 'a recall that changes is announced again');
is(sent(), "$records[4]{numero_fiche} changed [2]", 'and sent as a change');

$api->control(
	update => {
		dataset => DATASET,
		where => "numero_fiche = '$records[6]{numero_fiche}'",
		set => { modeles_ou_references => 'fromage au lait cru' }
	});
is(notified(), $records[6]{numero_fiche}, 'so is one that comes to match');
is(sent(), "$records[6]{numero_fiche} changed [2]", 'as a change');

$api->control(delete => { dataset => DATASET, where => "numero_fiche = '$records[4]{numero_fiche}'" });
is(notified(), '', 'one that has vanished may come back');
$node->sql(q{
	UPDATE rappel_conso.source_record SET missed_at = missed_at - interval '2 hours';
	UPDATE rappel_conso.source_state SET full_at = full_at - interval '2 hours'});
is(notified(), $records[4]{numero_fiche}, 'when it is withdrawn it is announced');
is(sent(), "$records[4]{numero_fiche} withdrawn [2]", 'as withdrawn');

#
# In the commit or not at all: a batch that is rolled back announces nothing,
# and one bad record costs only its own message.
#
$node->sql(q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END $$;
	CREATE TRIGGER zz_refuse AFTER INSERT ON rappel_conso_table FOR EACH ROW
	  WHEN (NEW.libelle = 'refused') EXECUTE FUNCTION refuse();});
my @batch = map { watched_recall(%$_) } (
	{ marque_produit => "crèmerie du lac" },
	{ marque_produit => "crèmerie du lac", libelle => 'refused' },
	{ marque_produit => "crèmerie du lac" });
$api->control(append => { dataset => DATASET, records => \@batch });
is( notified(),
	"$batch[0]{numero_fiche} $batch[2]{numero_fiche}",
	'a dead letter is not announced, its neighbours are');
is( sent(),
	"$batch[0]{numero_fiche} new [1], $batch[2]{numero_fiche} new [1]",
	'each of them once');
is( $node->sql('SELECT string_agg(sqlstate || message, chr(10)) FROM rappel_conso.dead_letter'),
	'23514not this one', 'the dead letter says why');

#
# The query for what is known, and the way back, as the script tells them
#
my $text = slurp_file($SCRIPT);
my ($known, $remove) = $text =~ /-- To list the recalls that were stored before:\n(.*?)-- To remove it all:\n(.*)\z/s or die 'no comments';
s/^--//mg foreach $known, $remove;
$known =~ s/;\s*$//;
is($node->sql("SELECT count(DISTINCT reference_fiche) FROM ($known) x"), @announced + 3, 'what is known can be asked for');
$node->sql($remove);
is( $node->sql(q{
		SELECT count(*) FILTER (WHERE tgname ~ 'announce'), to_regclass('watched') IS NULL FROM pg_trigger
		 WHERE tgrelid = 'rappel_conso_table'::regclass}),
	'0|t', 'it can be removed');
$api->control(append => { dataset => DATASET, records => [ watched_recall(marque_produit => "crèmerie du lac") ] });
is(notified(), '', 'and then says nothing');

done_testing();
