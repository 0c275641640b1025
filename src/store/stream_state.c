/*-------------------------------------------------------------------------
 *
 * stream_state.c
 *	  Reads and writes rappel_conso.stream_state: whether a stream is running,
 *	  waiting or failed, why, and when it is retried.
 *
 * Nothing is decided here.  Rows are written only if they change, so that an
 * idle stream causes no WAL.
 *
 *-------------------------------------------------------------------------
 */
#include "store/stream_state.h"

#include "store/error_class.h"
#include "store/query.h"

/* Maximum wait of a failed stream, in seconds; $2 is the SQLSTATE. */
#define MOST_SECONDS	"CASE WHEN $2 = 'F0000' THEN 30 ELSE 300 END"

/* Of an error (rc_param_error()) in $2 and a detail in $7. */
#define WAITING_FOR \
	"state = 'waiting', detail = $7, failures = 0, retry_at = NULL," \
	" last_error_at = pg_catalog.clock_timestamp(), sqlstate = $2," \
	" error = $3, error_detail = $4, hint = $5, context = $6"

/*
 * Set the state of a stream: "running" or "waiting", with a detail or NULL.
 * The last error is kept for rc_status().  The table of streams is read only
 * if there is no row yet: a session may have locked it, and that may be what
 * the detail reports.
 */
void
rc_stream_state_set(const char *stream, const char *state, const char *detail)
{
	RcQueryScope scope;
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_text(&params, state);
	rc_param_error_text(&params, detail);
	rc_query_begin(&scope);
	if (rc_query("SELECT 1 FROM rappel_conso.stream_state WHERE stream = $1"
				 " AND state = $2 AND detail IS NOT DISTINCT FROM $3"
				 " AND failures = 0", &params) == 0 &&
		rc_query("UPDATE rappel_conso.stream_state SET state = $2, detail = $3,"
				 " failures = 0, retry_at = NULL WHERE stream = $1",
				 &params) == 0)
		rc_query("INSERT INTO rappel_conso.stream_state (stream, state, detail)"
				 " SELECT s.name, $2, $3 FROM rappel_conso.stream s"
				 " WHERE s.name = $1 ON CONFLICT (stream) DO UPDATE"
				 " SET state = $2, detail = $3, failures = 0, retry_at = NULL",
				 &params);
	rc_query_end(&scope);
}

/*
 * Set a stream to running.  A detail reported while running (of a gap) is
 * kept, the reason of a wait is not.  A failed stream remains failed until
 * "recovered": its worker merely having started proves nothing, and would
 * reset the backoff.
 */
void
rc_stream_run(const char *stream, bool recovered)
{
	RcQueryScope scope;
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_bool(&params, recovered);
	rc_query_begin(&scope);
	if (rc_query("SELECT 1 FROM rappel_conso.stream_state WHERE stream = $1"
				 " AND (state = 'running' AND failures = 0"
				 "  OR state = 'failed' AND NOT $2)", &params) == 0)
		rc_query("INSERT INTO rappel_conso.stream_state (stream, state)"
				 " SELECT s.name, 'running' FROM rappel_conso.stream s"
				 " WHERE s.name = $1 ON CONFLICT (stream) DO UPDATE"
				 " SET state = 'running', detail = NULL, failures = 0,"
				 " retry_at = NULL", &params);
	rc_query_end(&scope);
}

/*
 * Set a stream to waiting for what this error reports, with its detail.  As in
 * rc_stream_state_set(), nothing is written if nothing has changed, and the
 * table of streams is read only if there is no row yet.  The error of records
 * without proof is kept, since rc_stream_unproven() needs it.
 */
