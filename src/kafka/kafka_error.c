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
	const Explanation *found = find(connection_error_text, text);
	const char *error_text;

	if (found == NULL && !kafka->was_up)
		found = find(first_connection_error_text, text);
	kafka->last_hint = found ? found->hint : NULL;
	error_text = found ? found->error_text : NULL;
	if (found && strcmp(found->text, "certificate verify failed") == 0 &&
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
	snprintf(kafka->last_error, sizeof(kafka->last_error), "%s%s%s",
			 error_text ? error_text : "", error_text ? ": " : "", text);
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
 * The hint for the connection error in last_error.
 */
const char *
rc_explain_hint(RcKafka *kafka)
{
	if (kafka->last_error[0] != '\0' && kafka->last_hint != NULL)
		return kafka->last_hint;
	if (kafka->last_error[0] == '\0' && rc_address_hint(kafka) != NULL)
		return rc_address_hint(kafka);
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
