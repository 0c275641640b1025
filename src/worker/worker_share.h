/*-------------------------------------------------------------------------
 *
 * worker_share.h
 *	  Limits the number of workers of one role.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_SHARE_H
#define RC_WORKER_SHARE_H

#include "worker/worker.h"

/* The workers of a role, as counted last. */
typedef struct RcShare
{
	Oid			owner;
	bool		limited;		/* not a superuser */
	int			streams;		/* stream workers, which can be ended for the
								 * others */
	int			others;			/* runs, rc_drain(), rc_retry() */
	int			wanted;			/* slots that streams must leave for the
								 * others */
} RcShare;

extern int	rc_share_most(void);
extern void rc_share_count(Oid owner, const char *but, RcShare *share);
extern int	rc_share_used(const RcShare *share);
extern bool rc_share_is_full(const RcShare *share);
extern bool rc_share_must_leave(const RcShare *share);
extern char *rc_share_message(const char *owner_name);
extern void rc_share_mark(Oid owner);
extern void rc_share_unmark(Oid owner);
extern bool rc_share_marked(Oid owner);
extern List *rc_share_waiting(void);
extern void rc_share_check(void);

#endif							/* RC_WORKER_SHARE_H */
