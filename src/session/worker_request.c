/*-------------------------------------------------------------------------
 *
 * worker_request.c
 *	  The backend's side of a worker that somebody waits for: starts it,
 *	  passes on its notices and its error, and takes it along when the caller
 *	  ends.
 *
 * It waits inside the caller's transaction, so it must notice when the caller
 * stands in the worker's way.
 *
 *-------------------------------------------------------------------------
 */
#include "session/worker_request.h"

#include <signal.h>

#include "funcapi.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "latch_wait.h"
#include "session/request_blockers.h"
#include "store/stream_table.h"
#include "worker/worker_share.h"

#define QUEUE_SIZE		65536

/* How long to wait between two looks for a lock of ours, in ms. */
#define POLL_INTERVAL_MS	1000

/* How long a worker slot is waited for, and between two tries, in ms. */
#define SLOT_TIMEOUT_MS	5000
#define SLOT_INTERVAL	50

/* What is needed to end the worker when its caller ends. */
typedef struct StartedWorker
{
	BackgroundWorkerHandle *handle;
	bool		ended;
} StartedWorker;

static bool find_slot(const RcWorkerRequest *request, const RcWorkerArgs *args,
					  StartedWorker *started, bool *full);
static bool launch_one(RcWorkerKind kind, const RcWorkerArgs *args,
					   StartedWorker *started);
static StartedWorker *launch(const RcWorkerRequest *request, dsm_segment *segment);
static bool receive(shm_mq_handle *queue, StartedWorker *started,
					RcWorkerRequest *request);
static void handle_message(StringInfo message, StartedWorker *started,
						   RcWorkerRequest *request);
static void rethrow(StringInfo message, StartedWorker *started);
static void cancel_worker(dsm_segment *segment, Datum arg);
static void check_deadline(const RcWorkerRequest *request);
static List *add_pid(List *pids, int pid);
static const char *title(const RcWorkerRequest *request);

/*
 * Start call->kind and wait for its end: then either call->busy, or
 * call->ended with its values.  The worker's error is raised as ours; so is
 * that it ended without an answer, that there is no slot for it, that the
 * deadline has passed, or that it waits for a lock which this session holds.
 * In each of these cases, and when the caller is cancelled or terminated, the
 * worker is cancelled.
 */
void
rc_worker_request(RcWorkerRequest *request)
{
	dsm_segment *segment;
	shm_mq	   *queue;
	shm_mq_handle *handle;
	StartedWorker *started;

	segment = dsm_create(QUEUE_SIZE, 0);
	queue = shm_mq_create(dsm_segment_address(segment), QUEUE_SIZE);
	shm_mq_set_receiver(queue, MyProc);
	handle = shm_mq_attach(queue, segment, NULL);
	started = launch(request, segment);
	shm_mq_set_handle(handle, started->handle);

	rc_lock_mark(request->kind, request->args.name, false);
	while (!receive(handle, started, request))
	{
		rc_wait_latch(POLL_INTERVAL_MS, RC_WAIT_REPLY);
		check_deadline(request);
		if (GetBackgroundWorkerPid(started->handle, &request->worker) != BGWH_STARTED)
			request->worker = 0;
		rc_worker_request_check_blocked(request);
	}
	rc_lock_unmark(request->kind, request->args.name, false);
	request->worker = 0;
	started->ended = true;
	dsm_detach(segment);
}

/*
 * Start the worker, in a slot that may have to be waited for: the scheduler
 * has a stream's worker leave, and those of parallel queries come and go.
 * False if there is none in time; "full" says that it was not for want of
 * slots, but since the owner has its share of them.
 */
static bool
find_slot(const RcWorkerRequest *request, const RcWorkerArgs *args,
		  StartedWorker *started, bool *full)
{
	TimestampTz began = GetCurrentTimestamp();
	bool		marked = false;

	for (;;)
	{
		RcShare		share;

		rc_share_count(args->role, "{}", &share);
		*full = rc_share_must_leave(&share);
		if (!*full && launch_one(request->kind, args, started))
			break;
		if (rc_time_passed(began, SLOT_TIMEOUT_MS))
			return false;
		if (!marked)
			rc_share_mark(args->role);
		marked = true;
		rc_wake_now(RC_WORKER_SCHEDULER, "", 0);
		rc_wait_latch(SLOT_INTERVAL, RC_WAIT_SLOT);
		check_deadline(request);
	}
	if (marked)
		rc_share_unmark(args->role);
	return true;
}

/* The callback of the segment, and so the handle, may outlive the query. */
static bool
launch_one(RcWorkerKind kind, const RcWorkerArgs *args,
		   StartedWorker *started)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		launched = rc_worker_launch(kind, args, &started->handle);

	MemoryContextSwitchTo(old);
	return launched;
}

/* The name of the worker in messages, as in the server log. */
static const char *
title(const RcWorkerRequest *request)
{
	return rc_worker_title(request->kind, request->args.name);
}

