/*-------------------------------------------------------------------------
 *
 * trigger_call.h
 *	  Checks what a trigger function was called for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_TRIGGER_CALL_H
#define RC_TRIGGER_CALL_H

#include "rappel_conso.h"

#include "commands/trigger.h"
#include "fmgr.h"

/* Commands that a trigger fires for, a bit mask. */
#define RC_ON_INSERT	0x01
#define RC_ON_UPDATE	0x02
#define RC_ON_DELETE	0x04
#define RC_ON_ANY		0x0f	/* including TRUNCATE */

extern TriggerData *rc_trigger_call(FunctionCallInfo fcinfo, bool row,
									int commands, int nargs,
									const char *tables);
extern HeapTuple rc_trigger_row(TriggerData *data);

#endif							/* RC_TRIGGER_CALL_H */
