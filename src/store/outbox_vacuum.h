/*-------------------------------------------------------------------------
 *
 * outbox_vacuum.h
 *	  VACUUM of the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_VACUUM_H
#define RC_OUTBOX_VACUUM_H

#include "rappel_conso.h"

extern int64 rc_outbox_size(void);
extern bool rc_outbox_removable(TransactionId before);
extern bool rc_outbox_vacuum(bool shrink);

#endif							/* RC_OUTBOX_VACUUM_H */
