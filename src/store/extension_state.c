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
