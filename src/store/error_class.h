/*-------------------------------------------------------------------------
 *
 * error_class.h
 *	  What an error means.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ERROR_CLASS_H
#define RC_ERROR_CLASS_H

#include "rappel_conso.h"

extern bool rc_error_is_transient(int sqlstate);
extern int	rc_sqlstate(const char *code);
extern bool rc_error_is_damage(int sqlstate);
extern bool rc_error_needs_proof(int sqlstate);
extern bool rc_error_is_timeout(const ErrorData *error);

#endif							/* RC_ERROR_CLASS_H */
