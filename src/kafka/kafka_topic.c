/*-------------------------------------------------------------------------
 *
 * kafka_topic.c
 *	  Looks up the cluster's id and its topics.
 *
 * Nothing is created here: see kafka_topic_create.c.  Blocking calls of
 * librdkafka are made in slices (see kafka_wait.c).
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include "miscadmin.h"

/* Between two attempts. */
#define PAUSE_MS	100

static rd_kafka_resp_err_t ask_about(RcKafka *kafka, const char *topic,
									 int timeout_ms, RcAnswer *answer);
static void note_worst(const struct rd_kafka_metadata_topic *topic,
					   RcAnswer *answer);
static void set_answer(RcAnswer *answer, rd_kafka_resp_err_t err);

/*
 * The cluster's id, palloc'd in the current context; NULL if the cluster has
 * none (brokers older than 0.10.1).  Waits for timeout_ms at most.
 *
 * Errors: 08006 if no broker responds.
 */
char *
rc_kafka_cluster_id(RcKafka *kafka, int timeout_ms)
{
	RcDeadline	deadline;
	rd_kafka_resp_err_t err;

	rc_deadline_start(&deadline, timeout_ms);
	for (;;)
	{
		const struct rd_kafka_metadata *metadata;
		char	   *id;
		char	   *copy;

		id = rd_kafka_clusterid(kafka->rk, 0);
		if (id != NULL)
		{
			copy = MemoryContextStrdup(CurrentMemoryContext, id);
			rd_kafka_mem_free(kafka->rk, id);
			return copy;
		}
		err = rd_kafka_metadata(kafka->rk, 0, NULL, &metadata,
								rc_deadline_slice(&deadline));
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			rd_kafka_metadata_destroy(metadata);
			rc_kafka_mark_up(kafka);
			id = rd_kafka_clusterid(kafka->rk, 0);
			if (id == NULL)
				return NULL;
			copy = MemoryContextStrdup(CurrentMemoryContext, id);
			rd_kafka_mem_free(kafka->rk, id);
			return copy;
		}
		rc_kafka_pause(kafka, PAUSE_MS);
		if (!rc_kafka_resend(kafka, &deadline))
			break;
	}
	rc_kafka_unreachable(kafka, err);
	return NULL;
}

/*
 * How many partitions a topic has; 0 if there is no such topic.  Waits for
 * timeout_ms at most, also for a topic that has just been created.
 *
 * Errors: 08006 if no broker responds, 42501 if the Kafka user has no right on
 * the topic, 22023 if no topic can have that name.
 */
int
rc_kafka_partition_count(RcKafka *kafka, const char *topic, int timeout_ms)
{
	RcDeadline	deadline;
	rd_kafka_resp_err_t err;

	rc_deadline_start(&deadline, timeout_ms);
	do
	{
		RcAnswer	answer;

		err = ask_about(kafka, topic, rc_deadline_slice(&deadline), &answer);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			if (answer.outcome == RC_KAFKA_DONE)
				return answer.partitions;
			if (answer.sqlstate != ERRCODE_CONNECTION_FAILURE)
				ereport(ERROR,
						(errcode(answer.sqlstate),
						 errmsg("could not look up topic \"%s\": %s", topic,
								answer.error),
						 answer.sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE ?
						 (kafka->kind == RC_KAFKA_CONSUMER ?
						  errhint("Give the Kafka user the right to read the topic.") :
						  errhint("Give the Kafka user the right to read the topic, or to write to it.")) : 0));
		}
		rc_kafka_pause(kafka, PAUSE_MS);
	} while (rc_kafka_resend(kafka, &deadline));

	rc_kafka_unreachable(kafka, err);
	return 0;
}

/*
 * The same, but an error of the topic itself is returned in *answer instead
 * of being raised or retried.
 *
 * Errors: 08006 if no broker responds.
 */
void
rc_kafka_look_up(RcKafka *kafka, const char *topic, int timeout_ms,
				 RcAnswer *answer)
{
	RcDeadline	deadline;
	rd_kafka_resp_err_t err;

	rc_deadline_start(&deadline, timeout_ms);
	do
	{
		err = ask_about(kafka, topic, rc_deadline_slice(&deadline), answer);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return;
		rc_kafka_pause(kafka, PAUSE_MS);
	} while (rc_kafka_resend(kafka, &deadline));

	rc_kafka_unreachable(kafka, err);
}

/*
 * Look up a topic once.  Returns an error if no broker responds in time; an
 * error of the topic itself is in *answer.  Processes interrupts, since callers
 * ask about many topics in a row.
 */
static rd_kafka_resp_err_t
ask_about(RcKafka *kafka, const char *topic, int timeout_ms, RcAnswer *answer)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *rkt;
	rd_kafka_resp_err_t err;

	CHECK_FOR_INTERRUPTS();
	rkt = rd_kafka_topic_new(kafka->rk, topic, NULL);
	memset(answer, 0, sizeof(RcAnswer));
	answer->topic = topic;
	if (rkt == NULL)
	{
		set_answer(answer, rd_kafka_last_error());
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	err = rd_kafka_metadata(kafka->rk, 0, rkt, &metadata, timeout_ms);
	rd_kafka_topic_destroy(rkt);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return err;

	err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	if (metadata->topic_cnt == 1)
	{
		err = metadata->topics[0].err;
		answer->partitions = metadata->topics[0].partition_cnt;
		note_worst(&metadata->topics[0], answer);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && answer->partitions == 0)
			err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
	}
	rd_kafka_metadata_destroy(metadata);
	rc_kafka_mark_up(kafka);
	if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
	{
		answer->partitions = 0;
		err = RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	set_answer(answer, err);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/*
 * Note the partition that has no leader, or the fewest replicas in sync.
 */
static void
note_worst(const struct rd_kafka_metadata_topic *topic, RcAnswer *answer)
{
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		const struct rd_kafka_metadata_partition *partition = &topic->partitions[i];
		int			in_sync = partition->leader < 0 ? -1 : partition->isr_cnt;

		if (i > 0 && in_sync >= answer->in_sync)
			continue;
		answer->worst = partition->id;
		answer->in_sync = in_sync;
		answer->replicas = partition->replica_cnt;
	}
}

/*
 * Why messages for a topic may not have been confirmed in time, palloc'd in
 * the current context: librdkafka sends them again and again, and does not
 * report the broker's answer.
 */
char *
rc_kafka_unconfirmed(RcKafka *kafka, const char *topic, int timeout_ms)
{
	RcAnswer	answer;

	if (ask_about(kafka, topic, timeout_ms, &answer) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		answer.partitions == 0)
		return pstrdup(gettext_noop("its messages were not confirmed in time"));
	if (answer.in_sync < 0)
		return psprintf(gettext_noop("its messages were not confirmed in time, and partition %d has no leader"),
						answer.worst);
	return psprintf(gettext_noop("its messages were not confirmed in time; of partition %d, %d of %d replicas are in sync"),
					answer.worst, answer.in_sync, answer.replicas);
}

static void
set_answer(RcAnswer *answer, rd_kafka_resp_err_t err)
{
	answer->outcome = rc_outcome_of(err);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	answer->sqlstate = rc_kafka_errcode(err);
	answer->error = rd_kafka_err2str(err);
}
