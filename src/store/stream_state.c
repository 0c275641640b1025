/*-------------------------------------------------------------------------
 *
 * stream_state.c
 *	  What the workers of each stream last said: that it runs, waits or has
 *	  failed, why, and when it is tried again.
 *
 * It decides nothing.  Writes only what differs, so that an idle stream costs
 * no WAL.
 *
 *-------------------------------------------------------------------------
 */
#include "store/stream_state.h"

#include "store/error_class.h"
#include "store/query.h"

/* The longest wait of a failed stream; $2 is the SQLSTATE. */
#define MOST_SECONDS	"CASE WHEN $2 = 'F0000' THEN 30 ELSE 300 END"

/*
 * Say what a stream does: "running" or "waiting", with a detail or NULL.
 * Writes only what differs, so that an idle stream costs no WAL.  The newest
 * error is kept for rc_status().  The table of streams is not needed but for
 * the first time: somebody may have locked it, and it is that which is said.
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
 * Say that a stream runs.  What it said of a gap while running stays; what it
 * waited for does not.  One that has failed stays failed until it has
 * "recovered": that its worker has started says nothing, and would end the
 * backoff.
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

/* A worker begins with the stream: the first one has said nothing yet. */
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
 * Write down that a stream waits because of this error, of which nobody knows
 * yet whose fault it is.
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
			   " ON CONFLICT (stream) DO UPDATE SET state = 'waiting',"
			   " detail = $7, failures = 0, retry_at = NULL,"
			   " last_error_at = EXCLUDED.last_error_at, sqlstate = $2,"
			   " error = $3, error_detail = $4, hint = $5, context = $6",
			   &params);
}

/*
 * Whether a stream stands before records that have failed, of which nothing
 * is proven.
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

/* End the backoff of a stream that has failed; false when there is none. */
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
 * What a stream says: that it has failed since then, or that it waits; NULL if
 * neither.
 */
RcStreamError *
rc_stream_trouble(const char *stream, TimestampTz since)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcStreamError *trouble = palloc0(sizeof(RcStreamError));
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
		trouble->failed = rc_column_bool(0, 5);
		trouble->error_text = rc_column_text(0, 2);
		trouble->detail = rc_column_text(0, 3);
		trouble->hint = rc_column_text(0, 4);
		trouble->sqlstate = trouble->failed ?
			rc_sqlstate(rc_column_text(0, 1)) :
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	}
	rc_query_end(&scope);
	return found ? trouble : NULL;
}

/*
 * Have all streams that wait for their next try be tried at once: what was
 * wrong may have been mended.
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
 * The same for those that have failed for want of a grant.  Rows that somebody
 * has locked are left out, as above: nobody's open transaction holds up a
 * revoke, nor the scheduler, and they are tried again later.
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
 * Write down that a stream has failed.  It is tried again after 1 s, doubled
 * with each failure in a row, at most 300 s; after 30 s for what a file says,
 * which is mended without our being told.
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
 * A stream cannot go on, and its worker leaves: it is tried again in 5 s,
 * doubled with each time in a row, at most 30 s.
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

/* Whether it has been, and is not due again. */
bool
rc_stream_postponed(const char *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	return rc_execute("SELECT FROM rappel_conso.stream_state t"
					  " WHERE t.stream = $1 AND t.state = 'waiting'"
					  " AND " RC_RETRY_IS_DUE_LATER("t"), &params) > 0;
}

/* A topic is there now: streams that wait for it are due at once. */
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
