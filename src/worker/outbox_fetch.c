/*-------------------------------------------------------------------------
 *
 * outbox_fetch.c
 *	  Reads messages from the outbox: the next batch of each topic whose last
 *	  batch is settled.
 *
 * The bytes read are limited, before a key or a value is detoasted.  Messages
 * that cannot be read must delay their own topic only.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Argument of take(). */
typedef struct Reading
{
	const RcPublisher *publisher;
	RcOutBytes	bytes;			/* of unsettled batches */
} Reading;

static void list_topics(RcPublisher *publisher);
static RcOutTopic **readable_topics(int *n);
static List *read_together(RcPublisher *publisher, RcOutTopic **topics,
						   int ntopics, Reading *reading);
static List *read_alone(RcPublisher *publisher, RcOutTopic *topic, int limit,
						Reading *reading);
static List *read_topics(RcPublisher *publisher, RcOutTopic **topics,
						 int ntopics, int limit, bool one_by_one,
						 Reading *reading);
static bool is_of_one_topic(const ErrorData *error);
static void note_empty(RcOutTopic **topics, int ntopics);
static bool take(void *arg, const RcMessage *message);

/*
 * Find the topics that have messages, and read the next batch of each topic
 * that can be published to.  The process exits if the extension was dropped or
 * no brokers are set any more.
 */
List *
rc_out_read(RcPublisher *publisher)
{
	Reading		reading = {.publisher = publisher};
	List	   *messages;
	RcOutTopic **topics;
	int			ntopics;

	publisher->reading = true;
	list_topics(publisher);
	topics = readable_topics(&ntopics);
	rc_out_open_bytes(&reading.bytes);
	messages = read_together(publisher, topics, ntopics, &reading);
	note_empty(topics, ntopics);
	publisher->one_by_one = false;
	publisher->reading = false;
	return messages;
}

