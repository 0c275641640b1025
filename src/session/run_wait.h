/*-------------------------------------------------------------------------
 *
 * run_wait.h
 *	  Waiting in a backend for a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RUN_WAIT_H
#define RC_RUN_WAIT_H

#include "worker/worker.h"

extern int64 rc_sync(const char *source, bool full_sync);
extern bool rc_sync_outcome(int64 run);

#endif							/* RC_RUN_WAIT_H */
