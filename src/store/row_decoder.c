/*-------------------------------------------------------------------------
 *
 * row_decoder.c
 *	  Decodes a JSON object directly into the columns of a row type, with the
 *	  server's SAX parser: numbers keep all digits, and no tree is built.
 *
 * The result is that of json_populate_record() for the same text, or an error:
 * missing keys become null, keys without a column are skipped, and the last
 * one of duplicate keys counts.  Scalars and arrays of scalars are converted
 * here, other values by that function (json_populate.c).  A kind of value that
 * the column's type does not accept is an error (json_kind.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/row_decoder.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "store/json_kind.h"
#include "store/json_populate.h"

/* How a column's value is converted. */
typedef enum ColumnKind
{
	COLUMN_TEXT,				/* text or unlimited varchar: no input
								 * function */
	COLUMN_SCALAR,				/* by its input function */
	COLUMN_ARRAY,				/* of scalars, each by its input function */
	COLUMN_OTHER				/* by json_populate_record() */
} ColumnKind;

typedef struct RowColumn
{
	char	   *name;			/* NULL: dropped column */
	ColumnKind	kind;
	RcJsonType *type;
	bool		json;			/* json, jsonb or a domain over them */
	bool		domain;			/* a domain, which may reject null */
	FmgrInfo	input;			/* of the type, or of array elements */
	Oid			ioparam;
	int32		typmod;
	RcPopulator *populator;		/* of arrays and other kinds */

	/* of an array */
	Oid			element;
	RcJsonType *element_type;
} RowColumn;

/* A token other than a string, or a string without quotes and escapes. */
typedef struct RowToken
{
	JsonTokenType kind;
	char	   *text;
} RowToken;

/* The value read for a column, the last one of duplicate keys. */
typedef struct RowValue
{
	RowToken	token;			/* kind JSON_TOKEN_INVALID: no value */
	const char *start;			/* of the JSON */
	int			len;
	bool		plain;			/* an array of scalars only */
	int			first;			/* its first entry in "elements" */
	int			nelements;
} RowValue;

struct RcRowDecoder
{
	int			natts;
	RowColumn  *columns;
	RowValue   *row;			/* by column */

	/* while a record is decoded */
	JsonLexContext *lex;
	int			expected;		/* column to try first for the next key */
	int			column;			/* of the current value; -1: none */
	int			named;			/* column for errors; -1: the whole value */
	RowToken   *elements;		/* of all arrays of scalars */
	int			nelements;
	int			room;
};

static void init_column(RowColumn *column, Form_pg_attribute attribute);
static int	find_column(RcRowDecoder *decoder, const char *name);
static Datum make_value(RcRowDecoder *decoder, RowColumn *column,
						RowValue *value);
static Datum make_scalar(RowColumn *column, RowValue *value);
static Datum make_array(RcRowDecoder *decoder, RowColumn *column,
						RowValue *value);
static void refuse_null(RowColumn *column);
static void add_element(RcRowDecoder *decoder, RowValue *value,
						char *token, JsonTokenType kind);
static void name_column(void *arg);
static RC_JSON_RESULT on_object_start(void *state);
static RC_JSON_RESULT on_array_start(void *state);
static RC_JSON_RESULT on_field_start(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_field_end(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_scalar(void *state, char *token, JsonTokenType kind);

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
	for (int i = 0; i < desc->natts; i++)
		init_column(&decoder->columns[i], TupleDescAttr(desc, i));
	return decoder;
}

/*
 * False if the type of a column has been altered since: make another decoder.
 */
bool
rc_row_decoder_current(const RcRowDecoder *decoder)
{
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
	column->typmod = attribute->atttypmod;
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
			getTypeInputInfo(element, &input, &column->ioparam);
		}
	}
	fmgr_info(input, &column->input);
}

/*
 * Decode one object into "values" and "nulls", arrays with an entry for each
 * column.
 *
 * "json" is in the server's encoding and need not be null-terminated.  Results
 * are allocated in the current context.  Errors: class 22 if the text is not a
 * JSON object or a value does not fit its column, which the error's context
 * names; and those of domain constraints.
 */
