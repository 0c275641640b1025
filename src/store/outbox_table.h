/*-------------------------------------------------------------------------
 *
 * outbox_table.h
 *	  Inserts messages into the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_TABLE_H
#define RC_OUTBOX_TABLE_H

#include "store/statement_output.h"

extern Datum rc_outbox_add(const char *topic, NullableDatum key,
						   NullableDatum value, NullableDatum headers);
extern void rc_outbox_insert(const RcStream *stream, const RcOutput *output);

#endif							/* RC_OUTBOX_TABLE_H */
