/*-------------------------------------------------------------------------
 *
 * kafka_error.c
 *	  Translates error texts of librdkafka and OpenSSL into the cause, and a
 *	  hint that names the property of the configuration to check.
 *
 * The original text is always kept behind the translation.  Since a cause is
 * found by searching in texts, nothing here may decide what the extension
 * does.  Functions that callbacks call must not call PostgreSQL (see
 * kafka_log.c).
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

/* The first librdkafka whose SCRAM is accepted by Kafka 3.8.1 and later. */
#define SCRAM_VERSION		0x020601ff

#define IN_FILE \
	" in the file that \"rappel_conso.kafka_config_file\" names."
#define CHECK_PROTOCOL \
	"Check \"security.protocol\"" IN_FILE
#define CHECK_CLIENT_CERTIFICATE \
	"Check \"ssl.certificate.location\" and \"ssl.key.location\"" IN_FILE
#define CHECK_CA \
	"Check \"ssl.ca.location\"" IN_FILE
#define CHECK_LOGIN \
	"Check \"sasl.username\" and \"sasl.password\"" IN_FILE
#define CHECK_MECHANISM \
	"Check \"sasl.mechanism\"" IN_FILE
#define CHECK_ENDPOINT \
	"Check \"sasl.oauthbearer.token.endpoint.url\"" IN_FILE

/* How librdkafka's texts begin when no token came, and none is there. */
#define TOKEN_FAILED		"Failed to acquire SASL OAUTHBEARER token: "
#define TOKEN_ABSENT		"there is no token available; last error: "

typedef struct Explanation
{
	const char *text;			/* librdkafka's text contains this */
	const char *also;			/* and this, if not NULL */
	const char *error_text;
	const char *hint;
} Explanation;

/* Errors of a connection; the first match is used. */
static const Explanation connection_error_text[] = {
	{"current SASL state", NULL,
	gettext_noop("the port does not ask for SASL"), CHECK_PROTOCOL},
	{"mechanism handshake failed", NULL,
	gettext_noop("the broker does not offer this SASL mechanism"), CHECK_MECHANISM},
	{"SASL authentication error", NULL,
	gettext_noop("the broker refused the user or the password"), CHECK_LOGIN},
	{"alert bad certificate", NULL,
	gettext_noop("the broker asks for a client certificate"), CHECK_CLIENT_CERTIFICATE},
	{"alert certificate required", NULL,
	gettext_noop("the broker asks for a client certificate"), CHECK_CLIENT_CERTIFICATE},
	{"alert certificate", NULL,
		gettext_noop("the broker does not accept the client certificate, which may have expired or be signed by an authority that it does not know"),
	CHECK_CLIENT_CERTIFICATE},
	{"alert unknown ca", NULL,
		gettext_noop("the broker does not know the authority that signed the client certificate"),
	CHECK_CLIENT_CERTIFICATE},
	{"certificate verify failed", NULL,
	gettext_noop("the certificate of the broker could not be verified"), CHECK_CA},
	{"unexpected eof", "SSL_HANDSHAKE",
	gettext_noop("the port does not seem to speak TLS"), CHECK_PROTOCOL},
	{"unexpected eof", "SSL handshake",
	gettext_noop("the port does not seem to speak TLS"), CHECK_PROTOCOL},
	{"wrong version number", NULL,
	gettext_noop("the port does not seem to speak TLS"), CHECK_PROTOCOL},
	{"packet length too long", NULL,
	gettext_noop("the port does not seem to speak TLS"), CHECK_PROTOCOL},
	{"SSL", NULL,
	gettext_noop("no TLS connection could be made"), CHECK_PROTOCOL},
	{NULL, NULL, NULL, NULL}
};

/*
 * Errors of a client that has never been connected, where the broker has
 * closed the connection without an error.
 */
