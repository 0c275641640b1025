/*-------------------------------------------------------------------------
 *
 * worker_lock.c
 *	  Ensures that there is only one of each worker, by a lock that is
 *	  released when its holder exits, and finds that holder.
 *
 * The lock only prevents wasted work.  Nothing may rely on it for correctness:
 * that is ensured by the fence in the commit (stream_offset.c,
 * source_state.c).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_lock.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/memutils.h"

/*
 * Fourth field of our lock tags, to which the kind is added.  Advisory locks
 * of SQL have 1 or 2 there.  The lock method is that of user locks, because a
 * session lock of the standard method would be released when a transaction
 * aborts.
 */
#define LOCK_SPACE		0x5243

/*
 * Bits of the third field that are part of the name's hash; the others contain
 * the number.
 */
#define NAME_BITS		0xFFFFFF00

/*
 * Added to the kind in marks: a process waits for workers of that kind and
 * name.
 */
#define LOCK_MARK		0x20

/* Tags of the locks that this process holds. */
static List *held = NIL;

static bool callback_registered = false;

static void make_tag(LOCKTAG *tag, Oid database, RcWorkerKind kind,
					 const char *name, int number);
static void register_callback(void);
static void keep_locks(void);
static int	holder_of(const LOCKTAG *tag);
static bool holds(PGPROC *proc, int partition, const LOCKTAG *tag);
static void xact_callback(XactEvent event, void *arg);

static void
make_tag(LOCKTAG *tag, Oid database, RcWorkerKind kind, const char *name,
		 int number)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) name,
														strlen(name), 0));

	SET_LOCKTAG_ADVISORY(*tag, database, (uint32) (hash >> 32),
						 ((uint32) hash & NAME_BITS) | (number & ~NAME_BITS),
						 LOCK_SPACE + kind);
}

/*
 * Take the lock of a worker of this kind, name and number in this database;
 * false if another process holds it.  Held until the process exits or releases
 * it.
 */
bool
rc_lock_take(RcWorkerKind kind, const char *name, int number)
{
	MemoryContext old;
	LOCKTAG    *tag;

	old = MemoryContextSwitchTo(TopMemoryContext);
	tag = palloc(sizeof(LOCKTAG));
	make_tag(tag, MyDatabaseId, kind, name, number);
	held = lappend(held, tag);
	MemoryContextSwitchTo(old);
	register_callback();
	if (LockAcquire(tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	held = list_delete_ptr(held, tag);
	pfree(tag);
	return false;
}

void
rc_lock_release(RcWorkerKind kind, const char *name, int number)
{
	LOCKTAG		tag;
	ListCell   *lc;

	make_tag(&tag, MyDatabaseId, kind, name, number);
	foreach(lc, held)
	{
		LOCKTAG    *mine = (LOCKTAG *) lfirst(lc);

		if (memcmp(mine, &tag, sizeof(LOCKTAG)) != 0)
			continue;
		held = foreach_delete_current(held, lc);
		pfree(mine);
		break;
	}
	LockRelease(&tag, ExclusiveLock, true);
}

/*
 * At each commit: check that the locks are still held, since a user's SQL can
 * call pg_advisory_unlock_all().  Other processes would take this worker for
 * dead and start another one.
 */
static void
keep_locks(void)
{
	ListCell   *lc;

	foreach(lc, held)
	{
		LOCKTAG    *tag = (LOCKTAG *) lfirst(lc);

		switch (LockAcquire(tag, ExclusiveLock, true, true))
		{
			case LOCKACQUIRE_NOT_AVAIL:
				ereport(FATAL,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("the lock of this worker was taken by another process"),
						 errdetail("A statement released the worker's lock, as pg_advisory_unlock_all() does."),
						 errhint("Release advisory locks one by one.")));
				break;
			case LOCKACQUIRE_ALREADY_HELD:
			case LOCKACQUIRE_ALREADY_CLEAR:
				LockRelease(tag, ExclusiveLock, true);	/* undo the count */
				break;
			case LOCKACQUIRE_OK:
				break;
		}
	}
}

/* PID of the holder; 0 if there is none. */
int
rc_lock_holder(Oid database, RcWorkerKind kind, const char *name, int number)
{
	LOCKTAG		tag;

	make_tag(&tag, database, kind, name, number);
	return holder_of(&tag);
}

/* Whether this database has a process with that lock. */
bool
rc_worker_alive(RcWorkerKind kind, const char *name, int number)
{
	return rc_lock_holder(MyDatabaseId, kind, name, number) != 0;
}

/*
 * PID of a holder of the lock; 0 if there is none.
 *
 * This is called at each commit that wakes a worker, so it reads only the
 * partition of the lock table that contains the lock, and the processes of one
 * database.  GetLockStatusData() would copy all locks of the server, and
 * GetLockConflicts() would skip a holder outside of a transaction, such as an
 * idle worker.
 */
static int
holder_of(const LOCKTAG *tag)
{
	uint32		hash = LockTagHashCode(tag);
	int			pid = 0;

	LWLockAcquire(LockHashPartitionLock(hash), LW_SHARED);
	for (uint32 i = 0; i < ProcGlobal->allProcCount && pid == 0; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];

		if (proc->databaseId == tag->locktag_field1 &&
			holds(proc, LockHashPartition(hash), tag))
			pid = proc->pid;
	}
	LWLockRelease(LockHashPartitionLock(hash));
	return pid;
}

