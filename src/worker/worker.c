/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What all workers have in common: start, connection, waits, transactions
 *	  and recovery from errors.  What each kind does is in its own file.
 *
 * No wait may happen inside a library, or with a transaction open.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "jit/jit.h"
#include "replication/slot.h"
#include "storage/bufmgr.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "latch_wait.h"
#include "store/fast_path.h"

/* Whether SIGINT ends this worker, rather than just its current statement. */
bool		rc_cancel_ends_worker = false;

/* Memory context in which the open transaction was begun. */
static MemoryContext context_outside = NULL;

static emit_log_hook_type next_log_hook = NULL;

/* Whether this process is a worker; the database that it is connected to. */
bool		rc_in_worker = false;
static char database_name[NAMEDATALEN];

/*
 * Allocations of at least this size are returned to the system when freed; of
 * smaller ones, so much is kept.
 */
#define MAPPED_BYTES	(1024 * 1024)
#define KEPT_BYTES		(32 * 1024 * 1024)

/* A worker that has had nothing to do for so long keeps no memory. */
#define IDLE_MS			1000

/*
 * Start a dynamic worker; false if there is no free slot.  "handle" may be
 * NULL; else it is allocated in the current context, and this process's latch
 * is set when the worker starts and ends.
 */
bool
rc_worker_launch(RcWorkerKind kind, const RcWorkerArgs *args,
				 BackgroundWorkerHandle **handle)
{
	const RcWorkerKindInfo *info = rc_worker_kind(kind);
	BackgroundWorker worker = {0};

	Assert(info->entry_point != NULL);
	Assert(info->per_name == (args->name[0] != '\0'));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, RC_NAME,
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, info->entry_point,
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, rc_worker_title(kind, args->name),
			sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type,
			info->name_in_type ? worker.bgw_name : info->title,
			sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, args, sizeof(*args));
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/*
 * Main function of a worker.  An error that ends it is reported as at top
 * level: to the log, and to the waiting backend.  The process exits with code
 * 0: with code 1 the server would also log that the worker failed, although
 * only the API or a statement did.
 *
 * Not used by the launcher, which is restarted only after an exit code other
 * than 0.
 */
void
rc_worker_main(void (*work) (RcWorkerArgs *args))
{
	PG_TRY();
	{
		work((RcWorkerArgs *) MyBgworkerEntry->bgw_extra);
	}
	PG_CATCH();
	{
		(void) rc_worker_recover(TopMemoryContext, true);
	}
	PG_END_TRY();
	proc_exit(0);
}

/*
 * Return the memory of large records to the system, and keep that of batches.
 *
 * After glibc's malloc() has freed a large block, it allocates the next one of
 * that size from the heap, where freed memory stays: see M_MMAP_THRESHOLD in
 * mallopt(3).  Without M_TRIM_THRESHOLD it returns the end of the heap after
 * each batch, and the next one meets fresh pages: in an earlier tree, 5 to 7 % of
 * the CPU time of narrow records.  What it gains now is a part of the figures of
 * store/record_scan.c.  A setting in the server's environment is respected.
 */
static void
tune_malloc(void)
{
	if (getenv("MALLOC_MMAP_THRESHOLD_") == NULL &&
		getenv("MALLOC_TRIM_THRESHOLD_") == NULL &&
		getenv("GLIBC_TUNABLES") == NULL)
		rc_tune_malloc(MAPPED_BYTES, KEPT_BYTES);
}

/*
 * Override settings of postgresql.conf, the database or the role that would
 * end a worker, or change the meaning of our own SQL.  Other settings of the
 * role apply to its statements.
 *
 * This must precede the connection, during which a timeout can expire already.
 */
void
rc_worker_override_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			settings[] =
	{
		{"role", "none"},
		{"default_tablespace", ""},
		{"default_transaction_deferrable", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"exit_on_error", "off"},
		{"idle_in_transaction_session_timeout", "0"},
		{"lock_timeout", "0"},
		{"restrict_nonsystem_relation_kind", ""},
		{"session_replication_role", "origin"},
		{"transaction_timeout", "0"},
		{"transform_null_equals", "off"}
	};

	for (int i = 0; i < lengthof(settings); i++)
	{
		/* not every server version has all of them */
		if (GetConfigOption(settings[i].name, true, false) != NULL)
			SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET,
							PGC_S_OVERRIDE);
	}
}

/*
 * emit_log_hook: terminating a worker is not a failure.  Log one line, without
 * the current statement, instead of the server's FATAL.  A waiting backend
 * receives the FATAL nevertheless.
 */
static void
log_shutdown(ErrorData *error)
{
	if (error->elevel == FATAL && error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN &&
		error->output_to_server)
	{
		ErrorContextCallback *callbacks = error_context_stack;

		error->output_to_server = false;
		error_context_stack = NULL;
		ereport(LOG,
				(errmsg("%s is shutting down", MyBgworkerEntry->bgw_name),
				 errhidestmt(true)));
		error_context_stack = callbacks;
	}
	if (next_log_hook)
		next_log_hook(error);
}

