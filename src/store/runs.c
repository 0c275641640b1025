/*-------------------------------------------------------------------------
 *
 * runs.c
 *	  State of sources: runs, their tasks, and the cursor for each
 *	  destination.
 *
 * It decides nothing: what a run does is in src/worker/run.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "utils/elog.h"
#include "utils/lsyscache.h"

static void param_error(RcParams *params, const ErrorData *error);

/*
 * What the run header of our own messages begins with, in the current
 * context; the run's id follows.
 */
char *
rc_run_prefix(void)
{
	Oid			schema = get_namespace_oid(RC_SCHEMA, false);

	return psprintf(UINT64_FORMAT ".%u.", GetSystemIdentifier(),
					get_relname_relid("run", schema));
}

/*
 * Make a run that is running; returns its id.  "destination" may be NULL
 * while it is not known yet.
 */
int64
rc_run_start(const char *source, const char *trigger, bool full_sync,
			 const char *destination)
{
	RcParams	params = {0};
	int64		run;

	rc_param_text(&params, source);
	rc_param_text(&params, trigger);
	rc_param_bool(&params, full_sync);
	rc_param_text(&params, destination);
	rc_query_begin();
	rc_query("INSERT INTO rappel_conso.run"
			 " (source, state, trigger, full_sync, destination)"
			 " VALUES ($1, 'running', $2, $3, $4) RETURNING id", &params);
	run = rc_column_int8(0, 1, 0);
	rc_query_end();
	return run;
}

/*
 * Begin a run that was queued; false when it is not queued any more.
 */
bool
rc_run_take(int64 run, const char *destination, bool *full_sync)
{
	RcParams	params = {0};
	bool		taken;

	rc_param_int8(&params, run);
	rc_param_text(&params, destination);
	rc_query_begin();
	taken = rc_query("UPDATE rappel_conso.run SET state = 'running',"
					 " started_at = pg_catalog.clock_timestamp(), destination = $2"
					 " WHERE id = $1 AND state = 'queued' RETURNING full_sync",
					 &params) == 1;
	if (taken)
		*full_sync = rc_column_bool(0, 1);
	rc_query_end();
	return taken;
}

/* End a run that is queued and cannot begin. */
void
rc_run_refuse(int64 run, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	param_error(&params, error);
	rc_param_text(&params, error->hint);
	rc_execute("UPDATE rappel_conso.run SET state = 'failed',"
			   " finished_at = pg_catalog.clock_timestamp(), sqlstate = $2,"
			   " error = $3, hint = $4 WHERE id = $1 AND state = 'queued'",
			   &params);
}

/* Write down where the records of a run go. */
void
rc_run_destination(int64 run, const char *destination)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_text(&params, destination);
	rc_execute("UPDATE rappel_conso.run SET destination = $2"
			   " WHERE id = $1 AND destination IS DISTINCT FROM $2", &params);
}

/*
 * Add to the counters of a run; a run that is gone is no error.  Of streams
 * only the source's own one counts; "stream" is NULL for the run itself.
 */
void
rc_run_add(int64 run, const char *stream, const RcCounts *counts)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_int8(&params, counts->fetched);
	rc_param_int8(&params, counts->published);
	rc_param_int8(&params, counts->inserted);
	rc_param_int8(&params, counts->updated);
	rc_param_int8(&params, counts->unchanged);
	rc_param_int8(&params, counts->dead);
	rc_param_text(&params, stream);
	rc_execute("UPDATE rappel_conso.run r SET fetched = fetched + $2,"
			   " published = published + $3, inserted = inserted + $4,"
			   " updated = updated + $5, unchanged = unchanged + $6,"
			   " dead = dead + $7 WHERE id = $1 AND ($8 IS NULL OR EXISTS"
			   "  (SELECT FROM rappel_conso.source s"
			   "   WHERE s.name = r.source AND s.stream = $8))", &params);
}

/* End a run as success, failed or cancelled; "error" is NULL for success. */
void
rc_run_finish(int64 run, const char *state, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_text(&params, state);
	param_error(&params, error);
	rc_param_text(&params, error ? error->detail : NULL);
	rc_param_text(&params, error ? error->hint : NULL);
	rc_param_text(&params, error ? error->context : NULL);
	rc_execute("UPDATE rappel_conso.run SET state = $2,"
			   " finished_at = pg_catalog.clock_timestamp(), sqlstate = $3,"
			   " error = $4, detail = $5, hint = $6, context = $7"
			   " WHERE id = $1 AND state = 'running'", &params);
	if (error == NULL)
		return;

	/* a wait for a retry can end so, too */
	memset(&params, 0, sizeof(params));
	rc_param_int8(&params, run);
	rc_param_text(&params, state);
	rc_execute("UPDATE rappel_conso.task SET state = $2, next_try_at = NULL,"
			   " finished_at = pg_catalog.clock_timestamp() WHERE run = $1"
			   " AND state IN ('queued', 'running', 'up_for_retry')", &params);
}

