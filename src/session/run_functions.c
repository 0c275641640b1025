/*-------------------------------------------------------------------------
 *
 * run_functions.c
 *	  SQL-callable functions for runs: run a source now, queue a run, wait
 *	  for it, cancel it.
 *
 * A request is a row of rappel_conso.run in state "queued", so it takes
 * effect at commit or not at all; the scheduler starts the runs that it finds
 * there.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <signal.h>

#include "access/transam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "latch_wait.h"
#include "session/caller_checks.h"
#include "session/run_wait.h"
#include "session/worker_request.h"
#include "store/run_request.h"
#include "store/run_table.h"
#include "store/source_table.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_sync_now);
PG_FUNCTION_INFO_V1(rc_trigger);
PG_FUNCTION_INFO_V1(rc_backfill);
PG_FUNCTION_INFO_V1(rc_wait);
PG_FUNCTION_INFO_V1(rc_cancel);

/* How often rc_wait() polls the run's state, in ms. */
#define POLL_INTERVAL_MS	100

/* How often it reports progress, in ms. */
#define REPORT_INTERVAL_MS	1000

static Datum run_row(FunctionCallInfo fcinfo, int64 run);
static void warn_of_queue(int64 run);
static RcRunRow *load_run(int64 run);
pg_noreturn static void raise_missing_run(int64 run);
static void check_source(const char *name);
static void keep_source(const char *name);
static RcRunRow *load_own_run(int64 run);
static void prepare_wait(RcWorkerRequest *request, int64 run);
static void check_not_ended(int64 run);
static void check_committed(int64 run);
static void check_alive(int64 run);
static int64 report_progress(int64 run, int64 reported);
static bool has_ended(const RcRunRow *row);

/* rc_sync_now(source, full_sync): one row. */
Datum
rc_sync_now(PG_FUNCTION_ARGS)
{
	char	   *source;

	rc_caller_check_null(fcinfo, 0, "source");
	rc_caller_check_null(fcinfo, 1, "full_sync");
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	return run_row(fcinfo, rc_sync(source, PG_GETARG_BOOL(1)));
}

/* A run's row with all that is committed, whatever the isolation level. */
static Datum
run_row(FunctionCallInfo fcinfo, int64 run)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(rc_run_tuple(run, BlessTupleDesc(desc)));
}

/* rc_trigger(source, full_sync): the id of the queued run. */
Datum
rc_trigger(PG_FUNCTION_ARGS)
{
	char	   *source;
	int64		run;

	PreventCommandDuringRecovery("rc_trigger()");
	PreventCommandIfReadOnly("rc_trigger()");
	rc_caller_check_null(fcinfo, 0, "source");
	rc_caller_check_null(fcinfo, 1, "full_sync");
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_source(source);
	keep_source(source);

	run = rc_run_queue(source, PG_GETARG_BOOL(1));
	if (run == 0)
		rc_caller_raise_missing("source", source);
	warn_of_queue(run);
	PG_RETURN_INT64(run);
}

/* Wake the scheduler at commit, or warn that none is running. */
static void
warn_of_queue(int64 run)
{
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	if (!rc_worker_alive(RC_WORKER_SCHEDULER, "", 0))
		ereport(WARNING,
				(errmsg("run %lld is queued, but the scheduler is not running",
						(long long) run),
				 errhint("Call rc_start().")));
}

/* rc_backfill(source, from, to, every): the id of the queued run. */
Datum
rc_backfill(PG_FUNCTION_ARGS)
{
	char	   *source;
	int64		run;

	PreventCommandDuringRecovery("rc_backfill()");
	PreventCommandIfReadOnly("rc_backfill()");
	rc_caller_check_null(fcinfo, 0, "source");
	rc_caller_check_null(fcinfo, 1, "from");
	rc_caller_check_null(fcinfo, 2, "to");
	rc_caller_check_null(fcinfo, 3, "every");
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_source(source);
	keep_source(source);

	run = rc_run_queue_backfill(source, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2),
								PG_GETARG_DATUM(3));
	warn_of_queue(run);
	PG_RETURN_INT64(run);
}

/*
 * rc_wait(run_id, timeout): returns the row that rc_sync_now() would, or
 * raises the run's error.
 */
Datum
rc_wait(PG_FUNCTION_ARGS)
{
	int64		run;
	TimestampTz deadline = 0;
	int64		reported = 0;
	uint32		polls = 0;
	MemoryContext poll_context;
	MemoryContext old;
	RcWorkerRequest request = {0};

	rc_caller_check_null(fcinfo, 0, "run");
	run = PG_GETARG_INT64(0);
	if (!PG_ARGISNULL(1))
		deadline = rc_deadline(PG_GETARG_DATUM(1), "rc_wait()");
	prepare_wait(&request, run);
	check_committed(run);
	poll_context = AllocSetContextCreate(CurrentMemoryContext, "rappel_conso wait",
										 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(poll_context);
	rc_lock_mark(RC_WORKER_RUN, request.args.name, false);
	while (!has_ended(load_run(run)))
	{
		if (polls++ % (REPORT_INTERVAL_MS / POLL_INTERVAL_MS) == 0)
		{
			check_alive(run);
			reported = report_progress(run, reported);
			rc_worker_request_check_blocked(&request);
		}
		if (deadline != 0 && GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("run %lld did not end in time", (long long) run),
					 errdetail("The run continues; only waiting for it has ended.")));
		rc_wait_latch(POLL_INTERVAL_MS, RC_WAIT_RUN);
		MemoryContextReset(poll_context);
	}
	rc_lock_unmark(RC_WORKER_RUN, request.args.name, false);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(poll_context);
	if (!rc_sync_outcome(run))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("run %lld was cancelled", (long long) run)));
	return run_row(fcinfo, run);
}