/* List topics that have messages, even if the table is damaged. */
static void
list_topics(RcPublisher *publisher)
{
	static bool swept = false;
	ErrorData  *volatile error = NULL;
	bool		sweep = !swept;

	swept = true;
	PG_TRY();
	{
		rc_transaction_begin_in(publisher->context);
		if (!rc_extension_present() || rc_kafka_brokers[0] == '\0')
			proc_exit(0);
		if (sweep)
			rc_outbox_topics_sweep();
		rc_out_list_topics();
		rc_transaction_commit();
	}
	PG_CATCH();
	{
		error = rc_worker_recover(publisher->context, false);
		if (!rc_error_is_damage(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	if (error != NULL)
	{
		rc_transaction_begin_in(publisher->context);
		rc_out_list_readable(error);
		rc_transaction_commit();
	}
	MemoryContextSwitchTo(publisher->context);
}

/* The topics whose next batch may be read. */
static RcOutTopic **
readable_topics(int *n)
{
	TimestampTz now = GetCurrentTimestamp();
	RcOutTopic *topic;
	RcOutTopic **topics;
	int			all = 0;

	while (rc_out_topic_at(all) != NULL)
		all++;
	topics = palloc(sizeof(RcOutTopic *) * Max(all, 1));
	*n = 0;
	for (int i = 0; i < all; i++)
	{
		topic = rc_out_topic_at(i);
		if (topic->has_messages && topic->nsent == 0 &&
			!rc_out_waits(topic, now) &&
			(topic->phase == RC_TOPIC_READY ||
			 topic->phase == RC_TOPIC_REFUSED))
		{
			topic->full = topic->stopped = false;
			topic->asked = true;
			topics[(*n)++] = topic;
		}
	}
	return topics;
}

/*
 * Read messages of all topics in one query, except for topics that failed the
 * last time.  If the query fails, each topic is read separately.
 */
static List *
read_together(RcPublisher *publisher, RcOutTopic **topics, int ntopics,
			  Reading *reading)
{
	RcOutTopic **together = palloc(sizeof(RcOutTopic *) * Max(ntopics, 1));
	List	   *volatile messages = NIL;
	volatile bool failed = publisher->one_by_one;
	int			limit = Max(RC_READ_LIMIT / Max(ntopics, 1), 1);
	int			n = 0;

	for (int i = 0; i < ntopics; i++)
	{
		if (!topics[i]->alone)
			together[n++] = topics[i];
	}
	if (n > 0 && !failed)
	{
		PG_TRY();
		{
			messages = read_topics(publisher, together, n, RC_READ_LIMIT,
								   false, reading);
		}
		PG_CATCH();
		{
			ErrorData  *error = rc_worker_recover(publisher->context, false);

			if (!is_of_one_topic(error))
				ReThrowError(error);
			failed = true;
			for (int i = 0; i < n; i++)
				rc_out_drop_batch(together[i]);
			rc_out_open_bytes(&reading->bytes);
		}
		PG_END_TRY();
	}
	MemoryContextSwitchTo(publisher->context);
	for (int i = 0; i < ntopics; i++)
	{
		if (failed || topics[i]->alone)
			messages = list_concat(messages,
								   read_alone(publisher, topics[i], limit,
											  reading));
	}
	return messages;
}

/*
 * Read one topic, each message in a subtransaction.  If that fails, the topic
 * waits for a retry.
 */
static List *
read_alone(RcPublisher *publisher, RcOutTopic *topic, int limit,
		   Reading *reading)
{
	List	   *volatile messages = NIL;

	PG_TRY();
	{
		messages = read_topics(publisher, &topic, 1, limit, true, reading);
		topic->alone = false;
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(publisher->context, false);

		if (!is_of_one_topic(error))
			ReThrowError(error);
		rc_out_drop_batch(topic);
		topic->alone = true;
		rc_out_wait(topic, error->sqlerrcode,
					psprintf(gettext_noop("could not read its messages: %s"),
							 error->message), RC_DAMAGE_HINT);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(publisher->context);
	return messages;
}

static List *
read_topics(RcPublisher *publisher, RcOutTopic **topics, int ntopics,
			int limit, bool one_by_one, Reading *reading)
{
	char	  **names = palloc(sizeof(char *) * ntopics);
	List	   *messages;

	for (int i = 0; i < ntopics; i++)
		names[i] = topics[i]->name;
	rc_transaction_begin_in(publisher->context);
	messages = rc_outbox_read(names, ntopics, limit, one_by_one, take,
							  reading);
	rc_transaction_commit();
	return messages;
}

/* Whether an error may concern this topic only, not all reads. */
static bool
is_of_one_topic(const ErrorData *error)
{
	return rc_error_is_damage(error->sqlerrcode) ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES ||
		!rc_error_is_transient(error->sqlerrcode);
}

/* Of these topics, those that were read had no messages after all. */
static void
note_empty(RcOutTopic **topics, int ntopics)
{
	for (int i = 0; i < ntopics; i++)
	{
		RcOutTopic *topic = topics[i];

		if (topic->nsent == 0 && !topic->full && !topic->alone)
			topic->has_messages = false;
	}
}

/*
 * RcMessageTake: whether to add a message to the batch of its topic.  Once one
 * is declined, all later ones of the topic are.  Messages over the limits
 * count no bytes, since they are not detoasted.
 */
static bool
take(void *arg, const RcMessage *message)
{
	Reading    *reading = (Reading *) arg;
	const RcPublisher *publisher = reading->publisher;
	RcOutTopic *topic = rc_out_topic(message->record.topic, false);
	int			max = publisher->batch_messages;
	int64		bytes = 0;

	if (topic == NULL || topic->full)
		return false;
	if (topic->max > 0)
		max = Min(max, topic->max);
	if (rc_message_too_large(&message->size) == NULL)
		bytes = RC_PUBLISH_SIZE(message->size.key, message->size.value,
								message->size.headers);
	if (topic->nsent >= max || !rc_out_room(topic, &reading->bytes) ||
		(topic->nsent > 0 && topic->bytes + bytes > publisher->batch_bytes))
	{
		topic->full = true;
		return false;
	}
	rc_out_more_bytes(topic, bytes, &reading->bytes);
	rc_out_add(topic, &message->row, bytes);
	return true;
}
