/*-------------------------------------------------------------------------
 *
 * event_row.c
 *	  Makes the rows of a change event: jsonb, or the row type of the stream, and
 *	  what is said about them.
 *
 * A row type's columns are decoded as typed records are (row_decoder.c); jsonb
 * is made of a text in which the schema is no longer needed
 * (debezium/debezium_row.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/event_row.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

/* Columns that say something of a row. */
#define ABOUT \
	(RC_EVENT_BIT(RC_EVENT_UNAVAILABLE) | RC_EVENT_BIT(RC_EVENT_MISSING) | \
	 RC_EVENT_BIT(RC_EVENT_EXTRA))

static bool is_wanted(const RcEventDecoder *decoder, RcEventColumn column);
static const RcConversion *choose_conversions(RcEventDecoder *decoder,
											  RcEventSchema *schema,
											  RcEventShape shape,
											  RcEventColumn column);
static RcConversion *make_conversions(RcEventDecoder *decoder,
									  RcEventSchema *schema,
									  RcEventShape shape);
static RcConversion *of_header(const RcConversion *conversions, int n);
static const RcConnectSchema *row_schema(const RcEventSchema *schema,
										 RcEventShape shape);
static void put_typed(RcEventDecoder *decoder, RcEventSchema *schema,
					  RcEventShape shape, const RcDebeziumPart *part,
					  RcEventColumn column, Datum *values, bool *nulls);
static void put_lists(RcEventDecoder *decoder, Datum *values, bool *nulls);
static void put_extra(RcEventDecoder *decoder, RcEventSchema *schema,
					  RcEventShape shape, const RcDebeziumPart *part,
					  Datum *values, bool *nulls);
static bool has_no_column(void *arg, const char *name, int len);
static void note_unavailable(void *arg, const char *name, int len);
static void add_name(RcEventDecoder *decoder, const char *name, int len);
static void put_names(RcEventDecoder *decoder, RcEventColumn column,
					  Datum *values, bool *nulls);
static void write_row(RcEventDecoder *decoder, RcDebeziumWriter *writer,
					  const RcDebeziumPart *part);
static void put_jsonb(RcEventDecoder *decoder, const char *json, int len,
					  RcEventColumn column, Datum *values, bool *nulls);

/* Make what rows are decoded with. */
void
rc_event_rows_make(RcEventDecoder *decoder, const RcStream *stream,
				   TupleDesc row)
{
	decoder->context = CurrentMemoryContext;
	decoder->jsonb = rc_value_decoder_open(JSONBOID, "value", NULL);
	if (row == NULL)
		return;
	decoder->row = rc_row_decoder_make(row);
	decoder->desc = CreateTupleDescCopy(row);
	decoder->row_values = palloc(sizeof(Datum) * (row->natts + 1));
	decoder->row_nulls = palloc(sizeof(bool) * (row->natts + 1));

	rc_conversion_rules(stream->envelope, stream->decimal,
						stream->numeric_time, &decoder->rules);
	for (int i = 0; i < lengthof(decoder->conversions); i++)
	{
		decoder->rules.mysql = (i == 1);
		decoder->conversions[i] = rc_conversions_make(decoder->row,
													  &decoder->rules, NULL);
	}
	decoder->header_conversions = of_header(decoder->conversions[0],
											row->natts);
}

/* Whether a row is wanted, or what is said of it. */
static bool
is_wanted(const RcEventDecoder *decoder, RcEventColumn column)
{
	uint32		wanted = RC_EVENT_BIT(column);

	if (column == RC_EVENT_AFTER ||
		(column == RC_EVENT_BEFORE && decoder->op == 'd'))
		wanted |= ABOUT;
	return (decoder->wanted & wanted) != 0;
}

/* Put a row of an event into a column. */
void
rc_event_put_row(RcEventDecoder *decoder, RcEventSchema *schema,
				 RcEventShape shape, const RcDebeziumPart *part,
				 RcEventColumn column, Datum *values, bool *nulls)
{
	StringInfoData json;
	RcDebeziumWriter writer = {.out = &json,.arg = decoder};

	if (!is_wanted(decoder, column))
		return;
	if (decoder->row != NULL)
	{
		put_typed(decoder, schema, shape, part, column, values, nulls);
		return;
	}
	/* values of headers are not written as the schema says */
	if (schema != NULL && column != RC_EVENT_OLD_KEY)
		writer.schema = row_schema(schema, shape);
	writer.flat = decoder->flat;
	if (column == RC_EVENT_AFTER)
		writer.unavailable = note_unavailable;
	decoder->names = NULL;
	initStringInfo(&json);
	write_row(decoder, &writer, part);
	put_jsonb(decoder, json.data, json.len, column, values, nulls);
	if (column == RC_EVENT_AFTER)
		put_names(decoder, RC_EVENT_UNAVAILABLE, values, nulls);
}

