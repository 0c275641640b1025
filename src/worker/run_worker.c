/*-------------------------------------------------------------------------
 *
 * run_worker.c
 *	  The run worker: one run of a source, its tasks one after the other,
 *	  each tried again with backoff while its error may pass.
 *
 * A run that ends by an error leaves what was committed: cursor, offsets and
 * rows belong together, so the next run goes on from there.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "run_header.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_share.h"

/* The longest wait before a retry, in ms, unless the API names a time. */
#define MAX_RETRY_DELAY		(10 * 60 * 1000)

/* While it waits, it looks this often whether its source is there, in ms. */
#define LOOK_INTERVAL		5000

typedef void (*TaskFunction) (RcRun *run);

static void run_source(RcWorkerArgs *args);
static RcRun *load_run(const RcWorkerArgs *args);
static bool poll_is_idle(RcRun *run);
static bool begin_run(RcRun *run, const RcWorkerArgs *args);
static void check_run(RcRun *run);
static void run_tasks(RcRun *run);
static void extract(RcRun *run, const char *name);
static void load(RcRun *run);
static void run_task(RcRun *run, const char *name, TaskFunction function);
static ErrorData *try_task(RcRun *run, TaskFunction function);
static void release(RcRun *run);
static bool worth_a_retry(RcRun *run, const ErrorData *error, int attempt);
static TimestampTz next_try(RcRun *run, int attempt, TimestampTz not_before);
static void wait_until(RcRun *run, TimestampTz time);
static ErrorData *source_gone(RcRun *run);
static void set_task(RcRun *run, const char *name, const char *state,
					 int attempt, TimestampTz next_try,
					 const ErrorData *error);
static void finish_run(RcRun *run, const char *state, const ErrorData *error);

/*
 * Entry point of the run worker.
 */
void
rc_run_main(Datum arg)
{
	rc_worker_main(run_source);
}

static void
run_source(RcWorkerArgs *args)
{
	RcRun	   *volatile run;
	MemoryContext context;
	ErrorData  *volatile error = NULL;

	rc_queue_attach(args->segment);
	rc_cancel_ends_worker = true;
	rc_worker_connect(args, RC_WORKER_RUN);
	if (args->scheduled)
		rc_queue_connected();
	else
		rc_share_check();
	if (!rc_lock_take(RC_WORKER_RUN, args->name, 0))
	{
		rc_queue_send_busy();
		return;
	}
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso run",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	run = load_run(args);
	if (run == NULL ||
		(args->scheduled && args->id == 0 && poll_is_idle(run)) ||
		!begin_run(run, args))
		return;

	PG_TRY();
	{
		check_run(run);
		run_tasks(run);
		rc_run_check_missing(run);
	}
	PG_CATCH();
	{
		error = rc_worker_recover(run->context, false);
		release(run);
	}
	PG_END_TRY();

	if (error == NULL)
	{
		finish_run(run, "success", NULL);
		rc_queue_send_end(&run->id, 1);
		return;
	}
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		ErrorData  *gone = source_gone(run);

		error = gone != NULL ? gone : error;
	}
	finish_run(run, error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
			   "cancelled" : "failed", error);
	ThrowErrorData(error);
}

/*
 * Load the definitions; NULL when the extension or the source has gone.
 */
static RcRun *
load_run(const RcWorkerArgs *args)
{
	MemoryContext context = CurrentMemoryContext;
	RcRun	   *run = palloc0(sizeof(RcRun));

	run->context = context;
	run->batch_context = AllocSetContextCreate(context, "rappel_conso batch",
											   ALLOCSET_DEFAULT_SIZES);
	run->full_sync = args->full_sync;

	rc_statement_expect();
	rc_transaction_begin_in(context);
	if (!rc_extension_present() ||
		(run->source = rc_source_load(args->name)) == NULL)
	{
		rc_transaction_commit();
		return NULL;
	}
	if (run->source->owner != GetSessionUserId())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("source \"%s\" was given to another role meanwhile",
						run->source->name),
				 errhint("Call the function again.")));
	if (run->source->stream)
		run->stream = rc_stream_load(run->source->stream);
	run->destination = rc_destination_make(run);
	rc_transaction_commit();
	return run;
}

