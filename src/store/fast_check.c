/*-------------------------------------------------------------------------
 *
 * fast_check.c
 *	  Compares the storage formats that we write, numeric and jsonb, with those
 *	  of the server's own functions.
 *
 * Each worker does so when it starts, which takes 0.5 ms of CPU.  A
 * format that differs, or has not been compared, is not written.
 *
 *-------------------------------------------------------------------------
 */
#include "store/fast_path.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* Whether the format may be written in this process. */
bool		rc_fast_numeric_checked = false;
bool		rc_fast_jsonb_checked = false;

/* Each form: zero, sign, scale modulo 4, weight, zeros at both ends. */
static const char *const numbers[] = {
	"0", "-0", "0.0", "-0.00", "1", "-1", "9", "9999", "10000", "10001",
	"99990000", "1234567890123456", "-9999999999999999", "1000000000000000",
	"0.1", "-0.12", "0.123", "0.1234", "0.12345", "1.5", "12.50", "123.4560",
	"0.0001", "0.00001", "-0.00000001", "0.000000000000001",
	"123456789012.3456", "10000.0001", "100000000.5", "20.10"
};

static const char *const documents[] = {
	"null", "true", "false", "12", "-1.50", "\"text\"", "\"\"", "[]", "{}",
	"[[]]", "[{}]", "{\"a\":{}}", "{\"a\":[]}", " [ 1 , 2 ] ",
	"[null,true,false]", "[1.5,\"x\",2,\"xy\",3,\"xyz\",4]",
	"[1e10,1.5E-7,-2e+3,12345678901234567890,0.12345678901234567]",
	"{\"b\":1,\"a\":2}", "{\"bb\":1,\"a\":2,\"c\":3}",
	"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":[1],\"a\":{\"a\":1},\"a\":null}",
	"{\"\":0}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
	"{\"\\u0061\":1,\"b\":2,\"a\":3}", "{\"x\":[1,[2,[3,{\"y\":[]}]]]}",
	"[\"x\",[\"y\",[\"z\"]],{\"k\":\"v\"},1]",
	"{\"temperature\":21.50,\"humidity\":40.0,\"battery\":3.300}"
};

/* An array or object of so many entries: offsets instead of lengths. */
static const struct
{
	int			n;
	bool		object;
	bool		mixed;			/* of values of each kind */
}	long_documents[] =

{
	{32, false, false}, {33, false, false}, {65, false, true},
	{15, true, false}, {16, true, true}, {17, true, true}, {33, true, false},
	{70, true, true}
};

static void append_document(StringInfo text, int at);
static bool numeric_differs(const char *text);
static bool jsonb_differs(RcJsonbWriter *writer, const char *text, int len);
static bool differ(Datum ours, Datum theirs);

/* Compare all, and log what differs. */
void
rc_fast_check(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "rappel_conso fast paths",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RcJsonbWriter *writer = rc_jsonb_writer_make();
	StringInfoData text;
	const char *wrong = NULL;

	for (int i = 0; i < lengthof(numbers) && wrong == NULL; i++)
	{
		if (numeric_differs(numbers[i]))
			wrong = numbers[i];
	}
	rc_fast_numeric_checked = (wrong == NULL);

	initStringInfo(&text);
	for (int i = 0; i < lengthof(documents) && wrong == NULL; i++)
	{
		if (jsonb_differs(writer, documents[i], strlen(documents[i])))
			wrong = documents[i];
	}
	for (int i = 0; i < lengthof(long_documents) && wrong == NULL; i++)
	{
		resetStringInfo(&text);
		append_document(&text, i);
		if (jsonb_differs(writer, text.data, text.len))
			wrong = text.data;
	}
	rc_fast_jsonb_checked = (wrong == NULL);

	if (wrong != NULL)
		ereport(LOG,
				(errmsg("values of type %s are made by the server's own function",
						rc_fast_numeric_checked ? "jsonb" : "numeric and jsonb"),
				 errdetail("The storage format of %s is not the expected one.",
						   wrong)));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Keys in an order that is not theirs, and one of them twice. */
static void
append_document(StringInfo text, int at)
{
	static const char *const values[] = {
		"1", "\"text\"", "[1,2.5]", "null", "{\"b\":-1,\"a\":\"x\"}", "true",
		"12345.678"
	};
	int			n = long_documents[at].n;
	bool		object = long_documents[at].object;

	appendStringInfoChar(text, object ? '{' : '[');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(text, ',');
		if (object)
			appendStringInfo(text, "\"k%d\":", (i * 7) % (n - 1));
		appendStringInfoString(text, long_documents[at].mixed ?
							   values[i % lengthof(values)] : "7");
	}
	appendStringInfoChar(text, object ? '}' : ']');
}

static bool
numeric_differs(const char *text)
{
	RcScan		scan = {.at = text,.end = text + strlen(text)};
	RcScanned	number;
	char	   *ours = palloc(RC_NUMERIC_SIZE);

	return !rc_scan_number(&scan, &number) ||
		rc_numeric_write(ours, &number) == 0 ||
		differ(PointerGetDatum(ours),
			   DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								   ObjectIdGetDatum(InvalidOid),
								   Int32GetDatum(-1)));
}

static bool
jsonb_differs(RcJsonbWriter *writer, const char *text, int len)
{
	Datum		ours;

	return !rc_jsonb_fast(writer, text, len, CurrentMemoryContext, &ours) ||
		differ(ours, DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

static bool
differ(Datum ours, Datum theirs)
{
	Size		size = VARSIZE_ANY(DatumGetPointer(theirs));

	return VARSIZE_ANY(DatumGetPointer(ours)) != size ||
		memcmp(DatumGetPointer(ours), DatumGetPointer(theirs), size) != 0;
}
