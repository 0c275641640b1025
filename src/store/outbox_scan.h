/*-------------------------------------------------------------------------
 *
 * outbox_scan.h
 *	  Finds the oldest messages of topics in the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_SCAN_H
#define RC_OUTBOX_SCAN_H

#include "store/outbox_read.h"

/* A message as it is stored: key, value and headers may be toasted. */
typedef struct RcStoredMessage
{
	RcOutboxRow row;
	NullableDatum key;
	NullableDatum value;
	NullableDatum headers;
	NullableDatum message_id;
} RcStoredMessage;

/* Returns false if it takes no more messages of that topic. */
typedef bool (*RcStoredVisit) (void *arg, const RcStoredMessage *stored);

extern bool rc_outbox_scan(char **topics, int ntopics, int limit,
						   RcStoredVisit visit, void *arg);

#endif							/* RC_OUTBOX_SCAN_H */
