/*-------------------------------------------------------------------------
 *
 * run_wait.c
 *	  The caller's side of rc_sync_now(): starts a run of a source and waits
 *	  for it.
 *
 * If a run of the source is in progress it waits for that run instead: a
 * source can have only one.
 *
 *-------------------------------------------------------------------------
 */
#include "session/run_wait.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "latch_wait.h"
#include "session/caller_checks.h"
#include "session/worker_request.h"
#include "store/error_class.h"
#include "store/extension_state.h"
#include "store/run_request.h"
#include "store/source_table.h"

/* How often the worker and the run are checked, in ms. */
#define POLL_INTERVAL_MS	1000
#define JOIN_INTERVAL	100

static void check_caller(const RcSource *source);
static bool start_and_wait(RcWorkerRequest *request, int64 *run);
static bool join(RcWorkerRequest *request, int64 *run);

/*
 * Run the source and wait for the end; returns the run's id, whose row can be
 * read by rc_run_tuple().
 *
 * Errors: that of a failed run; 25006 in a read-only transaction or during
 * recovery, 42704 if the source does not exist, 42501 if the caller lacks its
 * owner's privileges, 55006 if this transaction has changed it.
 */
int64
rc_sync(const char *name, bool full_sync)
{
	RcSource   *source;
	RcWorkerRequest request = {0};
	int64		run = 0;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot run source \"%s\" during recovery", name),
				 errhint("Call rc_sync_now() on the primary server.")));
	PreventCommandIfReadOnly("rc_sync_now()");

	source = rc_source_get(name);
	check_caller(source);

	request.kind = RC_WORKER_RUN;
	request.args.role = source->owner;
	request.args.full_sync = full_sync;
	strlcpy(request.args.name, name, sizeof(request.args.name));
	request.stream = source->stream;
	for (;;)
	{
		if (rc_worker_alive(RC_WORKER_RUN, name, 0))
		{
			if (join(&request, &run))
				return run;
		}
		else if (start_and_wait(&request, &run))
			return run;
	}
}

/*
 * Check that the caller may run the source, and that this transaction has not
 * changed a definition that the run's worker has to read.
 */
static void
check_caller(const RcSource *source)
{
	rc_caller_check_owner(source->owner, source->owner_name, "source",
						  source->name);
	rc_check_committed(rc_extension_xmin(), "pg_extension", RC_NAME);
	rc_check_committed(rc_source_xmin(source->name), "rappel_conso.source",
					   source->name);
	if (source->stream)
		rc_check_committed(rc_stream_xmin(source->stream), "rappel_conso.stream",
						   source->stream);
}

/*
 * Start a run worker and wait; false if another run has begun before it.
 */
static bool
start_and_wait(RcWorkerRequest *request, int64 *run)
{
	request->busy = request->ended = false;
	rc_worker_request(request);
	*run = request->values[0];
	return request->ended;
}

/*
 * Wait for the run in progress.  Returns false if the caller has to start a
 * run of its own: that run was cancelled, ended before it had a row, did less
 * than was requested, or was of an earlier source of that name.
 */
static bool
join(RcWorkerRequest *request, int64 *run)
{
	const char *source = request->args.name;
	int64		before = rc_run_next(source);
	bool		reported = false;
	int			polls = 0;
	int			holder = rc_lock_holder(MyDatabaseId, RC_WORKER_RUN, source, 0);
	int			now;

	/* the scheduler holds the lock while it marks a crashed run */
	if (holder == rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0))
	{
		rc_wait_latch(JOIN_INTERVAL, RC_WAIT_RUN);
		return false;
	}
	rc_lock_mark(RC_WORKER_RUN, source, false);
	while ((now = rc_lock_holder(MyDatabaseId, RC_WORKER_RUN, source, 0)) != 0)
	{
		/* the next run can begin at once, and another after it */
		if (now != holder)
			break;
		if (!reported)
			ereport(NOTICE,
					(errmsg("waiting for the run of source \"%s\" that is in progress",
							source)));
		reported = true;
		rc_wait_latch(JOIN_INTERVAL, RC_WAIT_RUN);
		if (++polls % (POLL_INTERVAL_MS / JOIN_INTERVAL) == 0)
			rc_worker_request_check_blocked(request);
	}
	rc_lock_unmark(RC_WORKER_RUN, source, false);

	*run = rc_run_joined(source, before, request->args.full_sync, now != 0);
	return *run != 0 && rc_sync_outcome(*run);
}

/*
 * The outcome of a run that has ended: true for success, false if it was
 * cancelled.  The error of a failed run is raised.
 */
bool
rc_sync_outcome(int64 run)
{
	RcRunOutcome *outcome = rc_run_outcome(run);

	if (strcmp(outcome->state, "success") == 0)
		return true;
	if (strcmp(outcome->state, "cancelled") == 0)
		return false;
	if (outcome->sqlstate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("run %lld of source \"%s\" ended unexpectedly",
						(long long) run, outcome->source),
				 errhint("See the server log for the cause. The next run resumes from the last commit.")));
	ereport(ERROR,
			(errcode(rc_sqlstate(outcome->sqlstate)),
			 errmsg("%s", outcome->error),
			 outcome->detail ? errdetail_internal("%s", outcome->detail) : 0,
			 outcome->hint ? errhint("%s", outcome->hint) : 0));
	return false;				/* keep compiler quiet */
}