static const Explanation first_connection_error_text[] = {
	{"are down", NULL,
		gettext_noop("the connection was closed; the port may ask for TLS or SASL"),
	CHECK_PROTOCOL},
	{"Disconnected", NULL,
		gettext_noop("the connection was closed; the port may ask for TLS or SASL"),
	CHECK_PROTOCOL},
	{"Broken pipe", NULL,
		gettext_noop("the connection was closed; the port may ask for TLS or SASL"),
	CHECK_PROTOCOL},
	{"reset by peer", NULL,
		gettext_noop("the connection was closed; the port may ask for TLS or SASL"),
	CHECK_PROTOCOL},
	{NULL, NULL, NULL, NULL}
};

/* The broker's refusal where the login is a token. */
static const Explanation token_refused = {
	NULL, NULL,
	gettext_noop("the broker did not accept the token"),
	"Check that the broker knows the keys of the token endpoint and expects the token's issuer and audience, and "
	"\"sasl.oauthbearer.scope\"" IN_FILE
};

/* Why no token came from the token endpoint of OAUTHBEARER. */
static const Explanation token_error_text[] = {
	{"invalid_client", NULL,
		gettext_noop("the token endpoint refused the client or its secret"),
	"Check \"sasl.oauthbearer.client.id\" and \"sasl.oauthbearer.client.secret\"" IN_FILE},
	{"unauthorized_client", NULL,
		gettext_noop("the token endpoint refused the client or its secret"),
	"Check \"sasl.oauthbearer.client.id\" and \"sasl.oauthbearer.client.secret\"" IN_FILE},
	{"\"error\"", NULL,
		gettext_noop("the token endpoint refused the request"),
	"Check \"sasl.oauthbearer.scope\" and the other properties of \"sasl.oauthbearer\"" IN_FILE},
	{"unexpired token", NULL,
		gettext_noop("the token endpoint gave a token that has expired"),
	"Check the clocks of the token endpoint and of this server."},
	{"JWT", NULL,
		gettext_noop("the token endpoint gave a token that cannot be used"),
	"It must be a JWT with the claims \"exp\" and \"sub\"; check \"sasl.oauthbearer.scope\"" IN_FILE},
	{"JSON", NULL,
	gettext_noop("what the token endpoint gave is not a token"), CHECK_ENDPOINT},
	{"trust anchors", NULL,
		gettext_noop("there are no authorities to verify the certificate of the token endpoint with"),
	"Set \"https.ca.location\"" IN_FILE},
	{"certificate", NULL,
		gettext_noop("the certificate of the token endpoint could not be verified"),
		"Check \"https.ca.location\"" IN_FILE
	" Before librdkafka 2.11 only the authorities of the operating system are trusted."},
	{"connect", NULL,
	gettext_noop("the token endpoint could not be reached"), CHECK_ENDPOINT},
	{"resolve", NULL,
	gettext_noop("the token endpoint could not be reached"), CHECK_ENDPOINT},
	{"timed out", NULL,
	gettext_noop("the token endpoint could not be reached"), CHECK_ENDPOINT},
	{"", NULL,
	gettext_noop("the token endpoint gave no token"), CHECK_ENDPOINT}
};

/* Errors of rd_kafka_new(). */
static const Explanation start_words[] = {
	{"key values mismatch", NULL,
		gettext_noop("the key is not that of the client certificate"),
	CHECK_CLIENT_CERTIFICATE},
	{"no certificate assigned", NULL,
		gettext_noop("there is a key, but no client certificate"),
	CHECK_CLIENT_CERTIFICATE},
	{"ssl.keystore.", NULL,
		gettext_noop("the key store could not be read, and its password may be wrong or missing"),
	"Check \"ssl.keystore.location\" and \"ssl.keystore.password\"" IN_FILE},
	{"ssl.key.", NULL,
		gettext_noop("the key could not be read, and its passphrase may be wrong or missing"),
	"Check \"ssl.key.password\" and \"ssl.key.location\"" IN_FILE},
	{"ssl.certificate.", NULL,
		gettext_noop("the client certificate could not be read, and may not be in PEM format"),
	CHECK_CLIENT_CERTIFICATE},
	{"ssl.ca.", NULL,
		gettext_noop("the certificate of the authority could not be read, and may not be in PEM format"),
	CHECK_CA},
	{"sasl.kerberos.", NULL,
		gettext_noop("SASL without \"sasl.mechanism\" is Kerberos (GSSAPI), which is not set up"),
	CHECK_MECHANISM},
	{"sasl.username", NULL,
	gettext_noop("there is no user or no password"), CHECK_LOGIN},
	{"is mandatory when", NULL,
		gettext_noop("a property is missing"),
	"Add it to the file that \"rappel_conso.kafka_config_file\" names."},
	{"SASL mechanism", NULL,
	gettext_noop("this librdkafka does not have the SASL mechanism"), CHECK_MECHANISM},
	{NULL, NULL, NULL, NULL}
};

