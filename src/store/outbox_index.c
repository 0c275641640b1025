/*-------------------------------------------------------------------------
 *
 * outbox_index.c
 *	  Scans of the outbox by its index on (topic, id), without a plan: for
 *	  outbox_scan.c and outbox_names.c.
 *
 * A table without such an index, or one that is not as outbox_relation.c
 * demands, is left to SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_index.h"

#include "access/relation.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

static Relation find_index(Relation table, const AttrNumber *columns);
static bool suits(Relation index, const AttrNumber *columns);

/*
 * Open table and index, and push a snapshot.  Returns false, having done
 * nothing, if SQL has to be used.
 */
bool
rc_outbox_index_open(RcOutboxIndex *index)
{
	index->table = rc_outbox_open(AccessShareLock, index->columns);
	if (index->table == NULL)
		return false;
	index->index = find_index(index->table, index->columns);
	if (index->index == NULL)
	{
		relation_close(index->table, NoLock);
		return false;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	index->slot = table_slot_create(index->table, NULL);
	index->scan = rc_index_beginscan(index->table, index->index,
									 GetActiveSnapshot(), 1);
	index->scan->xs_want_itup = true;
	return true;
}

/* Locks are kept until the end of the transaction. */
void
rc_outbox_index_close(RcOutboxIndex *index)
{
	index_endscan(index->scan);
	ExecDropSingleTupleTableSlot(index->slot);
	PopActiveSnapshot();
	index_close(index->index, NoLock);
	relation_close(index->table, NoLock);
}

/* NULL: there is none. */
static Relation
find_index(Relation table, const AttrNumber *columns)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (suits(index, columns))
			return index;
		index_close(index, AccessShareLock);
	}
	return NULL;
}

static bool
suits(Relation index, const AttrNumber *columns)
{
	Form_pg_index form = index->rd_index;

	return form->indisvalid && !form->indcheckxmin &&
		index->rd_rel->relam == BTREE_AM_OID && form->indnkeyatts == 2 &&
		form->indkey.values[0] == columns[RC_OUTBOX_TOPIC] &&
		form->indkey.values[1] == columns[RC_OUTBOX_ID] &&
		index->rd_opfamily[0] == TEXT_BTREE_FAM_OID &&
		index->rd_opcintype[0] == TEXTOID &&
		index->rd_indcollation[0] == C_COLLATION_OID &&
		index->rd_opfamily[1] == INTEGER_BTREE_FAM_OID &&
		index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
		RelationGetIndexPredicate(index) == NIL;
}

/* Start at the first topic that is equal to this one, greater, or either. */
void
rc_outbox_index_start(RcOutboxIndex *index, StrategyNumber strategy,
					  const char *topic)
{
	RegProcedure function = strategy == BTEqualStrategyNumber ? F_TEXTEQ :
		strategy == BTGreaterStrategyNumber ? F_TEXT_GT : F_TEXT_GE;
	ScanKeyData key;

	ScanKeyInit(&key, 1, strategy, function, CStringGetTextDatum(topic));
	index_rescan(index->scan, &key, 1, NULL, 0);
}

/* Find the next message that is visible, in the order of topics and ids. */
bool
rc_outbox_index_next(RcOutboxIndex *index)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(index->scan, ForwardScanDirection, index->slot);
}

/*
 * The topic of the next entry, without a look at the table: of a message that
 * may be deleted, or not visible yet.  NULL: there are no more.
 */
char *
rc_outbox_index_topic(RcOutboxIndex *index)
{
	bool		isnull = true;
	Datum		topic = (Datum) 0;

	if (index_getnext_tid(index->scan, ForwardScanDirection) != NULL)
		topic = index_getattr(index->scan->xs_itup, 1,
							  index->scan->xs_itupdesc, &isnull);
	return isnull ? NULL : TextDatumGetCString(topic);
}
