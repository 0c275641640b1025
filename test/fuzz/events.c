/*
 * events.c
 *	  Change events of Debezium (src/debezium/debezium_event.h) by the million:
 *	  known ones, and mutations of messages with and without their schema.
 *
 * A mutated event may be refused or read, but never behind its end; what is
 * found in it lies within it, and a row that has been found can be written as
 * JSON, or is refused.  Run by test/fuzz/run, with the compiler's sanitizers.
 *
 * usage: events COUNT SEED
 */
#include "random.h"
#include "server.h"

#include "debezium/debezium_event.h"
#include "debezium/debezium_row.h"

#define MOST	6000

#define ROW(of)	"{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\"field\":\"id\"}," \
	"{\"type\":\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1," \
	"\"parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"10\"},\"field\":\"price\"}," \
	"{\"type\":\"array\",\"items\":{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Json\"},\"field\":\"docs\"}," \
	"{\"type\":\"int64\",\"name\":\"io.debezium.time.MicroTimestamp\",\"field\":\"at\"}],\"field\":\"" of "\"}"
#define SCHEMA	"{\"type\":\"struct\",\"fields\":[" ROW("before") "," ROW("after") "],\"name\":\"p.t.Envelope\"}"
#define AFTER	"{\"id\":1,\"price\":\"A+c=\",\"docs\":[\"{\\\"a\\\": [1]}\",null],\"at\":1709212455123456}"
#define SOURCE	"{\"connector\":\"postgresql\",\"ts_ms\":1,\"ts_us\":1709212455123456,\"txId\":771,\"lsn\":33168128,\"xmin\":null}"

typedef struct Known
{
	const char *json;
	RcDebeziumResult result;
	char		op;
	const char *after;			/* written as JSON; NULL: none */
} Known;

static const Known known[] = {
	{"{\"before\":null,\"after\":" AFTER ",\"source\":" SOURCE ",\"op\":\"c\",\"ts_ms\":1}", RC_DEBEZIUM_CHANGE, 'c', AFTER},
	{"{\"schema\":" SCHEMA ",\"payload\":{\"before\":null,\"after\":" AFTER ",\"source\":" SOURCE ",\"op\":\"u\"}}", RC_DEBEZIUM_CHANGE, 'u',
	"{\"id\":1,\"price\":9.99,\"docs\":[{\"a\": [1]},null],\"at\":\"2024-02-29T13:14:15.123456\"}"},
	{"{\"payload\":{\"op\":\"d\",\"before\":{\"id\":1},\"after\":null},\"schema\":" SCHEMA "}", RC_DEBEZIUM_CHANGE, 'd'},
	{"{\"schema\":" SCHEMA ",\"payload\":{\"after\":{\"id\":\"one\"},\"op\":\"u\"}}", RC_DEBEZIUM_CHANGE, 'u', ""},
	{"{\"after\":{\"id\":1,\"a\":\"__debezium_unavailable_value\",\"b\":[\"__debezium_unavailable_value\"]},\"op\":\"u\"}", RC_DEBEZIUM_CHANGE, 'u', "{\"id\":1}"},
	{"{\"id\":1,\"__op\":\"c\",\"__lsn\":5,\"__deleted\":\"false\"}", RC_DEBEZIUM_CHANGE, 'c', "{\"id\":1}"},
	{"{\"id\":1,\"__deleted\":\"true\"}", RC_DEBEZIUM_CHANGE, 'd'},
	{"{\"op\":\"m\",\"message\":{\"prefix\":\"p\",\"content\":\"YQ==\"},\"source\":{}}", RC_DEBEZIUM_CHANGE, 'm'},
	{"{\"op\":\"t\",\"before\":null,\"after\":null,\"source\":{}}", RC_DEBEZIUM_CHANGE, 't'},
	{"{\"ts_ms\":1709212455123}", RC_DEBEZIUM_SKIPPED},
	{"{\"status\":\"END\",\"id\":\"1:2\",\"event_count\":2,\"data_collections\":[{}],\"ts_ms\":1}", RC_DEBEZIUM_SKIPPED},
	{"{\"source\":{},\"databaseName\":\"d\",\"ddl\":\"CREATE TABLE t ()\",\"tableChanges\":[]}", RC_DEBEZIUM_SKIPPED},
	{"{\"status\":\"BEGIN\",\"id\":\"1:2\",\"event_count\":null,\"data_collections\":null}", RC_DEBEZIUM_SKIPPED},
	{"{\"status\":\"BEGIN\",\"id\":\"1:2\",\"name\":\"a\",\"ts_ms\":1}", RC_DEBEZIUM_WRONG},
	{"{\"status\":\"END\",\"id\":\"1:2\"}", RC_DEBEZIUM_WRONG},
	{"{\"status\":\"DONE\",\"id\":\"1:2\",\"ts_ms\":1}", RC_DEBEZIUM_WRONG},
	{"{\"status\":\"END\",\"id\":7,\"ts_ms\":1}", RC_DEBEZIUM_WRONG},
	{"{\"id\":\"1:2\",\"ts_ms\":1}", RC_DEBEZIUM_WRONG},
	{"{\"source\":{},\"ddl\":\"CREATE TABLE t ()\"}", RC_DEBEZIUM_WRONG},
	{"{\"ddl\":\"CREATE TABLE t ()\",\"databaseName\":\"d\"}", RC_DEBEZIUM_WRONG},
	{"{\"ts_ms\":1,\"message\":null}", RC_DEBEZIUM_WRONG},
	{"{\"schema\":null,\"payload\":null}", RC_DEBEZIUM_TOMBSTONE},
	{"{\"schema\":" SCHEMA "}", RC_DEBEZIUM_WRONG},
	{"{\"op\":\"q\",\"after\":{}}", RC_DEBEZIUM_WRONG},
	{"{\"a\":1}", RC_DEBEZIUM_WRONG},
	{"[]", RC_DEBEZIUM_WRONG},
	{"{\"op\":\"c\",\"after\":{\"id\":1}", RC_DEBEZIUM_BROKEN},
	{"", RC_DEBEZIUM_BROKEN}
};

