/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Applies a batch: tries the stream's statement over ranges of records,
 *	  and bisects a range that fails.
 *
 * What becomes of a record that fails alone is in apply_failure.c.  It may be
 * blamed only for what is its fault (error_class.c).  Where that is not clear
 * there must be proof in the same transaction: it failed alone, and a later
 * one was applied.  So that nothing is proven by a cause that was mended
 * between the two, it must have failed again after a later one could be
 * applied.
 *
 *-------------------------------------------------------------------------
 */
#include "store/apply_batch.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "store/error_class.h"
#include "store/statement_setup.h"
#include "store/stream_state.h"

/* After so long a part of a batch that is bisected is committed, in ms. */
#define BISECTING_TIME	5000

/* So many ranges of a size have to pass before it is doubled. */
#define PASSES_TO_DOUBLE	4

static bool time_is_up(RcBatch *batch);
static bool proven_again(RcBatch *batch);
static void enter_part(RcBatch *batch);
static void try_next(RcBatch *batch);
static void try_failures_again(RcBatch *batch);
static void range_failed(RcBatch *batch, int n, ErrorData *error);
static void raise_no_records(RcBatch *batch, ErrorData *error);
static void report_repeats(RcBatch *batch);

/*
 * Apply the records of a batch in the caller's transaction, in order.  They
 * come in parts, one after the other; no range is of two of them.
 *
 * Returns how many have been dealt with: offsets and cursors may move over so
 * many, and the parts' "applied" and "counts" are about them.  It is fewer
 * than there are, even none, when bisecting took too long: then the caller
 * commits and comes again with the rest.  Or the last ones failed, and nothing
 * proves whose fault that is, which rc_applier_undecided() tells: then the
 * caller commits, calls rc_applier_check(), and comes again with more records
 * behind them.
 *
 * Adds to a part's counts: inserted and updated by a statement that returns a
 * single boolean column "inserted", else the rows written as inserted; dead;
 * and what is left as unchanged.  Dead letters are written in the same
 * transaction.  Errors that are no record's fault are thrown, as are those
 * that stop the stream (stop_after, on_error); then the caller must abort, and
 * nothing has happened.
 */
int
rc_apply(RcApplier *applier, const RcRecord *records, RcPart *parts, int nparts)
{
	RcBatch		batch = {0};
	int			left;

	batch.applier = applier;
	batch.records = records;
	batch.bad = -1;
	batch.part = parts;
	for (int i = 0; i < nparts; i++)
		batch.n += parts[i].n;
	batch.part_end = parts[0].n;
	if (applier->size > 0)
		batch.bisecting_since = GetCurrentTimestamp();

	applier->outcome = RC_OUTCOME_CODE;
	applier->tail_length = 0;
	rc_batch_resume_search(&batch);
	rc_statement_prepare(applier);
	while (batch.at < batch.n && !time_is_up(&batch))
	{
		CHECK_FOR_INTERRUPTS();
		enter_part(&batch);
		try_next(&batch);
	}
	rc_batch_note_tail(&batch);
	report_repeats(&batch);

	left = rc_batch_decided(&batch);
	for (int i = 0; i < nparts; i++)
	{
		RcCounts   *counts = &parts[i].counts;

		parts[i].applied = Min(left, parts[i].n);
		left -= parts[i].applied;
		counts->unchanged += Max(0, parts[i].applied - counts->inserted -
								 counts->updated - counts->dead);
	}
	return rc_batch_decided(&batch);
}

/*
 * Whether the transaction has lasted long enough.  What has been decided is
 * committed; if nothing has been, what was found out is kept for the next
 * call, which goes on from there: the size that a range may have, or how far
 * proof has been looked for in vain.
 */
static bool
time_is_up(RcBatch *batch)
{
	if (batch->bisecting_since == 0 ||
		!TimestampDifferenceExceeds(batch->bisecting_since,
									GetCurrentTimestamp(), BISECTING_TIME))
		return false;
	if (rc_batch_decided(batch) > 0)
		return true;
	if (batch->at < batch->probed)
		return batch->failures != NIL && proven_again(batch);
	return batch->bad < 0;
}

/*
 * Failures are being confirmed, and there are too many of them to come to the
 * record that is the proof.  It is tried once more; always true, since this
 * either decides them or ends the search.
 */
