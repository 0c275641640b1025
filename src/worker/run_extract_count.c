/*-------------------------------------------------------------------------
 *
 * run_extract_count.c
 *	  Checks that all records of a dataset came, by comparing the API's count
 *	  with what was received and what is known.
 *
 * A single count proves nothing, since records are added and deleted while
 * they are read: records are missing only if both the count before and the
 * count after are greater.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "utils/memutils.h"

static int64 count_all(RcRun *run, const RcDatasetInfo *info);

/*
 * Whether the dataset's count differs from the number of known records after
 * an incremental scan: some records were deleted, or added with an old date.
 */
bool
rc_scan_count_differs(RcScan *scan, const RcDatasetInfo *info)
{
	RcRun	   *run = scan->run;
	int64		all = count_all(run, info);
	int64		known;

	if (all < 0)
		return false;
	rc_transaction_begin();
	known = rc_known_records_count(run->source, run->destination->id,
								   RC_COUNT_KNOWN);
	rc_transaction_commit();
	if (all - known == scan->state->count_difference)
		return false;
	ereport(NOTICE,
			(errmsg("record count of source \"%s\" is %lld, %lld records are known: starting a full scan",
					run->source->name, (long long) all, (long long) known)));
	return true;
}

/*
 * After a full scan: store the difference between the dataset's count, as
 * count_all() determines it, and the number of known records.
 */
void
rc_scan_note_count_difference(RcScan *scan, const RcDatasetInfo *info)
{
	RcRun	   *run = scan->run;
	int64		known = run->missing.known;
	bool		settled = scan->before == scan->after &&
		!run->scan_state.resumed && run->scan_state.unreadable == 0;
	int64		all = scan->before;

	/* a first scan has withdrawn none of them */
	if (scan->first_scan == NULL)
		known = rc_known_records_count(run->source, run->destination->id,
									   RC_COUNT_KNOWN);
	if (run->source->filter == NULL && info->records_count >= 0)
		all = info->records_count;
	rc_source_count_difference(run->source, run->destination->id, scan->state,
							   all - known, settled && all >= 0);
}

/* The dataset's count of all records of the source; -1 if it gives none. */
static int64
count_all(RcRun *run, const RcDatasetInfo *info)
{
	RcReadRange range = {.filter = run->asked.filter};

	if (run->source->filter == NULL && info->records_count >= 0)
		return info->records_count;
	return rc_reader_count(run->reader, &range);
}

/*
 * Raise an error if fewer records were received than the API counted both
 * before and after.  It is unknown which are missing, so the whole scan is
 * repeated.
 */
void
rc_scan_check_count(RcScan *scan, const RcReadRange *range)
{
	RcRun	   *run = scan->run;
	int64		least;

	scan->after = rc_reader_count(run->reader, range);
	least = Min(scan->before, scan->after);

	if (scan->received >= least)
		return;
	run->scan_state.resume = NULL;
	rc_transaction_begin_in(run->context);
	if (run->scan_state.seen)
	{
		run->scan_state.seen = rc_seen_begin();
		run->scan_state.unreadable = 0;
	}
	if (run->window == NULL)
		rc_source_rewind(run->source, run->destination->id, scan->state,
						 run->scan_state.cursor);
	rc_transaction_commit();
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("dataset \"%s\" returned %lld records, but its count is %lld",
					run->source->dataset, (long long) scan->received,
					(long long) least),
			 errdetail("The records that were received are stored; the others are missing.")));
}
