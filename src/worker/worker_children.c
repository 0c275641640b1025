/*-------------------------------------------------------------------------
 *
 * worker_children.c
 *	  Processes that the scheduler has started: which ones exist, which could
 *	  not connect, and the free worker slots.
 *
 * A child reports through a queue that it is connected, and then detaches.  If
 * it fails to connect it sends its error, which the scheduler stores, since
 * the child cannot.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_children.h"

#include <signal.h>

#include "access/xact.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shm_mq.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Minimum time between two starts of the same worker, in ms. */
#define START_PAUSE			1000

#define QUEUE_SIZE			8192

/*
 * Time in which a stream worker that was sent SIGTERM should have exited, in
 * ms.
 */
#define LEAVING_TIMEOUT_MS	2000

typedef struct Child
{
	RcWorkerKind kind;
	char		name[NAMEDATALEN];
	int			number;
	int64		run;
	Oid			owner;
	TimestampTz started_at;
	BackgroundWorkerHandle *handle;
	dsm_segment *segment;		/* NULL: connected, or given up */
	shm_mq_handle *queue;
} Child;

static List *children = NIL;

static List *read_queue(Child *child, List *lost);
static List *add_lost(Child *child, ErrorData *error, List *lost);
static void forget_queue(Child *child);

/*
 * Poll the children: remove those that have exited, and return those that
 * could not connect, as RcLostChild in the current context.  Each exit wakes
 * the scheduler, so a child that exits right after its start is kept for
 * START_PAUSE, which delays its next start.
 */
List *
rc_children_poll(long *next_round_ms)
{
	List	   *lost = NIL;
	ListCell   *lc;

	foreach(lc, children)
	{
		Child	   *child = (Child *) lfirst(lc);
		pid_t		pid;
		bool		stopped = GetBackgroundWorkerPid(child->handle, &pid) ==
			BGWH_STOPPED;

		if (child->segment != NULL)
			lost = read_queue(child, lost);
		if (!stopped)
			continue;
		if (child->segment != NULL)
			lost = add_lost(child, NULL, lost);
		if (!rc_time_passed(child->started_at, START_PAUSE))
		{
			*next_round_ms = Min(*next_round_ms, START_PAUSE);
			continue;
		}
		pfree(child->handle);
		pfree(child);
		children = foreach_delete_current(children, lc);
	}
	return lost;
}

/* Read messages of a child that is not connected yet. */
static List *
read_queue(Child *child, List *lost)
{
	Size		size;
	void	   *data;
	StringInfoData message;
	ErrorData  *error;

	while (child->segment != NULL &&
		   shm_mq_receive(child->queue, &size, &data, true) == SHM_MQ_SUCCESS)
	{
		initStringInfo(&message);
		appendBinaryStringInfo(&message, data, size);
		switch (pq_getmsgbyte(&message))
		{
			case 'C':
				forget_queue(child);
				break;
			case 'E':
				error = palloc0(sizeof(ErrorData));
				pq_parse_errornotice(&message, error);
				lost = add_lost(child, error, lost);
				break;
			default:
				break;
		}
	}
	return lost;
}

/*
 * Add a child that cannot connect to "lost".  "error" NULL means that it
 * exited without reporting one.
 */
static List *
add_lost(Child *child, ErrorData *error, List *lost)
{
	RcLostChild *entry;

	forget_queue(child);
	/* terminated on purpose: not a failure */
	if (error != NULL && error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		return lost;
	if (error == NULL)
	{
		error = palloc0(sizeof(ErrorData));
		error->sqlerrcode = ERRCODE_CONNECTION_FAILURE;
		error->message = gettext_noop("the worker ended before it had connected to the database");
		error->hint = "See the server log for the cause.";
	}
	entry = palloc0(sizeof(RcLostChild));
	entry->what.kind = child->kind;
	entry->what.name = pstrdup(child->name);
	entry->what.number = child->number;
	entry->what.run = child->run;
	entry->error = error;
	return lappend(lost, entry);
}

static void
forget_queue(Child *child)
{
	shm_mq_detach(child->queue);
	dsm_detach(child->segment);
	child->segment = NULL;
	child->queue = NULL;
}

bool
rc_child_exists(RcWorkerKind kind, const char *name, int number)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		Child	   *child = (Child *) lfirst(lc);

		if (child->kind == kind && child->number == number &&
			strcmp(child->name, name) == 0)
			return true;
	}
	return false;
}

