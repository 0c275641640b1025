/*-------------------------------------------------------------------------
 *
 * scheduler_due.c
 *	  Finds what the scheduler has to start: queued and scheduled runs,
 *	  workers of streams, the outbox worker.
 *
 * Each of these functions adds to a list of RcStart in the current context,
 * that of the round.  None starts anything or runs a user's SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include <signal.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * Maximum pause before a worker that could not connect is started again, in
 * ms.
 */
#define MAX_PAUSE			(5 * 60 * 1000)

/* Interval of reading the watermarks of partitions without a worker, in ms. */
#define WATERMARK_INTERVAL	10000

/*
 * Number of due stream workers of one role, beyond those that can run, that a
 * round considers.
 */
#define MOST_WAITING		500

/*
 * A run or outbox worker that could not connect; not started again before
 * "until".
 */
typedef struct Pause
{
	RcWorkerKind kind;
	char		name[NAMEDATALEN];
	int			failures;		/* in a row */
	TimestampTz until;
} Pause;

static List *pauses = NIL;

static void mark_dead_run(const char *source);
static List *add_work(List *starts, RcWorkerKind kind, const RcDueWork *work);
static List *add_nameless(List *starts, RcWorkerKind kind);
static List *add_start(List *starts, RcStart *what);
static Pause *find_pause(RcWorkerKind kind, const char *name);
static bool is_paused(RcWorkerKind kind, const char *name);

/*
 * Set runs to failed whose worker was killed, or ended by a restart of the
 * server.  A free lock of the source does not prove that, since a stream's
 * statement can release it; nor does pg_stat_activity.  A process that still
 * holds the lock of the run's number is alive.
 */
List *
rc_due_dead_runs(List *starts)
{
	List	   *sources = NIL;
	ListCell   *lc;

	foreach(lc, rc_activity_runs_without_process())
	{
		const RcRunningRun *run = (const RcRunningRun *) lfirst(lc);

		if (!rc_worker_alive(RC_WORKER_RUN_ID, run->id, 0))
			sources = lappend(sources, run->source);
	}
	foreach(lc, sources)
	{
		char	   *source = (char *) lfirst(lc);

		if (!rc_lock_take(RC_WORKER_RUN, source, 0))
			continue;
		mark_dead_run(source);
		rc_transaction_begin_in(rc_round_context);
	}
	(void) rc_roles_fill();
	if (!XactReadOnly)
		rc_stream_settle_types();
	return starts;
}

/*
 * Set the run of a source to failed, end the transaction, and release the
 * source's lock.  If a session has locked the row, the next round retries, and
 * other sources are not affected.
 */
static void
mark_dead_run(const char *source)
{
	Assert(IsTransactionState());
	PG_TRY();
	{
		(void) rc_run_mark_crashed(source);
		rc_transaction_commit();
	}
	PG_CATCH();
	{
		(void) rc_worker_recover(rc_round_context, true);
	}
	PG_END_TRY();
	rc_lock_release(RC_WORKER_RUN, source, 0);
}

/*
 * Queued runs, and sources whose poll_interval has passed.  A source that is
 * not due yet brings the next round forward.  Those that have waited longest
 * come first.
 */
List *
rc_due_runs(List *starts)
{
	ListCell   *lc;

	foreach(lc, rc_due_work_runs())
	{
		const RcDueWork *work = (const RcDueWork *) lfirst(lc);

		if (work->wait_ms > 0)
			rc_next_round_ms = (long) Min(rc_next_round_ms, work->wait_ms);
		else if (!is_paused(RC_WORKER_RUN, work->name))
			starts = add_work(starts, RC_WORKER_RUN, work);
	}
	rc_source_wait_remove_idle();
	return starts;
}

/*
 * Workers of streams that should run.  For each role a round considers as many
 * as can run, and MOST_WAITING more.
 */
