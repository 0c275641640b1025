/*-------------------------------------------------------------------------
 *
 * odsql.h
 *	  Writing ODSQL, the query language of Explore APIs, and URLs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ODSQL_H
#define RC_ODSQL_H

#include "source/reader.h"

extern char *rc_odsql_where(const RcReadRange *range);
extern char *rc_odsql_order(const RcReadRange *range);
extern char *rc_url_encode(const char *text);

#endif							/* RC_ODSQL_H */
