/*-------------------------------------------------------------------------
 *
 * row_decoder.h
 *	  Decodes a JSON object into the columns of a row type.
 *
 * The result must be that of json_populate_record(), or an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ROW_DECODER_H
#define RC_ROW_DECODER_H

#include "rappel_conso.h"
#include "record.h"

#include "access/tupdesc.h"

typedef struct RcRowDecoder RcRowDecoder;
struct RcConversion;

/* What a record is. */
typedef enum RcRowPart
{
	RC_ROW_WHOLE,
	RC_ROW_NEW,					/* of a change event: values may be
								 * unavailable, fields may be missing */
	RC_ROW_OLD					/* and not key columns may be null, too */
} RcRowPart;

extern RcRowDecoder *rc_row_decoder_make(TupleDesc desc);
extern bool rc_row_decoder_current(RcRowDecoder *decoder);
extern void rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
						  MemoryContext results, Datum *values, bool *nulls);
extern bool rc_row_decode_fields(RcRowDecoder *decoder, const RcRecord *record,
								 MemoryContext results, Datum *values,
								 bool *nulls);
extern void rc_row_decoder_convert(RcRowDecoder *decoder,
								   const struct RcConversion *conversions,
								   RcRowPart part);
extern bool rc_row_missing(const RcRowDecoder *decoder, int column);
extern bool rc_row_unavailable(const RcRowDecoder *decoder, int column);
extern bool rc_row_has_unknown(const RcRowDecoder *decoder);
extern bool rc_row_has_column(RcRowDecoder *decoder, const char *name,
							  int len);

#endif							/* RC_ROW_DECODER_H */
