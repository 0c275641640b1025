/*-------------------------------------------------------------------------
 *
 * extension_state.c
 *	  Whether the extension is present in this database, and whether rc_stop()
 *	  has stopped its scheduler.
 *
 *-------------------------------------------------------------------------
 */
#include "store/extension_state.h"

#include "store/query.h"

/*
 * Whether the extension is installed in this database, at the version that
 * this library was compiled for.  If so, it cannot be dropped until the
 * transaction ends.  After an upgrade a worker may still run the old library
 * until the server restarts; it must not touch tables that it does not know.
 */
bool
rc_extension_present(void)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		present;

	if (!rc_query_begin_if_there(&scope))
		return false;
	rc_param_text(&params, RC_NAME);
	rc_param_text(&params, RC_VERSION);
	present = rc_query("SELECT 1 FROM pg_catalog.pg_extension"
					   " WHERE extname = $1::name AND extversion = $2",
					   &params) == 1;
	rc_query_end(&scope);
	return present;
}

/* The transaction that created or updated the extension. */
TransactionId
rc_extension_xmin(void)
{
	RcParams	params = {0};

	rc_param_text(&params, RC_NAME);
	return rc_query_xmin("SELECT xmin::text FROM pg_catalog.pg_extension"
						 " WHERE extname = $1::name", &params);
}

/* rc_stop(): schedulers must not start on their own any more. */
void
rc_stopped_set(void)
{
	rc_execute("INSERT INTO rappel_conso.stopped (stopped_at)"
			   " VALUES (pg_catalog.clock_timestamp())"
			   " ON CONFLICT (one) DO UPDATE SET stopped_at = EXCLUDED.stopped_at",
			   NULL);
}

/* rc_start(): they may again. */
void
rc_stopped_clear(void)
{
	rc_execute("DELETE FROM rappel_conso.stopped", NULL);
}

/* Whether rc_stop() has been called at or after this time. */
bool
rc_stopped_since(TimestampTz since)
{
	RcParams	params = {0};

	rc_param_time(&params, since);
	return rc_execute("SELECT 1 FROM rappel_conso.stopped"
					  " WHERE stopped_at >= $1", &params) > 0;
}
