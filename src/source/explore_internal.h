/*-------------------------------------------------------------------------
 *
 * explore_internal.h
 *	  Declarations shared by explore.c, explore_dataset.c and
 *	  explore_error.c.
 *
 * No other file may include it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EXPLORE_INTERNAL_H
#define RC_EXPLORE_INTERNAL_H

#include <cjson/cJSON.h>

#include "compat.h"
#include "nodes/pg_list.h"
#include "source/explore.h"
#include "source/http.h"

typedef struct RcExplore
{
	RcReader	reader;
	RcHttp	   *http;
	MemoryContext context;		/* of all that the handle owns */
	char	   *url;			/* without a slash at its end */
	char	   *dataset;
	char	   *path;			/* of the last request's URL, for messages */
	RcHttpResponse response;
	TimestampTz retry_at;
	int64		lines;			/* of the export, returned so far */
	bool		begun;			/* its first line was read */
	List	   *fields;			/* of RcExploreField, see explore_dataset.c */
	bool		fields_known;
} RcExplore;

/* explore.c */
extern void rc_explore_get(RcExplore *explore, const char *path,
						   const char *where, const char *order_by);
extern cJSON *rc_explore_read_object(RcExplore *explore, size_t limit);
extern int64 rc_explore_number(const cJSON *object, const char *name);

/* explore_dataset.c */
extern void rc_explore_describe(RcReader *reader, RcDatasetInfo *info);
extern RcFieldKind rc_explore_field_kind(RcReader *reader, const char *field);

/* explore_error.c */
pg_noreturn extern void rc_explore_raise_status(RcExplore *explore);
pg_noreturn extern void rc_explore_raise_not_json(RcExplore *explore);
pg_noreturn extern void rc_explore_raise_body(RcExplore *explore,
											  const char *body, size_t len);
extern char *rc_explore_clip(const char *text, size_t len, int max);

#endif							/* RC_EXPLORE_INTERNAL_H */
