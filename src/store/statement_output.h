/*-------------------------------------------------------------------------
 *
 * statement_output.h
 *	  What a stream's statement returns, as messages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_OUTPUT_H
#define RC_STATEMENT_OUTPUT_H

#include "store/stream_table.h"

#include "access/tupdesc.h"

/* Rows that a statement has returned, copied out of SPI. */
typedef struct RcOutput
{
	int			n;
	Datum	   *keys;			/* bytea */
	bool	   *key_nulls;
	Datum	   *values;			/* bytea */
	bool	   *value_nulls;
	Datum	   *headers;		/* jsonb */
	bool	   *header_nulls;
} RcOutput;

extern void rc_output_check(TupleDesc desc, const char *stream);
extern RcOutput *rc_output_collect(const char *stream);
extern void rc_outbox_insert(const RcStream *stream, const RcOutput *output);
extern bool rc_topic_allowed(Oid role, const char *topic, bool write);

#endif							/* RC_STATEMENT_OUTPUT_H */
