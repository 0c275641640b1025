/*-------------------------------------------------------------------------
 *
 * dataset_scan.c
 *	  Sends the batches of a scan of a dataset to their destination, and
 *	  advances the cursor only when they are there.
 *
 * The kind of destination must not matter here.  No transaction may be open
 * while a destination is waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "run_header.h"
#include "transform/cursor_value.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define DEFAULT_BATCH_SIZE	10000

/* Minimum time between two progress reports, in ms. */
#define PROGRESS_INTERVAL	1000

static void make_room(RcScan *scan, int from);
static int	flush_some(RcScan *scan);
static char *cursor_of(const RcBatch *batch, int n);
static char *safe_cursor(RcScan *scan, int safe);
static void choose_records(RcScan *scan);
static void mark_unconfirmed(RcScan *scan);
static void store_states(RcScan *scan, int safe, List *refused);

/* Start an empty batch. */
void
rc_scan_begin_batch(RcScan *scan)
{
	RcRun	   *run = scan->run;
	RcBatch    *batch = &scan->batch;
	int			max = run->stream ? run->stream->batch_size :
		DEFAULT_BATCH_SIZE;

	MemoryContextReset(run->batch_context);
	memset(batch, 0, sizeof(RcBatch));
	batch->max = max;
	make_room(scan, 0);
	batch->headers[0].name = RC_HEADER_CONTENT_TYPE;
	batch->headers[0].value = "application/json";
	batch->headers[1].name = RC_HEADER_SOURCE;
	batch->headers[1].value = run->source->name;
	batch->headers[2].name = RC_HEADER_RUN;
	batch->headers[2].value = run->label;
	for (int i = 0; i < lengthof(batch->headers); i++)
		batch->headers[i].value_len = strlen(batch->headers[i].value);
}

/*
 * Allocate room for a batch after the records from "from" on, which are kept.
 */
static void
make_room(RcScan *scan, int from)
{
	MemoryContext context = scan->run->batch_context;
	RcBatch    *batch = &scan->batch;
	RcBatch		old = *batch;
	int			kept = batch->n - from;
	int			room = batch->max + kept;

	batch->records = MemoryContextAllocZero(context, sizeof(RcRecord) * room);
	batch->states = MemoryContextAllocZero(context, sizeof(RcKnownRecord) * room);
	batch->cursors = MemoryContextAllocZero(context, sizeof(char *) * room);
	batch->n = kept;
	batch->nseen = kept;
	if (kept == 0)
		return;
	memcpy(batch->records, old.records + from, sizeof(RcRecord) * kept);
	memcpy(batch->cursors, old.cursors + from, sizeof(char *) * kept);
	for (int i = 0; i < kept; i++)
		batch->states[i].version = old.states[from + i].version;
	pfree(old.records);
	pfree(old.states);
	pfree(old.cursors);
}

/*
 * Flush the batch: send its records to the destination and advance the cursor
 * past them.  Records that are undecided until later ones have been applied
 * are kept for the next batch; with "at_end" there is none, and they are an
 * error.
 */
void
rc_scan_flush(RcScan *scan, bool at_end)
{
	RcBatch    *batch = &scan->batch;

	while (batch->lines > 0 || batch->n > 0)
	{
		int			done = flush_some(scan);
		bool		more;

		if (done == batch->n)
		{
			rc_scan_begin_batch(scan);
			break;
		}
		more = rc_destination_needs_more(scan->run->destination, at_end);
		batch->bad = NIL;
		batch->lines = 0;
		batch->bytes = 0;
		pfree(batch->to_send);
		pfree(batch->source_index);
		make_room(scan, done);
		if (more)
			break;
	}
}

/*
 * Send and commit records of the batch with their dead letters, in one
 * transaction.  Returns the number of records that are safe, from the first
 * on.
 */
static int
flush_some(RcScan *scan)
{
	RcRun	   *run = scan->run;
	RcBatch    *batch = &scan->batch;
	RcSending	sending = {0};
	RcCounts   *counts = &sending.counts;
	char	   *cursor;
	int			safe = batch->n;

	choose_records(scan);
	sending.records = batch->to_send;
	sending.n = batch->n_to_send;
	sending.state = scan->state;
	rc_destination_send(run->destination, &sending);

	rc_transaction_begin();
	rc_destination_commit(run->destination, &sending);
	if (sending.safe < sending.n)
		safe = batch->source_index[sending.safe];
	cursor = safe_cursor(scan, safe);
	rc_source_advance(run->source, run->destination->id, scan->state, cursor,
					  scan->state->next_offset + sending.safe);
	store_states(scan, safe, sending.refused);
	counts->dead += rc_bad_lines_to_dead_letters(scan, sending.refused);
	counts->fetched = batch->lines;
	counts->unchanged += safe - sending.safe;
	if (batch->withdrawal)
		counts->withdrawn = safe - list_length(sending.refused);
	rc_run_add(run->id, run->task, NULL, counts);
	rc_transaction_commit();
	rc_bad_lines_committed(scan, sending.refused);

	if (cursor)
		scan->stored_cursor = MemoryContextStrdup(run->context, cursor);
	cursor = cursor_of(batch, safe);
	if (scan->ordered && cursor)
		run->scan_state.resume = MemoryContextStrdup(run->context, cursor);
	rc_scan_report_progress(scan, false);
	return safe;
}

