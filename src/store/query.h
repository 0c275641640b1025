/*-------------------------------------------------------------------------
 *
 * query.h
 *	  The extension's own SQL: plans, parameters and results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_QUERY_H
#define RC_QUERY_H

#include "rappel_conso.h"
#include "record.h"

#include "executor/spi.h"

#define RC_MAX_PARAMS 24

/* Error texts are truncated to this many bytes when stored. */
#define RC_STORED_TEXT_MAX	8192

typedef struct RcParams
{
	int			n;
	Oid			types[RC_MAX_PARAMS];
	Datum		values[RC_MAX_PARAMS];
	char		nulls[RC_MAX_PARAMS];
} RcParams;

/* State that rc_query_begin() changes and rc_query_end() restores. */
typedef struct RcQueryScope
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} RcQueryScope;

/* SQL text that differs after each change of a row. */
#define RC_ROW_VERSION(alias) \
	alias ".xmin::text || ' ' || " alias ".ctid::text"

extern int	rc_query_lock_timeout;

extern Oid	rc_extension_lock(void);
extern void rc_query_begin(RcQueryScope *scope);
extern bool rc_query_begin_if_there(RcQueryScope *scope);
extern void rc_query_begin_catalog(RcQueryScope *scope);
extern uint64 rc_query(const char *sql, RcParams *params);
extern uint64 rc_query_latest(const char *sql, RcParams *params);
extern void rc_query_end(RcQueryScope *scope);
extern uint64 rc_execute(const char *sql, RcParams *params);
extern TransactionId rc_query_xmin(const char *sql, RcParams *params);

/* ---- query_param.c ---- */

extern void rc_param_text(RcParams *params, const char *value);
extern void rc_param_error_text(RcParams *params, const char *error_text);
extern void rc_param_error(RcParams *params, const ErrorData *error);
extern void rc_param_int4(RcParams *params, int32 value);
extern void rc_param_int8(RcParams *params, int64 value);
extern void rc_param_int8_or_null(RcParams *params, int64 value,
								  bool isnull);
extern void rc_param_oid(RcParams *params, Oid value);
extern void rc_param_bool(RcParams *params, bool value);
extern void rc_param_time(RcParams *params, TimestampTz value);
extern void rc_param_kafka_time(RcParams *params, int64 ms);
extern void rc_param_bytea(RcParams *params, const char *bytes, int len);
extern void rc_param_jsonb(RcParams *params, Datum value, bool isnull);
extern void rc_param_datum(RcParams *params, Oid type, Datum value);
extern void rc_param_ids(RcParams *params, const int64 *ids, int n);
extern void rc_param_texts(RcParams *params, char **values, int n);

/* ---- query_result.c ---- */

extern MemoryContext rc_query_result_context(void);
extern List *rc_result_append(List *list, void *value);
extern char *rc_column_text(int row, int column);
extern List *rc_column_text_list(int row, int column);
extern char *rc_column_bytes(int row, int column, int *len);
extern RcHeader *rc_column_headers(int row, int column, int *n);
extern NullableDatum rc_column_any(int row, int column);
extern int64 rc_column_int8(int row, int column, int64 if_null);
extern bool rc_column_bool(int row, int column);
extern TimestampTz rc_column_time(int row, int column);

#endif							/* RC_QUERY_H */
