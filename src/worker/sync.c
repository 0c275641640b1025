/*-------------------------------------------------------------------------
 *
 * sync.c
 *	  The backend's side of a run that somebody waits for: rc_sync_now().
 *
 * It waits inside the caller's transaction, so it must notice when the caller
 * stands in the run's way, and must take the run with it when it ends.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/sync.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define QUEUE_SIZE		65536

/* How long to wait between two looks, in ms. */
#define LOOK_INTERVAL	1000
#define JOIN_INTERVAL	100

/* What is needed to end the run when its caller ends. */
typedef struct StartedRun
{
	BackgroundWorkerHandle *handle;
	bool		ended;
} StartedRun;

static void check_caller(const RcSource *source);
static void check_not_ours(const char *sql, const char *what,
						   const char *name);
static bool start_and_wait(const RcSource *source, bool full_sync,
						   int64 *run);
static bool receive(shm_mq_handle *queue, StartedRun *started,
					const RcSource *source, int64 *run, bool *busy);
static void rethrow(StringInfo message, StartedRun *started);
static void cancel_run(dsm_segment *segment, Datum arg);
static bool join(const RcSource *source, int64 *run);
static int64 newest_run(const char *source);
static void check_blocked(const RcSource *source);
static bool blocked_by_us(int pid);

/*
 * Run the source and wait for the end; returns the run's id, whose row can be
 * read by rc_query_latest().  Raises the run's error when it fails; the
 * errors of DESIGN part 3 when it cannot work from here.
 */
int64
rc_sync(const char *name, bool full_sync)
{
	RcSource   *source;
	int64		run = 0;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot run source \"%s\" during recovery", name),
				 errhint("Call rc_sync_now() on the primary server.")));
	PreventCommandIfReadOnly("rc_sync_now()");

	source = rc_source_load(name);
	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("source \"%s\" does not exist", name),
				 errhint("The sources are the rows of rappel_conso.source.")));
	check_caller(source);

	for (;;)
	{
		if (rc_lock_holder(MyDatabaseId, RC_WORKER_RUN, name, 0) != 0)
		{
			if (join(source, &run))
				return run;
		}
		else if (start_and_wait(source, full_sync, &run))
			return run;
	}
}

/* Whether the caller may run the source, and does not stand in its way. */
static void
check_caller(const RcSource *source)
{
	if (!has_privs_of_role(GetUserId(), source->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be member of role \"%s\" to run source \"%s\"",
						GetUserNameFromId(source->owner, false),
						source->name)));
	if (!rc_role_can_login(source->owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("owner \"%s\" of source \"%s\" is not permitted to log in",
						GetUserNameFromId(source->owner, false),
						source->name),
				 errhint("Workers connect as the owner: give it LOGIN, or make another role the owner.")));

	check_not_ours("SELECT xmin::text FROM pg_catalog.pg_extension"
				   " WHERE extname = $1::name", "extension", RC_NAME);
	check_not_ours("SELECT xmin::text FROM rappel_conso.source"
				   " WHERE name = $1", "source", source->name);
	if (source->stream)
		check_not_ours("SELECT xmin::text FROM rappel_conso.stream"
					   " WHERE name = $1", "stream", source->stream);
}

/* A row that this transaction has made or changed, no worker can see. */
static void
check_not_ours(const char *sql, const char *what, const char *name)
{
	RcParams	params = {0};
	TransactionId xmin = InvalidTransactionId;

	rc_param_text(&params, name);
	rc_query_begin();
	if (rc_query(sql, &params) > 0)
		xmin = (TransactionId) strtoul(rc_column_text(0, 1), NULL, 10);
	rc_query_end();
	if (TransactionIdIsNormal(xmin) &&
		TransactionIdIsCurrentTransactionId(xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("%s \"%s\" was changed by this transaction", what,
						name),
				 errdetail("The run happens in another process, which cannot see the change yet."),
				 errhint("Commit first, then call rc_sync_now().")));
}

/*
 * Start a run worker and wait; false when another process was quicker.
 */
static bool
start_and_wait(const RcSource *source, bool full_sync, int64 *run)
{
	RcWorkerArgs args = {0};
	dsm_segment *segment;
	shm_mq	   *queue;
	shm_mq_handle *handle;
	StartedRun *started;
	MemoryContext old;
	bool		busy = false;

	segment = dsm_create(QUEUE_SIZE, 0);
	queue = shm_mq_create(dsm_segment_address(segment), QUEUE_SIZE);
	shm_mq_set_receiver(queue, MyProc);
	handle = shm_mq_attach(queue, segment, NULL);

	args.database = MyDatabaseId;
	args.role = source->owner;
	args.segment = dsm_segment_handle(segment);
	args.full_sync = full_sync;
	strlcpy(args.name, source->name, sizeof(args.name));

	/* The callback of the segment may outlive any context of the query. */
	old = MemoryContextSwitchTo(TopMemoryContext);
	started = palloc0(sizeof(StartedRun));
	if (!rc_worker_launch(RC_WORKER_RUN, &args, &started->handle))
	{
		MemoryContextSwitchTo(old);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the run worker of source \"%s\"",
						source->name),
				 errhint("You may need to increase max_worker_processes.")));
	}
	MemoryContextSwitchTo(old);
	on_dsm_detach(segment, cancel_run, PointerGetDatum(started));
	shm_mq_set_handle(handle, started->handle);

	while (!receive(handle, started, source, run, &busy))
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_INTERVAL, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		check_blocked(source);
	}
	started->ended = true;
	dsm_detach(segment);
	return !busy;
}

