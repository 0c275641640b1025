/*-------------------------------------------------------------------------
 *
 * row_convert.c
 *	  Decides how the values of each column are converted: by the message's
 *	  schema, or else by the column's type and what the stream says.
 *
 * What needs no conversion is left to the row decoder, as for any typed record.
 * Nothing is converted here (row_value.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/row_convert.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "store/row_columns.h"

#define MONEY_SCALE		2

/* The greatest precision of a time of which Debezium sends milliseconds. */
#define MS_PRECISION	3

/* A type that a conversion is made for. */
typedef struct Target
{
	Oid			base;			/* below domains */
	int32		typmod;			/* of that */
	Oid			element;		/* of an array; else invalid */
	char		category;
	char		extension[NAMEDATALEN]; /* name of a type that is not built in */
} Target;

static void look_up(Oid type, int32 typmod, Target *target);
static void by_type(const Target *target, const RcConversionRules *rules,
					RcConversion *conversion);
static void by_event_type(const Target *target, const RcConversionRules *rules,
						  RcConversion *conversion);
static void set_decimal(const RcConversionRules *rules, int scale,
						RcConversion *conversion);
static void set_time(RcDebeziumKind kind, const Target *target,
					 const RcConversionRules *rules, RcConversion *conversion);
static RcDebeziumUnit unit_of(RcDebeziumKind kind, const Target *target,
							  const RcConversionRules *rules);
static bool is_unknown(const Target *target);
static void set_wrapped(RcConversion *conversion);
static void set_geometry(const Target *target, RcConversion *conversion);
static void set_array(const Target *target, const RcConversionRules *rules,
					  const RcConnectSchema *schema, RcConversion *conversion);
static void by_schema(const Target *target, const RcConversionRules *rules,
					  const RcConnectSchema *schema, RcConversion *conversion);
static int	numeric_scale(int32 typmod);
static char delimiter_of(Oid type);
static bool is_time(RcDebeziumKind kind);
static bool is_decimal(RcDebeziumKind kind);
static bool is_time_type(Oid type);

/* What the columns of a stream say, of which null means the default. */
void
rc_conversion_rules(const char *envelope, const char *decimal,
					const char *numeric_time, RcConversionRules *rules)
{
	static const char *const decimals[] = {"auto", "precise", "string", "double"};
	static const char *const times[] = {"error", "s", "ms", "us", "ns", "adaptive"};

	memset(rules, 0, sizeof(RcConversionRules));
	rules->events = strcmp(envelope, "debezium") == 0;
	rules->decimal = rules->events ? RC_DECIMAL_AUTO : RC_DECIMAL_STRING;
	rules->time = rules->events ? RC_TIME_ADAPTIVE : RC_TIME_ERROR;
	for (int i = 0; i < lengthof(decimals) && decimal != NULL; i++)
	{
		if (strcmp(decimals[i], decimal) == 0)
			rules->decimal = (RcDecimalMode) i;
	}
	for (int i = 0; i < lengthof(times) && numeric_time != NULL; i++)
	{
		if (strcmp(times[i], numeric_time) == 0)
			rules->time = (RcNumericTime) i;
	}
}

/*
 * The conversions of a decoder's columns, in the current context; "row" is the
 * schema of the rows, to which the result refers, or NULL.  The result is NULL
 * if nothing is converted.
 */
RcConversion *
rc_conversions_make(const RcRowDecoder *decoder,
					const RcConversionRules *rules, const RcConnectSchema *row)
{
	RcConversion *conversions = palloc0(sizeof(RcConversion) *
										(decoder->natts + 1));
	bool		any = rules->events;

	for (int i = 0; i < decoder->natts; i++)
	{
		const RowColumn *column = &decoder->columns[i];
		RcConversion *conversion = &conversions[i];
		Target		target;

		if (column->name == NULL)
			continue;
		look_up(column->type->type, column->typmod, &target);
		if (row == NULL)
			by_type(&target, rules, conversion);
		else
		{
			char	   *name = pg_server_to_any(column->name, column->name_len, PG_UTF8);

			conversion->schema = rc_connect_field(row, name, strlen(name));
			conversion->absent = conversion->schema == NULL;
			if (!conversion->absent)
				by_schema(&target, rules, conversion->schema, conversion);
		}
		any |= conversion->tokens != 0;
	}
	return any ? conversions : NULL;
}

