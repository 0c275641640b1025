/*-------------------------------------------------------------------------
 *
 * scheduler_due.c
 *	  What the scheduler has to start: runs that were asked for or are due,
 *	  streams without their workers, the publisher.
 *
 * Each of these functions adds to a list of RcStart; none starts anything, or
 * runs SQL of a user.
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
static void set_owner(RcStart *what, int row, int column);
static List *add_start(List *starts, RcStart *what);
static Pause *find_pause(RcWorkerKind kind, const char *name);
static bool is_paused(RcWorkerKind kind, const char *name);

/*
 * Runs that say "running" while nobody runs them: a kill or a restart of the
 * server has ended their worker.  The lock alone does not tell, since a
 * stream's statement can let go of it; nor does application_name, which
 * everybody can set.  The type of a process is what it was registered as, which
 * is another name than the source's after that was renamed; but whoever still
 * holds the lock of the run's number lives.
 */
List *
rc_due_dead_runs(List *starts)
{
	RcQueryScope scope;
	List	   *sources = NIL;
	ListCell   *lc;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT r.source, r.id::text FROM rappel_conso.run r WHERE r.state = 'running'"
				 " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a"
				 "  WHERE a.datname = pg_catalog.current_database()"
				 "  AND a.backend_type = '" RC_TITLE_RUN " ' || r.source)",
				 NULL);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *source = rc_column_text(i, 1);
		MemoryContext old;

		if (rc_worker_alive(RC_WORKER_RUN_ID,
							rc_column_text(i, 2), 0))
			continue;
		old = MemoryContextSwitchTo(rc_round_context);
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
		rc_transaction_begin_in(rc_round_context);
	}
	(void) rc_roles_fill();
	if (!XactReadOnly)
		rc_execute("SELECT rappel_conso.settle_types()", NULL);
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
 * Runs that were asked for, and sources whose poll_interval has passed since
 * their last run started; a source that is not due yet brings the next look
 * forward.  After a clock that went ahead, times to come do not count.  Where
 * not all can start, the one that has waited longest is the next.
 */
List *
rc_due_runs(List *starts)
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
				 "  WHERE u.source = s.name AND u.state = 'queued' AND u.owner = s.owner"
				 "  AND COALESCE(u.owner_oid, 0) = k.oid"
				 "  ORDER BY u.id LIMIT 1 FOR SHARE SKIP LOCKED) q ON true"
				 " CROSS JOIN LATERAL (SELECT extract(epoch FROM s.poll_interval) *"
				 "  CASE WHEN EXISTS (SELECT FROM rappel_conso.source_state t"
				 "   WHERE t.source = s.name AND t.quota_remaining * 10 < t.quota_limit"
				 "   AND t.quota_reset_at > pg_catalog.clock_timestamp())"
				 "  THEN 4 ELSE 1 END AS every) p"
				 " CROSS JOIN LATERAL (SELECT max(o.at) AS at FROM ("
				 "  (SELECT u.started_at AS at FROM rappel_conso.run u"
				 "    WHERE u.source = s.name AND u.owner = s.owner"
				 "    ORDER BY u.id DESC LIMIT 1)"
				 "  UNION ALL SELECT t.checked_at FROM rappel_conso.source_state t"
				 "    WHERE t.source = s.name) o"
				 "  WHERE o.at <= pg_catalog.clock_timestamp()) l"
				 " WHERE q.id IS NOT NULL"
				 " OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles r"
				 "  WHERE r.rolname = k.name AND r.oid = k.oid)"
				 " OR NOT s.paused AND s.poll_interval IS NOT NULL"
				 " ORDER BY q.id NULLS LAST, l.at NULLS FIRST, s.name", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		int64		wait = rc_column_int8(i, 5, 0);
		RcStart    *what;

		if (wait > 0)
		{
			rc_next_round_ms = (long) Min(rc_next_round_ms, wait);
			continue;
		}
		what = SPI_palloc(sizeof(RcStart));
		what->kind = RC_WORKER_RUN;
		what->name = rc_column_text(i, 1);
		what->number = 0;
		set_owner(what, i, 2);
		what->run = rc_column_int8(i, 4, 0);
		if (!is_paused(RC_WORKER_RUN, what->name))
			starts = add_start(starts, what);
	}
	rc_query("DELETE FROM rappel_conso.source_wait w WHERE NOT EXISTS"
			 " (SELECT FROM rappel_conso.source s WHERE s.name = w.source"
			 "  AND NOT s.paused AND s.poll_interval IS NOT NULL)"
			 " AND NOT EXISTS (SELECT FROM rappel_conso.run r"
			 "  WHERE r.source = w.source AND r.state = 'queued')", NULL);
	rc_query_end(&scope);
	return starts;
}

