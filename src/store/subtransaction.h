/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *	  Runs a step that may fail in a subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SUBTRANSACTION_H
#define RC_SUBTRANSACTION_H

#include "rappel_conso.h"

typedef void (*RcStep) (void *arg);

extern ErrorData *rc_subtransaction_try(RcStep step, void *arg);

#endif							/* RC_SUBTRANSACTION_H */
