/*-------------------------------------------------------------------------
 *
 * task_table.c
 *	  Reads and writes rappel_conso.task: the tasks of runs, among them the
 *	  windows of a backfill.
 *
 * Nothing is decided here: what a task does is in src/worker.
 *
 *-------------------------------------------------------------------------
 */
#include "store/task_table.h"

#include "store/query.h"

/*
 * Set the state of a task of a run; a missing row is inserted. next_try is 0
 * except for up_for_retry.  If "error" is NULL, the last error is kept.
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
	rc_param_text(&params, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	rc_param_error_text(&params, error ? error->message : NULL);
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

/*
 * Load the windows of a backfill as a List of RcWindow, in the current
 * context; NIL for other runs.
 */
List *
rc_run_windows(int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *windows = NIL;
	RcWindow   *array;
	uint64		n;

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
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
	rc_query_end(&scope);
	for (uint64 i = 0; i < n; i++)
		windows = lappend(windows, &array[i]);
	return windows;
}
