/*-------------------------------------------------------------------------
 *
 * outbox_vacuum.c
 *	  VACUUM of the outbox, by the process that deletes its rows: they live
 *	  for a moment, and their space is needed again long before autovacuum's
 *	  next round.
 *
 * It must not wait for a lock, nor make a session wait.  A plain VACUUM
 * conflicts with no query.  What shrinks the table needs it for itself for a
 * moment, and is tried only while no transaction uses it.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_vacuum.h"

#include "access/relation.h"
#include "access/transam.h"
#include "commands/vacuum.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "store/query.h"

static Oid	find_table(void);
static int64 bytes_of(Oid oid);
static bool is_free(Oid table, LOCKMODE mode);
static DefElem *option(const char *name, int value);

/* Bytes of the table and its toast, without indexes. */
int64
rc_outbox_size(void)
{
	Oid			table = find_table();

	return OidIsValid(table) ? bytes_of(table) : 0;
}

/*
 * Whether VACUUM can remove what was deleted by transactions before this one:
 * not while others run that may still see it.
 */
bool
rc_outbox_removable(TransactionId before)
{
	Oid			oid = find_table();
	Relation	table = OidIsValid(oid) ? try_relation_open(oid, AccessShareLock) : NULL;
	bool		removable;

	if (table == NULL)
		return false;
	removable = !TransactionIdPrecedes(GetOldestNonRemovableTransactionId(table),
									   before);
	relation_close(table, AccessShareLock);
	return removable;
}

/*
 * VACUUM, in the worker's transaction, for which it begins others.  It is left
 * out if another process holds a lock that it needs.  With "shrink" free space at
 * the end of the table is returned to the system; false: not now.
 */
bool
rc_outbox_vacuum(bool shrink)
{
	Oid			oid = find_table();
	VacuumStmt *statement = makeNode(VacuumStmt);

	if (!OidIsValid(oid) || !is_free(oid, ShareUpdateExclusiveLock))
		return false;
	if (shrink && !is_free(oid, AccessExclusiveLock))
		return false;
	statement->is_vacuumcmd = true;
	statement->options = list_make3(option("skip_locked", 1),
									option("parallel", 0),
									option("truncate", shrink ? 1 : 0));
	statement->rels = list_make1(makeVacuumRelation(makeRangeVar(RC_SCHEMA, "outbox", -1),
													oid, NIL));
	ExecVacuum(make_parsestate(NULL), statement, true);
	return true;
}

/* The table, which belongs to the extension; InvalidOid: not there. */
static Oid
find_table(void)
{
	Oid			schema = rc_extension_lock();

	return OidIsValid(schema) ? get_relname_relid("outbox", schema) : InvalidOid;
}

static int64
bytes_of(Oid oid)
{
	Relation	table = try_relation_open(oid, AccessShareLock);
	int64		bytes;

	if (table == NULL)
		return 0;
	bytes = (int64) RelationGetNumberOfBlocks(table) * BLCKSZ;
	if (OidIsValid(table->rd_rel->reltoastrelid))
		bytes += bytes_of(table->rd_rel->reltoastrelid);
	relation_close(table, AccessShareLock);
	return bytes;
}

/* Whether such a lock would be granted now. */
static bool
is_free(Oid table, LOCKMODE mode)
{
	if (!ConditionalLockRelationOid(table, mode))
		return false;
	UnlockRelationOid(table, mode);
	return true;
}

static DefElem *
option(const char *name, int value)
{
	return makeDefElem(pstrdup(name), (Node *) makeInteger(value), -1);
}
