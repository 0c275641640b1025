/*-------------------------------------------------------------------------
 *
 * start_position.h
 *	  The position at which a stream starts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_START_POSITION_H
#define RC_START_POSITION_H

#include "rappel_conso.h"

extern const char *rc_start_group(const char *start_at);
extern char *rc_start_position(const char *text, const char *what,
							   const char *accepted);

#endif							/* RC_START_POSITION_H */
