/*-------------------------------------------------------------------------
 *
 * latch_wait.c
 *	  Waiting for the process's latch, so that pg_stat_activity says what for.
 *
 * Whoever waits for a socket beside it (http_transfer.c, kafka_client.c) calls
 * WaitLatchOrSocket() by itself, with a wait event from here.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "latch_wait.h"

/* What pg_stat_activity.wait_event shows, on servers that can. */
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
 * The number of a wait event, which the server gives it at the first use: it
 * finds the name again, so this process need ask but once.
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
 * Wait for the latch, or timeout_ms; reset it, and serve interrupts.  The
 * caller looks for itself at what may have set the latch.
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
