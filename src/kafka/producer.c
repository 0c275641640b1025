/*-------------------------------------------------------------------------
 *
 * producer.c
 *	  Sends records to Kafka and waits for their delivery.
 *
 * It must not drop a record: each is delivered, refused, or part of an error
 * after which the caller sends it again.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Callbacks are run after so many records at the latest. */
#define SERVE_EVERY	64

/*
 * rc_producer_send() gives up when the queue is full and nothing has been
 * delivered for so long.
 */
#define STALL_MS	60000

/* How long to look for the cause of a missing report. */
#define EXPLAIN_MS	800

/* How long a push may block: time for the broker threads to wake up. */
#define PUSH_MS		10

static RcTopic *find_topic(RcProducer *producer, const char *name);
static RcTopic *make_topic(RcKafka *kafka, const char *name);
static rd_kafka_headers_t *make_headers(const RcRecord *record);
static const char *bytes_of(const char *bytes, int len);
static void wait_for_room(RcKafka *kafka, RcTopic *topic);

/*
 * Register the callback for delivery reports.
 */
void
rc_producer_attach(rd_kafka_conf_t *conf)
{
	rd_kafka_conf_set_dr_msg_cb(conf, rc_delivery_cb);
}

void
rc_producer_begin(RcKafka *kafka)
{
	kafka->producer = MemoryContextAllocZero(kafka->context,
											 sizeof(RcProducer));
}

/*
 * Drop undelivered records and free malloc'd memory.  Called before
 * librdkafka is destroyed, which would wait for each undelivered record.
 */
void
rc_producer_end(RcKafka *kafka)
{
	RcProducer *producer = kafka->producer;
	RcTopic    *topic;

	if (kafka->rk != NULL)
	{
		rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE |
					   RD_KAFKA_PURGE_F_INFLIGHT |
					   RD_KAFKA_PURGE_F_NON_BLOCKING);
		rd_kafka_poll(kafka->rk, 0);
	}
	for (topic = producer->topics; topic != NULL; topic = topic->next)
	{
		rd_kafka_topic_destroy(topic->rkt);
		free(topic->delivered);
		topic->delivered = NULL;
		topic->n_delivered = 0;
	}
	rc_resend_free(&producer->rest);
	rc_resend_free(&producer->resend);
	free(producer->refusals);
	producer->refusals = NULL;
	producer->nrefusals = producer->refusals_size = 0;
}

/*
 * Send a copy of a record to its topic.  The partition is chosen by the key,
 * as Java clients do; record->partition and record->offset are ignored, and a
 * timestamp_ms of 0 or less means now.  "tag" identifies the record in the
 * result of rc_producer_flush().
 *
 * Waits, interruptibly, while the local queue is full.  A record that is too
 * large counts as refused.
 *
 * Errors: 08006 if nothing was delivered for a minute while the queue was
 * full; others by rc_kafka_errcode().  After an error the caller must close
 * the producer, open another and send again all records since the last
 * successful flush.
 */
void
rc_producer_send(RcKafka *kafka, const RcRecord *record, uint64 tag)
{
	RcProducer *producer = kafka->producer;
	RcTopic    *topic = rc_producer_topic(kafka, record->topic);
	rd_kafka_resp_err_t err;

	Assert(!IsTransactionState());
	if (++producer->unserved >= SERVE_EVERY)
	{
		producer->unserved = 0;
		rd_kafka_poll(kafka->rk, 0);
		rc_report_emit(kafka);
		CHECK_FOR_INTERRUPTS();
	}
	if (producer->resend.length > 0)
	{
		RcDeadline	deadline;

		rc_deadline_start(&deadline, STALL_MS);
		rc_producer_settle(kafka, &deadline);
	}
	rc_producer_check(kafka);

	for (;;)
	{
		err = rc_producer_try(kafka, topic, record, tag);
		if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			break;
		wait_for_room(kafka, topic);
	}
	if (rc_delivery_is_refusal(err))
		rc_delivery_refuse(producer, tag, err);
	else if (err)
		rc_producer_fail(kafka, topic, err);
}

