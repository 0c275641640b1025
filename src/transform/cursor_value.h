/*-------------------------------------------------------------------------
 *
 * cursor_value.h
 *	  Checking and comparing values of a cursor field.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_CURSOR_VALUE_H
#define RC_CURSOR_VALUE_H

#include "record.h"

extern bool rc_cursor_is_value(RcFieldKind kind, const char *text);
extern int	rc_cursor_compare(RcFieldKind kind, const char *a, const char *b);
extern char *rc_cursor_utc(const char *time);

#endif							/* RC_CURSOR_VALUE_H */
