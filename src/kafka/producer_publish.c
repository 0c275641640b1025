/*-------------------------------------------------------------------------
 *
 * producer_publish.c
 *	  A producer whose messages are told of one by one, for the outbox.
 *
 * It must not wait for a report, nor make an error of what became of one
 * message: the messages of other topics have nothing to do with it.
 *
 * A message is sent when it is pushed; see rc_producer_push().  As long as no
 * more than one batch of a topic is handed over before all its reports have
 * come, the order within each partition holds, whatever Kafka refuses.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

#include <limits.h>

#include "utils/memutils.h"

/*
 * What a batch may hold besides keys, values and headers.
 */
#define BATCH_OVERHEAD	1024

static int	get_property(RcKafka *kafka, const char *name);
static void answer_of(RcKafka *kafka, rd_kafka_resp_err_t err,
					  RcAnswer *answer);

/*
 * Have the producer, just opened, hand out each report.
 */
void
rc_publish_begin(RcKafka *kafka)
{
	kafka->producer->by_message = true;
}

/*
 * How many messages make one batch, and how many bytes by RC_PUBLISH_SIZE; one
 * message may be larger.
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
 * Hand over a message; false if it cannot be, and why.  With the outcome
 * RC_KAFKA_LATER and no error there is no room before others have been
 * delivered.
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
		/* no room is ever made for what is larger than the whole queue */
		answer->outcome = RC_KAFKA_LATER;
		if (kafka->producer->outstanding > 0)
			return false;
		err = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
	}
	answer_of(kafka, err, answer);
	return err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/*
 * Send what has been handed over.
 */
void
rc_publish_push(RcKafka *kafka)
{
	rc_producer_push(kafka);
}

/*
 * Push what has been handed over, and take the reports that have come: a list
 * of RcAnswer in the current context.  After a fatal error of the producer
 * only what has been delivered is told: the caller sends the rest again, by
 * another one.
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
 * Whether the producer is of no use any more.
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
 * Raise what has made it so.
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
 * What an error of a message, or of a topic that is looked up or made, means.
 * That there are too few brokers for a topic's replicas may pass.
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
