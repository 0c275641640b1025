/*-------------------------------------------------------------------------
 *
 * wait_reason.h
 *	  Why a stream or source cannot continue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WAIT_REASON_H
#define RC_WAIT_REASON_H

#include "rappel_conso.h"

extern char *rc_lock_message(const ErrorData *error);
extern bool rc_source_wait(const char *source, const char *why);
extern void rc_source_wait_remove_idle(void);

#endif							/* RC_WAIT_REASON_H */
