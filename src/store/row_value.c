/*-------------------------------------------------------------------------
 *
 * row_value.c
 *	  Makes the Datum of a value that is not written as the type of its column
 *	  takes it, and refuses one that its schema contradicts.
 *
 * What a value means has been decided before (row_convert.c); the type's input
 * function has the last word.
 *
 *-------------------------------------------------------------------------
 */
#include "store/row_columns.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "debezium/debezium_row.h"

/*
 * So many hexadecimal digits are no base64 of something else: one text of
 * base64 in 4^16 has only such characters.
 */
#define SURELY_HEX	16

static bool is_lsn(const char *text, int len);
static void unwrap(const char *json, int len, StringInfo out);
static void choose_bytes(const RowColumn *column, RcDebeziumType *type,
						 const char *json, int len);
static bool is_base64(const char *text, int len);
static bool is_hex(const char *text, int len);
static void refuse(const RowColumn *column, const RcConversion *conversion,
				   const RcDebeziumType *type, const char *wrong);

/*
 * Whether a value of a kind that is converted is.  Of arrays without events,
 * only those of numbers are; and a string may be the text of an array.
 */
bool
rc_row_is_converted(const RcRowDecoder *decoder, const RowColumn *column,
					const RowValue *value)
{
	const RcConversion *conversion =
		&decoder->conversions[column - decoder->columns];

	if (conversion->literal)
		return value->len < 2 || value->start[1] != '{';
	if (conversion->wrapped)
		return value->len > 2 && memchr("({", value->start[1], 2) == NULL &&
			!is_lsn(value->start + 1, value->len - 2);
	return !conversion->numbers ||
		memchr(value->start, '"', value->len) == NULL;
}

/* Two numbers of up to 8 hexadecimal digits, as pg_lsn is printed. */
static bool
is_lsn(const char *text, int len)
{
	const char *slash = memchr(text, '/', len);

	return slash != NULL && slash - text >= 1 && slash - text <= 8 &&
		len - (slash - text) <= 9 &&
		strspn(text, "0123456789ABCDEF/") == len;
}

/*
 * Convert a value.  Raises ERRCODE_INVALID_TEXT_REPRESENTATION if it is not
 * what the conversion expects.
 */
Datum
rc_row_convert(RcRowDecoder *decoder, RowColumn *column, const RowValue *value)
{
	const RcConversion *conversion =
		&decoder->conversions[column - decoder->columns];
	RcDebeziumType type = conversion->type;
	const char *json = value->start;
	int			len = value->len;
	bool		array = column->kind == COLUMN_ARRAY;
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	StringInfoData text;
	const char *wrong;

	if (!utf8)
	{
		char	   *copy = pnstrdup(json, len);

		json = pg_server_to_any(copy, len, PG_UTF8);
		len = strlen(json);
	}
	if (type.kind == RC_DEBEZIUM_DECIMAL && *json == '{')
		type.kind = RC_DEBEZIUM_DECIMAL_STRUCT;
	if (conversion->bytes)
		choose_bytes(column, &type, json, len);
	initStringInfo(&text);
	if (type.kind == RC_DEBEZIUM_DECIMAL && type.scale < 0 &&
		conversion->schema == NULL)
		wrong = "has no scale: the column's type is numeric without one";
	else if (conversion->wrapped && is_hex(json + 1, len - 2))
	{
		unwrap(json + 1, len - 2, &text);
		wrong = NULL;
	}
	else if (conversion->json && type.kind != RC_DEBEZIUM_JSON)
		wrong = rc_debezium_to_json(&type, json, len, &text);
	else
		wrong = rc_debezium_to_text(&type, json, len, &text);
	if (wrong != NULL)
		refuse(column, conversion, &type, wrong);
	if (type.kind == RC_DEBEZIUM_BYTES_TEXT)
		(void) pg_verify_mbstr(PG_UTF8, text.data, text.len, false);
	if (!utf8)
		text.data = pg_any_to_server(text.data, text.len, PG_UTF8);
	return InputFunctionCall(array ? &column->array_input : &column->input,
							 text.data,
							 array ? column->array_ioparam : column->ioparam,
							 column->typmod);
}