static const Known known_keys[] = {
	{"{\"id\":1}", RC_DEBEZIUM_CHANGE},
	{"{\"schema\":null,\"payload\":{\"id\":1}}", RC_DEBEZIUM_CHANGE},
	{"{\"schema\":null,\"payload\":7}", RC_DEBEZIUM_CHANGE},
	{"{\"payload\":null}", RC_DEBEZIUM_CHANGE},
	{"\"text\"", RC_DEBEZIUM_CHANGE},
	{"null", RC_DEBEZIUM_TOMBSTONE},
	{" null ", RC_DEBEZIUM_TOMBSTONE},
	{"{\"payload\":null,\"schema\":null}", RC_DEBEZIUM_TOMBSTONE},
	{"nul", RC_DEBEZIUM_BROKEN},
	{"null null", RC_DEBEZIUM_BROKEN},
	{"{\"payload\":}", RC_DEBEZIUM_BROKEN}
};

static void
fail(const char *what, const char *json, int len)
{
	fprintf(stderr, "events: %s: %.*s\n", what, len, json);
	exit(1);
}

static const char *
unknown(void *arg, const char *at, const char *end)
{
	return NULL;
}

static void
check_part(const RcDebeziumPart *part, const char *json, int len)
{
	if (part->at != NULL &&
		(part->at < json || part->len <= 0 || part->at + part->len > json + len))
		fail("a part is not in it", json, len);
}

/* Write the row that is after the change; false if it is refused. */
static bool
write_after(const RcDebeziumEvent *event, StringInfo out)
{
	RcConnectSchema schema;
	RcDebeziumWriter writer = {.flat = event->flat,.out = out};

	if (event->schema.at != NULL)
	{
		if (rc_connect_schema_read(event->schema.at, event->schema.len,
								   &schema) != NULL)
			return false;
		writer.schema = rc_connect_row(&schema, event->flat);
		if (writer.schema == NULL)
			return false;
	}
	return rc_debezium_write_row(&writer, &event->after) == NULL;
}

/* Read a copy of the message that ends where its memory does. */
static RcDebeziumResult
read_event(const char *json, int len, RcDebeziumEvent *event, StringInfo out)
{
	char	   *exact = malloc(Max(len, 1));
	RcDebeziumResult result;

	memcpy(exact, json, len);
	initStringInfo(out);
	result = rc_debezium_event_read(exact, len, '\0', unknown, NULL, event);
	if (result == RC_DEBEZIUM_CHANGE)
	{
		check_part(&event->schema, exact, len);
		check_part(&event->before, exact, len);
		check_part(&event->after, exact, len);
		check_part(&event->source, exact, len);
		check_part(&event->message, exact, len);
		if (event->after.at != NULL && !write_after(event, out))
			resetStringInfo(out);
	}
	else if (result == RC_DEBEZIUM_WRONG && event->wrong == NULL)
		fail("no word of what is wrong", json, len);
	free(exact);
	return result;
}

