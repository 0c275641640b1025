/*
 * values.c
 *	  Values of Debezium (src/debezium/debezium_value.h) by the million: known
 *	  ones, numbers beside another way to the same text, and mutations.
 *
 * A mutated value may be refused or converted, but never read behind its end,
 * write behind what there is room for, leave half a text, or give another
 * result the second time.  Run by test/fuzz/run, with the compiler's
 * sanitizers.
 *
 * usage: values COUNT SEED
 */
#include "random.h"
#include "server.h"

#include <time.h>

#include "debezium/debezium_value.h"

typedef struct Known
{
	RcDebeziumType type;
	const char *json;
	const char *text;			/* NULL: it has to be refused */
} Known;

static const RcDebeziumType plain = {RC_DEBEZIUM_PLAIN};
static const RcDebeziumType json = {RC_DEBEZIUM_JSON};
static const RcDebeziumType price = {RC_DEBEZIUM_DECIMAL, .scale = 2};
static const RcDebeziumType plains = {RC_DEBEZIUM_ARRAY, .element = &plain};
static const RcDebeziumType box = {RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_BOX};

#define POINT_WKB "AQEAAAAAAAAAAAD4PwAAAAAAAARA"
#define BOX_WKB "AQMAAAABAAAABQAAAAAAAAAAAPA/AAAAAAAA8D8AAAAAAADwPwAAAAAAAAAA" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8D8AAAAAAADwPwAAAAAAAPA/"
#define LINE_WKB "AQIAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPA/AAAAAAAAAEA="

