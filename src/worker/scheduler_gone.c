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

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

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

	foreach(lc, rc_activity_run_processes())
	{
		RcRunProcess *process = (RcRunProcess *) lfirst(lc);
		PGPROC	   *proc;

		/* it could see its source when it was started, before our snapshot */
		if (rc_source_is_of(process->source, process->role))
			continue;
		proc = BackendPidGetProc(process->pid);
		if (proc == NULL)
			continue;
		kill(process->pid, SIGINT);
		SetLatch(&proc->procLatch);
	}
	return starts;
}
