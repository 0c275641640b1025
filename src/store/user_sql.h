/*-------------------------------------------------------------------------
 *
 * user_sql.h
 *	  Signal handlers that cancel a user's SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_USER_SQL_H
#define RC_USER_SQL_H

#include "rappel_conso.h"

extern void rc_statement_expect(void);
extern bool rc_statement_changed(void);
extern void rc_statement_cancel(SIGNAL_ARGS);
extern void rc_user_cancel(SIGNAL_ARGS);

#endif							/* RC_USER_SQL_H */
