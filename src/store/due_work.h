/*-------------------------------------------------------------------------
 *
 * due_work.h
 *	  Which workers should run now.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DUE_WORK_H
#define RC_DUE_WORK_H

#include "rappel_conso.h"

#include "nodes/pg_list.h"

/* A run of a source, or a worker of a stream. */
typedef struct RcDueWork
{
	char	   *name;			/* of the source or stream */
	int			number;			/* of the stream's worker, from 0 */
	char	   *owner_name;
	Oid			known_owner;	/* OID that known_role has for it */
	int64		run;			/* queued run; 0: none */
	int64		wait_ms;		/* until it is due; <= 0: due now */
} RcDueWork;

extern List *rc_due_work_runs(void);
extern List *rc_due_work_streams(int most_per_owner);
extern bool rc_due_work_publisher(void);
extern bool rc_due_work_watermarks(void);

#endif							/* RC_DUE_WORK_H */
