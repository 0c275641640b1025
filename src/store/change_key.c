/*-------------------------------------------------------------------------
 *
 * change_key.c
 *	  The rows that the changes of a batch are about, by the primary key of
 *	  their table.
 *
 * Keys are compared as their types do: 1.5 is 1.50.  All is kept in the current
 * context until the end of the call.
 *
 *-------------------------------------------------------------------------
 */
#include "store/change_fold.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaddress.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static void check_right(const RcChangeTable *table);
static void find_key_columns(RcChangeTable *table);
static uint32 hash_of(const RcChangeTable *table, const RcImage *row);

/* Open the table of a row type, for at most so many keys. */
void
rc_change_table_open(RcChangeTable *table, Oid type, int nrows)
{
	Oid			relid = get_typ_typrelid(type);

	memset(table, 0, sizeof(*table));
	if (!OidIsValid(relid) || get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type %s is not that of a table's rows",
						format_type_be(type))));
	table->relation = table_open(relid, AccessShareLock);
	table->desc = RelationGetDescr(table->relation);
	table->type = type;
	check_right(table);
	find_key_columns(table);
	table->mask = pg_nextpower2_32(Max(nrows, 8) * 2) - 1;
	table->buckets = palloc0((table->mask + 1) * sizeof(RcChangeKey *));
}

/*
 * New rows have the defaults of columns, and that of an identity column is the
 * next value of its sequence, taken without asking for rights.  So the role must
 * be one that may insert rows, of some columns at least.
 */
static void
check_right(const RcChangeTable *table)
{
	Oid			relid = RelationGetRelid(table->relation);
	AclResult	result = pg_class_aclcheck(relid, GetUserId(), ACL_INSERT);

	if (result != ACLCHECK_OK)
		result = pg_attribute_aclcheck_all(relid, GetUserId(), ACL_INSERT,
										   ACLMASK_ANY);
	if (result != ACLCHECK_OK)
		aclcheck_error(result,
					   get_relkind_objtype(table->relation->rd_rel->relkind),
					   RelationGetRelationName(table->relation));
}

static void
find_key_columns(RcChangeTable *table)
{
	Bitmapset  *columns = RelationGetIndexAttrBitmap(table->relation,
													 INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			column = -1;

	table->nkeys = bms_num_members(columns);
	if (table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(table->relation)),
				 errhint("Changes find their rows by it: add one with the columns that the topic has as key.")));
	table->keys = palloc(table->nkeys * sizeof(AttrNumber));
	table->hash = palloc(table->nkeys * sizeof(FmgrInfo));
	table->equal = palloc(table->nkeys * sizeof(FmgrInfo));
	for (int i = 0; (column = bms_next_member(columns, column)) >= 0; i++)
	{
		AttrNumber	number = column + FirstLowInvalidHeapAttributeNumber;
		Oid			type = TupleDescAttr(table->desc, number - 1)->atttypid;
		TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_HASH_PROC |
												  TYPECACHE_EQ_OPR);

		if (!OidIsValid(entry->hash_proc) || !OidIsValid(entry->eq_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("could not identify a hash function for type %s",
							format_type_be(type))));
		table->keys[i] = number;
		fmgr_info(entry->hash_proc, &table->hash[i]);
		fmgr_info(get_opcode(entry->eq_opr), &table->equal[i]);
	}
}

void
rc_change_table_close(RcChangeTable *table)
{
	table_close(table->relation, AccessShareLock);
}

/* The columns of a row of the table's type. */
RcImage *
rc_change_image(const RcChangeTable *table, Datum row)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	RcImage    *image = palloc(sizeof(RcImage));
	HeapTupleData tuple = {0};

	if (HeapTupleHeaderGetTypeId(header) != table->type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a row is of type %s instead of %s",
						format_type_be(HeapTupleHeaderGetTypeId(header)),
						format_type_be(table->type))));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	image->values = palloc(table->desc->natts * sizeof(Datum));
	image->nulls = palloc(table->desc->natts * sizeof(bool));
	heap_deform_tuple(&tuple, table->desc, image->values, image->nulls);
	return image;
}

bool
rc_change_has_key(const RcChangeTable *table, const RcImage *row)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		if (row->nulls[table->keys[i] - 1])
			return false;
	}
	return true;
}

/* Whether two rows, which have keys, have the same. */
bool
rc_change_same_key(const RcChangeTable *table, const RcImage *a,
				   const RcImage *b)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		int			at = table->keys[i] - 1;

		if (!DatumGetBool(FunctionCall2Coll(&table->equal[i],
											TupleDescAttr(table->desc, at)->attcollation,
											a->values[at], b->values[at])))
			return false;
	}
	return true;
}

static uint32
hash_of(const RcChangeTable *table, const RcImage *row)
{
	uint32		hash = 0;

	for (int i = 0; i < table->nkeys; i++)
	{
		int			at = table->keys[i] - 1;

		hash = hash_combine(hash,
							DatumGetUInt32(FunctionCall1Coll(&table->hash[i],
															 TupleDescAttr(table->desc, at)->attcollation,
															 row->values[at])));
	}
	return hash;
}

/*
 * The key of a row, which is new if it has not been asked for before.  "part"
 * of the event has the row.
 */
RcChangeKey *
rc_change_key(RcChangeTable *table, RcImage *row, const char *part)
{
	RcChangeKey *key;
	uint32		hash;

	for (int i = 0; i < table->nkeys; i++)
	{
		if (row->nulls[table->keys[i] - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("the change has no value for column \"%s\" of the primary key of table \"%s\"",
							NameStr(TupleDescAttr(table->desc, table->keys[i] - 1)->attname),
							RelationGetRelationName(table->relation)),
					 errdetail("It is missing in \"%s\".", part),
					 errhint("The key of the topic's messages must have the columns of the table's primary key: see the connector's message.key.columns, and the table's REPLICA IDENTITY at its source.")));
	}
	hash = hash_of(table, row);
	for (key = table->buckets[hash & table->mask]; key != NULL; key = key->next)
	{
		if (key->hash == hash && rc_change_same_key(table, key->of, row))
			return key;
	}
	key = palloc0(sizeof(RcChangeKey));
	key->hash = hash;
	key->of = row;
	key->next = table->buckets[hash & table->mask];
	table->buckets[hash & table->mask] = key;
	if (table->youngest != NULL)
		table->youngest->younger = key;
	else
		table->oldest = key;
	table->youngest = key;
	return key;
}

/* What a new row has in a column that its source does not have. */
Datum
rc_change_default(const RcChangeTable *table, AttrNumber column, bool *isnull)
{
	Node	   *expression = build_column_default(table->relation, column);
	EState	   *estate;
	ExprState  *state;
	Form_pg_attribute attribute = TupleDescAttr(table->desc, column - 1);
	Datum		value;

	*isnull = true;
	if (expression == NULL)
		return (Datum) 0;
	estate = CreateExecutorState();
	state = ExecPrepareExpr((Expr *) expression, estate);
	value = ExecEvalExpr(state, GetPerTupleExprContext(estate), isnull);
	if (!*isnull)
		value = datumCopy(value, attribute->attbyval, attribute->attlen);
	FreeExecutorState(estate);
	return value;
}
