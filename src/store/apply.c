/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Applies a batch: executes the stream's statement over ranges of records,
 *	  and bisects a range that fails to isolate the bad record.
 *
 * What happens to a record that fails alone is in apply_failure.c.  A record
 * becomes a dead letter only if its error is its own fault (error_class.c).
 * Some errors do not say so by their SQLSTATE; then it must be proven in the
 * same transaction: the record failed alone, a later record succeeded, and the
 * first one failed again after that.  Without the second failure, a cause that
 * was fixed between the two attempts (say, a missing grant) would cost a good
 * record.
 *
 *-------------------------------------------------------------------------
 */
#include "store/apply_batch.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "store/change_fold.h"
#include "store/error_class.h"
#include "store/statement_setup.h"
#include "store/stream_state.h"

/* Commit what has been applied when bisecting has taken this long, in ms. */
#define BISECTING_TIME	5000

/* Double the size of ranges after this many of them succeeded. */
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
 * Apply the records of a batch, in order, in the caller's transaction.  The
 * records are divided into parts, one for each run that sent some; a range of
 * records never spans two parts, so that each part has counts.
 *
 * Returns the number of records, from the first on, that have been applied or
 * added to the dead letters; the caller advances offsets and cursors by it.
 * parts[].applied and parts[].counts refer to these records.  The number is
 * smaller than the batch in two cases.  Either bisecting took too long: the
 * caller commits and calls again with the rest.  Or the last records failed
 * and are undecided (rc_applier_undecided() returns true): the caller commits,
 * calls rc_applier_check(), and calls again with those records and later ones.
 *
 * Counts are added to: "inserted" and "updated" if the statement returns a
 * single boolean column "inserted", else the rows written as "inserted";
 * "dead"; and all other records as "unchanged".  Dead letters are written in
 * the caller's transaction.
 *
 * Raises errors that are not the fault of a record, and those that stop the
 * stream (stop_after, on_error).  The caller must then abort; nothing has been
 * applied.
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
	batch.dead = palloc0(batch.n * sizeof(bool));
	if (applier->size > 0)
		batch.bisecting_since = GetCurrentTimestamp();

	applier->outcome = RC_OUTCOME_CODE;
	applier->tail_length = 0;
	/* of a batch that was aborted, or of another statement of this session */
	(void) rc_changes_folded();
	rc_batch_resume_search(&batch);
	rc_statement_prepare(applier);
	while (batch.at < batch.n && !time_is_up(&batch))
	{
		CHECK_FOR_INTERRUPTS();
		enter_part(&batch);
		try_next(&batch);
	}
	rc_batch_note_tail(&batch);
	rc_user_sql_finish(applier->stream);
	report_repeats(&batch);

	left = rc_batch_decided(&batch);
	if (left > 0 && rc_changes_folded())
		rc_dead_letter_overtaken(applier->stream, records, left, batch.dead,
								 applier->letters != NULL);
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
 * Whether the caller should commit now.  If no record has been decided yet,
 * there is nothing to commit, but what was learned (the size of ranges, or how
 * many records have failed) is kept in the applier, and the next call
 * continues from there.
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
 * Too many failed records are being confirmed to reach, in this transaction,
 * the record that succeeded after them.  Execute that one again instead.
 * Always returns true: either the failures are settled by it, or the search
 * has ended.
 */
static bool
proven_again(RcBatch *batch)
{
	RcCounts	unused = {0};
	int			n = 1;
	ErrorData  *error = rc_statement_try(batch->applier,
										 batch->records + batch->probed - 1,
										 &n, true, &unused);

	if (error == NULL)
		rc_batch_settle(batch);
	else
	{
		raise_no_records(batch, error);
		FreeErrorData(error);
	}
	return true;
}

/* Advance to the part that the next record belongs to. */
static void
enter_part(RcBatch *batch)
{
	while (batch->at >= batch->part_end)
		batch->part_end += (++batch->part)->n;
}

/* Apply the next range, or handle the record that is known not to decode. */
static void
try_next(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;
	int			high = batch->part_end;
	int			n;
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
	n = high - batch->at;
	error = rc_statement_try(applier, batch->records + batch->at, &n, probe,
							 &batch->part->counts);
	if (error != NULL)
	{
		range_failed(batch, n, error);
		return;
	}
	if (probe)
	{
		try_failures_again(batch);
		return;
	}
	batch->at += n;
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
 * The record at "at" succeeded as a probe, and that was rolled back.  Go back
 * to the first of the failed records before it: one that fails again is itself
 * at fault.
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
 * A range has failed.  If decoding failed, the bad record is known.  Otherwise
 * the next range is half as long, down to a single record.  The size is kept,
 * for later batches as well, until several ranges of it have succeeded:
 * records that cannot be applied together are usually followed by more of the
 * kind.
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

/* Rethrow an error that is not the fault of a record, which ends the batch. */
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
 * A statement such as INSERT .. ON CONFLICT DO UPDATE fails if two records of
 * a range change the same row.  Bisecting makes it work, but slowly; report
 * that once.
 */
static void
report_repeats(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;

	if (batch->repeats <= 0 || applier->reported || applier->letters)
		return;
	applier->reported = true;
	rc_stream_state_set(applier->stream->name, "running",
						gettext_noop("records of one batch change the same row, so they are applied in small groups, which is slow; hint: SELECT DISTINCT ON (key) .. FROM records ORDER BY key, record_offset DESC in the statement keeps the last one of each key"));
}