/* Launch the worker, and have it cancelled when the segment goes. */
static StartedWorker *
launch(const RcWorkerRequest *request, dsm_segment *segment)
{
	RcWorkerArgs args = request->args;
	StartedWorker *started = MemoryContextAllocZero(TopMemoryContext,
													sizeof(StartedWorker));
	bool		full;

	args.database = MyDatabaseId;
	args.segment = dsm_segment_handle(segment);

	if (!find_slot(request, &args, started, &full))
	{
		pfree(started);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start background worker \"%s\"", title(request)),
				 full ? errdetail("The owner's limit is reached: %s.",
								  rc_share_message(GetUserNameFromId(args.role, false))) : 0,
				 full ? errhint("Call the function again when one of them has ended.") :
				 errhint("You may need to increase max_worker_processes.")));
	}
	on_dsm_detach(segment, cancel_worker, PointerGetDatum(started));
	return started;
}

/*
 * Handle what is in the queue; true when the worker has ended.
 */
static bool
receive(shm_mq_handle *queue, StartedWorker *started, RcWorkerRequest *request)
{
	for (;;)
	{
		Size		size;
		void	   *data;
		StringInfoData message;
		shm_mq_result result = shm_mq_receive(queue, &size, &data, true);

		if (result == SHM_MQ_WOULD_BLOCK)
			return false;
		if (result == SHM_MQ_DETACHED)
		{
			started->ended = true;
			if (request->ended || request->busy)
				return true;
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("background worker \"%s\" ended unexpectedly", title(request)),
					 errhint("See the server log for the cause. Nothing that was committed is lost.")));
		}
		initStringInfo(&message);
		appendBinaryStringInfo(&message, data, size);
		handle_message(&message, started, request);
	}
}

static void
handle_message(StringInfo message, StartedWorker *started, RcWorkerRequest *request)
{
	switch (pq_getmsgbyte(message))
	{
		case 'E':
		case 'N':
			rethrow(message, started);
			break;
		case 'B':
			request->busy = true;
			break;
		case 'R':
			request->ended = true;
			for (int i = pq_getmsgint(message, 4), k = 0;
				 k < i && k < RC_REPLY_VALUES; k++)
				request->values[k] = pq_getmsgint64(message);
			break;
		default:
			break;
	}
}

/* Report the worker's notice or error as our own. */
static void
rethrow(StringInfo message, StartedWorker *started)
{
	ErrorData	error;

	pq_parse_errornotice(message, &error);
	if (error.elevel >= ERROR)
	{
		error.elevel = ERROR;
		started->ended = true;
	}
	ThrowErrorData(&error);
}

/*
 * The segment goes: at the end of the call, or with the caller's query or
 * process.  Then the worker that it started is cancelled.
 */
static void
cancel_worker(dsm_segment *segment, Datum arg)
{
	StartedWorker *started = (StartedWorker *) DatumGetPointer(arg);
	pid_t		pid;

	if (!started->ended)
	{
		if (GetBackgroundWorkerPid(started->handle, &pid) == BGWH_STARTED)
			kill(pid, SIGINT);
		else
			TerminateBackgroundWorker(started->handle);
	}
	pfree(started->handle);
	pfree(started);
}

static void
check_deadline(const RcWorkerRequest *request)
{
	if (request->deadline != 0 && GetCurrentTimestamp() >= request->deadline)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("background worker \"%s\" did not end in time", title(request)),
				 errdetail("It was cancelled. What it had committed is kept.")));
}

/*
 * Look whether the worker, or a worker of the stream, waits for a lock that
 * this session holds, by way of others perhaps: it would wait for ever.
 */
void
rc_worker_request_check_blocked(RcWorkerRequest *request)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "rappel_conso blockers",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RcStream   *stream = request->stream ? rc_stream_load(request->stream) : NULL;
	List	   *pids = NIL;
	bool		blocked;
	bool		prepared;

	/* ours may wait before it holds its lock: while it connects */
	pids = add_pid(pids, request->worker);
	pids = add_pid(pids, rc_lock_holder(MyDatabaseId, request->kind,
										request->args.name, 0));
	for (int i = 0; stream != NULL && i < stream->workers; i++)
		pids = add_pid(pids, rc_lock_holder(MyDatabaseId, RC_WORKER_STREAM,
											stream->name, i));
	blocked = rc_waits_for_us(pids, &prepared);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (blocked)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("background worker \"%s\" waits for a lock that this session holds",
						title(request)),
				 errhint("Commit or roll back first, then call the function again.")));
	if (prepared && !request->reported_prepared)
	{
		request->reported_prepared = true;
		ereport(NOTICE,
				(errmsg("background worker \"%s\" waits for a lock that a prepared transaction holds",
						title(request)),
				 errhint("End it with COMMIT PREPARED or ROLLBACK PREPARED. View pg_prepared_xacts lists the prepared transactions.")));
	}
}

static List *
add_pid(List *pids, int pid)
{
	return pid == 0 ? pids : list_append_unique_int(pids, pid);
}

/* A row of n bigints. */
Datum
rc_worker_reply_row(FunctionCallInfo fcinfo, const int64 *values, int n)
{
	TupleDesc	desc;
	Datum		datums[RC_REPLY_VALUES];
	bool		nulls[RC_REPLY_VALUES] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(values[i]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), datums,
											 nulls));
}