/* Start a child; false if there is no free slot. */
bool
rc_child_start(const RcStart *what)
{
	RcWorkerArgs args = {0};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	dsm_segment *segment = dsm_create(QUEUE_SIZE, 0);
	Child	   *child = palloc0(sizeof(Child));
	shm_mq	   *queue;
	bool		started;

	Assert(!IsTransactionState());
	child->kind = what->kind;
	strlcpy(child->name, what->name, sizeof(child->name));
	child->number = what->number;
	child->run = what->run;
	child->owner = what->owner;
	child->started_at = GetCurrentTimestamp();
	child->segment = segment;
	dsm_pin_mapping(child->segment);
	queue = shm_mq_create(dsm_segment_address(child->segment), QUEUE_SIZE);
	shm_mq_set_receiver(queue, MyProc);
	child->queue = shm_mq_attach(queue, child->segment, NULL);

	args.database = MyDatabaseId;
	args.role = what->owner;
	args.number = what->number;
	args.id = what->run;
	args.scheduled = true;
	args.segment = dsm_segment_handle(child->segment);
	strlcpy(args.name, what->name, sizeof(args.name));
	started = rc_worker_launch(what->kind, &args, &child->handle);
	if (started)
		children = lappend(children, child);
	else
	{
		forget_queue(child);
		pfree(child);
	}
	MemoryContextSwitchTo(old);
	return started;
}

/* The number of free worker slots, as far as it is visible. */
int
rc_children_free_slots(void)
{
	int64		used = rc_activity_used_slots();
	ListCell   *lc;

	/* children that have no process in pg_stat_activity yet */
	foreach(lc, children)
		used += ((Child *) lfirst(lc))->segment != NULL ? 1 : 0;
	return (int) Max(0, max_worker_processes - used);
}

/* PIDs of the children, as the text of an array. */
char *
rc_children_pids(void)
{
	StringInfoData pids;
	ListCell   *lc;
	pid_t		pid;

	initStringInfo(&pids);
	foreach(lc, children)
	{
		if (GetBackgroundWorkerPid(((Child *) lfirst(lc))->handle,
								   &pid) == BGWH_STARTED)
			appendStringInfo(&pids, "%s%d", pids.len > 0 ? "," : "", (int) pid);
	}
	return psprintf("{%s}", pids.data);
}

/*
 * Add the children of a role to its share.  For a while after its start,
 * neither the kind nor the owner of a process is visible in pg_stat_activity,
 * so children are counted here.
 */
void
rc_children_add(RcShare *share)
{
	ListCell   *lc;
	pid_t		pid;

	foreach(lc, children)
	{
		Child	   *child = (Child *) lfirst(lc);

		if (child->owner != share->owner ||
			GetBackgroundWorkerPid(child->handle, &pid) == BGWH_STOPPED)
			continue;
		if (child->kind == RC_WORKER_STREAM)
			share->streams++;
		else if (child->kind == RC_WORKER_RUN)
			share->others++;
	}
}

/*
 * End one stream worker, so that a run gets its slot.  If the role's share is
 * used up, only a stream worker of its own is ended; "share" NULL: of any
 * role.  The stream loses nothing: uncommitted records are read again.
 * Returns false if there is none to end.
 */
bool
rc_children_make_room(const RcShare *share)
{
	Oid			only = share != NULL && rc_share_must_leave(share) ?
		share->owner : InvalidOid;
	static int	leaving = 0;
	static TimestampTz leaving_since = 0;

	/* after a while the PID may be reused */
	if (leaving != 0 && BackendPidGetProc(leaving) != NULL &&
		!rc_time_passed(leaving_since, LEAVING_TIMEOUT_MS))
		return true;
	leaving = rc_activity_stream_to_end(only);
	leaving_since = GetCurrentTimestamp();
	if (leaving == 0)
		return false;
	ereport(LOG,
			(errmsg("stream worker with PID %d was stopped to free a slot for a run",
					leaving),
			 errhint("You may need to increase max_worker_processes.")));
	return kill(leaving, SIGTERM) == 0;
}
