/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Our own fixed, schema-qualified SQL: kept plans, run with the rights of
 *	  the bootstrap superuser, as referential-integrity triggers run theirs
 *	  with the rights of a table's owner.
 *
 * It must never run a statement that a user wrote: see apply.c for those.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A kept plan, found by the address of its constant text. */
typedef struct KeptPlan
{
	const char *sql;
	SPIPlanPtr	plan;
} KeptPlan;

static List *kept_plans = NIL;

/* How long our SQL waits for a lock, in ms; 0: as the session says. */
int			rc_query_lock_timeout = 0;

typedef struct PinnedSetting
{
	const char *name;
	const char *value;
} PinnedSetting;

/*
 * Settings that change what our SQL means or what it returns, and the value
 * that it was written for.  A session, a role or a database may have set any
 * of them; one that this server does not know is passed over.
 */
static const PinnedSetting pinned_settings[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"array_nulls", "on"},
	{"bytea_output", "hex"},
	{"DateStyle", "ISO, MDY"},
	{"extra_float_digits", "1"},
	{"IntervalStyle", "postgres"},
	{"quote_all_identifiers", "off"},
	{"restrict_nonsystem_relation_kind", ""},
	{"row_security", "on"},
	{"transform_null_equals", "off"},
	{"xmloption", "content"}
};

static void pin_settings(void);
static SPIPlanPtr find_plan(const char *sql, RcParams *params);
static void add_param(RcParams *params, Oid type, Datum value, bool isnull);

/*
 * Connect to SPI and switch up.  Between this and rc_query_end only rc_query
 * may run SQL of ours.  What has to be restored is kept in *scope, on the
 * caller's stack: a trigger on one of our tables may call a function that
 * comes here again.  An error in between needs no cleaning up, since the
 * abort of the (sub)transaction restores user, settings and SPI.
 */
void
rc_query_begin(RcQueryScope *scope)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	scope->guc_level = NewGUCNestLevel();
	pin_settings();
}

