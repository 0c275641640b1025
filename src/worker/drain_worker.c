/*-------------------------------------------------------------------------
 *
 * drain_worker.c
 *	  The worker of rc_drain(): waits until everything that a stream's topics
 *	  contain now is applied, by the stream's workers if they run, else by
 *	  this process.
 *
 * It is connected as the stream's owner, because it may run the stream's
 * statement.  It must not wait for records that are produced later, so end
 * offsets are read once.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "kafka/kafka.h"

/* Interval of polling the stream's offsets, in ms. */
#define POLL_INTERVAL_MS	50

/* Pause before a batch is retried whose offset another process held, in ms. */
#define RETRY_PAUSE_MS	500

/* How often it is retried, if no batch is committed, until that is an error. */
#define MAX_RETRIES		20

/* Wake the stream's workers at every n-th poll. */
#define WAKE_EVERY		10

static void drain(RcWorkerArgs *args);
static void check_can_drain(RcStream *stream);
static List *current_ends(RcStream *stream);
static void drain_to(RcStreamConsumer *consumer, RcStream *stream,
					 List *end_offsets);
static void consume_to(RcStreamConsumer *consumer, const RcStream *stream,
					   List *end_offsets, int *retries);
static void check_still_read(const char *name, List *end_offsets);
static void get_totals(RcStream *stream, RcCounts *counts);

/* Entry point of the drain worker. */
void
rc_drain_main(Datum arg)
{
	rc_worker_main(drain);
}

static void
drain(RcWorkerArgs *args)
{
	RcStream   *stream = rc_request_begin(args, RC_WORKER_DRAIN);
	RcStreamConsumer *consumer = rc_stream_consumer_create();
	RcCounts	before;
	RcCounts	after;
	int64		values[5];

	check_can_drain(stream);
	get_totals(stream, &before);
	drain_to(consumer, stream, current_ends(stream));
	rc_stream_close(consumer);

	get_totals(stream, &after);
	values[0] = after.fetched - before.fetched;
	values[1] = after.inserted - before.inserted;
	values[2] = after.updated - before.updated;
	values[3] = Max(after.unchanged - before.unchanged, 0);
	values[4] = after.dead - before.dead;
	rc_queue_send_end(values, lengthof(values));
}

/*
 * Raise an error unless brokers are set and the owner may use the stream's
 * topics.
 */
static void
check_can_drain(RcStream *stream)
{
	if (rc_kafka_brokers[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot drain stream \"%s\" in direct mode",
						stream->name),
				 errhint("Set rappel_conso.kafka_brokers.")));
	rc_transaction_begin();
	rc_check_grants(stream->owner, stream->owner_name, stream->topics,
					stream->output_topic, stream->name);
	rc_transaction_commit();
}

/* The end offsets of the stream's partitions now. */
static List *
current_ends(RcStream *stream)
{
	RcKafka    *kafka = rc_kafka_open(RC_KAFKA_CONSUMER,
									  rc_client_id(psprintf("%s.drain",
															stream->name)),
									  NULL);
	List	   *end_offsets = rc_stream_end_offsets(stream, NULL, kafka);

	rc_kafka_close(kafka);
	return end_offsets;
}

/* Wait until all end offsets are reached, consuming here if no worker runs. */
static void
drain_to(RcStreamConsumer *consumer, RcStream *stream, List *end_offsets)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext poll_context = AllocSetContextCreate(context,
													   "rappel_conso drain",
													   ALLOCSET_DEFAULT_SIZES);
	int			polls = 0;
	int			retries = 0;

	rc_lock_mark(RC_WORKER_STREAM, stream->name, true);
	for (;;)
	{
		bool		reached;
		bool		worked;

		MemoryContextReset(poll_context);
		rc_transaction_begin_in(poll_context);
		reached = rc_end_offsets_reached(stream->name, end_offsets);
		if (!reached)
			check_still_read(stream->name, end_offsets);
		worked = rc_stream_has_worker(stream);
		if (worked && polls++ % WAKE_EVERY == 0)
		{
			/*
			 * they may have passed offsets without a message, and not stored
			 * that yet
			 */
			rc_wake_stream(stream->name, stream->workers);
		}
		rc_transaction_commit();
		if (reached)
			break;
		if (worked || !rc_stream_lock_all(stream))
			rc_worker_wait(POLL_INTERVAL_MS);
		else
		{
			consume_to(consumer, stream, end_offsets, &retries);
			MemoryContextSwitchTo(context);
			rc_stream_unlock_all(stream);
		}
	}
}

/*
 * Consume up to the end offsets.  Where another process has the row of an
 * offset locked, as one that stores a watermark has for a moment, the batch is
 * rolled back with 40001: then this returns after a pause, and the caller
 * tries again, as a stream's own worker does.  After MAX_RETRIES without a
 * batch that was applied the error is raised: a statement may always fail with
 * it, and so does a stream that was given to another owner.  *retries counts
 * them.
 */
static void
consume_to(RcStreamConsumer *consumer, const RcStream *stream,
		   List *end_offsets, int *retries)
{
	RcCounts	counts = {0};
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		rc_stream_consume(consumer, stream->name, -1, end_offsets, true,
						  &counts);
	}
	PG_CATCH();
	{
		error = rc_worker_recover(TopMemoryContext, false);
	}
	PG_END_TRY();
	if (error == NULL || counts.fetched > 0)
		*retries = 0;
	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE ||
		(*retries)++ >= MAX_RETRIES)
		ReThrowError(error);
	FreeErrorData(error);
	rc_worker_wait(RETRY_PAUSE_MS);
}

/* Raise an error if the stream was deleted, or no longer reads a topic. */
static void
check_still_read(const char *name, List *end_offsets)
{
	RcStream   *stream = rc_stream_load(name);
	ListCell   *lc;

	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" no longer exists", name)));
	foreach(lc, end_offsets)
	{
		const RcEndOffset *end = (const RcEndOffset *) lfirst(lc);

		if (!rc_stream_reads(stream, end->topic))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("stream \"%s\" no longer reads topic \"%s\"",
							name, end->topic),
					 errhint("Call rc_drain() again to drain the present topics of the stream.")));
	}
}

/* Totals of the stream so far, by whichever process. */
static void
get_totals(RcStream *stream, RcCounts *counts)
{
	rc_transaction_begin();
	rc_offset_totals(stream->name, counts);
	rc_transaction_commit();
}
