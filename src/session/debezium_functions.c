/*-------------------------------------------------------------------------
 *
 * debezium_functions.c
 *	  rc_debezium_*(): single values as Debezium writes them, for who writes
 *	  the statement of a stream by hand.
 *
 * The conversions are those of streams (src/debezium); the types' own input
 * functions check what comes of them.  A statement may run them for millions
 * of rows: nothing here may read a table.
 *
 * A C symbol that a released install script names must never be removed.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "debezium/debezium_value.h"

PG_FUNCTION_INFO_V1(rc_debezium_decimal);
PG_FUNCTION_INFO_V1(rc_debezium_date);
PG_FUNCTION_INFO_V1(rc_debezium_timestamp);
PG_FUNCTION_INFO_V1(rc_debezium_time);
PG_FUNCTION_INFO_V1(rc_debezium_bytes);
PG_FUNCTION_INFO_V1(rc_debezium_bits);

/* Bytes of a value that a message shows. */
#define SHOWN	100

static Datum from_text(const RcDebeziumType *type, text * value,
					   PGFunction input);
static Datum from_number(const RcDebeziumType *type, int64 number,
						 PGFunction input);
static Datum from_json(const RcDebeziumType *type, const char *json, int len,
					   PGFunction input);
static RcDebeziumUnit unit_of(text * unit, const char *function);

/* rc_debezium_decimal(value, scale): decimal.handling.mode = precise. */
Datum
rc_debezium_decimal(PG_FUNCTION_ARGS)
{
	RcDebeziumType type = {RC_DEBEZIUM_DECIMAL};

	type.scale = PG_GETARG_INT32(1);
	return from_text(&type, PG_GETARG_TEXT_PP(0), numeric_in);
}

/* rc_debezium_date(days) */
Datum
rc_debezium_date(PG_FUNCTION_ARGS)
{
	RcDebeziumType type = {RC_DEBEZIUM_DATE};

	return from_number(&type, PG_GETARG_INT32(0), date_in);
}

/* rc_debezium_timestamp(value, unit) */
Datum
rc_debezium_timestamp(PG_FUNCTION_ARGS)
{
	RcDebeziumType type = {RC_DEBEZIUM_TIMESTAMP};

	type.unit = unit_of(PG_GETARG_TEXT_PP(1), "rc_debezium_timestamp()");
	return from_number(&type, PG_GETARG_INT64(0), timestamp_in);
}

/* rc_debezium_time(value, unit) */
Datum
rc_debezium_time(PG_FUNCTION_ARGS)
{
	RcDebeziumType type = {RC_DEBEZIUM_TIME};

	type.unit = unit_of(PG_GETARG_TEXT_PP(1), "rc_debezium_time()");
	return from_number(&type, PG_GETARG_INT64(0), time_in);
}

/* rc_debezium_bytes(value): binary.handling.mode = bytes or base64*. */
Datum
rc_debezium_bytes(PG_FUNCTION_ARGS)
{
	RcDebeziumType type = {RC_DEBEZIUM_BYTES};

	return from_text(&type, PG_GETARG_TEXT_PP(0), byteain);
}

/* rc_debezium_bits(value, length) */
Datum
rc_debezium_bits(PG_FUNCTION_ARGS)
{
	RcDebeziumType type = {RC_DEBEZIUM_BITS};

	type.length = PG_GETARG_INT32(1);
	if (type.length < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rc_debezium_bits() does not accept %d for length",
						type.length),
				 errhint("Use the length of the column: it is the parameter \"length\" of the field's schema.")));
	return from_text(&type, PG_GETARG_TEXT_PP(0), varbit_in);
}

static Datum
from_text(const RcDebeziumType *type, text * value, PGFunction input)
{
	StringInfoData json;

	initStringInfo(&json);
	escape_json(&json, text_to_cstring(value));
	return from_json(type, json.data, json.len, input);
}

static Datum
from_number(const RcDebeziumType *type, int64 number, PGFunction input)
{
	char	   *json = psprintf(INT64_FORMAT, number);

	return from_json(type, json, strlen(json), input);
}

/* The input function of the type that the SQL function returns is given. */
static Datum
from_json(const RcDebeziumType *type, const char *json, int len,
		  PGFunction input)
{
	StringInfoData text;
	const char *wrong;

	initStringInfo(&text);
	wrong = rc_debezium_to_text(type, json, len, &text);
	if (wrong != NULL)
	{
		int			shown = pg_mbcliplen(json, len, SHOWN);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid value of Debezium: %.*s%s", shown, json,
						shown < len ? "..." : ""),
				 errdetail("It %s.", wrong)));
	}
	return DirectFunctionCall3(input, CStringGetDatum(text.data),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

static RcDebeziumUnit
unit_of(text * unit, const char *function)
{
	static const char *const names[] = {
		[RC_DEBEZIUM_SECONDS] = "s",
		[RC_DEBEZIUM_MILLISECONDS] = "ms",
		[RC_DEBEZIUM_MICROSECONDS] = "us",
		[RC_DEBEZIUM_NANOSECONDS] = "ns"
	};
	char	   *name = text_to_cstring(unit);

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return (RcDebeziumUnit) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s does not accept the unit \"%s\"", function, name),
			 errhint("Units are s, ms, us and ns.")));
	return RC_DEBEZIUM_SECONDS; /* not reached */
}