/* The last of each kind is refused. */
static const Known known[] = {
	{{RC_DEBEZIUM_PLAIN}, "\"a \\\"b\\\" \\u00e9 \\ud83d\\ude00\"", "a \"b\" \303\251 \360\237\230\200"},
	{{RC_DEBEZIUM_PLAIN}, " -1.50e3 ", "-1.50e3"},
	{{RC_DEBEZIUM_PLAIN}, "{\"a\": [1, null]}", "{\"a\": [1, null]}"},
	{{RC_DEBEZIUM_PLAIN}, "true false", NULL},
	{{RC_DEBEZIUM_UNSIGNED}, "-1", "18446744073709551615"},
	{{RC_DEBEZIUM_UNSIGNED}, "null", NULL},
	{{RC_DEBEZIUM_DECIMAL, .scale = 2}, "\"EtaH\"", "12345.67"},
	{{RC_DEBEZIUM_DECIMAL, .scale = 2}, "\"gAAAAAAAAAA=\"", "-92233720368547758.08"},
	{{RC_DEBEZIUM_DECIMAL, .scale = 3}, "\"_w==\"", "-0.001"},
	{{RC_DEBEZIUM_DECIMAL, .scale = -2}, "\"AQ==\"", "100"},
	{{RC_DEBEZIUM_DECIMAL, .scale = 16384}, "\"AQ==\"", NULL},
	{{RC_DEBEZIUM_DECIMAL_STRUCT}, "{\"value\": \"EQfV61tbpNfG\", \"scale\": 20}", "3.14159265358979323846"},
	{{RC_DEBEZIUM_DECIMAL_STRUCT}, "{\"value\": \"EQ==\"}", NULL},
	{{RC_DEBEZIUM_DECIMAL_TEXT}, "\"POSITIVE_INFINITY\"", "Infinity"},
	{{RC_DEBEZIUM_DECIMAL_TEXT}, "\"NEGATIVE_INFINITY\"", "-Infinity"},
	{{RC_DEBEZIUM_DECIMAL_TEXT}, "\"-.5e+3\"", "-.5e+3"},
	{{RC_DEBEZIUM_DECIMAL_TEXT}, "\"1e+\"", NULL},
	{{RC_DEBEZIUM_DECIMAL_TEXT}, "\"0x10\"", NULL},
	{{RC_DEBEZIUM_DECIMAL_AUTO, .scale = 2}, "\"A+c=\"", "9.99"},
	{{RC_DEBEZIUM_DECIMAL_AUTO, .scale = 2}, "\"12345\"", "12345"},
	{{RC_DEBEZIUM_DECIMAL_AUTO, .scale = 2}, "12.5", "12.5"},
	{{RC_DEBEZIUM_DECIMAL_AUTO, .scale = 2}, "\"1234\"", NULL},
	{{RC_DEBEZIUM_DATE}, "19782", "2024-02-29"},
	{{RC_DEBEZIUM_DATE}, "\"-0001-01-01Z\"", "0002-01-01 BC"},
	{{RC_DEBEZIUM_DATE}, "-622191234", "infinity"},
	{{RC_DEBEZIUM_DATE}, "-2147472691", "-infinity"},
	{{RC_DEBEZIUM_DATE}, "\"-infinity\"", "-infinity"},
	{{RC_DEBEZIUM_DATE}, "\"0000-00-00\"", NULL},
	{{RC_DEBEZIUM_TIME, .unit = RC_DEBEZIUM_MICROSECONDS}, "86400000000", "24:00:00"},
	{{RC_DEBEZIUM_TIME, .unit = RC_DEBEZIUM_MILLISECONDS}, "-3020399001", "-838:59:59.001"},
	{{RC_DEBEZIUM_TIME, .zoned = true}, "\"11:14:15.1Z\"", "11:14:15.1Z"},
	{{RC_DEBEZIUM_TIME}, "\"11:14:15+\"", NULL},
	{{RC_DEBEZIUM_TIMESTAMP, .unit = RC_DEBEZIUM_MICROSECONDS}, "1709212455123456", "2024-02-29 13:14:15.123456"},
	{{RC_DEBEZIUM_TIMESTAMP, .unit = RC_DEBEZIUM_MILLISECONDS, .zoned = true}, "-1", "1969-12-31 23:59:59.999+00"},
	{{RC_DEBEZIUM_TIMESTAMP, .unit = RC_DEBEZIUM_MICROSECONDS}, "-210863520000000000", "4713-01-01 00:00:00 BC"},
	{{RC_DEBEZIUM_TIMESTAMP}, "\"+294276-12-31T23:59:59.999999Z\"", "294276-12-31 23:59:59.999999Z"},
	{{RC_DEBEZIUM_TIMESTAMP, .unit = RC_DEBEZIUM_MICROSECONDS}, "9223372036854775807", "infinity"},
	{{RC_DEBEZIUM_TIMESTAMP, .unit = RC_DEBEZIUM_MILLISECONDS}, "-9223372036832400000", "-infinity"},
	{{RC_DEBEZIUM_TIMESTAMP}, "\"today\"", NULL},
	{{RC_DEBEZIUM_DURATION, .unit = RC_DEBEZIUM_MICROSECONDS}, "-36572706000001", "-10159:05:06.000001"},
	{{RC_DEBEZIUM_DURATION}, "\"P-1Y-2M3DT-4H-5M-6.000001S\"", "P-1Y-2M3DT-4H-5M-6.000001S"},
	{{RC_DEBEZIUM_DURATION}, "\"1 day\"", NULL},
	{{RC_DEBEZIUM_BYTES}, "\"AP8Q3q2-7w==\"", "\\x00ff10deadbeef"},
	{{RC_DEBEZIUM_BYTES}, "\"AP8\"", "\\x00ff"},
	{{RC_DEBEZIUM_BYTES}, "\"AP9\"", NULL},
	{{RC_DEBEZIUM_BYTES_TEXT}, "\"KCIxLCBydWUgWCIsNzUwMDEp\"", "(\"1, rue X\",75001)"},
	{{RC_DEBEZIUM_BYTES_TEXT}, "\"AA==\"", NULL},
	{{RC_DEBEZIUM_HEX}, "\"00Ff\"", "\\x00Ff"},
	{{RC_DEBEZIUM_HEX}, "\"00f\"", NULL},
	{{RC_DEBEZIUM_BITS, .length = 12}, "\"AQg=\"", "100000000001"},
	{{RC_DEBEZIUM_BITS, .length = 1}, "true", "1"},
	{{RC_DEBEZIUM_BITS, .length = 4}, "\"EA==\"", NULL},
	{{RC_DEBEZIUM_SET, .element = &plain}, "\"a,b \\\"c\\\"\"", "{\"a\",\"b \\\"c\\\"\"}"},
	{{RC_DEBEZIUM_SET}, "\"a,b\"", "a,b"},
	{{RC_DEBEZIUM_SET}, "1", NULL},
	{{RC_DEBEZIUM_JSON}, "\"{\\\"b\\\": 1}\"", "{\"b\": 1}"},
	{{RC_DEBEZIUM_JSON}, "{\"b\": 1", NULL},
	{{RC_DEBEZIUM_HSTORE}, "\"{\\\"k 3\\\":\\\"v \\\\\\\"3\\\\\\\"\\\",\\\"k\\\":null}\"", "\"k 3\"=>\"v \\\"3\\\"\", \"k\"=>NULL"},
	{{RC_DEBEZIUM_HSTORE}, "{\"a\\\\\": \"\"}", "\"a\\\\\"=>\"\""},
	{{RC_DEBEZIUM_HSTORE}, "[]", NULL},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_POINT}, "{\"x\":1.5,\"y\":2.5}", "(1.5,2.5)"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_POINT}, "{\"wkb\":\"" POINT_WKB "\"}", "(1.5,2.5)"},
	{{RC_DEBEZIUM_GEOMETRY}, "{\"wkb\":\"" POINT_WKB "\",\"srid\":4326}", "0101000020e6100000000000000000f83f0000000000000440"},
	{{RC_DEBEZIUM_GEOMETRY}, "{\"wkb\":\"AAAAAAE/+AAAAAAAAEAEAAAAAAAA\",\"srid\":1}", "0020000001000000013ff80000000000004004000000000000"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_BOX}, "{\"wkb\":\"" BOX_WKB "\",\"srid\":null}", "(1,1),(0,0)"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_POLYGON}, "{\"wkb\":\"" BOX_WKB "\"}", "((1,1),(1,0),(0,0),(0,1))"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_LSEG}, "{\"wkb\":\"" LINE_WKB "\"}", "[(0,0),(1,2)]"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_PATH}, "{\"wkb\":\"" LINE_WKB "\",\"extensions\":{\"closed\":\"true\"}}", "((0,0),(1,2))"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_LINE}, "{\"a\":1,\"b\":-1,\"c\":0.5}", "{1,-1,0.5}"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_CIRCLE}, "{\"x\":0,\"y\":1,\"radius\":2}", "<(0,1),2>"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_CIRCLE}, "{\"x\":\"NaN\",\"y\":\"-Infinity\",\"radius\":2}", "<(NaN,-Infinity),2>"},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_POINT}, "{\"x\":1,\"y\":\"2\"}", NULL},
	{{RC_DEBEZIUM_GEOMETRY, .shape = RC_DEBEZIUM_LSEG}, "{\"wkb\":\"" POINT_WKB "\"}", NULL},
	{{RC_DEBEZIUM_ARRAY, .element = &plain}, "[[1,null],[3,\"a b\"]]", "{{1,NULL},{3,\"a b\"}}"},
	{{RC_DEBEZIUM_ARRAY, .element = &plains}, "[[\"null\",\"\"]]", "{{\"null\",\"\"}}"},
	{{RC_DEBEZIUM_ARRAY, .element = &json}, "[[1, 2], \"{\\\"a\\\": 1}\"]", "{\"[1, 2]\",\"{\\\"a\\\": 1}\"}"},
	{{RC_DEBEZIUM_ARRAY, .element = &price}, "[\"AJY=\", null, \"/rs=\"]", "{1.50,NULL,-3.25}"},
	{{RC_DEBEZIUM_ARRAY, .element = &box, .delimiter = ';'}, "[{\"wkb\":\"" BOX_WKB "\"}]", "{\"(1,1),(0,0)\"}"},
	{{RC_DEBEZIUM_ARRAY, .element = &plain}, "[[[[[[[1]]]]]]]", NULL}
};

