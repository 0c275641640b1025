/*-------------------------------------------------------------------------
 *
 * scheduler_due.c
 *	  What the scheduler has to start: runs that were asked for or are due,
 *	  streams without their workers, the publisher.
 *
 * Each of these functions adds to a list of RcStart, in the round's context,
 * which is the current one; none starts anything, or runs SQL of a user.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include <signal.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The longest wait before a worker that could not connect is started, in ms. */
#define MAX_PAUSE			(5 * 60 * 1000)

/* The ends of partitions without a worker are looked at this often, in ms. */
#define WATERMARK_INTERVAL	10000

/* Workers that one role waits for, of which a round takes notice. */
#define MOST_WAITING		500

/* A run or publisher that could not connect is not started again before. */
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
 * Runs that say "running" while nobody runs them: a kill or a restart of the
 * server has ended their worker.  The source's lock alone does not tell, since
 * a stream's statement can let go of it, nor do the processes that there are;
 * but whoever still holds the lock of the run's number lives.
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
 * Under the source's lock, which must not stay with us; ends the transaction.
 * What somebody has locked is left to the next round, and costs no other
 * source anything.
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
 * Runs that were asked for, and sources whose poll_interval has passed; a
 * source that is not due yet brings the next look forward.  Where not all can
 * start, the one that has waited longest is the next.
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
 * Streams whose workers do not run though they should.  Of those of a role a
 * round looks at as many as can run, and MOST_WAITING more.
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

/* Its owner is the role that is known of the name, if that is still so. */
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

/* One that is the extension's own, and has no name. */
static List *
add_nameless(List *starts, RcWorkerKind kind)
{
	RcStart    *what = palloc0(sizeof(RcStart));

	what->kind = kind;
	what->name = "";
	return add_start(starts, what);
}

/* The publisher takes a slot only where there is something to publish. */
List *
rc_due_publisher(List *starts)
{
	if (is_paused(RC_WORKER_OUTBOX, "") || !rc_due_work_publisher())
		return starts;
	return add_nameless(starts, RC_WORKER_OUTBOX);
}

/* Now and then somebody looks how much there is for streams without worker. */
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
 * Add it, unless it runs.  A worker whose owner is gone is told to end: it
 * looks by itself, but not while its statement or the API keeps it.
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

/* A time that is further away than any pause dates from another clock. */
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

	/* one that has not failed again for long begins anew */
	if (rc_time_passed(pause->until, MAX_PAUSE))
	{
		pauses = list_delete_ptr(pauses, pause);
		pfree(pause);
	}
	return false;
}

/* Start it no sooner than in 1 s, doubled with each failure in a row. */
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
