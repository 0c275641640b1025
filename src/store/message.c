/*-------------------------------------------------------------------------
 *
 * message.c
 *	  What a message of the outbox may be: how large, and which headers are
 *	  ours.
 *
 * It must not read the outbox: what is asked of it comes as datums, and none
 * is expanded before its size is known.
 *
 *-------------------------------------------------------------------------
 */
#include "store/message.h"

#include "access/detoast.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "store/headers_json.h"

/*
 * Headers whose binary form is larger than this have more than
 * RC_MAX_HEADERS bytes as text, since no value is more than five times as
 * large in binary: they are never expanded.
 */
#define MAX_BINARY_HEADERS	(8 * RC_MAX_HEADERS)

/* Bytes of headers, as far as they have been counted. */
typedef struct HeadersCount
{
	int64		size;
	int			depth;
	bool		first;			/* of its container: no comma before it */
	int			name_len;		/* of the name in hand */
	int			nvalues;		/* of its array */
}	HeadersCount;

static int64 bytes_of(Datum value, bool isnull);
static int64 headers_size(Datum headers, int64 enough);
static void count_token(HeadersCount * count, JsonbIteratorToken token,
						JsonbValue *value);
static void count_name(HeadersCount * count, JsonbIteratorToken token,
					   const JsonbValue *value);
static int64 scalar_size(JsonbValue *value);
static int64 string_size(const char *string, int len);

/*
 * Raise an error if the message is larger than its limits, or its headers are
 * no object.  Key and value are bytea, headers jsonb, of any storage.
 *
 * Errors: 54000 names the limit and the size, 22023 the headers.
 */
void
rc_message_check(NullableDatum key, NullableDatum value, NullableDatum headers)
{
	RcMessageSize size;
	char	   *problem;

	rc_message_measure(key, value, headers, PG_INT64_MAX, &size);
	problem = rc_message_too_large(&size);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg_internal("%s", problem),
				 size.headers > RC_MAX_HEADERS ?
				 errdetail("Headers count as text, and a name counts for each value of its array.") : 0));
}

/*
 * How large a message is.  Headers are counted until there are more than
 * "enough" bytes.
 */
void
rc_message_measure(NullableDatum key, NullableDatum value,
				   NullableDatum headers, int64 enough, RcMessageSize *size)
{
	size->key = bytes_of(key.value, key.isnull);
	size->value = bytes_of(value.value, value.isnull);
	size->headers = bytes_of(headers.value, headers.isnull);
	if (!headers.isnull && size->headers <= MAX_BINARY_HEADERS)
		size->headers = headers_size(headers.value, enough);
}

/* Which limit a message passes, in words; NULL if none. */
char *
rc_message_too_large(const RcMessageSize *size)
{
	int64		all = size->key + size->value + size->headers;

	if (size->key > RC_MAX_KEY)
		return psprintf("key of a message has %lld bytes, its limit is %d",
						(long long) size->key, RC_MAX_KEY);
	if (size->headers > RC_MAX_HEADERS)
		return psprintf("headers of a message have %lld bytes, their limit is %d",
						(long long) size->headers, RC_MAX_HEADERS);
	if (all > RC_MAX_MESSAGE)
		return psprintf("key, value and headers of a message have %lld bytes, their limit is %d",
						(long long) all, RC_MAX_MESSAGE);
	return NULL;
}

/*
 * The headers that a message goes out with, in the current context.  Names
 * that begin with rappel_conso-, in whatever case, are ours: consumers drop
 * repeats by the id, and count a run's records by its header, so that one
 * which was forwarded or made up is left out.
 */
