/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *	  The scheduler of a database: starts stream workers and runs that are
 *	  due, and removes old history.
 *
 * It never touches a record, and runs no SQL of a user: it is connected as
 * the bootstrap superuser.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Everything is looked at this often, in ms, and when the latch is set. */
#define LOOK_INTERVAL		5000

/* A worker is started again after this time at the earliest, in ms. */
#define START_PAUSE			1000

/* Old history is removed this often, in ms. */
#define RETENTION_INTERVAL	(60 * 60 * 1000)

/* A worker that we have started and that may not hold its lock yet. */
typedef struct Child
{
	RcWorkerKind kind;
	char		name[NAMEDATALEN];
	int			number;
	TimestampTz started_at;
	BackgroundWorkerHandle *handle;
} Child;

/* What is to be started: collected in a transaction, started after it. */
typedef struct Start
{
	RcWorkerKind kind;
	char	   *name;
	int			number;
	int64		run;			/* that was queued; 0: none */
	char	   *owner_name;		/* NULL: the bootstrap superuser */
	Oid			owner;			/* InvalidOid with a name: it means no role */
} Start;

static List *children = NIL;
static long next_look;			/* in ms from now */

static bool may_run(bool by_hand);
static void round_of_work(MemoryContext context);
static void mark_dead_runs(MemoryContext context);
static void mark_dead_run(const char *source);
static List *due_runs(List *starts);
static void set_owner(Start *what, int row, int column);
static List *idle_streams(List *starts);
static List *idle_publisher(List *starts, MemoryContext context);
static void start(const Start *what);
static void say_waiting(const Start *what);
static bool refuse_owner(const Start *what);
static bool is_running(const Start *what);
static bool is_child(RcWorkerKind kind, const char *name, int number);
static void forget_ended(void);
static void remove_history(void);

/*
 * Entry point of the scheduler.
 */
void
rc_scheduler_main(Datum arg)
{
	RcWorkerArgs *args = rc_worker_args();
	MemoryContext context;

	rc_worker_connect(args, "rappel_conso scheduler");
	if (!rc_lock_take(RC_WORKER_SCHEDULER, "", 0) || !may_run(args->by_hand))
		proc_exit(0);
	ereport(LOG,
			(errmsg("rappel_conso scheduler started in database with OID %u",
					args->database)));
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso scheduler",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		next_look = LOOK_INTERVAL;
		PG_TRY();
		{
			round_of_work(context);
		}
		PG_CATCH();
		{
			(void) rc_worker_recover(context, true);
		}
		PG_END_TRY();
		rc_worker_wait(next_look);
	}
}

/*
 * Whether the extension is there, and rc_stop() has not been called since
 * the server started; rc_start() overrules that.
 */
static bool
may_run(bool by_hand)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		may;

	rc_transaction_begin();
	may = rc_extension_present();
	if (may && by_hand)
		rc_execute("DELETE FROM rappel_conso.stopped", NULL);
	else if (may)
	{
		rc_param_time(&params, PgStartTime);
		rc_query_begin(&scope);
		may = rc_query("SELECT 1 FROM rappel_conso.stopped"
					   " WHERE stopped_at >= $1", &params) == 0;
		rc_query_end(&scope);
	}
	rc_transaction_commit();
	return may;
}

/* Look for what there is to do, then start it: runs go first. */
static void
round_of_work(MemoryContext context)
{
	static TimestampTz removed_at = 0;
	List	   *starts = NIL;
	ListCell   *lc;

	forget_ended();
	rc_transaction_begin();
	MemoryContextSwitchTo(context);
	if (!rc_extension_present())
	{
		rc_transaction_commit();
		ereport(LOG,
				(errmsg("rappel_conso scheduler leaves: the extension is gone, or has another version than the library")));
		proc_exit(0);
	}
	mark_dead_runs(context);
	(void) rc_roles_fill();
	starts = due_runs(starts);
	if (rc_kafka_brokers[0] != '\0')
	{
		starts = idle_streams(starts);
		starts = idle_publisher(starts, context);
	}
	rc_transaction_commit();

	foreach(lc, starts)
		start((const Start *) lfirst(lc));
	MemoryContextSwitchTo(context);
	if (rc_time_passed(removed_at, RETENTION_INTERVAL))
	{
		removed_at = GetCurrentTimestamp();
		remove_history();
	}
}

/*
 * Runs that say "running" while nobody runs them: a kill or a restart of the
 * server has ended their worker.  The lock alone does not tell, since a
 * stream's statement can let go of it.
 */
static void
mark_dead_runs(MemoryContext context)
{
	RcQueryScope scope;
	List	   *sources = NIL;
	ListCell   *lc;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT r.source FROM rappel_conso.run r WHERE r.state = 'running'"
				 " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a"
				 "  WHERE a.datname = pg_catalog.current_database()"
				 "  AND a.application_name = 'rappel_conso run ' || r.source)",
				 NULL);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *source = rc_column_text(i, 1);
		MemoryContext old = MemoryContextSwitchTo(context);

		sources = lappend(sources, pstrdup(source));
		MemoryContextSwitchTo(old);
	}
	rc_query_end(&scope);
	foreach(lc, sources)
	{
		char	   *source = (char *) lfirst(lc);

		if (!rc_lock_take(RC_WORKER_RUN, source, 0))
			continue;
		mark_dead_run(source);
		rc_transaction_begin();
		MemoryContextSwitchTo(context);
	}
}

