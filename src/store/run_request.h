/*-------------------------------------------------------------------------
 *
 * run_request.h
 *	  Runs as those see them who ask for them and wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RUN_REQUEST_H
#define RC_RUN_REQUEST_H

#include "rappel_conso.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"

/* A run, whosever it is. */
typedef struct RcRunRow
{
	char	   *source;
	char	   *state;
	Oid			owner;			/* InvalidOid: no role, or not that one */
} RcRunRow;

/* What became of a run. */
typedef struct RcRunOutcome
{
	char	   *source;
	char	   *state;
	char	   *sqlstate;		/* NULL: nobody has written down an error */
	char	   *error;
	char	   *detail;
	char	   *hint;
} RcRunOutcome;

/* How far a run is that is running; all 0 for others. */
typedef struct RcRunProgress
{
	int64		fetched;
	int64		windows;		/* of a backfill */
	int64		done;			/* of those */
} RcRunProgress;

extern int64 rc_run_queue(const char *source, bool full_sync);
extern int64 rc_run_queue_backfill(const char *source, Datum from, Datum to,
								   Datum every);
extern bool rc_run_unqueue(int64 run);
extern TransactionId rc_run_queued_xmin(int64 run);
extern RcRunRow *rc_run_load(int64 run);
extern HeapTuple rc_run_tuple(int64 run, TupleDesc desc);
extern RcRunOutcome *rc_run_outcome(int64 run);
extern RcRunProgress rc_run_progress(int64 run);
extern int64 rc_run_next(const char *source);
extern int64 rc_run_joined(const char *source, int64 from, bool full_sync,
						   bool another);

#endif							/* RC_RUN_REQUEST_H */
