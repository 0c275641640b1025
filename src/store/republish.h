/*-------------------------------------------------------------------------
 *
 * republish.h
 *	  Puts dead letters of the outbox back into it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_REPUBLISH_H
#define RC_REPUBLISH_H

#include "rappel_conso.h"

extern void rc_republish_letters(const char *topic, int64 id,
								 int64 *republished, int64 *still_dead);

#endif							/* RC_REPUBLISH_H */