/* Read a copy of a key; what it has found is within it. */
static RcDebeziumResult
read_key(const char *json, int len)
{
	char	   *exact = malloc(Max(len, 1));
	RcDebeziumPart schema;
	RcDebeziumPart key;
	RcDebeziumResult result;

	memcpy(exact, json, len);
	result = rc_debezium_key_read(exact, len, unknown, NULL, &schema, &key);
	if (result == RC_DEBEZIUM_CHANGE)
	{
		if (key.at == NULL || *key.at == '\0')
			fail("a key is nowhere", json, len);
		check_part(&schema, exact, len);
		check_part(&key, exact, len);
	}
	free(exact);
	return result;
}

static void
try_known(void)
{
	for (int i = 0; i < lengthof(known); i++)
	{
		const char *json = known[i].json;
		RcDebeziumEvent event;
		StringInfoData out;

		if (read_event(json, strlen(json), &event, &out) != known[i].result ||
			(known[i].op != '\0' && event.op != known[i].op) ||
			(known[i].after != NULL && strcmp(out.data, known[i].after) != 0))
			fail(out.data, json, strlen(json));
		fuzz_forget();
	}
	for (int i = 0; i < lengthof(known_keys); i++)
	{
		const char *json = known_keys[i].json;

		if (read_key(json, strlen(json)) != known_keys[i].result)
			fail("a key is misread", json, strlen(json));
		fuzz_forget();
	}
}

/* Change a message in some places, or put a piece of another one into it. */
static int
mutate(char *json, int len)
{
	static const char *const pieces[] = {
		"null", "{", "}", "[", "]", "\"", "\\", "\\u0000", "\\ud800", ",", ":", "-", "1e9", "99999999999999999999", "__op", "\"op\":\"d\",",
		"schema", "payload", "{}", "true", "\xc3\xa9", "before", "\"__debezium_unavailable_value\""
	};

	for (int n = 1 + below(4); n > 0; n--)
	{
		int			at = below(len + 1);
		const char *piece = pieces[below(lengthof(pieces))];
		int			size = strlen(piece);
		int			gone = 1 + below(8);

		switch (below(4))
		{
			case 0:
				if (len + size > MOST)
					break;
				memmove(json + at + size, json + at, len - at);
				memcpy(json + at, piece, size);
				len += size;
				break;
			case 1:
				gone = Min(len - at, gone);
				memmove(json + at, json + at + gone, len - at - gone);
				len -= gone;
				break;
			case 2:
				if (at < len)
					json[at] = ' ' + below(95);
				break;
			default:
				if (below(8) == 0)
					len = at;
				break;
		}
	}
	return len;
}

int
main(int argc, char **argv)
{
	long		count = argc > 1 ? atol(argv[1]) : 1000000;
	long		results[RC_DEBEZIUM_BROKEN + 1] = {0};

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	if (count < 1 || state == 0)
	{
		fprintf(stderr, "usage: events COUNT SEED\n");
		return 2;
	}
	try_known();
	for (long i = 0; i < count; i++)
	{
		char		json[MOST + 1];
		int			which = below(lengthof(known) + lengthof(known_keys));
		const char *from = which < lengthof(known) ? known[which].json :
			known_keys[which - lengthof(known)].json;
		RcDebeziumEvent event;
		StringInfoData out;
		int			len = strlen(from);

		memcpy(json, from, len);
		len = mutate(json, len);
		results[read_event(json, len, &event, &out)]++;
		resetStringInfo(&out);
		(void) read_key(json, len);
		(void) rc_debezium_header_key(json, len, &out);
		fuzz_forget();
	}
	printf("events: %zu known ones, %ld mutated ones, of which %ld were changes\n",
		   lengthof(known), count, results[RC_DEBEZIUM_CHANGE]);
	for (int i = 0; i < lengthof(results); i++)
	{
		if (results[i] < count / 1000)
		{
			fprintf(stderr, "events: the mutations are not worth anything\n");
			return 1;
		}
	}
	return 0;
}
