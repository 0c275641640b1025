/*-------------------------------------------------------------------------
 *
 * stream_worker.c
 *	  The main loop of a stream worker, and its recovery from errors.
 *
 * Records are handled in stream_consumer.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Maximum wait before a batch is retried, in ms. */
#define MAX_BACKOFF			60000

/* lock_timeout of our own queries, in ms. */
#define LOCK_TIMEOUT_MS		5000

static void work_for_stream(RcWorkerArgs *args);
static ErrorData *consume(RcStreamConsumer *consumer, const RcWorkerArgs *args);
static bool stream_wanted(const RcWorkerArgs *args);
static bool survive(const RcStreamConsumer *consumer, const char *name,
					ErrorData *error, bool stale);

/* Entry point of a stream worker. */
void
rc_stream_main(Datum arg)
{
	rc_worker_main(work_for_stream);
}

static void
work_for_stream(RcWorkerArgs *args)
{
	RcStreamConsumer *consumer;
	long		backoff = 0;

	rc_queue_attach(args->segment);
	rc_worker_connect(args, RC_WORKER_STREAM);
	rc_queue_connected();
	rc_query_lock_timeout = LOCK_TIMEOUT_MS;
	if (!rc_lock_take(RC_WORKER_STREAM, args->name, args->number))
		proc_exit(0);

	consumer = rc_stream_consumer_create();
	for (;;)
	{
		TimestampTz started_at = GetCurrentTimestamp();
		ErrorData  *error = consume(consumer, args);
		bool		stale;

		if (error == NULL)
		{
			backoff = 0;
			continue;
		}

		/* the table of streams may be what is locked, so do not read it */
		stale = error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			(rc_statement_changed() || rc_stream_stale(consumer));
		if (!survive(consumer, args->name, error, stale))
			proc_exit(0);
		FreeErrorData(error);
		if (stale)
		{
			rc_statement_expect();	/* the new one is loaded next */
			backoff = 0;
			continue;
		}
		if (rc_time_passed(started_at, MAX_BACKOFF))
			backoff = 0;
		backoff = Min(MAX_BACKOFF, Max(500, backoff * 2));
		rc_stream_pause(consumer, backoff);
	}
}

/*
 * Consume until the definition changes.  Returns the error that ended it, or
 * NULL.
 */
static ErrorData *
consume(RcStreamConsumer *consumer, const RcWorkerArgs *args)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		RcCounts	counts = {0};

		if (!stream_wanted(args))
			proc_exit(0);
		rc_stream_consume(consumer, args->name, args->number, NIL, false,
						  &counts);
	}
	PG_CATCH();
	{
		error = rc_worker_recover(TopMemoryContext, true);
	}
	PG_END_TRY();
	return error;
}

/*
 * Whether this worker is needed: the extension, the stream and brokers exist,
 * and the stream still has this many workers and this owner.
 */
static bool
stream_wanted(const RcWorkerArgs *args)
{
	RcStream   *stream = NULL;

	rc_transaction_begin();
	if (rc_extension_present())
		stream = rc_stream_load(args->name);
	if (stream != NULL && (stream->paused ||
						   rc_stream_postponed(args->name) || rc_kafka_brokers[0] == '\0' ||
						   stream->owner != GetSessionUserId() ||
						   args->number >= stream->workers))
		stream = NULL;
	rc_transaction_commit();
	return stream != NULL;
}

/*
 * After an error: store the stream's state.  Returns true if the same batch is
 * to be retried, false if the stream has failed; the scheduler then starts it
 * again later.  An error of a definition that was changed meanwhile does not
 * count ("stale").
 */
static bool
survive(const RcStreamConsumer *consumer, const char *name, ErrorData *error,
		bool stale)
{
	bool		locked = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	bool		again = stale || rc_stream_error_is_transient(consumer, error);

	rc_transaction_begin();
	if (!rc_extension_present())
	{
		rc_transaction_commit();
		proc_exit(0);
	}
	if (!again)
		rc_stream_fail(name, error);
	else if (!stale && rc_stream_undecided(consumer))
		rc_stream_wait(name, error);
	else if (!stale && error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE)
		rc_stream_wait_for(name, locked ? rc_lock_message(error) : error->message,
						   error);
	rc_transaction_commit();
	return again;
}
