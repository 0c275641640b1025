/*-------------------------------------------------------------------------
 *
 * kafka_topic_create.c
 *	  Creates a topic, and several in one request without waiting for its
 *	  result.
 *
 * Topics may be created only here, so that all get the same settings
 * (kafka_topic_settings.c).  Creating several must not block: meanwhile the
 * outbox worker sends messages to topics that exist.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

#include "utils/memutils.h"

/* How long a broker may wait for the other brokers to create a topic, in ms. */
#define CREATE_WAIT_MS	10000

static void send_request(RcKafka *kafka, List *topics, int timeout_ms,
						 void *opaque);
static rd_kafka_NewTopic_t *describe(const RcNewTopic *topic);
static void check_result(RcKafka *kafka, const char *topic,
						 rd_kafka_event_t *event);
static void check_answer(RcKafka *kafka, const char *topic,
						 rd_kafka_resp_err_t err, const char *error_text);
static List *take_answers(RcKafka *kafka, rd_kafka_event_t *event);
static const rd_kafka_topic_result_t *find_result(const rd_kafka_topic_result_t **results,
												  size_t nresults,
												  const char *topic);

/*
 * Create a topic; an existing one is left unchanged.  Waits for timeout_ms at
 * most.
 *
 * Errors: 08006 if no broker responds, 42501 if the Kafka user has no right to
 * create it, 22023 if the cluster rejects its name, properties or settings;
 * others by rc_kafka_errcode().
 */
void
rc_kafka_create_topic(RcKafka *kafka, const RcNewTopic *topic, int timeout_ms)
{
	void	   *opaque = rc_admin_opaque();
	RcDeadline	deadline;
	rd_kafka_event_t *event;

	rc_deadline_start(&deadline, timeout_ms);
	send_request(kafka, list_make1(unconstify(RcNewTopic *, topic)),
				 timeout_ms, opaque);
	event = rc_admin_wait(kafka, opaque, &deadline);
	if (event == NULL)
		rc_kafka_unreachable(kafka, RD_KAFKA_RESP_ERR__TIMED_OUT);
	check_result(kafka, topic->name, event);
}

/*
 * Request the creation of topics (a List of RcNewTopic).  The result arrives
 * in the admin queue, identified by "opaque".
 */
static void
send_request(RcKafka *kafka, List *topics, int timeout_ms, void *opaque)
{
	rd_kafka_NewTopic_t **new_topics;
	rd_kafka_AdminOptions_t *options;
	char		error_text[RC_KAFKA_ERRSTR_MAX];
	ListCell   *lc;
	int			n = 0;

	new_topics = palloc(sizeof(rd_kafka_NewTopic_t *) * list_length(topics));
	foreach(lc, topics)
		new_topics[n++] = describe((RcNewTopic *) lfirst(lc));
	options = rc_admin_options(kafka, RD_KAFKA_ADMIN_OP_CREATETOPICS,
							   timeout_ms, opaque);
	rd_kafka_AdminOptions_set_operation_timeout(options,
												Min(timeout_ms, CREATE_WAIT_MS),
												error_text, sizeof(error_text));
	rd_kafka_CreateTopics(kafka->rk, new_topics, n, options, kafka->admin);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy_array(new_topics, n);
	pfree(new_topics);
}

/*
 * Name, properties and settings of a topic to create.
 *
 * Errors: 22023.
 */
static rd_kafka_NewTopic_t *
describe(const RcNewTopic *topic)
{
	rd_kafka_NewTopic_t *new_topic;
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	new_topic = rd_kafka_NewTopic_new(topic->name, topic->partitions,
									  topic->replication, error_text,
									  sizeof(error_text));
	if (new_topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not create topic \"%s\": %s", topic->name,
						error_text)));
	rc_topic_settings(new_topic, topic);
	return new_topic;
}

