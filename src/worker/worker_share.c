/*-------------------------------------------------------------------------
 *
 * worker_share.c
 *	  How many workers one role may have in a database: its streams, runs,
 *	  rc_drain() and rc_retry() together, so that nobody's sources or calls
 *	  keep those of others from their worker slots.
 *
 * It starts and ends nothing.  Who starts something looks here first: the
 * scheduler, and a backend that waits for a worker (worker_request.c).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_share.h"

#include "access/xact.h"
#include "miscadmin.h"

int
rc_share_most(void)
{
	return rc_workers_per_owner > 0 ? rc_workers_per_owner :
		Max(1, max_worker_processes / 2);
}

/*
 * Which workers a role has now, but for processes that the caller counts by
 * itself: "but" is an array of their PIDs, as text.
 */
void
rc_share_count(Oid owner, const char *but, RcShare *share)
{
	Assert(IsTransactionState());
	memset(share, 0, sizeof(RcShare));
	share->owner = owner;
	share->limited = !superuser_arg(owner);
	rc_activity_count(owner, but, &share->streams, &share->others);
}

/* How much of its share a role has, streams and all. */
int
rc_share_used(const RcShare *share)
{
	return share->streams + share->others;
}

/* Whether a run of the role has to wait for another of its own kind to end. */
bool
rc_share_is_full(const RcShare *share)
{
	return share->limited && share->others >= rc_share_most();
}

/* Whether it can begin when one of the role's own stream workers has left. */
bool
rc_share_must_leave(const RcShare *share)
{
	return share->limited && rc_share_used(share) >= rc_share_most();
}

/* Why something of the role waits. */
char *
rc_share_message(const char *owner_name)
{
	return psprintf("role \"%s\" has as many workers as rappel_conso.workers_per_owner allows: %d",
					owner_name, rc_share_most());
}

/*
 * Say that this session wants a worker slot for the role, until it says that
 * it does not any more or its transaction aborts.  The mark without a name is
 * for the scheduler to see that there is any.
 */
void
rc_share_mark(Oid owner)
{
	rc_lock_mark(RC_WORKER_SLOT, "", false);
	rc_lock_mark(RC_WORKER_SLOT, psprintf("%u", owner), false);
}

void
rc_share_unmark(Oid owner)
{
	rc_lock_unmark(RC_WORKER_SLOT, "", false);
	rc_lock_unmark(RC_WORKER_SLOT, psprintf("%u", owner), false);
}

bool
rc_share_marked(Oid owner)
{
	return rc_lock_marked(RC_WORKER_SLOT, psprintf("%u", owner));
}

/* The roles that sessions want worker slots for. */
List *
rc_share_waiting(void)
{
	List	   *waiting = NIL;
	ListCell   *lc;

	Assert(IsTransactionState());
	foreach(lc, rc_role_owners())
	{
		if (rc_share_marked(lfirst_oid(lc)))
			waiting = lappend_oid(waiting, lfirst_oid(lc));
	}
	return waiting;
}

/*
 * In a worker that a backend has started: many may have found the same last
 * place of the share.  Those that came first have it.
 */
void
rc_share_check(void)
{
	rc_transaction_begin();
	if (!superuser() && rc_activity_preceded(MyProcPid, rc_share_most()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("%s", rc_share_message(GetUserNameFromId(GetUserId(), false))),
				 errhint("Call the function again when one of them has ended.")));
	rc_transaction_commit();
}
