/*-------------------------------------------------------------------------
 *
 * scan_withdraw.c
 *	  Handles records that were deleted from a dataset.  After one full scan
 *	  they are marked as missing; after another one, an hour later, they are
 *	  withdrawn: a record with their key and no value is sent.
 *
 * One bad day of an API must not delete data: nothing is withdrawn if too many
 * records are missing, or lines could not be read.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

/*
 * Records that may vanish at once: the greater of a number and a percentage.
 */
#define MISSING_NUMBER	20
#define MISSING_PERCENT 2

static void withdraw(RcScan *scan, int64 missing, int64 accepted);

/*
 * Called at the end of a full scan, when everything is safe.  If too many
 * records are missing the run must fail, but only after its load: see
 * rc_run_check_missing().
 */
void
rc_scan_withdraw(RcScan *scan)
{
	RcRun	   *run = scan->run;
	RcSource   *source = run->source;
	int64		accepted = scan->state->missing_accepted;
	int64		missing;

	Assert(scan->batch.n == 0 && scan->batch.lines == 0);
	rc_transaction_begin();
	rc_source_fence(source, run->destination->id, scan->state);
	if (scan->first_scan != NULL)
		missing = 0;			/* all that is known has just been found */
	else if (run->scan_state.unreadable == 0)
		missing = rc_known_records_note_missing(source, run->destination->id,
												run->scan_state.seen);
	else
		missing = rc_known_records_count(source, run->destination->id,
										 RC_COUNT_MISSING);
	run->missing.known = rc_known_records_count(source, run->destination->id,
												RC_COUNT_ALL);
	run->missing.limit = Max(MISSING_NUMBER,
							 run->missing.known * MISSING_PERCENT / 100);

	/* a requested full sync after a refusal accepts what was refused */
	if (run->full_sync && scan->state->missing_refused)
		accepted = missing;
	accepted = Min(accepted, missing);
	run->missing.n = (missing - accepted > run->missing.limit ||
					  (missing > accepted && missing == run->missing.known)) ?
		missing : 0;
	rc_source_missing(source, run->destination->id, scan->state,
					  run->missing.n > 0, accepted);
	rc_transaction_commit();

	if (run->scan_state.unreadable > 0)
		ereport(NOTICE,
				(errmsg("skipped detection of deleted records for source \"%s\"",
						source->name),
				 errdetail_plural("%lld line of dataset \"%s\" could not be read.",
								  "%lld lines of dataset \"%s\" could not be read.",
								  run->scan_state.unreadable,
								  (long long) run->scan_state.unreadable,
								  source->dataset)));
	else if (missing > 0 && run->missing.n == 0)
	{
		ereport(NOTICE,
				(errmsg_plural("source \"%s\": %lld record is missing from dataset \"%s\"",
							   "source \"%s\": %lld records are missing from dataset \"%s\"",
							   missing, source->name, (long long) missing,
							   source->dataset)));
		withdraw(scan, missing, accepted);
	}
}

/*
 * Withdraw records that have been missing for long enough, in batches.  The
 * number of accepted missing records decreases by those withdrawn.
 */
static void
withdraw(RcScan *scan, int64 missing, int64 accepted)
{
	RcRun	   *run = scan->run;
	RcRecord	last = {0};
	int64		withdrawn = 0;
	int			n = 0;

	for (;;)
	{
		RcRecord   *gone;

		rc_transaction_begin_in(run->batch_context);
		rc_source_fence(run->source, run->destination->id, scan->state);
		gone = rc_known_records_missing(run->source, run->destination->id,
										withdrawn > 0 ? &last : NULL,
										scan->batch.max, &n);
		rc_transaction_commit();
		if (n == 0)
			break;
		for (int i = 0; i < n; i++)
			rc_scan_add_withdrawn(scan, &gone[i]);
		if (last.key)
			pfree(unconstify(char *, last.key));
		last = gone[n - 1];
		last.key = memcpy(MemoryContextAlloc(run->context, last.key_len + 1),
						  last.key, last.key_len + 1);
		rc_scan_flush(scan, false);
		withdrawn += n;
	}
	if (withdrawn == 0)
		return;
	rc_scan_flush(scan, true);
	rc_transaction_begin();
	rc_source_fence(run->source, run->destination->id, scan->state);
	rc_source_missing(run->source, run->destination->id, scan->state, false,
					  Min(accepted, missing - withdrawn));
	rc_transaction_commit();
	ereport(NOTICE,
			(errmsg_plural("source \"%s\": %lld record is withdrawn",
						   "source \"%s\": %lld records are withdrawn",
						   withdrawn, run->source->name,
						   (long long) withdrawn)));
}

/*
 * Fail a run that has stored what is new, but found too many records missing.
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
void
rc_run_check_missing(RcRun *run)
{
	if (run->missing.n == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%lld of %lld records are missing from dataset \"%s\"",
					(long long) run->missing.n, (long long) run->missing.known,
					run->source->dataset),
			 run->missing.n > run->missing.limit ?
			 errdetail("At most %lld records are withdrawn at once. New records are stored; no record was withdrawn.",
					   (long long) run->missing.limit) :
			 errdetail("All records are never withdrawn at once. No record was withdrawn."),
			 errhint("If these records were deleted at the source, accept it with SELECT * FROM rc_sync_now('%s', full_sync => true).",
					 run->source->name)));
}
