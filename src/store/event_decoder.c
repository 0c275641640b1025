/*-------------------------------------------------------------------------
 *
 * event_decoder.c
 *	  Decodes change events of Debezium to rows of "records": what happened to
 *	  which row of the source, and when.
 *
 * The envelope is read in one pass (debezium/debezium_event.c), then the rows
 * that it has (event_row.c).  No error may be caught here: apply.c isolates the
 * record.
 *
 *-------------------------------------------------------------------------
 */
#include "store/event_row.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "record_fields.h"

#define HEADER_OLD_KEY	"__debezium.oldkey"
#define HEADER_OP		"__op"

/* How a key with its schema begins, as Connect's JsonConverter writes it. */
#define SCHEMA_FIRST	"{\"schema\":"
#define PAYLOAD_FIRST	"{\"payload\":"

static void decode_key(RcEventDecoder *decoder, const RcRecord *record,
					   Datum *values, bool *nulls);
static bool decode_tombstone(RcEventDecoder *decoder, const RcRecord *record,
							 Datum *values, bool *nulls);
static char op_of_headers(const RcRecord *record);
static bool decode_value(RcEventDecoder *decoder, const RcRecord *record,
						 Datum *values, bool *nulls);
static void put_event(RcEventDecoder *decoder, const RcRecord *record,
					  const RcDebeziumEvent *event, Datum *values, bool *nulls);
static void put_place(const RcDebeziumEvent *event, Datum *values,
					  bool *nulls);
static void put_old_key(RcEventDecoder *decoder, const RcRecord *record,
						RcEventSchema *schema, RcEventShape shape,
						Datum *values, bool *nulls);
static void refuse_json(const char *part, const char *json, int len);
static void name_part(void *arg);

/*
 * Make a decoder of a stream's events, in the current context.  "row" is the
 * descriptor of a row type, to which it keeps no pointer; NULL: jsonb.
 */
RcEventDecoder *
rc_event_decoder_make(const RcStream *stream, TupleDesc row)
{
	RcEventDecoder *decoder = palloc0(sizeof(RcEventDecoder));

	decoder->key = rc_value_decoder_open(stream->key_type, "key", NULL);
	decoder->text_key = (stream->key_type == TEXTOID);
	decoder->schemas = rc_event_schemas_make();
	rc_event_rows_make(decoder, stream, row);
	return decoder;
}

/* Describe the columns of an event, of which the key is the first. */
void
rc_event_describe(const RcStream *stream, TupleDesc desc, int first)
{
	struct
	{
		const char *name;
		Oid			type;
	}			columns[RC_EVENT_COLUMNS] =

	{
		[RC_EVENT_KEY] = {"key", stream->key_type},
		[RC_EVENT_OP] = {"op", CHAROID},
		[RC_EVENT_BEFORE] = {"before", stream->value_type},
		[RC_EVENT_AFTER] = {"after", stream->value_type},
		[RC_EVENT_OLD_KEY] = {"old_key", stream->value_type},
		[RC_EVENT_TS] = {"ts", TIMESTAMPTZOID},
		[RC_EVENT_LSN] = {"lsn", PG_LSNOID},
		[RC_EVENT_XID] = {"xid", INT8OID},
		[RC_EVENT_UNAVAILABLE] = {"unavailable", TEXTARRAYOID},
		[RC_EVENT_MISSING] = {"missing", TEXTARRAYOID},
		[RC_EVENT_EXTRA] = {"extra", JSONBOID},
		[RC_EVENT_SOURCE] = {"source", JSONBOID}
	};

	for (int i = 0; i < RC_EVENT_COLUMNS; i++)
		TupleDescInitEntry(desc, first + i, columns[i].name, columns[i].type,
						   -1, 0);
}

/* False if a type that it has looked up was altered since. */
bool
rc_event_decoder_current(RcEventDecoder *decoder)
{
	return decoder->row == NULL || rc_row_decoder_current(decoder->row);
}

/*
 * Decode a record to values; those that are not wanted may be null.  What they
 * point to is in "results"; the current context is reset after the record.  False if
 * the record says nothing of a row: a heartbeat, the border of a transaction,
 * a change of the source's tables.
 */
