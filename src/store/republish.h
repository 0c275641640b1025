/*-------------------------------------------------------------------------
 *
 * republish.h
 *	  Dead letters of the outbox, once more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_REPUBLISH_H
#define RC_REPUBLISH_H

#include "rappel_conso.h"

extern void rc_republish_letters(const char *topic, int64 id,
								 int64 *republished, int64 *still_dead);

#endif							/* RC_REPUBLISH_H */
