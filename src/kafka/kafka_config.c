/*-------------------------------------------------------------------------
 *
 * kafka_config.c
 *	  The properties that librdkafka is started with: those that the
 *	  extension sets, then those of the file that
 *	  rappel_conso.kafka_config_file names.
 *
 * It must not write a value of that file to an error or a log: it can be
 * secret.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include <unistd.h>

#include "config_file.h"

#define CONFIG_FILE_SETTING		"rappel_conso.kafka_config_file"

typedef struct Property
{
	const char *key;
	const char *value;
} Property;

/*
 * Names as in CONFIGURATION.md of librdkafka 2.0.2.
 *
 * Topics are created explicitly (kafka_topic.c, kafka_topic_create.c), never
 * by a broker because a client has named one; a topic that does not exist
 * after 10 s is an error.  Single disconnects are not logged: kafka_log.c
 * logs when the last broker is gone.
 */
static const Property common_properties[] = {
	{"allow.auto.create.topics", "false"},
	{"log.queue", "true"},
	{"log.connection.close", "false"},
	{"socket.keepalive.enable", "true"},
	{"topic.metadata.propagation.max.ms", "10000"},
	{"reconnect.backoff.max.ms", "2000"},
	{NULL, NULL}
};

/*
 * message.timeout.ms 0: a message does not expire; rc_producer_flush() has
 * the time limit.  A batch is sent when it is full or pushed (see
 * rc_producer_push), not when time has passed.  The partitioner is that of
 * the Java client, so that all producers of a topic send a key to the same
 * partition.
 */
static const Property producer_properties[] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	{"message.timeout.ms", "0"},
	{"message.max.bytes", CppAsString2(RC_KAFKA_MAX_MESSAGE)},
	{"queue.buffering.max.kbytes", "24576"},
	{"queue.buffering.max.messages", "50000"},
	{"linger.ms", "1000"},
	{"compression.codec", "lz4"},
	{"partitioner", "murmur2_random"},
	{NULL, NULL}
};

/*
 * Reading ahead is bounded (see kafka_internal.h).  A fetch response has at
 * most 256 kB, and 64 kB of a partition, or one larger batch.  These are
 * compressed sizes: messages that compress a hundredfold, in 24 partitions,
 * took 147 MB of memory with limits four times as large, and 70 MB with
 * these, at the same speed.  (message.max.bytes only allows fetch.max.bytes
 * to be less than its default.)  An idle broker responds after
 * fetch.wait.max.ms, and other requests to it wait behind that fetch.
 *
 * max.poll.interval.ms has no effect without a subscription; a day is a
 * precaution.  session.timeout.ms is used only as the time that a commit waits
 * for the group's coordinator, and that closing the client waits for that
 * commit (rdkafka_cgrp.c, rd_kafka_cgrp_defer_offset_commit): with the
 * default a process would be blocked for 45 s on a new cluster.
 */
static const Property consumer_properties[] = {
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"auto.offset.reset", "error"},
	{"isolation.level", "read_committed"},
	{"queued.min.messages", CppAsString2(RC_KAFKA_AHEAD_MESSAGES)},
	{"queued.max.messages.kbytes", CppAsString2(RC_KAFKA_AHEAD_KBYTES)},
	{"message.max.bytes", "262144"},
	{"fetch.max.bytes", "262144"},
	{"fetch.message.max.bytes", "65536"},
	{"fetch.wait.max.ms", "200"},
	{"fetch.error.backoff.ms", "100"},
	{"max.poll.interval.ms", "86400000"},
	{"session.timeout.ms", "1000"},
	{NULL, NULL}
};

/*
 * Properties whose value the extension depends on: the file must not set
 * them.
 */
static const char *const refused_keys[] = {
	"acks", "allow.auto.create.topics", "auto.commit.enable",
	"auto.offset.reset", "bootstrap.servers", "client.id",
	"delivery.report.only.error", "enable.auto.commit",
	"enable.auto.offset.store", "enable.gapless.guarantee",
	"enable.idempotence", "enable.partition.eof", "enabled_events",
	"group.id", "group.instance.id", "group.protocol", "group.remote.assignor",
	"interceptors",
	"internal.termination.signal", "isolation.level", "linger.ms", "log.queue",
	"metadata.broker.list", "msg_order_cmp", "offset.store.method",
	"plugin.library.paths", "queue.buffering.max.ms", "queuing.strategy",
	"request.required.acks",
	"transactional.id", NULL
};

/*
 * Producer and consumer read one file: each skips the properties of the
 * other.
 */
