/*-------------------------------------------------------------------------
 *
 * explore.h
 *	  Reading records from an Opendatasoft Explore API: HTTP, the API's own
 *	  rules, and the shape of a recall.
 *
 * Nothing in src/source knows SPI, a table or Kafka.  Memory is palloc'd in the
 * current context unless a function says otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_API_H
#define RC_API_H

#include "rappel_conso.h"

#include "fmgr.h"

/* ---- address.c: what a source's url and dataset may be ---- */

extern void rc_address_check(const char *source, const char *url,
							 const char *dataset);

/* ---- query_check.c: what its filter and the names of its fields may be ---- */

extern void rc_filter_check(const char *source, const char *filter);
extern void rc_field_check(const char *source, const char *column,
						   const char *field);

/* ---- http.c: one GET at a time, read as a stream ---- */

typedef struct RcHttp RcHttp;

typedef struct RcHttpResponse
{
	int			status;			/* HTTP status */
	char		content_type[128];	/* "" if none */
	TimestampTz retry_at;		/* from Retry-After; 0 if none */
	int64		ratelimit_limit;	/* X-RateLimit-*; -1 if none */
	int64		ratelimit_remaining;
	TimestampTz ratelimit_reset;	/* 0 if none */
} RcHttpResponse;

extern RcHttp *rc_http_open(const char *key_url);
extern void rc_http_close(RcHttp *http);
extern const RcHttpResponse *rc_http_get(RcHttp *http, const char *url);
extern bool rc_http_read_line(RcHttp *http, char **line, size_t *len);
extern bool rc_http_half_line(const RcHttp *http);
extern char *rc_http_read_all(RcHttp *http, size_t limit, size_t *len);
extern char *rc_http_read_start(RcHttp *http, size_t max, size_t *len);
extern void rc_http_finish(RcHttp *http);
extern TimestampTz rc_http_parse_time(const char *text);
extern char *rc_http_printable(const char *text, size_t len);

/* ---- explore.c: the Explore API v2.1 ---- */

typedef struct RcExplore RcExplore;

/* Kinds of a cursor field: how its values are compared and written in ODSQL. */
typedef enum RcFieldKind
{
	RC_FIELD_MISSING,			/* the dataset has no such field */
	RC_FIELD_TIME,				/* date or datetime */
	RC_FIELD_NUMBER,			/* int or double */
	RC_FIELD_TEXT
} RcFieldKind;

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

/* ---- odsql.c: the API's query language ---- */

extern bool rc_explore_comparable(RcFieldKind kind, const char *value);
extern char *rc_explore_utc(const char *value);
extern char *rc_explore_condition(const char *field, RcFieldKind kind,
								  const char *op, const char *value);
extern char *rc_explore_and(const char *a, const char *b);
extern char *rc_explore_field(const char *field);
extern char *rc_explore_encode(const char *text);

/* ---- recall.c: a line of the API to a record ---- */

typedef struct RcExtractOptions
{
	bool		recall;			/* transform = recall; else none */
	bool		fold_accents;
	const char *key_field;		/* NULL: records have no key */
	const char *cursor_field;	/* NULL: there is no cursor */
} RcExtractOptions;

typedef struct RcExtracted
{
	char	   *value;			/* JSON text of one object, UTF-8 */
	int			value_len;
	char	   *key;			/* NULL only without a key_field */
	char	   *cursor;			/* text of the cursor field; NULL if null */
	char	   *version;		/* sorts as versions do; NULL: not known */
	bool		object;			/* the line is a JSON object, if no record */
} RcExtracted;

extern const char *rc_extract(const char *line, size_t len,
							  const RcExtractOptions *options,
							  RcExtracted *out);

/* ---- fold.c: accents ---- */

extern char *rc_fold_utf8(const char *text, size_t len, size_t *out_len);
extern PGDLLEXPORT Datum rc_fold(FunctionCallInfo fcinfo);

#endif							/* RC_API_H */