/* The cursor after the first n records of the batch; NULL: unknown. */
static char *
cursor_of(const RcBatch *batch, int n)
{
	if (n == batch->n)
		return batch->cursor;
	return n > 0 ? batch->cursors[n - 1] : NULL;
}

/*
 * The cursor to store when the first "safe" records are safe; NULL to keep the
 * stored one.
 */
static char *
safe_cursor(RcScan *scan, int safe)
{
	char	   *cursor = cursor_of(&scan->batch, safe);

	if (scan->run->window != NULL || !scan->ordered || cursor == NULL ||
		(scan->stored_cursor != NULL &&
		 rc_cursor_compare(scan->kind, cursor, scan->stored_cursor) < 0))
		return NULL;
	return cursor;
}

/*
 * Choose the records to send: not those that are equal to, or older than, what
 * was sent last.  A requested full sync and a backfill send equal records,
 * too.
 */
static void
choose_records(RcScan *scan)
{
	RcRun	   *run = scan->run;
	RcBatch    *batch = &scan->batch;
	bool		keyed = run->source->key_field != NULL && !batch->withdrawal;
	RcSendPolicy mode = run->full_sync ? RC_SEND_ALL :
		run->window || scan->state->destination_changed ? RC_SEND_EQUAL :
		RC_SEND_CHANGED;

	MemoryContextSwitchTo(run->batch_context);
	batch->n_to_send = 0;
	batch->to_send = palloc(sizeof(RcRecord) * Max(batch->n, 1));
	batch->source_index = palloc(sizeof(int) * Max(batch->n, 1));
	if (keyed && batch->n > 0)
	{
		rc_transaction_begin_in(run->batch_context);
		rc_known_records_compare(run->source, run->destination->id,
								 scan->first_scan, batch->records,
								 batch->states, batch->n, run->id, mode);
		if (run->scan_state.seen)
			rc_seen_add(run->scan_state.seen, batch->records + batch->nseen,
						batch->n - batch->nseen);
		mark_unconfirmed(scan);
		rc_transaction_commit();
	}
	if (run->scan_state.seen && batch->bad != NIL)
	{
		ListCell   *lc;

		/* not a record, but not missing either */
		rc_transaction_begin();
		foreach(lc, batch->bad)
			rc_seen_add(run->scan_state.seen,
						&((RcBadLine *) lfirst(lc))->record, 1);
		rc_transaction_commit();
	}
	for (int i = 0; i < batch->n; i++)
	{
		if (keyed && !batch->states[i].to_send)
			continue;
		batch->source_index[batch->n_to_send] = i;
		batch->to_send[batch->n_to_send] = batch->records[i];
		batch->to_send[batch->n_to_send].offset = scan->state->next_offset +
			batch->n_to_send;
		batch->n_to_send++;
	}
	MemoryContextSwitchTo(run->context);
}

/*
 * Mark records as unconfirmed before they are sent to a destination that
 * receives them before our commit.  If we crash in between, the stored hash is
 * out of date, and a record that returns to its old value would be taken for
 * unchanged.  New records are marked as well, except in the first scan, where
 * it would double all writes.
 */
static void
mark_unconfirmed(RcScan *scan)
{
	RcRun	   *run = scan->run;
	RcBatch    *batch = &scan->batch;
	bool		fresh_too = !scan->state->first_scan;
	bool		any = false;

	if (!run->destination->class->ahead_of_commit)
		return;
	for (int i = 0; i < batch->n; i++)
		any |= batch->states[i].changed ||
			(fresh_too && batch->states[i].fresh);
	if (!any)
		return;
	rc_source_fence(run->source, run->destination->id, scan->state);
	rc_known_records_mark_unconfirmed(run->source, run->destination->id, batch->records,
									  batch->states, batch->n, fresh_too);
}

/*
 * Store the hashes of records that are safe, or delete those of withdrawn
 * ones.
 */
static void
store_states(RcScan *scan, int safe, List *refused)
{
	RcRun	   *run = scan->run;
	RcBatch    *batch = &scan->batch;
	ListCell   *lc;

	if (run->source->key_field == NULL || safe == 0)
		return;
	if (batch->withdrawal)
	{
		/* a refused one is deleted as well: it would be refused again */
		rc_known_records_delete(run->source, run->destination->id, batch->records, safe);
		return;
	}
	foreach(lc, refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);

		batch->states[batch->source_index[message->tag]].write = false;
	}
	rc_known_records_store(run->source, run->destination->id, batch->records,
						   batch->states, safe);
}

void
rc_scan_report_progress(RcScan *scan, bool end)
{
	if (end && scan->reported == scan->received && scan->reported_at != 0)
		return;
	if (!end && scan->reported_at != 0 &&
		!rc_time_passed(scan->reported_at, PROGRESS_INTERVAL))
		return;
	scan->reported_at = GetCurrentTimestamp();
	scan->reported = scan->received;
	ereport(NOTICE,
			(errmsg("source \"%s\": %lld of %lld records", scan->run->source->name,
					(long long) scan->received,
					(long long) Max(scan->expected, scan->received))));
}
