/*-------------------------------------------------------------------------
 *
 * run_table.h
 *	  State and counters of runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RUN_TABLE_H
#define RC_RUN_TABLE_H

#include "rappel_conso.h"

/* Counters of a run or of a task. */
typedef struct RcCounts
{
	int64		fetched;
	int64		published;
	int64		inserted;
	int64		updated;
	int64		unchanged;
	int64		dead;
	int64		withdrawn;
} RcCounts;

extern int64 rc_run_start(const char *source, const char *trigger,
						  bool full_sync, const char *destination);
extern bool rc_run_claim(int64 run, const char *destination, bool *full_sync);
extern void rc_counts_add(RcCounts *to, const RcCounts *more);
extern void rc_run_add(int64 run, const char *task, const char *stream,
					   const RcCounts *counts);
extern void rc_run_finish(int64 run, const char *state,
						  const ErrorData *error);
extern int	rc_run_cancel_orphans(const char *source);
extern void rc_run_refuse(int64 run, const char *source,
						  const ErrorData *error);
extern void rc_run_destination(int64 run, const char *destination);
extern int	rc_run_mark_crashed(const char *source);
extern bool rc_run_last_succeeded(const char *source, int64 run);
extern void rc_run_remove_old(int days);

#endif							/* RC_RUN_TABLE_H */
