/*-------------------------------------------------------------------------
 *
 * request_blockers.c
 *	  Whether a process that this one waits for waits, in the end, for us.
 *
 * A caller that waits for a worker does so by its latch, where the server's
 * deadlock detector does not see it.  So who waits for a worker of ours says
 * so by a lock that nobody else wants, a mark; and who waits follows locks
 * and marks from the worker on.
 *
 *-------------------------------------------------------------------------
 */
#include "session/request_blockers.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"

#include "worker/worker.h"

/* So many processes are followed: more in one chain are never seen. */
#define MAX_FOLLOWED		200

static List *blockers_of(int pid);
static List *waited_for(int pid, LockData *locks);
static List *add_holders(List *pids, const LOCKTAG *mark, LockData *locks);

/*
 * Whether one of the processes waits for a lock that this session holds, or
 * for a process that does, or for a worker that does, and so on.  *prepared
 * is set when one of them waits for a prepared transaction, which belongs to
 * no process.
 */
bool
rc_waits_for_us(List *pids, bool *prepared)
{
	LockData   *locks = NULL;
	bool		found = false;

	*prepared = false;
	for (int i = 0; i < list_length(pids) && i < MAX_FOLLOWED && !found; i++)
	{
		int			pid = list_nth_int(pids, i);

		if (pid == MyProcPid)
			found = true;
		else if (pid == 0)
			*prepared = true;
		else
		{
			if (locks == NULL)
				locks = GetLockStatusData();
			pids = list_concat_unique_int(pids, blockers_of(pid));
			pids = list_concat_unique_int(pids, waited_for(pid, locks));
		}
	}
	return found;
}

/* Who holds, or asks before it for, a lock that the process waits for. */
static List *
blockers_of(int pid)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(pid)));
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	List	   *pids = NIL;

	for (int i = 0; i < n; i++)
		pids = lappend_int(pids, ((int32 *) ARR_DATA_PTR(array))[i]);
	return pids;
}

/* The workers that a process has said it waits for. */
static List *
waited_for(int pid, LockData *locks)
{
	List	   *pids = NIL;

	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->pid == pid && lock->holdMask != 0 &&
			rc_lock_is_mark(&lock->locktag))
			pids = add_holders(pids, &lock->locktag, locks);
	}
	return pids;
}

static List *
add_holders(List *pids, const LOCKTAG *mark, LockData *locks)
{
	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->holdMask != 0 &&
			rc_lock_is_marked(&lock->locktag, mark))
			pids = lappend_int(pids, lock->pid);
	}
	return pids;
}
