/*-------------------------------------------------------------------------
 *
 * event_row.h
 *	  What event_decoder.c and event_row.c share.  No other file may include it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EVENT_ROW_H
#define RC_EVENT_ROW_H

#include "rappel_conso.h"

#include "utils/array.h"

#include "debezium/debezium_event.h"
#include "debezium/debezium_row.h"
#include "store/event_decoder.h"
#include "store/event_schema.h"
#include "store/row_decoder.h"

struct RcEventDecoder
{
	RcValueDecoder *key;
	bool		text_key;
	RcEventSchemas *schemas;

	/* of a row type; NULL: rows are jsonb */
	RcRowDecoder *row;
	TupleDesc	desc;
	Datum	   *row_values;
	bool	   *row_nulls;
	RcConversionRules rules;
	RcConversion *conversions[2];	/* without a schema, and of MySQL */
	RcConversion *header_conversions;	/* of a key in a header */

	RcValueDecoder *jsonb;
	MemoryContext context;

	/* while a record is decoded */
	uint32		wanted;			/* columns */
	MemoryContext results;
	const char *part;			/* of the record, for errors; NULL: they have
								 * a context of their own */
	bool		mysql;
	bool		flat;
	char		op;
	ArrayBuildState *names;		/* of unavailable fields */
};

extern void rc_event_rows_make(RcEventDecoder *decoder, const RcStream *stream,
							   TupleDesc row);
extern void rc_event_put_row(RcEventDecoder *decoder, RcEventSchema *schema,
							 RcEventShape shape, const RcDebeziumPart *part,
							 RcEventColumn column, Datum *values, bool *nulls);
extern void rc_event_put_message(RcEventDecoder *decoder,
								 RcEventSchema *schema,
								 const RcDebeziumPart *message, Datum *values,
								 bool *nulls);
extern void rc_event_put_source(RcEventDecoder *decoder,
								const RcDebeziumEvent *event, Datum *values,
								bool *nulls);

#endif							/* RC_EVENT_ROW_H */
