/*-------------------------------------------------------------------------
 *
 * debezium_value.c
 *	  From a value as Debezium writes it to what PostgreSQL's input functions
 *	  take: what is written as JSON has it, and arrays of anything.
 *
 * It must know no catalog: the files of this folder are compiled without the
 * server, too, to be tried with millions of values (test/fuzz).
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

/* Dimensions that arrays of PostgreSQL have at most. */
#define MOST_DIMENSIONS	6

static const char *convert(const RcDebeziumType *type,
						   const RcDebeziumJson *value, StringInfo out);
static const char *append_unsigned(const RcDebeziumJson *value,
								   StringInfo out);
static const char *append_set(const RcDebeziumType *type,
							  const RcDebeziumJson *value, StringInfo out);
static const char *append_hstore(const RcDebeziumJson *value, StringInfo out);
static const char *append_pairs(const RcDebeziumJson *object, StringInfo out);
static const char *append_array(const RcDebeziumType *type, char delimiter,
								const RcDebeziumJson *value, int dimension,
								StringInfo out);
static const char *append_element(const RcDebeziumType *type, char delimiter,
								  const RcDebeziumJson *value,
								  StringInfo out);
static void append_text(const RcDebeziumJson *value, StringInfo out);
static void append_quoted(const char *text, int len, StringInfo out);
static bool must_quote(const char *text, int len, char delimiter);

/* See debezium_value.h. */
const char *
rc_debezium_to_text(const RcDebeziumType *type, const char *json, int len,
					StringInfo out)
{
	RcScan		scan = {json, json + len, true};
	RcDebeziumJson value;
	int			before = out->len;
	const char *wrong;

	if (!rc_debezium_read(&scan, &value) ||
		(rc_scan_space(&scan), scan.at != scan.end))
		wrong = RC_NO_JSON;
	else if (value.kind == JSON_TOKEN_NULL)
		wrong = "is null";
	else
		wrong = convert(type, &value, out);
	if (wrong != NULL)
	{
		out->len = before;
		out->data[before] = '\0';
	}
	return wrong;
}

static const char *
convert(const RcDebeziumType *type, const RcDebeziumJson *value,
		StringInfo out)
{
	switch (type->kind)
	{
		case RC_DEBEZIUM_PLAIN:
		case RC_DEBEZIUM_JSON:
			append_text(value, out);
			return NULL;
		case RC_DEBEZIUM_UNSIGNED:
			return append_unsigned(value, out);
		case RC_DEBEZIUM_DECIMAL:
		case RC_DEBEZIUM_DECIMAL_STRUCT:
		case RC_DEBEZIUM_DECIMAL_TEXT:
		case RC_DEBEZIUM_DECIMAL_AUTO:
			return rc_debezium_append_decimal(type, value, out);
		case RC_DEBEZIUM_DATE:
		case RC_DEBEZIUM_TIME:
		case RC_DEBEZIUM_TIMESTAMP:
		case RC_DEBEZIUM_DURATION:
			return rc_debezium_append_time(type, value, out);
		case RC_DEBEZIUM_BYTES:
		case RC_DEBEZIUM_BYTES_TEXT:
		case RC_DEBEZIUM_HEX:
		case RC_DEBEZIUM_BITS:
			return rc_debezium_append_bytes(type, value, out);
		case RC_DEBEZIUM_SET:
			return append_set(type, value, out);
		case RC_DEBEZIUM_HSTORE:
			return append_hstore(value, out);
		case RC_DEBEZIUM_GEOMETRY:
			return rc_debezium_append_geometry(type, value, out);
		case RC_DEBEZIUM_ARRAY:
			return append_array(type, type->delimiter ? type->delimiter : ',',
								value, 1, out);
	}
	return "is of a kind that is not known";
}

static void
append_text(const RcDebeziumJson *value, StringInfo out)
{
	appendBinaryStringInfo(out, value->text, value->len);
}

/* What a column of MySQL without a sign has lost in 64 bits with one. */
static const char *
append_unsigned(const RcDebeziumJson *value, StringInfo out)
{
	int64		number;

	if (!rc_debezium_integer(value, &number) || number >= 0)
		append_text(value, out);
	else
		appendStringInfo(out, UINT64_FORMAT, (uint64) number);
	return NULL;
}