static void
look_up(Oid type, int32 typmod, Target *target)
{
	HeapTuple	tuple;
	bool		preferred;

	memset(target, 0, sizeof(Target));
	target->typmod = typmod;
	target->base = getBaseTypeAndTypmod(type, &target->typmod);
	target->element = get_element_type(target->base);
	get_type_category_preferred(target->base, &target->category, &preferred);
	if (target->base < FirstNormalObjectId)
		return;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(target->base));
	if (HeapTupleIsValid(tuple))
	{
		strlcpy(target->extension,
				NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname),
				NAMEDATALEN);
		ReleaseSysCache(tuple);
	}
}

/* ---- without a schema ---- */

static void
by_type(const Target *target, const RcConversionRules *rules,
		RcConversion *conversion)
{
	int			scale = -1;

	switch (target->base)
	{
		case NUMERICOID:
			if (target->typmod >= (int32) VARHDRSZ)
				scale = numeric_scale(target->typmod);
			set_decimal(rules, scale, conversion);
			break;
		case CASHOID:
			set_decimal(rules, MONEY_SCALE, conversion);
			break;
		case DATEOID:
			set_time(RC_DEBEZIUM_DATE, target, rules, conversion);
			break;
		case TIMEOID:
			set_time(RC_DEBEZIUM_TIME, target, rules, conversion);
			break;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			set_time(RC_DEBEZIUM_TIMESTAMP, target, rules, conversion);
			break;
		case INTERVALOID:
			set_time(RC_DEBEZIUM_DURATION, target, rules, conversion);
			break;
		default:
			if (OidIsValid(target->element))
				set_array(target, rules, NULL, conversion);
			else if (rules->events)
				by_event_type(target, rules, conversion);
			break;
	}
}

/* Types whose values only Debezium writes in a way of its own. */
static void
by_event_type(const Target *target, const RcConversionRules *rules,
			  RcConversion *conversion)
{
	switch (target->base)
	{
		case BYTEAOID:
			conversion->type.kind = RC_DEBEZIUM_BYTES;
			conversion->bytes = true;
			conversion->tokens = RC_TOKEN_STRING;
			break;
		case BITOID:
		case VARBITOID:
			conversion->type.kind = RC_DEBEZIUM_BITS;
			if (target->base == BITOID)
				conversion->type.length = Max(target->typmod, 1);
			conversion->tokens = RC_TOKEN_STRING | RC_TOKEN_BOOLEAN;
			break;
		case JSONOID:
		case JSONBOID:
			conversion->type.kind = RC_DEBEZIUM_JSON;
			conversion->tokens = RC_TOKEN_STRING;
			break;
		case BOOLOID:
			/* TINYINT(1) */
			conversion->type.kind = RC_DEBEZIUM_PLAIN;
			conversion->tokens = RC_TOKEN_NUMBER;
			break;
		default:
			if (strcmp(target->extension, "hstore") == 0)
			{
				conversion->type.kind = RC_DEBEZIUM_HSTORE;
				conversion->tokens = RC_TOKEN_OBJECT | RC_TOKEN_STRING;
			}
			else if (is_unknown(target))
				set_wrapped(conversion);
			else
				set_geometry(target, conversion);
			break;
	}
}

/*
 * Whether the connector does not know a type: include.unknown.datatypes makes
 * it send the bytes of its text.
 */
static bool
is_unknown(const Target *target)
{
	char		typtype = get_typtype(target->base);

	return typtype == TYPTYPE_COMPOSITE || typtype == TYPTYPE_MULTIRANGE ||
		target->base == PG_LSNOID;
}

static void
set_wrapped(RcConversion *conversion)
{
	conversion->type.kind = RC_DEBEZIUM_BYTES_TEXT;
	conversion->wrapped = true;
	conversion->tokens = RC_TOKEN_STRING;
}

static void
set_decimal(const RcConversionRules *rules, int scale,
			RcConversion *conversion)
{
	RcDebeziumType *type = &conversion->type;

	type->scale = scale;
	switch (rules->decimal)
	{
		case RC_DECIMAL_AUTO:
			type->kind = RC_DEBEZIUM_DECIMAL_AUTO;
			break;
		case RC_DECIMAL_PRECISE:
			type->kind = RC_DEBEZIUM_DECIMAL;
			break;
		default:
			type->kind = RC_DEBEZIUM_DECIMAL_TEXT;
			break;
	}
	/* without events, a text of a number is what it always was */
	if (rules->events || type->kind != RC_DEBEZIUM_DECIMAL_TEXT)
		conversion->tokens = RC_TOKEN_STRING | RC_TOKEN_OBJECT;
}

