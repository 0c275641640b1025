/*-------------------------------------------------------------------------
 *
 * outbox_settle.c
 *	  Settles batches: stores Kafka's delivery reports in tables.  Delivered
 *	  messages are deleted, permanently rejected ones become dead letters, and
 *	  a topic that waits gets a row in outbox_topic.
 *
 * Delivered messages are kept in memory until their deletion is committed,
 * whatever fails meanwhile, so that they are not published twice.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include <limits.h>

#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Interval between attempts to delete the messages of one topic, in ms. */
#define SETTLE_PAUSE	10000

/* State "running" has been stored by this process. */
static bool reported_running = false;

static void decide(RcOutTopic *topic, int batch_limit);
static bool settle_delivered(void);
static void settle_alone(RcOutTopic *topic);
static bool settle_range(int from, int to);
static bool can_settle(const RcOutTopic *topic, TimestampTz now);
static RcOutboxRow *delivered_rows(int from, int to, TimestampTz now, int *n);
static void write_rows(int from, int to);
static bool has_delivered(const RcOutTopic *topic);
static void settle_dead(RcOutTopic *topic);
static void to_dead_letters_step(RcOutTopic *topic);
static void end_batch(RcOutTopic *topic);

/*
 * Settle what can be settled; true if there was anything.  "batch_limit" is
 * the maximum number of messages in a batch.  "last" says that the process is
 * about to exit, so pauses are ignored.
 */
bool
rc_out_settle(int batch_limit, bool last)
{
	RcOutTopic *topic;
	bool		any;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (last)
			topic->settle_at = 0;
		if (topic->nsent > 0 && topic->nopen == 0 && !topic->decided)
			decide(topic, batch_limit);
	}
	any = settle_delivered();
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->nsent == 0 || !topic->decided || has_delivered(topic))
			continue;
		any = true;
		settle_dead(topic);
		end_batch(topic);
	}
	return any;
}

/*
 * All reports of a batch have arrived.  A message rejected alone is itself at
 * fault.  If several were rejected together, smaller batches will show which.
 */
static void
decide(RcOutTopic *topic, int batch_limit)
{
	int			ntaken = 0;		/* confirmed by Kafka, maybe deleted already */
	int			nrefused = 0;
	int			ndecided = 0;
	RcSent	   *refused = NULL;

	for (int i = 0; i < topic->nsent; i++)
	{
		RcSent	   *sent = &topic->sent[i];

		if (sent->fate != RC_FATE_LEFT)
			ndecided++;
		if (sent->fate == RC_FATE_DELIVERED || sent->fate == RC_FATE_GONE)
			ntaken++;
		if (sent->refused)
		{
			nrefused++;
			refused = sent;
		}
	}
	if (nrefused == 1 && ntaken == 0 && topic->later_error == NULL)
	{
		rc_out_dead(refused, refused->sqlstate,
					psprintf(gettext_noop("Kafka rejected the message: %s"), refused->error));
		ndecided++;
	}
	if (nrefused > 0)
		topic->max = Max(nrefused / 2, 1);
	else if (topic->max > 0 && ndecided > 0)
		topic->max = topic->max * 2 < batch_limit ? topic->max * 2 : 0;

	if (topic->later_error != NULL)
		rc_out_wait(topic, topic->later_sqlstate,
					psprintf(gettext_noop("could not publish to topic \"%s\": %s"),
							 topic->name, topic->later_error),
					topic->later_sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE ?
					RC_FORBIDDEN_HINT :
					topic->later_sqlstate == ERRCODE_CONNECTION_FAILURE ?
					RC_UNCONFIRMED_HINT : NULL);
	else if (ntaken > 0)
		rc_out_wait_over(topic);
	topic->decided = true;
}

/*
 * Delete delivered messages, and store which topics wait, in one commit.  If
 * that fails, for example because a session has locked a message, each topic
 * is settled separately.  One that fails again is retried later; its messages
 * are not published again meanwhile, and other topics are not affected.
 */
static bool
settle_delivered(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool any = false;
	volatile bool failed = false;
	RcOutTopic *topic;

	PG_TRY();
	{
		any = settle_range(0, INT_MAX);
	}
	PG_CATCH();
	{
		FreeErrorData(rc_worker_recover(context, false));
		failed = true;
	}
	PG_END_TRY();
	if (!failed)
		return any;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
		settle_alone(topic);
	return true;
}

/* Settle one topic; if that fails, it waits for a retry. */
static void
settle_alone(RcOutTopic *topic)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		(void) settle_range(topic->number, topic->number);
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(context, true);

		topic->settle_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   SETTLE_PAUSE);
		rc_out_wait(topic, error->sqlerrcode, error->message, error->hint);
		/* unless writing that row is what failed */
		topic->changed = has_delivered(topic);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* Settle the topics with these numbers; true if there was anything. */
static bool
settle_range(int from, int to)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz now = GetCurrentTimestamp();
	int			n;
	RcOutboxRow *rows = delivered_rows(from, to, now, &n);
	RcOutTopic *topic;
	bool		changed = false;

	for (int i = from; i <= to && (topic = rc_out_topic_at(i)) != NULL; i++)
		changed |= topic->changed;
	if (n == 0 && !changed)
		return false;

	rc_transaction_begin_in(context);
	if (n > 0)
		rc_outbox_delete(rows, n);
	write_rows(from, to);
	if (n > 0 && !reported_running)
		rc_outbox_state_set("running", 0, NULL, NULL);
	rc_transaction_commit();

	reported_running |= n > 0;
	for (int i = from; i <= to && (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->changed)
			topic->has_row = topic->error != NULL;
		topic->changed = false;
		if (!can_settle(topic, now))
			continue;
		for (int k = 0; k < topic->nsent; k++)
		{
			if (topic->sent[k].fate == RC_FATE_DELIVERED)
				topic->sent[k].fate = RC_FATE_GONE;
		}
	}
	return true;
}

