/*-------------------------------------------------------------------------
 *
 * request_blockers.c
 *	  Detects that a process that this one waits for is waiting for this
 *	  one.
 *
 * A backend waits for a worker by its latch, which the server's deadlock
 * detector does not see.  So each backend that waits for a worker takes a
 * lock that no other process requests, a mark of what it waits for; and it
 * searches for a cycle by following locks and marks from that worker on.
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

/* How many processes are followed; a cycle of more is not detected. */
#define MAX_FOLLOWED		200

static List *blockers_of(int pid);
static List *waited_for(int pid, LockData *locks);
static List *add_holders(List *pids, const LOCKTAG *mark, LockData *locks);

/*
 * Does one of the processes wait, directly or through other processes, for a
 * lock that this session holds?  *prepared is set if one of them waits for a
 * prepared transaction, which no process owns.
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

/*
 * The processes that hold a lock that the process waits for, or are ahead of
 * it in the lock's queue.
 */
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

/* The workers that a process waits for, by its marks. */
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
