/*-------------------------------------------------------------------------
 *
 * lock.c
 *	  "Only one" of each worker, by a lock that dies with its holder, and the
 *	  way to find and wake that holder.
 *
 * The lock only saves wasted work.  Nothing may rely on it for correctness:
 * that is what the fence in the commit is for (offset.c, runs.c).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

/*
 * Fourth field of our lock tags, to which the kind is added.  Advisory locks
 * of SQL have 1 or 2 there.  They are of the user lock method, since a
 * standard session lock would be let go when a transaction aborts.
 */
#define LOCK_SPACE		0x5243

/* A worker to be woken when this transaction commits. */
typedef struct Wake
{
	RcWorkerKind kind;
	char		name[NAMEDATALEN];
	int			number;
	int			pid;			/* found before the commit; 0: nobody */
} Wake;

static List *wakes = NIL;
static bool callback_registered = false;

static void make_tag(LOCKTAG *tag, Oid database, RcWorkerKind kind,
					 const char *name, int number);
static void wake_callback(XactEvent event, void *arg);

static void
make_tag(LOCKTAG *tag, Oid database, RcWorkerKind kind, const char *name,
		 int number)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) name,
														strlen(name), 0));

	SET_LOCKTAG_ADVISORY(*tag, database, (uint32) (hash >> 32),
						 ((uint32) hash & 0xFFFFFF00) | (number & 0xFF),
						 LOCK_SPACE + kind);
}

/*
 * Become the one worker of this kind, name and number in this database; false
 * when another process is.  Kept until the process ends or releases it.
 */
bool
rc_lock_take(RcWorkerKind kind, const char *name, int number)
{
	LOCKTAG		tag;

	make_tag(&tag, MyDatabaseId, kind, name, number);
	return LockAcquire(&tag, ExclusiveLock, true, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

void
rc_lock_release(RcWorkerKind kind, const char *name, int number)
{
	LOCKTAG		tag;

	make_tag(&tag, MyDatabaseId, kind, name, number);
	LockRelease(&tag, ExclusiveLock, true);
}

/*
 * Make sure that the lock is still ours: a user's statement can call
 * pg_advisory_unlock_all().  False when another process has taken it.
 */
bool
rc_lock_keep(RcWorkerKind kind, const char *name, int number)
{
	LOCKTAG		tag;

	make_tag(&tag, MyDatabaseId, kind, name, number);
	switch (LockAcquire(&tag, ExclusiveLock, true, true))
	{
		case LOCKACQUIRE_NOT_AVAIL:
			return false;
		case LOCKACQUIRE_OK:
			return true;
		default:				/* held already: undo the count */
			LockRelease(&tag, ExclusiveLock, true);
			return true;
	}
}

/*
 * Process id of the holder; 0 if there is none.  GetLockConflicts would pass
 * over a holder that is outside a transaction, as an idle worker is.
 */
int
rc_lock_holder(Oid database, RcWorkerKind kind, const char *name, int number)
{
	LOCKTAG		tag;
	LockData   *data = GetLockStatusData();
	int			pid = 0;

	make_tag(&tag, database, kind, name, number);
	for (int i = 0; i < data->nelements; i++)
	{
		if (memcmp(&data->locks[i].locktag, &tag, sizeof(LOCKTAG)) == 0 &&
			data->locks[i].holdMask != 0)
			pid = data->locks[i].pid;
	}
	pfree(data->locks);
	pfree(data);
	return pid;
}

/*
 * Process ids of all our workers in a database, the scheduler first.
 */
List *
rc_lock_holders(Oid database)
{
	LockData   *data = GetLockStatusData();
	List	   *pids = NIL;

	for (int i = 0; i < data->nelements; i++)
	{
		LockInstanceData *lock = &data->locks[i];
		int			kind = lock->locktag.locktag_field4 - LOCK_SPACE;

		if (lock->locktag.locktag_type != LOCKTAG_ADVISORY ||
			lock->locktag.locktag_field1 != database ||
			kind < RC_WORKER_SCHEDULER || kind > RC_WORKER_DRAIN ||
			lock->holdMask == 0)
			continue;
		if (kind == RC_WORKER_SCHEDULER)
			pids = lcons_int(lock->pid, pids);
		else
			pids = list_append_unique_int(pids, lock->pid);
	}
	pfree(data->locks);
	pfree(data);
	return pids;
}

/*
 * Set the latch of a worker of this database when the current transaction
 * commits.  A lost wake-up costs at most the 5 seconds after which every
 * worker looks by itself.
 */
void
rc_wake_at_commit(RcWorkerKind kind, const char *name, int number)
{
	MemoryContext old;
	Wake	   *wake;
	ListCell   *lc;

	foreach(lc, wakes)
	{
		wake = (Wake *) lfirst(lc);
		if (wake->kind == kind && wake->number == number &&
			strcmp(wake->name, name) == 0)
			return;
	}
	if (!callback_registered)
	{
		RegisterXactCallback(wake_callback, NULL);
		callback_registered = true;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	wake = palloc0(sizeof(Wake));
	wake->kind = kind;
	strlcpy(wake->name, name, sizeof(wake->name));
	wake->number = number;
	wakes = lappend(wakes, wake);
	MemoryContextSwitchTo(old);
}

static void
wake_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	/* what may fail happens before the commit: after it nothing may */
	foreach(lc, wakes)
	{
		Wake	   *wake = (Wake *) lfirst(lc);
		PGPROC	   *proc;

		if (event == XACT_EVENT_PRE_COMMIT)
		{
			wake->pid = rc_lock_holder(MyDatabaseId, wake->kind, wake->name,
									   wake->number);
			/* a publisher that does not run is the scheduler's to start */
			if (wake->pid == 0 && wake->kind == RC_WORKER_OUTBOX)
				wake->pid = rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER,
										   "", 0);
		}
		else if (event == XACT_EVENT_COMMIT && wake->pid != 0)
		{
			proc = BackendPidGetProc(wake->pid);
			if (proc != NULL)
				SetLatch(&proc->procLatch);
		}
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		wakes = NIL;
}