/* Under the source's lock, which must not stay with us; ends the transaction. */
static void
mark_dead_run(const char *source)
{
	PG_TRY();
	{
		(void) rc_run_abandon(source);
		rc_transaction_commit();
	}
	PG_CATCH();
	{
		rc_lock_release(RC_WORKER_RUN, source, 0);
		PG_RE_THROW();
	}
	PG_END_TRY();
	rc_lock_release(RC_WORKER_RUN, source, 0);
}

/*
 * Runs that were asked for, and sources whose poll_interval has passed since
 * their last run started; a source that is not due yet brings the next look
 * forward.  After a clock that went ahead, times to come do not count.
 */
static List *
due_runs(List *starts)
{
	RcQueryScope scope;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT s.name, s.owner, k.oid, q.id,"
				 " CASE WHEN q.id IS NULL THEN ((p.every - extract(epoch FROM"
				 "  pg_catalog.clock_timestamp() - l.at)) * 1000)::int8 END"
				 " FROM rappel_conso.source s"
				 " JOIN rappel_conso.known_role k ON k.name = s.owner"
				 " LEFT JOIN LATERAL (SELECT u.id FROM rappel_conso.run u"
				 "  WHERE u.source = s.name AND u.state = 'queued'"
				 "  ORDER BY u.id LIMIT 1 FOR SHARE SKIP LOCKED) q ON true"
				 " CROSS JOIN LATERAL (SELECT extract(epoch FROM s.poll_interval) *"
				 "  CASE WHEN EXISTS (SELECT FROM rappel_conso.source_state t"
				 "   WHERE t.source = s.name AND t.quota_remaining * 10 < t.quota_limit"
				 "   AND t.quota_reset_at > pg_catalog.clock_timestamp())"
				 "  THEN 4 ELSE 1 END AS every) p"
				 " CROSS JOIN LATERAL (SELECT max(o.at) AS at FROM ("
				 "  (SELECT u.started_at AS at FROM rappel_conso.run u"
				 "    WHERE u.source = s.name ORDER BY u.id DESC LIMIT 1)"
				 "  UNION ALL SELECT t.checked_at FROM rappel_conso.source_state t"
				 "    WHERE t.source = s.name) o"
				 "  WHERE o.at <= pg_catalog.clock_timestamp()) l"
				 " WHERE q.id IS NOT NULL"
				 " OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles r"
				 "  WHERE r.rolname = k.name AND r.oid = k.oid)"
				 " OR NOT s.paused AND s.poll_interval IS NOT NULL"
				 " ORDER BY q.id NULLS LAST, s.name", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		int64		wait = rc_column_int8(i, 5, 0);
		Start	   *what;

		if (wait > 0)
		{
			next_look = (long) Min(next_look, wait);
			continue;
		}
		what = SPI_palloc(sizeof(Start));
		what->kind = RC_WORKER_RUN;
		what->name = rc_column_text(i, 1);
		what->number = 0;
		set_owner(what, i, 2);
		what->run = rc_column_int8(i, 4, 0);
		if (!is_running(what))
		{
			MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(what));

			starts = lappend(starts, what);
			MemoryContextSwitchTo(old);
		}
	}
	rc_query_end(&scope);
	return starts;
}

/* The owner of a definition, from its name and the OID that is known of it. */
static void
set_owner(Start *what, int row, int column)
{
	what->owner_name = rc_column_text(row, column);
	what->owner = rc_role_resolve(what->owner_name,
								  (Oid) rc_column_int8(row, column + 1, 0),
								  true);
}

/* Streams whose workers do not run though they should. */
static List *
idle_streams(List *starts)
{
	RcQueryScope scope;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT s.name, w.number, s.owner, k.oid"
				 " FROM rappel_conso.stream s"
				 " JOIN rappel_conso.known_role k ON k.name = s.owner"
				 " CROSS JOIN LATERAL pg_catalog.generate_series(0, s.workers - 1) AS w (number)"
				 " LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name"
				 " WHERE NOT s.paused AND pg_catalog.cardinality(s.topics) > 0"
				 " AND NOT (COALESCE(t.state, '') = 'failed'"
				 "  AND COALESCE(" RC_RETRY_IS_DUE_LATER("t") ", false))"
				 " ORDER BY s.name, w.number", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		Start	   *what = SPI_palloc(sizeof(Start));

		what->kind = RC_WORKER_STREAM;
		what->name = rc_column_text(i, 1);
		what->number = (int) rc_column_int8(i, 2, 0);
		what->run = 0;
		set_owner(what, i, 3);
		if (!is_running(what))
		{
			MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(what));

			starts = lappend(starts, what);
			MemoryContextSwitchTo(old);
		}
	}
	rc_query_end(&scope);
	return starts;
}

