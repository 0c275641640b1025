/*-------------------------------------------------------------------------
 *
 * kafka_topic.c
 *	  Looks up the cluster's id and its topics, and creates a topic.
 *
 * Topics may be created only here and in kafka_topic_create.c, so that all
 * get the same properties.  Blocking calls of librdkafka are made in slices
 * (see kafka_wait.c).
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include "miscadmin.h"

/* Between two attempts. */
#define PAUSE_MS	100

/* How long a broker may wait for the other brokers to create the topic. */
#define CREATE_WAIT_MS	10000

/* 7 days: a consumer that lags less sees every version and tombstone. */
#define COMPACTION_LAG_MS	"604800000"

static rd_kafka_resp_err_t ask_about(RcKafka *kafka, const char *topic,
									 int timeout_ms, RcAnswer *answer);
static void set_answer(RcAnswer *answer, rd_kafka_resp_err_t err);
static void ask_for_topic(RcKafka *kafka, const char *topic, int partitions,
						  int replication, bool compacted, int timeout_ms,
						  void *opaque);
static bool take_answer(RcKafka *kafka, const char *topic, void *opaque);
static void check_answer(RcKafka *kafka, const char *topic,
						 rd_kafka_resp_err_t err, const char *error_text);

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
						 errhint("Give the Kafka user the right to read the topic, or to write to it.") : 0));
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

static void
set_answer(RcAnswer *answer, rd_kafka_resp_err_t err)
{
	answer->outcome = rc_outcome_of(err);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	answer->sqlstate = rc_kafka_errcode(err);
	answer->error = rd_kafka_err2str(err);
}

/*
 * Create a topic; an existing one is left unchanged. -1 as partitions or
 * replication means the broker's default.  A compacted topic keeps every
 * record for COMPACTION_LAG_MS at least.  Waits for timeout_ms at most.
 *
 * Errors: 08006 if no broker responds, 42501 if the Kafka user has no right to
 * create it, 22023 if the cluster rejects its name or properties; others by
 * rc_kafka_errcode().
 */
void
rc_kafka_create_topic(RcKafka *kafka, const char *topic, int partitions,
					  int replication, bool compacted, int timeout_ms)
{
	static uintptr_t request = 0;
	RcDeadline	deadline;
	void	   *opaque = (void *) ++request;

	if (kafka->admin == NULL)
		kafka->admin = rd_kafka_queue_new(kafka->rk);
	rc_deadline_start(&deadline, timeout_ms);
	ask_for_topic(kafka, topic, partitions, replication, compacted,
				  timeout_ms, opaque);
	while (!take_answer(kafka, topic, opaque))
	{
		/*
		 * librdkafka ends the request at its timeout; this limits a delay of
		 * that.
		 */
		if (rc_deadline_left(&deadline) == 0)
			rc_kafka_unreachable(kafka, RD_KAFKA_RESP_ERR__TIMED_OUT);
		rc_kafka_pause(kafka, PAUSE_MS);
	}
}

/*
 * Send the request.  Its result arrives in the admin queue, identified by
 * "opaque"; results of earlier, cancelled requests can precede it.
 */
static void
ask_for_topic(RcKafka *kafka, const char *topic, int partitions,
			  int replication, bool compacted, int timeout_ms, void *opaque)
{
	rd_kafka_NewTopic_t *new_topic;
	rd_kafka_AdminOptions_t *options;

	new_topic = rc_topic_describe(topic, partitions, replication, compacted);
	options = rc_topic_options(kafka, timeout_ms, opaque);
	rd_kafka_CreateTopics(kafka->rk, &new_topic, 1, options, kafka->admin);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy(new_topic);
}

/*
 * Options of a request that creates topics: its time limits, and "opaque",
 * which identifies its result.  The caller destroys them.
 */
rd_kafka_AdminOptions_t *
rc_topic_options(RcKafka *kafka, int timeout_ms, void *opaque)
{
	rd_kafka_AdminOptions_t *options;
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	options = rd_kafka_AdminOptions_new(kafka->rk,
										RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_AdminOptions_set_opaque(options, opaque);
	rd_kafka_AdminOptions_set_request_timeout(options, Max(timeout_ms, 1),
											  error_text, sizeof(error_text));
	rd_kafka_AdminOptions_set_operation_timeout(options,
												Min(timeout_ms, CREATE_WAIT_MS),
												error_text, sizeof(error_text));
	return options;
}

/*
 * Name and properties of a topic to create.  The caller destroys the result.
 *
 * Errors: 22023.
 */
rd_kafka_NewTopic_t *
rc_topic_describe(const char *topic, int partitions, int replication,
				  bool compacted)
{
	rd_kafka_NewTopic_t *new_topic;
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	new_topic = rd_kafka_NewTopic_new(topic, partitions, replication,
									  error_text, sizeof(error_text));
	if (new_topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not create topic \"%s\": %s", topic, error_text)));
	rd_kafka_NewTopic_set_config(new_topic, "max.message.bytes",
								 CppAsString2(RC_KAFKA_MAX_MESSAGE));
	if (compacted)
	{
		rd_kafka_NewTopic_set_config(new_topic, "cleanup.policy", "compact");
		rd_kafka_NewTopic_set_config(new_topic, "min.compaction.lag.ms",
									 COMPACTION_LAG_MS);
		rd_kafka_NewTopic_set_config(new_topic, "delete.retention.ms",
									 COMPACTION_LAG_MS);
	}
	return new_topic;
}

/*
 * Poll for the result of the request "opaque", without waiting.  Returns true
 * if the topic was created or exists, false if there is no result yet; else
 * raises an error.
 */
static bool
take_answer(RcKafka *kafka, const char *topic, void *opaque)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(kafka->admin, 0)) != NULL)
	{
		const rd_kafka_CreateTopics_result_t *result;
		const rd_kafka_topic_result_t **topics;
		rd_kafka_resp_err_t err;
		size_t		ntopics = 0;
		char		error_text[RC_KAFKA_ERRSTR_MAX];

		result = rd_kafka_event_CreateTopics_result(event);
		if (result == NULL || rd_kafka_event_opaque(event) != opaque)
		{
			rd_kafka_event_destroy(event);
			continue;
		}
		err = rd_kafka_event_error(event);
		strlcpy(error_text, err ? rd_kafka_event_error_string(event) : "",
				sizeof(error_text));
		topics = rd_kafka_CreateTopics_result_topics(result, &ntopics);
		if (!err && ntopics == 1)
		{
			const char *refusal = rd_kafka_topic_result_error_string(topics[0]);

			err = rd_kafka_topic_result_error(topics[0]);
			strlcpy(error_text, refusal ? refusal : rd_kafka_err2str(err),
					sizeof(error_text));
		}
		rd_kafka_event_destroy(event);
		check_answer(kafka, topic, err, error_text);
		return true;
	}
	return false;
}

static void
check_answer(RcKafka *kafka, const char *topic, rd_kafka_resp_err_t err,
			 const char *error_text)
{
	if (err == RD_KAFKA_RESP_ERR__TIMED_OUT ||
		err == RD_KAFKA_RESP_ERR__TRANSPORT)
		rc_kafka_unreachable(kafka, err);
	rc_kafka_mark_up(kafka);
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR ||
		err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return;
	ereport(ERROR,
			(errcode(rc_kafka_errcode(err)),
			 errmsg("could not create topic \"%s\": %s", topic, error_text),
			 rc_kafka_errcode(err) == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Give the Kafka user the right to create the topic, or create it with Kafka's own tools.") : 0));
}