bool
rc_event_decode(RcEventDecoder *decoder, const RcRecord *record, uint32 wanted,
				MemoryContext results, Datum *values, bool *nulls)
{
	ErrorContextCallback callback;
	bool		event;

	decoder->wanted = wanted;
	decoder->results = results;
	decoder->part = "key";
	callback.callback = name_part;
	callback.arg = decoder;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	memset(nulls, true, sizeof(bool) * RC_EVENT_COLUMNS);
	decode_key(decoder, record, values, nulls);
	decoder->part = "value";
	if (record->value_len < 0)
		event = decode_tombstone(decoder, record, values, nulls);
	else
		event = decode_value(decoder, record, values, nulls);
	error_context_stack = callback.previous;
	return event;
}

/*
 * Of a key that comes with its schema, the column has the key itself.  A text
 * that only begins as such a key stays as it is.
 */
static void
decode_key(RcEventDecoder *decoder, const RcRecord *record, Datum *values,
		   bool *nulls)
{
	RcDebeziumPart key = {record->key, record->key_len};
	RcDebeziumPart schema;
	RcDebeziumPart payload;

	if (record->key_len < 0)
		return;
	if (decoder->text_key && key.len > (int) strlen(PAYLOAD_FIRST) &&
		(memcmp(key.at, SCHEMA_FIRST, strlen(SCHEMA_FIRST)) == 0 ||
		 memcmp(key.at, PAYLOAD_FIRST, strlen(PAYLOAD_FIRST)) == 0))
	{
		RcDebeziumResult result = rc_debezium_key_read(key.at, key.len,
													   rc_event_schema_known,
													   decoder->schemas,
													   &schema, &payload);

		if (result == RC_DEBEZIUM_TOMBSTONE)
			return;
		if (result == RC_DEBEZIUM_CHANGE)
			key = payload;
	}
	decoder->key->results = decoder->results;
	decoder->key->format->decode(decoder->key, key.at, key.len,
								 &values[RC_EVENT_KEY], &nulls[RC_EVENT_KEY]);
	nulls[RC_EVENT_KEY] = false;
}

/*
 * A record without a value: the row with this key is gone.  Without a key,
 * too, it follows a delete in a table that has none, and says nothing.
 */
static bool
decode_tombstone(RcEventDecoder *decoder, const RcRecord *record,
				 Datum *values, bool *nulls)
{
	RcDebeziumPart schema = {0};
	RcDebeziumPart key;
	RcEventSchema *known = NULL;
	const char *json;
	int			len = record->key_len;

	if (record->key_len < 0)
		return false;
	decoder->part = "key";
	json = rc_value_utf8(decoder->part, record->key, &len, true);
	switch (rc_debezium_key_read(json, len,
								 rc_event_schema_known, decoder->schemas,
								 &schema, &key))
	{
		case RC_DEBEZIUM_CHANGE:
			break;
		case RC_DEBEZIUM_TOMBSTONE:
			return false;
		default:
			if (len > 0 && *json == '{')
				refuse_json("key", json, len);
			key.at = json;
			key.len = len;
			break;
	}
	if (key.len == 0 || *key.at != '{')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the record is a tombstone whose key is not a JSON object"),
				 errdetail("The key is %s.", rc_value_shown(key.at, key.len))));
	decoder->mysql = decoder->flat = false;
	decoder->op = '\0';
	if (schema.at != NULL)
		known = rc_event_schema_get(decoder->schemas, &schema);
	values[RC_EVENT_OP] = CharGetDatum('d');
	nulls[RC_EVENT_OP] = false;
	rc_event_put_row(decoder, known, RC_EVENT_FLAT, &key, RC_EVENT_BEFORE,
					 values, nulls);
	return true;
}

static bool
decode_value(RcEventDecoder *decoder, const RcRecord *record, Datum *values,
			 bool *nulls)
{
	RcDebeziumEvent event;
	int			len;
	const char *json = rc_record_json(record, &len);

	json = rc_value_utf8(decoder->part, json, &len, true);
	switch (rc_debezium_event_read(json, len, op_of_headers(record),
								   rc_event_schema_known, decoder->schemas, &event))
	{
		case RC_DEBEZIUM_CHANGE:
			put_event(decoder, record, &event, values, nulls);
			return true;
		case RC_DEBEZIUM_TOMBSTONE:
			return decode_tombstone(decoder, record, values, nulls);
		case RC_DEBEZIUM_SKIPPED:
			return false;
		case RC_DEBEZIUM_WRONG:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("the record's value is not a change event of Debezium"),
					 errdetail("%s", event.wrong),
					 errhint("Set the stream's envelope to none if its topics have no such events; rows of ExtractNewRecordState need add.fields = op.")));
			break;
		case RC_DEBEZIUM_BROKEN:
			refuse_json("value", json, len);
			break;
	}
	return false;
}