/*
 * Mark runs of the source that say "running" as failed: the caller holds the
 * source's lock, so whoever ran them is dead.  Returns their number.
 */
int
rc_run_abandon(const char *source)
{
	RcParams	params = {0};
	uint64		rows;

	rc_param_text(&params, source);
	rc_query_begin();
	rc_query("UPDATE rappel_conso.task SET state = 'failed',"
			 " finished_at = pg_catalog.clock_timestamp(), sqlstate = '57P02',"
			 " error = 'the process ended before the task did'"
			 " WHERE state IN ('queued', 'running', 'up_for_retry')"
			 " AND run IN (SELECT id FROM rappel_conso.run"
			 " WHERE source = $1 AND state = 'running')", &params);
	rows = rc_query("UPDATE rappel_conso.run SET state = 'failed',"
					" finished_at = pg_catalog.clock_timestamp(),"
					" sqlstate = '57P02',"
					" error = 'the process ended before the run did',"
					" hint = 'The next run goes on from the last commit; see the server log for the cause.'"
					" WHERE source = $1 AND state = 'running'", &params);
	rc_query_end();
	return (int) rows;
}

/*
 * Set the state of a task of a run, and make it where it is missing.
 * next_try is 0 but for up_for_retry; error NULL keeps the newest one.
 */
void
rc_task_set(int64 run, const char *task, const char *state, int attempt,
			TimestampTz next_try, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_text(&params, task);
	rc_param_text(&params, state);
	rc_param_int4(&params, attempt);
	rc_param_time(&params, next_try);
	param_error(&params, error);
	rc_execute("INSERT INTO rappel_conso.task AS t"
			   " (run, name, state, attempt, next_try_at, sqlstate, error, started_at, finished_at)"
			   " VALUES ($1, $2, $3, $4, $5, $6, $7,"
			   "  CASE WHEN $3 = 'running' THEN pg_catalog.clock_timestamp() END,"
			   "  CASE WHEN $3 NOT IN ('queued', 'running', 'up_for_retry') THEN pg_catalog.clock_timestamp() END)"
			   " ON CONFLICT (run, name) DO UPDATE SET state = $3, attempt = $4,"
			   "  next_try_at = $5, sqlstate = COALESCE($6, t.sqlstate),"
			   "  error = COALESCE($7, t.error),"
			   "  started_at = COALESCE(t.started_at, EXCLUDED.started_at),"
			   "  finished_at = EXCLUDED.finished_at", &params);
}

/* SQLSTATE and message of an error, or two nulls. */
static void
param_error(RcParams *params, const ErrorData *error)
{
	rc_param_text(params, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	rc_param_text(params, error ? error->message : NULL);
}

/*
 * How far the source has been read for the destination, in the current
 * context; made where it is missing.
 */
RcSourceState *
rc_source_state(const RcSource *source, const char *destination)
{
	RcParams	params = {0};
	RcSourceState *state = palloc0(sizeof(RcSourceState));

	rc_param_text(&params, source->name);
	rc_param_text(&params, destination);
	rc_query_begin();
	rc_query("INSERT INTO rappel_conso.source_state (source, destination)"
			 " VALUES ($1, $2) ON CONFLICT DO NOTHING", &params);
	rc_query("SELECT t.epoch, t.cursor_value, t.next_offset, t.complete,"
			 " t.data_processed, t.records_count,"
			 " COALESCE(t.full_at + s.full_interval < pg_catalog.now(), false),"
			 " t.full_at IS NULL"
			 " FROM rappel_conso.source_state t"
			 " JOIN rappel_conso.source s ON s.name = t.source"
			 " WHERE t.source = $1 AND t.destination = $2", &params);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("source \"%s\" does not exist", source->name)));
	state->epoch = rc_column_int8(0, 1, 0);
	state->cursor = rc_column_text(0, 2);
	state->next_offset = rc_column_int8(0, 3, 0);
	state->complete = rc_column_bool(0, 4);
	state->data_processed = rc_column_text(0, 5);
	state->records_count = rc_column_int8(0, 6, -1);
	state->full_due = rc_column_bool(0, 7);
	state->first_pass = rc_column_bool(0, 8);
	rc_query_end();
	return state;
}

/*
 * Move the cursor and the number of the next record: the fence of a source.
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE when another run or a change
 * of the definition came between; then nothing of the transaction may stay.
 * "cursor" NULL keeps the old one.  "state" is brought up to date.
 */
