/*-------------------------------------------------------------------------
 *
 * headers_json.c
 *	  Converts a record's Kafka headers to jsonb and back: an object whose
 *	  keys are header names.  A name that occurs several times has an array; a
 *	  value that is not text in the server's encoding is {"base64": ..}.
 *
 * The conversion must keep any bytes, and must never fail.
 *
 *-------------------------------------------------------------------------
 */
#include "store/headers_json.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

/* Prefix of a name that is not text in the server's encoding. */
#define BASE64_NAME		"base64:"

static char *headers_json(const RcRecord *record);
static void append_header_name(StringInfo json, const char *name);
static void append_header_value(StringInfo json, const RcHeader *header);
static char *encode_base64(const char *bytes, int len);
static int	compare_headers(const void *a, const void *b, void *arg);
static char *header_name(const char *name, int len);
static char *decode_base64(const char *base64, int len, int *out_len);
static RcHeader *add_header(RcHeader *headers, int *n, const char *name,
							JsonbValue *value);
static void set_value(RcHeader *header, JsonbValue *value);
static void set_base64(RcHeader *header, JsonbContainer *object);

/*
 * The headers of a record as jsonb, in the format above.  A value that is not
 * UTF-8 (or holds a zero byte, or a character that the database's encoding
 * lacks) is {"base64": ..}, and such a name "base64:..".  No header raises an
 * error: the resulting dead letter stores the same headers.
 */
Datum
rc_headers_jsonb(const RcRecord *record)
{
	return DirectFunctionCall1(jsonb_in,
							   CStringGetDatum(headers_json(record)));
}

