/*-------------------------------------------------------------------------
 *
 * request_blockers.h
 *	  Detecting a wait for a process that is waiting for this session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_REQUEST_BLOCKERS_H
#define RC_REQUEST_BLOCKERS_H

#include "postgres.h"

#include "nodes/pg_list.h"

extern bool rc_waits_for_us(List *pids, bool *prepared);

#endif							/* RC_REQUEST_BLOCKERS_H */