static void
set_time(RcDebeziumKind kind, const Target *target,
		 const RcConversionRules *rules, RcConversion *conversion)
{
	conversion->type.kind = kind;
	conversion->type.unit = unit_of(kind, target, rules);
	conversion->type.zoned = (target->base == TIMESTAMPTZOID);
	if (rules->time != RC_TIME_ERROR)
		conversion->tokens |= RC_TOKEN_NUMBER;
	if (rules->events)
		conversion->tokens |= RC_TOKEN_STRING;
}

/* The unit of numbers; a date is always one of days. */
static RcDebeziumUnit
unit_of(RcDebeziumKind kind, const Target *target,
		const RcConversionRules *rules)
{
	if (kind == RC_DEBEZIUM_DURATION &&
		(rules->events || rules->time == RC_TIME_ADAPTIVE))
		return RC_DEBEZIUM_MICROSECONDS;
	switch (rules->time)
	{
		case RC_TIME_SECONDS:
			return RC_DEBEZIUM_SECONDS;
		case RC_TIME_MILLISECONDS:
			return RC_DEBEZIUM_MILLISECONDS;
		case RC_TIME_NANOSECONDS:
			return RC_DEBEZIUM_NANOSECONDS;
		case RC_TIME_ADAPTIVE:
			if (kind == RC_DEBEZIUM_TIME && rules->mysql)
				return RC_DEBEZIUM_MICROSECONDS;
			return target->typmod >= 0 && target->typmod <= MS_PRECISION ?
				RC_DEBEZIUM_MILLISECONDS : RC_DEBEZIUM_MICROSECONDS;
		default:
			return RC_DEBEZIUM_MICROSECONDS;
	}
}

static void
set_geometry(const Target *target, RcConversion *conversion)
{
	static const struct
	{
		Oid			type;
		RcDebeziumShape shape;
	}			shapes[] =
	{
		{POINTOID, RC_DEBEZIUM_POINT}, {LINEOID, RC_DEBEZIUM_LINE},
		{LSEGOID, RC_DEBEZIUM_LSEG}, {BOXOID, RC_DEBEZIUM_BOX},
		{PATHOID, RC_DEBEZIUM_PATH}, {POLYGONOID, RC_DEBEZIUM_POLYGON},
		{CIRCLEOID, RC_DEBEZIUM_CIRCLE}
	};

	conversion->type.kind = RC_DEBEZIUM_GEOMETRY;
	conversion->type.shape = RC_DEBEZIUM_EWKB;
	for (int i = 0; i < lengthof(shapes); i++)
	{
		if (shapes[i].type == target->base)
		{
			conversion->type.shape = shapes[i].shape;
			conversion->tokens = RC_TOKEN_OBJECT;
		}
	}
	if (strcmp(target->extension, "geometry") == 0 ||
		strcmp(target->extension, "geography") == 0)
		conversion->tokens = RC_TOKEN_OBJECT;
}

/* An array is converted if its elements are. */
static void
set_array(const Target *target, const RcConversionRules *rules,
		  const RcConnectSchema *schema, RcConversion *conversion)
{
	RcConversion element = {0};
	Target		of_element;
	RcDebeziumType *type = palloc(sizeof(RcDebeziumType));

	look_up(target->element, target->typmod, &of_element);
	if (schema == NULL)
		by_type(&of_element, rules, &element);
	else if (schema->type == RC_CONNECT_ARRAY)
		by_schema(&of_element, rules, schema->items, &element);
	if (element.json && element.type.kind != RC_DEBEZIUM_JSON)
		return;
	if (element.tokens != 0)
	{
		*type = element.type;
		conversion->type.kind = RC_DEBEZIUM_ARRAY;
		conversion->type.element = type;
		conversion->type.delimiter = delimiter_of(target->element);
		conversion->tokens = RC_TOKEN_ARRAY;
		conversion->numbers = !rules->events;
		return;
	}
	pfree(type);
	if (rules->events && (schema == NULL ||
						  schema->value.kind == RC_DEBEZIUM_SET))
	{
		static const RcDebeziumType plain = {RC_DEBEZIUM_PLAIN};

		conversion->type.kind = RC_DEBEZIUM_SET;
		conversion->type.element = &plain;
		conversion->literal = true;
		conversion->tokens = RC_TOKEN_STRING;
	}
}

/* ---- with a schema ---- */

