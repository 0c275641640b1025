/*-------------------------------------------------------------------------
 *
 * scheduler_gone.c
 *	  Runs whose source is gone: it was deleted, renamed or given to another
 *	  role.
 *
 * One that is queued is cancelled, since who makes a source of that name
 * later has not asked for it.  One that is under way is told to end, wherever
 * it waits; what it says then is in run_worker.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#define RUN_TITLE	RC_TITLE_RUN " "

/* A process that runs a source. */
typedef struct Runner
{
	int			pid;
	Oid			role;
	char	   *source;
} Runner;

static List *list_runners(void);
static bool is_its_source(const Runner *runner);

/* Cancel what is queued for sources that are gone.  Starts nothing. */
List *
rc_due_orphans(List *starts)
{
	(void) rc_run_cancel_orphans(NULL);
	return starts;
}

/* Have runs end whose source is gone.  Starts nothing. */
List *
rc_due_gone(List *starts)
{
	ListCell   *lc;

	foreach(lc, list_runners())
	{
		Runner	   *runner = (Runner *) lfirst(lc);
		PGPROC	   *proc;

		if (is_its_source(runner))
			continue;
		proc = BackendPidGetProc(runner->pid);
		if (proc == NULL)
			continue;
		kill(runner->pid, SIGINT);
		SetLatch(&proc->procLatch);
	}
	return starts;
}

static List *
list_runners(void)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *runners = NIL;
	uint64		n;

	pgstat_clear_snapshot();
	rc_param_datum(&params, OIDOID, ObjectIdGetDatum(MyDatabaseId));
	rc_query_begin(&scope);
	n = rc_query("SELECT a.pid, a.usesysid, a.backend_type"
				 " FROM pg_catalog.pg_stat_get_activity(NULL) a"
				 " WHERE a.datid = $1 AND a.usesysid IS NOT NULL"
				 " AND a.backend_type LIKE 'rappel^_conso run %' ESCAPE '^'",
				 &params);
	for (uint64 i = 0; i < n; i++)
	{
		Runner	   *runner = SPI_palloc(sizeof(Runner));

		runner->pid = (int) rc_column_int8(i, 1, 0);
		runner->role = (Oid) rc_column_int8(i, 2, InvalidOid);
		runner->source = rc_column_text(i, 3) + strlen(RUN_TITLE);
		runners = rc_result_append(runners, runner);
	}
	rc_query_end(&scope);
	return runners;
}

/*
 * Whether the source is there and still that of the role.  The snapshot is
 * newer than the process, which was started for a source that it could see.
 */
static bool
is_its_source(const Runner *runner)
{
	return rc_source_is_of(runner->source, runner->role);
}
