/*-------------------------------------------------------------------------
 *
 * kept_insert_check.c
 *	  Decides whether kept_insert.c may insert into the outbox.
 *
 * A superuser can give the table triggers, defaults, checks and indexes of
 * his own.  What runs then must run as in an INSERT of the extension, with
 * its rights and settings: so only what the install script uses is accepted.
 *
 *-------------------------------------------------------------------------
 */
#include "store/kept_insert_internal.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "store/known_role.h"

/* The columns that are given a value. */
static const RcOutboxColumn given[] = {
	RC_OUTBOX_MESSAGE_ID, RC_OUTBOX_TOPIC, RC_OUTBOX_KEY, RC_OUTBOX_VALUE,
	RC_OUTBOX_HEADERS, RC_OUTBOX_ORIGIN, RC_OUTBOX_OWNER
};

/* Functions that depend on no setting and on no role. */
static const Oid known_functions[] = {
	F_OCTET_LENGTH_BYTEA, F_INT4LE, F_JSONB_TYPEOF, F_TEXTEQ,
	F_GEN_RANDOM_UUID, F_CLOCK_TIMESTAMP
};

static bool has_insert_triggers(const TriggerDesc *triggers);
static bool expressions_are_known(Relation table);
static bool indexes_are_known(Relation table);
static bool index_is_known(Relation index);
static bool is_foreign(Node *node, void *context);
static bool function_is_foreign(Oid function);

/*
 * Whether the outbox is as the install script makes it, as far as an INSERT
 * is concerned.  Sets the numbers of the known columns.
 */
bool
rc_outbox_is_plain(Relation table, AttrNumber *columns)
{
	if (!rc_outbox_columns(table, columns))
		return false;
	for (int i = 0; i < lengthof(given); i++)
	{
		if (TupleDescAttr(RelationGetDescr(table),
						  columns[given[i]] - 1)->attidentity != '\0')
			return false;
	}
	return table->rd_rel->relkind == RELKIND_RELATION &&
		!table->rd_rel->relispartition && table->rd_rules == NULL &&
		!has_insert_triggers(table->trigdesc) &&
		expressions_are_known(table) && indexes_are_known(table);
}

/* These include foreign keys, and constraints that are deferred. */
static bool
has_insert_triggers(const TriggerDesc *triggers)
{
	return triggers != NULL &&
		(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		 triggers->trig_insert_instead_row ||
		 triggers->trig_insert_before_statement ||
		 triggers->trig_insert_after_statement);
}

/* Defaults, generated columns and checks. */
static bool
expressions_are_known(Relation table)
{
	TupleDesc	desc = RelationGetDescr(table);

	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped &&
			is_foreign(build_column_default(table, i + 1), NULL))
			return false;
	}
	for (int i = 0; desc->constr != NULL && i < desc->constr->num_check; i++)
	{
		if (is_foreign(stringToNode(desc->constr->check[i].ccbin), NULL))
			return false;
	}
	return true;
}

static bool
indexes_are_known(Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	bool		known = true;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

		known &= index_is_known(index);
		index_close(index, NoLock);
	}
	list_free(indexes);
	return known;
}

static bool
index_is_known(Relation index)
{
	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indimmediate ||
		index->rd_index->indisexclusion ||
		RelationGetIndexExpressions(index) != NIL ||
		is_foreign((Node *) RelationGetIndexPredicate(index), NULL))
		return false;
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		/* its operator class */
		if (index->rd_support[i * index->rd_indam->amsupport] >= FirstUnpinnedObjectId)
			return false;
	}
	return true;
}

/* Whether an expression has anything but what is listed here. */
static bool
is_foreign(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			if (function_is_foreign(((FuncExpr *) node)->funcid))
				return true;
			break;
		case T_OpExpr:
			set_opfuncid((OpExpr *) node);
			if (function_is_foreign(((OpExpr *) node)->opfuncid))
				return true;
			break;
		case T_Const:
		case T_Var:
		case T_NullTest:
		case T_RelabelType:
		case T_NextValueExpr:
		case T_List:
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, is_foreign, context);
}

static bool
function_is_foreign(Oid function)
{
	FmgrInfo	info;

	for (int i = 0; i < lengthof(known_functions); i++)
	{
		if (function == known_functions[i])
			return false;
	}
	if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(function)))
		return true;
	fmgr_info(function, &info);
	return info.fn_addr != rc_role_oid;
}
