/*-------------------------------------------------------------------------
 *
 * kafka_log.c
 *	  Log lines and errors of librdkafka, and whether brokers are reachable.
 *
 * A callback must not call PostgreSQL: an error would longjmp over
 * librdkafka's stack frames, and even ereport(LOG) ends with a check for
 * interrupts.  So callbacks copy into static memory, and rc_report_emit()
 * writes it to the server's log after librdkafka's function has returned.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include <pthread.h>

#include "utils/timestamp.h"

/* Lines kept between two calls of rc_report_emit(); more are counted only. */
#define REPORT_LINES	64

/*
 * At most this many lines at once in the server's log, and one more per
 * minute: an outage of hours must not fill the disk.
 */
#define REPORT_BURST	10

/* Brokers that are reachable again within this time cause no warning. */
#define REPORT_DOWN_AFTER_MS	3000

/* Time for the response that a broker gives after a throttle time. */
#define THROTTLE_MARGIN_MS	5000

/* Levels are those of syslog(3); this one and greater ones go to DEBUG1. */
#define LEVEL_DEBUG		7

typedef struct ReportLine
{
	int			level;
	char		text[RC_KAFKA_ERRSTR_MAX];
} ReportLine;

static ReportLine report_lines[REPORT_LINES];
static int	report_count = 0;
static uint64 report_dropped = 0;

static int	report_allowance = REPORT_BURST;
static TimestampTz report_refilled = 0;

static pthread_t report_thread;

static void log_cb(const rd_kafka_t *rk, int level, const char *fac,
				   const char *text);
static void add_line(int level, const char *what, const char *text);
static void error_cb(rd_kafka_t *rk, int err, const char *reason,
					 void *opaque);
static void throttle_cb(rd_kafka_t *rk, const char *broker_name,
						int32_t broker_id, int throttle_ms, void *opaque);
static void mark_down(RcKafka *kafka);
static bool report_allowed(void);
static void report_line(const ReportLine *line);
static void report_state(RcKafka *kafka);
static bool broker_usable(RcKafka *kafka);

/*
 * Register the callbacks for log lines and errors.  log_cb() is called in this
 * thread because of log.queue (kafka_config.c) and rd_kafka_set_log_queue()
 * (kafka_client.c).
 */
void
rc_report_attach(rd_kafka_conf_t *conf)
{
	report_thread = pthread_self();
	rd_kafka_conf_set_log_cb(conf, log_cb);
	rd_kafka_conf_set_error_cb(conf, error_cb);
	rd_kafka_conf_set_throttle_cb(conf, throttle_cb);
}

static void
log_cb(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
	/* the error contains the text of kafka_error.c's verify_cb(), too */
	if (strcmp(fac, "SSLCERTVRFY") == 0)
		level = LEVEL_DEBUG;
	/* likewise, and here with the URL, which can contain a secret */
	if (strcmp(fac, "OIDC") == 0 || strcmp(fac, "JWT") == 0)
		return;
	/* so do the properties that "debug" shows; librdkafka hides only others */
	if (strcmp(fac, "CONF") == 0 && strstr(text, "sasl.oauthbearer.") != NULL)
		return;
	if (pthread_equal(pthread_self(), report_thread))
		add_line(level, fac, text);
}

/*
 * Store a line that rc_report_emit() logs at DEBUG1.  Can be called from a
 * callback.
 */
void
rc_report_note(const char *what, const char *text)
{
	add_line(LEVEL_DEBUG, what, text);
}

static void
add_line(int level, const char *what, const char *text)
{
	ReportLine *line;

	if (report_count >= REPORT_LINES)
	{
		report_dropped++;
		return;
	}
	line = &report_lines[report_count++];
	line->level = level;
	snprintf(line->text, sizeof(line->text), "%s: %s", what, text);
}

