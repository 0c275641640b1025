/*-------------------------------------------------------------------------
 *
 * message.c
 *	  Limits of a message of the outbox, and the headers that it is sent with.
 *
 * Nothing here reads the outbox: key, value and headers are passed as datums,
 * and none is detoasted before its size is known.
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
 * Headers whose jsonb is larger than this have more than RC_MAX_HEADERS bytes
 * as text, since no value is more than five times as large in binary form:
 * they are rejected without detoasting them.
 */
#define MAX_BINARY_HEADERS	(8 * RC_MAX_HEADERS)

/* State of counting the bytes of headers as text. */
typedef struct HeadersCount
{
	int64		size;
	int			depth;
	bool		first;			/* next value is the first of its container */
	int			name_len;		/* of the current header's name */
	int			nvalues;		/* of its array so far */
} HeadersCount;

static int64 bytes_of(Datum value, bool isnull);
static int64 headers_size(Datum headers, int64 enough);
static void count_token(HeadersCount *count, JsonbIteratorToken token,
						JsonbValue *value);
static void count_name(HeadersCount *count, JsonbIteratorToken token,
					   const JsonbValue *value);
static int64 scalar_size(JsonbValue *value);
static int64 string_size(const char *string, int len);

/*
 * Raise an error if the message exceeds its limits, or its headers are not an
 * object.  Key and value are bytea, headers jsonb, all possibly toasted.
 *
 * Errors: ERRCODE_PROGRAM_LIMIT_EXCEEDED with the limit and the size;
 * ERRCODE_INVALID_PARAMETER_VALUE for the headers.
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
				 errdetail("Headers are counted as text, with the name repeated for each value of an array.") : 0));
}

/*
 * Measure a message.  Counting headers stops once there are more than "enough"
 * bytes.
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

/*
 * The error message for the limit that a message exceeds; NULL if it exceeds
 * none.
 */
char *
rc_message_too_large(const RcMessageSize *size)
{
	int64		all = size->key + size->value + size->headers;

	if (size->key > RC_MAX_KEY)
		return psprintf(gettext_noop("key of a message has %lld bytes, its limit is %d"),
						(long long) size->key, RC_MAX_KEY);
	if (size->headers > RC_MAX_HEADERS)
		return psprintf(gettext_noop("headers of a message have %lld bytes, their limit is %d"),
						(long long) size->headers, RC_MAX_HEADERS);
	if (all > RC_MAX_MESSAGE)
		return psprintf(gettext_noop("key, value and headers of a message have %lld bytes, their limit is %d"),
						(long long) all, RC_MAX_MESSAGE);
	return NULL;
}

/*
 * The headers that a message is sent with, in the current context.  Names that
 * begin with rappel_conso-, in upper or lower case, are reserved, and dropped
 * if the user passed any: consumers drop duplicates by the id, and count a
 * run's records by its header, so a forwarded or forged one would mislead
 * them.
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

/*
 * Size of a bytea or jsonb as it is before compression, without detoasting it.
 */
static int64
bytes_of(Datum value, bool isnull)
{
	return isnull ? 0 : (int64) toast_raw_datum_size(value) - VARHDRSZ;
}

/*
 * Bytes of headers as jsonb_out() writes them.  A name counts for each value
 * of its array, since Kafka repeats it.  Stops once there are more than
 * "enough".
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
				 errhint("Pass an object with names and values, such as {\"kind\": \"order\"}.")));

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

/* Count one token of the text, and the comma before it. */
static void
count_token(HeadersCount *count, JsonbIteratorToken token, JsonbValue *value)
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
 * Called after count_token(): count the name again for each value of its array
 * after the first.  Names are at depth 1, an array's values at depth 2; a
 * value that is a container has begun at depth 3.
 */
static void
count_name(HeadersCount *count, JsonbIteratorToken token,
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

			/*
			 * 1e131071 takes a few bytes as numeric, and 131072 digits as
			 * text
			 */
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
			size = strlen(text);
			pfree(text);
			return size;
		default:
			return string_size(value->val.string.val, value->val.string.len);
	}
}

/* Bytes of a JSON string, with its quotes and the escapes of escape_json(). */
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