static const char *const producer_keys[] = {
	"batch.num.messages", "batch.size", "compression.codec",
	"compression.level", "compression.type", "delivery.timeout.ms",
	"message.send.max.retries", "message.timeout.ms",
	"partitioner", "produce.offset.report",
	"queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes",
	"queue.buffering.max.messages", "request.timeout.ms", "retries", "retry.backoff.ms",
	"sticky.partitioning.linger.ms", "transaction.timeout.ms", NULL
};
static const char *const consumer_keys[] = {
	"auto.commit.interval.ms", "check.crcs", "consume.callback.max.messages",
	"coordinator.query.interval.ms", "fetch.error.backoff.ms",
	"fetch.max.bytes", "fetch.message.max.bytes", "fetch.min.bytes",
	"fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.protocol.type",
	"heartbeat.interval.ms", "max.partition.fetch.bytes",
	"max.poll.interval.ms", "max.poll.records",
	"offset.store.path", "offset.store.sync.interval.ms",
	"partition.assignment.strategy", "queued.max.messages.kbytes",
	"queued.min.messages", "session.timeout.ms",
	"share.acknowledgement.mode", NULL
};

/*
 * Properties whose value is the path of a file or directory that librdkafka
 * reads.
 */
static const char *const file_keys[] = {
	"https.ca.location", "sasl.kerberos.keytab",
	"sasl.oauthbearer.assertion.file",
	"sasl.oauthbearer.assertion.jwt.template.file",
	"sasl.oauthbearer.assertion.private.key.file", "ssl.ca.location",
	"ssl.certificate.location", "ssl.crl.location", "ssl.key.location",
	"ssl.keystore.location", NULL
};

static List *read_file(void);
static void set_own(rd_kafka_conf_t *conf, const char *key,
					const char *value);
static void set_own_list(rd_kafka_conf_t *conf, const Property *properties);
static void set_from_file(rd_kafka_conf_t *conf, RcKafka *kafka, List *lines);
pg_noreturn static void refuse_line(const RcConfigLine *line,
									rd_kafka_conf_res_t result,
									const char *error_text);
static void check_file(const RcConfigLine *line);
static void check_tokens(RcKafka *kafka, rd_kafka_conf_t *conf);
static bool conf_is(rd_kafka_conf_t *conf, const char *key,
					const char *value);
static bool key_in(const char *key, const char *const *keys);

/*
 * Build the configuration of a client, and store in kafka->files from which
 * settings and files.
 *
 * group_id is used by a consumer only; NULL means the client id.  The result
 * belongs to the caller until rd_kafka_new() has taken it.
 *
 * Errors: 55000 if no broker is set, 22023 if the list of brokers is
 * malformed; F0000 for a line of the file that is refused here or by
 * librdkafka, or one that is missing; and those of rc_config_file_read().
 */
rd_kafka_conf_t *
rc_config_build(RcKafka *kafka, const char *client_id, const char *group_id)
{
	List	   *lines;
	char	   *wrong;
	rd_kafka_conf_t *conf;

	kafka->files = rc_files_note(kafka->context);
	lines = read_file();
	if (rc_kafka_brokers == NULL || rc_kafka_brokers[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no Kafka brokers are configured"),
				 errhint("Set \"%s\".", "rappel_conso.kafka_brokers")));
	wrong = rc_wrong_broker(rc_kafka_brokers);
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid list of brokers in \"%s\"",
						"rappel_conso.kafka_brokers"),
				 errdetail("\"%s\" is neither a host nor a host and port.", wrong),
				 errhint("%s", RC_BROKERS_HINT)));

	conf = rd_kafka_conf_new();
	PG_TRY();
	{
		set_own_list(conf, common_properties);
		set_own(conf, "bootstrap.servers", rc_kafka_brokers);
		set_own(conf, "client.id", client_id);
		if (kafka->kind == RC_KAFKA_PRODUCER)
			set_own_list(conf, producer_properties);
		else
		{
			set_own_list(conf, consumer_properties);
			set_own(conf, "group.id", group_id ? group_id : client_id);
		}
		set_from_file(conf, kafka, lines);
		check_tokens(kafka, conf);
	}
	PG_CATCH();
	{
		rd_kafka_conf_destroy(conf);
		PG_RE_THROW();
	}
	PG_END_TRY();

	return conf;
}

static List *
read_file(void)
{
	if (rc_kafka_config_file == NULL || rc_kafka_config_file[0] == '\0')
		return NIL;
	return rc_config_file_read(rc_kafka_config_file, CONFIG_FILE_SETTING);
}

/*
 * Set a property that the extension chooses.  Of these librdkafka can reject
 * only rappel_conso.kafka_brokers, so the error is 22023.
 */
static void
set_own(rd_kafka_conf_t *conf, const char *key, const char *value)
{
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	if (rd_kafka_conf_set(conf, key, value, error_text, sizeof(error_text)) !=
		RD_KAFKA_CONF_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not set the Kafka property \"%s\": %s",
						key, error_text)));
}

static void
set_own_list(rd_kafka_conf_t *conf, const Property *properties)
{
	const Property *property;

	for (property = properties; property->key != NULL; property++)
		set_own(conf, property->key, property->value);
}

/*
 * Set the properties of the file, which override those of the extension.
 */
