/*-------------------------------------------------------------------------
 *
 * debezium_row.c
 *	  Writes rows of change events as JSON whose values need no schema: decimals
 *	  are numbers, documents are themselves, and anything else is the text that
 *	  PostgreSQL's type takes.
 *
 * A row must have been scanned as a whole before.  Nothing here may raise an
 * error for what is in a message.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_row.h"

static const char *write_field(RcDebeziumWriter *writer, const RcScanned *key,
							   const RcDebeziumPart *value);
static const char *write_array(const RcDebeziumType *type, const char *json,
							   int len, StringInfo out);
static void write_t(char *timestamp);
static bool is_json(const char *text, int len);
static bool is_number(const char *text, int len);
static void append_string(StringInfo out, const char *text, int len);

/*
 * Append a row to writer->out.  Returns NULL, or what is wrong with the value
 * of writer->field: a sentence without its subject.
 */
const char *
rc_debezium_write_row(RcDebeziumWriter *writer, const RcDebeziumPart *row)
{
	RcScan		scan;
	RcScanned	key;
	RcStep		step;

	writer->n = 0;
	appendStringInfoChar(writer->out, '{');
	rc_debezium_scan_begin(&scan, row->at, row->len);
	step = rc_debezium_scan_member(&scan, true, &key);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_member(&scan, false, &key))
	{
		bool		added = key.len > 2 && memcmp(key.text, "__", 2) == 0;
		const char *at = scan.at;
		RcDebeziumPart value;
		const char *wrong;

		if (!rc_debezium_scan_skip(&scan, &value))
			return "cannot be read";
		value.at = at;			/* null is written, too */
		if ((writer->flat && added) || (writer->added && !added) ||
			(writer->wants != NULL &&
			 !writer->wants(writer->arg, key.text, key.len)))
			continue;
		wrong = write_field(writer, &key, &value);
		if (wrong != NULL)
		{
			writer->field = key.text;
			writer->field_len = key.len;
			return wrong;
		}
	}
	appendStringInfoChar(writer->out, '}');
	return NULL;
}

static const char *
write_field(RcDebeziumWriter *writer, const RcScanned *key,
			const RcDebeziumPart *value)
{
	const RcConnectSchema *field = NULL;

	if (rc_debezium_unavailable(value->at, value->len))
	{
		if (writer->unavailable != NULL)
			writer->unavailable(writer->arg, key->text, key->len);
		return NULL;
	}
	if (writer->schema != NULL)
	{
		field = rc_connect_field(writer->schema, key->text, key->len);
		if (field == NULL)
			return "is not in the schema";
		if (rc_connect_contradicts(field, *value->at) != NULL)
			return psprintf("is not %s, as the schema says",
							rc_connect_contradicts(field, *value->at));
	}
	if (writer->n++ > 0)
		appendStringInfoChar(writer->out, ',');
	append_string(writer->out, key->text, key->len);
	appendStringInfoChar(writer->out, ':');
	if (field != NULL)
		return rc_debezium_to_json(&field->value, value->at, value->len,
								   writer->out);
	appendBinaryStringInfo(writer->out, value->at, value->len);
	return NULL;
}

/*
 * Append a value as JSON, with its meaning.  Returns NULL, or what is wrong:
 * a sentence without its subject.
 */
const char *
rc_debezium_to_json(const RcDebeziumType *type, const char *json, int len,
					StringInfo out)
{
	StringInfoData text;
	const char *wrong;

	if (*json == 'n' || type->kind == RC_DEBEZIUM_PLAIN ||
		(type->kind == RC_DEBEZIUM_HSTORE && *json == '{') ||
		(type->kind == RC_DEBEZIUM_DECIMAL && *json != '"') ||
		(type->kind == RC_DEBEZIUM_JSON && *json != '"'))
	{
		appendBinaryStringInfo(out, json, len);
		return NULL;
	}
	if (type->kind == RC_DEBEZIUM_ARRAY)
		return write_array(type, json, len, out);

	initStringInfo(&text);
	wrong = rc_debezium_to_text(type, json, len, &text);
	if (wrong == NULL && type->kind == RC_DEBEZIUM_JSON)
	{
		if (!is_json(text.data, text.len))
			wrong = "is not JSON";
		else
			appendBinaryStringInfo(out, text.data, text.len);
	}
	else if (wrong == NULL)
	{
		bool		number = type->kind == RC_DEBEZIUM_DECIMAL ||
			type->kind == RC_DEBEZIUM_DECIMAL_STRUCT ||
			type->kind == RC_DEBEZIUM_DECIMAL_TEXT ||
			type->kind == RC_DEBEZIUM_DECIMAL_AUTO ||
			type->kind == RC_DEBEZIUM_UNSIGNED;

		if (type->kind == RC_DEBEZIUM_TIMESTAMP)
			write_t(text.data);
		if (number && is_number(text.data, text.len))
			appendBinaryStringInfo(out, text.data, text.len);
		else
			append_string(out, text.data, text.len);
	}
	pfree(text.data);
	return wrong;
}