/*
 * Whether a poll of the scheduler can do without a run, since the dataset has
 * not changed.  An error here is left to the run to meet and to record.
 */
static bool
poll_is_idle(RcRun *run)
{
	volatile bool idle = false;

	PG_TRY();
	{
		idle = rc_run_unchanged(run);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		(void) rc_worker_recover(run->context, false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(run->context);
	release(run);
	return idle;
}

/*
 * Make the run's row, or take the one that was queued; false when that is
 * not queued any more.
 */
static bool
begin_run(RcRun *run, const RcWorkerArgs *args)
{
	rc_transaction_begin_in(run->context);
	if (rc_run_abandon(run->source->name) > 0)
		ereport(LOG,
				(errmsg("an earlier run of source \"%s\" had ended unexpectedly",
						run->source->name)));
	run->id = args->id;
	if (run->id == 0)
		run->id = rc_run_start(run->source->name,
							   args->scheduled ? "schedule" : "manual",
							   run->full_sync, run->destination->id);
	else if (!rc_run_take(run->id, run->destination->id, &run->full_sync))
	{
		rc_transaction_commit();
		return false;
	}
	(void) rc_source_wait(run->source->name, NULL);

	/* as nobody else is, so it is by this number that rc_cancel() finds us */
	(void) rc_lock_take(RC_WORKER_RUN_ID,
						psprintf("%lld", (long long) run->id), 0);
	run->windows = rc_run_windows(run->id);
	run->label = rc_run_header_write(run->id);

	/* its number goes abroad: after a crash no other run may have it */
	if (run->destination->class->ahead_of_commit)
		ForceSyncCommit();
	rc_transaction_commit();
	return true;
}

/* What can be seen to be impossible before anything is asked. */
static void
check_run(RcRun *run)
{
	rc_destination_check(run->destination);
	if (run->stream != NULL && run->stream->paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" is paused", run->stream->name),
				 errhint("UPDATE rappel_conso.stream SET paused = false WHERE name = '%s'.",
						 run->stream->name)));
}

static void
run_tasks(RcRun *run)
{
	if (!rc_destination_has_load(run->destination))
	{
		extract(run, "sync");
		return;
	}
	if (run->stream != NULL)
		set_task(run, "load", "queued", 0, 0, NULL);
	PG_TRY();
	{
		extract(run, "extract");
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(run->context, false);

		if (run->stream != NULL)
			set_task(run, "load",
					 error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
					 "cancelled" : "upstream_failed", 0, 0, NULL);
		ReThrowError(error);
	}
	PG_END_TRY();
	if (run->stream != NULL)
		run_task(run, "load", load);
}

/* Read the source: what is new, or the windows of a backfill in turn. */
static void
extract(RcRun *run, const char *name)
{
	ListCell   *lc;

	if (run->windows == NIL)
	{
		run_task(run, name, rc_run_extract);
		return;
	}
	foreach(lc, run->windows)
	{
		RcWindow   *window = (RcWindow *) lfirst(lc);

		if (window->done)
			continue;
		run->window = window;
		run->scan.begun = false;
		run->scan.resumed = false;
		run->scan.resume = NULL;
		ereport(NOTICE,
				(errmsg("source \"%s\": window %d of %d, from %s to %s",
						run->source->name, foreach_current_index(lc) + 1,
						list_length(run->windows), window->from, window->to)));
		run_task(run, window->task, rc_run_extract);
	}
}

static void
load(RcRun *run)
{
	rc_destination_load(run->destination);
}

/*
 * Run one task until it succeeds or its error will not pass; then throw that.
 */