void
rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
			  Datum *values, bool *nulls)
{
	JsonSemAction actions = {
		.semstate = decoder,
		.object_start = on_object_start,
		.array_start = on_array_start,
		.object_field_start = on_field_start,
		.object_field_end = on_field_end,
		.scalar = on_scalar
	};
	ErrorContextCallback callback;
	JsonParseErrorType result;

	decoder->lex = rc_make_json_lexer(json, len, GetDatabaseEncoding());
	decoder->expected = 0;
	decoder->column = decoder->named = -1;
	decoder->elements = NULL;
	decoder->nelements = decoder->room = 0;
	memset(decoder->row, 0, sizeof(RowValue) * decoder->natts);

	callback.callback = name_column;
	callback.arg = decoder;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	result = pg_parse_json(decoder->lex, &actions);
	if (result != JSON_SUCCESS)
		rc_json_raise(result, decoder->lex);
	for (int i = 0; i < decoder->natts; i++)
	{
		RowColumn  *column = &decoder->columns[i];
		RowValue   *value = &decoder->row[i];

		decoder->named = i;
		nulls[i] = (value->token.kind == JSON_TOKEN_INVALID ||
					value->token.kind == JSON_TOKEN_NULL);
		if (!nulls[i])
			values[i] = make_value(decoder, column, value);
		else if (column->domain)
			refuse_null(column);
	}
	error_context_stack = callback.previous;
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

/*
 * Keys mostly have the order of the columns: start after the last one found.
 */
static int
find_column(RcRowDecoder *decoder, const char *name)
{
	for (int i = 0; i < decoder->natts; i++)
	{
		int			at = decoder->expected + i;

		if (at >= decoder->natts)
			at -= decoder->natts;
		if (decoder->columns[at].name != NULL &&
			strcmp(decoder->columns[at].name, name) == 0)
		{
			decoder->expected = (at + 1 < decoder->natts) ? at + 1 : 0;
			return at;
		}
	}
	return -1;
}

/* ---- values ---- */

static Datum
make_value(RcRowDecoder *decoder, RowColumn *column, RowValue *value)
{
	if (column->kind == COLUMN_ARRAY && value->plain)
		return make_array(decoder, column, value);
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

/* ---- callbacks of the parser ---- */

/* Levels: 0 is the record itself, 1 its keys, 2 the elements of an array. */
static RC_JSON_RESULT
on_object_start(void *state)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;

	if (decoder->lex->lex_level == 2 && decoder->column >= 0)
		decoder->row[decoder->column].plain = false;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_array_start(void *state)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;

	if (decoder->lex->lex_level == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the record's value is not a JSON object"),
				 errdetail("It is an array.")));
	return on_object_start(state);
}

/* A key of the record: its value's first token has been read. */
static RC_JSON_RESULT
on_field_start(void *state, char *name, bool isnull)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;
	RowValue   *value;

	if (decoder->lex->lex_level != 1)
		RC_JSON_RETURN;
	decoder->column = find_column(decoder, name);
	if (decoder->column < 0)
		RC_JSON_RETURN;

	value = &decoder->row[decoder->column];
	value->token.kind = decoder->lex->token_type;
	value->token.text = NULL;
	value->start = decoder->lex->token_start;
	value->plain = (value->token.kind == JSON_TOKEN_ARRAY_START &&
					decoder->columns[decoder->column].kind == COLUMN_ARRAY);
	value->first = decoder->nelements;
	value->nelements = 0;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_field_end(void *state, char *name, bool isnull)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;

	if (decoder->lex->lex_level != 1 || decoder->column < 0)
		RC_JSON_RETURN;
	decoder->row[decoder->column].len = decoder->lex->prev_token_terminator -
		decoder->row[decoder->column].start;
	decoder->column = -1;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_scalar(void *state, char *token, JsonTokenType kind)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;
	RowValue   *value;

	if (decoder->lex->lex_level == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the record's value is not a JSON object"),
				 errdetail("It is a scalar.")));
	if (decoder->column < 0)
		RC_JSON_RETURN;
	value = &decoder->row[decoder->column];
	if (decoder->lex->lex_level == 1)
		value->token.text = token;
	else if (value->plain)
		add_element(decoder, value, token, kind);
	RC_JSON_RETURN;
}

static void
add_element(RcRowDecoder *decoder, RowValue *value, char *token,
			JsonTokenType kind)
{
	if (decoder->elements == NULL)
	{
		decoder->room = 16;
		decoder->elements = palloc(sizeof(RowToken) * decoder->room);
	}
	else if (decoder->nelements == decoder->room)
	{
		decoder->room *= 2;
		decoder->elements = repalloc_huge(decoder->elements,
										  sizeof(RowToken) * decoder->room);
	}
	decoder->elements[decoder->nelements++] = (RowToken)
	{
		kind, token
	};
	value->nelements++;
}
