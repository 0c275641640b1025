/*-------------------------------------------------------------------------
 *
 * row_decoder.c
 *	  Decodes a JSON object directly into the columns of a row type: numbers
 *	  keep all digits, and no tree is built.
 *
 * The result is that of json_populate_record() for the same text, or an error:
 * missing keys become null, keys without a column are skipped, and the last
 * one of duplicate keys counts.  The columns' values are found by a scanner
 * (fast_row.c), which also converts some of them, or else by the server's
 * parser (row_parse.c).  Other scalars and arrays of scalars are converted
 * here, and all else by that function (json_populate.c).  A kind of value that
 * the column's type does not accept is an error (json_kind.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/row_columns.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "debezium/debezium_row.h"

static void init_column(RowColumn *column, Form_pg_attribute attribute);
static Datum make_value(RcRowDecoder *decoder, RowColumn *column,
						RowValue *value);
static Datum make_scalar(RowColumn *column, RowValue *value);
static Datum make_array(RcRowDecoder *decoder, RowColumn *column,
						RowValue *value);
static void refuse_null(RowColumn *column);
static bool may_lack(const RcRowDecoder *decoder, const RowValue *value);
static Datum keep(RcRowDecoder *decoder, const RowColumn *column,
				  Datum value);
static void begin_naming(RcRowDecoder *decoder,
						 ErrorContextCallback *callback);
static void make_values(RcRowDecoder *decoder, Datum *values, bool *nulls);
static void begin(RcRowDecoder *decoder);
static void name_column(void *arg);

/*
 * Make a decoder for the columns of "desc", in the current context.  It keeps
 * no pointer to desc.
 */
RcRowDecoder *
rc_row_decoder_make(TupleDesc desc)
{
	RcRowDecoder *decoder = palloc0(sizeof(RcRowDecoder));

	decoder->natts = desc->natts;
	decoder->columns = palloc0(sizeof(RowColumn) * (desc->natts + 1));
	decoder->row = palloc0(sizeof(RowValue) * (desc->natts + 1));
	decoder->jsonb = rc_jsonb_writer_make();
	for (int i = 0; i < desc->natts; i++)
		init_column(&decoder->columns[i], TupleDescAttr(desc, i));
	return decoder;
}

/*
 * Called before each batch.  False if the type of a column has been altered
 * since: make another decoder.
 */
bool
rc_row_decoder_current(RcRowDecoder *decoder)
{
	decoder->zulu = false;
	for (int i = 0; i < decoder->natts; i++)
	{
		const RowColumn *column = &decoder->columns[i];

		if (column->kind == COLUMN_OTHER && !rc_json_type_current(column->type))
			return false;
	}
	return true;
}

static void
init_column(RowColumn *column, Form_pg_attribute attribute)
{
	Oid			base;
	Oid			input;

	if (attribute->attisdropped)
		return;
	base = getBaseType(attribute->atttypid);
	column->name = pstrdup(NameStr(attribute->attname));
	column->name_len = strlen(column->name);
	column->typmod = attribute->atttypmod;
	column->byval = attribute->attbyval;
	column->typlen = attribute->attlen;
	column->fast = rc_fast_type(attribute->atttypid, column->typmod);
	column->type = rc_json_type_make(attribute->atttypid);
	column->domain = (base != attribute->atttypid);
	column->json = (base == JSONOID || base == JSONBOID);

	if (attribute->atttypid == TEXTOID ||
		(attribute->atttypid == VARCHAROID && column->typmod < 0))
		column->kind = COLUMN_TEXT;
	else if (OidIsValid(get_element_type(base)) ||
			 get_typtype(base) == TYPTYPE_COMPOSITE)
		column->kind = COLUMN_OTHER;
	else
		column->kind = COLUMN_SCALAR;
	getTypeInputInfo(attribute->atttypid, &input, &column->ioparam);

	if (column->kind == COLUMN_OTHER)
	{
		Oid			element = get_element_type(attribute->atttypid);
		char		typtype = OidIsValid(element) ? get_typtype(element) : '\0';

		column->populator = rc_populator_make(column->name,
											  attribute->atttypid,
											  column->typmod);
		if (OidIsValid(element) && element != JSONOID && element != JSONBOID &&
			!OidIsValid(get_element_type(element)) &&
			typtype != TYPTYPE_COMPOSITE && typtype != TYPTYPE_DOMAIN)
		{
			column->kind = COLUMN_ARRAY;
			column->element = element;
			column->element_type = rc_json_type_make(element);
			fmgr_info(input, &column->array_input);
			column->array_ioparam = column->ioparam;
			getTypeInputInfo(element, &input, &column->ioparam);
		}
	}
	fmgr_info(input, &column->input);
}