static void
fail(const char *what, const char *value, int len, const char *got)
{
	fprintf(stderr, "values: %s: %.*s: %s\n", what, len, value, got);
	exit(1);
}

/* Convert, with nothing behind the value that could be read. */
static const char *
convert(const RcDebeziumType *type, const char *value, int len, StringInfo out)
{
	char	   *exact = malloc(Max(len, 1));
	const char *wrong;

	memcpy(exact, value, len);
	initStringInfo(out);
	appendStringInfoString(out, "before");
	wrong = rc_debezium_to_text(type, exact, len, out);
	free(exact);
	if (out->data[out->len] != '\0' || strlen(out->data) != out->len ||
		memcmp(out->data, "before", 6) != 0)
		fail("broken text", value, len, out->data);
	if (wrong != NULL && (wrong[0] == '\0' || out->len != 6))
		fail("half a text", value, len, out->data);
	return wrong;
}

static void
try_known(void)
{
	for (int i = 0; i < lengthof(known); i++)
	{
		StringInfoData out;
		const char *wrong = convert(&known[i].type, known[i].json,
									strlen(known[i].json), &out);

		if ((wrong == NULL) != (known[i].text != NULL) ||
			(wrong == NULL && strcmp(out.data + 6, known[i].text) != 0))
			fail("known value", known[i].json, strlen(known[i].json),
				 wrong ? wrong : out.data + 6);
		fuzz_forget();
	}
}