/*
 * Wait until every record sent so far has its delivery report, at most for
 * timeout_ms.  *refused is set to a List of RcRefused, palloc'd in the current
 * context: the records that Kafka has rejected permanently.  All others are
 * stored on all in-sync replicas.
 *
 * Errors: 08006 after timeout_ms or for a transient error; others by
 * rc_kafka_errcode().  Then it is unknown which records are delivered, and
 * the caller must close the producer, open another and send them again.
 */
void
rc_producer_flush(RcKafka *kafka, int timeout_ms, List **refused)
{
	RcDeadline	deadline;

	*refused = NIL;
	rc_deadline_start(&deadline, timeout_ms);
	rc_producer_settle(kafka, &deadline);
	rc_producer_check(kafka);
	Assert(kafka->producer->outstanding == 0);
	*refused = rc_delivery_refusals(kafka->producer);
}

/*
 * The offset of the last record that this producer has delivered to a
 * partition; -1 if none.
 */
int64
rc_producer_last_offset(RcKafka *kafka, const char *topic, int32 partition)
{
	RcTopic    *found = find_topic(kafka->producer, topic);

	if (found == NULL || partition < 0 || partition >= found->n_delivered)
		return -1;
	return found->delivered[partition].offset;
}

/*
 * Queue a copy of a record in librdkafka, if there is room.  Does not wait;
 * returns __QUEUE_FULL if there is none.
 */
rd_kafka_resp_err_t
rc_producer_try(RcKafka *kafka, RcTopic *topic, const RcRecord *record,
				uint64 tag)
{
	rd_kafka_headers_t *headers = make_headers(record);
	rd_kafka_resp_err_t err = rc_producer_produce(kafka, topic, RD_KAFKA_PARTITION_UA,
												  record, headers, tag);

	if (err && headers != NULL)
		rd_kafka_headers_destroy(headers);
	return err;
}

/*
 * Send all queued records now.  Until this is called a batch is not sent
 * before it is full (linger.ms): the queued records of a partition, up to
 * batch.size, are one batch.  So no later record of the partition is in
 * flight behind a batch that is refused, unless it was queued after the push.
 */
void
rc_producer_push(RcKafka *kafka)
{
	(void) rd_kafka_flush(kafka->rk, PUSH_MS);
}

/*
 * The topic of that name, created at its first use; valid until the producer
 * is closed.
 */
RcTopic *
rc_producer_topic(RcKafka *kafka, const char *name)
{
	RcTopic    *topic = find_topic(kafka->producer, name);

	return topic != NULL ? topic : make_topic(kafka, name);
}

static RcTopic *
find_topic(RcProducer *producer, const char *name)
{
	RcTopic    *topic = producer->current;

	if (topic != NULL && strcmp(topic->name, name) == 0)
		return topic;
	for (topic = producer->topics; topic != NULL; topic = topic->next)
	{
		if (strcmp(topic->name, name) == 0)
		{
			producer->current = topic;
			return topic;
		}
	}
	return NULL;
}

static RcTopic *
make_topic(RcKafka *kafka, const char *name)
{
	RcProducer *producer = kafka->producer;
	RcTopic    *topic = MemoryContextAllocZero(kafka->context, sizeof(RcTopic));

	topic->name = MemoryContextStrdup(kafka->context, name);
	topic->rkt = rd_kafka_topic_new(kafka->rk, name, NULL);
	if (topic->rkt == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not use topic \"%s\": %s", name,
						rd_kafka_err2str(rd_kafka_last_error()))));
	topic->next = producer->topics;
	producer->topics = topic;
	producer->current = topic;
	return topic;
}

static rd_kafka_headers_t *
make_headers(const RcRecord *record)
{
	rd_kafka_headers_t *headers;

	if (record->nheaders == 0)
		return NULL;
	headers = rd_kafka_headers_new(record->nheaders);
	for (int i = 0; i < record->nheaders; i++)
	{
		const RcHeader *header = &record->headers[i];

		if (header->value_len < 0)
			rd_kafka_header_add(headers, header->name, -1, NULL, 0);
		else
			rd_kafka_header_add(headers, header->name, -1,
								header->value ? header->value : "",
								header->value_len);
	}
	return headers;
}

/*
 * librdkafka takes a NULL pointer as null; RcRecord has length -1 for that,
 * and an empty value can have any pointer.
 */
static const char *
bytes_of(const char *bytes, int len)
{
	if (len < 0)
		return NULL;
	return bytes != NULL ? bytes : "";
}

