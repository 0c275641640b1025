/*-------------------------------------------------------------------------
 *
 * outbox_lookup.c
 *	  Looks up the topics that the outbox has messages for before anything is
 *	  sent to them, and creates missing ones.
 *
 * Messages of other topics must not wait for this: lookups are limited to a
 * short time, and missing topics are created asynchronously, many by one
 * request.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "portability/instr_time.h"
#include "utils/timestamp.h"

/* Time limit of lookups between two rounds of sending, in ms. */
#define LOOKUP_TIME		50

/*
 * Timeout of a lookup, in ms.  It is short while delivery reports are due,
 * which are not processed meanwhile.
 */
#define TIMEOUT_MS		5000
#define SHORT_TIMEOUT_MS	1000

/* Topics created by one request; its timeout in ms. */
#define MAKE_LIMIT		20
#define MAKE_TIMEOUT_MS	30000

/* Wait after creating a topic, which has no leader yet, in ms. */
#define LEADER_PAUSE	100

#define CREATE_HINT "Create the topic, or grant CREATE on it to the Kafka user of this server."

static bool look_up_some(RcPublisher *publisher, bool failed,
						 instr_time start, bool *any);
static void look_up(RcPublisher *publisher, RcOutTopic *topic);
static bool make_topics(RcPublisher *publisher);
static void notify_streams(List *topics);
static void decide(RcOutTopic *topic, const RcAnswer *answer,
				   const char *error, const char *hint);

/*
 * Look up topics that are not known yet, and request the creation of missing
 * ones.  Returns true if there was one.  Topics that have failed before come
 * last, since very many of them would leave no time for others.
 *
 * Errors: ERRCODE_CONNECTION_FAILURE if no broker answers.
 */
bool
rc_out_look_up_topics(RcPublisher *publisher)
{
	instr_time	start;
	bool		any = false;

	INSTR_TIME_SET_CURRENT(start);
	(void) (look_up_some(publisher, false, start, &any) &&
			look_up_some(publisher, true, start, &any));
	return make_topics(publisher) || any;
}

/*
 * Look up topics that have failed before, or those that have not.  Returns
 * false when the time is up; sets *any if there was one.
 */
static bool
look_up_some(RcPublisher *publisher, bool failed, instr_time start, bool *any)
{
	TimestampTz now = GetCurrentTimestamp();
	RcOutTopic *topic;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		instr_time	elapsed;

		if (topic->phase != RC_TOPIC_NEW || !topic->has_messages ||
			topic->nsent > 0 || rc_out_waits(topic, now) ||
			(topic->failures > 0) != failed)
			continue;
		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, start);
		if (INSTR_TIME_GET_MILLISEC(elapsed) > LOOKUP_TIME)
			return false;
		look_up(publisher, topic);
		*any = true;
	}
	return true;
}

static void
look_up(RcPublisher *publisher, RcOutTopic *topic)
{
	RcAnswer	answer;

	publisher->lookups++;
	rc_kafka_look_up(publisher->kafka, topic->name,
					 rc_out_count(RC_OUT_OPEN) > 0 ? SHORT_TIMEOUT_MS : TIMEOUT_MS,
					 &answer);
	if (answer.outcome == RC_KAFKA_DONE)
		topic->phase = answer.partitions > 0 ? RC_TOPIC_READY : RC_TOPIC_MISSING;
	else
		decide(topic, &answer,
			   psprintf(gettext_noop("could not look up topic \"%s\": %s"), topic->name,
						answer.error), RC_FORBIDDEN_HINT);
}

/* Request the creation of missing topics, unless a request is in progress. */
static bool
make_topics(RcPublisher *publisher)
{
	List	   *names = NIL;
	RcOutTopic *topic;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->phase == RC_TOPIC_MAKING)
			return false;
		if (topic->phase == RC_TOPIC_MISSING &&
			list_length(names) < MAKE_LIMIT)
			names = lappend(names, topic->name);
	}
	if (names == NIL)
		return false;
	rc_kafka_make_topics(publisher->kafka, names, MAKE_TIMEOUT_MS);
	for (int i = 0; i < list_length(names); i++)
		rc_out_topic(list_nth(names, i), false)->phase = RC_TOPIC_MAKING;
	return true;
}

/* Process answers to such requests; true if there is one. */
bool
rc_out_take_topics(RcPublisher *publisher)
{
	List	   *answers = rc_kafka_topics_made(publisher->kafka);
	List	   *made = NIL;
	ListCell   *lc;

	foreach(lc, answers)
	{
		RcAnswer   *answer = (RcAnswer *) lfirst(lc);
		RcOutTopic *topic = rc_out_topic(answer->topic, false);

		if (topic == NULL || topic->phase != RC_TOPIC_MAKING)
			continue;
		topic->phase = RC_TOPIC_NEW;
		if (answer->outcome == RC_KAFKA_DONE)
		{
			topic->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  LEADER_PAUSE);
			made = lappend(made, topic->name);
		}
		else
			decide(topic, answer,
				   psprintf(gettext_noop("could not create topic \"%s\": %s"), topic->name,
							answer->error), CREATE_HINT);
	}
	if (made != NIL)
		notify_streams(made);
	return answers != NIL;
}

/* Wake streams that may be waiting for the topics. */
static void
notify_streams(List *topics)
{
	ListCell   *lc;

	rc_transaction_begin();
	foreach(lc, topics)
		rc_stream_topic_made((const char *) lfirst(lc));
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	rc_transaction_commit();
}

/* A lookup or creation failed: transiently, or permanently. */
static void
decide(RcOutTopic *topic, const RcAnswer *answer, const char *error,
	   const char *hint)
{
	if (answer->outcome == RC_KAFKA_LATER)
		rc_out_wait(topic, answer->sqlstate, error,
					answer->sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE ?
					hint : NULL);
	else
		rc_out_refuse(topic, answer->sqlstate,
					  psprintf(gettext_noop("Kafka rejected the message: %s"), error));
}