/* The owner of a definition, from its name and the OID that is known of it. */
static void
set_owner(RcStart *what, int row, int column)
{
	what->owner_name = rc_column_text(row, column);
	what->owner = rc_role_resolve(what->owner_name,
								  (Oid) rc_column_int8(row, column + 1, 0),
								  true);
}

/*
 * Streams whose workers do not run though they should.  A worker for which
 * there is no partition has nothing to do; the first one finds out how many
 * there are.  Each stream gets its first before any gets its second, and each
 * role one before any gets another: nobody waits behind thousands of a role,
 * of which a round looks at those that can run and MOST_WAITING more.
 */
List *
rc_due_streams(List *starts)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		n;

	rc_query_begin(&scope);
	rc_param_int4(&params, max_worker_processes + MOST_WAITING);
	n = rc_query("SELECT d.name, d.number, d.owner, d.oid FROM ("
				 "SELECT s.name, w.number, s.owner, k.oid,"
				 " pg_catalog.row_number() OVER (PARTITION BY s.owner ORDER BY w.number, s.name) AS turn"
				 " FROM rappel_conso.stream s"
				 " JOIN rappel_conso.known_role k ON k.name = s.owner"
				 " CROSS JOIN LATERAL (SELECT COALESCE(max(o.partition) + 1, 1) AS n"
				 "  FROM rappel_conso.stream_offset o"
				 "  WHERE o.stream = s.name AND o.topic = ANY (s.topics)) p"
				 " CROSS JOIN LATERAL pg_catalog.generate_series(0, least(s.workers, p.n) - 1) AS w (number)"
				 " LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name"
				 " WHERE NOT s.paused AND pg_catalog.cardinality(s.topics) > 0"
				 " AND NOT (COALESCE(t.state, '') IN ('failed', 'waiting')"
				 "  AND COALESCE(" RC_RETRY_IS_DUE_LATER("t") ", false))"
				 ") d WHERE d.turn <= $1"
				 " ORDER BY d.number, d.turn, d.name", &params);
	for (uint64 i = 0; i < n; i++)
	{
		RcStart    *what = SPI_palloc(sizeof(RcStart));

		what->kind = RC_WORKER_STREAM;
		what->name = rc_column_text(i, 1);
		what->number = (int) rc_column_int8(i, 2, 0);
		what->run = 0;
		set_owner(what, i, 3);
		starts = add_start(starts, what);
	}
	rc_query_end(&scope);
	return starts;
}

/* The publisher takes a slot only where there is something to publish. */
List *
rc_due_publisher(List *starts)
{
	RcStart    *what;

	if (is_paused(RC_WORKER_OUTBOX, "") ||
		rc_execute("SELECT 1 FROM rappel_conso.outbox LIMIT 1", NULL) == 0)
		return starts;
	what = palloc0(sizeof(RcStart));
	what->kind = RC_WORKER_OUTBOX;
	what->name = "";
	return add_start(starts, what);
}

/* Now and then somebody looks how much there is for streams without worker. */
List *
rc_due_watermarks(List *starts)
{
	static TimestampTz polled_at = 0;
	RcStart    *what;

	if (!rc_time_passed(polled_at, WATERMARK_INTERVAL) ||
		rc_children_free_slots() < 2 ||
		rc_execute("SELECT FROM rappel_conso.stream_offset o"
				   " JOIN rappel_conso.stream s ON s.name = o.stream"
				   " LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name"
				   " WHERE s.paused OR t.state IN ('failed', 'waiting') LIMIT 1",
				   NULL) == 0)
		return starts;
	polled_at = GetCurrentTimestamp();
	what = palloc0(sizeof(RcStart));
	what->kind = RC_WORKER_WATERMARKS;
	what->name = "";
	return add_start(starts, what);
}

/*
 * Add it, unless it runs; the list lives as long as what is in it.  A worker
 * whose owner is gone is told to end: it looks by itself, but not while its
 * statement or the API keeps it.
 */
static List *
add_start(List *starts, RcStart *what)
{
	int			pid = rc_lock_holder(MyDatabaseId, what->kind, what->name,
									 what->number);
	MemoryContext old;

	if (pid != 0 && pid != MyProcPid && what->owner_name != NULL &&
		!OidIsValid(what->owner))
		(void) kill(pid, SIGTERM);
	if (pid != 0 || rc_child_exists(what->kind, what->name, what->number))
		return starts;
	old = MemoryContextSwitchTo(rc_round_context);
	starts = lappend(starts, what);
	MemoryContextSwitchTo(old);
	return starts;
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
