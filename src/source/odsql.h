/*-------------------------------------------------------------------------
 *
 * odsql.h
 *	  Text of ODSQL, the query language of Explore APIs, and of URLs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ODSQL_H
#define RC_ODSQL_H

#include "record.h"

extern bool rc_explore_comparable(RcFieldKind kind, const char *value);
extern char *rc_explore_utc(const char *value);
extern char *rc_explore_condition(const char *field, RcFieldKind kind,
								  const char *op, const char *value);
extern char *rc_explore_and(const char *a, const char *b);
extern char *rc_explore_field(const char *field);
extern char *rc_explore_encode(const char *text);

#endif							/* RC_ODSQL_H */
