/*-------------------------------------------------------------------------
 *
 * scheduler_gone.c
 *	  Ends runs whose source was deleted, renamed or given to another role.
 *
 * A queued run is cancelled, since the owner of a later source of that name
 * has not requested it.  A running one is signalled, wherever it waits; the
 * error that it then raises is in run_worker.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

/* Cancel queued runs of such sources.  Starts nothing. */
List *
rc_due_orphans(List *starts)
{
	(void) rc_run_cancel_orphans(NULL);
	return starts;
}

/* Cancel running runs of such sources.  Starts nothing. */
List *
rc_due_gone(List *starts)
{
	ListCell   *lc;

	foreach(lc, rc_activity_run_processes())
	{
		RcRunProcess *process = (RcRunProcess *) lfirst(lc);
		PGPROC	   *proc;

		/*
		 * the source was visible when the run was started, before our
		 * snapshot
		 */
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
