/*-------------------------------------------------------------------------
 *
 * records_relation.c
 *	  Decodes records to the rows that a stream's statement sees as the
 *	  relation "records".
 *
 * Keys and values are decoded by their format (value_format.c).  No error may
 * be caught here: apply.c isolates the record.
 *
 *-------------------------------------------------------------------------
 */
#include "store/records_relation.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "record_fields.h"
#include "store/event_decoder.h"
#include "store/headers_json.h"
#include "store/stream_table.h"
#include "store/value_format.h"

/* Number of columns of "records" before and after those of the value. */
#define COLUMNS_BEFORE	5
#define COLUMNS_AFTER	1

struct RcDecoder
{
	TupleDesc	desc;			/* of "records" */
	Oid			value_type;
	uint64		row_identifier; /* of a row type's descriptor; else 0 */
	RcEventDecoder *events;		/* of change events; else NULL */
	uint32		wanted;			/* columns of events that plans have read, as
								 * RC_EVENT_BIT(); 0: none has run */
	uint32		made;			/* those that rows have */
	RcValueDecoder *key;
	RcValueDecoder *value;
	int			value_columns;	/* those between the key and headers */
	MemoryContext record_context;	/* reset for each record */

	/* the rows that are being added, and Datums that most of them share */
	RcRows	   *rows;
	const char *topic;			/* NULL: none */
	Datum		topic_datum;
	StringInfoData headers_seen;	/* empty: none */
	Datum		headers_datum;
};

static void open_values(RcDecoder *decoder, const RcStream *stream,
						TupleDesc desc, TupleDesc row);
static void open_events(RcDecoder *decoder, const RcStream *stream,
						TupleDesc desc, TupleDesc row);
static void check_usage(Oid type);
static TupleDesc row_desc(RcDecoder *decoder);
static void copy_value_columns(TupleDesc to, TupleDesc from);
static Datum topic_datum(RcDecoder *decoder, const char *topic);
static void put_key_and_value(RcDecoder *decoder, const RcRecord *record,
							  Datum *values, bool *nulls);
static inline void decode_value(RcValueDecoder *part, const RcRecord *record,
								Datum *values, bool *nulls);
static inline void decode(RcValueDecoder *part, const char *bytes, int len,
						  Datum *values, bool *nulls);
static void name_part(void *arg);
static void put_headers(RcDecoder *decoder, const RcRecord *record,
						Datum *value, bool *isnull);

/*
 * Make a decoder for a stream's records, in the current context, which must
 * outlive it.  Errors: ERRCODE_DUPLICATE_COLUMN if the row type has a column
 * named as one of "records"; ERRCODE_INSUFFICIENT_PRIVILEGE if the current
 * role, the stream's owner, may not use the type or a type of its columns;
 * ERRCODE_UNDEFINED_OBJECT if the type was dropped.
 */
RcDecoder *
rc_decoder_make(const RcStream *stream)
{
	RcDecoder  *decoder = palloc0(sizeof(RcDecoder));
	TupleDesc	row = NULL;
	TupleDesc	desc;
	bool		events;
	int			n;

	decoder->value_type = stream->value_type;
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(stream->value_type)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("value type of stream \"%s\" no longer exists",
						stream->name),
				 errhint("Set the stream's column value_type to an existing type.")));
	check_usage(stream->value_type);
	if (get_typtype(stream->value_type) == TYPTYPE_COMPOSITE)
		row = row_desc(decoder);
	events = strcmp(stream->envelope, "debezium") == 0;
	decoder->value_columns = events ? RC_EVENT_COLUMNS - 1 :
		row ? row->natts : 1;

	n = COLUMNS_BEFORE + decoder->value_columns + COLUMNS_AFTER;
	desc = CreateTemplateTupleDesc(n);
	TupleDescInitEntry(desc, 1, "topic", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "partition", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 3, "record_offset", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 4, "record_timestamp", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, 5, "key", stream->key_type, -1, 0);
	TupleDescInitEntry(desc, n, "headers", JSONBOID, -1, 0);
	if (events)
		open_events(decoder, stream, desc, row);
	else
		open_values(decoder, stream, desc, row);

	decoder->desc = desc;
	decoder->record_context =
		AllocSetContextCreate(CurrentMemoryContext, "rappel_conso record",
							  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&decoder->headers_seen);
	decoder->made = RC_EVENT_ALL;
	return decoder;
}

