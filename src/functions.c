/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The SQL-callable functions: arguments in, rows out.  What they do is in
 *	  src/worker and src/store.
 *
 * A C symbol that a released install script names is never removed.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <signal.h>

#include "fmgr.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "worker/sync.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_sync_now);
PG_FUNCTION_INFO_V1(rc_start);
PG_FUNCTION_INFO_V1(rc_stop);
PG_FUNCTION_INFO_V1(rc_worker_pid);
PG_FUNCTION_INFO_V1(rc_library_version);
PG_FUNCTION_INFO_V1(rc_definition_changed);

/* How long rc_start and rc_stop wait for workers, in steps of 20 ms. */
#define WORKER_WAIT_STEPS	500

#define SYNC_COLUMNS		9

static void wait_a_little(void);

/* rc_sync_now(source, full_sync): one row. */
Datum
rc_sync_now(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		full_sync = PG_GETARG_BOOL(1);
	int64		run = rc_sync(source, full_sync);
	RcParams	params = {0};
	TupleDesc	desc;
	HeapTuple	tuple = NULL;
	MemoryContext context = CurrentMemoryContext;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	rc_param_int8(&params, run);
	rc_query_begin();
	if (rc_query_latest("SELECT id, state, fetched,"
						" CASE WHEN destination <> 'direct' THEN published END,"
						" inserted, updated, unchanged, dead,"
						" finished_at - started_at"
						" FROM rappel_conso.run WHERE id = $1", &params) == 1)
	{
		Datum		values[SYNC_COLUMNS];
		bool		nulls[SYNC_COLUMNS];
		MemoryContext old;

		for (int i = 0; i < SYNC_COLUMNS; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, i + 1, &nulls[i]);
		old = MemoryContextSwitchTo(context);
		tuple = heap_form_tuple(desc, values, nulls);
		MemoryContextSwitchTo(old);
	}
	rc_query_end();
	if (tuple == NULL)
		elog(ERROR, "run %lld has no row", (long long) run);
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}

/* rc_start(): true if the scheduler was started, false if it ran. */
Datum
rc_start(PG_FUNCTION_ARGS)
{
	RcWorkerArgs args = {0};
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	PreventCommandDuringRecovery("rc_start()");
	if (rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0) != 0)
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

	/* Until it holds its lock nobody else knows of it. */
	for (int i = 0; i < WORKER_WAIT_STEPS; i++)
	{
		if (rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0) != 0 ||
			GetBackgroundWorkerPid(handle, &pid) != BGWH_STARTED)
			break;
		wait_a_little();
	}
	PG_RETURN_BOOL(true);
}

/* rc_stop(): ends all workers of this database; returns how many there were. */
Datum
rc_stop(PG_FUNCTION_ARGS)
{
	List	   *pids = rc_lock_holders(MyDatabaseId);
	int			ended = list_length(pids);
	ListCell   *lc;

	if (!RecoveryInProgress())
		rc_execute("INSERT INTO rappel_conso.stopped (stopped_at)"
				   " VALUES (pg_catalog.clock_timestamp())"
				   " ON CONFLICT (one) DO UPDATE SET stopped_at = EXCLUDED.stopped_at",
				   NULL);
	for (int i = 0; i < WORKER_WAIT_STEPS && pids != NIL; i++)
	{
		if (i % 50 == 0)
		{
			foreach(lc, pids)
				kill(lfirst_int(lc), SIGTERM);
		}
		wait_a_little();
		pids = rc_lock_holders(MyDatabaseId);
	}
	if (pids != NIL)
		ereport(WARNING,
				(errmsg("%d workers have not ended yet", list_length(pids))));
	PG_RETURN_INT32(ended);
}

static void
wait_a_little(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 20, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* rappel_conso.worker_pid(kind, name, number): null if it does not run. */
Datum
rc_worker_pid(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	RcWorkerKind worker;
	int			pid;

	if (strcmp(kind, "scheduler") == 0)
		worker = RC_WORKER_SCHEDULER;
	else if (strcmp(kind, "run") == 0)
		worker = RC_WORKER_RUN;
	else if (strcmp(kind, "stream") == 0)
		worker = RC_WORKER_STREAM;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind of worker \"%s\" does not exist", kind),
				 errhint("The kinds are scheduler, run and stream.")));

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

/*
 * Trigger function: AFTER INSERT OR UPDATE OR DELETE on the definitions.
 * Wakes whom it concerns when the change is committed.
 */
Datum
rc_definition_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	char	   *name;
	char	   *workers;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "definition_changed() is a trigger function");
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);

	desc = RelationGetDescr(data->tg_relation);
	if (SPI_fnumber(desc, "workers") != SPI_ERROR_NOATTRIBUTE)
	{
		name = SPI_getvalue(data->tg_trigtuple, desc, SPI_fnumber(desc, "name"));
		workers = SPI_getvalue(data->tg_trigtuple, desc,
							   SPI_fnumber(desc, "workers"));
		for (int i = 0; i < atoi(workers); i++)
			rc_wake_at_commit(RC_WORKER_STREAM, name, i);
	}
	return PointerGetDatum(NULL);
}
