/*-------------------------------------------------------------------------
 *
 * worker_functions.c
 *	  SQL-callable functions for worker processes: start, stop and find
 *	  them.
 *
 * A C symbol that a released install script names must never be removed.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <signal.h>

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "latch_wait.h"
#include "store/extension_state.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_start);
PG_FUNCTION_INFO_V1(rc_stop);
PG_FUNCTION_INFO_V1(rc_worker_pid);
PG_FUNCTION_INFO_V1(rc_library_version);
PG_FUNCTION_INFO_V1(rc_is_preloaded);

/*
 * How long rc_start() and rc_stop() wait for workers, in steps of
 * STOP_INTERVAL.
 */
#define WORKER_WAIT_STEPS	500

/* How often they poll, in ms. */
#define STOP_INTERVAL		20

/* rc_start(): true if the scheduler was started, false if it was running. */
Datum
rc_start(PG_FUNCTION_ARGS)
{
	RcWorkerArgs args = {0};
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	PreventCommandDuringRecovery("rc_start()");
	if (rc_worker_alive(RC_WORKER_SCHEDULER, "", 0))
		PG_RETURN_BOOL(false);

	args.database = MyDatabaseId;
	args.by_hand = true;
	if (!rc_worker_launch(RC_WORKER_SCHEDULER, &args, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the scheduler"),
				 errhint("You may need to increase max_worker_processes.")));
	if (WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_STARTED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the scheduler"),
				 errhint("More details may be available in the server log.")));

	/* Until it holds its lock no other process can see that it runs. */
	for (int i = 0; i < WORKER_WAIT_STEPS; i++)
	{
		if (rc_worker_alive(RC_WORKER_SCHEDULER, "", 0) ||
			GetBackgroundWorkerPid(handle, &pid) != BGWH_STARTED)
			break;
		rc_wait_latch(STOP_INTERVAL, RC_WAIT_END);
	}
	PG_RETURN_BOOL(true);
}

/*
 * rc_stop(): terminates all workers of this database; returns their number.
 */
Datum
rc_stop(PG_FUNCTION_ARGS)
{
	List	   *pids = rc_lock_holders(MyDatabaseId);
	int			ended = list_length(pids);
	ListCell   *lc;

	if (!RecoveryInProgress())
		rc_stopped_set();
	for (int i = 0; i < WORKER_WAIT_STEPS && pids != NIL; i++)
	{
		if (i % 50 == 0)
		{
			foreach(lc, pids)
				kill(lfirst_int(lc), SIGTERM);
		}
		rc_wait_latch(STOP_INTERVAL, RC_WAIT_END);
		pids = rc_lock_holders(MyDatabaseId);
	}
	if (pids != NIL)
		ereport(WARNING,
				(errmsg("%d workers are still running", list_length(pids))));
	PG_RETURN_INT32(ended);
}

/* rappel_conso.worker_pid(kind, name, number): null if it does not run. */
Datum
rc_worker_pid(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	RcWorkerKind worker;
	int			pid;

	if (!rc_worker_kind_find(kind, &worker))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized kind of worker: \"%s\"", kind),
				 errhint("Available kinds are %s.", rc_worker_kind_names())));

	pid = rc_lock_holder(MyDatabaseId, worker, name, PG_GETARG_INT32(2));
	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

/* rappel_conso.library_version() */
Datum
rc_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(RC_VERSION));
}

/* rappel_conso.is_preloaded() */
Datum
rc_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(rc_launcher_serves_us());
}
