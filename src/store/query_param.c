/*-------------------------------------------------------------------------
 *
 * query_param.c
 *	  Parameters of the extension's own SQL.
 *
 * They are added in the order of $1, $2, ..; what they point to must live
 * until the query has run.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/query.h"

static void add_param(RcParams *params, Oid type, Datum value, bool isnull);

static void
add_param(RcParams *params, Oid type, Datum value, bool isnull)
{
	if (params->n >= RC_MAX_PARAMS)
		elog(ERROR, "too many parameters");
	params->types[params->n] = type;
	params->values[params->n] = value;
	params->nulls[params->n] = isnull ? 'n' : ' ';
	params->n++;
}

/* A NULL pointer is an SQL null. */
void
rc_param_text(RcParams *params, const char *value)
{
	add_param(params, TEXTOID,
			  value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

void
rc_param_int4(RcParams *params, int32 value)
{
	add_param(params, INT4OID, Int32GetDatum(value), false);
}

void
rc_param_int8(RcParams *params, int64 value)
{
	add_param(params, INT8OID, Int64GetDatum(value), false);
}

void
rc_param_int8_or_null(RcParams *params, int64 value, bool isnull)
{
	add_param(params, INT8OID, Int64GetDatum(value), isnull);
}

void
rc_param_oid(RcParams *params, Oid value)
{
	add_param(params, OIDOID, ObjectIdGetDatum(value), false);
}

void
rc_param_bool(RcParams *params, bool value)
{
	add_param(params, BOOLOID, BoolGetDatum(value), false);
}

/* 0 is an SQL null. */
void
rc_param_time(RcParams *params, TimestampTz value)
{
	add_param(params, TIMESTAMPTZOID, TimestampTzGetDatum(value), value == 0);
}

/* Milliseconds since 1970; a negative value is an SQL null. */
void
rc_param_kafka_time(RcParams *params, int64 ms)
{
	add_param(params, TIMESTAMPTZOID,
			  ms < 0 ? (Datum) 0 :
			  TimestampTzGetDatum(rc_from_kafka_time(ms)), ms < 0);
}

/*
 * An error text, or other text of any length that comes from outside:
 * truncated to RC_STORED_TEXT_MAX bytes.
 */
void
rc_param_error_text(RcParams *params, const char *error_text)
{
	char	   *cut;
	int			len;

	if (error_text == NULL || strlen(error_text) <= RC_STORED_TEXT_MAX)
	{
		rc_param_text(params, error_text);
		return;
	}
	len = pg_mbcliplen(error_text, strlen(error_text), RC_STORED_TEXT_MAX - 3);
	cut = palloc(len + 4);
	memcpy(cut, error_text, len);
	strcpy(cut + len, "...");
	rc_param_text(params, cut);
}

/*
 * SQLSTATE, message, detail, hint and context of an error: five parameters,
 * all null if error is NULL.
 */
void
rc_param_error(RcParams *params, const ErrorData *error)
{
	rc_param_text(params, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	rc_param_error_text(params, error ? error->message : NULL);
	rc_param_error_text(params, error ? error->detail : NULL);
	rc_param_error_text(params, error ? error->hint : NULL);
	rc_param_error_text(params, error ? error->context : NULL);
}

/* A negative length is an SQL null. */
void
rc_param_bytea(RcParams *params, const char *bytes, int len)
{
	Datum		value = (Datum) 0;

	if (len >= 0)
		value = PointerGetDatum(cstring_to_text_with_len(bytes, len));
	add_param(params, BYTEAOID, value, len < 0);
}

void
rc_param_jsonb(RcParams *params, Datum value, bool isnull)
{
	add_param(params, JSONBOID, value, isnull);
}

void
rc_param_datum(RcParams *params, Oid type, Datum value)
{
	add_param(params, type, value, false);
}

/* An array of bigint. */
void
rc_param_ids(RcParams *params, const int64 *ids, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(ids[i]);
	add_param(params, INT8ARRAYOID,
			  PointerGetDatum(construct_array(datums, n, INT8OID, 8,
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
			  false);
}

/* An array of text. */
void
rc_param_texts(RcParams *params, char **values, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(values[i]);
	add_param(params, TEXTARRAYOID,
			  PointerGetDatum(construct_array(datums, n, TEXTOID, -1, false,
											  TYPALIGN_INT)), false);
}
