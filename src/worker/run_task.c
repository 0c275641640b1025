/*-------------------------------------------------------------------------
 *
 * run_task.c
 *	  Executes one task of a run, and retries it with backoff while its error
 *	  is transient.  Each change of state is stored.
 *
 * What the task does is not known here.  Between two attempts neither a
 * transaction nor an external resource may be open.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Maximum wait before a retry, in ms, unless the API gives a time. */
#define MAX_RETRY_DELAY		(10 * 60 * 1000)

/*
 * Interval of checking, during the wait, that the source still exists, in ms.
 */
#define POLL_INTERVAL_MS		5000

static ErrorData *try_task(RcRun *run, RcTaskFunction function);
static bool worth_a_retry(RcRun *run, const ErrorData *error, int attempt);
static TimestampTz next_try(RcRun *run, int attempt, TimestampTz not_before);
static void wait_until(RcRun *run, TimestampTz time);

/*
 * Execute a task until it succeeds or fails permanently; then raise its error.
 */
void
rc_run_task(RcRun *run, const char *name, RcTaskFunction function)
{
	run->task = name;
	for (int attempt = 1;; attempt++)
	{
		ErrorData  *error;
		TimestampTz not_before;
		TimestampTz at;
		bool		again;

		rc_run_set_task(run, name, "running", attempt, 0, NULL);
		error = try_task(run, function);
		if (error == NULL)
		{
			rc_run_set_task(run, name, "success", attempt, 0, NULL);
			return;
		}
		not_before = rc_run_quota(run, &run->quota);
		again = worth_a_retry(run, error, attempt);
		rc_run_release(run);
		if (!again)
		{
			rc_run_set_task(run, name, error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
							"cancelled" : "failed", attempt, 0, error);
			ReThrowError(error);
		}

		at = next_try(run, attempt, not_before);
		rc_run_set_task(run, name, "up_for_retry", attempt, at, error);
		ereport(NOTICE,
				(errmsg("attempt %d of %d of task \"%s\" failed: %s", attempt,
						run->source->retries + 1, name, error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Wait for the next attempt, which is at %s.", timestamptz_to_str(at))));
		FreeErrorData(error);
		wait_until(run, at);
	}
}

/* One attempt.  Returns its error or NULL, with no transaction open. */
static ErrorData *
try_task(RcRun *run, RcTaskFunction function)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		function(run);
		rc_run_release(run);
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

static bool
worth_a_retry(RcRun *run, const ErrorData *error, int attempt)
{
	return error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
		attempt <= run->source->retries &&
		rc_destination_error_is_transient(run->destination, error);
}

/*
 * The time of the next attempt: retry_delay, doubled with each attempt, plus
 * or minus 20 % so that many runs do not retry at the same moment, and not
 * before the time that the API gave.
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
 * Wait until "time".  Also returns if the clock is set back meanwhile, and
 * raises an error if the source is gone.
 */
static void
wait_until(RcRun *run, TimestampTz time)
{
	long		before = LONG_MAX;

	for (;;)
	{
		ErrorData  *gone = rc_run_source_gone(run);
		long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														 time);

		if (gone != NULL)
			ThrowErrorData(gone);
		if (ms <= 0 || ms > before)
			return;
		before = ms;
		rc_worker_wait(Min(ms, POLL_INTERVAL_MS));
	}
}

/*
 * Store the state of a task, in its own transaction; with an error also the
 * quota that the API reported, which may be the cause.
 */
void
rc_run_set_task(RcRun *run, const char *name, const char *state, int attempt,
				TimestampTz next_try, const ErrorData *error)
{
	rc_transaction_begin();
	if (error)
		rc_source_quota(run->source, &run->quota);
	rc_task_set(run->id, name, state, attempt, next_try, error);
	rc_transaction_commit();
}
