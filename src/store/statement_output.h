/*-------------------------------------------------------------------------
 *
 * statement_output.h
 *	  Rows that a stream's statement returns, as messages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_OUTPUT_H
#define RC_STATEMENT_OUTPUT_H

#include "store/stream_table.h"

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "fmgr.h"

#define RC_OUTPUT_KEY		0	/* bytea */
#define RC_OUTPUT_VALUE		1	/* bytea */
#define RC_OUTPUT_HEADERS	2	/* jsonb */
#define RC_OUTPUT_COLUMNS	3

/* Rows of a statement, copied out of the executor. */
typedef struct RcOutput
{
	int			n;
	int			room;
	int			columns[RC_OUTPUT_COLUMNS]; /* index in the result; -1: none */
	FmgrInfo	functions[RC_OUTPUT_COLUMNS];	/* output functions of their
												 * types */
	bool		bytes[RC_OUTPUT_COLUMNS];	/* their values are the bytes */
	Datum	   *values[RC_OUTPUT_COLUMNS];
	bool	   *nulls[RC_OUTPUT_COLUMNS];
} RcOutput;

extern void rc_output_check(TupleDesc desc, const char *stream);
extern RcOutput *rc_output_begin(TupleDesc desc, const char *stream);
extern void rc_output_add(RcOutput *output, TupleTableSlot *slot);

#endif							/* RC_STATEMENT_OUTPUT_H */