static const char *
write_array(const RcDebeziumType *type, const char *json, int len,
			StringInfo out)
{
	RcScan		scan;
	RcStep		step;
	int			n = 0;

	appendStringInfoChar(out, '[');
	rc_debezium_scan_begin(&scan, json, len);
	step = rc_debezium_scan_element(&scan, true);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_element(&scan, false))
	{
		const char *at = scan.at;
		const RcDebeziumType *element = type->element;
		RcDebeziumPart value;
		const char *wrong;

		if (!rc_debezium_scan_skip(&scan, &value))
			return "cannot be read";
		if (n++ > 0)
			appendStringInfoChar(out, ',');
		/* a further dimension */
		if (*at == '[' && element->kind != RC_DEBEZIUM_PLAIN &&
			element->kind != RC_DEBEZIUM_ARRAY)
			element = type;
		wrong = rc_debezium_to_json(element, at, scan.at - at, out);
		if (wrong != NULL)
			return wrong;
	}
	appendStringInfoChar(out, ']');
	return step == RC_STEP_END ? NULL : "is not an array";
}

/* ISO 8601 has a T between date and time, as to_jsonb() writes it. */
static void
write_t(char *timestamp)
{
	char	   *space = strchr(timestamp, ' ');

	if (space != NULL && space[1] >= '0' && space[1] <= '9')
		*space = 'T';
}

static bool
is_json(const char *text, int len)
{
	RcScan		scan;

	rc_debezium_scan_begin(&scan, text, len);
	if (!rc_scan_skip(&scan, 1))
		return false;
	(void) rc_scan_space(&scan);
	return scan.at == scan.end;
}

static bool
is_number(const char *text, int len)
{
	RcScan		scan;
	RcScanned	number;

	rc_debezium_scan_begin(&scan, text, len);
	return len > 0 && (*text == '-' || (*text >= '0' && *text <= '9')) &&
		rc_scan_number(&scan, &number) && scan.at == scan.end;
}

static void
append_string(StringInfo out, const char *text, int len)
{
	appendStringInfoChar(out, '"');
	for (int i = 0; i < len; i++)
	{
		unsigned char c = text[i];

		if (c == '"' || c == '\\')
			appendStringInfoChar(out, '\\');
		if (c < ' ')
			appendStringInfo(out, "\\u%04x", c);
		else
			appendStringInfoChar(out, c);
	}
	appendStringInfoChar(out, '"');
}

/*
 * Make JSON of the text of a header that has a key: Connect's converter of
 * headers leaves dates and times without quotes.  False if it cannot be read.
 */
bool
rc_debezium_header_key(const char *text, int len, StringInfo out)
{
	RcScan		scan;
	RcScanned	key;
	RcStep		step;
	int			n = 0;

	appendStringInfoChar(out, '{');
	rc_debezium_scan_begin(&scan, text, len);
	step = rc_debezium_scan_member(&scan, true, &key);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_member(&scan, false, &key))
	{
		const char *at = scan.at;
		RcScan		value = scan;

		if (n++ > 0)
			appendStringInfoChar(out, ',');
		append_string(out, key.text, key.len);
		appendStringInfoChar(out, ':');
		if (rc_scan_skip(&value, 1) &&
			(rc_scan_space(&value) == ',' || rc_scan_space(&value) == '}'))
		{
			appendBinaryStringInfo(out, at, value.at - at);
			scan.at = value.at;
			continue;
		}
		while (scan.at < scan.end && *scan.at != ',' && *scan.at != '}')
			scan.at++;
		append_string(out, at, scan.at - at);
	}
	appendStringInfoChar(out, '}');
	return step == RC_STEP_END && rc_scan_space(&scan) == '\0';
}
