/*-------------------------------------------------------------------------
 *
 * change_fold.h
 *	  What the changes of a batch make of the rows of a table: shared by
 *	  change_fold.c, which goes through the changes, and change_key.c, which
 *	  has the rows by their keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_CHANGE_FOLD_H
#define RC_CHANGE_FOLD_H

#include "rappel_conso.h"

#include "access/tupdesc.h"
#include "utils/relcache.h"

/* Columns of a row, in the order of the table. */
typedef struct RcImage
{
	Datum	   *values;
	bool	   *nulls;
} RcImage;

/* A key, and its row as the changes leave it. */
typedef struct RcChangeKey
{
	struct RcChangeKey *next;	/* in its bucket */
	struct RcChangeKey *younger;	/* in the order in which they came */
	uint32		hash;
	RcImage    *of;				/* has the key's columns */
	RcImage    *stored;			/* in the table, as far as it was read */
	bool		changed;
	RcImage    *live;			/* if changed: the row, NULL if it is gone */
	RcImage    *last;			/* if a change has deleted it: what it was */
} RcChangeKey;

/* The table that changes are for, and the keys that there are. */
typedef struct RcChangeTable
{
	Relation	relation;
	TupleDesc	desc;
	Oid			type;
	int			nkeys;
	AttrNumber *keys;
	FmgrInfo   *hash;			/* of each key column's type */
	FmgrInfo   *equal;
	RcChangeKey **buckets;
	uint32		mask;
	RcChangeKey *oldest;
	RcChangeKey *youngest;
} RcChangeTable;

extern bool rc_changes_folded(void);

extern void rc_change_table_open(RcChangeTable *table, Oid type, int nrows);
extern void rc_change_table_close(RcChangeTable *table);
extern RcImage *rc_change_image(const RcChangeTable *table, Datum row);
extern RcChangeKey *rc_change_key(RcChangeTable *table, RcImage *row,
								  const char *part);
extern bool rc_change_has_key(const RcChangeTable *table, const RcImage *row);
extern bool rc_change_same_key(const RcChangeTable *table, const RcImage *a,
							   const RcImage *b);
extern Datum rc_change_default(const RcChangeTable *table, AttrNumber column,
							   bool *isnull);

#endif							/* RC_CHANGE_FOLD_H */