typedef struct VerifyErrorText
{
	int			code;
	const char *error_text;
	const char *hint;
} VerifyErrorText;

/* OpenSSL's codes for a rejected certificate (X509_V_ERR_..). */
static const VerifyErrorText verify_error_text[] = {
	{9, gettext_noop("the certificate of the broker is not valid yet"),
	"Check the clocks of both machines."},
	{10, gettext_noop("the certificate of the broker, or of its authority, has expired"),
	"Renew the certificate of the broker."},
	{12, gettext_noop("the list of revoked certificates has expired"),
	"Check \"ssl.crl.location\"" IN_FILE},
	{23, gettext_noop("the certificate of the broker has been revoked"),
	"Renew the certificate of the broker."},
	{62, gettext_noop("the certificate of the broker is for another host name"),
	"Name the brokers in \"rappel_conso.kafka_brokers\", and in what they advertise, as their certificates do."},
	{64, gettext_noop("the certificate of the broker is for another host, or another IP address"),
	"Name the brokers in \"rappel_conso.kafka_brokers\", and in what they advertise, as their certificates do."}
};

static const char *const unknown_ca = gettext_noop("the certificate of the broker is signed by an unknown authority");

static const Explanation *find(const Explanation *list, const char *text);
static const Explanation *find_connection(RcKafka *kafka, const char *text);
static const char *token_cause(const char *text);
static const char *verify_text(int code);
static int	verify_index(int code);
static const char *scram_hint(void);

/*
 * librdkafka's callback for the verification of a certificate, called in a
 * thread of librdkafka.  Returns OpenSSL's result and stores its code, which
 * librdkafka does not report.
 */
static int
verify_cb(rd_kafka_t *rk, const char *broker_name, int32_t broker_id,
		  int *x509_error, int depth, const char *buf, size_t size,
		  char *errstr, size_t errstr_size, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;
	int			code = *x509_error;

	if (code == 0)
		return 1;
	pg_atomic_write_u32(&kafka->verify_code, (uint32) code);
	snprintf(errstr, errstr_size, "%s", verify_text(code));
	return 0;
}

/*
 * Register verify_cb().  A librdkafka without TLS returns an error, which
 * does not matter.
 */
void
rc_explain_attach(RcKafka *kafka, rd_kafka_conf_t *conf)
{
	pg_atomic_init_u32(&kafka->verify_code, 0);
	(void) rd_kafka_conf_set_ssl_cert_verify_cb(conf, verify_cb);
}

static const char *
verify_text(int code)
{
	int			i = verify_index(code);

	return i < 0 ? unknown_ca : verify_error_text[i].error_text;
}

static int
verify_index(int code)
{
	for (int i = 0; i < lengthof(verify_error_text); i++)
	{
		if (verify_error_text[i].code == code)
			return i;
	}
	return -1;
}

/*
 * Store librdkafka's text for a connection error in last_error, with the
 * cause in front if it is known, and its hint in last_hint.  Called by
 * callbacks.
 */
