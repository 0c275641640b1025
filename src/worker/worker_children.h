/*-------------------------------------------------------------------------
 *
 * worker_children.h
 *	  Processes that the scheduler starts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_CHILDREN_H
#define RC_WORKER_CHILDREN_H

#include "worker/worker_share.h"

/* A worker to start. */
typedef struct RcStart
{
	RcWorkerKind kind;
	char	   *name;
	int			number;
	int64		run;			/* queued run; 0: none */
	char	   *owner_name;		/* NULL: the bootstrap superuser */
	Oid			owner;			/* InvalidOid with a name: dropped or renamed */
} RcStart;

/* A child that could not connect. */
typedef struct RcLostChild
{
	RcStart		what;
	ErrorData  *error;
} RcLostChild;

extern List *rc_children_poll(long *next_round_ms);
extern bool rc_child_exists(RcWorkerKind kind, const char *name, int number);
extern bool rc_child_start(const RcStart *what);
extern int	rc_children_free_slots(void);
extern char *rc_children_pids(void);
extern void rc_children_add(RcShare *share);
extern bool rc_children_make_room(const RcShare *share);

#endif							/* RC_WORKER_CHILDREN_H */
