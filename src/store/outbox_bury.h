/*-------------------------------------------------------------------------
 *
 * outbox_bury.h
 *	  Messages that can never be sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_BURY_H
#define RC_OUTBOX_BURY_H

#include "rappel_conso.h"

extern void rc_outbox_bury(const int64 *ids, int n, int sqlstate,
						   const char *message, bool bare);

#endif							/* RC_OUTBOX_BURY_H */
