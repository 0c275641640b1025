/*-------------------------------------------------------------------------
 *
 * outbox_send.c
 *	  Passes the batches that outbox_fetch.c has read to the Kafka producer.
 *
 * No transaction may be open meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "utils/timestamp.h"

static bool hand_over(RcPublisher *publisher, RcOutTopic *topic,
					  const RcMessage *message);
static void release(RcRecord *record);
static void flush_wal(void);

/*
 * Pass messages to the producer.  Returns the number that were passed on, or
 * became dead.
 */
int
rc_out_hand_over(RcPublisher *publisher, List *messages)
{
	TimestampTz now = GetCurrentTimestamp();
	int			done = 0;
	ListCell   *lc;

	Assert(!IsTransactionState());

	/* with synchronous_commit = off, a visible row may not be on disk yet */
	if (messages != NIL)
		flush_wal();
	foreach(lc, messages)
	{
		RcMessage  *message = (RcMessage *) lfirst(lc);
		RcOutTopic *topic = rc_out_topic(message->record.topic, false);

		topic->sent_at = now;
		if (hand_over(publisher, topic, message))
			done++;
		/* librdkafka has copied it */
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
 * Pass the next message of the topic's batch to the producer.  Returns false
 * if it is left for later, as are those after it.
 */
static bool
hand_over(RcPublisher *publisher, RcOutTopic *topic, const RcMessage *message)
{
	int			i = topic->next++;
	RcSent	   *sent = &topic->sent[i];
	RcAnswer	answer;

	Assert(sent->row.id == message->row.id);
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
				psprintf(gettext_noop("Kafka rejected the message: %s"), answer.error));
	return true;
}

/*
 * Flush all WAL written so far.  If it ends at a page boundary, the insert
 * position is after the header of the next page, which does not exist yet.
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
