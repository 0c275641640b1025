/*-------------------------------------------------------------------------
 *
 * run_request.h
 *	  Runs from the side of those who request them and wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RUN_REQUEST_H
#define RC_RUN_REQUEST_H

#include "rappel_conso.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"

/* A run of any role. */
typedef struct RcRunRow
{
	char	   *source;
	char	   *state;
	Oid			owner;			/* InvalidOid: the name means no role, or
								 * another one */
} RcRunRow;

/* Result of a run. */
typedef struct RcRunOutcome
{
	char	   *source;
	char	   *state;
	char	   *sqlstate;		/* NULL: no error is stored */
	char	   *error;
	char	   *detail;
	char	   *hint;
} RcRunOutcome;

/* Progress of a running run; all 0 for others. */
typedef struct RcRunProgress
{
	int64		fetched;
	int64		windows;		/* windows of a backfill */
	int64		done;			/* windows that are finished */
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