/* Records whose values are one column, or the columns of a row type. */
static void
open_values(RcDecoder *decoder, const RcStream *stream, TupleDesc desc,
			TupleDesc row)
{
	RcConversionRules rules;

	if (row)
		copy_value_columns(desc, row);
	else
		TupleDescInitEntry(desc, COLUMNS_BEFORE + 1, "value",
						   stream->value_type, -1, 0);
	decoder->key = rc_value_decoder_open(stream->key_type, "key", NULL);
	decoder->value = rc_value_decoder_open(stream->value_type, "value", row);
	rc_conversion_rules(stream->envelope, stream->decimal,
						stream->numeric_time, &rules);
	rc_value_decoder_convert(decoder->value, &rules);
}

/* Records that are change events. */
static void
open_events(RcDecoder *decoder, const RcStream *stream, TupleDesc desc,
			TupleDesc row)
{
	if (row == NULL && stream->value_type != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("value_type of stream \"%s\" cannot be %s with envelope \"debezium\"",
						stream->name, format_type_be(stream->value_type)),
				 errhint("Use jsonb, or a table or composite type.")));
	for (int i = 0; row != NULL && i < row->natts; i++)
	{
		if (!TupleDescAttr(row, i)->attisdropped)
			check_usage(TupleDescAttr(row, i)->atttypid);
	}
	rc_event_describe(stream, desc, COLUMNS_BEFORE);
	decoder->events = rc_event_decoder_make(stream, row);
}

/*
 * The same rule as for CREATE TABLE OF (DefineRelation(),
 * BuildDescForRelation()).
 */
static void
check_usage(Oid type)
{
	AclResult	result = rc_type_aclcheck(type, GetUserId());

	if (result != ACLCHECK_OK)
		aclcheck_error_type(result, type);
}

/* A copy of the row type's descriptor. */
static TupleDesc
row_desc(RcDecoder *decoder)
{
	TypeCacheEntry *entry = lookup_type_cache(decoder->value_type,
											  TYPECACHE_TUPDESC);

	if (entry->tupDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type %s is not composite",
						format_type_be(decoder->value_type))));
	decoder->row_identifier = entry->tupDesc_identifier;
	return CreateTupleDescCopy(entry->tupDesc);
}

static void
copy_value_columns(TupleDesc to, TupleDesc from)
{
	static const char *const taken[] = {"topic", "partition", "record_offset",
	"record_timestamp", "key", "value", "headers"};

	for (int i = 0; i < from->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(from, i);
		AttrNumber	at = COLUMNS_BEFORE + i + 1;

		if (attribute->attisdropped)
		{
			/* keep its number; no SQL can refer to this name */
			TupleDescInitEntry(to, at, psprintf("\"dropped %d\"", i + 1),
							   INT4OID, -1, 0);
			continue;
		}
		check_usage(attribute->atttypid);
		for (int k = 0; k < lengthof(taken); k++)
		{
			if (strcmp(NameStr(attribute->attname), taken[k]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column name \"%s\" of the value type conflicts with a column of relation \"records\"",
								taken[k]),
						 errhint("Use a composite type with another column name.")));
		}
		TupleDescInitEntry(to, at, NameStr(attribute->attname),
						   attribute->atttypid, attribute->atttypmod, 0);
		TupleDescInitEntryCollation(to, at, attribute->attcollation);
	}
}

/* The descriptor of "records"; same lifetime as the decoder. */
TupleDesc
rc_decoder_desc(RcDecoder *decoder)
{
	return decoder->desc;
}

