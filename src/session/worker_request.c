/*-------------------------------------------------------------------------
 *
 * worker_request.c
 *	  Starts a worker for a backend that waits for it, forwards the worker's
 *	  notices and error, and cancels the worker when the caller ends.
 *
 * It waits inside the caller's transaction, whose locks can block the worker:
 * it must detect that, or both would wait forever.
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

/*
 * How often it is checked that the worker does not wait for this session, in
 * ms.
 */
#define POLL_INTERVAL_MS	1000

/*
 * How long to wait for a free worker slot, and between two attempts, in ms.
 */
#define SLOT_TIMEOUT_MS	5000
#define SLOT_INTERVAL	50

/* What cancel_worker() needs when the caller ends. */
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
 * Start a worker of request->kind and wait for its end: then either
 * request->busy is set, or request->ended and its values.  The worker's error
 * is raised here.  Errors are also raised if the worker ends without a reply,
 * there is no slot for it, the deadline passes, or it waits for a lock that
 * this session holds.  In each of these cases, and when the caller is
 * cancelled or terminated, the worker is cancelled.
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
 * Start the worker, and wait up to SLOT_TIMEOUT_MS for a free slot: the
 * scheduler ends a stream's worker to make room, and parallel queries end.
 * Returns false if there is none in time; *full is set if the reason is not a
 * lack of slots but the owner's limit.
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

/* The worker's name in messages, the same as in the server log. */
static const char *
title(const RcWorkerRequest *request)
{
	return rc_worker_title(request->kind, request->args.name);
}

/* Launch the worker; it is cancelled when the segment is detached. */
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
 * Process the messages in the queue; returns true if the worker has ended.
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
 * Callback for the detaching of the segment, at the end of the request or of
 * the caller's query or process: cancel the worker.
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
				 errdetail("It was cancelled. What it had committed is kept."),
				 request->stream ?
				 errhint("See in rc_status() what stream \"%s\" waits for.",
						 request->stream) : 0));
}

/*
 * Raise an error if the worker, or a worker of the stream, waits for a lock
 * that this session holds, directly or through other processes: both would
 * wait forever.
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

	/* the worker can wait before it holds its own lock, while it connects */
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
