/*-------------------------------------------------------------------------
 *
 * caller_checks.h
 *	  Checks that the SQL-callable functions share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_CALLER_CHECKS_H
#define RC_CALLER_CHECKS_H

#include "rappel_conso.h"

#include "access/transam.h"
#include "fmgr.h"

#include "store/source_table.h"
#include "store/stream_table.h"

extern void rc_caller_check_null(FunctionCallInfo fcinfo, int arg,
								 const char *name);
extern TimestampTz rc_deadline(Datum timeout, const char *function);
extern bool rc_caller_sees_all(void);
pg_noreturn extern void rc_caller_raise_missing(const char *what,
												const char *name);
extern RcStream *rc_stream_get(const char *name);
extern RcSource *rc_source_get(const char *name);
extern void rc_caller_check_member(Oid owner, const char *owner_name,
								   const char *what, const char *name);
extern void rc_caller_check_owner(Oid owner, const char *owner_name,
								  const char *what, const char *name);
extern RcStream *rc_caller_stream(const char *name, const char *function);
extern void rc_check_committed(TransactionId xmin, const char *table,
							   const char *name);

#endif							/* RC_CALLER_CHECKS_H */
