/*-------------------------------------------------------------------------
 *
 * run_request.c
 *	  Runs from the caller's side: requesting a run, waiting for it and
 *	  reading its result, in rappel_conso.run.
 *
 * While waiting, the latest committed row must be read, whatever the isolation
 * level.  What a run's worker writes is in run_table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/run_request.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "store/query.h"

/* Number of columns that rc_sync_now() and rc_wait() return. */
#define RUN_COLUMNS		9

/*
 * Queue a run of a source, or find the one that is queued already.  Returns
 * its id, or 0 if there is no such source.
 */
int64
rc_run_queue(const char *source, bool full_sync)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		run = 0;

	rc_param_text(&params, source);
	rc_param_bool(&params, full_sync);
	rc_query_begin(&scope);
	if (rc_query("INSERT INTO rappel_conso.run AS r (source, owner, state, trigger, full_sync, started_at)"
				 " SELECT s.name, s.owner, 'queued', 'trigger', $2, NULL"
				 " FROM rappel_conso.source s WHERE s.name = $1"
				 " ON CONFLICT (source) WHERE state = 'queued' AND trigger = 'trigger'"
				 " DO UPDATE SET full_sync = r.full_sync OR EXCLUDED.full_sync"
				 " RETURNING id", &params) == 1)
		run = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return run;
}

/*
 * Queue a backfill; the arguments are timestamptz, timestamptz and interval.
 * Returns the run's id.  Raises the errors of rappel_conso.backfill().
 */
int64
rc_run_queue_backfill(const char *source, Datum from, Datum to, Datum every)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		run;

	rc_param_text(&params, source);
	rc_param_datum(&params, TIMESTAMPTZOID, from);
	rc_param_datum(&params, TIMESTAMPTZOID, to);
	rc_param_datum(&params, INTERVALOID, every);
	rc_query_begin(&scope);
	rc_query("SELECT rappel_conso.backfill($1, $2, $3, $4)", &params);
	run = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return run;
}

/* Cancel a queued run; false if it has started, or does not exist. */
bool
rc_run_unqueue(int64 run)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	if (rc_execute("UPDATE rappel_conso.run SET state = 'cancelled',"
				   " finished_at = pg_catalog.clock_timestamp(),"
				   " sqlstate = '57014', error = 'cancelled before it began'"
				   " WHERE id = $1 AND state = 'queued'", &params) != 1)
		return false;
	rc_execute("UPDATE rappel_conso.task SET state = 'cancelled',"
			   " finished_at = pg_catalog.clock_timestamp()"
			   " WHERE run = $1 AND state = 'queued'", &params);
	return true;
}

/*
 * The transaction that queued a run; InvalidTransactionId if it is not queued.
 */
TransactionId
rc_run_queued_xmin(int64 run)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	return rc_query_xmin("SELECT xmin::text FROM rappel_conso.run"
						 " WHERE id = $1 AND state = 'queued'", &params);
}

/* Read a run's latest committed state; NULL if it does not exist. */
RcRunRow *
rc_run_load(int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcRunRow   *row = palloc0(sizeof(RcRunRow));
	bool		found;

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	found = rc_query_latest("SELECT source, state,"
							" CASE WHEN owner_oid = rappel_conso.role_oid(owner) THEN owner_oid END"
							" FROM rappel_conso.run WHERE id = $1",
							&params) == 1;
	if (found)
	{
		row->source = rc_column_text(0, 1);
		row->state = rc_column_text(0, 2);
		row->owner = (Oid) rc_column_int8(0, 3, InvalidOid);
	}
	rc_query_end(&scope);
	return found ? row : NULL;
}

/*
 * A run's latest committed row as the functions return it; "desc" is that of
 * their result.
 */
