/*-------------------------------------------------------------------------
 *
 * retry_worker.c
 *	  The worker of rc_retry(): applies dead letters of a stream again.
 *
 * It is connected as the stream's owner, whose statement it runs.  It does not
 * connect to Kafka: a dead letter contains the whole record.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "miscadmin.h"
#include "utils/memutils.h"

/* Dead letters per transaction. */
#define RETRY_BATCH		500

static void retry(RcWorkerArgs *args);
static bool retry_some(RcStream *stream, RcApplier *applier, int64 id,
					   int64 *after, RcCounts *counts);

/*
 * Entry point of the retry worker: applies dead letters with the stream's
 * present statement, with their original topics, partitions and offsets.
 */
void
rc_retry_main(Datum arg)
{
	rc_worker_main(retry);
}

static void
retry(RcWorkerArgs *args)
{
	RcStream   *stream = rc_request_begin(args, RC_WORKER_RETRY);
	RcApplier  *applier;
	RcCounts	counts = {0};
	int64		values[3];
	int64		after = 0;

	if (!rc_lock_take(RC_WORKER_RETRY, args->name, 0))
	{
		rc_queue_send_busy();
		return;
	}
	rc_transaction_begin();
	rc_check_grants(stream->owner, stream->owner_name, stream->topics,
					stream->output_topic, stream->name);
	(void) rc_applier_setup(stream);
	rc_transaction_commit();
	applier = rc_applier_open(stream);
	rc_transaction_begin();
	counts.fetched = rc_dead_letter_supersede(stream, args->id);
	rc_transaction_commit();
	while (retry_some(stream, applier, args->id, &after, &counts))
		CHECK_FOR_INTERRUPTS();
	if (args->id > 0 && counts.fetched == 0)
		rc_dead_letter_missing(stream->name, args->id);

	values[0] = counts.fetched;
	values[1] = counts.fetched - counts.dead;
	values[2] = counts.dead;
	rc_queue_send_end(values, lengthof(values));
}

/*
 * Retry the next dead letters, in one transaction.  Returns false if there
 * were none.  If bisecting takes too long it may return true with none done.
 */
static bool
retry_some(RcStream *stream, RcApplier *applier, int64 id, int64 *after,
		   RcCounts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext batch = AllocSetContextCreate(context, "rappel_conso retry",
												ALLOCSET_DEFAULT_SIZES);
	RcDeadLetter *letters;
	RcRecord   *records;
	RcPart		part = {0};
	int64	   *resolved;
	int			nresolved = 0;
	int			n;
	bool		any;

	rc_transaction_begin_in(batch);
	letters = rc_dead_letters(stream, id, *after, RETRY_BATCH, &n);
	records = palloc(sizeof(RcRecord) * (n + 1));
	resolved = palloc(sizeof(int64) * (n + 1));
	for (int i = 0; i < n; i++)
		records[i] = letters[i].record;
	any = (n > 0);
	if (any)
	{
		part.n = n;
		rc_applier_retry(applier, letters);
		n = rc_apply(applier, records, &part, 1);
		rc_applier_retry(applier, NULL);
		if (n > 0)
			*after = letters[n - 1].id;
	}
	for (int i = 0; i < n; i++)
	{
		if (!letters[i].still_dead)
			resolved[nresolved++] = letters[i].id;
	}
	if (nresolved > 0)
		rc_dead_letter_resolve(resolved, nresolved);
	if (stream->output_topic)
		rc_wake_at_commit(RC_WORKER_OUTBOX, "", 0);
	rc_transaction_commit();
	part.counts.fetched = n;
	rc_counts_add(counts, &part.counts);
	if (n > 0)
		ereport(NOTICE,
				(errmsg("stream \"%s\": %d dead letters retried, %lld still dead",
						stream->name, n, (long long) part.counts.dead)));
	MemoryContextSwitchTo(context);
	MemoryContextDelete(batch);
	return any;
}
