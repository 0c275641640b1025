/*-------------------------------------------------------------------------
 *
 * latch_wait.c
 *	  Waiting for the process's latch with a wait event that
 *	  pg_stat_activity shows.
 *
 * Code that also waits for a socket (http_transfer.c, kafka_wait.c) calls
 * WaitLatchOrSocket() itself, with a wait event from here.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "latch_wait.h"

/*
 * Shown in pg_stat_activity.wait_event since PostgreSQL 17; before, all of
 * them are shown as "Extension".
 */
static const char *const names[] = {
	[RC_WAIT_WORK] = "RappelConsoWork",
	[RC_WAIT_HTTP] = "RappelConsoHttp",
	[RC_WAIT_KAFKA] = "RappelConsoKafka",
	[RC_WAIT_REPLY] = "RappelConsoReply",
	[RC_WAIT_RUN] = "RappelConsoRun",
	[RC_WAIT_SLOT] = "RappelConsoWorkerSlot",
	[RC_WAIT_END] = "RappelConsoWorkerEnd"
};

/*
 * The server's number for a wait event.  The server assigns it by name, the
 * same for all processes; each process looks it up once.
 */
uint32
rc_wait_event(RcWait wait)
{
	static uint32 events[lengthof(names)];

	if (events[wait] == 0)
		events[wait] = rc_wait_event_new(names[wait]);
	return events[wait];
}

/*
 * Wait until the latch is set or timeout_ms have passed, reset the latch and
 * process interrupts.  Returns in either case: the caller must check the
 * condition that it waits for.
 */
void
rc_wait_latch(long timeout_ms, RcWait wait)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, rc_wait_event(wait));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
