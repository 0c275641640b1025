/*-------------------------------------------------------------------------
 *
 * run_worker.c
 *	  The run worker: starts one run of a source, executes its tasks in order
 *	  (run_task.c), and stores how it ended.
 *
 * A failed run keeps what was committed: cursor, offsets and rows are
 * consistent, and the next run resumes from there.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "run_header.h"
#include "utils/memutils.h"
#include "worker/worker_share.h"

static void run_source(RcWorkerArgs *args);
static bool take_source(const RcWorkerArgs *args);
static ErrorData *work(RcRun *run);
static RcRun *load_run(const RcWorkerArgs *args);
static bool poll_is_idle(RcRun *run);
static bool begin_run(RcRun *run, const RcWorkerArgs *args);
static void check_run(RcRun *run);
static void run_tasks(RcRun *run);
static void extract(RcRun *run, const char *name);
static void load(RcRun *run);
static void resume_cancels(void);
static void finish_run(RcRun *run, const char *state, const ErrorData *error);

/* Entry point of the run worker. */
void
rc_run_main(Datum arg)
{
	rc_worker_main(run_source);
}

static void
run_source(RcWorkerArgs *args)
{
	RcRun	   *run;
	MemoryContext context;
	ErrorData  *error;

	if (!take_source(args))
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

	error = work(run);
	if (error == NULL)
	{
		finish_run(run, "success", NULL);
		rc_queue_send_end(&run->id, 1);
		return;
	}
	finish_run(run, error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
			   "cancelled" : "failed", error);
	ThrowErrorData(error);
}

/* Connect, and take the source's lock; false if another process holds it. */
static bool
take_source(const RcWorkerArgs *args)
{
	rc_queue_attach(args->segment);
	rc_cancel_ends_worker = true;
	rc_worker_connect(args, RC_WORKER_RUN);
	if (args->scheduled)
		rc_queue_connected();
	else
		rc_share_check();
	return rc_lock_take(RC_WORKER_RUN, args->name, 0);
}

/* Execute the tasks.  Returns the error that ended them, or NULL. */
static ErrorData *
work(RcRun *run)
{
	ErrorData  *volatile error = NULL;
	ErrorData  *gone;

	PG_TRY();
	{
		check_run(run);
		run_tasks(run);
		rc_run_check_missing(run);
	}
	PG_CATCH();
	{
		error = rc_worker_recover(run->context, false);
		rc_run_release(run);
	}
	PG_END_TRY();
	if (error == NULL || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return error;
	gone = rc_run_source_gone(run);
	return gone != NULL ? gone : error;
}

/*
 * Load the definitions.  Returns NULL if the extension or the source was
 * dropped.
 */
static RcRun *
load_run(const RcWorkerArgs *args)
{
	MemoryContext context = CurrentMemoryContext;
	RcRun	   *run = palloc0(sizeof(RcRun));

	run->context = context;
	run->batch_context = AllocSetContextCreate(context, "rappel_conso run batch",
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
				 errmsg("source \"%s\" was given to another owner concurrently",
						run->source->name),
				 errhint("Call the function again.")));
	if (run->source->stream)
		run->stream = rc_stream_load(run->source->stream);
	run->destination = rc_destination_make(run);
	rc_transaction_commit();
	return run;
}

/*
 * Whether a scheduled poll needs no run, since the dataset has not changed.
 * After an error here the run is started, to fail with it and record it.
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
	rc_run_release(run);
	return idle;
}

/*
 * Insert the run's row, or claim the queued one.  Returns false if that is not
 * queued any more.
 */
static bool
begin_run(RcRun *run, const RcWorkerArgs *args)
{
	rc_transaction_begin_in(run->context);
	if (rc_run_mark_crashed(run->source->name) > 0)
		ereport(LOG,
				(errmsg("an earlier run of source \"%s\" had ended unexpectedly",
						run->source->name)));
	run->id = args->id;
	if (run->id == 0)
		run->id = rc_run_start(run->source->name,
							   args->scheduled ? "schedule" : "manual",
							   run->full_sync, run->destination->id);
	else if (!rc_run_claim(run->id, run->destination->id, &run->full_sync))
	{
		rc_transaction_commit();
		return false;
	}
	(void) rc_source_wait(run->source->name, NULL);

	/*
	 * only this process has the lock of this number; rc_cancel() finds us by
	 * it
	 */
	(void) rc_lock_take(RC_WORKER_RUN_ID,
						psprintf("%lld", (long long) run->id), 0);
	run->windows = rc_run_windows(run->id);
	run->label = rc_run_header_write(run->id);

	/* its id is sent to Kafka: after a crash no other run may get the same */
	if (run->destination->class->ahead_of_commit)
		ForceSyncCommit();
	rc_transaction_commit();
	return true;
}

/* Raise errors that are certain before any network access. */
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
		rc_run_set_task(run, "load", "queued", 0, 0, NULL);
	PG_TRY();
	{
		extract(run, "extract");
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(run->context, false);

		if (run->stream != NULL)
			rc_run_set_task(run, "load",
							error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
							"cancelled" : "upstream_failed", 0, 0, NULL);
		ReThrowError(error);
	}
	PG_END_TRY();
	if (run->stream != NULL)
		rc_run_task(run, "load", load);
}

/*
 * Execute the task that reads the source, once for each window of a backfill.
 */
static void
extract(RcRun *run, const char *name)
{
	ListCell   *lc;

	if (run->windows == NIL)
	{
		rc_run_task(run, name, rc_run_extract);
		return;
	}
	foreach(lc, run->windows)
	{
		RcWindow   *window = (RcWindow *) lfirst(lc);

		if (window->done)
			continue;
		run->window = window;
		run->scan_state.begun = false;
		run->scan_state.resumed = false;
		run->scan_state.resume = NULL;
		ereport(NOTICE,
				(errmsg("source \"%s\": window %d of %d, from %s to %s",
						run->source->name, foreach_current_index(lc) + 1,
						list_length(run->windows), window->from, window->to)));
		rc_run_task(run, window->task, rc_run_extract);
	}
}

static void
load(RcRun *run)
{
	rc_destination_load(run->destination);
}

/* Release the task's external resources. */
void
rc_run_release(RcRun *run)
{
	rc_reader_close(run->reader);
	run->reader = NULL;
	rc_destination_close(run->destination);
}

/*
 * The error of a run whose source was deleted or given to another role; else
 * NULL. scheduler_gone.c also cancels runs of such sources, wherever they
 * wait.
 */
ErrorData *
rc_run_source_gone(RcRun *run)
{
	ErrorData  *gone;

	HOLD_CANCEL_INTERRUPTS();
	rc_transaction_begin_in(run->context);
	gone = rc_source_gone(run->source);
	rc_transaction_commit();
	resume_cancels();
	return gone;
}

/*
 * An error resets the count to 0, even one that a user's trigger on our tables
 * has caught meanwhile.
 */
static void
resume_cancels(void)
{
	if (QueryCancelHoldoffCount > 0)
		RESUME_CANCEL_INTERRUPTS();
}

/*
 * Store the end of the run.  A late cancel has no effect, but waiting for a
 * lock on the run's row still ends when the worker is terminated.
 */
static void
finish_run(RcRun *run, const char *state, const ErrorData *error)
{
	HOLD_CANCEL_INTERRUPTS();
	rc_transaction_begin();
	rc_run_finish(run->id, state, error);
	rc_transaction_commit();
	QueryCancelPending = false;
	resume_cancels();
}
