# 029_kafka_new_librdkafka.pl
#     What a newer librdkafka than Debian 12's can do: SCRAM, OAUTHBEARER with a
#     token endpoint (OIDC), and the ordinary things (issue 13, parts 2 and 3).

use strict;
use warnings FATAL => 'all';

use lib 'test/lib';
use Cwd ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RappelConso;
use Test::More;

need_kafka('openssl');
use_new_librdkafka();
my $api = start_api();
my $tokens = start_tokens();
my $kafka = start_kafka(
	keys => $tokens->url('keys'),
	listeners => {
		scram => 'tls,scram',
		scram256 => 'tls,scram256',
		oauth => 'tls,oauth'
	},
	properties => { 'listener.name.oauth.oauthbearer.connections.max.reauth.ms' => 3000 });
$kafka->create_topic('t');

# What is wrong shows after seconds: three servers meet it at a time.
my @nodes = map {
	new_node("node$_", api => $api, preload => 1, conf => "log_min_messages = debug1\nmax_worker_processes = 20\n")
} (1 .. 3);
my ($node) = @nodes;
$_->sql(q{
	CREATE TABLE t (v text);
	INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'INSERT INTO t SELECT value FROM records')})
  foreach @nodes;

my %endpoint = (
	'sasl.oauthbearer.client.secret' => $tokens->secret,
	'sasl.oauthbearer.token.endpoint.url' => $tokens->url('token'));

# ---- what works ----

my $sent = 0;

sub streams_go_on
{
	my ($what, @nodes) = @_;

	$kafka->produce('t', undef, '"' . ++$sent . '"');
	$_->becomes_true($what, qq{
		EXISTS (SELECT FROM t WHERE v = '"$sent"') AND
		(SELECT state FROM rappel_conso.stream_state WHERE stream = 's') = 'running'})
	  foreach @nodes;
	return;
}

my $library = Cwd::abs_path("$ENV{LD_LIBRARY_PATH}/librdkafka.so.1");
my $scheduler = $node->sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'rappel_conso scheduler'});

ok(slurp_file("/proc/$scheduler/maps") =~ / \Q$library\E$/m, 'the server uses the newer librdkafka');
foreach my $listener (undef, 'scram', 'scram256', 'oauth')
{
	my $name = $listener // 'without TLS';

	$node->use_listener($kafka, $listener, $name eq 'oauth' ? %endpoint : ());
	$node->sql(q{SELECT rc_publish('out', '{}'::jsonb)});
	streams_go_on("$name: a stream", $node);
	$node->sql(q{UPDATE rappel_conso.source SET fold_accents = NOT fold_accents});
	is($node->sql(q{SELECT state, fetched, published FROM rc_sync_now()}), 'success|300|300', "$name: a run");
	$node->becomes_true("$name: the outbox", 'NOT EXISTS (SELECT FROM rappel_conso.outbox)');
}
is($node->sql('SELECT count(*) FROM rappel_conso_table'), 300, 'all records');
is($kafka->consume('out'), 4, 'all messages');

$node->use_listener($kafka, 'oauth', %endpoint,
	'sasl.oauthbearer.token.endpoint.url' => $tokens->url('token', 'https'),
	'https.ca.location' => $tokens->authority);
streams_go_on('a token endpoint by https, with its own authority', $node);

# ---- what is wrong: told, and over when it is fixed ----

sub at_url { return ('sasl.oauthbearer.token.endpoint.url' => $_[0]); }

