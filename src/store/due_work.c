/*-------------------------------------------------------------------------
 *
 * due_work.c
 *	  Which workers should run now, according to definitions and state: runs
 *	  of sources, workers of streams, the worker that publishes the outbox.
 *
 * Nothing here knows which workers are running already, or starts one: see
 * scheduler_due.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/due_work.h"

#include "store/error_class.h"
#include "store/query.h"
#include "store/stream_state.h"
#include "store/subtransaction.h"

static List *read_rows(uint64 n);
static void look_for_messages(void *arg);

/*
 * Queued runs, and scheduled sources with the time until their next run is
 * due, as RcDueWork in the current context; those that have waited longest
 * come first.  Times in the future are ignored: the clock may have been set
 * back since they were stored.  When less than a tenth of an API's quota is
 * left, its sources run at a quarter of their rate.
 */
List *
rc_due_work_runs(void)
{
	RcQueryScope scope;
	List	   *due;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT s.name, 0, s.owner, k.oid, q.id,"
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
	due = read_rows(n);
	rc_query_end(&scope);
	return due;
}

/*
 * The workers that streams should have, as RcDueWork in the current context.
 * A stream needs no more workers than its topics have partitions; as long as
 * that number is unknown it gets one, which finds out.  Workers are sorted so
 * that each stream gets its first worker before any gets a second, and roles
 * take turns, with at most most_per_owner workers each: a role with thousands
 * of streams must not make the others wait.  Neither must a stream with very
 * many topics, for each of which = ANY would search the index of offsets.
 */
List *
rc_due_work_streams(int most_per_owner)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *due;
	uint64		n;

	rc_param_int4(&params, most_per_owner);
	rc_query_begin(&scope);
	n = rc_query("SELECT d.name, d.number, d.owner, d.oid,"
				 " NULL::int8, NULL::int8 FROM ("
				 "SELECT s.name, w.number, s.owner, k.oid,"
				 " pg_catalog.row_number() OVER (PARTITION BY s.owner ORDER BY w.number, s.name) AS turn"
				 " FROM rappel_conso.stream s"
				 " JOIN rappel_conso.known_role k ON k.name = s.owner"
				 " CROSS JOIN LATERAL (SELECT COALESCE(max(o.partition) + 1, 1) AS n"
				 "  FROM rappel_conso.stream_offset o"
				 "  WHERE s.workers > 1 AND o.stream = s.name"
				 "  AND s.topics @> ARRAY[o.topic]) p"
				 " CROSS JOIN LATERAL pg_catalog.generate_series(0, least(s.workers, p.n) - 1) AS w (number)"
				 " LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name"
				 " WHERE NOT s.paused AND pg_catalog.cardinality(s.topics) > 0"
				 " AND NOT (COALESCE(t.state, '') IN ('failed', 'waiting')"
				 "  AND COALESCE(" RC_RETRY_IS_DUE_LATER("t") ", false))"
				 ") d WHERE d.turn <= $1"
				 " ORDER BY d.number, d.turn, d.name", &params);
	due = read_rows(n);
	rc_query_end(&scope);
	return due;
}

/* Make RcDueWork of the rows of either query. */
static List *
read_rows(uint64 n)
{
	List	   *due = NIL;

	for (uint64 i = 0; i < n; i++)
	{
		RcDueWork  *work = SPI_palloc(sizeof(RcDueWork));

		work->name = rc_column_text(i, 1);
		work->number = (int) rc_column_int8(i, 2, 0);
		work->owner_name = rc_column_text(i, 3);
		work->known_owner = (Oid) rc_column_int8(i, 4, InvalidOid);
		work->run = rc_column_int8(i, 5, 0);
		work->wait_ms = rc_column_int8(i, 6, 0);
		due = rc_result_append(due, work);
	}
	return due;
}

/*
 * Whether the outbox has rows to publish.  A damaged block counts as one: the
 * publisher knows how to read around it.  From PostgreSQL 17 on, a scan reads
 * ahead, so even a block behind the first row raises the error.
 */
bool
rc_due_work_publisher(void)
{
	bool		found = true;
	ErrorData  *error = rc_subtransaction_try(look_for_messages, &found);

	if (error == NULL)
		return found;
	if (!rc_error_is_damage(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	return true;
}

static void
look_for_messages(void *arg)
{
	*(bool *) arg =
		rc_execute("SELECT 1 FROM rappel_conso.outbox LIMIT 1", NULL) > 0;
}

/*
 * Whether there are partitions whose watermarks must be read by the scheduler
 * because no worker of their stream reads them.
 */
bool
rc_due_work_watermarks(void)
{
	return rc_execute("SELECT FROM rappel_conso.stream_offset o"
					  " JOIN rappel_conso.stream s ON s.name = o.stream"
					  " LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name"
					  " WHERE s.paused OR t.state IN ('failed', 'waiting') LIMIT 1",
					  NULL) > 0;
}
