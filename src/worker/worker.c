/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  Life of a worker: how it is started, connects, waits and opens
 *	  transactions.  What each kind does is in its own file.
 *
 * It must not wait in a library, nor leave a transaction open over a wait.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

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

/* A cancel is for all that this worker does, not for what it runs now. */
bool		rc_cancel_ends_worker = false;

/* Where the transaction that is open was begun. */
static MemoryContext context_outside = NULL;

static emit_log_hook_type next_log_hook = NULL;

/* Of the database that this worker is connected to. */
bool		rc_in_worker = false;
static char database_name[NAMEDATALEN];

/* Memory of at least so many bytes goes back to the system when it is freed. */
#define MAPPED_BYTES	(1024 * 1024)

/* The title of a kind, with the name that it is for, if any. */
static const char *
named_title(const RcWorkerKindInfo *info, const RcWorkerArgs *args)
{
	return info->per_name ? psprintf("%s %s", info->title, args->name) :
		info->title;
}

/*
 * Start a dynamic worker; false when there is no free slot.  "handle" may be
 * NULL; else it is palloc'd in the current context, and this process is told
 * by its latch when the worker starts and ends.
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
	strlcpy(worker.bgw_name, named_title(info, args),
			sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type,
			info->name_in_type ? worker.bgw_name : info->title,
			sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, args, sizeof(*args));
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/*
 * A worker from its entry point to its end.  An error that ends it is reported
 * as at top level: to the log, and to the waiting backend.  But there the
 * server would also log that the process has exited with code 1, which is how
 * a failure of the worker looks, and not one of the API or of a statement.
 *
 * The launcher does without it, since the server starts it again after
 * another exit code than 0 alone.
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
 * Have large records leave nothing behind.  Once glibc's malloc has freed one,
 * it takes the next of that size from a heap of its own, where freed memory
 * stays between what is in use: mallopt(3), M_MMAP_THRESHOLD.  What the
 * server's environment says of it is left alone.
 */
static void
return_large_memory(void)
{
#ifdef __GLIBC__
	if (getenv("MALLOC_MMAP_THRESHOLD_") == NULL &&
		getenv("GLIBC_TUNABLES") == NULL)
		(void) mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
#endif
}

/*
 * What postgresql.conf, the database or the role sets for sessions is not for
 * a worker where it would end it, or change what our own work means.  Other
 * settings of the role are its statement's to have.
 */
static void
override_settings(void)
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
		/* not every version has each of them */
		if (GetConfigOption(settings[i].name, true, false) != NULL)
			SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET,
							PGC_S_OVERRIDE);
	}
}

/*
 * That a worker is told to end is no failure: one line for the log, without
 * the statement that it was in, in place of the server's FATAL.  A backend
 * that waits for it is told the latter all the same.
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

/* Have the end of this process logged by log_shutdown(). */
void
rc_worker_log_shutdown(void)
{
	next_log_hook = emit_log_hook;
	emit_log_hook = log_shutdown;
}

/*
 * Handle signals, connect as the role (InvalidOid: the bootstrap superuser)
 * and show the kind's title in pg_stat_activity.
 */
void
rc_worker_connect(const RcWorkerArgs *args, RcWorkerKind kind)
{
	const RcWorkerKindInfo *info = rc_worker_kind(kind);
	const char *title = named_title(info, args);

	if (info->numbered)
		title = psprintf("%s %d", title, args->number);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, rc_user_cancel);
	rc_worker_log_shutdown();
	pqsignal(SIGUSR2, rc_statement_cancel);
	BackgroundWorkerUnblockSignals();
	return_large_memory();
	rc_in_worker = true;

	BackgroundWorkerInitializeConnectionByOid(args->database, args->role,
											  RC_CONNECT_FLAGS);

	StartTransactionCommand();
	strlcpy(database_name, get_database_name(MyDatabaseId),
			sizeof(database_name));
	CommitTransactionCommand();

	override_settings();

	/* As in parallel workers: who waits for us converts what we say. */
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_SUSET,
					PGC_S_OVERRIDE);

	/* Plans of batches look dear, and are quick: compiling them never pays. */
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_DYNAMIC_DEFAULT);
	SetConfigOption("application_name", title, PGC_USERSET, PGC_S_SESSION);
	pgstat_report_appname(title);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * What a worker is called in Kafka, as client and as group, in the current
 * context: a copy of the server disturbs nobody, since its system identifier
 * is another one.
 */
char *
rc_client_id(const char *name)
{
	return psprintf("rappel_conso." UINT64_FORMAT ".%s.%s",
					GetSystemIdentifier(), database_name, name);
}

/*
 * Wait for the latch or the time; handles interrupts and a reload of the
 * configuration.  A worker that goes on has nothing to
 * cancel while it waits.
 */
void
rc_worker_wait(long timeout_ms)
{
	Assert(!IsTransactionState());

	/* a reload that was asked for in a library's wait is not to wait, too */
	if (!ConfigReloadPending)
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout_ms, rc_wait_event(RC_WAIT_WORK));
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
 * Whether so many ms have passed since then; also when that time is to come,
 * since the clock was set back.
 */
bool
rc_time_passed(TimestampTz since, int ms)
{
	TimestampTz now = GetCurrentTimestamp();

	return since > now || TimestampDifferenceExceeds(since, now, ms);
}

/* Begin a transaction of a worker, with an active snapshot. */
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

/* The same; what is allocated in it goes to "results", which outlives it. */
void
rc_transaction_begin_in(MemoryContext results)
{
	rc_transaction_begin();
	MemoryContextSwitchTo(results);
}

/*
 * Commit it; the memory context is the one from before it was begun, as in
 * PostgreSQL 18.
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
 * In a PG_CATCH of a worker that goes on: take the error, in "keep", which is
 * made the current context, and abort whatever transaction it left, so that
 * no code runs in a failed one.  With "report" the error goes to the log and
 * to the waiting backend, too.
 *
 * This is what PostgresMain() and the loops of the server's own processes do
 * after an error.  An error outside of a transaction leaves things behind, too.
 * A cancel that has come meanwhile was for what has failed, but for workers
 * that it ends (rc_cancel()).
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
 * Whether a worker can connect as the role: before PostgreSQL 17 a
 * background worker is refused for a role without LOGIN.
 */
bool
rc_role_can_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can;

	if (!HeapTupleIsValid(tuple))
		return false;
	can = !RC_NEEDS_LOGIN ||
		((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	return can;
}