/* A decimal of up to 16 bytes, beside the compiler's arithmetic. */
static void
try_decimal(void)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789+/";
	RcDebeziumType type = {RC_DEBEZIUM_DECIMAL, .scale = below(50)};
	int			nbytes = 1 + below(16);
	unsigned __int128 absolute;
	__int128	number = 0;
	uint8		bytes[18] = {0};
	char		value[30] = "\"";
	char		digits[64];
	char	   *at = digits + sizeof(digits) - 1;
	StringInfoData out;
	int			n = 1;

	for (int i = 0; i < nbytes; i++)
	{
		bytes[i] = below(4) == 0 ? (below(2) ? 0xFF : 0) : random64();
		number = i == 0 ? (int8) bytes[0] : number * 256 + bytes[i];
	}
	for (int i = 0; i < nbytes; i += 3)
	{
		uint32		group = bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2];

		for (int shift = 18; shift >= 0; shift -= 6)
			value[n++] = alphabet[group >> shift & 63];
	}
	for (int i = 0; i < (3 - nbytes % 3) % 3; i++)
		value[n - 1 - i] = '=';
	value[n++] = '"';

	absolute = number < 0 ? -(unsigned __int128) number : number;
	*at = '\0';
	for (int i = 0; absolute != 0 || i <= type.scale; i++)
	{
		if (i == type.scale && i > 0)
			*--at = '.';
		*--at = '0' + (int) (absolute % 10);
		absolute /= 10;
	}
	if (number < 0)
		*--at = '-';
	if (convert(&type, value, n, &out) != NULL ||
		strcmp(out.data + 6, at) != 0)
		fail("decimal", value, n, at);
}