/* The members of a set have no commas: MySQL refuses them. */
static const char *
append_set(const RcDebeziumType *type, const RcDebeziumJson *value,
		   StringInfo out)
{
	const char *at = value->text;
	const char *end = at + value->len;

	if (value->kind != JSON_TOKEN_STRING)
		return RC_NO_STRING;
	if (type->element == NULL)
	{
		append_text(value, out);
		return NULL;
	}
	appendStringInfoChar(out, '{');
	while (at < end)
	{
		const char *comma = memchr(at, ',', end - at);
		const char *stop = comma != NULL ? comma : end;

		append_quoted(at, stop - at, out);
		if (comma != NULL)
			appendStringInfoChar(out, ',');
		at = stop + 1;
	}
	appendStringInfoChar(out, '}');
	return NULL;
}

static const char *
append_hstore(const RcDebeziumJson *value, StringInfo out)
{
	RcScan		scan = {value->text, value->text + value->len, true};
	RcDebeziumJson object;

	if (value->kind != JSON_TOKEN_STRING)
		return append_pairs(value, out);
	if (!rc_debezium_read(&scan, &object) ||
		(rc_scan_space(&scan), scan.at != scan.end))
		return RC_NO_OBJECT;
	return append_pairs(&object, out);
}

static const char *
append_pairs(const RcDebeziumJson *object, StringInfo out)
{
	RcScan		scan;
	RcDebeziumJson part;
	const char *between = "";

	if (object->kind != JSON_TOKEN_OBJECT_START)
		return RC_NO_OBJECT;
	if (!rc_debezium_first(object, &scan))
		return NULL;
	do
	{
		rc_debezium_name(&scan, &part);
		appendStringInfoString(out, between);
		append_quoted(part.text, part.len, out);
		appendStringInfoString(out, "=>");
		(void) rc_debezium_read(&scan, &part);
		if (part.kind == JSON_TOKEN_NULL)
			appendStringInfoString(out, "NULL");
		else if (part.kind == JSON_TOKEN_STRING ||
				 part.kind == JSON_TOKEN_NUMBER)
			append_quoted(part.text, part.len, out);
		else
			return "has a value that is no text";
		between = ", ";
	} while (rc_debezium_next(&scan));
	return NULL;
}

/*
 * Arrays in an array are its further dimensions, whatever the type says: the
 * type of a column of int[] and int[][] is one.
 */
static const char *
append_array(const RcDebeziumType *type, char delimiter,
			 const RcDebeziumJson *value, int dimension, StringInfo out)
{
	const RcDebeziumType *element = type;
	RcScan		scan;

	if (value->kind != JSON_TOKEN_ARRAY_START)
		return "is no array";
	if (dimension > MOST_DIMENSIONS)
		return "has too many dimensions";
	while (element->kind == RC_DEBEZIUM_ARRAY)
		element = element->element;
	appendStringInfoChar(out, '{');
	if (rc_debezium_first(value, &scan))
	{
		do
		{
			RcDebeziumJson item;
			const char *wrong;

			(void) rc_debezium_read(&scan, &item);
			if (item.kind == JSON_TOKEN_ARRAY_START &&
				element->kind != RC_DEBEZIUM_JSON)
				wrong = append_array(element, delimiter, &item, dimension + 1,
									 out);
			else
				wrong = append_element(element, delimiter, &item, out);
			if (wrong != NULL)
				return wrong;
			appendStringInfoChar(out, delimiter);
		} while (rc_debezium_next(&scan));
		out->len--;
	}
	appendStringInfoChar(out, '}');
	return NULL;
}

static const char *
append_element(const RcDebeziumType *type, char delimiter,
			   const RcDebeziumJson *value, StringInfo out)
{
	StringInfoData text;
	const char *wrong;

	if (value->kind == JSON_TOKEN_NULL)
	{
		appendStringInfoString(out, "NULL");
		return NULL;
	}
	initStringInfo(&text);
	wrong = convert(type, value, &text);
	if (wrong == NULL && must_quote(text.data, text.len, delimiter))
		append_quoted(text.data, text.len, out);
	else if (wrong == NULL)
		appendBinaryStringInfo(out, text.data, text.len);
	pfree(text.data);
	return wrong;
}

/* Whether an element of an array would be taken for something else. */
static bool
must_quote(const char *text, int len, char delimiter)
{
	if (len == 0 || (len == 4 && pg_strncasecmp(text, "null", 4) == 0))
		return true;
	for (int i = 0; i < len; i++)
	{
		if (text[i] == delimiter || strchr("\"\\{}() \t\n\r\v\f", text[i]))
			return true;
	}
	return false;
}

/* Elements of arrays, and both sides of hstore, are quoted alike. */
static void
append_quoted(const char *text, int len, StringInfo out)
{
	appendStringInfoChar(out, '"');
	for (int i = 0; i < len; i++)
	{
		if (text[i] == '"' || text[i] == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, text[i]);
	}
	appendStringInfoChar(out, '"');
}
