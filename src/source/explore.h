/*-------------------------------------------------------------------------
 *
 * explore.h
 *	  Reading a dataset of an Opendatasoft Explore API.
 *
 * It waits for the network: no transaction may be open.  Memory is palloc'd in
 * the current context unless a function says otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EXPLORE_H
#define RC_EXPLORE_H

#include "record.h"
#include "source/http.h"

typedef struct RcExplore RcExplore;

typedef struct RcDatasetMeta
{
	char	   *modified;		/* as the API wrote them; NULL if absent */
	char	   *data_processed;
	int64		records_count;	/* -1 if absent */
} RcDatasetMeta;

extern RcExplore *rc_explore_open(const char *source, const char *url,
								  const char *dataset, const char *key_url);
extern void rc_explore_close(RcExplore *explore);
extern void rc_explore_meta(RcExplore *explore, RcDatasetMeta *meta);
extern RcFieldKind rc_explore_field_kind(RcExplore *explore, const char *field);
extern int64 rc_explore_count(RcExplore *explore, const char *where);
extern void rc_explore_export(RcExplore *explore, const char *where,
							  const char *order_by);
extern bool rc_explore_next(RcExplore *explore, char **line, size_t *len);
extern bool rc_explore_half_line(const RcExplore *explore);
extern TimestampTz rc_explore_retry_at(RcExplore *explore);
extern const RcHttpResponse *rc_explore_last_response(RcExplore *explore);

#endif							/* RC_EXPLORE_H */
