/*-------------------------------------------------------------------------
 *
 * headers.c
 *	  Headers of a record as jsonb, and back: an object; a name that occurs
 *	  several times holds an array, a value that is not UTF-8 is
 *	  {"base64": ..}.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static char *headers_json(const RcRecord *record);
static void append_header_name(StringInfo json, const char *name);
static void append_header_value(StringInfo json, const RcHeader *header);
static char *encode_base64(const char *bytes, int len);
static int	compare_headers(const void *a, const void *b, void *arg);
static RcHeader *add_header(RcHeader *headers, int *n, const char *name,
							JsonbValue *value);
static void set_value(RcHeader *header, JsonbValue *value);
static void set_base64(RcHeader *header, JsonbContainer *object);

/*
 * The headers of a record as jsonb: an object; a name that occurs several
 * times holds an array, a value that is not UTF-8 (or holds a zero byte) is
 * {"base64": ..}, and a name that is not UTF-8 "base64:..".  No header is an
 * error: the dead letter that it would make has headers, too.
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

	/* by name, then by place: a message may have very many */
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

static void
append_header_name(StringInfo json, const char *name)
{
	int			len = strlen(name);

	if (pg_verify_mbstr(PG_UTF8, name, len, true))
		escape_json(json, pg_any_to_server(name, len, PG_UTF8));
	else
		appendStringInfo(json, "\"base64:%s\"", encode_base64(name, len));
}

static void
append_header_value(StringInfo json, const RcHeader *header)
{
	if (header->value_len < 0)
	{
		appendStringInfoString(json, "null");
		return;
	}
	if (pg_verify_mbstr(PG_UTF8, header->value, header->value_len, true))
	{
		char	   *text = pnstrdup(header->value, header->value_len);

		escape_json(json, pg_any_to_server(text, header->value_len, PG_UTF8));
		return;
	}
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
 * The other way: headers for a message, in the current context.  Numbers and
 * booleans go as their text; what is nested otherwise goes as its JSON.
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
			name = pg_server_to_any(pnstrdup(value.val.string.val,
											 value.val.string.len),
									value.val.string.len, PG_UTF8);
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

static RcHeader *
add_header(RcHeader *headers, int *n, const char *name, JsonbValue *value)
{
	/* room for 1, 2, 4, .. */
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

/* {"base64": ..} to its bytes; another object to its text. */
static void
set_base64(RcHeader *header, JsonbContainer *object)
{
	JsonbValue *base64 = NULL;
	char	   *bytes;
	int			len = -1;

	if (JsonContainerIsObject(object) && JsonContainerSize(object) == 1)
		base64 = getKeyJsonValueFromContainer(object, "base64", 6, NULL);
	if (base64 != NULL && base64->type == jbvString)
	{
		len = pg_b64_dec_len(base64->val.string.len);
		bytes = palloc(len + 1);
		len = pg_b64_decode(base64->val.string.val, base64->val.string.len,
							(RC_BASE64_BYTE *) bytes, len);
	}
	if (len < 0)
	{
		bytes = JsonbToCString(NULL, object, 0);
		len = strlen(bytes);
	}
	header->value = bytes;
	header->value_len = len;
}