/* The publisher takes a slot only where there is something to publish. */
static List *
idle_publisher(List *starts, MemoryContext context)
{
	Start	   *what;
	MemoryContext old;

	if (rc_execute("SELECT 1 FROM rappel_conso.outbox LIMIT 1", NULL) == 0 ||
		rc_lock_holder(MyDatabaseId, RC_WORKER_OUTBOX, "", 0) != 0 ||
		is_child(RC_WORKER_OUTBOX, "", 0))
		return starts;
	old = MemoryContextSwitchTo(context);
	what = palloc0(sizeof(Start));
	what->kind = RC_WORKER_OUTBOX;
	what->name = "";
	starts = lappend(starts, what);
	MemoryContextSwitchTo(old);
	return starts;
}

/* Start one worker, or say why not. */
static void
start(const Start *what)
{
	RcWorkerArgs args = {0};
	Child	   *child;
	MemoryContext old;

	if (what->owner_name != NULL && refuse_owner(what))
		return;
	args.database = MyDatabaseId;
	args.role = what->owner;
	args.number = what->number;
	args.id = what->run;
	args.scheduled = true;
	strlcpy(args.name, what->name, sizeof(args.name));

	old = MemoryContextSwitchTo(TopMemoryContext);
	child = palloc0(sizeof(Child));
	child->kind = what->kind;
	strlcpy(child->name, what->name, sizeof(child->name));
	child->number = what->number;
	child->started_at = GetCurrentTimestamp();
	if (rc_worker_launch(what->kind, &args, &child->handle))
		children = lappend(children, child);
	else
	{
		pfree(child);
		say_waiting(what);
	}
	MemoryContextSwitchTo(old);
}

/* There is no free slot: the status says so until there is one. */
static void
say_waiting(const Start *what)
{
	if (what->kind != RC_WORKER_STREAM)
		return;
	rc_transaction_begin();
	rc_stream_say(what->name, "waiting",
				  "no free worker slot; max_worker_processes may have to be increased");
	rc_transaction_commit();
}

/*
 * Whether no worker can connect as the owner: then the stream or the run has
 * failed with that.
 */
static bool
refuse_owner(const Start *what)
{
	bool		stream = (what->kind == RC_WORKER_STREAM);
	ErrorData	error = {0};

	rc_transaction_begin();
	if (!OidIsValid(what->owner))
		rc_role_lost(what->owner_name, stream ? "stream" : "source",
					 what->name, &error);
	else if (!rc_role_can_login(what->owner))
	{
		error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		error.message = stream ?
			"the owner of the stream is not permitted to log in" :
			"the owner of the source is not permitted to log in";
		error.hint = "Workers connect as the owner: give it LOGIN, or make another role the owner.";
	}
	if (error.message != NULL && stream)
		(void) rc_stream_fail(what->name, &error);
	else if (error.message != NULL)
		rc_run_refuse(what->run, what->name, &error);
	rc_transaction_commit();
	return error.message != NULL;
}

/*
 * Whether there is a worker for it.  One whose owner is gone is told to end:
 * it looks by itself, but not while its statement or the API keeps it.
 */
static bool
is_running(const Start *what)
{
	int			pid = rc_lock_holder(MyDatabaseId, what->kind, what->name,
									 what->number);

	if (pid != 0 && pid != MyProcPid && !OidIsValid(what->owner))
		(void) kill(pid, SIGTERM);
	return pid != 0 || is_child(what->kind, what->name, what->number);
}

static bool
is_child(RcWorkerKind kind, const char *name, int number)
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

/*
 * Forget workers that have ended.  Each end wakes the scheduler, so one that
 * ends as soon as it is started must not be started again at once.
 */
static void
forget_ended(void)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		Child	   *child = (Child *) lfirst(lc);
		pid_t		pid;

		if (GetBackgroundWorkerPid(child->handle, &pid) != BGWH_STOPPED)
			continue;
		if (!rc_time_passed(child->started_at, START_PAUSE))
		{
			next_look = Min(next_look, START_PAUSE);
			continue;
		}
		pfree(child->handle);
		pfree(child);
		children = foreach_delete_current(children, lc);
	}
}

/* Ended runs and resolved dead letters older than keep_history go. */
static void
remove_history(void)
{
	RcQueryScope scope;
	RcParams	params = {0};

	rc_transaction_begin();
	rc_param_int4(&params, rc_keep_history);
	rc_query_begin(&scope);
	rc_query("DELETE FROM rappel_conso.run WHERE state <> 'running'"
			 " AND finished_at < pg_catalog.now() - $1 * '1 day'::interval"
			 " AND id NOT IN (SELECT max(id) FROM rappel_conso.run GROUP BY source)",
			 &params);
	rc_query("DELETE FROM rappel_conso.dead_letter"
			 " WHERE resolved_at < pg_catalog.now() - $1 * '1 day'::interval",
			 &params);
	rc_query_end(&scope);
	rc_transaction_commit();
}