static void
by_schema(const Target *target, const RcConversionRules *rules,
		  const RcConnectSchema *schema, RcConversion *conversion)
{
	RcDebeziumType *type = &conversion->type;
	RcDebeziumKind kind = schema->value.kind;

	*type = schema->value;
	if (OidIsValid(target->element))
		set_array(target, rules, schema, conversion);
	else if (target->base == JSONOID || target->base == JSONBOID)
	{
		conversion->json = true;
		if (kind != RC_DEBEZIUM_PLAIN)
			conversion->tokens = RC_TOKEN_ANY;
	}
	else if (is_time_type(target->base))
	{
		if (!is_time(kind))
			return;
		type->zoned = (target->base == TIMESTAMPTZOID);
		/* MySQL's TIME goes beyond a day */
		if (target->base == INTERVALOID && kind == RC_DEBEZIUM_TIME)
			type->kind = RC_DEBEZIUM_DURATION;
		conversion->tokens = RC_TOKEN_NUMBER | RC_TOKEN_STRING;
	}
	else if (target->category == TYPCATEGORY_NUMERIC)
	{
		/* a time that is wanted as its number is left alone */
		if (is_decimal(kind))
			conversion->tokens = RC_TOKEN_STRING | RC_TOKEN_OBJECT;
		else if (kind == RC_DEBEZIUM_UNSIGNED)
			conversion->tokens = RC_TOKEN_NUMBER;
		else if (kind == RC_DEBEZIUM_PLAIN && target->base == NUMERICOID)
		{
			/* it has names of its own for the infinities */
			type->kind = RC_DEBEZIUM_DECIMAL_TEXT;
			conversion->tokens = RC_TOKEN_STRING;
		}
	}
	else if (target->base == BYTEAOID)
	{
		conversion->tokens = RC_TOKEN_STRING;
		conversion->bytes = (kind == RC_DEBEZIUM_PLAIN);
		type->kind = RC_DEBEZIUM_BYTES;
	}
	else if (target->base == BITOID || target->base == VARBITOID)
	{
		if (kind != RC_DEBEZIUM_BITS && schema->type != RC_CONNECT_BOOLEAN)
			return;
		type->kind = RC_DEBEZIUM_BITS;
		/* the length is the greatest one there */
		if (target->base == VARBITOID)
			type->length = 0;
		conversion->tokens = RC_TOKEN_STRING | RC_TOKEN_BOOLEAN;
	}
	else if (strcmp(target->extension, "hstore") == 0)
	{
		type->kind = RC_DEBEZIUM_HSTORE;
		conversion->tokens = RC_TOKEN_OBJECT | RC_TOKEN_STRING;
	}
	else if (target->base == BOOLOID)
	{
		if (schema->type == RC_CONNECT_INTEGER)
			conversion->tokens = RC_TOKEN_NUMBER;
	}
	else if (kind == RC_DEBEZIUM_GEOMETRY)
	{
		set_geometry(target, conversion);
		conversion->tokens = RC_TOKEN_OBJECT;
	}
	else if (kind == RC_DEBEZIUM_PLAIN && is_unknown(target))
		set_wrapped(conversion);
	else if (kind == RC_DEBEZIUM_BYTES &&
			 target->category != TYPCATEGORY_STRING)
	{
		/* of a type that the connector does not know */
		type->kind = RC_DEBEZIUM_BYTES_TEXT;
		conversion->tokens = RC_TOKEN_STRING;
	}
	else if (kind != RC_DEBEZIUM_PLAIN && kind != RC_DEBEZIUM_ARRAY &&
			 kind != RC_DEBEZIUM_HSTORE)
		conversion->tokens = RC_TOKEN_ANY;
}

/* As numeric_typmod_scale() of the server, which is not exported. */
static int
numeric_scale(int32 typmod)
{
	return (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
}

static char
delimiter_of(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	char		delimiter = ',';

	if (HeapTupleIsValid(tuple))
	{
		delimiter = ((Form_pg_type) GETSTRUCT(tuple))->typdelim;
		ReleaseSysCache(tuple);
	}
	return delimiter;
}

static bool
is_time(RcDebeziumKind kind)
{
	return kind == RC_DEBEZIUM_DATE || kind == RC_DEBEZIUM_TIME ||
		kind == RC_DEBEZIUM_TIMESTAMP || kind == RC_DEBEZIUM_DURATION;
}

static bool
is_decimal(RcDebeziumKind kind)
{
	return kind == RC_DEBEZIUM_DECIMAL || kind == RC_DEBEZIUM_DECIMAL_STRUCT;
}

static bool
is_time_type(Oid type)
{
	return type == DATEOID || type == TIMEOID || type == TIMETZOID ||
		type == TIMESTAMPOID || type == TIMESTAMPTZOID || type == INTERVALOID;
}