my $client = qr/"sasl\.oauthbearer\.client\.id".*"sasl\.oauthbearer\.client\.secret"/;
my $url = qr/"sasl\.oauthbearer\.token\.endpoint\.url"/;
my $authorities = qr/"https\.ca\.location"/;
my $refused = qr{sasl_ssl://\S+: SASL authentication error: };
my $none = qr/Failed to acquire SASL OAUTHBEARER token: /;

# name, cause, listener, properties, words behind the cause, what the hint names
my @wrong = (
	[ 'wrong secret', 'client', 'oauth', { 'sasl.oauthbearer.client.secret' => 'x' }, qr/$none.*invalid_client/, $client ],
	[ 'unknown client', 'client', 'oauth', { 'sasl.oauthbearer.client.id' => 'nobody' }, qr/$none.*invalid_client/, $client ],
	[ 'expired token', 'expired', 'oauth', { at_url($tokens->url('token/expired')) }, qr/$none.*unexpired/, qr/clocks/ ],
	[ 'token without subject', 'token', 'oauth', { at_url($tokens->url('token/nameless')) }, qr/$none.*"sub"/, qr/"sub"/ ],
	[ 'a page instead of a token', 'page', 'oauth', { at_url($tokens->url('token/html')) }, qr/$none.*not JSON/, $url ],
	[ 'no such page', 'no token', 'oauth', { at_url($tokens->url('nowhere')) }, qr/${none}no such page/, $url ],
	# and with what an administrator may turn on to find out why
	[ 'nobody at the endpoint', 'away', 'oauth', { at_url('http://app:' . $tokens->secret . '@127.0.0.1:1/token'), debug => 'conf,security' }, qr/$none.*onnect/, $url ],
	[ 'authority of another', 'authority', 'oauth', { at_url($tokens->url('token', 'https')), 'https.ca.location' => $kafka->config('oauth')->{'ssl.ca.location'} }, qr/$none.*certificate/, $authorities ],
	[ 'a key that the broker does not know', 'refused', 'oauth', { at_url($tokens->url('token/foreign')) }, $refused, qr/\bbroker knows\b.*"sasl\.oauthbearer\.scope"/ ],
	[ 'another audience', 'refused', 'oauth', { at_url($tokens->url('token/stranger')) }, $refused, qr/\baudience\b/ ],
	[ 'wrong password of SCRAM', 'login', 'scram', { 'sasl.password' => 'x' }, $refused, qr/^(?!.*librdkafka).*"sasl\.username".*"sasl\.password"/ ],
	[ 'nobody at the endpoint by https', 'away', 'oauth', { at_url('https://127.0.0.1:1/token'), 'https.ca.location' => $tokens->authority }, qr/$none.*onnect/, $url ]);

# Those that librdkafka asks again by itself, or waits for, for long.
push @wrong,
  [ 'a silent endpoint', 'away', 'oauth', { at_url($tokens->url('token/silent')) }, qr/$none.*timed out/, $url ],
  [ 'a busy endpoint', 'no token', 'oauth', { at_url($tokens->url('token/busy')) }, qr/Local: Timed out/, $url ]
  if $ENV{RAPPEL_CONSO_ALL};
my %told;

while (my @round = splice(@wrong, 0, scalar(@nodes)))
{
	my @here = @nodes[ 0 .. $#round ];

	$here[$_]->use_listener($kafka, $round[$_][2], ($round[$_][2] eq 'oauth' ? %endpoint : ()), %{ $round[$_][3] }) foreach 0 .. $#round;
	foreach my $i (0 .. $#round)
	{
		my ($name, $cause, undef, undef, $words, $hint) = @{ $round[$i] };
		my $told = $here[$i]->is_told($name, 's', 'waiting 08006', $words, $hint);

		note($told);
		$told{$cause}{ ($told =~ s/$words.*//sr) =~ s/"127[^"]*"//r }++;
	}
	$_->use_listener($kafka, 'oauth', %endpoint) foreach @here;
	streams_go_on('after it, ' . join(', ', map { $_->[0] } @round), @here);
}
is(join(' ', grep { keys %{ $told{$_} } != 1 } sort keys %told), '', 'a cause is told in one way');
is(scalar(keys %{ { map { %$_ } values %told } }), scalar(keys %told), 'and each in another way');

# ---- tokens are renewed; and what is told when they are no more ----

$tokens->control(lifetime => 4);
$node->use_listener($kafka, 'oauth', %endpoint);
streams_go_on('a token that is valid for seconds', $node);
my $given = $tokens->control->{given};
$node->sql('SELECT pg_stat_clear_snapshot()') until $tokens->control->{given} > $given + 1;
streams_go_on('it is renewed', $node);
$tokens->control(secret => 'renewed');
$node->is_told('a secret that was renewed at the endpoint', 's', 'waiting 08006', qr/$none.*invalid_client|$refused.*invalid_client/, qr/sasl\.oauthbearer/);
$node->use_listener($kafka, 'oauth', %endpoint, 'sasl.oauthbearer.client.secret' => 'renewed');
streams_go_on('and in the file', $node);

# ---- no secret anywhere ----

my $secret = join('|', $tokens->secret, $kafka->password('app'));

foreach my $each (@nodes)
{
	unlike($each->all_shown, qr/$secret|\beyJ[\w-]{20}/, 'no secret and no token in what ' . $each->name . ' shows, logs and dumps');
}

done_testing();