/* Install log_shutdown() in this process. */
void
rc_worker_log_shutdown(void)
{
	next_log_hook = emit_log_hook;
	emit_log_hook = log_shutdown;
}

/*
 * Set up signal handlers, connect as the role (InvalidOid: the bootstrap
 * superuser), and show the kind's title in pg_stat_activity.
 */
void
rc_worker_connect(const RcWorkerArgs *args, RcWorkerKind kind)
{
	const RcWorkerKindInfo *info = rc_worker_kind(kind);
	const char *title = rc_worker_title(kind, args->name);

	if (info->numbered)
		title = psprintf("%s %d", title, args->number);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, rc_user_cancel);
	rc_worker_log_shutdown();
	pqsignal(SIGUSR2, rc_statement_cancel);
	BackgroundWorkerUnblockSignals();
	tune_malloc();
	rc_in_worker = true;

	rc_worker_override_settings();
	BackgroundWorkerInitializeConnectionByOid(args->database, args->role, 0);

	StartTransactionCommand();
	strlcpy(database_name, get_database_name(MyDatabaseId),
			sizeof(database_name));
	rc_fast_check();
	CommitTransactionCommand();

	/*
	 * As in parallel workers: the waiting backend converts to the client's
	 * encoding.
	 */
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_SUSET,
					PGC_S_OVERRIDE);

	/* Plans of batches have high costs but run briefly; JIT never pays off. */
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_DYNAMIC_DEFAULT);
	SetConfigOption("application_name", title, PGC_USERSET, PGC_S_SESSION);
	pgstat_report_appname(title);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * The client id and consumer group of a worker in Kafka, in the current
 * context.  It contains the system identifier, so that a server restored from
 * a dump of this one uses another group.
 */
char *
rc_client_id(const char *name)
{
	return psprintf("rappel_conso." UINT64_FORMAT ".%s.%s",
					GetSystemIdentifier(), database_name, name);
}

/*
 * Wait for the latch or the timeout; processes interrupts and a reload.
 * Unless cancels end this worker, a pending one is dropped, since nothing is
 * running.
 */
void
rc_worker_wait(long timeout_ms)
{
	int			events = 0;

	Assert(!IsTransactionState());

	/* do not wait if a reload came during a library's wait */
	if (!ConfigReloadPending)
		events = WaitLatch(MyLatch,
						   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   timeout_ms, rc_wait_event(RC_WAIT_WORK));
	if ((events & WL_TIMEOUT) != 0 && timeout_ms >= IDLE_MS)
		rc_trim_malloc();
	ResetLatch(MyLatch);
	if (!rc_cancel_ends_worker)
		QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Whether "ms" milliseconds have passed since that time, or it is in the
 * future, because the clock was set back.
 */
bool
rc_time_passed(TimestampTz since, int ms)
{
	TimestampTz now = GetCurrentTimestamp();

	return since > now || TimestampDifferenceExceeds(since, now, ms);
}

/* Start a transaction in a worker, with an active snapshot. */
void
rc_transaction_begin(void)
{
	Assert(!IsTransactionState());
	context_outside = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
}

/*
 * Likewise, with "results" as the current memory context, which outlives it.
 */
void
rc_transaction_begin_in(MemoryContext results)
{
	rc_transaction_begin();
	MemoryContextSwitchTo(results);
}

/*
 * Commit the transaction.  The memory context is reset to that before its
 * start, as in PostgreSQL 18.
 */
void
rc_transaction_commit(void)
{
	Assert(IsTransactionState());
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context_outside);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * To be called in PG_CATCH by a worker that continues: returns a copy of the
 * error in "keep", which becomes the current context, and aborts any
 * transaction, so that no code runs in a failed one.  With "report" the error
 * is also sent to the log and the waiting backend.
 *
 * This is what PostgresMain() and the main loops of auxiliary processes do
 * after an error; one outside of a transaction needs cleanup, too.  A cancel
 * that is pending was meant for what has failed, and is dropped unless it ends
 * the worker (rc_cancel()).
 */
ErrorData *
rc_worker_recover(MemoryContext keep, bool report)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	if (!rc_cancel_ends_worker)
		QueryCancelPending = false;
	MemoryContextSwitchTo(keep);
	error = CopyErrorData();
	if (report)
		EmitErrorReport();
	debug_query_string = NULL;
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	UnlockBuffers();
	LockErrorCleanup();
	AbortOutOfAnyTransaction();
	Assert(!IsTransactionState());
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	jit_reset_after_error();
	FlushErrorState();
	MemoryContextSwitchTo(keep);
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();
	return error;
}

/*
 * Whether a worker can connect as the role: that requires LOGIN.
 */
bool
rc_role_can_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can;

	if (!HeapTupleIsValid(tuple))
		return false;
	can = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	return can;
}
