/*-------------------------------------------------------------------------
 *
 * latch_wait.h
 *	  Waiting for the process's latch, and the wait events of the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_LATCH_WAIT_H
#define RC_LATCH_WAIT_H

/* Wait events; latch_wait.c has their names. */
typedef enum RcWait
{
	RC_WAIT_WORK,
	RC_WAIT_HTTP,
	RC_WAIT_KAFKA,
	RC_WAIT_REPLY,
	RC_WAIT_RUN,
	RC_WAIT_SLOT,
	RC_WAIT_END
} RcWait;

extern uint32 rc_wait_event(RcWait wait);
extern void rc_wait_latch(long timeout_ms, RcWait wait);

#endif							/* RC_LATCH_WAIT_H */