/*
 * Handle what is in the queue; true when the worker has ended.  The worker's
 * error is thrown.
 */
static bool
receive(shm_mq_handle *queue, StartedRun *started, const RcSource *source,
		int64 *run, bool *busy)
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
			if (*run != 0 || *busy)
				return true;
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the run worker of source \"%s\" ended unexpectedly",
							source->name),
					 errhint("See the server log for the cause; the next run goes on from the last commit.")));
		}

		initStringInfo(&message);
		appendBinaryStringInfo(&message, data, size);
		switch (pq_getmsgbyte(&message))
		{
			case 'E':
			case 'N':
				rethrow(&message, started);
				break;
			case 'B':
				*busy = true;
				break;
			case 'R':
				*run = pq_getmsgint64(&message);
				break;
			default:
				break;
		}
	}
}

/* Report the worker's notice or error as our own. */
static void
rethrow(StringInfo message, StartedRun *started)
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
 * The segment goes: at the end of the run, or with the caller's query or
 * process.  Then the run that it started is cancelled.
 */
static void
cancel_run(dsm_segment *segment, Datum arg)
{
	StartedRun *started = (StartedRun *) DatumGetPointer(arg);
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

/*
 * Wait for the run that is under way; false when it ended before it had a
 * row, so that nothing is known of it.
 */
static bool
join(const RcSource *source, int64 *run)
{
	int64		before = newest_run(source->name);
	RcParams	params = {0};
	bool		told = false;
	ErrorData	error = {0};
	char	   *state;
	int			looks = 0;

	while (rc_lock_holder(MyDatabaseId, RC_WORKER_RUN, source->name, 0) != 0)
	{
		if (!told)
			ereport(NOTICE,
					(errmsg("waiting for the run of source \"%s\" that is under way",
							source->name)));
		told = true;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 JOIN_INTERVAL, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (++looks % (LOOK_INTERVAL / JOIN_INTERVAL) == 0)
			check_blocked(source);
	}

	rc_param_text(&params, source->name);
	rc_param_int8(&params, before);
	rc_query_begin();
	if (rc_query_latest("SELECT id, state, sqlstate, error, detail, hint"
						" FROM rappel_conso.run WHERE source = $1 AND id >= $2"
						" ORDER BY id LIMIT 1", &params) == 0)
	{
		rc_query_end();
		return false;
	}
	*run = rc_column_int8(0, 1, 0);
	state = rc_column_text(0, 2);
	if (rc_column_text(0, 3) != NULL)
	{
		const char *code = rc_column_text(0, 3);

		error.sqlerrcode = MAKE_SQLSTATE(code[0], code[1], code[2], code[3],
										 code[4]);
	}
	error.message = rc_column_text(0, 4);
	error.detail = rc_column_text(0, 5);
	error.hint = rc_column_text(0, 6);
	rc_query_end();

	if (strcmp(state, "success") == 0)
		return true;
	if (strcmp(state, "running") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("run %lld of source \"%s\" ended unexpectedly",
						(long long) *run, source->name),
				 errhint("See the server log for the cause; the next run goes on from the last commit.")));
	ereport(ERROR,
			(errcode(error.sqlerrcode ? error.sqlerrcode :
					 ERRCODE_INTERNAL_ERROR),
			 errmsg("%s", error.message ? error.message : state),
			 error.detail ? errdetail_internal("%s", error.detail) : 0,
			 error.hint ? errhint("%s", error.hint) : 0));
	return true;				/* keep compiler quiet */
}

/* Id of the running run, or the one that will come next. */
static int64
newest_run(const char *source)
{
	RcParams	params = {0};
	int64		run;

	rc_param_text(&params, source);
	rc_query_begin();
	rc_query_latest("SELECT COALESCE(max(id) FILTER (WHERE state = 'running'),"
					" max(id) + 1, 1) FROM rappel_conso.run WHERE source = $1",
					&params);
	run = rc_column_int8(0, 1, 1);
	rc_query_end();
	return run;
}

/*
 * Look whether the run, or a worker of the source's stream, waits for a lock
 * that this session holds: it would wait for ever.
 */
static void
check_blocked(const RcSource *source)
{
	RcStream   *stream = source->stream ? rc_stream_load(source->stream) : NULL;
	bool		blocked;

	blocked = blocked_by_us(rc_lock_holder(MyDatabaseId, RC_WORKER_RUN,
										   source->name, 0));
	for (int i = 0; stream != NULL && i < stream->workers && !blocked; i++)
		blocked = blocked_by_us(rc_lock_holder(MyDatabaseId, RC_WORKER_STREAM,
											   stream->name, i));
	if (blocked)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the run of source \"%s\" waits for a lock that this session holds",
						source->name),
				 errhint("Commit or roll back first, then call rc_sync_now().")));
}

static bool
blocked_by_us(int pid)
{
	ArrayType  *blockers;
	int32	   *pids;
	int			n;

	if (pid == 0)
		return false;
	blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
													  Int32GetDatum(pid)));
	n = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));
	pids = (int32 *) ARR_DATA_PTR(blockers);
	for (int i = 0; i < n; i++)
	{
		if (pids[i] == MyProcPid)
			return true;
	}
	return false;
}
