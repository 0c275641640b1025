/*-------------------------------------------------------------------------
 *
 * outbox_delete.h
 *	  Deletes messages of the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_DELETE_H
#define RC_OUTBOX_DELETE_H

#include "store/outbox_read.h"

extern void rc_outbox_delete(const RcOutboxRow *rows, int n);

#endif							/* RC_OUTBOX_DELETE_H */