HeapTuple
rc_run_tuple(int64 run, TupleDesc desc)
{
	RcQueryScope scope;
	RcParams	params = {0};
	Datum		values[RUN_COLUMNS];
	bool		nulls[RUN_COLUMNS];
	MemoryContext old;
	HeapTuple	tuple;

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT id, state, fetched, published, inserted,"
						" updated, unchanged, dead,"
						" finished_at - started_at"
						" FROM rappel_conso.run WHERE id = $1", &params) != 1)
		elog(ERROR, "run %lld has no row", (long long) run);
	for (int i = 0; i < RUN_COLUMNS; i++)
	{
		NullableDatum value = rc_column_any(0, i + 1);

		values[i] = value.value;
		nulls[i] = value.isnull;
	}
	old = MemoryContextSwitchTo(rc_query_result_context());
	tuple = heap_form_tuple(desc, values, nulls);
	MemoryContextSwitchTo(old);
	rc_query_end(&scope);
	return tuple;
}

/* Read the result of a run, which must have a row. */
RcRunOutcome *
rc_run_outcome(int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcRunOutcome *outcome = palloc0(sizeof(RcRunOutcome));

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT state, sqlstate, error, detail, hint, source"
						" FROM rappel_conso.run WHERE id = $1", &params) != 1)
		elog(ERROR, "run %lld has no row", (long long) run);
	outcome->state = rc_column_text(0, 1);
	outcome->sqlstate = rc_column_text(0, 2);
	outcome->error = rc_column_text(0, 3);
	outcome->detail = rc_column_text(0, 4);
	outcome->hint = rc_column_text(0, 5);
	outcome->source = rc_column_text(0, 6);
	rc_query_end(&scope);
	return outcome;
}

RcRunProgress
rc_run_progress(int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcRunProgress progress = {0};

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT r.fetched, pg_catalog.count(t.window_from),"
						" pg_catalog.count(*) FILTER (WHERE t.window_from IS NOT NULL"
						"  AND t.state = 'success')"
						" FROM rappel_conso.run r"
						" LEFT JOIN rappel_conso.task t ON t.run = r.id"
						" WHERE r.id = $1 AND r.state = 'running' GROUP BY r.id",
						&params) == 1)
	{
		progress.fetched = rc_column_int8(0, 1, 0);
		progress.windows = rc_column_int8(0, 2, 0);
		progress.done = rc_column_int8(0, 3, 0);
	}
	rc_query_end(&scope);
	return progress;
}

/*
 * The id of the source's running run, or else a lower limit for that of its
 * next one.
 */
int64
rc_run_next(const char *source)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		run;

	rc_param_text(&params, source);
	rc_query_begin(&scope);
	rc_query_latest("SELECT COALESCE(max(id) FILTER (WHERE state = 'running'),"
					" max(id) + 1, 1) FROM rappel_conso.run WHERE source = $1",
					&params);
	run = rc_column_int8(0, 1, 1);
	rc_query_end(&scope);
	return run;
}

/*
 * The id of the first run from id "from" on that has started, if it is not a
 * backfill and, with "full_sync", is a full sync; else 0.  Runs that crashed
 * come last.  If "another" is set, another run of the source is running now,
 * so a run still marked running is not considered.  Runs of an earlier source
 * of the same name do not count.
 */
int64
rc_run_joined(const char *source, int64 from, bool full_sync, bool another)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		run = 0;

	rc_param_text(&params, source);
	rc_param_int8(&params, from);
	rc_param_bool(&params, full_sync);
	rc_param_bool(&params, another);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT r.id, r.window_from IS NULL AND (r.full_sync OR NOT $3)"
						" FROM rappel_conso.run r JOIN rappel_conso.source s"
						" ON s.name = r.source AND s.owner = r.owner"
						" WHERE r.source = $1 AND r.id >= $2 AND r.state <> 'queued'"
						" AND NOT ($4 AND r.state = 'running')"
						" AND r.owner_oid = rappel_conso.role_oid(s.owner)"
						" ORDER BY COALESCE(r.sqlstate, '') = '57P02', r.id LIMIT 1",
						&params) > 0 && rc_column_bool(0, 2))
		run = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return run;
}
