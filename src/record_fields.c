/*-------------------------------------------------------------------------
 *
 * record_fields.c
 *	  Packs the fields of a record into bytes, reads them back, and writes
 *	  fields as JSON.
 *
 * The JSON of a record must be the same whether it was written at once or was
 * packed before: both ways write a field by rc_field_json().
 *
 *-------------------------------------------------------------------------
 */
#include "record_fields.h"

#include "fast_scan.h"

/* A field begins with its kind, one byte, and its length. */
#define FIELD_HEADER	(1 + sizeof(int32))

/* Append a field to those that are packed. */
void
rc_field_pack(StringInfo out, RcFieldKind kind, const char *bytes, size_t len)
{
	int32		size = len;

	enlargeStringInfo(out, FIELD_HEADER + len);
	out->data[out->len] = (char) kind;
	memcpy(out->data + out->len + 1, &size, sizeof(size));
	if (len > 0)
		memcpy(out->data + out->len + FIELD_HEADER, bytes, len);
	out->len += FIELD_HEADER + len;
	out->data[out->len] = '\0';
}

/* Read the next field; false at the end. */
bool
rc_field_next(const RcRecord *record, RcFieldPlace *place, RcField *field)
{
	const char *at = record->value + place->byte;
	int32		size;

	if (place->byte >= record->value_len)
		return false;
	memcpy(&size, at + 1, sizeof(size));
	field->name = record->field_name(place->field);
	field->kind = (RcFieldKind) *at;
	field->bytes = at + FIELD_HEADER;
	field->len = size;
	place->field++;
	place->byte += FIELD_HEADER + size;
	return true;
}

/*
 * Append a field to a JSON object, of which "out" has the beginning.  Numbers
 * and other JSON values are copied digit by digit, not parsed.
 */
void
rc_field_json(StringInfo out, const RcField *field)
{
	Assert(strpbrk(field->name, "\"\\") == NULL);
	appendStringInfoString(out, out->len > 1 ? ",\"" : "\"");
	appendStringInfoString(out, field->name);
	appendBinaryStringInfo(out, "\":", 2);
	switch (field->kind)
	{
		case RC_FIELD_MISSING:
			appendBinaryStringInfo(out, "null", 4);
			break;
		case RC_FIELD_TEXT:
		case RC_FIELD_TIME:
			rc_json_write_string(out, field->bytes, field->len);
			break;
		case RC_FIELD_NUMBER:
		case RC_FIELD_JSON:
			appendBinaryStringInfo(out, field->bytes, field->len);
			break;
	}
}

/*
 * The value of a record as bytes, whatever its form: palloc'd if it is packed.
 */
const char *
rc_record_json(const RcRecord *record, int *len)
{
	StringInfoData out;
	RcFieldPlace place = {0};
	RcField		field;

	*len = record->value_len;
	if (record->field_name == NULL || record->value_len < 0)
		return record->value;
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	while (rc_field_next(record, &place, &field))
		rc_field_json(&out, &field);
	appendStringInfoChar(&out, '}');
	*len = out.len;
	return out.data;
}

/*
 * Append str as a JSON string, quotes included.
 *
 * The text can be in any encoding in which ASCII bytes are ASCII characters.
 */
void
rc_json_write_string(StringInfo out, const char *str, size_t len)
{
	const char *end = str + len;

	appendStringInfoChar(out, '"');
	while (str < end)
	{
		const char *run = str;
		unsigned char c;

		while (end - str >= 8 && !rc_scan_stops(str))
			str += 8;
		while (str < end && rc_scan_plain[(unsigned char) *str])
			str++;
		appendBinaryStringInfo(out, run, str - run);
		if (str == end)
			break;
		c = *str++;
		if (c == '"' || c == '\\')
		{
			appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, c);
		}
		else if (c == '\n')
			appendBinaryStringInfo(out, "\\n", 2);
		else if (c == '\t')
			appendBinaryStringInfo(out, "\\t", 2);
		else
			appendStringInfo(out, "\\u%04x", c);
	}
	appendStringInfoChar(out, '"');
}
