/*-------------------------------------------------------------------------
 *
 * event_decoder.h
 *	  Change events of Debezium as rows of "records".
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EVENT_DECODER_H
#define RC_EVENT_DECODER_H

#include "record.h"
#include "store/stream_table.h"
#include "store/value_format.h"

#include "access/tupdesc.h"

/* Columns of an event in "records", in their order. */
typedef enum RcEventColumn
{
	RC_EVENT_KEY,
	RC_EVENT_OP,
	RC_EVENT_BEFORE,
	RC_EVENT_AFTER,
	RC_EVENT_OLD_KEY,
	RC_EVENT_TS,
	RC_EVENT_LSN,
	RC_EVENT_XID,
	RC_EVENT_UNAVAILABLE,
	RC_EVENT_MISSING,
	RC_EVENT_EXTRA,
	RC_EVENT_SOURCE,
	RC_EVENT_COLUMNS
} RcEventColumn;

/* Columns that are wanted; headers are behind the others. */
#define RC_EVENT_BIT(column)	(UINT32_C(1) << (column))
#define RC_EVENT_ALL			(RC_EVENT_BIT(RC_EVENT_COLUMNS + 1) - 1)

typedef struct RcEventDecoder RcEventDecoder;

extern RcEventDecoder *rc_event_decoder_make(const RcStream *stream,
											 TupleDesc row);
extern void rc_event_describe(const RcStream *stream, TupleDesc desc, int first);
extern bool rc_event_decoder_current(RcEventDecoder *decoder);
extern bool rc_event_decode(RcEventDecoder *decoder, const RcRecord *record,
							uint32 wanted, MemoryContext results, Datum *values, bool *nulls);

#endif							/* RC_EVENT_DECODER_H */
