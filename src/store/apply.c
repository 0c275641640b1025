/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Applies a batch: tries the stream's statement over ranges of records,
 *	  bisects a range that fails, and decides what becomes of a record that
 *	  fails alone.
 *
 * A record may be blamed only for what is its fault (error_class.c).  Where that
 * is not clear there must be proof in the same transaction: it failed alone,
 * and a later one was applied.  So that nothing is proven by a cause that was
 * mended between the two, it must have failed again after a later one could
 * be applied.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/apply.h"
#include "store/dead_letter.h"
#include "store/error_class.h"
#include "store/run_table.h"
#include "store/statement_setup.h"
#include "store/stream_state.h"
#include "store/stream_table.h"

/* After so long a part of a batch that is bisected is committed, in ms. */
#define BISECTING_TIME	5000

/* So many ranges of a size have to pass before it is doubled. */
#define PASSES_TO_DOUBLE	4

/* A record that failed alone. */
typedef struct Failure
{
	int			at;
	RcPart	   *part;
	int			part_end;
	ErrorData  *error;
} Failure;

/* A batch under way. */
typedef struct Batch
{
	RcApplier  *applier;
	const RcRecord *records;
	int			n;
	int			at;				/* what is before it has been tried */
	RcPart	   *part;			/* that "at" is in */
	int			part_end;
	int			bad;			/* known not to be decodable; -1: none */
	ErrorData  *bad_error;
	List	   *failures;		/* of Failure *, that nothing is proven of;
								 * the first one needs proof */
	int			unconfirmed;	/* those of them that failed but once */
	int			probed;			/* a record before this one could be applied
								 * after those before it had failed */
	int			dead_in_row;	/* when the first of them failed */
	TimestampTz bisecting_since;	/* in this transaction; 0: nothing was */
	int			repeats;		/* ranges that met a row twice */
} Batch;

static bool time_is_up(Batch *batch);
static bool proven_again(Batch *batch);
static void resume_search(Batch *batch);
static void suspend_search(Batch *batch);
static int	decided(const Batch *batch);
static void enter_part(Batch *batch);
static void try_next(Batch *batch);
static void try_failures_again(Batch *batch);
static void range_failed(Batch *batch, int n, ErrorData *error);
static void raise_nobodys(Batch *batch, ErrorData *error);
static void record_failed(Batch *batch, ErrorData *error);
static void check_limits(Batch *batch, const Failure *failure);
static void stop_for_record(Batch *batch, const Failure *failure);
static int	stop_code(const ErrorData *error);
static void settle(Batch *batch);
static void bury(Batch *batch, Failure *failure);
static void note_tail(Batch *batch);
static void tell_repeats(Batch *batch);

/*
 * Open an applier for a stream, whose struct must live as long.
 */
RcApplier *
rc_applier_open(const RcStream *stream)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "rappel_conso applier",
												  ALLOCSET_DEFAULT_SIZES);
	RcApplier  *applier = MemoryContextAllocZero(context, sizeof(RcApplier));

	rc_statement_check_owner(stream);
	applier->stream = stream;
	applier->context = context;
	applier->range_context = AllocSetContextCreate(context,
												   "rappel_conso range",
												   ALLOCSET_DEFAULT_SIZES);
	applier->search_context = AllocSetContextCreate(context,
													"rappel_conso search",
													ALLOCSET_SMALL_SIZES);
	return applier;
}

/* Free an applier and its kept plans. */
void
rc_applier_close(RcApplier *applier)
{
	rc_statement_forget(applier);
	MemoryContextDelete(applier->context);
}

/*
 * The records of the next rc_apply() are these dead letters: one that fails
 * again stays dead, with its new error, and stops nothing.  NULL ends that.
 */
void
rc_applier_retry(RcApplier *applier, RcDeadLetter *letters)
{
	applier->letters = letters;
}

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
	Batch		batch = {0};
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
	resume_search(&batch);
	rc_statement_prepare(applier);
	while (batch.at < batch.n && !time_is_up(&batch))
	{
		CHECK_FOR_INTERRUPTS();
		enter_part(&batch);
		try_next(&batch);
	}
	note_tail(&batch);
	tell_repeats(&batch);

	left = decided(&batch);
	for (int i = 0; i < nparts; i++)
	{
		RcCounts   *counts = &parts[i].counts;

		parts[i].applied = Min(left, parts[i].n);
		left -= parts[i].applied;
		counts->unchanged += Max(0, parts[i].applied - counts->inserted -
								 counts->updated - counts->dead);
	}
	return decided(&batch);
}

/*
 * Whether the transaction has lasted long enough.  What has been decided is
 * committed; if nothing has been, what was found out is kept for the next
 * call, which goes on from there: the size that a range may have, or how far
 * proof has been looked for in vain.
 */
