/*-------------------------------------------------------------------------
 *
 * producer_publish.c
 *	  A producer that returns the result of each message, for the outbox.
 *
 * It must not wait for a delivery report, nor raise an error for a failed
 * message: messages of other topics must not be delayed by it.
 *
 * A message is sent when it is pushed; see rc_producer_push().  The order
 * within each partition is kept, whatever Kafka refuses, as long as the
 * caller queues no more than one batch of a topic (see rc_publish_batch)
 * before it has the results of all messages of the previous one.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

#include <limits.h>

#include "utils/memutils.h"

/*
 * Room in a batch for what is neither key, value nor header, in bytes.
 */
#define BATCH_OVERHEAD	1024

static int	get_property(RcKafka *kafka, const char *name);
static void answer_of(RcKafka *kafka, rd_kafka_resp_err_t err,
					  RcAnswer *answer);

/*
 * Make a producer that was just opened return each delivery report.
 */
void
rc_publish_begin(RcKafka *kafka)
{
	kafka->producer->by_message = true;
}

/*
 * How many messages, and how many bytes by RC_PUBLISH_SIZE, fit into one
 * batch.  A single message can be larger.
 */
void
rc_publish_batch(RcKafka *kafka, int *messages, int *bytes)
{
	*messages = Max(get_property(kafka, "batch.num.messages"), 1);
	*bytes = Max(get_property(kafka, "batch.size") - BATCH_OVERHEAD, 1);
}

static int
get_property(RcKafka *kafka, const char *name)
{
	char		value[64] = "";
	size_t		size = sizeof(value);

	(void) rd_kafka_conf_get(rd_kafka_conf(kafka->rk), name, value, &size);
	return (int) Min(strtol(value, NULL, 10), INT_MAX);
}

/*
 * Queue a message.  Returns false, with the reason in *answer, if that is not
 * possible; outcome RC_KAFKA_LATER without an error means that the queue is
 * full until other messages have been delivered.
 */
bool
rc_publish_send(RcKafka *kafka, const RcRecord *record, uint64 tag,
				RcAnswer *answer)
{
	RcTopic    *topic = rc_producer_topic(kafka, record->topic);
	rd_kafka_resp_err_t err = rc_producer_try(kafka, topic, record, tag);

	memset(answer, 0, sizeof(RcAnswer));
	answer->topic = record->topic;
	answer->tag = tag;
	if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
	{
		/* the queue is empty, so the message is larger than all of it */
		answer->outcome = RC_KAFKA_LATER;
		if (kafka->producer->outstanding > 0)
			return false;
		err = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
	}
	answer_of(kafka, err, answer);
	return err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

void
rc_publish_push(RcKafka *kafka)
{
	rc_producer_push(kafka);
}

/*
 * Push all queued messages, and return the delivery reports received so far:
 * a List of RcAnswer, palloc'd in the current context.  After a fatal error
 * of the producer only delivered messages are returned: the caller sends the
 * others again with another producer.
 */
List *
rc_publish_serve(RcKafka *kafka)
{
	RcProducer *producer = kafka->producer;
	List	   *answers = NIL;

	if (producer->outstanding > 0)
		rc_producer_push(kafka);
	else
		rd_kafka_poll(kafka->rk, 0);
	rc_report_emit(kafka);
	for (int i = 0; i < producer->nrefusals; i++)
	{
		RcRefusal  *report = &producer->refusals[i];
		RcAnswer   *answer;

		if (report->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
			rc_publish_failed(kafka))
			continue;
		answer = palloc0(sizeof(RcAnswer));
		answer->tag = report->tag;
		answer_of(kafka, report->err, answer);
		answers = lappend(answers, answer);
	}
	producer->nrefusals = 0;
	return answers;
}

/*
 * Has the producer failed, so that another must be opened?
 */
bool
rc_publish_failed(RcKafka *kafka)
{
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	return kafka->producer->no_memory ||
		rd_kafka_fatal_error(kafka->rk, error_text, sizeof(error_text)) !=
		RD_KAFKA_RESP_ERR_NO_ERROR;
}

/*
 * Raise the error because of which rc_publish_failed() returns true.
 */
void
rc_publish_raise(RcKafka *kafka)
{
	char		error_text[RC_KAFKA_ERRSTR_MAX];
	rd_kafka_resp_err_t err = rd_kafka_fatal_error(kafka->rk, error_text,
												   sizeof(error_text));

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	rc_mask_invalid(error_text);
	ereport(ERROR,
			(errcode(rc_kafka_errcode(err)),
			 errmsg("could not publish to Kafka: %s", error_text),
			 rc_kafka_errcode(err) == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Grant WRITE on the topics that it publishes to to the Kafka user of this server.") : 0));
}

static void
answer_of(RcKafka *kafka, rd_kafka_resp_err_t err, RcAnswer *answer)
{
	answer->outcome = rc_outcome_of(err);
	answer->sqlstate = rc_kafka_errcode(err);
	answer->error = err ? rc_kafka_error_text(kafka, err) : NULL;
}

/*
 * Is an error of a message, or of looking up or creating a topic, permanent?
 * Too few brokers for a topic's replication factor is transient.
 */
RcKafkaOutcome
rc_outcome_of(rd_kafka_resp_err_t err)
{
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return RC_KAFKA_DONE;
	if (rc_delivery_is_refusal(err))
		return RC_KAFKA_REFUSED;
	switch (err)
	{
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
		case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
		case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
		case RD_KAFKA_RESP_ERR__INVALID_ARG:
			return RC_KAFKA_TOPIC_REFUSED;
		default:
			return RC_KAFKA_LATER;
	}
}
