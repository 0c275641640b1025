/*-------------------------------------------------------------------------
 *
 * run_wait.h
 *	  Waiting in a backend for a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SYNC_H
#define RC_SYNC_H

#include "worker/worker.h"

extern int64 rc_sync(const char *source, bool full_sync);
extern bool rc_sync_outcome(int64 run);
extern void rc_sync_check_stream(const char *name);

#endif							/* RC_SYNC_H */
