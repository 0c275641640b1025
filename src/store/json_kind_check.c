/*-------------------------------------------------------------------------
 *
 * json_kind_check.c
 *	  Checks that a type accepts a JSON value, down to the elements of arrays
 *	  and the fields of composite types.
 *
 * The error names the position within the value.  Only arrays and objects are
 * parsed.
 *
 *-------------------------------------------------------------------------
 */
#include "store/json_kind.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Path to a value, linked from the value up to the column. */
typedef struct JsonPath
{
	const struct JsonPath *up;
	const char *name;			/* of a field; NULL: an array element */
	const int  *at;
	int			ndims;
} JsonPath;

typedef struct JsonSpan
{
	JsonTokenType kind;			/* JSON_TOKEN_INVALID: absent */
	const char *start;
	int			len;
} JsonSpan;

typedef struct ObjectCheck
{
	RcJsonType *type;
	JsonLexContext *lex;
	JsonSpan   *spans;			/* by field; the last one of duplicate keys */
	int			field;			/* current field; -1: not in the type */
} ObjectCheck;

typedef struct ArrayCheck
{
	RcJsonType *type;
	JsonLexContext *lex;
	int			ndims;			/* 0: not yet known */
	JsonSpan	element;
	int			at[MAXDIM + 1]; /* index in each dimension, from 1 */
	JsonPath	path;
} ArrayCheck;

static void check_value(RcJsonType *type, JsonTokenType kind,
						const char *json, int len, const JsonPath *path);
static void refuse(const RcJsonType *type, JsonTokenType kind,
				   const JsonPath *path);
static bool is_numeric_time(const RcJsonType *type, JsonTokenType kind,
							const JsonPath *path);
static void append_path(StringInfo text, const JsonPath *path);
static void parse(JsonLexContext *lex, JsonSemAction *actions);
static void check_object(RcJsonType *type, const char *json, int len,
						 const JsonPath *path);
static RC_JSON_RESULT on_field_start(void *state, char *name, bool isnull);
static RC_JSON_RESULT on_field_end(void *state, char *name, bool isnull);
static void check_array(RcJsonType *type, const char *json, int len,
						const JsonPath *path);
static RC_JSON_RESULT on_array_start(void *state);
static RC_JSON_RESULT on_array_end(void *state);
static RC_JSON_RESULT on_object_start(void *state);
static RC_JSON_RESULT on_scalar(void *state, char *token, JsonTokenType kind);
static RC_JSON_RESULT on_element_start(void *state, bool isnull);
static RC_JSON_RESULT on_element_end(void *state, bool isnull);

/*
 * Raise ERRCODE_INVALID_TEXT_REPRESENTATION if the type, or the type of one of
 * its parts, does not accept its part of this JSON, which must be valid.
 */
void
rc_json_type_check(RcJsonType *type, const char *column, JsonTokenType kind,
				   const char *json, int len)
{
	JsonPath	path = {.name = column};

	check_value(type, kind, json, len, &path);
}

static void
check_value(RcJsonType *type, JsonTokenType kind, const char *json, int len,
			const JsonPath *path)
{
	check_stack_depth();
	if (!rc_json_type_takes(type, kind))
		refuse(type, kind, path);
	if (kind == JSON_TOKEN_OBJECT_START && OidIsValid(type->row_type))
		check_object(type, json, len, path);
	else if (kind == JSON_TOKEN_ARRAY_START && OidIsValid(type->element_type))
		check_array(type, json, len, path);
}

static void
refuse(const RcJsonType *type, JsonTokenType kind, const JsonPath *path)
{
	static const char *const kinds[] = {
		[JSON_TOKEN_STRING] = "string",
		[JSON_TOKEN_NUMBER] = "number",
		[JSON_TOKEN_OBJECT_START] = "object",
		[JSON_TOKEN_ARRAY_START] = "array",
		[JSON_TOKEN_TRUE] = "boolean",
		[JSON_TOKEN_FALSE] = "boolean"
	};
	const JsonPath *column = path;
	bool		time = is_numeric_time(type, kind, path);
	StringInfoData way;
	StringInfoData detail;

	while (column->up != NULL)
		column = column->up;
	initStringInfo(&way);
	append_path(&way, path);
	initStringInfo(&detail);
	if (path != column)
		appendStringInfo(&detail, "The value is at %s.", way.data);
	if (time)
		appendStringInfo(&detail, "%sThe stream's column numeric_time can say what a number is there.",
						 path != column ? "  " : "");
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("cannot convert JSON %s to type %s of column \"%s\"",
					kinds[kind], format_type_be(type->type), column->name),
			 detail.len > 0 ? errdetail_internal("%s", detail.data) : 0,
			 time ?
			 errhint("Send a string in the type's input format, or set the stream's column numeric_time to the unit of the number.") :
			 errhint("Send a string in the type's input format, or use a column of type jsonb or text.")));
}

/*
 * Whether numeric_time would give the number a meaning: in a column, or in an
 * array that is one (rc_conversions_make()).
 */
static bool
is_numeric_time(const RcJsonType *type, JsonTokenType kind,
				const JsonPath *path)
{
	Oid			base = getBaseType(type->type);

	return kind == JSON_TOKEN_NUMBER &&
		(base == DATEOID || base == TIMEOID || base == TIMESTAMPOID ||
		 base == TIMESTAMPTZOID || base == INTERVALOID) &&
		(path->up == NULL || (path->name == NULL && path->up->up == NULL));
}