static void
set_from_file(rd_kafka_conf_t *conf, RcKafka *kafka, List *lines)
{
	char		error_text[RC_KAFKA_ERRSTR_MAX];
	ListCell   *lc;

	foreach(lc, lines)
	{
		RcConfigLine *line = (RcConfigLine *) lfirst(lc);
		rd_kafka_conf_res_t result;

		if (key_in(line->key, refused_keys))
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("the property in line %d of the file that \"%s\" names cannot be changed",
							line->line, CONFIG_FILE_SETTING),
					 errdetail("The extension sets this property itself."),
					 errdetail_log("The property is \"%s\".", line->key),
					 errhint("Remove the line.")));
		if (key_in(line->key, kafka->kind == RC_KAFKA_PRODUCER ?
				   consumer_keys : producer_keys))
			continue;
		result = rd_kafka_conf_set(conf, line->key, line->value,
								   error_text, sizeof(error_text));
		if (result != RD_KAFKA_CONF_OK)
			refuse_line(line, result, error_text);
		if (key_in(line->key, file_keys))
		{
			rc_files_add(kafka->files, line->value);
			check_file(line);
		}
	}
}

/*
 * Raise the error of a line that librdkafka does not accept.  What librdkafka
 * says contains the key and maybe the value, so it is for the log only; who
 * is to act has to know whether it is the line or the library that is wrong.
 */
static void
refuse_line(const RcConfigLine *line, rd_kafka_conf_res_t result,
			const char *error_text)
{
	bool		oidc = strstr(error_text, "OAuth/OIDC depends on") != NULL;

	if (result == RD_KAFKA_CONF_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("librdkafka %s does not have the property in line %d of the file that \"%s\" names",
						rd_kafka_version_str(), line->line, CONFIG_FILE_SETTING),
				 errdetail_log("The property is \"%s\": %s.", line->key,
							   error_text),
				 errhint("Check its name in the server log, or use a newer librdkafka.")));
	if (strstr(error_text, "not supported in this build") != NULL ||
		strstr(error_text, "at build time") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("librdkafka %s was built without what line %d of the file that \"%s\" names needs",
						rd_kafka_version_str(), line->line, CONFIG_FILE_SETTING),
				 errdetail_log("The property is \"%s\": %s.", line->key,
							   error_text),
				 errhint("%s", oidc ? RC_OIDC_HINT :
						 "Use a librdkafka that is built with what the server log names.")));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not use the property in line %d of the file that \"%s\" names",
					line->line, CONFIG_FILE_SETTING),
			 errdetail_log("The property is \"%s\": %s.", line->key,
						   error_text),
			 errhint("See the server log for the property and the cause.")));
}

/*
 * Store whether the client logs in with tokens, and where from.  Refuse
 * OAUTHBEARER without a source of tokens, which librdkafka does not: it would
 * wait for one forever, without an error.
 */
static void
check_tokens(RcKafka *kafka, rd_kafka_conf_t *conf)
{
	if (!conf_is(conf, "sasl.mechanisms", "OAUTHBEARER") ||
		!(conf_is(conf, "security.protocol", "sasl_plaintext") ||
		  conf_is(conf, "security.protocol", "sasl_ssl")))
		return;
	kafka->tokens = true;
	kafka->oidc = conf_is(conf, "sasl.oauthbearer.method", "oidc");
	if (kafka->oidc ||
		conf_is(conf, "enable.sasl.oauthbearer.unsecure.jwt", "true"))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not start a Kafka client: there is no source of tokens for OAUTHBEARER"),
			 errhint("Set \"sasl.oauthbearer.method\" to oidc, and the token endpoint, in the file that \"%s\" names.",
					 CONFIG_FILE_SETTING)));
}

static bool
conf_is(rd_kafka_conf_t *conf, const char *key, const char *value)
{
	char		found[64];
	size_t		size = sizeof(found);

	return rd_kafka_conf_get(conf, key, found, &size) == RD_KAFKA_CONF_OK &&
		pg_strcasecmp(found, value) == 0;
}

/*
 * Check that a key or certificate is readable: the error of librdkafka would
 * contain neither the file nor the cause.  "probe" is no file; librdkafka
 * then searches for the CA certificates of the operating system.
 */
static void
check_file(const RcConfigLine *line)
{
	if (line->value[0] == '\0' || strcmp(line->value, "probe") == 0 ||
		access(line->value, R_OK) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not read the key or certificate in line %d of the file that \"%s\" names: %m",
					line->line, CONFIG_FILE_SETTING),
			 errdetail_log("The property \"%s\" names file \"%s\".",
						   line->key, line->value),
			 errhint("See the server log for the name of that file.")));
}

static bool
key_in(const char *key, const char *const *keys)
{
	for (; *keys != NULL; keys++)
	{
		if (strcmp(key, *keys) == 0)
			return true;
	}
	return false;
}