/* The operation of a flattened row, if only a header has it. */
static char
op_of_headers(const RcRecord *record)
{
	for (int i = 0; i < record->nheaders; i++)
	{
		const RcHeader *header = &record->headers[i];

		if (strcmp(header->name, HEADER_OP) == 0 && header->value_len > 0)
			return rc_debezium_op(header->value, header->value_len);
	}
	return '\0';
}

static void
put_event(RcEventDecoder *decoder, const RcRecord *record,
		  const RcDebeziumEvent *event, Datum *values, bool *nulls)
{
	RcEventShape shape = event->flat ? RC_EVENT_FLAT : RC_EVENT_ENVELOPE;
	RcEventSchema *schema = NULL;

	if (event->schema.at != NULL)
		schema = rc_event_schema_get(decoder->schemas, &event->schema);
	decoder->mysql = event->mysql;
	decoder->flat = event->flat;
	decoder->op = event->op;

	values[RC_EVENT_OP] = CharGetDatum(event->op);
	nulls[RC_EVENT_OP] = false;
	put_place(event, values, nulls);
	if (event->before.at != NULL)
		rc_event_put_row(decoder, schema, shape, &event->before,
						 RC_EVENT_BEFORE, values, nulls);
	if (event->after.at != NULL)
		rc_event_put_row(decoder, schema, shape, &event->after,
						 RC_EVENT_AFTER, values, nulls);
	if (event->message.at != NULL)
		rc_event_put_message(decoder, schema, &event->message, values, nulls);
	rc_event_put_source(decoder, event, values, nulls);
	if (event->op == 'c' && (decoder->wanted & RC_EVENT_BIT(RC_EVENT_OLD_KEY)))
		put_old_key(decoder, record, schema, shape, values, nulls);
}

/* When and where the source has made the change. */
static void
put_place(const RcDebeziumEvent *event, Datum *values, bool *nulls)
{
	const int64 epoch = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
		USECS_PER_DAY;

	if (event->has_ts && event->ts_us >= PG_INT64_MIN + epoch &&
		IS_VALID_TIMESTAMP(event->ts_us - epoch))
	{
		values[RC_EVENT_TS] = TimestampTzGetDatum(event->ts_us - epoch);
		nulls[RC_EVENT_TS] = false;
	}
	if (event->has_lsn)
	{
		values[RC_EVENT_LSN] = LSNGetDatum(event->lsn);
		nulls[RC_EVENT_LSN] = false;
	}
	if (event->has_xid)
	{
		values[RC_EVENT_XID] = Int64GetDatum(event->xid);
		nulls[RC_EVENT_XID] = false;
	}
}

/* After a change of the key, the row comes as a new one with its old key. */
static void
put_old_key(RcEventDecoder *decoder, const RcRecord *record,
			RcEventSchema *schema, RcEventShape shape, Datum *values,
			bool *nulls)
{
	for (int i = 0; i < record->nheaders; i++)
	{
		const RcHeader *header = &record->headers[i];
		StringInfoData json;
		RcDebeziumPart key;
		const char *text;
		int			len;

		if (strcmp(header->name, HEADER_OLD_KEY) != 0 || header->value_len <= 0)
			continue;
		len = header->value_len;
		text = rc_value_utf8("header " HEADER_OLD_KEY, header->value, &len,
							 false);
		initStringInfo(&json);
		if (!rc_debezium_header_key(text, len, &json))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("header \"%s\" of the record is not a key",
							HEADER_OLD_KEY),
					 errdetail("It is %s.", rc_value_shown(text, len))));
		key.at = json.data;
		key.len = json.len;
		rc_event_put_row(decoder, schema, shape, &key, RC_EVENT_OLD_KEY,
						 values, nulls);
	}
}

/*
 * Raise an error for what the scanner does not take: mostly it is not JSON,
 * which the server's parser says better.
 */
static void
refuse_json(const char *part, const char *json, int len)
{
	rc_value_check_json(json, len);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("%s of the record is nested too deeply for a change event",
					part)));
}

static void
name_part(void *arg)
{
	const RcEventDecoder *decoder = (RcEventDecoder *) arg;

	if (decoder->part != NULL)
		errcontext("%s of the record", decoder->part);
}
