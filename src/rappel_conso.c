/*-------------------------------------------------------------------------
 *
 * rappel_conso.c
 *	  Load of the library: settings, and the launcher where it is preloaded.
 *
 * It must not start a thread or a foreign library: this runs in the
 * postmaster.
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
	rc_settings_define();
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		rc_launcher_register();
}