static bool
time_is_up(Batch *batch)
{
	if (batch->bisecting_since == 0 ||
		!TimestampDifferenceExceeds(batch->bisecting_since,
									GetCurrentTimestamp(), BISECTING_TIME))
		return false;
	if (decided(batch) > 0)
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
proven_again(Batch *batch)
{
	RcCounts	unused = {0};
	ErrorData  *error = rc_statement_try(batch->applier,
										 batch->records + batch->probed - 1,
										 1, true, &unused);

	if (error == NULL)
		settle(batch);
	else
	{
		raise_nobodys(batch, error);
		FreeErrorData(error);
	}
	return true;
}

/*
 * The records that the last call has found to fail are the first ones again:
 * only those behind them have to be tried.
 */
static void
resume_search(Batch *batch)
{
	RcApplier  *applier = batch->applier;
	const RcRecord *first = &batch->records[0];
	int			searched = applier->searched;
	Failure    *failure;

	if (searched == 0)
		return;
	applier->searched = 0;
	if (searched >= batch->n || first->offset != applier->search_offset ||
		first->partition != applier->search_partition ||
		strcmp(first->topic, applier->search_topic) != 0)
	{
		applier->dead_in_row = applier->search_dead_in_row;
		return;
	}
	/* if there is proof, it is tried again and has its whole error */
	failure = palloc0(sizeof(Failure));
	failure->part = batch->part;
	failure->part_end = batch->part_end;
	failure->error = palloc0(sizeof(ErrorData));
	failure->error->sqlerrcode = applier->search_code;
	failure->error->message = applier->search_message;
	batch->failures = list_make1(failure);
	batch->unconfirmed = 1;
	batch->at = searched;
	batch->dead_in_row = applier->search_dead_in_row;
	batch->bisecting_since = GetCurrentTimestamp();
}

/* All that was tried has failed, and there are more that may be proof. */
static void
suspend_search(Batch *batch)
{
	RcApplier  *applier = batch->applier;
	const RcRecord *first = &batch->records[0];
	const ErrorData *error = ((Failure *) linitial(batch->failures))->error;
	char	   *message = MemoryContextStrdup(applier->context, error->message);

	MemoryContextReset(applier->search_context);
	applier->searched = batch->at;
	applier->search_topic = MemoryContextStrdup(applier->search_context,
												first->topic);
	applier->search_partition = first->partition;
	applier->search_offset = first->offset;
	applier->search_code = error->sqlerrcode;
	applier->search_message = MemoryContextStrdup(applier->search_context,
												  message);
	applier->search_dead_in_row = batch->dead_in_row;
	pfree(message);
}

/* So many records from the first on have been applied or buried. */
static int
decided(const Batch *batch)
{
	if (batch->failures == NIL)
		return batch->at;
	return ((Failure *) linitial(batch->failures))->at;
}

/* Go on to the part that the next record is in. */
static void
enter_part(Batch *batch)
{
	while (batch->at >= batch->part_end)
		batch->part_end += (++batch->part)->n;
}

/* Try the next range, or take what is known of the next record. */
static void
try_next(Batch *batch)
{
	RcApplier  *applier = batch->applier;
	int			high = batch->part_end;
	bool		probe = batch->unconfirmed > 0;
	ErrorData  *error;

	if (batch->at == batch->bad)
	{
		batch->bad = -1;
		record_failed(batch, batch->bad_error);
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
	settle(batch);
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
try_failures_again(Batch *batch)
{
	Failure    *first = (Failure *) linitial(batch->failures);

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
range_failed(Batch *batch, int n, ErrorData *error)
{
	RcApplier  *applier = batch->applier;

	raise_nobodys(batch, error);
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
		record_failed(batch, error);
		return;
	}
	if (error->sqlerrcode == ERRCODE_CARDINALITY_VIOLATION)
		batch->repeats++;
	FreeErrorData(error);
}

/* An error that is no record's fault ends the batch. */
static void
raise_nobodys(Batch *batch, ErrorData *error)
{
	if (batch->applier->phase == RC_PHASE_PREPARE)
		ReThrowError(error);
	if (rc_error_fault(error) == RC_FAULT_NOBODY)
	{
		batch->applier->outcome = RC_OUTCOME_WAITS;
		ReThrowError(error);
	}
}

/* The record at "at" has failed alone. */
static void
record_failed(Batch *batch, ErrorData *error)
{
	RcApplier  *applier = batch->applier;
	bool		unproven = rc_error_fault(error) == RC_FAULT_UNPROVEN;
	Failure    *failure = palloc0(sizeof(Failure));

	failure->at = batch->at++;
	failure->part = batch->part;
	failure->part_end = batch->part_end;
	failure->error = error;
	if (error->sqlerrcode == ERRCODE_CARDINALITY_VIOLATION)
		batch->repeats = INT_MIN;
	if (batch->failures == NIL)
		batch->dead_in_row = applier->dead_in_row;
	if (applier->letters == NULL && !unproven)
		check_limits(batch, failure);
	if (applier->letters != NULL || (!unproven && batch->failures == NIL))
	{
		bury(batch, failure);
		return;
	}
	batch->failures = lappend(batch->failures, failure);
	if (unproven && failure->at >= batch->probed)
		batch->unconfirmed++;
}

/* Too many dead in a row stop the stream, before they are committed. */
static void
check_limits(Batch *batch, const Failure *failure)
{
	RcApplier  *applier = batch->applier;
	const RcStream *stream = applier->stream;
	const RcRecord *record = &batch->records[failure->at];

	if (stream->stop_on_error)
		stop_for_record(batch, failure);
	if (++applier->dead_in_row < stream->stop_after)
		return;
	applier->outcome = RC_OUTCOME_FAILED;
	ereport(ERROR,
			(errcode(stop_code(failure->error)),
			 errmsg("%d records in a row failed, the last one with: %s",
					stream->stop_after, failure->error->message),
			 errdetail("The last one is at offset %lld of topic \"%s\", partition %d.",
					   (long long) record->offset, record->topic,
					   record->partition),
			 errhint("Something is wrong with stream \"%s\" rather than with its records.  Its column stop_after sets the limit.",
					 stream->name)));
}

/* on_error = stop */
static void
stop_for_record(Batch *batch, const Failure *failure)
{
	const RcRecord *record = &batch->records[failure->at];
	const ErrorData *error = failure->error;

	batch->applier->outcome = RC_OUTCOME_FAILED;
	ereport(ERROR,
			(errcode(stop_code(error)),
			 errmsg("record at offset %lld of topic \"%s\", partition %d failed: %s",
					(long long) record->offset, record->topic,
					record->partition, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("Stream \"%s\" has on_error = stop.",
					 batch->applier->stream->name)));
}

/* Of a statement timeout nobody shall think that it may pass. */
static int
stop_code(const ErrorData *error)
{
	return rc_error_is_timeout(error) ? ERRCODE_PROGRAM_LIMIT_EXCEEDED :
		error->sqlerrcode;
}

/* A later record was applied: those that failed did so by their own fault. */
static void
settle(Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->failures)
	{
		Failure    *failure = (Failure *) lfirst(lc);

		if (batch->applier->stream->stop_on_error)
			stop_for_record(batch, failure);
		bury(batch, failure);
	}
	list_free(batch->failures);
	batch->failures = NIL;
}

/* Send one record to the dead letters. */
static void
bury(Batch *batch, Failure *failure)
{
	RcApplier  *applier = batch->applier;

	failure->part->counts.dead++;
	if (applier->letters)
	{
		applier->letters[failure->at].still_dead = true;
		rc_dead_letter_again(applier->letters[failure->at].id,
							 failure->error);
	}
	else
		rc_dead_letter_add("stream", applier->stream->name,
						   failure->part->run, &batch->records[failure->at],
						   failure->error, applier->stream->owner_name);
	FreeErrorData(failure->error);
	pfree(failure);
}

/*
 * Remember a tail of failures, if all records behind it have been tried.  Where
 * it is all that there was, and that was enough to expect a record that can be
 * applied, the stream has failed.
 */
static void
note_tail(Batch *batch)
{
	RcApplier  *applier = batch->applier;
	int			enough = rc_applier_proof_records(applier);
	Failure    *first;
	const ErrorData *error;

	if (batch->failures == NIL)
		return;
	if (batch->at < batch->n && decided(batch) == 0)
	{
		suspend_search(batch);
		return;
	}
	applier->dead_in_row = batch->dead_in_row;
	if (batch->at < batch->n)
		return;
	first = (Failure *) linitial(batch->failures);
	applier->tail_failed = first->at == 0 && batch->n >= enough;
	applier->tail_record = &batch->records[first->at];
	applier->tail_length = batch->at - first->at;
	error = applier->tail_failed ?
		((Failure *) llast(batch->failures))->error : first->error;
	applier->tail_code = error->sqlerrcode;
	if (applier->tail_message)
		pfree(applier->tail_message);
	applier->tail_message = MemoryContextStrdup(applier->context,
												error->message);
}

/*
 * A statement such as INSERT .. ON CONFLICT DO UPDATE that meets a row twice
 * in one batch works, but slowly; say so once.
 */
static void
tell_repeats(Batch *batch)
{
	RcApplier  *applier = batch->applier;

	if (batch->repeats <= 0 || applier->told || applier->letters)
		return;
	applier->told = true;
	rc_stream_say(applier->stream->name, "running",
				  "records of one batch change the same row, so they are applied in small groups, which is slow; hint: SELECT DISTINCT ON (key) .. FROM records ORDER BY key, record_offset DESC in the statement keeps the last one of each key");
}
