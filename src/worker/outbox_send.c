/*-------------------------------------------------------------------------
 *
 * outbox_send.c
 *	  Messages from the table to Kafka: the next batch of each topic that has
 *	  none under way.
 *
 * What is read is bounded by bytes, before a key or a value is expanded, and
 * no transaction is open while messages are handed over.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What a read goes by. */
typedef struct Reading
{
	const RcPublisher *publisher;
	RcOutBytes	bytes;			/* under way */
} Reading;

static void note_topics(List *listed);
static char **readable_topics(int *n);
static bool take(void *arg, const RcMessage *message);
static bool hand_over(RcPublisher *publisher, RcOutTopic *topic,
					  const RcMessage *message);
static void release(RcRecord *record);
static void flush_wal(void);

/*
 * See what topics there are messages for, and read the next batch of those
 * that can be sent to.  The process ends when there is nothing to publish
 * for any more, or nobody to publish to.
 */
List *
rc_out_read(RcPublisher *publisher)
{
	static bool swept = false;
	Reading		reading = {.publisher = publisher};
	List	   *messages = NIL;

	publisher->reading = true;
	rc_transaction_begin();
	MemoryContextSwitchTo(publisher->context);
	if (!rc_extension_present() || rc_kafka_brokers[0] == '\0')
		proc_exit(0);
	if (!swept)
		rc_outbox_topics_sweep();
	swept = true;
	note_topics(rc_outbox_topics());
	if (!publisher->closing)
	{
		int			ntopics;
		char	  **topics = readable_topics(&ntopics);

		rc_out_open_bytes(&reading.bytes);
		if (ntopics > 0)
		{
			messages = rc_outbox_read(topics, ntopics, RC_READ_LIMIT,
									  publisher->one_by_one, take, &reading);
			publisher->one_by_one = false;
		}
	}
	rc_transaction_commit();
	MemoryContextSwitchTo(publisher->context);
	publisher->reading = false;
	return messages;
}

/*
 * Which topics have messages.  One whose messages somebody has deleted does
 * not wait any more.
 */
static void
note_topics(List *listed)
{
	RcOutTopic *topic;
	ListCell   *lc;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
		topic->has_messages = false;
	foreach(lc, listed)
	{
		RcOutboxTopic *found = (RcOutboxTopic *) lfirst(lc);

		topic = rc_out_topic(found->name, true);
		topic->has_messages = true;
		topic->has_row |= found->waiting;
	}
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->has_messages || topic->nsent > 0 ||
			(!topic->has_row && topic->failures == 0))
			continue;
		rc_out_wait_over(topic);
	}
	rc_out_forget_idle();
}

/* Those whose next batch can be read. */
static char **
readable_topics(int *n)
{
	TimestampTz now = GetCurrentTimestamp();
	RcOutTopic *topic;
	char	  **names;
	int			all = 0;

	while (rc_out_topic_at(all) != NULL)
		all++;
	names = palloc(sizeof(char *) * Max(all, 1));
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
			names[(*n)++] = topic->name;
		}
	}
	return names;
}

/*
 * Whether a message comes into the batch of its topic.  Once one does not, none
 * after it does.  One that is too large for the outbox is not expanded.
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
	rc_out_add(topic, message->id, bytes);
	return true;
}

/*
 * Hand messages to Kafka; returns how many there was something to do with.
 */
int
rc_out_hand_over(RcPublisher *publisher, List *messages)
{
	TimestampTz now = GetCurrentTimestamp();
	int			done = 0;
	ListCell   *lc;

	/* with synchronous_commit = off a visible row may not be on disk yet */
	if (messages != NIL)
		flush_wal();
	foreach(lc, messages)
	{
		RcMessage  *message = (RcMessage *) lfirst(lc);
		RcOutTopic *topic = rc_out_topic(message->record.topic, false);

		topic->sent_at = now;
		if (hand_over(publisher, topic, message))
			done++;
		/* Kafka's client has its own copy */
		release(&message->record);
	}
	if (done > 0)
		rc_publish_push(publisher->kafka);
	return done;
}

static void
release(RcRecord *record)
{
	if (record->key != NULL)
		pfree(unconstify(char *, record->key));
	if (record->value != NULL)
		pfree(unconstify(char *, record->value));
	record->key = record->value = NULL;
}

/*
 * The next message of the topic's batch; false if it is left for later, with
 * those behind it.
 */
static bool
hand_over(RcPublisher *publisher, RcOutTopic *topic, const RcMessage *message)
{
	int			i = topic->next++;
	RcSent	   *sent = &topic->sent[i];
	RcAnswer	answer;

	Assert(sent->id == message->id);
	if (message->problem != NULL)
	{
		rc_out_dead(sent, message->sqlstate, message->problem);
		sent->bare = true;
		return true;
	}
	if (topic->phase == RC_TOPIC_REFUSED)
	{
		rc_out_dead(sent, topic->refusal_sqlstate, topic->refusal);
		return true;
	}
	if (topic->stopped)
		return false;

	if (rc_publish_send(publisher->kafka, &message->record,
						rc_out_tag(topic, i), &answer))
	{
		sent->fate = RC_FATE_OPEN;
		topic->nopen++;
		return true;
	}
	if (answer.outcome == RC_KAFKA_LATER)
	{
		topic->stopped = true;
		if (answer.error != NULL)
			rc_out_later(topic, answer.sqlstate, answer.error);
		return false;
	}
	rc_out_dead(sent, answer.sqlstate,
				psprintf("Kafka refused the message: %s", answer.error));
	return true;
}

/*
 * Flush the WAL that has been written.  At the end of a page the insert
 * position stands behind the header of the next one, which is not there yet.
 */
static void
flush_wal(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();
	uint64		offset = end % XLOG_BLCKSZ;

	if (offset == SizeOfXLogShortPHD ||
		XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		end -= offset;
	XLogFlush(end);
}
