/*-------------------------------------------------------------------------
 *
 * record_rows.h
 *	  Rows of "records" in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECORD_ROWS_H
#define RC_RECORD_ROWS_H

#include "rappel_conso.h"

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

/* Rows that are in memory together; a power of two. */
#define RC_ROWS_CHUNK	256

typedef struct RcRows
{
	TupleDesc	desc;
	MemoryContext context;		/* of all that the rows point to */
	int			n;

	/* RC_ROWS_CHUNK rows each */
	int			nchunks;
	int			room;			/* length of the arrays */
	Datum	  **values;
	bool	  **nulls;
} RcRows;

extern RcRows *rc_rows_make(TupleDesc desc);
extern bool rc_rows_full(const RcRows *rows);
extern void rc_rows_next(RcRows *rows, Datum **values, bool **nulls);
extern void rc_rows_store(const RcRows *rows, Tuplestorestate *store);

/* The values of one row, by number. */
static inline Datum *
rc_rows_values(const RcRows *rows, int at)
{
	return rows->values[at / RC_ROWS_CHUNK] +
		(at % RC_ROWS_CHUNK) * rows->desc->natts;
}

static inline bool *
rc_rows_nulls(const RcRows *rows, int at)
{
	return rows->nulls[at / RC_ROWS_CHUNK] +
		(at % RC_ROWS_CHUNK) * rows->desc->natts;
}

#endif							/* RC_RECORD_ROWS_H */