/* What pg_logical_emit_message() has sent: in place of a row, as jsonb. */
void
rc_event_put_message(RcEventDecoder *decoder, RcEventSchema *schema,
					 const RcDebeziumPart *message, Datum *values, bool *nulls)
{
	StringInfoData json;
	RcDebeziumWriter writer = {.out = &json};

	if (decoder->row != NULL || *message->at != '{')
		return;
	if (schema != NULL && !decoder->flat)
		writer.schema = rc_connect_field(&schema->schema, "message",
										 strlen("message"));
	writer.flat = decoder->flat;
	initStringInfo(&json);
	write_row(decoder, &writer, message);
	put_jsonb(decoder, json.data, json.len, RC_EVENT_AFTER, values, nulls);
}

/* Of a flattened row, these are the fields that the transform has added. */
void
rc_event_put_source(RcEventDecoder *decoder, const RcDebeziumEvent *event,
					Datum *values, bool *nulls)
{
	StringInfoData json;
	RcDebeziumWriter writer = {.out = &json,.added = true};

	if (event->source.at == NULL ||
		(decoder->wanted & RC_EVENT_BIT(RC_EVENT_SOURCE)) == 0)
		return;
	if (!event->flat)
	{
		put_jsonb(decoder, event->source.at, event->source.len,
				  RC_EVENT_SOURCE, values, nulls);
		return;
	}
	initStringInfo(&json);
	write_row(decoder, &writer, &event->source);
	if (writer.n > 0)
		put_jsonb(decoder, json.data, json.len, RC_EVENT_SOURCE, values, nulls);
}

/* ---- typed ---- */

static void
put_typed(RcEventDecoder *decoder, RcEventSchema *schema, RcEventShape shape,
		  const RcDebeziumPart *part, RcEventColumn column, Datum *values,
		  bool *nulls)
{
	int			len = part->len;
	const char *json = rc_value_to_server(part->at, &len);
	const char *named = decoder->part;
	HeapTuple	tuple;
	MemoryContext old;

	rc_row_decoder_convert(decoder->row,
						   choose_conversions(decoder, schema, shape, column),
						   column == RC_EVENT_AFTER ? RC_ROW_NEW : RC_ROW_OLD);
	decoder->part = NULL;
	rc_row_decode(decoder->row, json, len, CurrentMemoryContext,
				  decoder->row_values, decoder->row_nulls);
	decoder->part = named;

	old = MemoryContextSwitchTo(decoder->results);
	tuple = heap_form_tuple(decoder->desc, decoder->row_values,
							decoder->row_nulls);
	values[column] = HeapTupleHeaderGetDatum(tuple->t_data);
	nulls[column] = false;
	MemoryContextSwitchTo(old);

	if (column != RC_EVENT_AFTER &&
		(column != RC_EVENT_BEFORE || decoder->op != 'd'))
		return;
	put_lists(decoder, values, nulls);
	if ((decoder->wanted & RC_EVENT_BIT(RC_EVENT_EXTRA)) != 0 &&
		rc_row_has_unknown(decoder->row))
		put_extra(decoder, schema, shape, part, values, nulls);
}

static const RcConversion *
choose_conversions(RcEventDecoder *decoder, RcEventSchema *schema,
				   RcEventShape shape, RcEventColumn column)
{
	if (schema == NULL)
		return column == RC_EVENT_OLD_KEY ? decoder->header_conversions :
			decoder->conversions[decoder->mysql];
	if (schema->conversions[shape] == NULL)
		schema->conversions[shape] = make_conversions(decoder, schema, shape);
	if (column != RC_EVENT_OLD_KEY)
		return schema->conversions[shape];
	if (schema->header_conversions[shape] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(schema->context);

		schema->header_conversions[shape] =
			of_header(schema->conversions[shape], decoder->desc->natts);
		MemoryContextSwitchTo(old);
	}
	return schema->header_conversions[shape];
}

static RcConversion *
make_conversions(RcEventDecoder *decoder, RcEventSchema *schema,
				 RcEventShape shape)
{
	const RcConnectSchema *row = row_schema(schema, shape);
	MemoryContext old = MemoryContextSwitchTo(schema->context);
	RcConversion *conversions = rc_conversions_make(decoder->row,
													&decoder->rules, row);

	MemoryContextSwitchTo(old);
	return conversions;
}

