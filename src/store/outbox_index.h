/*-------------------------------------------------------------------------
 *
 * outbox_index.h
 *	  Scans of the outbox by its index on (topic, id).
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_INDEX_H
#define RC_OUTBOX_INDEX_H

#include "store/outbox_relation.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "executor/tuptable.h"

/* An open scan. */
typedef struct RcOutboxIndex
{
	Relation	table;
	AttrNumber	columns[RC_OUTBOX_COLUMNS];
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* the row that was found */
} RcOutboxIndex;

extern bool rc_outbox_index_open(RcOutboxIndex *index);
extern void rc_outbox_index_close(RcOutboxIndex *index);
extern void rc_outbox_index_start(RcOutboxIndex *index,
								  StrategyNumber strategy, const char *topic);
extern bool rc_outbox_index_next(RcOutboxIndex *index);
extern char *rc_outbox_index_topic(RcOutboxIndex *index);

#endif							/* RC_OUTBOX_INDEX_H */
