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

extern RcRowDecoder *rc_row_decoder_make(TupleDesc desc);
extern bool rc_row_decoder_current(RcRowDecoder *decoder);
extern void rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
						  MemoryContext results, Datum *values, bool *nulls);
extern bool rc_row_decode_fields(RcRowDecoder *decoder, const RcRecord *record,
								 MemoryContext results, Datum *values,
								 bool *nulls);

#endif							/* RC_ROW_DECODER_H */
