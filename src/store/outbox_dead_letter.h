/*-------------------------------------------------------------------------
 *
 * outbox_dead_letter.h
 *	  Moves messages that can never be sent to the dead letters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_DEAD_LETTER_H
#define RC_OUTBOX_DEAD_LETTER_H

#include "rappel_conso.h"

extern void rc_outbox_to_dead_letters(const int64 *ids, int n, int sqlstate,
									  const char *message, bool bare);

#endif							/* RC_OUTBOX_DEAD_LETTER_H */