static bool
proven_again(RcBatch *batch)
{
	RcCounts	unused = {0};
	ErrorData  *error = rc_statement_try(batch->applier,
										 batch->records + batch->probed - 1,
										 1, true, &unused);

	if (error == NULL)
		rc_batch_settle(batch);
	else
	{
		raise_no_records(batch, error);
		FreeErrorData(error);
	}
	return true;
}

/* Go on to the part that the next record is in. */
static void
enter_part(RcBatch *batch)
{
	while (batch->at >= batch->part_end)
		batch->part_end += (++batch->part)->n;
}

/* Try the next range, or take what is known of the next record. */
static void
try_next(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;
	int			high = batch->part_end;
	bool		probe = batch->unconfirmed > 0;
	ErrorData  *error;

	if (batch->at == batch->bad)
	{
		batch->bad = -1;
		rc_batch_record_failed(batch, batch->bad_error);
		return;
	}
	if (probe)
		high = batch->at + 1;
	if (applier->size > 0)
		high = Min(high, batch->at + applier->size);
	if (batch->bad >= 0)
		high = Min(high, batch->bad);
	error = rc_statement_try(applier, batch->records + batch->at,
							 high - batch->at, probe, &batch->part->counts);
	if (error != NULL)
	{
		range_failed(batch, high - batch->at, error);
		return;
	}
	if (probe)
	{
		try_failures_again(batch);
		return;
	}
	batch->at = high;
	applier->dead_in_row = 0;
	rc_batch_settle(batch);
	if (applier->size == 0 || ++applier->passed < PASSES_TO_DOUBLE)
		return;
	applier->passed = 0;
	applier->size *= 2;
	if (applier->size >= applier->stream->batch_size)
		applier->size = 0;
}

/*
 * The record at "at" could be applied, and that was undone: go back to the
 * first of those before it that failed.  One that fails once more does so by
 * its own fault.
 */
static void
try_failures_again(RcBatch *batch)
{
	RcFailure  *first = (RcFailure *) linitial(batch->failures);

	batch->probed = batch->at + 1;
	batch->at = first->at;
	batch->part = first->part;
	batch->part_end = first->part_end;
	batch->bad = -1;
	batch->unconfirmed = 0;
	batch->applier->dead_in_row = batch->dead_in_row;
	batch->failures = NIL;
}

/*
 * A range has failed.  Where decoding did, the culprit is known; else the
 * next range is half as long, until it is one record.  That size stays, also
 * for the batches that follow, until it has passed some times: where records
 * do not go together, others will not either.
 */
static void
range_failed(RcBatch *batch, int n, ErrorData *error)
{
	RcApplier  *applier = batch->applier;

	raise_no_records(batch, error);
	if (batch->bisecting_since == 0)
		batch->bisecting_since = GetCurrentTimestamp();
	if (applier->phase == RC_PHASE_DECODE)
	{
		batch->bad = batch->at + applier->decoding;
		batch->bad_error = error;
		return;
	}
	applier->size = Max(n / 2, 1);
	applier->passed = 0;
	if (n == 1)
	{
		rc_batch_record_failed(batch, error);
		return;
	}
	if (error->sqlerrcode == ERRCODE_CARDINALITY_VIOLATION)
		batch->repeats++;
	FreeErrorData(error);
}

/* An error that is no record's fault ends the batch. */
static void
raise_no_records(RcBatch *batch, ErrorData *error)
{
	if (batch->applier->phase == RC_PHASE_PREPARE)
		ReThrowError(error);
	if (rc_error_fault(error) == RC_FAULT_NO_RECORD)
	{
		batch->applier->outcome = RC_OUTCOME_WAITS;
		ReThrowError(error);
	}
}

/*
 * A statement such as INSERT .. ON CONFLICT DO UPDATE that meets a row twice
 * in one batch works, but slowly; say so once.
 */
static void
report_repeats(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;

	if (batch->repeats <= 0 || applier->reported || applier->letters)
		return;
	applier->reported = true;
	rc_stream_state_set(applier->stream->name, "running",
						"records of one batch change the same row, so they are applied in small groups, which is slow; hint: SELECT DISTINCT ON (key) .. FROM records ORDER BY key, record_offset DESC in the statement keeps the last one of each key");
}
