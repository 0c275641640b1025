/*-------------------------------------------------------------------------
 *
 * row_parse.c
 *	  Finds the values of a row's columns in a JSON object with the server's
 *	  SAX parser: it takes each text, and raises the errors.
 *
 * Nothing is converted here (row_decoder.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/row_columns.h"

#include "mb/pg_wchar.h"

static RC_JSON_RESULT on_object_start(void *state);
static RC_JSON_RESULT on_array_start(void *state);
static RC_JSON_RESULT on_field_start(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_field_end(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_scalar(void *state, char *token, JsonTokenType kind);

/*
 * Parse a text, and set decoder->row.  Raises class 22 if it is not a JSON
 * object.
 */
void
rc_row_parse(RcRowDecoder *decoder, const char *json, int len)
{
	JsonSemAction actions = {
		.semstate = decoder,
		.object_start = on_object_start,
		.array_start = on_array_start,
		.object_field_start = on_field_start,
		.object_field_end = on_field_end,
		.scalar = on_scalar
	};
	JsonParseErrorType result;

	decoder->lex = rc_make_json_lexer(json, len, GetDatabaseEncoding());
	result = pg_parse_json(decoder->lex, &actions);
	if (result != JSON_SUCCESS)
		rc_json_raise(result, decoder->lex);
}

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
	decoder->column = rc_row_find_column(decoder, name, strlen(name));
	if (decoder->column < 0)
	{
		decoder->unknown++;
		RC_JSON_RETURN;
	}

	value = &decoder->row[decoder->column];
	value->token.kind = decoder->lex->token_type;
	value->token.text = NULL;
	value->start = decoder->lex->token_start;
	value->converted = rc_row_converts(decoder, decoder->column,
									   value->token.kind);
	value->plain = (value->token.kind == JSON_TOKEN_ARRAY_START &&
					!value->converted &&
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
		rc_row_add_element(decoder, value, token, kind);
	RC_JSON_RETURN;
}

/* Add an element to an array of scalars. */
void
rc_row_add_element(RcRowDecoder *decoder, RowValue *value, char *token,
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
