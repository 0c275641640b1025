/*-------------------------------------------------------------------------
 *
 * run_functions.c
 *	  SQL-callable functions over runs: run a source now, or ask for a run,
 *	  wait for it, cancel it.
 *
 * Asking is a row of rappel_conso.run in state "queued", so it happens at
 * commit or not at all; the scheduler starts what it finds there.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <signal.h>

#include "catalog/pg_type.h"
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
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_sync_now);
PG_FUNCTION_INFO_V1(rc_trigger);
PG_FUNCTION_INFO_V1(rc_backfill);
PG_FUNCTION_INFO_V1(rc_wait);
PG_FUNCTION_INFO_V1(rc_cancel);

/* How often rc_wait looks, in ms. */
#define LOOK_INTERVAL	100

/* And how often it tells of progress. */
#define TELL_INTERVAL	1000

/* Columns of the row that rc_sync_now and rc_wait return. */
#define RUN_COLUMNS		9

/* A run as rc_wait and rc_cancel need it. */
typedef struct RunRow
{
	char	   *source;
	char	   *state;
	Oid			owner;			/* InvalidOid: no role, or not that one */
} RunRow;

static Datum run_row(FunctionCallInfo fcinfo, int64 run);
static void warn_of_queue(int64 run);
static RunRow *load_run(int64 run);
pg_noreturn static void raise_missing_run(int64 run);
static void check_source(const char *name);
static void keep_source(const char *name);
static RunRow *load_own_run(int64 run);
static void prepare_wait(RcCall *call, int64 run);
static void check_not_ended(int64 run);
static void check_committed(int64 run);
static void check_alive(int64 run);
static int64 tell_progress(int64 run, int64 told);
static bool has_ended(const RunRow *row);

/* rc_sync_now(source, full_sync): one row. */
Datum
rc_sync_now(PG_FUNCTION_ARGS)
{
	char	   *source;

	rc_call_check_null(fcinfo, 0, "source");
	rc_call_check_null(fcinfo, 1, "full_sync");
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	return run_row(fcinfo, rc_sync(source, PG_GETARG_BOOL(1)));
}

/* A run's row as it was committed last, whatever the isolation level. */
static Datum
run_row(FunctionCallInfo fcinfo, int64 run)
{
	RcQueryScope scope;
	MemoryContext context = CurrentMemoryContext;
	RcParams	params = {0};
	TupleDesc	desc;
	HeapTuple	tuple = NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT id, state, fetched, published, inserted,"
						" updated, unchanged, dead,"
						" finished_at - started_at"
						" FROM rappel_conso.run WHERE id = $1", &params) == 1)
	{
		Datum		values[RUN_COLUMNS];
		bool		nulls[RUN_COLUMNS];
		MemoryContext old;

		for (int i = 0; i < RUN_COLUMNS; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, i + 1, &nulls[i]);
		old = MemoryContextSwitchTo(context);
		tuple = heap_form_tuple(desc, values, nulls);
		MemoryContextSwitchTo(old);
	}
	rc_query_end(&scope);
	if (tuple == NULL)
		elog(ERROR, "run %lld has no row", (long long) run);
	return HeapTupleGetDatum(tuple);
}

/* rc_trigger(source, full_sync): the id of the queued run. */
Datum
rc_trigger(PG_FUNCTION_ARGS)
{
	RcQueryScope scope;
	char	   *source;
	RcParams	params = {0};
	int64		run;

	PreventCommandDuringRecovery("rc_trigger()");
	PreventCommandIfReadOnly("rc_trigger()");
	rc_call_check_null(fcinfo, 0, "source");
	rc_call_check_null(fcinfo, 1, "full_sync");
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_source(source);
	keep_source(source);

	rc_param_text(&params, source);
	rc_param_bool(&params, PG_GETARG_BOOL(1));
	rc_query_begin(&scope);
	if (rc_query("INSERT INTO rappel_conso.run AS r (source, owner, state, trigger, full_sync, started_at)"
				 " SELECT s.name, s.owner, 'queued', 'trigger', $2, NULL"
				 " FROM rappel_conso.source s WHERE s.name = $1"
				 " ON CONFLICT (source) WHERE state = 'queued' AND trigger = 'trigger'"
				 " DO UPDATE SET full_sync = r.full_sync OR EXCLUDED.full_sync"
				 " RETURNING id", &params) != 1)
		rc_call_raise_missing("source", source);
	run = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);

	warn_of_queue(run);
	PG_RETURN_INT64(run);
}

/* Wake the scheduler at commit, or say that there is none. */
static void
warn_of_queue(int64 run)
{
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	if (rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0) == 0)
		ereport(WARNING,
				(errmsg("run %lld is queued, but no scheduler runs",
						(long long) run),
				 errhint("rc_start() starts it.")));
}

