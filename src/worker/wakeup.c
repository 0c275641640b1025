/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  Wakes workers, and cancels what they run, at once or when the
 *	  transaction commits.
 *
 * Nothing may rely on it: a wake-up that is lost costs at most the 5 seconds
 * after which every worker looks by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/wakeup.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#include "worker/worker_lock.h"

/* A worker to be woken when this transaction commits. */
typedef struct Wake
{
	RcWorkerKind kind;
	char		name[NAMEDATALEN];
	int			number;
	bool		cancel;			/* what it runs has been changed */
} Wake;

static List *wakes = NIL;
static bool callback_registered = false;

static Wake *add_wake(RcWorkerKind kind, const char *name, int number);
static void wake_up(const Wake *wake);
static void xact_callback(XactEvent event, void *arg);

/*
 * Set the latch of a process (0: none), and with "cancel" end the user's
 * statement that it may be running.  It may have ended meanwhile.
 */
void
rc_wake_process(int pid, bool cancel)
{
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	if (proc == NULL)
		return;
	if (cancel)
		kill(pid, SIGUSR2);
	SetLatch(&proc->procLatch);
}

/* Set the latch of a worker of this database. */
void
rc_wake_now(RcWorkerKind kind, const char *name, int number)
{
	rc_wake_process(rc_lock_holder(MyDatabaseId, kind, name, number), false);
}

/*
 * Set the latch of a worker of this database when the current transaction
 * commits.
 */
void
rc_wake_at_commit(RcWorkerKind kind, const char *name, int number)
{
	(void) add_wake(kind, name, number);
}

/*
 * The same, and cancel the user's statement that it may be running: what that
 * is for has been changed, and it may never end.  See rc_statement_cancel().
 */
void
rc_cancel_at_commit(RcWorkerKind kind, const char *name, int number)
{
	add_wake(kind, name, number)->cancel = true;
}

/* All workers that a stream may have. */
void
rc_wake_stream(const char *stream, int workers)
{
	for (int i = 0; i < workers; i++)
		rc_wake_at_commit(RC_WORKER_STREAM, stream, i);
}

void
rc_cancel_stream(const char *stream, int workers)
{
	for (int i = 0; i < workers; i++)
		rc_cancel_at_commit(RC_WORKER_STREAM, stream, i);
}

/* Whom to wake, once for each. */
static Wake *
add_wake(RcWorkerKind kind, const char *name, int number)
{
	MemoryContext old;
	Wake	   *wake;
	ListCell   *lc;

	Assert(IsTransactionState());
	foreach(lc, wakes)
	{
		wake = (Wake *) lfirst(lc);
		if (wake->kind == kind && wake->number == number &&
			strcmp(wake->name, name) == 0)
			return wake;
	}
	if (!callback_registered)
		RegisterXactCallback(xact_callback, NULL);
	callback_registered = true;
	old = MemoryContextSwitchTo(TopTransactionContext);
	wake = palloc0(sizeof(Wake));
	wake->kind = kind;
	strlcpy(wake->name, name, sizeof(wake->name));
	wake->number = number;
	wakes = lappend(wakes, wake);
	MemoryContextSwitchTo(old);
	return wake;
}

static void
wake_up(const Wake *wake)
{
	int			pid = rc_lock_holder(MyDatabaseId, wake->kind, wake->name,
									 wake->number);

	/* a publisher that does not run is the scheduler's to start */
	if (pid == 0 && wake->kind == RC_WORKER_OUTBOX)
		pid = rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0);
	rc_wake_process(pid, wake->cancel);
}

/*
 * Whom to wake is looked for when the change can be seen, for one who started
 * just before would not see it; to look raises no error.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_COMMIT)
	{
		foreach(lc, wakes)
			wake_up((Wake *) lfirst(lc));
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		wakes = NIL;
}
