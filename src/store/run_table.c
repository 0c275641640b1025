/*-------------------------------------------------------------------------
 *
 * run_table.c
 *	  Reads and writes rappel_conso.run: state, errors and counters of runs.
 *
 * Nothing is decided here: src/worker/run_worker.c does that.  The position up
 * to which a source has been read is in source_state.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/run_table.h"

#include "utils/elog.h"

#include "store/query.h"

/*
 * Insert a run in state running; returns its id.  "destination" may be NULL
 * while it is not known yet.
 */
int64
rc_run_start(const char *source, const char *trigger, bool full_sync,
			 const char *destination)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		run;

	rc_param_text(&params, source);
	rc_param_text(&params, trigger);
	rc_param_bool(&params, full_sync);
	rc_param_text(&params, destination);
	rc_query_begin(&scope);
	rc_query("INSERT INTO rappel_conso.run"
			 " (source, owner, state, trigger, full_sync, destination)"
			 " VALUES ($1, (SELECT s.owner FROM rappel_conso.source s WHERE s.name = $1),"
			 "  'running', $2, $3, $4) RETURNING id", &params);
	run = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return run;
}

/*
 * Set a queued run to running.  Returns false if it is not queued any more, or
 * if an open transaction has it locked, because it requests the run again.
 */
bool
rc_run_claim(int64 run, const char *destination, bool *full_sync)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		taken;

	rc_param_int8(&params, run);
	rc_param_text(&params, destination);
	rc_query_begin(&scope);
	taken = rc_query("UPDATE rappel_conso.run SET state = 'running',"
					 " started_at = pg_catalog.clock_timestamp(), destination = $2,"
					 " reads = rappel_conso.reads(source)"
					 " WHERE id = (SELECT id FROM rappel_conso.run WHERE id = $1"
					 "  AND state = 'queued' FOR UPDATE SKIP LOCKED)"
					 " RETURNING full_sync",
					 &params) == 1;
	if (taken)
		*full_sync = rc_column_bool(0, 1);
	rc_query_end(&scope);
	return taken;
}

/*
 * Set a queued run to failed, since it cannot start.  Run 0 is a scheduled
 * run, which has no row yet: one is inserted unless the newest run of the
 * source failed with the same message.
 */
void
rc_run_refuse(int64 run, const char *source, const ErrorData *error)
{
	RcQueryScope scope;
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_error(&params, error);
	rc_param_text(&params, source);
	rc_query_begin(&scope);
	if (run > 0)
		rc_query("UPDATE rappel_conso.run SET state = 'failed',"
				 " finished_at = pg_catalog.clock_timestamp(), sqlstate = $2,"
				 " error = $3, detail = $4, hint = $5, context = $6"
				 " WHERE id = $1 AND state = 'queued' AND source = $7",
				 &params);
	else
		rc_query("INSERT INTO rappel_conso.run (source, owner, state, trigger,"
				 " finished_at, sqlstate, error, detail, hint, context)"
				 " SELECT s.name, s.owner, 'failed', 'schedule',"
				 " pg_catalog.clock_timestamp(), $2, $3, $4, $5, $6"
				 " FROM rappel_conso.source s"
				 " WHERE $1 = 0 AND s.name = $7 AND NOT EXISTS (SELECT FROM ("
				 "  SELECT r.state, r.error FROM rappel_conso.run r"
				 "  WHERE r.source = s.name AND r.owner = s.owner"
				 "  ORDER BY r.id DESC LIMIT 1) r"
				 "  WHERE r.state = 'failed' AND r.error = $3)", &params);
	rc_query_end(&scope);
}

/*
 * Cancel queued runs whose source was deleted or given to another role since:
 * of source "source", or of all if NULL.  The present owner of a source of
 * that name has not requested them.  Returns their number.
 */
int
rc_run_cancel_orphans(const char *source)
{
	RcParams	params = {0};

	rc_param_text(&params, source);
	return (int) rc_execute("WITH orphan AS (UPDATE rappel_conso.run SET state = 'cancelled',"
							" finished_at = pg_catalog.clock_timestamp(), sqlstate = '57014',"
							" error = 'the source was deleted, or given to another role'"
							" WHERE id IN (SELECT r.id FROM rappel_conso.run r"
							"  WHERE r.state = 'queued' AND r.source = COALESCE($1, r.source)"
							"  AND NOT EXISTS (SELECT FROM rappel_conso.source s"
							"   LEFT JOIN rappel_conso.known_role k ON k.name = s.owner"
							"   WHERE s.name = r.source AND s.owner = r.owner"
							"   AND COALESCE(k.oid, r.owner_oid, 0) = COALESCE(r.owner_oid, 0))"
							"  FOR UPDATE OF r SKIP LOCKED) RETURNING id)"
							" UPDATE rappel_conso.task SET state = 'cancelled',"
							" finished_at = pg_catalog.clock_timestamp()"
							" WHERE run IN (SELECT id FROM orphan) AND state = 'queued'",
							&params);
}

/* Store the destination of a run's records. */
void
rc_run_destination(int64 run, const char *destination)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_text(&params, destination);
	rc_execute("UPDATE rappel_conso.run SET destination = $2"
			   " WHERE id = $1 AND destination IS DISTINCT FROM $2", &params);
}

/* Add counters. */
void
rc_counts_add(RcCounts *to, const RcCounts *more)
{
	to->fetched += more->fetched;
	to->published += more->published;
	to->inserted += more->inserted;
	to->updated += more->updated;
	to->unchanged += more->unchanged;
	to->dead += more->dead;
	to->withdrawn += more->withdrawn;
}