/*
 * Whether the pause of a topic whose messages could not be deleted is over.
 * "now" is passed so that collecting ids and marking them as deleted agree.
 */
static bool
can_settle(const RcOutTopic *topic, TimestampTz now)
{
	return topic->settle_at <= now;
}

static RcOutboxRow *
delivered_rows(int from, int to, TimestampTz now, int *n)
{
	int			size = 256;
	RcOutboxRow *rows = palloc(sizeof(RcOutboxRow) * size);
	RcOutTopic *topic;

	*n = 0;
	for (int i = from; i <= to && (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		for (int k = 0; k < topic->nsent && can_settle(topic, now); k++)
		{
			if (topic->sent[k].fate != RC_FATE_DELIVERED)
				continue;
			if (*n == size)
				rows = repalloc_huge(rows, sizeof(RcOutboxRow) * (size *= 2));
			rows[(*n)++] = topic->sent[k].row;
		}
	}
	return rows;
}

static bool
has_delivered(const RcOutTopic *topic)
{
	for (int i = 0; i < topic->nsent; i++)
	{
		if (topic->sent[i].fate == RC_FATE_DELIVERED)
			return true;
	}
	return false;
}

/*
 * Write the rows of topics that wait, and delete those of topics that no
 * longer do.
 */
static void
write_rows(int from, int to)
{
	RcOutTopic *topic;

	for (int i = from; i <= to && (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (!topic->changed)
			continue;
		if (topic->error != NULL)
			rc_outbox_topic_waits(topic->name, topic->failures,
								  topic->retry_at, topic->sqlstate,
								  topic->error, topic->hint);
		else
			rc_outbox_topic_goes(topic->name);
	}
}

/*
 * Write the dead letters of a batch.  If that fails, the topic waits for a
 * retry; delivered messages and other topics are not affected.
 */
static void
settle_dead(RcOutTopic *topic)
{
	MemoryContext context = CurrentMemoryContext;
	bool		any = false;

	for (int i = 0; i < topic->nsent; i++)
		any |= topic->sent[i].fate == RC_FATE_DEAD;
	if (!any)
		return;
	PG_TRY();
	{
		rc_transaction_begin_in(context);
		to_dead_letters_step(topic);
		if (!reported_running)
			rc_outbox_state_set("running", 0, NULL, NULL);
		rc_transaction_commit();
		reported_running = true;
		if (topic->later_error == NULL)
			rc_out_wait_over(topic);
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(context, true);

		rc_out_wait(topic, error->sqlerrcode, error->message, error->hint);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* Messages with the same error are moved by one statement. */
static void
to_dead_letters_step(RcOutTopic *topic)
{
	RcOutboxRow *rows = palloc(sizeof(RcOutboxRow) * topic->nsent);

	for (int i = 0; i < topic->nsent; i++)
	{
		RcSent	   *first = &topic->sent[i];
		RcDeadMessages dead = {
			.rows = rows,
			.sqlstate = first->sqlstate,
			.message = first->error,
			.bare = first->bare
		};

		if (first->fate != RC_FATE_DEAD)
			continue;
		rows[dead.n++] = first->row;
		while (i + 1 < topic->nsent &&
			   topic->sent[i + 1].fate == RC_FATE_DEAD &&
			   topic->sent[i + 1].sqlstate == first->sqlstate &&
			   topic->sent[i + 1].bare == first->bare &&
			   strcmp(topic->sent[i + 1].error, first->error) == 0)
			rows[dead.n++] = topic->sent[++i].row;
		rc_outbox_to_dead_letters(&dead);
	}
}

/* Free the batch: the topic's next messages may be read. */
static void
end_batch(RcOutTopic *topic)
{
	int			ngone = 0;

	for (int i = 0; i < topic->nsent; i++)
	{
		RcSent	   *sent = &topic->sent[i];

		if (sent->fate == RC_FATE_GONE || sent->fate == RC_FATE_DEAD)
			ngone++;
		if (sent->error != NULL)
			pfree(sent->error);
	}
	rc_out_deleted(ngone, topic->bytes);
	pfree(topic->sent);
	topic->sent = NULL;
	topic->nsent = topic->sent_size = topic->next = 0;
	topic->bytes = 0;
	topic->settle_at = 0;
	topic->decided = false;
	if (topic->later_error != NULL)
		pfree(topic->later_error);
	topic->later_error = NULL;
	/* its messages are dead; look it up again for later ones */
	if (topic->phase == RC_TOPIC_REFUSED)
		topic->phase = RC_TOPIC_NEW;
}

/*
 * Store that all messages wait, until some have been sent again.  Exits if the
 * extension was dropped.
 */
void
rc_out_report_waiting(const ErrorData *error)
{
	MemoryContext context = CurrentMemoryContext;

	reported_running = false;
	rc_transaction_begin_in(context);
	if (!rc_extension_present())
		proc_exit(0);
	rc_outbox_state_set("waiting", error->sqlerrcode, error->message,
						error->hint);
	rc_transaction_commit();
}
