/*-------------------------------------------------------------------------
 *
 * worker_activity.h
 *	  The extension's workers in pg_stat_activity.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_ACTIVITY_H
#define RC_WORKER_ACTIVITY_H

#include "rappel_conso.h"

#include "nodes/pg_list.h"

/* Titles of the kinds of worker, with which backend_type begins. */
#define RC_TITLE_RUN		"rappel_conso run"
#define RC_TITLE_STREAM		"rappel_conso stream"
#define RC_TITLE_RETRY		"rappel_conso retry"
#define RC_TITLE_DRAIN		"rappel_conso drain"

/* A process of a run. */
typedef struct RcRunProcess
{
	int			pid;
	Oid			role;
	char	   *source;
} RcRunProcess;

/* A run in state running. */
typedef struct RcRunningRun
{
	char	   *source;
	char	   *id;				/* as text, as in its lock's name */
} RcRunningRun;

extern int64 rc_activity_used_slots(void);
extern void rc_activity_count(Oid owner, const char *but, int *streams,
							  int *others);
extern bool rc_activity_preceded(int pid, int most);
extern int	rc_activity_stream_to_end(Oid owner);
extern List *rc_activity_run_processes(void);
extern List *rc_activity_runs_without_process(void);
extern bool rc_activity_began_before(int pid, const char *stream);

#endif							/* RC_WORKER_ACTIVITY_H */
