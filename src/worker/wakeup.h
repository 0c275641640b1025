/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *	  Wakes workers, and cancels their statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WAKEUP_H
#define RC_WAKEUP_H

#include "worker/worker_kind.h"

extern void rc_wake_process(int pid, bool cancel);
extern void rc_wake_now(RcWorkerKind kind, const char *name, int number);
extern void rc_wake_at_commit(RcWorkerKind kind, const char *name, int number);
extern void rc_cancel_at_commit(RcWorkerKind kind, const char *name,
								int number);
extern void rc_wake_stream(const char *stream, int workers);
extern void rc_cancel_stream(const char *stream, int workers);

#endif							/* RC_WAKEUP_H */
