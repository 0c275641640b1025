/*-------------------------------------------------------------------------
 *
 * worker_share.c
 *	  Limits the number of workers of one role in a database (streams, runs,
 *	  rc_drain() and rc_retry() together), so that one role cannot take the
 *	  worker slots of all others.
 *
 * Nothing is started or ended here.  It is checked by those that start
 * workers: the scheduler, and a backend that waits for a worker
 * (worker_request.c).
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
 * Count the present workers of a role, except for processes that the caller
 * counts: "but" is an array of their PIDs, as text.  Needs a transaction.
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

/* The number of workers of a role, including those of streams. */
int
rc_share_used(const RcShare *share)
{
	return share->streams + share->others;
}

/*
 * Whether a run of the role must wait until another one, or an rc_drain() or
 * rc_retry(), ends.
 */
bool
rc_share_is_full(const RcShare *share)
{
	return share->limited && share->others >= rc_share_most();
}

/* Whether a run of the role needs one of its stream workers to end first. */
bool
rc_share_must_leave(const RcShare *share)
{
	return share->limited && rc_share_used(share) >= rc_share_most();
}

/* The reason why workers of the role wait. */
char *
rc_share_message(const char *owner_name)
{
	return psprintf(gettext_noop("role \"%s\" has as many workers as rappel_conso.workers_per_owner allows: %d"),
					owner_name, rc_share_most());
}

/*
 * Mark that this session waits for a worker slot of the role, until
 * rc_share_unmark() or the abort of the transaction.  The mark without a name
 * shows the scheduler that there is any.
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

/* Roles for which sessions wait for a worker slot.  Needs a transaction. */
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
 * Called in a worker that a backend has started: several may have found the
 * same last free slot of the share.  Those started first keep it; raises
 * ERRCODE_INSUFFICIENT_RESOURCES in others.
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
