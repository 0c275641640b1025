/*-------------------------------------------------------------------------
 *
 * kafka_topic_create.c
 *	  Creates several topics in one request, without waiting for its result.
 *
 * It must not block: meanwhile the outbox worker sends messages to topics
 * that exist.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

#include "utils/memutils.h"

static List *take_answers(RcKafka *kafka, rd_kafka_event_t *event);
static const rd_kafka_topic_result_t *find_result(const rd_kafka_topic_result_t **results,
												  size_t nresults,
												  const char *topic);

/*
 * Request the creation of topics (a List of names), each with one partition
 * and the broker's default replication factor.  A producer can have one
 * request in progress: the next one must wait until rc_kafka_topics_made()
 * has returned the result.
 */
void
rc_kafka_make_topics(RcKafka *kafka, List *topics, int timeout_ms)
{
	rd_kafka_NewTopic_t **new_topics;
	rd_kafka_AdminOptions_t *options;
	MemoryContext old;
	ListCell   *lc;
	int			n = 0;

	Assert(kafka->producer->making == NIL);
	if (kafka->admin == NULL)
		kafka->admin = rd_kafka_queue_new(kafka->rk);
	new_topics = palloc(sizeof(rd_kafka_NewTopic_t *) * list_length(topics));
	old = MemoryContextSwitchTo(kafka->context);
	foreach(lc, topics)
	{
		kafka->producer->making = lappend(kafka->producer->making,
										  pstrdup((char *) lfirst(lc)));
		new_topics[n++] = rc_topic_describe((char *) lfirst(lc), 1, -1, false);
	}
	MemoryContextSwitchTo(old);

	options = rc_topic_options(kafka, timeout_ms, kafka->producer);
	rd_kafka_CreateTopics(kafka->rk, new_topics, n, options, kafka->admin);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy_array(new_topics, n);
	pfree(new_topics);
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
		answer->error = err == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL :
			pstrdup(error_text != NULL ? error_text : rd_kafka_err2str(err));
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
