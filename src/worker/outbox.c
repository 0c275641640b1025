/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  The outbox publisher: sends what waits in the outbox to Kafka, in the
 *	  order of its ids, and deletes what Kafka has confirmed.
 *
 * A message is never deleted before it is confirmed, and never sent before
 * the transaction that wrote it is safe on disk.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "kafka/kafka.h"

#define LOOK_INTERVAL	5000
#define MAX_BACKOFF		60000

/* Messages sent before the next wait for their confirmation. */
#define SEND_LIMIT		5000

/* How long Kafka is waited for before an error is made of it, in ms. */
#define PATIENCE		30000

/* The same before anything has been sent: trying again costs nothing. */
#define LOOKUP_PATIENCE	5000

static RcKafka *producer = NULL;
static char *producer_brokers = NULL;
static List *known_topics = NIL;
static bool said_running = false;

static bool wanted(void);
static bool publish_some(MemoryContext context);
static void flush_wal(void);
static void open_producer(void);
static void close_producer(void);
static char *topic_problem(const char *topic);
static void settle(RcMessage *messages, int n, char **errors);
static void say_waiting(const char *error);

/*
 * Entry point of the outbox publisher.
 */
void
rc_outbox_main(Datum arg)
{
	RcWorkerArgs *args = rc_worker_args();
	MemoryContext context;
	volatile long backoff = 0;

	rc_queue_attach(args->segment);
	rc_worker_connect(args, "rappel_conso outbox");
	rc_queue_connected();
	if (!rc_lock_take(RC_WORKER_OUTBOX, "", 0))
		proc_exit(0);
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso outbox",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		bool		more = false;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		PG_TRY();
		{
			if (!wanted())
				proc_exit(0);
			MemoryContextSwitchTo(context);
			more = publish_some(context);
			backoff = 0;
		}
		PG_CATCH();
		{
			ErrorData  *error = rc_worker_recover(context, true);

			close_producer();
			backoff = Min(MAX_BACKOFF, Max(500, backoff * 2));
			if (wanted())
				say_waiting(error->message);
		}
		PG_END_TRY();

		MemoryContextSwitchTo(context);
		if (more)
			rc_worker_wait(0);
		else
			rc_worker_wait(backoff > 0 ? backoff : LOOK_INTERVAL);
	}
}

/* Whether there is something to publish for, and somebody to publish to. */
static bool
wanted(void)
{
	bool		present;

	rc_transaction_begin();
	present = rc_extension_present();
	rc_transaction_commit();
	return present && rc_kafka_brokers[0] != '\0';
}

/*
 * Send the oldest messages and delete those that are confirmed; true when
 * there may be more.
 */
static bool
publish_some(MemoryContext context)
{
	RcMessage  *messages;
	char	  **errors;
	List	   *refused = NIL;
	ListCell   *lc;
	int			n;

	rc_transaction_begin();
	MemoryContextSwitchTo(context);
	messages = rc_outbox_read(SEND_LIMIT, &n);
	rc_transaction_commit();
	MemoryContextSwitchTo(context);
	if (n == 0)
		return false;

	/* With synchronous_commit = off a visible row may not be on disk yet. */
	flush_wal();
	open_producer();
	MemoryContextSwitchTo(context);
	errors = palloc0(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
	{
		errors[i] = topic_problem(messages[i].record.topic);
		if (errors[i] == NULL)
			rc_producer_send(producer, &messages[i].record, i);
	}
	MemoryContextSwitchTo(context);
	rc_producer_flush(producer, PATIENCE, &refused);
	foreach(lc, refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);

		errors[message->tag] = message->error;
	}
	settle(messages, n, errors);
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

/* A producer for the cluster that is set now. */
static void
open_producer(void)
{
	if (producer != NULL && strcmp(producer_brokers, rc_kafka_brokers) == 0)
		return;
	close_producer();
	producer_brokers = MemoryContextStrdup(TopMemoryContext, rc_kafka_brokers);
	producer = rc_kafka_open(RC_KAFKA_PRODUCER,
							 rc_client_id("outbox"),
							 NULL);
}

static void
close_producer(void)
{
	if (producer != NULL)
		rc_kafka_close(producer);
	producer = NULL;
	if (producer_brokers != NULL)
		pfree(producer_brokers);
	producer_brokers = NULL;
	list_free_deep(known_topics);
	known_topics = NIL;
}

/*
 * Why a message cannot go to the topic, which is made where it is missing;
 * NULL when it can.  What may pass is an error instead.
 */
static char *
topic_problem(const char *topic)
{
	MemoryContext context = CurrentMemoryContext;
	ListCell   *lc;
	char	   *volatile problem = NULL;

	foreach(lc, known_topics)
	{
		if (strcmp((char *) lfirst(lc), topic) == 0)
			return NULL;
	}

	PG_TRY();
	{
		if (rc_kafka_partition_count(producer, topic, LOOKUP_PATIENCE) == 0)
			rc_kafka_create_topic(producer, topic, 1, -1, false, PATIENCE);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (rc_error_may_pass(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		problem = error->message;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	if (problem == NULL)
		known_topics = lappend(known_topics, pstrdup(topic));
	MemoryContextSwitchTo(context);
	return problem;
}

/* Delete the messages; those with an error become dead letters. */
static void
settle(RcMessage *messages, int n, char **errors)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *ids = palloc(sizeof(int64) * n);

	rc_transaction_begin();
	MemoryContextSwitchTo(context);
	for (int i = 0; i < n; i++)
	{
		ErrorData	error = {0};

		ids[i] = messages[i].id;
		if (errors[i] == NULL)
			continue;
		error.sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		error.message = psprintf("Kafka refused the message: %s", errors[i]);
		rc_dead_letter_add("outbox", messages[i].origin, 0,
						   &messages[i].record, &error, messages[i].owner);
	}
	rc_outbox_delete(ids, n);
	if (!said_running)
		rc_outbox_say("running", NULL);
	rc_transaction_commit();
	said_running = true;
	MemoryContextSwitchTo(context);
}

/* Show that messages wait, until some have been sent again. */
static void
say_waiting(const char *error)
{
	MemoryContext context = CurrentMemoryContext;

	rc_transaction_begin();
	rc_outbox_say("waiting", error);
	rc_transaction_commit();
	MemoryContextSwitchTo(context);
	said_running = false;
}
