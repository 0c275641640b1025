/*-------------------------------------------------------------------------
 *
 * dataset_scan.c
 *	  Batches of a pass over a dataset to safety: to their destination, and
 *	  only then the cursor moved.
 *
 * It must not know what kind of destination that is.  No transaction is open
 * while one is waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "run_header.h"
#include "transform/cursor_value.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define DEFAULT_BATCH_SIZE	10000

/* Progress is told at most this often, in ms. */
#define PROGRESS_INTERVAL	1000

static void make_room(RcPass *pass, int from);
static int	flush_some(RcPass *pass);
static char *cursor_of(const RcBatch *batch, int n);
static char *safe_cursor(RcPass *pass, int safe);
static void choose_news(RcPass *pass);
static void doubt(RcPass *pass);
static void remember(RcPass *pass, int safe, List *refused);

/* Begin an empty batch. */
void
rc_pass_begin_batch(RcPass *pass)
{
	RcRun	   *run = pass->run;
	RcBatch    *batch = &pass->batch;
	int			max = run->stream ? run->stream->batch_size :
		DEFAULT_BATCH_SIZE;

	MemoryContextReset(run->batch_context);
	memset(batch, 0, sizeof(RcBatch));
	batch->max = max;
	make_room(pass, 0);
	batch->headers[0].name = RC_HEADER_CONTENT_TYPE;
	batch->headers[0].value = "application/json";
	batch->headers[1].name = RC_HEADER_SOURCE;
	batch->headers[1].value = run->source->name;
	batch->headers[2].name = RC_HEADER_RUN;
	batch->headers[2].value = run->label;
	for (int i = 0; i < lengthof(batch->headers); i++)
		batch->headers[i].value_len = strlen(batch->headers[i].value);
}

/* Room for a batch behind the records from "from" on, which stay. */
static void
make_room(RcPass *pass, int from)
{
	MemoryContext context = pass->run->batch_context;
	RcBatch    *batch = &pass->batch;
	RcBatch		old = *batch;
	int			kept = batch->n - from;
	int			room = batch->max + kept;

	batch->records = MemoryContextAllocZero(context, sizeof(RcRecord) * room);
	batch->memory = MemoryContextAllocZero(context, sizeof(RcMemory) * room);
	batch->cursors = MemoryContextAllocZero(context, sizeof(char *) * room);
	batch->n = kept;
	batch->nseen = kept;
	if (kept == 0)
		return;
	memcpy(batch->records, old.records + from, sizeof(RcRecord) * kept);
	memcpy(batch->cursors, old.cursors + from, sizeof(char *) * kept);
	for (int i = 0; i < kept; i++)
		batch->memory[i].version = old.memory[from + i].version;
	pfree(old.records);
	pfree(old.memory);
	pfree(old.cursors);
}

/*
 * Make the batch safe: at its destination, and the cursor moved over it.
 * Records that need more behind them stay for the next batch; "at_end" there
 * is none, and they are an error.
 */
void
rc_pass_flush(RcPass *pass, bool at_end)
{
	RcBatch    *batch = &pass->batch;

	while (batch->lines > 0 || batch->n > 0)
	{
		int			done = flush_some(pass);
		bool		more;

		if (done == batch->n)
		{
			rc_pass_begin_batch(pass);
			break;
		}
		more = rc_destination_needs_more(pass->run->destination, at_end);
		batch->bad = NIL;
		batch->lines = 0;
		batch->bytes = 0;
		pfree(batch->news);
		pfree(batch->place);
		make_room(pass, done);
		if (more)
			break;
	}
}

/*
 * One transaction with the records and their dead letters.  Returns how many
 * records of the batch are safe.
 */
static int
flush_some(RcPass *pass)
{
	RcRun	   *run = pass->run;
	RcBatch    *batch = &pass->batch;
	RcSending	sending = {0};
	RcCounts   *counts = &sending.counts;
	char	   *cursor;
	int			safe = batch->n;

	choose_news(pass);
	sending.records = batch->news;
	sending.n = batch->nnews;
	sending.state = pass->state;
	rc_destination_send(run->destination, &sending);

	rc_transaction_begin();
	rc_destination_commit(run->destination, &sending);
	if (sending.safe < sending.n)
		safe = batch->place[sending.safe];
	cursor = safe_cursor(pass, safe);
	rc_source_advance(run->source, run->destination->id, pass->state, cursor,
					  pass->state->next_offset + sending.safe);
	remember(pass, safe, sending.refused);
	counts->dead += rc_bad_lines_bury(pass, sending.refused);
	counts->fetched = batch->lines;
	counts->unchanged += safe - sending.safe;
	if (batch->withdrawal)
		counts->withdrawn = safe - list_length(sending.refused);
	rc_run_add(run->id, run->task, NULL, counts);
	rc_transaction_commit();
	rc_bad_lines_buried(pass, sending.refused);

	if (cursor)
		pass->stored_cursor = MemoryContextStrdup(run->context, cursor);
	cursor = cursor_of(batch, safe);
	if (pass->ordered && cursor)
		run->scan.resume = MemoryContextStrdup(run->context, cursor);
	rc_pass_tell(pass, false);
	return safe;
}

