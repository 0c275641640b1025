/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The launcher, the only static background worker of a server that
 *	  preloads the library: keeps a scheduler running in each of
 *	  rappel_conso.databases.
 *
 * It connects to no database, so that it does not block DROP DATABASE.  A
 * missing database costs one line in the log.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

/* Interval of checks, and between two starts in the same database, in ms. */
#define POLL_INTERVAL_MS		5000
#define START_INTERVAL		10000
#define MAX_START_INTERVAL	60000

/* State of one database of the list. */
typedef struct Database
{
	char		name[NAMEDATALEN];
	bool		missing_reported;
	BackgroundWorkerHandle *handle; /* NULL: not started by this launcher */
	TimestampTz started_at;
	long		interval;
} Database;

static List *databases = NIL;

/*
 * Requested by the current transaction of this backend; unused in the
 * launcher.
 */
static bool start_asked = false;

static void start_callback(XactEvent event, void *arg);
static void check_database(const char *name);
static Oid	find_database(const char *name);
static Database *find_entry(const char *name);
static void start_scheduler(Database *database, Oid oid);

/* Register the launcher; called while the library is preloaded. */
void
rc_launcher_register(void)
{
	const RcWorkerKindInfo *info = rc_worker_kind(RC_WORKER_LAUNCHER);
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 10;
	strlcpy(worker.bgw_library_name, RC_NAME,
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, info->entry_point,
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, info->title, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, info->title, sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/* Entry point of the launcher. */
void
rc_launcher_main(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	rc_worker_log_shutdown();
	BackgroundWorkerUnblockSignals();
	rc_worker_override_settings();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	(void) rc_lock_take(RC_WORKER_LAUNCHER, "", 0);
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso launcher",
									ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		char	   *list;
		List	   *names;
		ListCell   *lc;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		list = pstrdup(rc_databases);
		if (!SplitGUCList(list, ',', &names))
			ereport(LOG,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("invalid list syntax in parameter \"%s\"",
							"rappel_conso.databases")));
		else
			foreach(lc, names)
				check_database((const char *) lfirst(lc));
		MemoryContextSwitchTo(context);
		rc_worker_wait(POLL_INTERVAL_MS);
	}
}

/* Whether the launcher starts the scheduler of the current database. */
bool
rc_launcher_serves_us(void)
{
	const char *us = get_database_name(MyDatabaseId);
	char	   *list = pstrdup(rc_databases);
	List	   *names;
	ListCell   *lc;

	if (rc_lock_holder(InvalidOid, RC_WORKER_LAUNCHER, "", 0) == 0 ||
		!SplitGUCList(list, ',', &names))
		return false;
	foreach(lc, names)
	{
		if (strcmp((const char *) lfirst(lc), us) == 0)
			return true;
	}
	return false;
}

/*
 * Called by CREATE EXTENSION: start the scheduler when that is committed,
 * since the launcher would do so only at its next check.
 */
void
rc_launcher_start_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(start_callback, NULL);
	registered = true;
	start_asked = true;
}

static void
start_callback(XactEvent event, void *arg)
{
	static bool start = false;
	RcWorkerArgs args = {0};

	/* after the commit nothing may fail, so check before it */
	if (event == XACT_EVENT_PRE_COMMIT)
		start = start_asked && rc_launcher_serves_us() &&
			!rc_worker_alive(RC_WORKER_SCHEDULER, "", 0);
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
			 event == XACT_EVENT_PREPARE)
	{
		args.database = MyDatabaseId;
		if (event == XACT_EVENT_COMMIT && start)
			(void) rc_worker_launch(RC_WORKER_SCHEDULER, &args, NULL);
		start = start_asked = false;
	}
}

/* Start the scheduler of a database if it is not running. */
static void
check_database(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	Database   *database = find_entry(name);
	pid_t		pid;
	Oid			oid;

	if (database->handle != NULL)
	{
		if (GetBackgroundWorkerPid(database->handle, &pid) != BGWH_STOPPED)
			return;
		pfree(database->handle);
		database->handle = NULL;
	}
	if (database->started_at != 0 &&
		!rc_time_passed(database->started_at, database->interval))
		return;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	oid = find_database(name);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	if (OidIsValid(oid))
	{
		database->missing_reported = false;
		if (rc_lock_holder(oid, RC_WORKER_SCHEDULER, "", 0) == 0)
			start_scheduler(database, oid);
	}
	else if (!database->missing_reported)
	{
		ereport(LOG,
				(errcode(ERRCODE_UNDEFINED_DATABASE),
				 errmsg("database \"%s\" in rappel_conso.databases does not exist",
						name)));
		database->missing_reported = true;
	}
}

/*
 * The OID of a database that allows connections; InvalidOid if there is none.
 * Without a database connection only a scan of the heap works, as in the
 * autovacuum launcher.
 */
static Oid
find_database(const char *name)
{
	Relation	relation = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan;
	HeapTuple	tuple;
	Oid			oid = InvalidOid;

	(void) GetTransactionSnapshot();
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (strcmp(NameStr(form->datname), name) == 0 && form->datallowconn)
			oid = form->oid;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	return oid;
}

static Database *
find_entry(const char *name)
{
	ListCell   *lc;
	Database   *database;
	MemoryContext old;

	foreach(lc, databases)
	{
		database = (Database *) lfirst(lc);
		if (strcmp(database->name, name) == 0)
			return database;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	database = palloc0(sizeof(Database));
	strlcpy(database->name, name, sizeof(database->name));
	database->interval = START_INTERVAL;
	databases = lappend(databases, database);
	MemoryContextSwitchTo(old);
	return database;
}

/*
 * Start a scheduler.  If the last one ended soon after its start (no
 * extension, or stopped by rc_stop()), the interval is doubled.
 */
static void
start_scheduler(Database *database, Oid oid)
{
	RcWorkerArgs args = {0};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (database->started_at != 0 &&
		!rc_time_passed(database->started_at, 2 * MAX_START_INTERVAL))
		database->interval = Min(database->interval * 2, MAX_START_INTERVAL);
	else
		database->interval = START_INTERVAL;
	database->started_at = GetCurrentTimestamp();

	args.database = oid;
	if (!rc_worker_launch(RC_WORKER_SCHEDULER, &args, &database->handle))
	{
		database->handle = NULL;
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the rappel_conso scheduler of database \"%s\"",
						database->name),
				 errhint("You may need to increase max_worker_processes.")));
	}
	MemoryContextSwitchTo(old);
}