/*
 * librdkafka's callback for errors of the client as a whole.  librdkafka
 * recovers from transport errors by itself, so only their text is stored.  An
 * error of a topic (it does not exist, or the Kafka user has no right to read
 * it) arrives here, too (rd_kafka_toppar_enq_error), and is stored for
 * rc_consumer_fetch().
 */
static void
error_cb(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;

	if (kafka->kind == RC_KAFKA_CONSUMER &&
		(err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
		 rc_kafka_errcode(err) == ERRCODE_UNDEFINED_OBJECT))
	{
		kafka->topic_code = err;
		kafka->topic_lost = true;
		strlcpy(kafka->topic_error, reason, sizeof(kafka->topic_error));
		rc_mask_invalid(kafka->topic_error);
		return;
	}
	if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
	{
		mark_down(kafka);
		if (kafka->last_error[0] != '\0')
			return;
	}
	/* without a token no connection is tried, so nothing else will say it */
	if (err == RD_KAFKA_RESP_ERR__AUTHENTICATION && kafka->tokens)
		mark_down(kafka);
	if (err == RD_KAFKA_RESP_ERR__FATAL)
	{
		(void) rd_kafka_fatal_error(rk, kafka->last_error,
									sizeof(kafka->last_error));
		rc_mask_invalid(kafka->last_error);
		kafka->last_hint = NULL;
	}
	else if (!rc_address_failed(kafka, reason))
		rc_explain_connection(kafka, reason);
}

static void
mark_down(RcKafka *kafka)
{
	if (kafka->down)
		return;
	kafka->down = true;
	kafka->down_reported = false;
	INSTR_TIME_SET_CURRENT(kafka->down_since);
}

/*
 * librdkafka's callback for responses of a broker that reads nothing more from
 * its connection for some time, because the client has exceeded a quota; with
 * 0, of one that does no longer, but may have more requests to answer.
 */
static void
throttle_cb(rd_kafka_t *rk, const char *broker_name, int32_t broker_id,
			int throttle_ms, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;

	if (throttle_ms == 0)
		return;
	INSTR_TIME_SET_CURRENT(kafka->throttled_at);
	kafka->throttle_ms = throttle_ms;
}

/*
 * Does a broker let the client wait for a quota?  Then it responds late, which
 * is no error.
 */
bool
rc_kafka_throttled(RcKafka *kafka)
{
	instr_time	elapsed;

	rd_kafka_poll(kafka->rk, 0);
	if (likely(kafka->throttle_ms == 0))
		return false;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, kafka->throttled_at);
	return INSTR_TIME_GET_MILLISEC(elapsed) <
		(double) kafka->throttle_ms + THROTTLE_MARGIN_MS;
}

/*
 * Write to the server's log what callbacks have stored.  Logging processes
 * interrupts, which can raise an error, so the caller must not hold a message
 * or another object of librdkafka in a local variable: it would leak.
 */
void
rc_report_emit(RcKafka *kafka)
{
	if (kafka->answered)
	{
		kafka->answered = false;
		/* records that were read ahead arrive after the broker has gone */
		if (!kafka->down || broker_usable(kafka))
			rc_kafka_mark_up(kafka);
	}
	if (kafka->down && !kafka->down_reported)
		report_state(kafka);

	while (report_count > 0)
	{
		ReportLine	line = report_lines[0];

		report_count--;
		memmove(&report_lines[0], &report_lines[1],
				report_count * sizeof(ReportLine));
		report_line(&line);
	}
}

static void
report_line(const ReportLine *line)
{
	uint64		dropped;

	if (line->level >= LEVEL_DEBUG)
	{
		ereport(DEBUG1, (errmsg_internal("Kafka client: %s", line->text)));
		return;
	}
	if (!report_allowed())
	{
		report_dropped++;
		return;
	}
	dropped = report_dropped;
	report_dropped = 0;
	ereport(LOG,
			(errmsg("Kafka client: %s", line->text),
			 dropped > 0 ?
			 errdetail("Earlier messages that were suppressed: " UINT64_FORMAT ".",
					   dropped) : 0));
}

