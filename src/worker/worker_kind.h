/*-------------------------------------------------------------------------
 *
 * worker_kind.h
 *	  The kinds of process, and what is to be known of each.
 *
 * A new kind is a number here, a row in worker_kind.c and a file with its
 * entry point.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_KIND_H
#define RC_WORKER_KIND_H

#include "rappel_conso.h"

/* Part of the lock tag, so numbers never change. */
typedef enum RcWorkerKind
{
	RC_WORKER_SCHEDULER = 1,
	RC_WORKER_RUN = 2,
	RC_WORKER_STREAM = 3,
	RC_WORKER_OUTBOX = 4,
	RC_WORKER_RETRY = 5,
	RC_WORKER_DRAIN = 6,
	RC_WORKER_RUN_ID = 7,		/* the run worker again, by its run's number */
	RC_WORKER_LAUNCHER = 8,		/* of no database */
	RC_WORKER_WATERMARKS = 9,
	RC_WORKER_SLOT = 10			/* no worker: marks who wants a slot for one */
} RcWorkerKind;

#define RC_WORKER_LAST	RC_WORKER_SLOT

typedef struct RcWorkerKindInfo
{
	const char *name;			/* as worker_pid() is asked for it */
	const char *entry_point;	/* NULL: no process of its own */
	const char *title;			/* of its process */
	bool		per_name;		/* one for each source or stream, not one */
	bool		numbered;		/* and for each number */
	bool		name_in_type;	/* the source is part of the backend's type */
	bool		in_worker_pid;	/* worker_pid() knows it */
} RcWorkerKindInfo;

extern const RcWorkerKindInfo *rc_worker_kind(RcWorkerKind kind);
extern bool rc_worker_kind_find(const char *name, RcWorkerKind *kind);
extern char *rc_worker_kind_names(void);

#endif							/* RC_WORKER_KIND_H */