/* The cursor that is reached with so many records of the batch. */
static char *
cursor_of(const RcBatch *batch, int n)
{
	if (n == batch->n)
		return batch->cursor;
	return n > 0 ? batch->cursors[n - 1] : NULL;
}

/* The cursor to be stored when so many records are safe; NULL: it stays. */
static char *
safe_cursor(RcPass *pass, int safe)
{
	char	   *cursor = cursor_of(&pass->batch, safe);

	if (pass->run->window != NULL || !pass->ordered || cursor == NULL ||
		(pass->stored_cursor != NULL &&
		 rc_cursor_compare(pass->kind, cursor, pass->stored_cursor) < 0))
		return NULL;
	return cursor;
}

/*
 * Choose the records that have to be handed on: not those that are equal to
 * what was handed on last, or older.  A full sync that was asked for and a
 * backfill hand on what is equal, too.
 */
static void
choose_news(RcPass *pass)
{
	RcRun	   *run = pass->run;
	RcBatch    *batch = &pass->batch;
	bool		keyed = run->source->key_field != NULL && !batch->withdrawal;
	RcHandOn	mode = run->full_sync ? RC_HAND_ON_ALL :
		run->window || pass->state->moved ? RC_HAND_ON_EQUAL :
		RC_HAND_ON_NEWS;

	MemoryContextSwitchTo(run->batch_context);
	batch->nnews = 0;
	batch->news = palloc(sizeof(RcRecord) * Max(batch->n, 1));
	batch->place = palloc(sizeof(int) * Max(batch->n, 1));
	if (keyed && batch->n > 0)
	{
		rc_transaction_begin_in(run->batch_context);
		rc_remembered_compare(run->source, run->destination->id,
							  batch->records, batch->memory, batch->n,
							  run->id, mode);
		if (run->scan.seen)
			rc_seen_add(run->scan.seen, batch->records + batch->nseen,
						batch->n - batch->nseen);
		doubt(pass);
		rc_transaction_commit();
	}
	if (run->scan.seen && batch->bad != NIL)
	{
		ListCell   *lc;

		/* no record, but there */
		rc_transaction_begin();
		foreach(lc, batch->bad)
			rc_seen_add(run->scan.seen,
						&((RcBadLine *) lfirst(lc))->record, 1);
		rc_transaction_commit();
	}
	for (int i = 0; i < batch->n; i++)
	{
		if (keyed && !batch->memory[i].news)
			continue;
		batch->place[batch->nnews] = i;
		batch->news[batch->nnews] = batch->records[i];
		batch->news[batch->nnews].offset = pass->state->next_offset +
			batch->nnews;
		batch->nnews++;
	}
	MemoryContextSwitchTo(run->context);
}

/*
 * Ahead of the commit there is a time in which a record is there and that is
 * not written down yet.  Whoever dies in it must not leave behind that the one
 * before was the last, or that there was none: what changes is in doubt until
 * it is remembered, and so is what is new, but for the first pass, which would
 * write everything twice.
 */
static void
doubt(RcPass *pass)
{
	RcRun	   *run = pass->run;
	RcBatch    *batch = &pass->batch;
	bool		fresh_too = !pass->state->first_pass;
	bool		any = false;

	if (!run->destination->class->ahead_of_commit)
		return;
	for (int i = 0; i < batch->n; i++)
		any |= batch->memory[i].changed ||
			(fresh_too && batch->memory[i].fresh);
	if (!any)
		return;
	rc_source_fence(run->source, run->destination->id, pass->state);
	rc_remembered_doubt(run->source, run->destination->id, batch->records,
						batch->memory, batch->n, fresh_too);
}

/* What is safe is remembered, or forgotten where it has gone. */
static void
remember(RcPass *pass, int safe, List *refused)
{
	RcRun	   *run = pass->run;
	RcBatch    *batch = &pass->batch;
	ListCell   *lc;

	if (run->source->key_field == NULL || safe == 0)
		return;
	if (batch->withdrawal)
	{
		/* one that was refused would be refused again */
		rc_forget(run->source, run->destination->id, batch->records, safe);
		return;
	}
	foreach(lc, refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);

		batch->memory[batch->place[message->tag]].write = false;
	}
	rc_remember(run->source, run->destination->id, batch->records,
				batch->memory, safe);
}

void
rc_pass_tell(RcPass *pass, bool end)
{
	if (end && pass->told == pass->received && pass->told_at != 0)
		return;
	if (!end && pass->told_at != 0 &&
		!rc_time_passed(pass->told_at, PROGRESS_INTERVAL))
		return;
	pass->told_at = GetCurrentTimestamp();
	pass->told = pass->received;
	ereport(NOTICE,
			(errmsg("source \"%s\": %lld of %lld records", pass->run->source->name,
					(long long) pass->received,
					(long long) Max(pass->expected, pass->received))));
}