/*
 * Decode one object into "values" and "nulls", arrays with an entry for each
 * column.
 *
 * "json" is in the server's encoding and need not be null-terminated.  Values
 * are allocated in "results"; the current context is left with much else, and
 * should be reset soon.  Errors: class 22 if the text is not a
 * JSON object or a value does not fit its column, which the error's context
 * names; and those of domain constraints.
 */
void
rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
			  MemoryContext results, Datum *values, bool *nulls)
{
	ErrorContextCallback callback;

	decoder->results = results;
	begin_naming(decoder, &callback);
	begin(decoder);
	if ((rc_fast_paths & RC_FAST_ROWS) == 0 ||
		!rc_row_scan(decoder, json, len, values))
	{
		begin(decoder);
		rc_row_parse(decoder, json, len);
	}
	make_values(decoder, values, nulls);
	error_context_stack = callback.previous;
}

/*
 * The same for a value that is packed (record_fields.h).  Returns false if it
 * must be decoded as JSON.
 */
bool
rc_row_decode_fields(RcRowDecoder *decoder, const RcRecord *record,
					 MemoryContext results, Datum *values, bool *nulls)
{
	ErrorContextCallback callback;

	decoder->results = results;
	begin(decoder);
	if (!rc_row_take_fields(decoder, record, values))
		return false;
	begin_naming(decoder, &callback);
	make_values(decoder, values, nulls);
	error_context_stack = callback.previous;
	return true;
}

/*
 * Convert values by these from now on; NULL: none is converted.  "part" says
 * what the records are.
 */
void
rc_row_decoder_convert(RcRowDecoder *decoder, const RcConversion *conversions,
					   RcRowPart part)
{
	decoder->conversions = conversions;
	decoder->part = part;
}

/* Whether a value may be null though its column's domain refuses null. */
static bool
may_lack(const RcRowDecoder *decoder, const RowValue *value)
{
	return decoder->part == RC_ROW_OLD ||
		(decoder->part == RC_ROW_NEW &&
		 (value->unavailable || value->token.kind == JSON_TOKEN_INVALID));
}

/* Of the last row: whether it has no field for a column that is not dropped. */
bool
rc_row_missing(const RcRowDecoder *decoder, int column)
{
	return decoder->columns[column].name != NULL &&
		decoder->row[column].token.kind == JSON_TOKEN_INVALID;
}

/* Of the last row: whether it does not have a column's value. */
bool
rc_row_unavailable(const RcRowDecoder *decoder, int column)
{
	return decoder->row[column].unavailable;
}

/* Of the last row: whether it has fields without a column. */
bool
rc_row_has_unknown(const RcRowDecoder *decoder)
{
	return decoder->unknown > 0;
}

bool
rc_row_has_column(RcRowDecoder *decoder, const char *name, int len)
{
	return rc_row_find_column(decoder, name, len) >= 0;
}

