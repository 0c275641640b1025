/*-------------------------------------------------------------------------
 *
 * fast_fields.c
 *	  Makes a row of the fields that a record's value has been packed as
 *	  (record_fields.h): in direct mode a recall is not written as JSON, only
 *	  to be read again.
 *
 * Measured with 30,000 recalls in direct mode, medians of five pairs on a busy
 * machine: from 54 to 45 us of CPU for each, from 0.46 to 0.56 of the speed of
 * COPY.
 *
 * Falls back to that JSON, by returning false, for a database that is not
 * UTF-8, and for a text whose column is no text, number or time.  What is
 * taken is found here and converted as a value of JSON is, by a fast path or
 * by the type's input function, which words the errors (row_decoder.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/row_columns.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "record_fields.h"

static void find_columns(RcRowDecoder *decoder, const RcRecord *record);
static bool take_field(RcRowDecoder *decoder, const RcField *field, int at,
					   Datum *value);

/*
 * Set decoder->row, and "values" where a value is "made".  If it returns
 * false, decoder->row is undefined.
 */
bool
rc_row_take_fields(RcRowDecoder *decoder, const RcRecord *record,
				   Datum *values)
{
	RcFieldPlace place = {0};
	RcField		field;

	if (GetDatabaseEncoding() != PG_UTF8)
		return false;
	if (decoder->field_name != record->field_name)
		find_columns(decoder, record);
	while (rc_field_next(record, &place, &field))
	{
		int			at = decoder->field_columns[place.field - 1];

		if (at >= 0 && !take_field(decoder, &field, at, &values[at]))
			return false;
	}
	return true;
}

/* Find the column of each field; a transform always writes the same fields. */
static void
find_columns(RcRowDecoder *decoder, const RcRecord *record)
{
	RcFieldPlace place = {0};
	RcField		field;
	int			n = 0;

	while (rc_field_next(record, &place, &field))
		n++;
	if (decoder->field_columns != NULL)
		pfree(decoder->field_columns);
	decoder->field_columns =
		MemoryContextAlloc(GetMemoryChunkContext(decoder), Max(n, 1) * sizeof(int));
	memset(&place, 0, sizeof(place));
	while (rc_field_next(record, &place, &field))
		decoder->field_columns[place.field - 1] =
			rc_row_find_column(decoder, field.name, strlen(field.name));
	decoder->field_name = record->field_name;
}

static bool
take_field(RcRowDecoder *decoder, const RcField *field, int at, Datum *value)
{
	RowColumn  *column = &decoder->columns[at];
	RcScan		scan = {.at = field->bytes,.end = field->bytes + field->len,.utf8 = true};

	switch (field->kind)
	{
		case RC_FIELD_MISSING:
			decoder->row[at].token.kind = JSON_TOKEN_NULL;
			return true;
		case RC_FIELD_TEXT:
		case RC_FIELD_TIME:
			if ((column->kind != COLUMN_TEXT && column->kind != COLUMN_SCALAR) ||
				column->json ||
				!rc_json_type_takes(column->type, JSON_TOKEN_STRING))
				return false;
			rc_row_take_text(decoder, at, field->bytes, field->len, value);
			return true;
		case RC_FIELD_NUMBER:
		case RC_FIELD_JSON:
			return rc_row_scan_value(decoder, &scan, at, value) &&
				scan.at == scan.end;
	}
	return false;
}
