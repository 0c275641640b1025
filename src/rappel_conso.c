/*-------------------------------------------------------------------------
 *
 * rappel_conso.c
 *	  Loading of the library: defines the settings and, if it is preloaded,
 *	  registers the launcher.
 *
 * It must not start a thread or initialize libcurl or librdkafka: this runs
 * in the postmaster, and threads do not survive a fork.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "worker/worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	rc_library_versions_check();
	rc_settings_define();
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		rc_launcher_register();
}
