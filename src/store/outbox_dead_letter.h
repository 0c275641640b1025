/*-------------------------------------------------------------------------
 *
 * outbox_dead_letter.h
 *	  Moves messages that can never be sent to the dead letters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_DEAD_LETTER_H
#define RC_OUTBOX_DEAD_LETTER_H

#include "store/outbox_row.h"

/* Messages of one topic that are moved with one error. */
typedef struct RcDeadMessages
{
	const RcOutboxRow *rows;	/* in the order of ids */
	int			n;
	int			sqlstate;
	const char *message;
	bool		bare;			/* headers are kept as they are */
} RcDeadMessages;

extern void rc_outbox_to_dead_letters(const RcDeadMessages *dead);

#endif							/* RC_OUTBOX_DEAD_LETTER_H */
