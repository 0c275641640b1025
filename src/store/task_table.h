/*-------------------------------------------------------------------------
 *
 * task_table.h
 *	  Tasks of runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_TASK_TABLE_H
#define RC_TASK_TABLE_H

#include "rappel_conso.h"

#include "nodes/pg_list.h"

/* A window of a backfill. */
typedef struct RcWindow
{
	char	   *task;			/* name of its task */
	char	   *from;			/* ISO 8601 in UTC, inclusive */
	char	   *to;				/* ISO 8601 in UTC, exclusive */
	bool		done;
} RcWindow;

extern List *rc_run_windows(int64 run);
extern void rc_task_set(int64 run, const char *task, const char *state,
						int attempt, TimestampTz next_try,
						const ErrorData *error);

#endif							/* RC_TASK_TABLE_H */
