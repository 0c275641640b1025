/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *	  The scheduler of a database: regularly finds out which workers should be
 *	  running, starts them, and deletes old history.
 *
 * scheduler_due.c finds what is due, scheduler_start.c starts it.  The
 * scheduler is connected as the bootstrap superuser, so it must never run a
 * user's SQL, nor process records.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Interval of rounds, in ms; setting the latch starts one at once. */
#define POLL_INTERVAL_MS		5000

/* Interval of deleting old history, in ms. */
#define RETENTION_INTERVAL	(60 * 60 * 1000)

/* lock_timeout of our own queries, in ms. */
#define LOCK_TIMEOUT_MS		2000

MemoryContext rc_round_context;
long		rc_next_round_ms;

/* Finds work that is due, and adds it to a list of RcStart. */
typedef List *(*Part) (List *starts);

static void schedule(RcWorkerArgs *args);
static bool may_run(bool by_hand);
static void round_of_work(void);
static List *retry_after_reload(List *starts);
static List *guarded(Part part, List *starts);
static void settle_lost(List *lost);
static void settle_child(const RcLostChild *child);
static void remove_history(void);

/* Entry point of the scheduler. */
void
rc_scheduler_main(Datum arg)
{
	rc_worker_main(schedule);
}

static void
schedule(RcWorkerArgs *args)
{
	rc_worker_connect(args, RC_WORKER_SCHEDULER);
	if (!rc_lock_take(RC_WORKER_SCHEDULER, "", 0) || !may_run(args->by_hand))
		proc_exit(0);
	ereport(LOG,
			(errmsg("rappel_conso scheduler started in database with OID %u",
					args->database)));
	rc_query_lock_timeout = LOCK_TIMEOUT_MS;
	rc_round_context = AllocSetContextCreate(TopMemoryContext,
											 "rappel_conso scheduler",
											 ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		MemoryContextSwitchTo(rc_round_context);
		MemoryContextReset(rc_round_context);
		rc_next_round_ms = POLL_INTERVAL_MS;
		PG_TRY();
		{
			round_of_work();
		}
		PG_CATCH();
		{
			(void) rc_round_recover();
		}
		PG_END_TRY();
		rc_worker_wait(rc_next_round_ms);
	}
}

/*
 * Whether the extension exists, and rc_stop() has not been called since the
 * server was started.  A start by rc_start() overrides that.
 */
static bool
may_run(bool by_hand)
{
	bool		may;

	rc_transaction_begin();
	may = rc_extension_present();
	if (may && by_hand)
		rc_stopped_clear();
	else if (may)
		may = !rc_stopped_since(PgStartTime);
	rc_transaction_commit();
	return may;
}

/* One round: find what is due, then start it, runs first. */
static void
round_of_work(void)
{
	static TimestampTz removed_at = 0;
	List	   *starts = NIL;

	settle_lost(rc_children_poll(&rc_next_round_ms));
	rc_transaction_begin();
	if (!rc_extension_present())
	{
		rc_transaction_commit();
		rc_cancel_all();
		ereport(LOG,
				(errmsg("rappel_conso scheduler is shutting down: the extension was dropped, or its version differs from the library's")));
		proc_exit(0);
	}
	rc_transaction_commit();

	/* separately, since each may fail on a table that a session has locked */
	starts = guarded(rc_due_gone, starts);
	starts = guarded(rc_due_dead_runs, starts);
	starts = guarded(rc_due_orphans, starts);
	starts = guarded(rc_due_runs, starts);
	starts = guarded(rc_due_cancels, starts);
	if (rc_kafka_brokers[0] != '\0')
	{
		starts = guarded(retry_after_reload, starts);
		starts = guarded(rc_due_publisher, starts);
		starts = guarded(rc_due_streams, starts);
		starts = guarded(rc_due_watermarks, starts);
	}
	rc_start_all(starts);
	MemoryContextSwitchTo(rc_round_context);
	if (rc_time_passed(removed_at, RETENTION_INTERVAL))
	{
		removed_at = GetCurrentTimestamp();
		remove_history();
	}
}

/*
 * A reload may have fixed a setting, or a file that it names: retry failed
 * streams.
 */
static List *
retry_after_reload(List *starts)
{
	static TimestampTz reloaded_at = 0;

	if (reloaded_at != PgReloadTime)
	{
		rc_stream_retry_all();
		reloaded_at = PgReloadTime;
	}
	return starts;
}

/*
 * Execute one part of a round in its own transaction, so that an error does
 * not affect the others.
 */
static List *
guarded(Part part, List *starts)
{
	List	   *volatile result = starts;

	PG_TRY();
	{
		rc_transaction_begin_in(rc_round_context);
		result = part(starts);
		rc_transaction_commit();
	}
	PG_CATCH();
	{
		rc_round_recover();
		result = starts;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(rc_round_context);
	return result;
}

/*
 * To be called in PG_CATCH, when a part of a round has failed: recover, so
 * that the others continue.  Returns the SQLSTATE.
 */
int
rc_round_recover(void)
{
	ErrorData  *error = rc_worker_recover(rc_round_context,
										  geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE);

	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		rc_transaction_begin();
		ereport(LOG,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("rappel_conso scheduler is waiting: %s",
						rc_lock_message(error))));
		rc_transaction_commit();
	}
	MemoryContextSwitchTo(rc_round_context);
	return error->sqlerrcode;
}

/* Process workers that could not connect. */
static void
settle_lost(List *lost)
{
	ListCell   *lc;

	foreach(lc, lost)
	{
		RcLostChild *child = (RcLostChild *) lfirst(lc);

		PG_TRY();
		{
			rc_transaction_begin();
			if (rc_extension_present())
				settle_child(child);
			rc_transaction_commit();
		}
		PG_CATCH();
		{
			rc_round_recover();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(rc_round_context);
		if (child->what.kind != RC_WORKER_STREAM)
			rc_due_pause(child->what.kind, child->what.name);
	}
}

/*
 * A stream whose worker could not connect is set to failed.  A queued run is
 * set to failed if the error is permanent; else the reason of its wait is
 * stored.
 */
static void
settle_child(const RcLostChild *child)
{
	ErrorData  *error = child->error;

	if (child->what.kind == RC_WORKER_STREAM)
		rc_stream_fail(child->what.name, error);
	else if (child->what.kind == RC_WORKER_RUN &&
			 !rc_error_is_transient(error->sqlerrcode))
		rc_run_refuse(child->what.run, child->what.name, error);
	else if (child->what.kind == RC_WORKER_RUN)
		(void) rc_source_wait(child->what.name,
							  psprintf(gettext_noop("its worker could not connect: %s"),
									   error->message));
}

/* Delete finished runs and resolved dead letters older than keep_history. */
static void
remove_history(void)
{
	rc_transaction_begin();
	rc_run_remove_old(rc_keep_history);
	rc_dead_letter_remove_old(rc_keep_history);
	rc_transaction_commit();
}
