/*-------------------------------------------------------------------------
 *
 * json_row.c
 *	  A JSON object straight into the columns of a row type, with the
 *	  server's own SAX parser: numbers keep every digit, and no tree is built.
 *
 * Missing keys are null, keys without a column are passed over, nested
 * objects and arrays go to json, jsonb, text or array columns.  It must not
 * guess: a value that its column's type does not take is an error that names
 * the column.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* How a column takes its value. */
typedef enum ColumnKind
{
	COLUMN_TEXT,				/* text or unlimited varchar: no input
								 * function */
	COLUMN_JSON,				/* json or jsonb: the raw JSON */
	COLUMN_ARRAY,				/* of scalars */
	COLUMN_OTHER				/* by its input function */
} ColumnKind;

typedef struct RowColumn
{
	char	   *name;			/* NULL: dropped */
	ColumnKind	kind;
	FmgrInfo	input;			/* of the type, or of the array's elements */
	Oid			ioparam;
	int32		typmod;
	FmgrInfo	array_input;	/* of the array type, for a string */
	Oid			array_ioparam;
	Oid			element;
	int16		element_len;
	bool		element_byval;
	char		element_align;
} RowColumn;

struct RcRowDecoder
{
	int			natts;
	RowColumn  *columns;

	/* while a record is decoded */
	JsonLexContext *lex;
	Datum	   *values;
	bool	   *nulls;
	int			expected;		/* column to look at first for the next key */
	int			column;			/* of the value under way; -1: none */
	const char *raw;			/* where a nested or JSON value begins */
	bool		in_array;
	ArrayBuildState *array;
};

static void init_column(RowColumn *column, Form_pg_attribute attribute);
static int	find_column(RcRowDecoder *decoder, const char *name);
static void put_text(RcRowDecoder *decoder, char *text, int len);
static void put_array(RcRowDecoder *decoder);
static void raise_parse_error(JsonParseErrorType error, JsonLexContext *lex);
static void name_column(void *arg);
static RC_JSON_RESULT on_object_start(void *state);
static RC_JSON_RESULT on_array_start(void *state);
static RC_JSON_RESULT on_array_end(void *state);
static RC_JSON_RESULT on_field_start(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_field_end(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_scalar(void *state, char *token, JsonTokenType type);

/*
 * Make a decoder for the columns of "desc", in the current context; it keeps
 * no pointer to desc.
 */
RcRowDecoder *
rc_row_decoder_make(TupleDesc desc)
{
	RcRowDecoder *decoder = palloc0(sizeof(RcRowDecoder));

	decoder->natts = desc->natts;
	decoder->columns = palloc0(sizeof(RowColumn) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
		init_column(&decoder->columns[i], TupleDescAttr(desc, i));
	return decoder;
}

static void
init_column(RowColumn *column, Form_pg_attribute attribute)
{
	Oid			input;

	if (attribute->attisdropped)
		return;
	column->name = pstrdup(NameStr(attribute->attname));
	column->typmod = attribute->atttypmod;
	column->element = get_element_type(attribute->atttypid);

	if (attribute->atttypid == JSONOID || attribute->atttypid == JSONBOID)
		column->kind = COLUMN_JSON;
	else if (OidIsValid(column->element))
		column->kind = COLUMN_ARRAY;
	else if (attribute->atttypid == TEXTOID ||
			 (attribute->atttypid == VARCHAROID && column->typmod < 0))
		column->kind = COLUMN_TEXT;
	else
		column->kind = COLUMN_OTHER;

	getTypeInputInfo(attribute->atttypid, &input, &column->ioparam);
	fmgr_info(input, &column->input);
	if (column->kind == COLUMN_ARRAY)
	{
		column->array_input = column->input;
		column->array_ioparam = column->ioparam;
		getTypeInputInfo(column->element, &input, &column->ioparam);
		fmgr_info(input, &column->input);
		get_typlenbyvalalign(column->element, &column->element_len,
							 &column->element_byval, &column->element_align);
	}
}

/*
 * Decode one object into values and nulls, which have room for all columns.
 *
 * "json" is in the server's encoding and need not be null-terminated.  What
 * is allocated stays in the current context.  Errors: class 22 for text that
 * is no JSON object or a value that does not fit, with the column in the
 * context.
 */
void
rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
			  Datum *values, bool *nulls)
{
	JsonSemAction actions = {
		.semstate = decoder,
		.object_start = on_object_start,
		.array_start = on_array_start,
		.array_end = on_array_end,
		.object_field_start = on_field_start,
		.object_field_end = on_field_end,
		.scalar = on_scalar
	};
	ErrorContextCallback callback;
	JsonParseErrorType result;

	decoder->lex = rc_make_json_lexer(json, len, GetDatabaseEncoding());
	decoder->values = values;
	decoder->nulls = nulls;
	decoder->expected = 0;
	decoder->column = -1;
	decoder->in_array = false;
	memset(nulls, true, sizeof(bool) * decoder->natts);

	callback.callback = name_column;
	callback.arg = decoder;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	result = pg_parse_json(decoder->lex, &actions);
	if (result != JSON_SUCCESS)
	{
		decoder->column = -1;
		raise_parse_error(result, decoder->lex);
	}

	/* A domain may refuse the null of a key that is missing. */
	for (int i = 0; i < decoder->natts; i++)
	{
		if (nulls[i] && decoder->columns[i].kind == COLUMN_OTHER &&
			!decoder->columns[i].input.fn_strict)
		{
			decoder->column = i;
			(void) InputFunctionCall(&decoder->columns[i].input, NULL,
									 decoder->columns[i].ioparam,
									 decoder->columns[i].typmod);
		}
	}
	error_context_stack = callback.previous;
}

/* The words of json_in for text that is no JSON. */
static void
raise_parse_error(JsonParseErrorType error, JsonLexContext *lex)
{
	if (error == JSON_UNICODE_HIGH_ESCAPE ||
		error == JSON_UNICODE_CODE_POINT_ZERO)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("unsupported Unicode escape sequence"),
				 errdetail_internal("%s", json_errdetail(error, lex))));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s", "json"),
			 errdetail_internal("%s", json_errdetail(error, lex))));
}