/* False if the row type has been altered since: make another decoder. */
bool
rc_decoder_current(RcDecoder *decoder)
{
	RcValueDecoder *value = decoder->value;

	if (decoder->row_identifier != 0 &&
		(!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(decoder->value_type)) ||
		 lookup_type_cache(decoder->value_type,
						   TYPECACHE_TUPDESC)->tupDesc_identifier !=
		 decoder->row_identifier))
		return false;
	if (decoder->events != NULL)
		return rc_event_decoder_current(decoder->events);
	return value->format->current == NULL || value->format->current(value);
}

/*
 * A plan reads these columns of the rows, which are as pull_varattnos() has
 * them.  Of events, most columns are rarely read and take long to make: from
 * the next batch on, only those are made that a plan has read.
 *
 * A statement whose tables have changed may mean other columns by the same
 * names, of which this batch has none.
 */
void
rc_decoder_reads(RcDecoder *decoder, const Bitmapset *columns)
{
	int			headers = COLUMNS_BEFORE + decoder->value_columns;
	uint32		wanted = 0;
	int			at = -1;

	if (decoder->events == NULL)
		return;
	while ((at = bms_next_member(columns, at)) >= 0)
	{
		int			attno = at + FirstLowInvalidHeapAttributeNumber;

		if (attno <= 0)
			wanted = RC_EVENT_ALL;	/* the whole row */
		else if (attno - 1 == headers)
			wanted |= RC_EVENT_BIT(RC_EVENT_COLUMNS);
		else if (attno >= COLUMNS_BEFORE)
			wanted |= RC_EVENT_BIT(attno - COLUMNS_BEFORE);
	}
	if ((wanted & ~decoder->made) == 0)
	{
		decoder->wanted |= wanted;
		return;
	}
	decoder->wanted = decoder->made = RC_EVENT_ALL;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the statement reads other columns of its records than before"),
			 errhint("The stream's worker repeats it.")));
}

/* From here on records become rows of this list. */
void
rc_decoder_begin(RcDecoder *decoder, RcRows *rows)
{
	decoder->rows = rows;
	if (decoder->wanted != 0)
		decoder->made = decoder->wanted;
	if (decoder->events == NULL)
		decoder->key->results = decoder->value->results = rows->context;

	/* what they point to may be freed */
	decoder->topic = NULL;
	resetStringInfo(&decoder->headers_seen);
}

/*
 * Decode one record and add it to the rows, unless it is one of Debezium's
 * that says nothing of a row.  Errors of class 22 for bytes that
 * are not valid text or JSON, or do not fit the type.
 */
void
rc_decoder_put(RcDecoder *decoder, const RcRecord *record)
{
	Datum	   *values;
	bool	   *nulls;
	int			headers = COLUMNS_BEFORE + decoder->value_columns;
	bool		taken = true;
	MemoryContext old;

	rc_rows_next(decoder->rows, &values, &nulls);
	MemoryContextReset(decoder->record_context);
	old = MemoryContextSwitchTo(decoder->record_context);

	values[0] = topic_datum(decoder, record->topic);
	values[1] = Int32GetDatum(record->partition);
	values[2] = Int64GetDatum(record->offset);
	values[3] = TimestampTzGetDatum(rc_from_kafka_time(record->timestamp_ms));
	nulls[3] = (record->timestamp_ms < 0);
	if (decoder->events != NULL)
		taken = rc_event_decode(decoder->events, record, decoder->made,
								decoder->rows->context, values + COLUMNS_BEFORE - 1,
								nulls + COLUMNS_BEFORE - 1);
	else
		put_key_and_value(decoder, record, values + COLUMNS_BEFORE,
						  nulls + COLUMNS_BEFORE);
	if (taken && (decoder->made & RC_EVENT_BIT(RC_EVENT_COLUMNS)) == 0 &&
		!record->headers_lost)
		nulls[headers] = true;
	else if (taken)
		put_headers(decoder, record, &values[headers], &nulls[headers]);

	MemoryContextSwitchTo(old);
	if (taken)
		decoder->rows->n++;

	/* It may be several times as large as a large value: free it now. */
	MemoryContextReset(decoder->record_context);
}