void
rc_explain_connection(RcKafka *kafka, const char *text)
{
	const Explanation *found = find_connection(kafka, text);
	const char *error_text = found ? found->error_text : NULL;
	bool		no_newer = found == &token_refused && kafka->token_error[0] != '\0';

	kafka->last_hint = found ? found->hint : NULL;
	if (found && found->text && strcmp(found->text, "certificate verify failed") == 0 &&
		pg_atomic_read_u32(&kafka->verify_code) != 0)
	{
		int			code = (int) pg_atomic_read_u32(&kafka->verify_code);
		int			i = verify_index(code);

		error_text = verify_text(code);
		kafka->last_hint = i < 0 ? CHECK_CA : verify_error_text[i].hint;
	}
	if (strstr(text, "SASL mechanism SCRAM") != NULL &&
		rd_kafka_version() < SCRAM_VERSION)
		kafka->last_hint = scram_hint();
	snprintf(kafka->last_error, sizeof(kafka->last_error), "%s%s%s%s%s",
			 error_text ? error_text : "", error_text ? ": " : "", text,
			 no_newer ? "; no newer one came: " : "",
			 no_newer ? kafka->token_error : "");
	rc_mask_invalid(kafka->last_error);
}

/*
 * The explanation of an error of a connection, or NULL.  librdkafka says only
 * once that no token comes, as long as the cause is the same, so that is kept
 * for when the broker refuses the token that has expired meanwhile.
 */
static const Explanation *
find_connection(RcKafka *kafka, const char *text)
{
	const char *cause = token_cause(text);
	const Explanation *found;

	if (cause != NULL)
	{
		strlcpy(kafka->token_error, cause, sizeof(kafka->token_error));
		return find(token_error_text, cause);
	}
	found = find(connection_error_text, text);
	if (found == NULL && !kafka->was_up)
		found = find(first_connection_error_text, text);
	if (found != NULL && kafka->tokens && strcmp(found->hint, CHECK_LOGIN) == 0)
		found = &token_refused;
	return found;
}

/*
 * Why no token came, if that is what an error is about, else NULL.
 */
static const char *
token_cause(const char *text)
{
	static const char *const beginnings[] = {TOKEN_FAILED, TOKEN_ABSENT};

	for (int i = 0; i < lengthof(beginnings); i++)
	{
		const char *found = strstr(text, beginnings[i]);

		if (found != NULL)
			return found + strlen(beginnings[i]);
	}
	return NULL;
}

/*
 * librdkafka before 2.6.1 sends its nonce twice, which brokers reject since
 * Kafka 3.8.1 as a wrong password.  The hint contains librdkafka's version
 * and is valid until the process ends.
 */
static const char *
scram_hint(void)
{
	static char hint[512];

	snprintf(hint, sizeof(hint),
			 "librdkafka %s cannot use SCRAM with Kafka 3.8.1 and later, whatever the password: it needs version 2.6.1. "
			 "Use PLAIN over TLS, a client certificate, or a newer librdkafka; with an older Kafka, check \"sasl.username\" and \"sasl.password\"" IN_FILE,
			 rd_kafka_version_str());
	return hint;
}

/*
 * The hint for the connection error in last_error, which is what
 * rc_kafka_connection_error() has returned.  Valid until the process ends.
 */
const char *
rc_kafka_connection_hint(RcKafka *kafka)
{
	if (kafka->last_error[0] != '\0' && kafka->last_hint != NULL)
		return kafka->last_hint;
	if (kafka->last_error[0] == '\0' && rc_address_hint(kafka) != NULL)
		return rc_address_hint(kafka);
	/* librdkafka asks a busy endpoint again for a minute before it says so */
	if (kafka->last_error[0] == '\0' && kafka->oidc && !kafka->was_up)
		return CHECK_ENDPOINT;
	return "Check the setting \"rappel_conso.kafka_brokers\".";
}

/*
 * Raise the error of rd_kafka_new(): F0000.
 */
void
rc_explain_start(const char *text)
{
	const Explanation *found = find(start_words, text);

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not start a Kafka client: %s", text),
				 errhint("Check the setting \"%s\".",
						 "rappel_conso.kafka_config_file")));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not start a Kafka client: %s: %s",
					found->error_text, text),
			 errhint("%s", found->hint)));
}

static const Explanation *
find(const Explanation *list, const char *text)
{
	for (; list->text != NULL; list++)
	{
		if (strstr(text, list->text) != NULL &&
			(list->also == NULL || strstr(text, list->also) != NULL))
			return list;
	}
	return NULL;
}
