/*-------------------------------------------------------------------------
 *
 * scheduler_due.h
 *	  Parts of a round of the scheduler.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SCHEDULER_DUE_H
#define RC_SCHEDULER_DUE_H

#include "worker/worker_children.h"

/* Memory context reset before each round; ms until the next round. */
extern MemoryContext rc_round_context;
extern long rc_next_round_ms;

/* scheduler_due.c */
extern List *rc_due_dead_runs(List *starts);
extern List *rc_due_runs(List *starts);
extern List *rc_due_publisher(List *starts);
extern List *rc_due_streams(List *starts);
extern List *rc_due_watermarks(List *starts);
extern void rc_due_pause(RcWorkerKind kind, const char *name);

/* scheduler_gone.c */
extern List *rc_due_orphans(List *starts);
extern List *rc_due_gone(List *starts);

/* scheduler_changes.c */
extern List *rc_due_cancels(List *starts);
extern void rc_cancel_all(void);

/* scheduler.c */
extern int	rc_round_recover(void);

/* scheduler_start.c */
extern void rc_start_all(List *starts);

#endif							/* RC_SCHEDULER_DUE_H */