/* Usually the topic is that of the previous record. */
static Datum
topic_datum(RcDecoder *decoder, const char *topic)
{
	MemoryContext old;

	if (decoder->topic != NULL &&
		(decoder->topic == topic || strcmp(decoder->topic, topic) == 0))
		return decoder->topic_datum;
	old = MemoryContextSwitchTo(decoder->rows->context);
	decoder->topic_datum = CStringGetTextDatum(topic);
	decoder->topic = topic;
	MemoryContextSwitchTo(old);
	return decoder->topic_datum;
}

static void
put_key_and_value(RcDecoder *decoder, const RcRecord *record, Datum *values,
				  bool *nulls)
{
	RcValueDecoder *part = decoder->key;
	ErrorContextCallback callback;

	callback.callback = name_part;
	callback.arg = &part;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	nulls[-1] = (record->key_len < 0);
	if (record->key_len >= 0)
		decode(part, record->key, record->key_len, values - 1, nulls - 1);
	part = decoder->value;
	if (record->value_len < 0)
		memset(nulls, true, sizeof(bool) * decoder->value_columns);
	else
		decode_value(part, record, values, nulls);
	error_context_stack = callback.previous;
}

static inline void
decode_value(RcValueDecoder *part, const RcRecord *record, Datum *values,
			 bool *nulls)
{
	const char *bytes;
	int			len;

	if (record->field_name != NULL && part->format->decode_fields != NULL &&
		part->format->decode_fields(part, record, values, nulls))
		return;
	bytes = rc_record_json(record, &len);
	decode(part, bytes, len, values, nulls);
}

static inline void
decode(RcValueDecoder *part, const char *bytes, int len, Datum *values,
	   bool *nulls)
{
	part->has_context = false;
	part->format->decode(part, bytes, len, values, nulls);
}

static void
name_part(void *arg)
{
	const RcValueDecoder *part = *(RcValueDecoder **) arg;

	if (!part->has_context)
		errcontext("%s of the record", part->part);
}

/*
 * Records of a run have the same headers, so the last ones are kept: comparing
 * their bytes is far cheaper than building jsonb.
 */
static void
put_headers(RcDecoder *decoder, const RcRecord *record, Datum *value,
			bool *isnull)
{
	StringInfoData seen;

	if (record->headers_lost)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("headers of the record cannot be read"),
				 errdetail("Kafka's client takes no more than 100000 headers of a record, and none that are damaged.  rc_retry() applies the record without them.")));
	*isnull = (record->nheaders == 0);
	if (*isnull)
		return;

	initStringInfo(&seen);
	for (int i = 0; i < record->nheaders; i++)
	{
		const RcHeader *header = &record->headers[i];

		appendBinaryStringInfo(&seen, header->name, strlen(header->name) + 1);
		appendBinaryStringInfo(&seen, (const char *) &header->value_len,
							   sizeof(int));
		if (header->value_len > 0)
			appendBinaryStringInfo(&seen, header->value, header->value_len);
	}
	if (seen.len != decoder->headers_seen.len ||
		memcmp(seen.data, decoder->headers_seen.data, seen.len) != 0)
	{
		Datum		jsonb = rc_headers_jsonb(record);

		resetStringInfo(&decoder->headers_seen);
		MemoryContextSwitchTo(decoder->rows->context);
		decoder->headers_datum = datumCopy(jsonb, false, -1);
		MemoryContextSwitchTo(decoder->record_context);
		appendBinaryStringInfo(&decoder->headers_seen, seen.data, seen.len);
	}
	*value = decoder->headers_datum;
}

/*
 * Register a filled tuplestore as a relation of the current SPI connection.
 * "tuples" is the planner's estimate of its rows.  "name" must outlive the
 * connection.
 */
EphemeralNamedRelation
rc_relation_register(char *name, Tuplestorestate *store, TupleDesc desc,
					 double tuples)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = name;
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = tuples;
	relation->reldata = store;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"%s\"", name);
	return relation;
}
