/*-------------------------------------------------------------------------
 *
 * query_check.h
 *	  Checking the filter of a source and the names of its fields.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_QUERY_CHECK_H
#define RC_QUERY_CHECK_H

#include "postgres.h"

extern void rc_filter_check(const char *source, const char *filter);
extern void rc_field_check(const char *source, const char *column,
						   const char *field);

#endif							/* RC_QUERY_CHECK_H */