/*
 * Count a line; returns false if it exceeds the limit of REPORT_BURST.
 */
static bool
report_allowed(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		minutes = (now - report_refilled) / USECS_PER_MINUTE;

	if (minutes > 0)
	{
		report_allowance = (int) Min(REPORT_BURST,
									 report_allowance + minutes);
		report_refilled = now;
	}
	if (report_allowance <= 0)
		return false;
	report_allowance--;
	return true;
}

/*
 * Log that all brokers are down, once that has lasted REPORT_DOWN_AFTER_MS.
 */
static void
report_state(RcKafka *kafka)
{
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, kafka->down_since);
	if (INSTR_TIME_GET_MILLISEC(elapsed) < REPORT_DOWN_AFTER_MS)
		return;
	if (broker_usable(kafka))
	{
		rc_kafka_mark_up(kafka);
		return;
	}
	kafka->down_reported = true;
	if (report_allowed())
		ereport(WARNING,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not reach the Kafka brokers \"%s\": %s",
						rc_kafka_brokers, kafka->last_error),
				 errhint("%s", rc_kafka_connection_hint(kafka))));
}

/*
 * Is a connection to any broker up?  With a timeout of 0, rd_kafka_metadata()
 * returns __TRANSPORT and starts to connect if there is none; else it does
 * not wait for the response (rd_kafka_broker_any_usable).
 */
static bool
broker_usable(RcKafka *kafka)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(kafka->rk, 0, NULL, &metadata, 0);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(metadata);
	return err != RD_KAFKA_RESP_ERR__TRANSPORT;
}

/*
 * Store that a broker has responded.
 */
void
rc_kafka_mark_up(RcKafka *kafka)
{
	kafka->last_error[0] = '\0';
	kafka->last_hint = NULL;
	kafka->was_up = true;
	rc_address_recall(kafka);
	if (likely(!kafka->down))
		return;
	kafka->down = false;
	if (kafka->down_reported && report_allowed())
		ereport(LOG,
				(errmsg("connection to the Kafka brokers \"%s\" was restored",
						rc_kafka_brokers)));
}

/*
 * NULL while a broker is reachable, else librdkafka's last error text, which
 * is valid until the next call of a function of src/kafka.  Never waits.
 */
const char *
rc_kafka_connection_error(RcKafka *kafka)
{
	rd_kafka_poll(kafka->rk, 0);
	if (!kafka->down)
		return NULL;
	if (broker_usable(kafka))
	{
		rc_kafka_mark_up(kafka);
		return NULL;
	}
	return kafka->last_error;
}

/*
 * The text of an error.  If the code says only that a timeout or network
 * error occurred, that is the more specific text that librdkafka has passed
 * to error_cb().
 */
const char *
rc_kafka_error_text(RcKafka *kafka, rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__FATAL:
			if (kafka->last_error[0] != '\0')
				return kafka->last_error;
			break;
		default:
			break;
	}
	return rd_kafka_err2str(err);
}

/*
 * Raise the error for brokers that did not respond in time: 08006.
 */
void
rc_kafka_unreachable(RcKafka *kafka, rd_kafka_resp_err_t err)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not reach the Kafka brokers \"%s\": %s",
					rc_kafka_brokers, rc_kafka_error_text(kafka, err)),
			 errhint("%s", rc_kafka_connection_hint(kafka))));
}

/*
 * The SQLSTATE for an error of librdkafka.  Class 08 is for transient errors;
 * it includes a failed authentication, since that can be fixed at the broker
 * without a change here.
 */
int
rc_kafka_errcode(rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
			return ERRCODE_UNDEFINED_OBJECT;
		case RD_KAFKA_RESP_ERR__INVALID_ARG:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
		case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
		case RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT:
		case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
		case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
		case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case RD_KAFKA_RESP_ERR__BAD_MSG:
		case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
			return ERRCODE_DATA_CORRUPTED;
		case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		default:
			return ERRCODE_CONNECTION_FAILURE;
	}
}