/* Such as tags[2].name; indexes count from 1, as in SQL. */
static void
append_path(StringInfo text, const JsonPath *path)
{
	if (path->up != NULL)
		append_path(text, path->up);
	if (path->name != NULL)
		appendStringInfo(text, "%s%s", path->up != NULL ? "." : "", path->name);
	for (int i = 0; i < path->ndims; i++)
		appendStringInfo(text, "[%d]", path->at[i]);
}

static void
parse(JsonLexContext *lex, JsonSemAction *actions)
{
	JsonParseErrorType result = pg_parse_json(lex, actions);

	if (result != JSON_SUCCESS)
		rc_json_raise(result, lex);
}

/*
 * ---- an object for a composite type: the last one of duplicate keys counts
 * ----
 */

static void
check_object(RcJsonType *type, const char *json, int len,
			 const JsonPath *path)
{
	ObjectCheck check = {
		.type = type,
		.lex = rc_make_json_lexer(json, len, GetDatabaseEncoding()),
		.spans = palloc0(sizeof(JsonSpan) * (type->nfields + 1)),
		.field = -1
	};
	JsonSemAction actions = {
		.semstate = &check,
		.object_field_start = on_field_start,
		.object_field_end = on_field_end
	};

	parse(check.lex, &actions);
	for (int i = 0; i < type->nfields; i++)
	{
		JsonSpan   *span = &check.spans[i];
		JsonPath	field = {.up = path,.name = type->names[i]};

		if (span->kind == JSON_TOKEN_INVALID)
			continue;
		if (type->fields[i] == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(type->context);

			type->fields[i] = rc_json_type_make(type->field_types[i]);
			MemoryContextSwitchTo(old);
		}
		check_value(type->fields[i], span->kind, span->start, span->len,
					&field);
	}
	pfree(check.spans);
}

static RC_JSON_RESULT
on_field_start(void *state, char *name, bool isnull)
{
	ObjectCheck *check = (ObjectCheck *) state;

	if (check->lex->lex_level != 1)
		RC_JSON_RETURN;
	check->field = -1;
	for (int i = 0; i < check->type->nfields; i++)
	{
		if (check->type->names[i] != NULL &&
			strcmp(check->type->names[i], name) == 0)
		{
			check->field = i;
			check->spans[i].kind = check->lex->token_type;
			check->spans[i].start = check->lex->token_start;
		}
	}
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_field_end(void *state, char *name, bool isnull)
{
	ObjectCheck *check = (ObjectCheck *) state;

	if (check->lex->lex_level == 1 && check->field >= 0)
	{
		JsonSpan   *span = &check->spans[check->field];

		span->len = check->lex->prev_token_terminator - span->start;
	}
	RC_JSON_RETURN;
}

/*
 * ---- an array: as in the server, the first value that is not an array, or
 * the first empty array, determines the number of dimensions ----
 */

static void
check_array(RcJsonType *type, const char *json, int len, const JsonPath *path)
{
	ArrayCheck	check = {
		.type = type,
		.lex = rc_make_json_lexer(json, len, GetDatabaseEncoding())
	};
	JsonSemAction actions = {
		.semstate = &check,
		.object_start = on_object_start,
		.array_start = on_array_start,
		.array_end = on_array_end,
		.array_element_start = on_element_start,
		.array_element_end = on_element_end,
		.scalar = on_scalar
	};

	if (type->element == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(type->context);

		type->element = rc_json_type_make(type->element_type);
		MemoryContextSwitchTo(old);
	}
	check.path.up = path;
	check.path.at = check.at;
	parse(check.lex, &actions);
}

static RC_JSON_RESULT
on_array_start(void *state)
{
	ArrayCheck *check = (ArrayCheck *) state;

	if (check->lex->lex_level < MAXDIM)
		check->at[check->lex->lex_level] = 0;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_array_end(void *state)
{
	ArrayCheck *check = (ArrayCheck *) state;

	if (check->ndims == 0)
		check->ndims = check->lex->lex_level + 1;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_object_start(void *state)
{
	ArrayCheck *check = (ArrayCheck *) state;

	if (check->ndims == 0)
		check->ndims = check->lex->lex_level;
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_scalar(void *state, char *token, JsonTokenType kind)
{
	return on_object_start(state);
}

static RC_JSON_RESULT
on_element_start(void *state, bool isnull)
{
	ArrayCheck *check = (ArrayCheck *) state;
	int			level = check->lex->lex_level;

	if (level <= MAXDIM)
		check->at[level - 1]++;
	if (check->ndims == 0 || level == check->ndims)
	{
		check->element.kind = check->lex->token_type;
		check->element.start = check->lex->token_start;
	}
	RC_JSON_RETURN;
}

static RC_JSON_RESULT
on_element_end(void *state, bool isnull)
{
	ArrayCheck *check = (ArrayCheck *) state;

	/* the server rejects more than MAXDIM dimensions */
	if (check->lex->lex_level == check->ndims && check->ndims <= MAXDIM)
	{
		check->path.ndims = check->ndims;
		check_value(check->type->element, check->element.kind,
					check->element.start,
					check->lex->prev_token_terminator - check->element.start,
					&check->path);
	}
	RC_JSON_RETURN;
}