void
rc_source_advance(const RcSource *source, const char *destination,
				  RcSourceState *state, const char *cursor, int64 next_offset)
{
	RcParams	params = {0};

	rc_param_text(&params, source->name);
	rc_param_text(&params, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_int8(&params, state->next_offset);
	rc_param_text(&params, cursor);
	rc_param_int8(&params, next_offset);
	if (rc_execute("UPDATE rappel_conso.source_state"
				   " SET cursor_value = COALESCE($5, cursor_value),"
				   " next_offset = $6, complete = complete AND $5 IS NULL"
				   " WHERE source = $1 AND destination = $2 AND epoch = $3"
				   " AND next_offset = $4", &params) != 1)
		rc_source_changed(source);
	state->next_offset = next_offset;
}

/* The API was asked, and had nothing new. */
void
rc_source_checked(const RcSource *source, const char *destination)
{
	RcParams	params = {0};

	rc_param_text(&params, source->name);
	rc_param_text(&params, destination);
	rc_execute("UPDATE rappel_conso.source_state"
			   " SET checked_at = pg_catalog.clock_timestamp()"
			   " WHERE source = $1 AND destination = $2", &params);
}

/* What the API said of our quota of calls; reset 0: it did not say when. */
void
rc_source_quota(const RcSource *source, const char *destination, int64 limit,
				int64 remaining, TimestampTz reset)
{
	RcParams	params = {0};

	rc_param_text(&params, source->name);
	rc_param_text(&params, destination);
	rc_param_int8(&params, limit);
	rc_param_int8(&params, remaining);
	rc_param_time(&params, reset);
	rc_execute("UPDATE rappel_conso.source_state SET quota_limit = $3,"
			   " quota_remaining = $4, quota_reset_at = $5"
			   " WHERE source = $1 AND destination = $2"
			   " AND (quota_limit, quota_remaining, quota_reset_at)"
			   " IS DISTINCT FROM ($3, $4, $5)", &params);
}

/*
 * The windows of a backfill as a List of RcWindow, in the current context;
 * NIL for a run of another kind.
 */
List *
rc_run_windows(int64 run)
{
	RcParams	params = {0};
	List	   *windows = NIL;
	RcWindow   *array;
	uint64		n;

	rc_param_int8(&params, run);
	rc_query_begin();
	n = rc_query("SELECT name,"
				 " pg_catalog.to_char(window_from AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
				 " pg_catalog.to_char(window_to AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
				 " state = 'success' FROM rappel_conso.task"
				 " WHERE run = $1 AND window_from IS NOT NULL"
				 " ORDER BY window_from", &params);
	array = SPI_palloc(sizeof(RcWindow) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		array[i].task = rc_column_text(i, 1);
		array[i].from = rc_column_text(i, 2);
		array[i].to = rc_column_text(i, 3);
		array[i].done = rc_column_bool(i, 4);
	}
	rc_query_end();
	for (uint64 i = 0; i < n; i++)
		windows = lappend(windows, &array[i]);
	return windows;
}

/*
 * Put the cursor back to where the pass began (NULL: there was none): records
 * were missing, and nobody knows which.
 */
void
rc_source_rewind(const RcSource *source, const char *destination,
				 RcSourceState *state, const char *cursor)
{
	RcParams	params = {0};

	rc_param_text(&params, source->name);
	rc_param_text(&params, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_text(&params, cursor);
	rc_execute("UPDATE rappel_conso.source_state SET cursor_value = $4"
			   " WHERE source = $1 AND destination = $2 AND epoch = $3",
			   &params);
}

/*
 * A cursor that is a time, moved back by the source's overlap: ISO 8601 in
 * UTC, in the current context.
 */
char *
rc_cursor_before(const char *cursor, const RcSource *source)
{
	RcParams	params = {0};
	char	   *before;

	rc_param_text(&params, cursor);
	rc_param_text(&params, source->name);
	rc_query_begin();
	rc_query("SELECT pg_catalog.to_char(($1::timestamptz - s.\"overlap\")"
			 " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
			 " FROM rappel_conso.source s WHERE s.name = $2", &params);
	before = SPI_processed == 1 ? rc_column_text(0, 1) : NULL;
	rc_query_end();
	return before;
}

/*
 * Note that everything up to data_processed is safe; "full" when the run
 * began at the start.  Fenced as rc_source_advance.
 */
void
rc_source_complete(const RcSource *source, const char *destination,
				   RcSourceState *state, const char *data_processed,
				   int64 records_count, bool full)
{
	RcParams	params = {0};

	rc_param_text(&params, source->name);
	rc_param_text(&params, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_text(&params, data_processed);
	rc_param_int8(&params, records_count);
	rc_param_bool(&params, full);
	if (rc_execute("UPDATE rappel_conso.source_state SET complete = true,"
				   " data_processed = $4, records_count = $5,"
				   " checked_at = pg_catalog.now(),"
				   " full_at = CASE WHEN $6 THEN pg_catalog.now() ELSE full_at END"
				   " WHERE source = $1 AND destination = $2 AND epoch = $3",
				   &params) != 1)
		rc_source_changed(source);
}

/* The definition is not the one that the run has read: it must begin anew. */
void
rc_source_changed(const RcSource *source)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("source \"%s\" changed while it was read", source->name),
			 errhint("Run it again.")));
}