/* Give our SQL the settings that it was written for, until rc_query_end. */
static void
pin_settings(void)
{
	for (int i = 0; i < lengthof(pinned_settings); i++)
	{
		const char *name = pinned_settings[i].name;
		const char *now = GetConfigOption(name, true, false);

		if (now != NULL && strcmp(now, pinned_settings[i].value) != 0)
			(void) set_config_option(name, pinned_settings[i].value,
									 PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
	}
	if (rc_query_lock_timeout > 0)
	{
		char		value[12];

		snprintf(value, sizeof(value), "%d", rc_query_lock_timeout);
		(void) set_config_option("lock_timeout", value, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	}
}

/*
 * Run "sql", a string constant, with params (NULL: none); returns the number
 * of rows.  Rows of a result are read by rc_column_*() until rc_query_end.
 */
uint64
rc_query(const char *sql, RcParams *params)
{
	SPIPlanPtr	plan = find_plan(sql, params);
	int			result;

	result = SPI_execute_plan(plan, params ? params->values : NULL,
							  params ? params->nulls : NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * The same for a query that must see what others have just committed,
 * whatever the caller's isolation level.
 */
uint64
rc_query_latest(const char *sql, RcParams *params)
{
	SPIPlanPtr	plan = find_plan(sql, params);
	int			result;

	PushActiveSnapshot(GetLatestSnapshot());
	result = SPI_execute_plan(plan, params ? params->values : NULL,
							  params ? params->nulls : NULL, true, 0);
	PopActiveSnapshot();
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* Switch down again and leave SPI; results are gone after it. */
void
rc_query_end(RcQueryScope *scope)
{
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->sec_context);
	SPI_finish();
}

/* One statement without a result to read; returns the number of rows. */
uint64
rc_execute(const char *sql, RcParams *params)
{
	RcQueryScope scope;
	uint64		rows;

	rc_query_begin(&scope);
	rows = rc_query(sql, params);
	rc_query_end(&scope);
	return rows;
}

/* The kept plan of "sql", prepared at its first use in this process. */
static SPIPlanPtr
find_plan(const char *sql, RcParams *params)
{
	ListCell   *lc;
	KeptPlan   *kept;
	MemoryContext old;

	foreach(lc, kept_plans)
	{
		kept = (KeptPlan *) lfirst(lc);
		if (kept->sql == sql)
			return kept->plan;
	}

	old = MemoryContextSwitchTo(TopMemoryContext);
	kept = palloc0(sizeof(KeptPlan));
	kept->sql = sql;
	MemoryContextSwitchTo(old);

	kept->plan = SPI_prepare(sql, params ? params->n : 0,
							 params ? params->types : NULL);
	if (kept->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(kept->plan);

	old = MemoryContextSwitchTo(TopMemoryContext);
	kept_plans = lappend(kept_plans, kept);
	MemoryContextSwitchTo(old);
	return kept->plan;
}

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

/* Parameters are added in the order of $1, $2, ..; NULL is SQL's null. */
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
rc_param_bool(RcParams *params, bool value)
{
	add_param(params, BOOLOID, BoolGetDatum(value), false);
}

/* 0 is SQL's null. */
void
rc_param_time(RcParams *params, TimestampTz value)
{
	add_param(params, TIMESTAMPTZOID, TimestampTzGetDatum(value), value == 0);
}

/* Milliseconds since 1970; -1 is SQL's null. */
void
rc_param_kafka_time(RcParams *params, int64 ms)
{
	add_param(params, TIMESTAMPTZOID,
			  ms < 0 ? (Datum) 0 :
			  TimestampTzGetDatum(rc_from_kafka_time(ms)), ms < 0);
}

/*
 * The words of an error, or what else may be of any length since others wrote
 * it: what is stored of it is cut.
 */
void
rc_param_words(RcParams *params, const char *words)
{
	char	   *cut;
	int			len;

	if (words == NULL || strlen(words) <= RC_WORDS_BYTES)
	{
		rc_param_text(params, words);
		return;
	}
	len = pg_mbcliplen(words, strlen(words), RC_WORDS_BYTES - 3);
	cut = palloc(len + 4);
	memcpy(cut, words, len);
	strcpy(cut + len, "...");
	rc_param_text(params, cut);
}

/*
 * SQLSTATE, message, detail, hint and context of an error; all null for none.
 */
void
rc_param_error(RcParams *params, const ErrorData *error)
{
	rc_param_text(params, error ? unpack_sql_state(error->sqlerrcode) : NULL);
	rc_param_words(params, error ? error->message : NULL);
	rc_param_words(params, error ? error->detail : NULL);
	rc_param_words(params, error ? error->hint : NULL);
	rc_param_words(params, error ? error->context : NULL);
}

/* A negative length is SQL's null. */
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

/*
 * The context that rc_query_begin was called in: results go there, since what
 * is allocated inside of SPI is gone at rc_query_end.
 */
MemoryContext
rc_query_result_context(void)
{
	void	   *anchor = SPI_palloc(1);
	MemoryContext context = GetMemoryChunkContext(anchor);

	pfree(anchor);
	return context;
}

/* lappend() there; the value has to be there, too. */
List *
rc_result_append(List *list, void *value)
{
	MemoryContext old = MemoryContextSwitchTo(rc_query_result_context());

	list = lappend(list, value);
	MemoryContextSwitchTo(old);
	return list;
}

/*
 * Column "column" (from 1) of row "row" (from 0) of the last rc_query, as
 * text in the context that SPI_connect was called in; NULL for null.
 */
char *
rc_column_text(int row, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row],
									 SPI_tuptable->tupdesc, column);
	char	   *copy;

	if (value == NULL)
		return NULL;
	copy = SPI_palloc(strlen(value) + 1);
	strcpy(copy, value);
	return copy;
}

/* The bytes of a bytea column, likewise and null-terminated; *len is -1 for null. */
char *
rc_column_bytes(int row, int column, int *len)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	bytea	   *bytes;
	char	   *copy;

	*len = -1;
	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = SPI_palloc(*len + 1);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	copy[*len] = '\0';
	if ((Pointer) bytes != DatumGetPointer(value))
		pfree(bytes);
	return copy;
}

/* The headers in a jsonb column, likewise; none for null. */
RcHeader *
rc_column_headers(int row, int column, int *n)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	MemoryContext old;
	RcHeader   *headers;

	*n = 0;
	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(rc_query_result_context());
	headers = rc_headers_from_jsonb(value, n);
	MemoryContextSwitchTo(old);
	return headers;
}

/* The value itself, of whatever storage; valid until rc_query_end. */
NullableDatum
rc_column_any(int row, int column)
{
	NullableDatum value;

	value.value = SPI_getbinval(SPI_tuptable->vals[row],
								SPI_tuptable->tupdesc, column, &value.isnull);
	return value;
}

int64
rc_column_int8(int row, int column, int64 if_null)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		return if_null;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, column))
	{
		case INT8OID:
			return DatumGetInt64(value);
		case INT4OID:
			return DatumGetInt32(value);
		case OIDOID:
			return DatumGetObjectId(value);
		default:
			elog(ERROR, "column %d is not an integer", column);
			return 0;			/* keep compiler quiet */
	}
}

bool
rc_column_bool(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* 0 for null. */
TimestampTz
rc_column_time(int row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}