void
rc_stream_wait_for(const char *stream, const char *detail,
				   const ErrorData *error)
{
	RcQueryScope scope;
	RcParams	params = {0};

	if (rc_stream_unproven(stream))
	{
		rc_stream_state_set(stream, "waiting", detail);
		return;
	}
	rc_param_text(&params, stream);
	rc_param_error(&params, error);
	rc_param_error_text(&params, detail);
	rc_query_begin(&scope);
	if (rc_query("SELECT 1 FROM rappel_conso.stream_state WHERE stream = $1"
				 " AND state = 'waiting' AND detail = $7 AND failures = 0"
				 " AND sqlstate = $2 AND error = $3"
				 " AND hint IS NOT DISTINCT FROM $5", &params) == 0 &&
		rc_query("UPDATE rappel_conso.stream_state SET " WAITING_FOR
				 " WHERE stream = $1", &params) == 0)
		rc_query("INSERT INTO rappel_conso.stream_state (stream, state, detail,"
				 " last_error_at, sqlstate, error, error_detail, hint, context)"
				 " SELECT s.name, 'waiting', $7, pg_catalog.clock_timestamp(),"
				 " $2, $3, $4, $5, $6"
				 " FROM rappel_conso.stream s WHERE s.name = $1"
				 " ON CONFLICT (stream) DO UPDATE SET " WAITING_FOR, &params);
	rc_query_end(&scope);
}

/* A worker starts on the stream: insert its row if there is none. */
void
rc_stream_begin(const char *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_execute("INSERT INTO rappel_conso.stream_state (stream, state)"
			   " SELECT s.name, 'running' FROM rappel_conso.stream s"
			   " WHERE s.name = $1 AND NOT EXISTS"
			   "  (SELECT FROM rappel_conso.stream_state t WHERE t.stream = $1)"
			   " ON CONFLICT DO NOTHING", &params);
}

/*
 * Set a stream to waiting because of this error, for which it is not yet known
 * whether a record is at fault.
 */
void
rc_stream_wait(const char *stream, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_error(&params, error);
	rc_param_error_text(&params, psprintf("%s; %s %s", error->message,
										  error->detail ? error->detail : "",
										  error->hint ? error->hint : ""));
	rc_execute("INSERT INTO rappel_conso.stream_state (stream, state, detail,"
			   " last_error_at, sqlstate, error, error_detail, hint, context)"
			   " SELECT s.name, 'waiting', $7, pg_catalog.clock_timestamp(),"
			   " $2, $3, $4, $5, $6"
			   " FROM rappel_conso.stream s WHERE s.name = $1"
			   " ON CONFLICT (stream) DO UPDATE SET " WAITING_FOR, &params);
}

/*
 * Whether a stream is waiting at records that failed without proof that they
 * are at fault.
 */
bool
rc_stream_unproven(const char *stream)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		unproven = false;

	rc_param_text(&params, stream);
	rc_query_begin(&scope);
	if (rc_query("SELECT sqlstate FROM rappel_conso.stream_state"
				 " WHERE stream = $1 AND state IN ('waiting', 'failed')"
				 " AND sqlstate IS NOT NULL", &params) == 1)
		unproven = rc_error_needs_proof(rc_sqlstate(rc_column_text(0, 1)));
	rc_query_end(&scope);
	return unproven;
}

/*
 * End the backoff of a stream, so that it is retried at once; false if there
 * is none.
 */
bool
rc_stream_retry(const char *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	return rc_execute("UPDATE rappel_conso.stream_state SET retry_at = NULL"
					  " WHERE stream = $1 AND state IN ('failed', 'waiting')"
					  " AND " RC_RETRY_IS_DUE_LATER("stream_state"),
					  &params) > 0;
}

/*
 * The error of a stream that has failed at or after "since", or the reason
 * that it waits for; NULL if neither.
 */
RcStreamError *
rc_stream_error(const char *stream, TimestampTz since)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcStreamError *error = palloc0(sizeof(RcStreamError));
	bool		found;

	rc_param_text(&params, stream);
	rc_param_time(&params, since);
	rc_query_begin(&scope);
	found = rc_query("SELECT COALESCE(sqlstate, '55000'),"
					 " CASE state WHEN 'failed' THEN error ELSE detail END,"
					 " CASE state WHEN 'failed' THEN error_detail END,"
					 " CASE state WHEN 'failed' THEN hint END, state = 'failed'"
					 " FROM rappel_conso.stream_state WHERE stream = $1"
					 " AND (state = 'waiting' AND detail IS NOT NULL"
					 "  OR state = 'failed' AND last_error_at >= $2)",
					 &params) == 1;
	if (found)
	{
		error->failed = rc_column_bool(0, 5);
		error->error_text = rc_column_text(0, 2);
		error->detail = rc_column_text(0, 3);
		error->hint = rc_column_text(0, 4);
		error->sqlstate = error->failed ?
			rc_sqlstate(rc_column_text(0, 1)) :
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	}
	rc_query_end(&scope);
	return found ? error : NULL;
}