static char *
headers_json(const RcRecord *record)
{
	StringInfoData json;
	int		   *order = palloc(sizeof(int) * (record->nheaders + 1));
	int			end;

	/*
	 * by name, then by position; sorted because a message may have very many
	 */
	for (int i = 0; i < record->nheaders; i++)
		order[i] = i;
	qsort_arg(order, record->nheaders, sizeof(int), compare_headers,
			  unconstify(RcRecord *, record));

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < record->nheaders; i = end)
	{
		const char *name = record->headers[order[i]].name;

		CHECK_FOR_INTERRUPTS();
		for (end = i + 1; end < record->nheaders; end++)
		{
			if (strcmp(record->headers[order[end]].name, name) != 0)
				break;
		}
		if (i > 0)
			appendStringInfoChar(&json, ',');
		append_header_name(&json, name);
		appendStringInfoString(&json, end - i > 1 ? ":[" : ":");
		for (int k = i; k < end; k++)
		{
			if (k > i)
				appendStringInfoChar(&json, ',');
			append_header_value(&json, &record->headers[order[k]]);
		}
		if (end - i > 1)
			appendStringInfoChar(&json, ']');
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

static int
compare_headers(const void *a, const void *b, void *arg)
{
	const RcRecord *record = (const RcRecord *) arg;
	int			x = *(const int *) a;
	int			y = *(const int *) b;
	int			order = strcmp(record->headers[x].name,
							   record->headers[y].name);

	return order != 0 ? order : x - y;
}

/*
 * A name that begins with the prefix already is encoded too, so that decoding
 * gives it back.
 */
static void
append_header_name(StringInfo json, const char *name)
{
	int			len = strlen(name);
	char	   *text = NULL;

	if (strncmp(name, BASE64_NAME, strlen(BASE64_NAME)) != 0)
		text = rc_from_utf8(name, len);
	if (text != NULL)
		escape_json(json, text);
	else
		appendStringInfo(json, "\"" BASE64_NAME "%s\"",
						 encode_base64(name, len));
}

static void
append_header_value(StringInfo json, const RcHeader *header)
{
	char	   *text;

	if (header->value_len < 0)
	{
		appendStringInfoString(json, "null");
		return;
	}
	text = rc_from_utf8(header->value, header->value_len);
	if (text != NULL)
		escape_json(json, text);
	else
		appendStringInfo(json, "{\"base64\":\"%s\"}",
						 encode_base64(header->value, header->value_len));
}

static char *
encode_base64(const char *bytes, int len)
{
	int			size = pg_b64_enc_len(len);
	char	   *base64 = palloc(size + 1);

	len = pg_b64_encode((const RC_BASE64_BYTE *) bytes, len, base64, size);
	if (len < 0)
		elog(ERROR, "could not encode a header");
	base64[len] = '\0';
	return base64;
}

/*
 * Headers of a message from jsonb, in the current context.  Numbers and
 * booleans become their text, other nested values their JSON.
 */
RcHeader *
rc_headers_from_jsonb(Datum jsonb, int *n)
{
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;
	RcHeader   *headers = NULL;
	char	   *name = NULL;

	*n = 0;
	iterator = JsonbIteratorInit(&DatumGetJsonbP(jsonb)->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = header_name(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvBinary &&
				 JsonContainerIsArray(value.val.binary.data))
		{
			JsonbIterator *inner = JsonbIteratorInit(value.val.binary.data);
			JsonbValue	element;

			while ((token = JsonbIteratorNext(&inner, &element, true)) != WJB_DONE)
			{
				if (token == WJB_ELEM)
					headers = add_header(headers, n, name, &element);
			}
		}
		else if (token == WJB_VALUE)
			headers = add_header(headers, n, name, &value);
	}
	return headers;
}

/*
 * A name as bytes for Kafka, which expects UTF-8 but accepts any bytes except
 * zero.
 */
static char *
header_name(const char *name, int len)
{
	const int	prefix = strlen(BASE64_NAME);
	char	   *text;

	if (len >= prefix && strncmp(name, BASE64_NAME, prefix) == 0)
	{
		int			out_len;

		text = decode_base64(name + prefix, len - prefix, &out_len);
		if (text != NULL && strlen(text) == out_len)
			return text;
	}
	text = pnstrdup(name, len);
	return pg_server_to_any(text, len, PG_UTF8);
}

/* Returns NULL if the text is not base64. */
static char *
decode_base64(const char *base64, int len, int *out_len)
{
	int			size = pg_b64_dec_len(len);
	char	   *bytes = palloc(size + 1);

	*out_len = pg_b64_decode(base64, len, (RC_BASE64_BYTE *) bytes, size);
	if (*out_len < 0)
		return NULL;
	bytes[*out_len] = '\0';
	return bytes;
}

static RcHeader *
add_header(RcHeader *headers, int *n, const char *name, JsonbValue *value)
{
	/* capacity is 1, 2, 4, .. */
	if (headers == NULL)
		headers = palloc(sizeof(RcHeader));
	else if ((*n & (*n - 1)) == 0)
		headers = repalloc_huge(headers, sizeof(RcHeader) * *n * 2);
	headers[*n].name = name;
	set_value(&headers[*n], value);
	(*n)++;
	return headers;
}

static void
set_value(RcHeader *header, JsonbValue *value)
{
	char	   *text;

	switch (value->type)
	{
		case jbvNull:
			header->value = NULL;
			header->value_len = -1;
			return;
		case jbvString:
			text = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		default:
			set_base64(header, value->val.binary.data);
			return;
	}
	header->value = pg_server_to_any(text, strlen(text), PG_UTF8);
	header->value_len = strlen(header->value);
}

/* Decode {"base64": ..}; any other object becomes its JSON. */
static void
set_base64(RcHeader *header, JsonbContainer *object)
{
	JsonbValue *base64 = NULL;
	char	   *bytes = NULL;
	int			len;

	if (JsonContainerIsObject(object) && JsonContainerSize(object) == 1)
		base64 = getKeyJsonValueFromContainer(object, "base64", 6, NULL);
	if (base64 != NULL && base64->type == jbvString)
		bytes = decode_base64(base64->val.string.val, base64->val.string.len,
							  &len);
	if (bytes == NULL)
	{
		bytes = JsonbToCString(NULL, object, 0);
		bytes = pg_server_to_any(bytes, strlen(bytes), PG_UTF8);
		len = strlen(bytes);
	}
	header->value = bytes;
	header->value_len = len;
}
