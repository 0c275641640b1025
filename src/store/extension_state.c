/*-------------------------------------------------------------------------
 *
 * extension_state.c
 *	  The extension itself: whether it is there.
 *
 *-------------------------------------------------------------------------
 */
#include "store/extension_state.h"

#include "commands/extension.h"

#include "store/query.h"

/*
 * Whether the extension exists in this database, at the version that this
 * library was compiled as.  A library that waits for a restart of the server
 * must not touch tables that it does not know.
 */
bool
rc_extension_present(void)
{
	RcParams	params = {0};
	uint64		rows;

	if (!OidIsValid(get_extension_oid(RC_NAME, true)))
		return false;
	rc_param_text(&params, RC_NAME);
	rc_param_text(&params, RC_VERSION);
	rows = rc_execute("SELECT 1 FROM pg_catalog.pg_extension"
					  " WHERE extname = $1::name AND extversion = $2", &params);
	return rows == 1;
}

/* Which transaction has made or updated the extension. */
TransactionId
rc_extension_xmin(void)
{
	RcParams	params = {0};

	rc_param_text(&params, RC_NAME);
	return rc_query_xmin("SELECT xmin::text FROM pg_catalog.pg_extension"
						 " WHERE extname = $1::name", &params);
}

/* rc_stop(): no scheduler is to start by itself any more. */
void
rc_stopped_set(void)
{
	rc_execute("INSERT INTO rappel_conso.stopped (stopped_at)"
			   " VALUES (pg_catalog.clock_timestamp())"
			   " ON CONFLICT (one) DO UPDATE SET stopped_at = EXCLUDED.stopped_at",
			   NULL);
}

/* rc_start(): it may again. */
void
rc_stopped_clear(void)
{
	rc_execute("DELETE FROM rappel_conso.stopped", NULL);
}

/* Whether rc_stop() has been called since then. */
bool
rc_stopped_since(TimestampTz since)
{
	RcParams	params = {0};

	rc_param_time(&params, since);
	return rc_execute("SELECT 1 FROM rappel_conso.stopped"
					  " WHERE stopped_at >= $1", &params) > 0;
}
