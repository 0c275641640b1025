/*-------------------------------------------------------------------------
 *
 * row_decoder.h
 *	  A JSON object to the columns of a row type.
 *
 * It must come to what json_populate_record() comes to, or to an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ROW_DECODER_H
#define RC_ROW_DECODER_H

#include "rappel_conso.h"

#include "access/tupdesc.h"

typedef struct RcRowDecoder RcRowDecoder;

extern RcRowDecoder *rc_row_decoder_make(TupleDesc desc);
extern bool rc_row_decoder_current(const RcRowDecoder *decoder);
extern void rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
						  Datum *values, bool *nulls);

#endif							/* RC_ROW_DECODER_H */
