/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  Wakes workers, or cancels their statements, at once or when the
 *	  transaction commits.
 *
 * Nothing may rely on it: after a lost wake-up a worker checks by itself,
 * within 5 seconds.
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
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "worker/worker_lock.h"

typedef struct WakeKey
{
	char		name[NAMEDATALEN];
	RcWorkerKind kind;
	int			number;
} WakeKey;

/* A worker to wake when the current transaction commits. */
typedef struct Wake
{
	WakeKey		key;			/* hash key; must be first */
	bool		cancel;			/* cancel its statement, too */
} Wake;

/*
 * In TopTransactionContext; a hash table because there can be very many.
 * NULL: none.
 */
static HTAB *wakes = NULL;
static bool callback_registered = false;

static Wake *add_wake(RcWorkerKind kind, const char *name, int number);
static void wake_up(const Wake *wake);
static void xact_callback(XactEvent event, void *arg);

/*
 * Set the latch of a process, and with "cancel" cancel the user's statement
 * that it may be running.  Does nothing if pid is 0 or the process has exited.
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
 * Like rc_wake_at_commit(), and cancel the user's statement that the worker
 * may be running: its definition was changed, and it may run forever.  See
 * rc_statement_cancel().
 */
void
rc_cancel_at_commit(RcWorkerKind kind, const char *name, int number)
{
	add_wake(kind, name, number)->cancel = true;
}

/* Wake all workers that a stream may have, at commit. */
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

/* Add a worker to "wakes", once. */
static Wake *
add_wake(RcWorkerKind kind, const char *name, int number)
{
	WakeKey		key = {0};
	Wake	   *wake;
	bool		found;

	Assert(IsTransactionState());
	CHECK_FOR_INTERRUPTS();
	if (!callback_registered)
		RegisterXactCallback(xact_callback, NULL);
	callback_registered = true;
	if (wakes == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(WakeKey);
		control.entrysize = sizeof(Wake);
		control.hcxt = TopTransactionContext;
		wakes = hash_create("rappel_conso wakes", 64, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	strlcpy(key.name, name, sizeof(key.name));
	key.kind = kind;
	key.number = number;
	wake = hash_search(wakes, &key, HASH_ENTER, &found);
	if (!found)
		wake->cancel = false;
	return wake;
}

static void
wake_up(const Wake *wake)
{
	int			pid = rc_lock_holder(MyDatabaseId, wake->key.kind,
									 wake->key.name, wake->key.number);

	/* if the outbox worker is not running, the scheduler must start it */
	if (pid == 0 && wake->key.kind == RC_WORKER_OUTBOX)
		pid = rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0);
	rc_wake_process(pid, wake->cancel);
}

/*
 * Look up the processes after the commit: one that starts just before it would
 * not see the change otherwise.  The lookup raises no errors.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	HASH_SEQ_STATUS status;
	Wake	   *wake;

	if (event == XACT_EVENT_COMMIT && wakes != NULL)
	{
		hash_seq_init(&status, wakes);
		while ((wake = hash_seq_search(&status)) != NULL)
			wake_up(wake);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		wakes = NULL;
}