/*
 * Whether a process holds the lock; the caller has locked that partition of
 * the lock table.
 */
static bool
holds(PGPROC *proc, int partition, const LOCKTAG *tag)
{
	PROCLOCK   *proclock = rc_proclock_first(&proc->myProcLocks[partition]);

	while (proclock != NULL)
	{
		if (proclock->holdMask != 0 &&
			memcmp(&proclock->tag.myLock->tag, tag, sizeof(LOCKTAG)) == 0)
			return true;
		proclock = rc_proclock_next(&proc->myProcLocks[partition], proclock);
	}
	return false;
}

/*
 * Mark that this process waits for workers of that kind and name, whatever
 * their numbers, until rc_lock_unmark() or the abort of the transaction.  A
 * worker waits outside of a transaction, and therefore sets "session".  See
 * request_blockers.c.
 */
void
rc_lock_mark(RcWorkerKind kind, const char *name, bool session)
{
	LOCKTAG		tag;

	make_tag(&tag, MyDatabaseId, kind + LOCK_MARK, name, 0);
	(void) LockAcquire(&tag, AccessShareLock, session, true);
}

void
rc_lock_unmark(RcWorkerKind kind, const char *name, bool session)
{
	LOCKTAG		tag;

	make_tag(&tag, MyDatabaseId, kind + LOCK_MARK, name, 0);
	LockRelease(&tag, AccessShareLock, session);
}

/* Whether any process has set that mark. */
bool
rc_lock_marked(RcWorkerKind kind, const char *name)
{
	LOCKTAG		tag;

	make_tag(&tag, MyDatabaseId, kind + LOCK_MARK, name, 0);
	return holder_of(&tag) != 0;
}

/* Whether a lock is such a mark. */
bool
rc_lock_is_mark(const LOCKTAG *tag)
{
	return tag->locktag_type == LOCKTAG_ADVISORY &&
		tag->locktag_field4 > LOCK_SPACE + LOCK_MARK &&
		tag->locktag_field4 <= LOCK_SPACE + LOCK_MARK + RC_WORKER_LAST;
}

/* Whether a lock is that of a worker that the mark waits for. */
bool
rc_lock_is_marked(const LOCKTAG *tag, const LOCKTAG *mark)
{
	return tag->locktag_type == LOCKTAG_ADVISORY &&
		tag->locktag_field1 == mark->locktag_field1 &&
		tag->locktag_field2 == mark->locktag_field2 &&
		(tag->locktag_field3 & NAME_BITS) == mark->locktag_field3 &&
		tag->locktag_field4 + LOCK_MARK == mark->locktag_field4;
}

/* PIDs of all our workers in a database, the scheduler first. */
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
			kind < RC_WORKER_SCHEDULER || kind > RC_WORKER_LAST ||
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

static void
register_callback(void)
{
	if (callback_registered)
		return;
	RegisterXactCallback(xact_callback, NULL);
	callback_registered = true;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		keep_locks();
}
