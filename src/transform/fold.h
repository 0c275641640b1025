/*-------------------------------------------------------------------------
 *
 * fold.h
 *	  Text folded to ASCII.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_FOLD_H
#define RC_FOLD_H

#include "postgres.h"

extern const char *rc_fold_char(const unsigned char *s, int len);
extern char *rc_fold_utf8(const char *text, size_t len, size_t *out_len);

#endif							/* RC_FOLD_H */
