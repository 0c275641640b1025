/*-------------------------------------------------------------------------
 *
 * apply_failure.c
 *	  Records of a batch that failed alone: they become dead letters once a
 *	  later record has been applied, or are left undecided.
 *
 * Nothing is executed here (see apply.c).  A record becomes a dead letter only
 * if its error is its own fault (error_class.c), or if that was proven in the
 * same transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "store/apply_batch.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/error_class.h"

static void check_limits(RcBatch *batch, const RcFailure *failure);
static void stop_for_record(RcBatch *batch, const RcFailure *failure);
static int	stop_code(const ErrorData *error);
static void to_dead_letters(RcBatch *batch, RcFailure *failure);
static void suspend_search(RcBatch *batch);

/* The record at "at" has failed alone. */
void
rc_batch_record_failed(RcBatch *batch, ErrorData *error)
{
	RcApplier  *applier = batch->applier;
	bool		unproven = rc_error_fault(error) == RC_FAULT_UNPROVEN;
	RcFailure  *failure = palloc0(sizeof(RcFailure));

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
		to_dead_letters(batch, failure);
		return;
	}
	batch->failures = lappend(batch->failures, failure);
	if (unproven && failure->at >= batch->probed)
		batch->unconfirmed++;
}

/*
 * Raise an error, before dead letters are committed, if too many records in a
 * row failed.
 */
static void
check_limits(RcBatch *batch, const RcFailure *failure)
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
			 errhint("Check the statement of stream \"%s\"; if the records are at fault, raise its column stop_after.",
					 stream->name)));
}

/* Raise the error of a record of a stream with on_error = stop. */
static void
stop_for_record(RcBatch *batch, const RcFailure *failure)
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
			 errhint("Stream \"%s\" has on_error = stop: fix the cause, or skip the record with rc_seek().",
					 batch->applier->stream->name)));
}

/*
 * A statement timeout must not be reported with its own SQLSTATE, which is
 * transient: the stream would retry the same record forever.
 */
static int
stop_code(const ErrorData *error)
{
	return rc_error_is_timeout(error) ? ERRCODE_PROGRAM_LIMIT_EXCEEDED :
		error->sqlerrcode;
}

/*
 * A later record was applied: the undecided records are themselves at fault.
 */
void
rc_batch_settle(RcBatch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->failures)
	{
		RcFailure  *failure = (RcFailure *) lfirst(lc);

		if (batch->applier->stream->stop_on_error)
			stop_for_record(batch, failure);
		to_dead_letters(batch, failure);
	}
	list_free(batch->failures);
	batch->failures = NIL;
}

/* Add one record to the dead letters, or update the one being retried. */
static void
to_dead_letters(RcBatch *batch, RcFailure *failure)
{
	RcApplier  *applier = batch->applier;

	failure->part->counts.dead++;
	batch->dead[failure->at] = true;
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
 * Resume a search that suspend_search() has saved: if this batch begins with
 * the same records, only those after them have to be tried.
 */
void
rc_batch_resume_search(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;
	const RcRecord *first = &batch->records[0];
	int			searched = applier->searched;
	RcFailure  *failure;

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
	/* enough for a tail; if a later record succeeds, it is retried anyway */
	failure = palloc0(sizeof(RcFailure));
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

/*
 * Save the search: time is up, all records tried have failed, and there are
 * more of them to try.
 */
static void
suspend_search(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;
	const RcRecord *first = &batch->records[0];
	const ErrorData *error = ((RcFailure *) linitial(batch->failures))->error;
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

/*
 * Record the undecided failures, if all records after them have been tried.
 * If the batch consists of nothing else, and is long enough that one record
 * should have succeeded, the stream has failed.
 */
void
rc_batch_note_tail(RcBatch *batch)
{
	RcApplier  *applier = batch->applier;
	int			enough = rc_applier_proof_records(applier);
	RcFailure  *first;
	const ErrorData *error;

	if (batch->failures == NIL)
		return;
	if (batch->at < batch->n && rc_batch_decided(batch) == 0)
	{
		suspend_search(batch);
		return;
	}
	applier->dead_in_row = batch->dead_in_row;
	if (batch->at < batch->n)
		return;
	first = (RcFailure *) linitial(batch->failures);
	applier->tail_failed = first->at == 0 && batch->n >= enough;
	applier->tail_record = &batch->records[first->at];
	applier->tail_length = batch->at - first->at;
	error = applier->tail_failed ?
		((RcFailure *) llast(batch->failures))->error : first->error;
	applier->tail_code = error->sqlerrcode;
	if (applier->tail_message)
		pfree(applier->tail_message);
	applier->tail_message = MemoryContextStrdup(applier->context,
												error->message);
}

/*
 * The number of records, from the first on, that have been applied or added to
 * the dead letters.
 */
int
rc_batch_decided(const RcBatch *batch)
{
	if (batch->failures == NIL)
		return batch->at;
	return ((RcFailure *) linitial(batch->failures))->at;
}
