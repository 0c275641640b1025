/*-------------------------------------------------------------------------
 *
 * outbox_producer.c
 *	  The producers of the outbox worker: the current one, and one that has
 *	  been replaced while messages are in flight.
 *
 * A producer must not be replaced while its messages may still be confirmed,
 * unless those of other topics have no room: what is sent by another producer
 * may be in the topic twice.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "utils/timestamp.h"

/*
 * A batch in flight for longer than this is reported, in ms.  librdkafka goes
 * on sending it, and the broker recognizes what it has stored already: another
 * producer would store it twice.
 */
#define REPORT_AFTER_MS	30000

/* A batch in flight for longer than this is stalled, in ms. */
#define TIMEOUT_MS		300000

/* The same while the limit of bytes in flight is reached. */
#define SHORT_TIMEOUT_MS	5000

/*
 * How long to look for the cause when messages were not confirmed, in ms, and
 * for how many topics at a time.
 */
#define EXPLAIN_MS		200
#define EXPLAIN_MOST	5

/* Time limit of other batches of a producer that has been replaced, in ms. */
#define ASIDE_TIMEOUT_MS	2000

/*
 * A producer is replaced when it knows this many topics, or has looked up this
 * many: librdkafka searches a list of them for each message.
 */
#define TOPICS_LIMIT	1000
#define LOOKUPS_LIMIT	2000

static char *why_unconfirmed(RcKafka *kafka, const RcOutTopic *topic,
							 int *explained);

/*
 * Store of which topics a batch is in flight for long, and why, unless the
 * broker lets the producer wait for a quota.
 */
void
rc_out_report_unconfirmed(RcPublisher *publisher)
{
	TimestampTz now = GetCurrentTimestamp();
	RcOutTopic *topic;
	int			explained = 0;

	if (publisher->kafka == NULL || rc_kafka_throttled(publisher->kafka) ||
		rc_kafka_connection_error(publisher->kafka) != NULL)
		return;
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->nopen == 0 || topic->aside || rc_out_waits(topic, now) ||
			!rc_time_passed(topic->sent_at, REPORT_AFTER_MS))
			continue;
		rc_out_wait(topic, ERRCODE_CONNECTION_FAILURE,
					psprintf(gettext_noop("could not publish to topic \"%s\": %s"),
							 topic->name,
							 why_unconfirmed(publisher->kafka, topic, &explained)),
					RC_UNCONFIRMED_HINT);
	}
}

static char *
why_unconfirmed(RcKafka *kafka, const RcOutTopic *topic, int *explained)
{
	const char *address_error = rc_kafka_address_error(kafka);

	if (address_error != NULL)
		return psprintf(gettext_noop("its messages were not confirmed in time: %s"),
						address_error);
	return rc_kafka_unconfirmed(kafka, topic->name,
								(*explained)++ < EXPLAIN_MOST ? EXPLAIN_MS : 0);
}

/*
 * Replace the producer if a batch is stalled, it knows too many topics, or
 * settings or secrets have changed.  Messages of other topics then need not
 * wait; those in flight get their reports from the old producer.
 */
void
rc_out_put_aside_stalled(RcPublisher *publisher)
{
	int			timeout_ms;
	RcOutBytes	bytes;
	RcOutTopic *topic;
	bool		stalled = false;

	if (publisher->kafka == NULL || publisher->aside != NULL)
		return;
	rc_out_open_bytes(&bytes);
	timeout_ms = (bytes.all >= RC_OPEN_LIMIT || bytes.slow >= RC_SLOW_LIMIT) &&
		!rc_kafka_throttled(publisher->kafka) ? SHORT_TIMEOUT_MS : TIMEOUT_MS;
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->nopen > 0 && rc_time_passed(topic->sent_at, timeout_ms))
			stalled = true;
	}
	if (!stalled && rc_out_count(RC_OUT_READY) <= TOPICS_LIMIT &&
		publisher->lookups <= LOOKUPS_LIMIT &&
		!rc_kafka_stale(publisher->kafka))
		return;
	rc_kafka_put_aside(publisher->kafka);
	publisher->aside = publisher->kafka;
	publisher->aside_since = GetCurrentTimestamp();
	publisher->kafka = NULL;
	rc_out_put_aside();
}

/*
 * Close the replaced producer when it has only topics left that failed the
 * last time as well, or whose time is up.  Those topics wait for a retry.
 * Raises ERRCODE_CONNECTION_FAILURE if it could not reach the brokers.
 */
void
rc_out_close_aside(RcPublisher *publisher)
{
	const char *connection_error;
	const char *hint;
	RcOutTopic *topic;
	bool		any = false;
	bool		hopeful = false;
	int			explained = 0;

	if (publisher->aside == NULL)
		return;
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->nopen == 0 || !topic->aside)
			continue;
		any = true;
		hopeful |= topic->failures == 0 &&
			!rc_time_passed(topic->sent_at, SHORT_TIMEOUT_MS);
	}
	if (hopeful && !rc_publish_failed(publisher->aside) &&
		!rc_time_passed(publisher->aside_since, ASIDE_TIMEOUT_MS))
		return;
	connection_error = rc_kafka_connection_error(publisher->aside);
	hint = rc_kafka_connection_hint(publisher->aside);
	if (connection_error != NULL)
		connection_error = pstrdup(connection_error);
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->nopen > 0 && topic->aside && connection_error == NULL)
			rc_out_later(topic, ERRCODE_CONNECTION_FAILURE,
						 why_unconfirmed(publisher->aside, topic, &explained));
	}
	rc_kafka_close(publisher->aside);
	publisher->aside = NULL;
	rc_out_lost(true);
	if (any && connection_error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not reach the Kafka brokers \"%s\": %s",
						rc_kafka_brokers, connection_error),
				 errhint("%s", hint)));
}

/* Open a producer with the current settings. */
void
rc_out_open_producer(RcPublisher *publisher)
{
	if (publisher->kafka != NULL)
		return;
	publisher->kafka = rc_kafka_open(RC_KAFKA_PRODUCER, rc_client_id("outbox"),
									 NULL);
	rc_kafka_stop_when(publisher->kafka, rc_outbox_ending);
	publisher->lookups = 0;
	rc_publish_begin(publisher->kafka);
	rc_publish_batch(publisher->kafka, &publisher->batch_messages,
					 &publisher->batch_bytes);
	publisher->batch_messages = Min(publisher->batch_messages, RC_READ_LIMIT);
}

/* Close the producer; unconfirmed messages remain in the outbox. */
void
rc_out_close_producer(RcPublisher *publisher)
{
	if (publisher->kafka != NULL)
		rc_kafka_close(publisher->kafka);
	publisher->kafka = NULL;
	rc_out_lost(false);
}
