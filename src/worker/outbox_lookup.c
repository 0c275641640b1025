/*-------------------------------------------------------------------------
 *
 * outbox_lookup.c
 *	  Topics that messages are there for: looked up before anything is sent
 *	  to them, and made where they are missing.
 *
 * It must not keep messages of other topics waiting: it looks up for a short
 * time, and many topics are made by one request, while others are sent to.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "portability/instr_time.h"
#include "utils/timestamp.h"

/* Topics are looked up for so long, then messages are sent again, in ms. */
#define LOOKUP_TIME		50

/*
 * How long brokers are waited for before that is an error: a short time while
 * reports are due, which are not settled meanwhile.
 */
#define TIMEOUT_MS		5000
#define SHORT_TIMEOUT_MS	1000

/* Topics made by one request; how long it may take, in ms. */
#define MAKE_LIMIT		20
#define MAKE_TIMEOUT_MS	30000

/* A new topic has no leader yet. */
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
 * Look up topics that are not known yet, and ask for those that are missing;
 * true if there was one.  Those that have failed before come last, or very many
 * of them would leave no time for others.
 *
 * Errors: 08006 if no broker answers.
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

/* False when the time is over.  Sets *any if there was one. */
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
					 &rc_out_ending, &answer);
	if (answer.outcome == RC_KAFKA_DONE)
		topic->phase = answer.partitions > 0 ? RC_TOPIC_READY : RC_TOPIC_MISSING;
	else
		decide(topic, &answer,
			   psprintf("could not look up topic \"%s\": %s", topic->name,
						answer.error), RC_FORBIDDEN_HINT);
}

/* Ask for topics that are missing, if no such request is under way. */
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

/* What became of topics that were asked for; true if there is an answer. */
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
				   psprintf("could not create topic \"%s\": %s", topic->name,
							answer->error), CREATE_HINT);
	}
	if (made != NIL)
		notify_streams(made);
	return answers != NIL;
}

/* Streams may have been waiting for the topics. */
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

/* A topic that there is none of: for now, or for good. */
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
					  psprintf("Kafka refused the message: %s", error));
}