/*
 * Add to the counters of a run and of its task.  It is not an error if the run
 * was deleted.  "stream" is NULL for the run's own worker; of streams only the
 * source's own stream counts, and none for an earlier source of that name.  A
 * run that did not wait for its stream has no task for what the stream applies
 * later; the task is inserted here.
 *
 * The run's row is locked before that of the task, as everywhere, to avoid
 * deadlocks.
 */
void
rc_run_add(int64 run, const char *task, const char *stream,
		   const RcCounts *counts)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_text(&params, task);
	rc_param_text(&params, stream);
	rc_param_int8(&params, counts->fetched);
	rc_param_int8(&params, counts->published);
	rc_param_int8(&params, counts->inserted);
	rc_param_int8(&params, counts->updated);
	rc_param_int8(&params, counts->unchanged);
	rc_param_int8(&params, counts->dead);
	rc_param_int8(&params, counts->withdrawn);
	rc_execute("WITH counted AS (UPDATE rappel_conso.run r"
			   " SET fetched = fetched + $4, published = published + $5,"
			   " inserted = inserted + $6, updated = updated + $7,"
			   " unchanged = unchanged + $8, dead = dead + $9,"
			   " withdrawn = withdrawn + $10 WHERE id = $1 AND ($3 IS NULL OR EXISTS"
			   "  (SELECT FROM rappel_conso.source s"
			   "   WHERE s.name = r.source AND s.stream = $3 AND s.owner = r.owner"
			   "   AND r.owner_oid = rappel_conso.role_oid(s.owner))) RETURNING id)"
			   " INSERT INTO rappel_conso.task AS t"
			   " (run, name, state, started_at, finished_at, fetched, published,"
			   "  inserted, updated, unchanged, dead, withdrawn)"
			   " SELECT id, $2, 'success', pg_catalog.clock_timestamp(),"
			   " pg_catalog.clock_timestamp(), $4, $5, $6, $7, $8, $9, $10 FROM counted"
			   " ON CONFLICT (run, name) DO UPDATE SET"
			   " fetched = t.fetched + EXCLUDED.fetched,"
			   " published = t.published + EXCLUDED.published,"
			   " inserted = t.inserted + EXCLUDED.inserted,"
			   " updated = t.updated + EXCLUDED.updated,"
			   " unchanged = t.unchanged + EXCLUDED.unchanged,"
			   " dead = t.dead + EXCLUDED.dead,"
			   " withdrawn = t.withdrawn + EXCLUDED.withdrawn", &params);
}

/* End a run as success, failed or cancelled; "error" is NULL for success. */
void
rc_run_finish(int64 run, const char *state, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_int8(&params, run);
	rc_param_text(&params, state);
	rc_param_error(&params, error);
	rc_execute("UPDATE rappel_conso.run SET state = $2,"
			   " finished_at = pg_catalog.clock_timestamp(), sqlstate = $3,"
			   " error = $4, detail = $5, hint = $6, context = $7"
			   " WHERE id = $1 AND state = 'running'", &params);
	if (error == NULL)
		return;

	/* up_for_retry as well: a run can end while a task waits for its retry */
	memset(&params, 0, sizeof(params));
	rc_param_int8(&params, run);
	rc_param_text(&params, state);
	rc_execute("UPDATE rappel_conso.task SET state = CASE WHEN state = 'queued'"
			   " AND $2 = 'failed' THEN 'upstream_failed' ELSE $2 END,"
			   " next_try_at = NULL,"
			   " finished_at = pg_catalog.clock_timestamp() WHERE run = $1"
			   " AND state IN ('queued', 'running', 'up_for_retry')", &params);
}

/*
 * Set running runs of the source to failed.  The caller holds the source's
 * lock, so the processes that executed them have exited.  Returns their
 * number.
 */
int
rc_run_mark_crashed(const char *source)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		rows;

	rc_param_text(&params, source);
	rc_query_begin(&scope);
	rows = rc_query("WITH dead AS (UPDATE rappel_conso.run SET state = 'failed',"
					" finished_at = pg_catalog.clock_timestamp(),"
					" sqlstate = '57P02',"
					" error = 'the process of the run ended unexpectedly',"
					" hint = 'See the server log for the cause. The next run resumes from the last commit.'"
					" WHERE source = $1 AND state = 'running' RETURNING id),"
					" task AS (UPDATE rappel_conso.task SET finished_at = pg_catalog.clock_timestamp(),"
					" state = CASE state WHEN 'queued' THEN 'upstream_failed' ELSE 'failed' END,"
					" sqlstate = CASE state WHEN 'queued' THEN sqlstate ELSE '57P02' END,"
					" error = CASE state WHEN 'queued' THEN error"
					"  ELSE 'the process ended before the task did' END"
					" WHERE state IN ('queued', 'running', 'up_for_retry')"
					" AND run IN (SELECT id FROM dead))"
					" SELECT FROM dead", &params);
	rc_query_end(&scope);
	return (int) rows;
}

/* Whether the previous run of the source succeeded, or there was none. */
bool
rc_run_last_succeeded(const char *source, int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		succeeded;

	rc_param_text(&params, source);
	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	succeeded = rc_query("SELECT state = 'success' FROM rappel_conso.run"
						 " WHERE source = $1 AND id < $2"
						 " ORDER BY id DESC LIMIT 1", &params) == 0 ||
		rc_column_bool(0, 1);
	rc_query_end(&scope);
	return succeeded;
}

/*
 * Delete runs that ended more than "days" days ago, except the last one of
 * each source.
 */
void
rc_run_remove_old(int days)
{
	RcParams	params = {0};

	rc_param_int4(&params, days);
	rc_execute("DELETE FROM rappel_conso.run WHERE state <> 'running'"
			   " AND finished_at < pg_catalog.now() - $1 * '1 day'::interval"
			   " AND id NOT IN (SELECT max(id) FROM rappel_conso.run GROUP BY source)",
			   &params);
}
