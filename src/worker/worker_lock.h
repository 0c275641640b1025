/*-------------------------------------------------------------------------
 *
 * worker_lock.h
 *	  Locks of workers, their holders, and marks of processes that wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_LOCK_H
#define RC_WORKER_LOCK_H

#include "worker/worker_kind.h"

#include "nodes/pg_list.h"
#include "storage/lock.h"

extern bool rc_lock_take(RcWorkerKind kind, const char *name, int number);
extern void rc_lock_release(RcWorkerKind kind, const char *name, int number);
extern int	rc_lock_holder(Oid database, RcWorkerKind kind, const char *name,
						   int number);
extern bool rc_worker_alive(RcWorkerKind kind, const char *name, int number);
extern List *rc_lock_holders(Oid database);
extern void rc_lock_mark(RcWorkerKind kind, const char *name, bool session);
extern void rc_lock_unmark(RcWorkerKind kind, const char *name,
						   bool session);
extern bool rc_lock_marked(RcWorkerKind kind, const char *name);
extern bool rc_lock_is_mark(const LOCKTAG *tag);
extern bool rc_lock_is_marked(const LOCKTAG *tag, const LOCKTAG *mark);

#endif							/* RC_WORKER_LOCK_H */