/* Fill in what rc_worker_request_check_blocked() needs. */
static void
prepare_wait(RcWorkerRequest *request, int64 run)
{
	RcRunRow   *row = load_own_run(run);
	RcSource   *source = rc_source_load(row->source);

	request->kind = RC_WORKER_RUN;
	strlcpy(request->args.name, row->source, sizeof(request->args.name));
	request->stream = source ? source->stream : NULL;
}

/*
 * rc_cancel(run_id): true if the run was cancelled before it began, or its
 * worker was signalled.
 */
Datum
rc_cancel(PG_FUNCTION_ARGS)
{
	int64		run;
	int			pid;

	rc_caller_check_null(fcinfo, 0, "run_id");
	run = PG_GETARG_INT64(0);
	(void) load_own_run(run);
	PreventCommandIfReadOnly("rc_cancel()");
	check_not_ended(run);

	if (rc_run_unqueue(run))
		PG_RETURN_BOOL(true);

	/*
	 * Find the process by the run's id: the worker of the source may be that
	 * of the next run by now, or the scheduler, which marks crashed runs.
	 */
	pid = rc_lock_holder(MyDatabaseId, RC_WORKER_RUN_ID,
						 psprintf("%lld", (long long) run), 0);
	if (pid == 0)
		check_not_ended(run);
	PG_RETURN_BOOL(pid != 0 && kill(pid, SIGINT) == 0);
}

static void
check_not_ended(int64 run)
{
	RcRunRow   *row = load_run(run);

	if (has_ended(row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run %lld has already ended", (long long) run),
				 errdetail("Its state is %s.", row->state)));
}

/* Load a run with all that is committed, whatever the isolation level. */
static RcRunRow *
load_run(int64 run)
{
	RcRunRow   *row = rc_run_load(run);

	if (row == NULL)
		raise_missing_run(run);
	return row;
}

/*
 * The same error for a run that does not exist and one that the caller must
 * not know of.
 */
static void
raise_missing_run(int64 run)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("run %lld does not exist", (long long) run),
			 errdetail("A run that another transaction has requested becomes visible when it commits; old runs are removed after rappel_conso.keep_history days.")));
}

/* Check that the caller may request a run of the source. */
static void
check_source(const char *name)
{
	RcSource   *source = rc_source_get(name);

	rc_caller_check_member(source->owner, source->owner_name, "source", name);
}

/*
 * Lock the source's row until the transaction ends.  Else the source could be
 * deleted or renamed meanwhile, and the run would stay queued, or begin for
 * another source that gets the name.  Runs still queued for an earlier source
 * of the name are cancelled.
 */
static void
keep_source(const char *name)
{
	if (!rc_source_keep(name))
		rc_caller_raise_missing("source", name);
	check_source(name);
	(void) rc_run_cancel_orphans(name);
}

/*
 * Load a run that the caller may wait for or cancel: one of a source whose
 * owner's privileges it has, not of an earlier source of that name with
 * another owner.
 */
static RcRunRow *
load_own_run(int64 run)
{
	RcRunRow   *row = load_run(run);
	bool		own = superuser() || (OidIsValid(row->owner) &&
									  rc_may_act_for(GetUserId(), row->owner));

	if (!rc_caller_sees_all())
	{
		RcSource   *source = rc_source_load(row->source);

		if (!own || source == NULL ||
			!rc_may_act_for(GetUserId(), source->owner))
			raise_missing_run(run);
		return row;
	}
	check_source(row->source);
	if (!own)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("run %lld belongs to an earlier source \"%s\" of another owner",
						(long long) run, row->source)));
	return row;
}

/*
 * Reject a run that this transaction has queued: it cannot begin before the
 * commit, so the wait would never end.
 */
static void
check_committed(int64 run)
{
	TransactionId xmin = rc_run_queued_xmin(run);

	if (TransactionIdIsNormal(xmin) &&
		TransactionIdIsCurrentTransactionId(xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("run %lld was requested by this transaction",
						(long long) run),
				 errhint("Commit first, then call rc_wait().")));
}

/*
 * Raise an error if the run's worker has crashed: its state is "running",
 * both before and after the check that no worker holds the lock of the source
 * or of the run's id.  Its row can still say "running" then, since the
 * scheduler marks crashed runs only later.  The lock by id is needed because
 * the source can have been renamed.
 */
static void
check_alive(int64 run)
{
	RcRunRow   *row = load_run(run);

	if (strcmp(row->state, "running") != 0 ||
		rc_worker_alive(RC_WORKER_RUN, row->source, 0) ||
		rc_worker_alive(RC_WORKER_RUN_ID,
						psprintf("%lld", (long long) run), 0) ||
		strcmp(load_run(run)->state, "running") != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CRASH_SHUTDOWN),
			 errmsg("the process of the run ended unexpectedly"),
			 errhint("See the server log for the cause. The next run resumes from the last commit.")));
}

/*
 * Report the progress of a run as a NOTICE, if it is greater than "reported";
 * returns the progress (records and windows done).
 */
static int64
report_progress(int64 run, int64 reported)
{
	RcRunProgress is = rc_run_progress(run);

	if (is.fetched + is.done <= reported)
		return reported;
	if (is.windows > 0)
		ereport(NOTICE,
				(errmsg("run %lld: %lld records, %lld of %lld windows done",
						(long long) run, (long long) is.fetched,
						(long long) is.done, (long long) is.windows)));
	else
		ereport(NOTICE,
				(errmsg("run %lld: %lld records", (long long) run,
						(long long) is.fetched)));
	return is.fetched + is.done;
}

static bool
has_ended(const RcRunRow *row)
{
	return strcmp(row->state, "queued") != 0 &&
		strcmp(row->state, "running") != 0;
}
