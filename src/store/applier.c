/*-------------------------------------------------------------------------
 *
 * applier.c
 *	  An applier, and what its last batch has left undecided: records at the
 *	  end that failed, with none behind them that proves whose fault that is.
 *
 * apply.c finds them; here they are an error, that of a stream which waits or
 * has failed.  Nothing is tried here.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "utils/memutils.h"

#include "store/apply.h"
#include "store/error_class.h"
#include "store/statement_setup.h"

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

/* So many records a tail has to be tried with, for proof to be possible. */
int
rc_applier_proof_records(const RcApplier *applier)
{
	return Max(applier->stream->batch_size, RC_PROOF_RECORDS);
}

/*
 * Whether the last batch has left a tail that nothing is proven of.  *at is
 * its first record, which must still be there, unless "at" is NULL.
 */
bool
rc_applier_undecided(const RcApplier *applier, const RcRecord **at)
{
	if (applier->tail_length > 0 && at != NULL)
		*at = applier->tail_record;
	return applier->tail_length > 0;
}

/*
 * Throw the error of such a tail: when the stream has failed, or, with
 * "at_end", when no more records are there to be tried with it.  "sought"
 * says that rc_seek() can pass over it.  To be called after the commit.
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
				 errhint("Something is wrong with stream \"%s\" rather than with its records.",
						 stream)));
	ereport(ERROR,
			(errcode(applier->tail_code),
			 errmsg("record at offset %lld of topic \"%s\", partition %d failed: %s",
					(long long) record->offset, record->topic,
					record->partition, error),
			 errdetail("It is tried again with the records that come after it: if one of them can be applied, it becomes a dead letter."),
			 sought ?
			 errhint("SELECT rc_seek('%s', '%s%d:%lld') passes over it.",
					 stream,
					 list_length(applier->stream->topics) > 1 ?
					 psprintf("%s:", record->topic) : "",
					 record->partition, (long long) record->offset + 1) :
			 errhint("Mend what stream \"%s\" needs, or wait for a newer record.",
					 stream)));
}

/*
 * Whether an error that left rc_apply() or rc_applier_check() may be gone at
 * the next try.
 */
bool
rc_applier_error_is_transient(const RcApplier *applier, const ErrorData *error)
{
	if (applier->outcome == RC_OUTCOME_CODE)
		return rc_error_is_transient(error->sqlerrcode);
	return applier->outcome == RC_OUTCOME_WAITS;
}