/* Raise the error of the result, if it is one, and destroy it. */
static void
check_result(RcKafka *kafka, const char *topic, rd_kafka_event_t *event)
{
	const rd_kafka_topic_result_t **topics;
	rd_kafka_resp_err_t err = rd_kafka_event_error(event);
	size_t		ntopics = 0;
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	strlcpy(error_text, err ? rd_kafka_event_error_string(event) : "",
			sizeof(error_text));
	topics = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
												 &ntopics);
	if (!err && ntopics == 1)
	{
		const char *refusal = rd_kafka_topic_result_error_string(topics[0]);

		err = rd_kafka_topic_result_error(topics[0]);
		strlcpy(error_text, refusal ? refusal : rd_kafka_err2str(err),
				sizeof(error_text));
	}
	rd_kafka_event_destroy(event);
	rc_mask_invalid(error_text);
	check_answer(kafka, topic, err, error_text);
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
			 errhint("Give the Kafka user the right to create the topic, or create it with Kafka's own tools.") : 0,
			 err == RD_KAFKA_RESP_ERR_INVALID_CONFIG ?
			 errhint("Correct column topic_config of the source, or create the topic with Kafka's own tools.") : 0));
}

/*
 * Request the creation of topics (a List of names), each with one partition
 * and the broker's default replication factor.  A producer can have one
 * request in progress: the next one must wait until rc_kafka_topics_made()
 * has returned the result.
 */
void
rc_kafka_make_topics(RcKafka *kafka, List *topics, int timeout_ms)
{
	List	   *new_topics = NIL;
	MemoryContext old;
	ListCell   *lc;

	Assert(kafka->producer->making == NIL);
	foreach(lc, topics)
	{
		RcNewTopic *topic = palloc0(sizeof(RcNewTopic));

		topic->name = (const char *) lfirst(lc);
		topic->partitions = 1;
		topic->replication = -1;
		new_topics = lappend(new_topics, topic);
	}
	send_request(kafka, new_topics, timeout_ms, kafka->producer);
	list_free_deep(new_topics);

	old = MemoryContextSwitchTo(kafka->context);
	foreach(lc, topics)
		kafka->producer->making = lappend(kafka->producer->making,
										  pstrdup((char *) lfirst(lc)));
	MemoryContextSwitchTo(old);
}

/*
 * The result of rc_kafka_make_topics(): a List of RcAnswer, one for each
 * topic, palloc'd in the current context; NIL while there is no result.
 */
List *
rc_kafka_topics_made(RcKafka *kafka)
{
	rd_kafka_event_t *event;
	List	   *answers = NIL;

	if (kafka->producer->making == NIL)
		return NIL;
	while (answers == NIL &&
		   (event = rd_kafka_queue_poll(kafka->admin, 0)) != NULL)
	{
		if (rd_kafka_event_CreateTopics_result(event) != NULL &&
			rd_kafka_event_opaque(event) == kafka->producer)
			answers = take_answers(kafka, event);
		rd_kafka_event_destroy(event);
	}
	if (answers != NIL)
	{
		list_free_deep(kafka->producer->making);
		kafka->producer->making = NIL;
	}
	return answers;
}

static List *
take_answers(RcKafka *kafka, rd_kafka_event_t *event)
{
	const rd_kafka_topic_result_t **results;
	size_t		nresults;
	List	   *answers = NIL;
	ListCell   *lc;

	results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
												  &nresults);
	foreach(lc, kafka->producer->making)
	{
		const rd_kafka_topic_result_t *result;
		rd_kafka_resp_err_t err = rd_kafka_event_error(event);
		const char *error_text = rd_kafka_event_error_string(event);
		RcAnswer   *answer = palloc0(sizeof(RcAnswer));

		answer->topic = pstrdup((char *) lfirst(lc));
		result = find_result(results, nresults, answer->topic);
		if (result != NULL)
		{
			err = rd_kafka_topic_result_error(result);
			error_text = rd_kafka_topic_result_error_string(result);
		}
		if (err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
			err = RD_KAFKA_RESP_ERR_NO_ERROR;
		answer->outcome = rc_outcome_of(err);
		answer->sqlstate = rc_kafka_errcode(err);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			char	   *copy = pstrdup(error_text != NULL ? error_text :
									   rd_kafka_err2str(err));

			rc_mask_invalid(copy);
			answer->error = copy;
		}
		answers = lappend(answers, answer);
	}
	return answers;
}

static const rd_kafka_topic_result_t *
find_result(const rd_kafka_topic_result_t **results, size_t nresults,
			const char *topic)
{
	for (size_t i = 0; i < nresults; i++)
	{
		if (strcmp(rd_kafka_topic_result_name(results[i]), topic) == 0)
			return results[i];
	}
	return NULL;
}