List *
rc_due_streams(List *starts)
{
	ListCell   *lc;

	foreach(lc, rc_due_work_streams(max_worker_processes + MOST_WAITING))
		starts = add_work(starts, RC_WORKER_STREAM,
						  (const RcDueWork *) lfirst(lc));
	return starts;
}

/*
 * Add a start.  Its owner is the role whose OID is stored for the name, if the
 * name still means it.
 */
static List *
add_work(List *starts, RcWorkerKind kind, const RcDueWork *work)
{
	RcStart    *what = palloc0(sizeof(RcStart));

	what->kind = kind;
	what->name = work->name;
	what->number = work->number;
	what->run = work->run;
	what->owner_name = work->owner_name;
	what->owner = rc_role_resolve(work->owner_name, work->known_owner, true);
	return add_start(starts, what);
}

/* Add a worker of the extension, which has no name. */
static List *
add_nameless(List *starts, RcWorkerKind kind)
{
	RcStart    *what = palloc0(sizeof(RcStart));

	what->kind = kind;
	what->name = "";
	return add_start(starts, what);
}

/* The outbox worker is started only if there are messages. */
List *
rc_due_publisher(List *starts)
{
	if (is_paused(RC_WORKER_OUTBOX, "") || !rc_due_work_publisher())
		return starts;
	return add_nameless(starts, RC_WORKER_OUTBOX);
}

/* Regularly read the watermarks of streams without a worker. */
List *
rc_due_watermarks(List *starts)
{
	static TimestampTz polled_at = 0;

	if (!rc_time_passed(polled_at, WATERMARK_INTERVAL) ||
		rc_children_free_slots() < 2 || !rc_due_work_watermarks())
		return starts;
	polled_at = GetCurrentTimestamp();
	return add_nameless(starts, RC_WORKER_WATERMARKS);
}

/*
 * Add a start, unless that worker is running.  A running worker whose owner
 * was dropped is terminated: it would notice by itself, but not while a
 * statement or the API keeps it busy.
 */
static List *
add_start(List *starts, RcStart *what)
{
	int			pid = rc_lock_holder(MyDatabaseId, what->kind, what->name,
									 what->number);

	if (pid != 0 && pid != MyProcPid && what->owner_name != NULL &&
		!OidIsValid(what->owner))
		(void) kill(pid, SIGTERM);
	if (pid != 0 || rc_child_exists(what->kind, what->name, what->number))
		return starts;
	return lappend(starts, what);
}

static Pause *
find_pause(RcWorkerKind kind, const char *name)
{
	ListCell   *lc;

	foreach(lc, pauses)
	{
		Pause	   *pause = (Pause *) lfirst(lc);

		if (pause->kind == kind && strcmp(pause->name, name) == 0)
			return pause;
	}
	return NULL;
}

/*
 * Whether a worker is paused.  A time further away than any pause was set
 * before the clock was set back, and is ignored.
 */
static bool
is_paused(RcWorkerKind kind, const char *name)
{
	Pause	   *pause = find_pause(kind, name);
	long		left;

	if (pause == NULL)
		return false;
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), pause->until);
	if (left > 0 && left <= MAX_PAUSE)
		return true;

	/* no failure for long: reset the backoff */
	if (rc_time_passed(pause->until, MAX_PAUSE))
	{
		pauses = list_delete_ptr(pauses, pause);
		pfree(pause);
	}
	return false;
}

/* Pause a worker for 1 s, doubled with each consecutive failure. */
void
rc_due_pause(RcWorkerKind kind, const char *name)
{
	Pause	   *pause = find_pause(kind, name);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (pause == NULL)
	{
		pause = palloc0(sizeof(Pause));
		pause->kind = kind;
		strlcpy(pause->name, name, sizeof(pause->name));
		pauses = lappend(pauses, pause);
	}
	MemoryContextSwitchTo(old);
	pause->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   Min(MAX_PAUSE, 1000L << Min(pause->failures, 9)));
	pause->failures++;
}