/* A timestamp, beside the C library's calendar. */
static void
try_timestamp(void)
{
	static const int64 per_second[] = {1, 1000, 1000000, 1000000000};
	RcDebeziumType type = {RC_DEBEZIUM_TIMESTAMP, .unit = below(4)};
	int64		unit = per_second[type.unit];
	int64		number = (int64) random64() >> below(60);
	int64		seconds;
	int64		year;
	time_t		clock;
	struct tm	tm;
	char		value[32];
	char		expected[80];
	StringInfoData out;
	int			n;

	seconds = number / unit - (number % unit < 0);
	clock = seconds;
	if (gmtime_r(&clock, &tm) == NULL)
		return;
	year = (int64) tm.tm_year + 1900;
	n = sprintf(expected, "%04lld-%02d-%02d %02d:%02d:%02d",
				(long long) (year > 0 ? year : 1 - year), tm.tm_mon + 1,
				tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (number != seconds * unit)
		n += sprintf(expected + n, ".%0*lld", (int) type.unit * 3,
					 (long long) (number - seconds * unit));
	strcpy(expected + n, year > 0 ? "" : " BC");
	n = sprintf(value, "%lld", (long long) number);
	if (convert(&type, value, n, &out) != NULL ||
		strcmp(out.data + 6, expected) != 0)
		fail("timestamp", value, n, out.data + 6);
}

/* Change a value, which has room for MOST bytes; returns its new length. */
#define MOST 4000

static int
mutate(char *value, int len)
{
	static const char *const words[] = {
		"\"", "\\", "{", "}", "[", "]", ",", ":", "null", "true", "-", "=",
		"\\u0000", "\\ud800", "\\u00e9", "\\\"", "9223372036854775807",
		"-9223372036854775808", "1e400", "0.0", "AAAA", "////", "=", "==",
		"infinity", "\"scale\":-131072", "\"srid\":2147483647", "T24:00",
		"[[[[[[[[", "{\"a\":{\"a\":", "\360\237\230\200", "\377"
	};
	const Known *other;
	const char *word;
	int			at = below(len + 1);
	int			n;

	switch (below(6))
	{
		case 0:
			if (at < len)
				value[at] ^= 1 << below(8);
			return len;
		case 1:
			if (at < len)
				value[at] = random64();
			return len;
		case 2:					/* leave out */
			n = below(Min(len - at, 16) + 1);
			memmove(value + at, value + at + n, len - at - n);
			return len - n;
		case 3:					/* repeat */
			n = 1 + below(16);
			n = Min(n, len - at);
			word = value + at;
			break;
		case 4:
			word = words[below(lengthof(words))];
			n = strlen(word);
			break;
		default:				/* a part of another */
			other = &known[below(lengthof(known))];
			word = other->json + below(strlen(other->json));
			n = 1 + below(40);
			n = Min(n, strlen(word));
			break;
	}
	if (len + n > MOST)
		return len;
	memmove(value + at + n, value + at, len - at);
	if (word < value || word > value + MOST)
		memcpy(value + at, word, n);
	return len + n;
}

static void
mutate_type(RcDebeziumType *type)
{
	static const int scales[] = {-1, 0, 2, 16383, -131072, 38};

	switch (below(12))
	{
		case 0:
			type->kind = below(RC_DEBEZIUM_ARRAY + 1);
			break;
		case 1:
			type->scale = scales[below(lengthof(scales))];
			break;
		case 2:
			type->unit = below(RC_DEBEZIUM_NANOSECONDS + 1);
			break;
		case 3:
			type->shape = below(RC_DEBEZIUM_CIRCLE + 1);
			break;
		case 4:
			type->length = below(70);
			break;
		default:
			break;
	}
	type->zoned = below(2);
	if (type->element == NULL && type->kind == RC_DEBEZIUM_ARRAY)
		type->element = &known[below(lengthof(known))].type;
	for (const RcDebeziumType *e = type; e->kind == RC_DEBEZIUM_ARRAY; e = e->element)
	{
		if (e->element == NULL)
			type->element = &plain;
	}
}

static bool
try_mutation(void)
{
	const Known *seed = &known[below(lengthof(known))];
	RcDebeziumType type = seed->type;
	char		value[MOST];
	int			len = strlen(seed->json);
	StringInfoData out[2];
	const char *wrong[2];

	memcpy(value, seed->json, len);
	for (int i = 1 + below(3); i > 0; i--)
		len = mutate(value, len);
	mutate_type(&type);
	fuzz_encoding(below(4) == 0 ? PG_LATIN1 : PG_UTF8);
	for (int i = 0; i < 2; i++)
		wrong[i] = convert(&type, value, len, &out[i]);
	fuzz_encoding(PG_UTF8);
	if (wrong[0] != wrong[1] || strcmp(out[0].data, out[1].data) != 0)
		fail("two results", value, len, out[1].data);
	return wrong[0] == NULL;
}

int
main(int argc, char **argv)
{
	long		count = argc > 1 ? atol(argv[1]) : 1000000;
	long		converted = 0;

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	if (count < 1 || state == 0)
	{
		fprintf(stderr, "usage: values COUNT SEED\n");
		return 2;
	}
	try_known();
	for (long i = 0; i < count / 10; i++)
	{
		try_decimal();
		try_timestamp();
		fuzz_forget();
	}
	for (long i = 0; i < count; i++)
	{
		converted += try_mutation();
		fuzz_forget();
	}
	printf("values: %zu known ones, %ld numbers, %ld mutated ones, of which %ld were converted\n",
		   lengthof(known), count / 10 * 2, count, converted);
	if (converted < count / 20 || converted > count / 20 * 19)
	{
		fprintf(stderr, "values: the mutations are not worth anything\n");
		return 1;
	}
	return 0;
}