RcHeader *
rc_message_headers(Datum jsonb, bool isnull, const char *message_id, int *n)
{
	int			given = 0;
	RcHeader   *from = isnull ? NULL : rc_headers_from_jsonb(jsonb, &given);
	RcHeader   *headers = palloc_extended(sizeof(RcHeader) * (given + 1),
										  MCXT_ALLOC_HUGE);

	*n = 0;
	for (int i = 0; i < given; i++)
	{
		if (pg_strncasecmp(from[i].name, RC_HEADER_PREFIX,
						   strlen(RC_HEADER_PREFIX)) != 0)
			headers[(*n)++] = from[i];
	}
	headers[*n].name = RC_HEADER_ID;
	headers[*n].value = message_id;
	headers[*n].value_len = strlen(message_id);
	(*n)++;
	if (from != NULL)
		pfree(from);
	return headers;
}

/* Bytes of a bytea, or of what jsonb is stored as, without expanding it. */
static int64
bytes_of(Datum value, bool isnull)
{
	return isnull ? 0 : (int64) toast_raw_datum_size(value) - VARHDRSZ;
}

/*
 * Bytes of headers as text, as jsonb_out() writes them, with a name counted
 * for each value of its array, since Kafka repeats it.  Counts until it knows
 * that there are more than "enough".
 */
static int64
headers_size(Datum headers, int64 enough)
{
	Jsonb	   *jsonb = DatumGetJsonbP(headers);
	JsonbIterator *iterator = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	HeadersCount count = {.first = true};

	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers of a message must be a JSON object"),
				 errhint("Pass an object of names and values, such as {\"kind\": \"order\"}.")));

	while (count.size <= enough &&
		   (token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		count_token(&count, token, &value);
		count_name(&count, token, &value);
	}
	if ((Pointer) jsonb != DatumGetPointer(headers))
		pfree(jsonb);
	return count.size;
}

/* One more token of the text, with the comma before it. */
static void
count_token(HeadersCount * count, JsonbIteratorToken token, JsonbValue *value)
{
	switch (token)
	{
		case WJB_BEGIN_ARRAY:
		case WJB_BEGIN_OBJECT:
			count->size += count->first ? 1 : 3;
			count->first = true;
			count->depth++;
			break;
		case WJB_END_ARRAY:
		case WJB_END_OBJECT:
			count->size++;
			count->first = false;
			count->depth--;
			break;
		case WJB_KEY:
			count->size += scalar_size(value) + (count->first ? 2 : 4);
			count->first = true;	/* its value follows without a comma */
			break;
		default:
			count->size += scalar_size(value) + (count->first ? 0 : 2);
			count->first = false;
			break;
	}
}

/*
 * After count_token(): a name that holds an array counts again for each of its
 * values but the first.  Names are at depth 1, an array's values at depth 2,
 * and a value that is a container has begun at depth 3.
 */
static void
count_name(HeadersCount * count, JsonbIteratorToken token,
		   const JsonbValue *value)
{
	bool		container = token == WJB_BEGIN_ARRAY ||
		token == WJB_BEGIN_OBJECT;

	if (token == WJB_KEY && count->depth == 1)
	{
		count->name_len = value->val.string.len;
		count->nvalues = 0;
	}
	else if ((token == WJB_ELEM && count->depth == 2) ||
			 (container && count->depth == 3))
	{
		if (count->nvalues++ > 0)
			count->size += count->name_len;
	}
}

static int64
scalar_size(JsonbValue *value)
{
	char	   *text;
	int64		size;

	switch (value->type)
	{
		case jbvNull:
			return strlen("null");
		case jbvBool:
			return value->val.boolean ? strlen("true") : strlen("false");
		case jbvNumeric:
			/* 1e131071 is a few bytes, and 131072 digits */
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
			size = strlen(text);
			pfree(text);
			return size;
		default:
			return string_size(value->val.string.val, value->val.string.len);
	}
}

/* With its quotes, and what escape_json() escapes. */
static int64
string_size(const char *string, int len)
{
	int64		size = 2;

	for (int i = 0; i < len; i++)
	{
		switch (string[i])
		{
			case '"':
			case '\\':
			case '\b':
			case '\f':
			case '\n':
			case '\r':
			case '\t':
				size += 2;
				break;
			default:
				size += (unsigned char) string[i] < ' ' ? 6 : 1;
				break;
		}
	}
	return size;
}