/*
 * Retry all failed and waiting streams at once: the cause may have been fixed.
 * Rows that another session has locked are skipped: its open transaction must
 * not block the scheduler, and they are retried later anyway.
 */
void
rc_stream_retry_all(void)
{
	rc_execute("UPDATE rappel_conso.stream_state t SET retry_at = NULL"
			   " WHERE t.stream IN"
			   " (SELECT f.stream FROM rappel_conso.stream_state f"
			   "  WHERE f.state IN ('failed', 'waiting')"
			   "  AND f.retry_at IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)",
			   NULL);
}

/*
 * Retry streams that failed for lack of a privilege.  Locked rows are skipped,
 * as above, so that they do not block a GRANT or REVOKE of a topic either.
 */
void
rc_stream_retry_denied(void)
{
	rc_execute("UPDATE rappel_conso.stream_state t SET retry_at = NULL"
			   " WHERE t.stream IN"
			   " (SELECT f.stream FROM rappel_conso.stream_state f"
			   "  WHERE f.state = 'failed' AND f.sqlstate = '42501'"
			   "  AND f.retry_at IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)",
			   NULL);
}

/*
 * Set a stream to failed.  It is retried after 1 s, doubled with each
 * consecutive failure up to 300 s.  For errors in a configuration file the
 * maximum is 30 s, since nothing notifies us when the file is fixed.
 */
void
rc_stream_fail(const char *stream, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_error(&params, error);
	rc_execute("INSERT INTO rappel_conso.stream_state AS t (stream, state,"
			   " failures, retry_at, last_error_at, sqlstate, error,"
			   " error_detail, hint, context)"
			   " SELECT s.name, 'failed', 1,"
			   " pg_catalog.clock_timestamp() + '1 second',"
			   " pg_catalog.clock_timestamp(), $2, $3, $4, $5, $6"
			   " FROM rappel_conso.stream s WHERE s.name = $1"
			   " ON CONFLICT (stream) DO UPDATE SET state = 'failed',"
			   " detail = NULL, failures = t.failures + 1,"
			   " retry_at = pg_catalog.clock_timestamp() +"
			   "  least(" MOST_SECONDS ", 2 ^ least(t.failures, 9)) * '1 second'::interval,"
			   " last_error_at = EXCLUDED.last_error_at, sqlstate = $2,"
			   " error = $3, error_detail = $4, hint = $5, context = $6",
			   &params);
}

/*
 * Set a stream to waiting, whose worker exits.  It is retried after 5 s,
 * doubled each consecutive time up to 30 s.
 */
void
rc_stream_postpone(const char *stream, const char *why)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_text(&params, why);
	rc_execute("INSERT INTO rappel_conso.stream_state AS t"
			   " (stream, state, detail, failures, retry_at)"
			   " SELECT s.name, 'waiting', $2, 1,"
			   " pg_catalog.clock_timestamp() + '5 seconds'"
			   " FROM rappel_conso.stream s WHERE s.name = $1"
			   " ON CONFLICT (stream) DO UPDATE SET state = 'waiting',"
			   " detail = $2, failures = t.failures + 1,"
			   " retry_at = pg_catalog.clock_timestamp() +"
			   "  least(30, 5 * 2 ^ least(t.failures, 9)) * '1 second'::interval",
			   &params);
}

/* Whether a stream is waiting and its retry is not due yet. */
bool
rc_stream_postponed(const char *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	return rc_execute("SELECT FROM rappel_conso.stream_state t"
					  " WHERE t.stream = $1 AND t.state = 'waiting'"
					  " AND " RC_RETRY_IS_DUE_LATER("t"), &params) > 0;
}

/* A topic was created: retry streams that wait for it at once. */
void
rc_stream_topic_made(const char *topic)
{
	RcParams	params = {0};

	rc_param_text(&params, topic);
	rc_execute("UPDATE rappel_conso.stream_state t SET retry_at = NULL, failures = 0"
			   " FROM rappel_conso.stream s WHERE s.name = t.stream"
			   " AND $1 = ANY (s.topics) AND t.state = 'waiting'"
			   " AND t.retry_at IS NOT NULL", &params);
}
