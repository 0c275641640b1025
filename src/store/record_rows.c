/*-------------------------------------------------------------------------
 *
 * record_rows.c
 *	  Rows of "records" in memory: what records are decoded to, and what the
 *	  scans of a statement read (record_scan.c).
 *
 * A batch has up to 8 MB of messages, but what they are decoded to may be six
 * times as large: jsonb of [1,1,1,..].  The memory is bounded, to within one
 * record, by asking rc_rows_full() before each; nothing goes to disk.
 *
 *-------------------------------------------------------------------------
 */
#include "store/record_rows.h"

#include "utils/memutils.h"

/* What rows of more than one record may take. */
#define MAX_BYTES	(24 * 1024 * 1024)

/* Blocks of the size that malloc() takes from its heap: see worker.c. */
#define FIRST_BLOCK	(8 * 1024)
#define MAX_BLOCK	(512 * 1024)

#define FIRST_CHUNKS	8

static void add_chunk(RcRows *rows);

/*
 * Make an empty list of rows, in a context of its own below the current one.
 * It refers to the descriptor.
 */
RcRows *
rc_rows_make(TupleDesc desc)
{
	MemoryContext context = GenerationContextCreate(CurrentMemoryContext,
													"rappel_conso rows",
													0, FIRST_BLOCK, MAX_BLOCK);
	RcRows	   *rows = MemoryContextAllocZero(context, sizeof(RcRows));

	rows->desc = desc;
	rows->context = context;
	rows->room = FIRST_CHUNKS;
	rows->values = MemoryContextAlloc(context, rows->room * sizeof(Datum *));
	rows->nulls = MemoryContextAlloc(context, rows->room * sizeof(bool *));
	return rows;
}

/* Whether the rows should be used before another one is added. */
bool
rc_rows_full(const RcRows *rows)
{
	return rows->n > 0 &&
		MemoryContextMemAllocated(rows->context, false) >= MAX_BYTES;
}

/*
 * The place of the next row, of which no column is null.  It becomes a row
 * when the caller adds 1 to rows->n.
 */
void
rc_rows_next(RcRows *rows, Datum **values, bool **nulls)
{
	if (rows->n == rows->nchunks * RC_ROWS_CHUNK)
		add_chunk(rows);
	*values = rc_rows_values(rows, rows->n);
	*nulls = rc_rows_nulls(rows, rows->n);
	memset(*nulls, false, rows->desc->natts * sizeof(bool));
}

static void
add_chunk(RcRows *rows)
{
	MemoryContext old = MemoryContextSwitchTo(rows->context);
	int			size = RC_ROWS_CHUNK * rows->desc->natts;

	if (rows->nchunks == rows->room)
	{
		rows->room *= 2;
		rows->values = repalloc(rows->values, rows->room * sizeof(Datum *));
		rows->nulls = repalloc(rows->nulls, rows->room * sizeof(bool *));
	}
	rows->values[rows->nchunks] = palloc(size * sizeof(Datum));
	rows->nulls[rows->nchunks] = palloc(size * sizeof(bool));
	rows->nchunks++;
	MemoryContextSwitchTo(old);
}

/* Add all rows to a tuplestore. */
void
rc_rows_store(const RcRows *rows, Tuplestorestate *store)
{
	for (int i = 0; i < rows->n; i++)
		tuplestore_putvalues(store, rows->desc, rc_rows_values(rows, i),
							 rc_rows_nulls(rows, i));
}