/* rc_backfill(source, from, to, every): the id of the queued run. */
Datum
rc_backfill(PG_FUNCTION_ARGS)
{
	RcQueryScope scope;
	char	   *source;
	RcParams	params = {0};
	int64		run;

	PreventCommandDuringRecovery("rc_backfill()");
	PreventCommandIfReadOnly("rc_backfill()");
	rc_call_check_null(fcinfo, 0, "source");
	rc_call_check_null(fcinfo, 1, "from");
	rc_call_check_null(fcinfo, 2, "to");
	rc_call_check_null(fcinfo, 3, "every");
	source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_source(source);
	keep_source(source);

	rc_param_text(&params, source);
	rc_param_datum(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(1));
	rc_param_datum(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(2));
	rc_param_datum(&params, INTERVALOID, PG_GETARG_DATUM(3));
	rc_query_begin(&scope);
	rc_query("SELECT rappel_conso.backfill($1, $2, $3, $4)", &params);
	run = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	warn_of_queue(run);
	PG_RETURN_INT64(run);
}

/* rc_wait(run_id, timeout): its row as of rc_sync_now(), or its error. */
Datum
rc_wait(PG_FUNCTION_ARGS)
{
	int64		run;
	TimestampTz deadline = 0;
	int64		told = 0;
	uint32		looks = 0;
	MemoryContext look;
	MemoryContext old;
	RcCall		call = {0};

	rc_call_check_null(fcinfo, 0, "run");
	run = PG_GETARG_INT64(0);
	if (!PG_ARGISNULL(1))
		deadline = rc_call_deadline(PG_GETARG_DATUM(1), "rc_wait()");
	prepare_wait(&call, run);
	check_committed(run);
	look = AllocSetContextCreate(CurrentMemoryContext, "rappel_conso look",
								 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(look);
	rc_lock_mark(RC_WORKER_RUN, call.args.name, false);
	while (!has_ended(load_run(run)))
	{
		if (looks++ % (TELL_INTERVAL / LOOK_INTERVAL) == 0)
		{
			check_alive(run);
			told = tell_progress(run, told);
			rc_call_check_blocked(&call);
		}
		if (deadline != 0 && GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("run %lld did not end in time", (long long) run),
					 errdetail("It goes on; only the wait for it has ended.")));
		rc_wait_latch(LOOK_INTERVAL, RC_WAIT_RUN);
		MemoryContextReset(look);
	}
	rc_lock_unmark(RC_WORKER_RUN, call.args.name, false);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(look);
	if (!rc_sync_outcome(run))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("run %lld was cancelled", (long long) run)));
	return run_row(fcinfo, run);
}

/* What rc_call_check_blocked() has to know of the run's worker. */
static void
prepare_wait(RcCall *call, int64 run)
{
	RunRow	   *row = load_own_run(run);
	RcSource   *source = rc_source_load(row->source);

	call->kind = RC_WORKER_RUN;
	strlcpy(call->args.name, row->source, sizeof(call->args.name));
	call->what = psprintf("run worker of source \"%s\"", row->source);
	call->stream = source ? source->stream : NULL;
}

/* rc_cancel(run_id): true when it was told to end, or will not begin. */
Datum
rc_cancel(PG_FUNCTION_ARGS)
{
	int64		run;
	RcParams	params = {0};
	int			pid;

	rc_call_check_null(fcinfo, 0, "run_id");
	run = PG_GETARG_INT64(0);
	(void) load_own_run(run);
	PreventCommandIfReadOnly("rc_cancel()");
	check_not_ended(run);

	rc_param_int8(&params, run);
	if (rc_execute("UPDATE rappel_conso.run SET state = 'cancelled',"
				   " finished_at = pg_catalog.clock_timestamp(),"
				   " sqlstate = '57014', error = 'cancelled before it began'"
				   " WHERE id = $1 AND state = 'queued'", &params) == 1)
	{
		rc_execute("UPDATE rappel_conso.task SET state = 'cancelled',"
				   " finished_at = pg_catalog.clock_timestamp()"
				   " WHERE run = $1 AND state = 'queued'", &params);
		PG_RETURN_BOOL(true);
	}

	/*
	 * By the number of the run: the worker of the source may be that of the
	 * next run by now, or the scheduler, which ends what is dead.
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
	RunRow	   *row = load_run(run);

	if (has_ended(row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run %lld has already ended", (long long) run),
				 errdetail("Its state is %s.", row->state)));
}

/* The newest state of a run, whatever the isolation level. */
static RunRow *
load_run(int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RunRow	   *row = palloc0(sizeof(RunRow));

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT source, state,"
						" CASE WHEN owner_oid = rappel_conso.role_oid(owner) THEN owner_oid END"
						" FROM rappel_conso.run WHERE id = $1", &params) != 1)
		raise_missing_run(run);
	row->source = rc_column_text(0, 1);
	row->state = rc_column_text(0, 2);
	row->owner = (Oid) rc_column_int8(0, 3, InvalidOid);
	rc_query_end(&scope);
	return row;
}