/*
 * Connect writes keys into headers with a converter of its own: decimals are
 * their digits, its dates and times ISO 8601.
 */
static RcConversion *
of_header(const RcConversion *conversions, int n)
{
	RcConversion *made = palloc(sizeof(RcConversion) * (n + 1));

	memcpy(made, conversions, sizeof(RcConversion) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		made[i].schema = NULL;
		made[i].absent = false;
		if (made[i].type.kind == RC_DEBEZIUM_DECIMAL ||
			made[i].type.kind == RC_DEBEZIUM_DECIMAL_AUTO)
		{
			made[i].type.kind = RC_DEBEZIUM_DECIMAL_AUTO;
			made[i].type.scale = -1;
		}
	}
	return made;
}

static const RcConnectSchema *
row_schema(const RcEventSchema *schema, RcEventShape shape)
{
	const RcConnectSchema *row = rc_connect_row(&schema->schema,
												shape == RC_EVENT_FLAT);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the schema of the record cannot be used"),
				 errdetail("It has no struct for the fields before and after.")));
	return row;
}

/* ---- what is said of a row ---- */

/* The columns that a row does not have, or not the value of. */
static void
put_lists(RcEventDecoder *decoder, Datum *values, bool *nulls)
{
	bool		(*const of[]) (const RcRowDecoder *, int) =
	{
		rc_row_unavailable, rc_row_missing
	};

	for (int list = 0; list < lengthof(of); list++)
	{
		if ((decoder->wanted & RC_EVENT_BIT(RC_EVENT_UNAVAILABLE + list)) == 0)
			continue;
		decoder->names = NULL;
		for (int i = 0; i < decoder->desc->natts; i++)
		{
			const char *name = NameStr(TupleDescAttr(decoder->desc, i)->attname);

			if (of[list] (decoder->row, i))
				add_name(decoder, name, strlen(name));
		}
		put_names(decoder, RC_EVENT_UNAVAILABLE + list, values, nulls);
	}
}

/* The fields that have no column. */
static void
put_extra(RcEventDecoder *decoder, RcEventSchema *schema, RcEventShape shape,
		  const RcDebeziumPart *part, Datum *values, bool *nulls)
{
	StringInfoData json;
	RcDebeziumWriter writer = {.out = &json,.wants = has_no_column,.arg = decoder};

	if (schema != NULL)
		writer.schema = row_schema(schema, shape);
	writer.flat = decoder->flat;
	initStringInfo(&json);
	write_row(decoder, &writer, part);
	if (writer.n > 0)
		put_jsonb(decoder, json.data, json.len, RC_EVENT_EXTRA, values, nulls);
}

static bool
has_no_column(void *arg, const char *name, int len)
{
	RcEventDecoder *decoder = (RcEventDecoder *) arg;
	const char *text = rc_value_to_server(name, &len);

	return !rc_row_has_column(decoder->row, text, len);
}

static void
note_unavailable(void *arg, const char *name, int len)
{
	const char *text = rc_value_to_server(name, &len);

	add_name((RcEventDecoder *) arg, text, len);
}

static void
add_name(RcEventDecoder *decoder, const char *name, int len)
{
	Datum		text = PointerGetDatum(cstring_to_text_with_len(name, len));

	decoder->names = accumArrayResult(decoder->names, text, false, TEXTOID,
									  CurrentMemoryContext);
}

static void
put_names(RcEventDecoder *decoder, RcEventColumn column, Datum *values,
		  bool *nulls)
{
	if (decoder->names == NULL)
		return;
	values[column] = makeArrayResult(decoder->names, decoder->results);
	nulls[column] = false;
	decoder->names = NULL;
}

/* ---- JSON ---- */

static void
write_row(RcEventDecoder *decoder, RcDebeziumWriter *writer,
		  const RcDebeziumPart *part)
{
	const char *wrong = rc_debezium_write_row(writer, part);

	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("cannot convert field \"%s\" of the record",
						rc_value_shown(writer->field, writer->field_len)),
				 errdetail("It %s.", wrong)));
}

static void
put_jsonb(RcEventDecoder *decoder, const char *json, int len,
		  RcEventColumn column, Datum *values, bool *nulls)
{
	decoder->jsonb->results = decoder->results;
	decoder->jsonb->format->decode(decoder->jsonb, json, len, &values[column],
								   &nulls[column]);
	nulls[column] = false;
}
