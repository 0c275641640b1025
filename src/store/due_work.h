/*-------------------------------------------------------------------------
 *
 * due_work.h
 *	  What there is to start.
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
	int			number;			/* of the stream's worker */
	char	   *owner_name;
	Oid			known_owner;	/* whom that is known to mean */
	int64		run;			/* that was queued; 0: none */
	int64		wait_ms;		/* until then; not above 0: now */
} RcDueWork;

extern List *rc_due_work_runs(void);
extern List *rc_due_work_streams(int most_per_owner);
extern bool rc_due_work_publisher(void);
extern bool rc_due_work_watermarks(void);

#endif							/* RC_DUE_WORK_H */