/*
 * Queue a copy of a record in librdkafka, which then owns the headers, unless
 * it returns an error.
 */
rd_kafka_resp_err_t
rc_producer_produce(RcKafka *kafka, RcTopic *topic, int32 partition, const RcRecord *record,
					rd_kafka_headers_t *headers, uint64 tag)
{
	const char *key = bytes_of(record->key, record->key_len);
	const char *value = bytes_of(record->value, record->value_len);
	rd_kafka_resp_err_t err;

	err = rd_kafka_producev(kafka->rk,
							RD_KAFKA_V_RKT(topic->rkt),
							RD_KAFKA_V_PARTITION(partition),
							RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							RD_KAFKA_V_KEY(key, Max(record->key_len, 0)),
							RD_KAFKA_V_VALUE((void *) value,
											 Max(record->value_len, 0)),
							RD_KAFKA_V_TIMESTAMP(Max(record->timestamp_ms, 0)),
							RD_KAFKA_V_OPAQUE((void *) (uintptr_t) tag),
							RD_KAFKA_V_HEADERS(headers),
							RD_KAFKA_V_END);
	if (!err)
		kafka->producer->outstanding++;
	return err;
}

/*
 * Wait until a delivery report has made room in the local queue.
 */
static void
wait_for_room(RcKafka *kafka, RcTopic *topic)
{
	RcProducer *producer = kafka->producer;
	uint64		before = producer->reports;
	RcDeadline	deadline;

	rc_deadline_start(&deadline, STALL_MS);
	do
	{
		if (rc_deadline_over(kafka, &deadline))
			rc_producer_fail(kafka, topic, RD_KAFKA_RESP_ERR__TIMED_OUT);
		rc_producer_push(kafka);
		rc_kafka_wait(kafka, Min(rc_deadline_left(&deadline),
								 RC_PRODUCER_WAIT_MS));
		rc_producer_check(kafka);
	} while (producer->reports == before);
}

/*
 * Raise the error that the callback has stored, if there is one.
 */
void
rc_producer_check(RcKafka *kafka)
{
	RcProducer *producer = kafka->producer;

	if (likely(!producer->failed && !producer->no_memory))
		return;
	if (producer->no_memory)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	rc_producer_fail(kafka, producer->failed_topic, producer->failed);
}

/*
 * Raise an error that leaves records undelivered.  After a fatal error of the
 * producer, text and SQLSTATE are those of its cause.
 */
void
rc_producer_fail(RcKafka *kafka, RcTopic *topic, rd_kafka_resp_err_t err)
{
	char		error_text[RC_KAFKA_ERRSTR_MAX];
	rd_kafka_resp_err_t fatal;
	int64		outstanding = kafka->producer->outstanding;
	const char *hint = NULL;

	fatal = rd_kafka_fatal_error(kafka->rk, error_text, sizeof(error_text));
	if (fatal)
		err = fatal;
	else if (err == RD_KAFKA_RESP_ERR__TIMED_OUT && topic != NULL &&
			 rc_kafka_connection_error(kafka) == NULL &&
			 rc_kafka_address_error(kafka) == NULL)
	{
		hint = RC_UNCONFIRMED_HINT;
		strlcpy(error_text, rc_kafka_unconfirmed(kafka, topic->name, EXPLAIN_MS),
				sizeof(error_text));
	}
	else
		strlcpy(error_text, rc_kafka_error_text(kafka, err), sizeof(error_text));
	rc_mask_invalid(error_text);
	if (rc_kafka_errcode(err) == ERRCODE_INSUFFICIENT_PRIVILEGE)
		hint = "Give the Kafka user the right to write to the topic.";
	else if (rc_kafka_errcode(err) == ERRCODE_CONNECTION_FAILURE && hint == NULL)
		hint = kafka->last_hint;
	ereport(ERROR,
			(errcode(rc_kafka_errcode(err)),
			 errmsg("could not publish to topic \"%s\": %s",
					topic ? topic->name : "", error_text),
			 outstanding > 0 ?
			 errdetail_plural("%lld record has not been confirmed.",
							  "%lld records have not been confirmed.",
							  (unsigned long) outstanding,
							  (long long) outstanding) : 0,
			 hint ? errhint("%s", hint) : 0));
}
