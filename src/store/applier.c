/*-------------------------------------------------------------------------
 *
 * applier.c
 *	  Opens and closes the state of one stream's statement (RcApplier), and
 *	  raises the error of the records at the end of a batch that are still
 *	  undecided: they failed, and no later record has been applied that would
 *	  prove that the fault is theirs.
 *
 * Such records are found in apply.c, which executes the statement; nothing is
 * executed here.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "utils/memutils.h"

#include "store/apply.h"
#include "store/error_class.h"
#include "store/statement_setup.h"

/*
 * Open an applier for a stream; *stream must outlive it.  Raises an error if
 * the stream's owner is no longer the role that it was (see
 * rc_statement_check_owner).
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
 * The next rc_apply() gets the records of these dead letters, in this order.
 * One that fails again remains a dead letter, with its new error, and does not
 * count towards stop_after.  NULL returns to normal records.
 */
void
rc_applier_retry(RcApplier *applier, RcDeadLetter *letters)
{
	applier->letters = letters;
}

/*
 * The stream is set to failed when at least this many records in a row, and no
 * others after them, are undecided.
 */
int
rc_applier_proof_records(const RcApplier *applier)
{
	return Max(applier->stream->batch_size, RC_PROOF_RECORDS);
}

/*
 * Whether the last batch ended in undecided records.  Unless "at" is NULL, *at
 * is set to the first of them, which points into that batch: the caller must
 * still hold it.
 */
bool
rc_applier_undecided(const RcApplier *applier, const RcRecord **at)
{
	if (applier->tail_length > 0 && at != NULL)
		*at = applier->tail_record;
	return applier->tail_length > 0;
}

/*
 * Raise the error of undecided records, if there are any and either the stream
 * has failed or "at_end" says that no later records are available to decide
 * with.  "sought" says that rc_seek() can skip the record, which the hint then
 * suggests.  The SQLSTATE is that of the record's own error.  Must be called
 * after the batch is committed, since the error aborts.
 */
void
rc_applier_check(RcApplier *applier, bool at_end, bool sought)
{
	const RcRecord *record = applier->tail_record;
	const char *stream = applier->stream->name;
	const char *error = applier->tail_message;

	if (applier->tail_length == 0 || !(at_end || applier->tail_failed))
		return;
	applier->outcome = applier->tail_failed ? RC_OUTCOME_FAILED :
		RC_OUTCOME_WAITS;
	if (applier->tail_failed)
		ereport(ERROR,
				(errcode(applier->tail_code),
				 errmsg("%d records in a row failed, the last one with: %s",
						applier->tail_length, error),
				 errdetail("The first one is at offset %lld of topic \"%s\", partition %d.",
						   (long long) record->offset, record->topic,
						   record->partition),
				 errhint("Check the statement of stream \"%s\", which probably fails for all records.",
						 stream)));
	ereport(ERROR,
			(errcode(applier->tail_code),
			 errmsg("record at offset %lld of topic \"%s\", partition %d failed: %s",
					(long long) record->offset, record->topic,
					record->partition, error),
			 errdetail("It is retried together with the records after it; if one of those can be applied, it becomes a dead letter."),
			 sought ?
			 errhint("SELECT rc_seek('%s', '%s%d:%lld') skips it.",
					 stream,
					 list_length(applier->stream->topics) > 1 ?
					 psprintf("%s:", record->topic) : "",
					 record->partition, (long long) record->offset + 1) :
			 errhint("Fix the cause, or wait for a newer record of stream \"%s\".",
					 stream)));
}

/*
 * Whether the same call may succeed later, after rc_apply() or
 * rc_applier_check() has raised this error.
 */
bool
rc_applier_error_is_transient(const RcApplier *applier, const ErrorData *error)
{
	if (applier->outcome == RC_OUTCOME_CODE)
		return rc_error_is_transient(error->sqlerrcode);
	return applier->outcome == RC_OUTCOME_WAITS;
}