static void
begin_naming(RcRowDecoder *decoder, ErrorContextCallback *callback)
{
	callback->callback = name_column;
	callback->arg = decoder;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

/* Convert the values that have been found and are not made yet. */
static void
make_values(RcRowDecoder *decoder, Datum *values, bool *nulls)
{
	for (int i = 0; i < decoder->natts; i++)
	{
		RowColumn  *column = &decoder->columns[i];
		RowValue   *value = &decoder->row[i];

		decoder->named = i;
		nulls[i] = (value->token.kind == JSON_TOKEN_INVALID ||
					value->token.kind == JSON_TOKEN_NULL);
		if (!nulls[i] && decoder->part != RC_ROW_WHOLE)
			nulls[i] = value->unavailable =
				rc_debezium_unavailable(value->start, value->len);
		if (!nulls[i] && decoder->conversions != NULL)
			rc_row_check_schema(column, &decoder->conversions[i], value);
		if (!nulls[i] && !value->made)
		{
			values[i] = keep(decoder, column,
							 make_value(decoder, column, value));
			decoder->zulu |= value->zulu && values[i] == value->guess;
		}
		else if (nulls[i] && column->domain && !may_lack(decoder, value))
			refuse_null(column);
	}
}

static Datum
keep(RcRowDecoder *decoder, const RowColumn *column, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(decoder->results);

	value = datumCopy(value, column->byval, column->typlen);
	MemoryContextSwitchTo(old);
	return value;
}

/* Forget the previous record, or what a scan that gave up has found. */
static void
begin(RcRowDecoder *decoder)
{
	decoder->expected = 0;
	decoder->column = decoder->named = -1;
	decoder->elements = NULL;
	decoder->nelements = decoder->room = decoder->unknown = 0;
	memset(decoder->row, 0, sizeof(RowValue) * decoder->natts);
}

static void
name_column(void *arg)
{
	RcRowDecoder *decoder = (RcRowDecoder *) arg;

	if (decoder->named < 0)
		errcontext("value of the record");
	else
		errcontext("column \"%s\" of the record",
				   decoder->columns[decoder->named].name);
}

/* ---- values ---- */

static Datum
make_value(RcRowDecoder *decoder, RowColumn *column, RowValue *value)
{
	if (value->converted && rc_row_is_converted(decoder, column, value))
		return rc_row_convert(decoder, column, value);
	if (column->kind == COLUMN_ARRAY && value->plain)
		return make_array(decoder, column, value);
	if (decoder->conversions != NULL)
		rc_row_check_time(column, &decoder->conversions[column - decoder->columns], value);
	if (column->kind == COLUMN_ARRAY || column->kind == COLUMN_OTHER ||
		!rc_json_type_takes(column->type, value->token.kind))
		rc_json_type_check(column->type, column->name, value->token.kind,
						   value->start, value->len);
	if (column->kind == COLUMN_ARRAY || column->kind == COLUMN_OTHER)
		return rc_populate(column->populator, value->start, value->len);
	return make_scalar(column, value);
}

/* Convert the text of a scalar, or the JSON of an object or array. */
static Datum
make_scalar(RowColumn *column, RowValue *value)
{
	char	   *text = value->token.text;

	if (text == NULL)			/* an object or array */
	{
		if (column->kind == COLUMN_TEXT)
			return PointerGetDatum(cstring_to_text_with_len(value->start,
															value->len));
		text = pnstrdup(value->start, value->len);
	}
	else if (column->kind == COLUMN_TEXT)
		return PointerGetDatum(cstring_to_text(text));
	else if (column->json && value->token.kind == JSON_TOKEN_STRING)
	{
		StringInfoData json;

		initStringInfo(&json);
		escape_json(&json, text);
		text = json.data;
	}
	return InputFunctionCall(&column->input, text, column->ioparam,
							 column->typmod);
}

static Datum
make_array(RcRowDecoder *decoder, RowColumn *column, RowValue *value)
{
	ArrayBuildState *array = NULL;

	for (int i = 0; i < value->nelements; i++)
	{
		RowToken   *token = &decoder->elements[value->first + i];
		bool		isnull = (token->kind == JSON_TOKEN_NULL);
		Datum		element = (Datum) 0;

		if (!rc_json_type_takes(column->element_type, token->kind))
			rc_json_type_check(column->type, column->name,
							   JSON_TOKEN_ARRAY_START, value->start,
							   value->len);
		if (!isnull)
			element = InputFunctionCall(&column->input, token->text,
										column->ioparam, column->typmod);
		array = accumArrayResult(array, element, isnull, column->element,
								 CurrentMemoryContext);
	}
	if (array == NULL)
		return PointerGetDatum(construct_empty_array(column->element));
	return makeArrayResult(array, CurrentMemoryContext);
}

/* Let the domain reject null, also for a missing key. */
static void
refuse_null(RowColumn *column)
{
	(void) InputFunctionCall(&column->input, NULL, column->ioparam,
							 column->typmod);
}
