/*-------------------------------------------------------------------------
 *
 * kept_insert_internal.h
 *	  What is kept for inserting into the outbox, shared by the files
 *	  kept_insert*.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KEPT_INSERT_INTERNAL_H
#define RC_KEPT_INSERT_INTERNAL_H

#include "store/kept_insert.h"

#include "executor/executor.h"
#include "utils/rel.h"

#include "store/outbox_relation.h"

/* Rows that are inserted together, and about how many bytes. */
#define RC_KEPT_SLOTS		256
#define RC_KEPT_BYTES		65536

typedef struct RcKeptInsert
{
	MemoryContext context;		/* of all of this */
	Oid			schema;
	uint64		made_at;		/* changes that had been seen then */
	bool		compiled;		/* a row has been checked */
	AttrNumber	columns[RC_OUTBOX_COLUMNS];
	ExprState **defaults;		/* of each column; NULL: none */
	bool		random_id;		/* message_id defaults to gen_random_uuid() */
	EState	   *estate;
	ResultRelInfo *result;
	TupleDesc	desc;
	TupleTableSlot *slots[RC_KEPT_SLOTS];	/* NULL: not used yet */
	int			nslots;			/* rows in them */
	Size		bytes;			/* of these */
} RcKeptInsert;

/* ---- kept_insert_prepare.c ---- */

extern RcKeptInsert *rc_kept_insert_open(Oid schema);
extern void rc_kept_insert_close(RcKeptInsert *kept);
extern void rc_kept_insert_failed(void);
extern void rc_kept_insert_switch_up(Oid *user, int *sec_context);

/* ---- kept_insert_check.c ---- */

extern bool rc_outbox_is_plain(Relation table, AttrNumber *columns);

#endif							/* RC_KEPT_INSERT_INTERNAL_H */
