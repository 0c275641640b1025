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
#define LOOK_INTERVAL	1000

/* How long a worker slot is waited for, and between two tries, in ms. */
#define SLOT_PATIENCE	5000
#define SLOT_INTERVAL	50

/* What is needed to end the worker when its caller ends. */
typedef struct StartedWorker
{
	BackgroundWorkerHandle *handle;
	bool		ended;
} StartedWorker;

static bool find_slot(const RcCall *call, const RcWorkerArgs *args,
					  StartedWorker *started, bool *full);
static bool launch_one(RcWorkerKind kind, const RcWorkerArgs *args,
					   StartedWorker *started);
static StartedWorker *launch(const RcCall *call, dsm_segment *segment);
static bool receive(shm_mq_handle *queue, StartedWorker *started,
					RcCall *call);
static void handle_message(StringInfo message, StartedWorker *started,
						   RcCall *call);
static void rethrow(StringInfo message, StartedWorker *started);
static void cancel_worker(dsm_segment *segment, Datum arg);
static void check_deadline(const RcCall *call);
static List *add_pid(List *pids, int pid);

/*
 * Start call->kind and wait for its end: then either call->busy, or
 * call->ended with its values.  The worker's error is raised as ours; so is
 * that it ended without a word, that there is no slot for it, that the
 * deadline has passed, or that it waits for a lock which this session holds.
 * In each of these cases, and when the caller is cancelled or terminated, the
 * worker is cancelled.
 */
void
rc_call_worker(RcCall *call)
{
	dsm_segment *segment;
	shm_mq	   *queue;
	shm_mq_handle *handle;
	StartedWorker *started;

	segment = dsm_create(QUEUE_SIZE, 0);
	queue = shm_mq_create(dsm_segment_address(segment), QUEUE_SIZE);
	shm_mq_set_receiver(queue, MyProc);
	handle = shm_mq_attach(queue, segment, NULL);
	started = launch(call, segment);
	shm_mq_set_handle(handle, started->handle);

	rc_lock_mark(call->kind, call->args.name, false);
	while (!receive(handle, started, call))
	{
		rc_wait_latch(LOOK_INTERVAL, RC_WAIT_REPLY);
		check_deadline(call);
		if (GetBackgroundWorkerPid(started->handle, &call->worker) != BGWH_STARTED)
			call->worker = 0;
		rc_call_check_blocked(call);
	}
	rc_lock_unmark(call->kind, call->args.name, false);
	call->worker = 0;
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
find_slot(const RcCall *call, const RcWorkerArgs *args,
		  StartedWorker *started, bool *full)
{
	TimestampTz began = GetCurrentTimestamp();
	bool		marked = false;

	for (;;)
	{
		RcShare		share;

		rc_share_look(args->role, "{}", &share);
		*full = rc_share_must_leave(&share);
		if (!*full && launch_one(call->kind, args, started))
			break;
		if (rc_time_passed(began, SLOT_PATIENCE))
			return false;
		if (!marked)
			rc_share_mark(args->role);
		marked = true;
		rc_wake_now(RC_WORKER_SCHEDULER, "", 0);
		rc_wait_latch(SLOT_INTERVAL, RC_WAIT_SLOT);
		check_deadline(call);
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

/* Launch the worker, and have it cancelled when the segment goes. */
static StartedWorker *
launch(const RcCall *call, dsm_segment *segment)
{
	RcWorkerArgs args = call->args;
	StartedWorker *started = MemoryContextAllocZero(TopMemoryContext,
													sizeof(StartedWorker));
	bool		full;

	args.database = MyDatabaseId;
	args.segment = dsm_segment_handle(segment);

	if (!find_slot(call, &args, started, &full))
	{
		pfree(started);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the %s", call->what),
				 full ? errdetail("Its owner's limit is reached: %s.",
								  rc_share_words(GetUserNameFromId(args.role, false))) : 0,
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
receive(shm_mq_handle *queue, StartedWorker *started, RcCall *call)
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
			if (call->ended || call->busy)
				return true;
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the %s ended unexpectedly", call->what),
					 errhint("See the server log for the cause; nothing that was committed is lost.")));
		}
		initStringInfo(&message);
		appendBinaryStringInfo(&message, data, size);
		handle_message(&message, started, call);
	}
}

static void
handle_message(StringInfo message, StartedWorker *started, RcCall *call)
{
	switch (pq_getmsgbyte(message))
	{
		case 'E':
		case 'N':
			rethrow(message, started);
			break;
		case 'B':
			call->busy = true;
			break;
		case 'R':
			call->ended = true;
			for (int i = pq_getmsgint(message, 4), k = 0;
				 k < i && k < RC_CALL_VALUES; k++)
				call->values[k] = pq_getmsgint64(message);
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
check_deadline(const RcCall *call)
{
	if (call->deadline != 0 && GetCurrentTimestamp() >= call->deadline)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the %s did not end in time", call->what),
				 errdetail("It was cancelled; what it had committed stays.")));
}

/*
 * Look whether the worker, or a worker of the stream, waits for a lock that
 * this session holds, by way of others perhaps: it would wait for ever.
 */
void
rc_call_check_blocked(RcCall *call)
{
	MemoryContext look = AllocSetContextCreate(CurrentMemoryContext,
											   "rappel_conso look",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(look);
	RcStream   *stream = call->stream ? rc_stream_load(call->stream) : NULL;
	List	   *pids = NIL;
	bool		blocked;
	bool		prepared;

	/* ours may wait before it holds its lock: while it connects */
	pids = add_pid(pids, call->worker);
	pids = add_pid(pids, rc_lock_holder(MyDatabaseId, call->kind,
										call->args.name, 0));
	for (int i = 0; stream != NULL && i < stream->workers; i++)
		pids = add_pid(pids, rc_lock_holder(MyDatabaseId, RC_WORKER_STREAM,
											stream->name, i));
	blocked = rc_waits_for_us(pids, &prepared);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(look);
	if (blocked)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the %s waits for a lock that this session holds",
						call->what),
				 errhint("Commit or roll back first, then call the function again.")));
	if (prepared && !call->told_prepared)
	{
		call->told_prepared = true;
		ereport(NOTICE,
				(errmsg("the %s waits for a lock that a prepared transaction holds",
						call->what),
				 errhint("The prepared transactions are the rows of pg_prepared_xacts: COMMIT PREPARED or ROLLBACK PREPARED ends one.")));
	}
}

static List *
add_pid(List *pids, int pid)
{
	return pid == 0 ? pids : list_append_unique_int(pids, pid);
}

/* A row of n bigints. */
Datum
rc_call_row(FunctionCallInfo fcinfo, const int64 *values, int n)
{
	TupleDesc	desc;
	Datum		datums[RC_CALL_VALUES];
	bool		nulls[RC_CALL_VALUES] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(values[i]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), datums,
											 nulls));
}