static void
name_column(void *arg)
{
	RcRowDecoder *decoder = (RcRowDecoder *) arg;

	if (decoder->column >= 0)
		errcontext("column \"%s\" of the record",
				   decoder->columns[decoder->column].name);
}

/* Keys mostly come in the order of the columns: look there first. */
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

/* Put the text of a scalar, or the raw JSON, into the column under way. */
static void
put_text(RcRowDecoder *decoder, char *text, int len)
{
	RowColumn  *column = &decoder->columns[decoder->column];
	Datum		value;

	switch (column->kind)
	{
		case COLUMN_TEXT:
			value = PointerGetDatum(cstring_to_text_with_len(text, len));
			break;
		case COLUMN_ARRAY:
			value = InputFunctionCall(&column->array_input, text,
									  column->array_ioparam, column->typmod);
			break;
		default:
			value = InputFunctionCall(&column->input, text, column->ioparam,
									  column->typmod);
	}
	decoder->values[decoder->column] = value;
	decoder->nulls[decoder->column] = false;
}

static void
put_array(RcRowDecoder *decoder)
{
	RowColumn  *column = &decoder->columns[decoder->column];
	Datum		value;

	if (decoder->array == NULL)
		value = PointerGetDatum(construct_empty_array(column->element));
	else
		value = makeArrayResult(decoder->array, CurrentMemoryContext);
	decoder->values[decoder->column] = value;
	decoder->nulls[decoder->column] = false;
}

/* The record itself, or an object where an array's element belongs. */
static RC_JSON_RESULT
on_object_start(void *state)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;

	if (decoder->in_array ||
		(decoder->lex->lex_level == 1 && decoder->column >= 0 &&
		 decoder->columns[decoder->column].kind == COLUMN_ARRAY))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("cannot put a JSON object into an array of scalars")));
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
	if (decoder->in_array)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("cannot put a nested JSON array into an array of scalars")));
	if (decoder->lex->lex_level == 1 && decoder->column >= 0 &&
		decoder->columns[decoder->column].kind == COLUMN_ARRAY)
	{
		decoder->in_array = true;
		decoder->array = NULL;
	}
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_array_end(void *state)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;

	if (decoder->in_array)
	{
		put_array(decoder);
		decoder->in_array = false;
		decoder->raw = NULL;
	}
	RC_JSON_RETURN;
}

/* A key of the record: its value's first token has been read. */
static RC_JSON_RESULT
on_field_start(void *state, char *name, bool isnull)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;
	JsonTokenType type = decoder->lex->token_type;
	ColumnKind	kind;

	if (decoder->lex->lex_level != 1)
		RC_JSON_RETURN;
	decoder->raw = NULL;
	decoder->column = find_column(decoder, name);
	if (decoder->column < 0 || isnull)
		RC_JSON_RETURN;

	kind = decoder->columns[decoder->column].kind;
	if (kind == COLUMN_JSON || type == JSON_TOKEN_OBJECT_START ||
		(type == JSON_TOKEN_ARRAY_START && kind != COLUMN_ARRAY))
		decoder->raw = decoder->lex->token_start;
	RC_JSON_RETURN;
}

/* The end of a key's value: raw JSON is put as it stands. */
static RC_JSON_RESULT
on_field_end(void *state, char *name, bool isnull)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;

	if (decoder->lex->lex_level != 1)
		RC_JSON_RETURN;
	if (decoder->column >= 0 && decoder->raw != NULL)
	{
		int			len = decoder->lex->prev_token_terminator - decoder->raw;

		put_text(decoder, pnstrdup(decoder->raw, len), len);
	}
	decoder->column = -1;
	decoder->raw = NULL;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_scalar(void *state, char *token, JsonTokenType type)
{
	RcRowDecoder *decoder = (RcRowDecoder *) state;
	bool		isnull = (type == JSON_TOKEN_NULL);

	if (decoder->lex->lex_level == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the record's value is not a JSON object"),
				 errdetail("It is a scalar.")));
	if (decoder->column < 0 || decoder->raw != NULL)
		RC_JSON_RETURN;
	if (decoder->in_array)
	{
		RowColumn  *column = &decoder->columns[decoder->column];
		Datum		value = isnull ? (Datum) 0 :
		InputFunctionCall(&column->input, token, column->ioparam,
						  column->typmod);

		decoder->array = accumArrayResult(decoder->array, value, isnull,
										  column->element,
										  CurrentMemoryContext);
	}
	else if (isnull)
	{
		/* the last of repeated keys counts */
		decoder->nulls[decoder->column] = true;
	}
	else if (decoder->lex->lex_level == 1)
		put_text(decoder, token, strlen(token));
	RC_JSON_RETURN;
}
