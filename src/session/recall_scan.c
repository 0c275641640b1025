/*-------------------------------------------------------------------------
 *
 * recall_scan.c
 *	  Reads the rows of recalls that rc_report() counts, without a query.
 *
 * The table's owner can put functions into its indexes, constraints, policies
 * and generated columns.  A query would run them with the privileges of the
 * role that calls rc_report(), and they could raise an error or never return.
 * So nothing here may call the planner, evaluate an expression or call a
 * function of a type.
 *
 *-------------------------------------------------------------------------
 */
#include "session/recall_scan.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#define COLUMNS	2

typedef struct Column
{
	const char *name;
	Oid			type;			/* or a domain over it */
} Column;

/* In the order in which the SQL function returns them. */
static const Column columns[COLUMNS] = {
	{"date_de_publication", TIMESTAMPTZOID},
	{"categorie_de_produit", TEXTOID}
};

static void check_column(Oid table, const Column *column);
static void read_table(Oid oid, ReturnSetInfo *set);
static void read_rows(Relation table, ReturnSetInfo *set);

/*
 * Return the columns of a locked table and of its partitions, as the result
 * set of fcinfo.
 *
 * Errors: 42501 without the privilege on a column, or if row-level security
 * applies to the caller; 42703 if a column is missing; 42804 if it has
 * another type; 42809 for a partition that is not a table; 0A000 for a
 * virtual generated column.
 */
void
rc_recall_scan(FunctionCallInfo fcinfo, Oid table)
{
	ListCell   *lc;

	for (int i = 0; i < COLUMNS; i++)
		check_column(table, &columns[i]);
	if (check_enable_rls(table, GetUserId(), true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot count the rows of table \"%s\" for role \"%s\": the table has row-level security",
						get_rel_name(table),
						GetUserNameFromId(GetUserId(), false))));

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, find_all_inheritors(table, AccessShareLock, NULL))
		read_table(lfirst_oid(lc), (ReturnSetInfo *) fcinfo->resultinfo);
}

static void
check_column(Oid table, const Column *column)
{
	AttrNumber	number = get_attnum(table, column->name);
	Oid			type;

	if (number == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"",
						get_rel_name(table), column->name)));
	if (pg_class_aclcheck(table, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck(table, number, GetUserId(),
							  ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(table));
	type = getBaseType(get_atttype(table, number));
	if (type != column->type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is not of type %s",
						column->name, get_rel_name(table),
						format_type_be(column->type))));
}

static void
read_table(Oid oid, ReturnSetInfo *set)
{
	Relation	table = table_open(oid, NoLock);

	if (table->rd_rel->relkind == RELKIND_RELATION)
	{
		/* as a query does, skip temporary children of other sessions */
		if (!RELATION_IS_OTHER_TEMP(table))
			read_rows(table, set);
	}
	else if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("partition \"%s\" is not a table",
						RelationGetRelationName(table))));
	table_close(table, NoLock);
}

static void
read_rows(Relation table, ReturnSetInfo *set)
{
	TableScanDesc scan = table_beginscan(table, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext,
											  "rappel_conso row of recalls",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row);
	AttrNumber	numbers[COLUMNS];

	for (int i = 0; i < COLUMNS; i++)
	{
		numbers[i] = get_attnum(RelationGetRelid(table), columns[i].name);
		if (TupleDescAttr(RelationGetDescr(table), numbers[i] - 1)->attgenerated == 'v')
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of table \"%s\" is not a stored column",
							columns[i].name, RelationGetRelationName(table))));
	}
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Datum		values[COLUMNS];
		bool		nulls[COLUMNS];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < COLUMNS; i++)
		{
			values[i] = slot_getattr(slot, numbers[i], &nulls[i]);
			if (!nulls[i] && columns[i].type == TEXTOID)
				values[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(values[i]));
		}
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
}