static void
run_task(RcRun *run, const char *name, TaskFunction function)
{
	run->task = name;
	for (int attempt = 1;; attempt++)
	{
		ErrorData  *error;
		TimestampTz not_before;
		TimestampTz at;
		bool		again;

		set_task(run, name, "running", attempt, 0, NULL);
		error = try_task(run, function);
		if (error == NULL)
		{
			set_task(run, name, "success", attempt, 0, NULL);
			return;
		}
		not_before = rc_run_quota(run, &run->quota);
		again = worth_a_retry(run, error, attempt);
		release(run);
		if (!again)
		{
			set_task(run, name, error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
					 "cancelled" : "failed", attempt, 0, error);
			ReThrowError(error);
		}

		at = next_try(run, attempt, not_before);
		set_task(run, name, "up_for_retry", attempt, at, error);
		ereport(NOTICE,
				(errmsg("task \"%s\" failed at try %d of %d: %s", name,
						attempt, run->source->retries + 1, error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("It is tried again at %s.", timestamptz_to_str(at))));
		FreeErrorData(error);
		wait_until(run, at);
	}
}

/* One try; returns its error, with no transaction left open. */
static ErrorData *
try_task(RcRun *run, TaskFunction function)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		function(run);
		release(run);
	}
	PG_CATCH();
	{
		error = rc_worker_recover(run->context, false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(run->context);
	MemoryContextReset(run->batch_context);
	return error;
}

/* Let go of what the task held abroad. */
static void
release(RcRun *run)
{
	rc_reader_close(run->reader);
	run->reader = NULL;
	rc_destination_close(run->destination);
}

static bool
worth_a_retry(RcRun *run, const ErrorData *error, int attempt)
{
	return error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
		attempt <= run->source->retries &&
		rc_destination_may_pass(run->destination, error);
}

/*
 * When to try again: retry_delay, doubled with each try, a fifth more or less
 * so that many do not come at once, and not before the time the API named.
 */
static TimestampTz
next_try(RcRun *run, int attempt, TimestampTz not_before)
{
	double		delay = (double) run->source->retry_delay_ms;
	TimestampTz at;

	for (int i = 1; i < attempt && delay < MAX_RETRY_DELAY; i++)
		delay *= 2;
	delay = Min(delay, MAX_RETRY_DELAY);
	delay *= 0.8 + 0.4 * pg_prng_double(&pg_global_prng_state);
	at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) delay);
	return Max(at, not_before);
}

/*
 * When the clock is set back in the meantime it is time, too.  It ends when
 * there is nothing to be tried again any more.
 */
static void
wait_until(RcRun *run, TimestampTz time)
{
	long		before = LONG_MAX;

	for (;;)
	{
		ErrorData  *gone = source_gone(run);
		long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														 time);

		if (gone != NULL)
			ThrowErrorData(gone);
		if (ms <= 0 || ms > before)
			return;
		before = ms;
		rc_worker_wait(Min(ms, LOOK_INTERVAL));
	}
}

/*
 * Why the run has no source any more, or NULL: see scheduler_gone.c, which ends it with
 * a cancel where it waits for something else.
 */
static ErrorData *
source_gone(RcRun *run)
{
	ErrorData  *gone;

	HOLD_CANCEL_INTERRUPTS();
	rc_transaction_begin_in(run->context);
	gone = rc_source_gone(run->source);
	rc_transaction_commit();
	RESUME_CANCEL_INTERRUPTS();
	return gone;
}

/*
 * Write down the state of a task, in a transaction of its own; with an error
 * also what the API said of the quota, which may be its cause.
 */
static void
set_task(RcRun *run, const char *name, const char *state, int attempt,
		 TimestampTz next_try, const ErrorData *error)
{
	rc_transaction_begin();
	if (error)
		rc_source_quota(run->source, &run->quota);
	rc_task_set(run->id, name, state, attempt, next_try, error);
	rc_transaction_commit();
}

/*
 * Write down the end of the run.  A late cancel does not matter any more; but
 * the wait for who has locked the run's row must end with the worker.
 */
static void
finish_run(RcRun *run, const char *state, const ErrorData *error)
{
	HOLD_CANCEL_INTERRUPTS();
	rc_transaction_begin();
	rc_run_finish(run->id, state, error);
	rc_transaction_commit();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
}
