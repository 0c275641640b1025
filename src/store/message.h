/*-------------------------------------------------------------------------
 *
 * message.h
 *	  Limits and headers of messages of the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_MESSAGE_H
#define RC_MESSAGE_H

#include "rappel_conso.h"
#include "record.h"

/* Limits of a message, in bytes; headers count as text. */
#define RC_MAX_KEY		1048576
#define RC_MAX_HEADERS	1048576
#define RC_MAX_MESSAGE	16777216	/* key, value and headers together */

typedef struct RcMessageSize
{
	int64		key;
	int64		value;
	int64		headers;
} RcMessageSize;

extern void rc_message_check(NullableDatum key, NullableDatum value,
							 NullableDatum headers);
extern void rc_message_measure(NullableDatum key, NullableDatum value,
							   NullableDatum headers, int64 enough,
							   RcMessageSize *size);
extern char *rc_message_too_large(const RcMessageSize *size);
extern RcHeader *rc_message_headers(Datum jsonb, bool isnull,
									const char *message_id, int *n);

#endif							/* RC_MESSAGE_H */