/* Append the text whose bytes are written in hexadecimal. */
static void
unwrap(const char *digits, int len, StringInfo out)
{
	enlargeStringInfo(out, len / 2);
	out->len += hex_decode(digits, len, out->data + out->len);
	out->data[out->len] = '\0';
}

/*
 * Bytes in a string of which only the connector's binary.handling.mode would
 * say how they are written.
 */
static void
choose_bytes(const RowColumn *column, RcDebeziumType *type, const char *json,
			 int len)
{
	const char *text = json + 1;
	int			n = len - 2;

	type->kind = RC_DEBEZIUM_BYTES;
	if (*json != '"' || !is_hex(text, n))
		return;
	if (n >= SURELY_HEX || !is_base64(text, n))
		type->kind = RC_DEBEZIUM_HEX;
	else if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("it is not known how the bytes of column \"%s\" are written",
						column->name),
				 errdetail("The text \"%s\" could be base64 and hexadecimal digits.",
						   pnstrdup(text, n)),
				 errhint("Send the schema with each message (schemas.enable = true) and set the connector's binary.handling.mode to bytes.")));
}

static bool
is_base64(const char *text, int len)
{
	return len % 4 == 0;		/* digits of both are characters of it */
}

/* As the connector writes them: in lower case. */
static bool
is_hex(const char *text, int len)
{
	for (int i = 0; i < len; i++)
	{
		if (!((text[i] >= '0' && text[i] <= '9') ||
			  (text[i] >= 'a' && text[i] <= 'f')))
			return false;
	}
	return len % 2 == 0;
}

static void
refuse(const RowColumn *column, const RcConversion *conversion,
	   const RcDebeziumType *type, const char *wrong)
{
	bool		decimal = type->kind == RC_DEBEZIUM_DECIMAL_AUTO ||
		type->kind == RC_DEBEZIUM_DECIMAL ||
		type->kind == RC_DEBEZIUM_DECIMAL_TEXT;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("cannot convert the value of column \"%s\" to type %s",
					column->name, format_type_be(column->type->type)),
			 decimal && conversion->schema == NULL ?
			 errdetail("It %s.  The stream's column decimal says how decimals are written.",
					   wrong) :
			 errdetail("It %s.", wrong),
			 decimal && conversion->schema == NULL ?
			 errhint("Set the stream's column decimal to what the connector's decimal.handling.mode is, or send the schema with each message.") : 0));
}

/*
 * Raise ERRCODE_INVALID_TEXT_REPRESENTATION if a value, which is not null, is
 * none of its schema.
 */
void
rc_row_check_schema(const RowColumn *column, const RcConversion *conversion,
					const RowValue *value)
{
	const char *expected = NULL;

	if (conversion->schema == NULL && !conversion->absent)
		return;
	if (!conversion->absent)
		expected = rc_connect_contradicts(conversion->schema, *value->start);
	if (conversion->absent || expected != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the schema of the record contradicts its value in column \"%s\"",
						column->name),
				 conversion->absent ?
				 errdetail("The schema has no such field.") :
				 errdetail("The schema says that it is %s.", expected)));
}

/*
 * Raise ERRCODE_INVALID_TEXT_REPRESENTATION for a number in a column that is a
 * time, if there is a schema: it says that the number is none, and then
 * numeric_time says nothing.
 */
void
rc_row_check_time(const RowColumn *column, const RcConversion *conversion,
				  const RowValue *value)
{
	if (conversion->schema != NULL && value->token.kind == JSON_TOKEN_NUMBER &&
		!rc_json_type_takes(column->type, JSON_TOKEN_NUMBER))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("cannot convert JSON number to type %s of column \"%s\"",
						format_type_be(column->type->type), column->name),
				 errdetail("The schema of the record says that it is a plain number."),
				 errhint("Use a column of a number type, and convert it in the stream's statement.")));
}