/* The same words where there is none, and where the caller may not know. */
static void
raise_missing_run(int64 run)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("run %lld does not exist", (long long) run),
			 errhint("A run that was triggered exists for others when the transaction has committed; old runs are removed after rappel_conso.keep_history days.")));
}

/* Whether the caller may ask for a run of the source. */
static void
check_source(const char *name)
{
	RcSource   *source = rc_source_load(name);

	if (source == NULL)
		rc_call_raise_missing("source", name);
	rc_call_check_member(source->owner, source->owner_name, "source", name);
}

/*
 * Keep the source until the transaction ends: a run of it may not stay queued
 * when it is deleted or renamed meanwhile, nor be begun for another one that
 * has the name then.  What is still queued for an earlier one goes.
 */
static void
keep_source(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	if (rc_execute("SELECT FROM rappel_conso.source s WHERE s.name = $1"
				   " FOR KEY SHARE", &params) != 1)
		rc_call_raise_missing("source", name);
	check_source(name);
	(void) rc_run_cancel_orphans(name);
}

/*
 * A run that the caller may use: that of its source, and not of an earlier
 * source of the name, which another role had.
 */
static RunRow *
load_own_run(int64 run)
{
	RunRow	   *row = load_run(run);
	bool		own = superuser() || (OidIsValid(row->owner) &&
									  rc_may_act_for(GetUserId(), row->owner));

	if (!rc_call_sees_all())
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
				 errmsg("run %lld is of an earlier source \"%s\" that belonged to another role",
						(long long) run, row->source)));
	return row;
}

/* What this transaction has asked for cannot begin before it commits. */
static void
check_committed(int64 run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	TransactionId xmin = InvalidTransactionId;

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query("SELECT xmin::text FROM rappel_conso.run"
				 " WHERE id = $1 AND state = 'queued'", &params) == 1)
		xmin = (TransactionId) strtoul(rc_column_text(0, 1), NULL, 10);
	rc_query_end(&scope);
	if (TransactionIdIsNormal(xmin) &&
		TransactionIdIsCurrentTransactionId(xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("run %lld was asked for by this transaction",
						(long long) run),
				 errhint("Commit first, then call rc_wait().")));
}

/*
 * A run that says so while nobody runs it, before and after its locks were
 * looked at, is dead, whether or not somebody has written that down yet.  The
 * lock of its number stays when the source is renamed.
 */
static void
check_alive(int64 run)
{
	RunRow	   *row = load_run(run);

	if (strcmp(row->state, "running") != 0 ||
		rc_lock_holder(MyDatabaseId, RC_WORKER_RUN, row->source, 0) != 0 ||
		rc_lock_holder(MyDatabaseId, RC_WORKER_RUN_ID,
					   psprintf("%lld", (long long) run), 0) != 0 ||
		strcmp(load_run(run)->state, "running") != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CRASH_SHUTDOWN),
			 errmsg("the process ended before the run did"),
			 errhint("The next run goes on from the last commit; see the server log for the cause.")));
}

/*
 * Say how far a run is, if it has come further than "told"; returns how far
 * that is.
 */
static int64
tell_progress(int64 run, int64 told)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		fetched = 0;
	int64		windows = 0;
	int64		done = 0;

	rc_param_int8(&params, run);
	rc_query_begin(&scope);
	if (rc_query_latest("SELECT r.fetched, pg_catalog.count(t.window_from),"
						" pg_catalog.count(*) FILTER (WHERE t.window_from IS NOT NULL"
						"  AND t.state = 'success')"
						" FROM rappel_conso.run r"
						" LEFT JOIN rappel_conso.task t ON t.run = r.id"
						" WHERE r.id = $1 AND r.state = 'running' GROUP BY r.id",
						&params) == 1)
	{
		fetched = rc_column_int8(0, 1, 0);
		windows = rc_column_int8(0, 2, 0);
		done = rc_column_int8(0, 3, 0);
	}
	rc_query_end(&scope);
	if (fetched + done <= told)
		return told;
	if (windows > 0)
		ereport(NOTICE,
				(errmsg("run %lld: %lld records, %lld of %lld windows done",
						(long long) run, (long long) fetched,
						(long long) done, (long long) windows)));
	else
		ereport(NOTICE,
				(errmsg("run %lld: %lld records", (long long) run,
						(long long) fetched)));
	return fetched + done;
}

static bool
has_ended(const RunRow *row)
{
	return strcmp(row->state, "queued") != 0 &&
		strcmp(row->state, "running") != 0;
}
