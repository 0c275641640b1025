/*-------------------------------------------------------------------------
 *
 * records_relation.h
 *	  Records as a relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECORDS_RELATION_H
#define RC_RECORDS_RELATION_H

#include "record.h"
#include "store/record_rows.h"
#include "store/stream_table.h"

#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

typedef struct RcDecoder RcDecoder;

extern RcDecoder *rc_decoder_make(const RcStream *stream);
extern TupleDesc rc_decoder_desc(RcDecoder *decoder);
extern bool rc_decoder_current(RcDecoder *decoder);
extern void rc_decoder_reads(RcDecoder *decoder, const Bitmapset *columns);
extern void rc_decoder_begin(RcDecoder *decoder, RcRows *rows);
extern void rc_decoder_put(RcDecoder *decoder, const RcRecord *record);
extern EphemeralNamedRelation rc_relation_register(char *name,
												   Tuplestorestate *store,
												   TupleDesc desc,
												   double tuples);

#endif							/* RC_RECORDS_RELATION_H */
