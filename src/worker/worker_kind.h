/*-------------------------------------------------------------------------
 *
 * worker_kind.h
 *	  The kinds of worker, and their properties.
 *
 * To add a kind, add a number here, a row in worker_kind.c and a file with its
 * entry point.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_KIND_H
#define RC_WORKER_KIND_H

#include "rappel_conso.h"

/* Part of the lock tag; numbers must never change. */
typedef enum RcWorkerKind
{
	RC_WORKER_SCHEDULER = 1,
	RC_WORKER_RUN = 2,
	RC_WORKER_STREAM = 3,
	RC_WORKER_OUTBOX = 4,
	RC_WORKER_RETRY = 5,
	RC_WORKER_DRAIN = 6,
	RC_WORKER_RUN_ID = 7,		/* second lock of a run worker, by its run's
								 * id */
	RC_WORKER_LAUNCHER = 8,		/* not connected to a database */
	RC_WORKER_WATERMARKS = 9,
	RC_WORKER_SLOT = 10			/* no worker: marks sessions that wait for a
								 * slot */
} RcWorkerKind;

#define RC_WORKER_LAST	RC_WORKER_SLOT

typedef struct RcWorkerKindInfo
{
	const char *name;			/* as in worker_pid() */
	const char *entry_point;	/* NULL: a lock only, no process */
	const char *title;			/* in pg_stat_activity */
	bool		per_name;		/* one for each source or stream */
	bool		numbered;		/* one for each name and number */
	bool		name_in_type;	/* backend_type contains the name */
	bool		in_worker_pid;	/* accepted by worker_pid() */
} RcWorkerKindInfo;

extern const RcWorkerKindInfo *rc_worker_kind(RcWorkerKind kind);
extern const char *rc_worker_title(RcWorkerKind kind, const char *name);
extern bool rc_worker_kind_find(const char *name, RcWorkerKind *kind);
extern char *rc_worker_kind_names(void);

#endif							/* RC_WORKER_KIND_H */
