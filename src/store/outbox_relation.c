/*-------------------------------------------------------------------------
 *
 * outbox_relation.c
 *	  The outbox as a relation, for what bypasses SQL: outbox_delete.c,
 *	  outbox_scan.c and kept_insert.c.
 *
 * A superuser may have altered the table.  Whatever is not as the install
 * script makes it is left to SQL, which means the same by its names.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_relation.h"

#include "access/relation.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "store/query.h"

static const struct
{
	const char *name;
	Oid			type;
}	known_columns[RC_OUTBOX_COLUMNS] =

{
	[RC_OUTBOX_ID] = {"id", INT8OID},
	[RC_OUTBOX_MESSAGE_ID] = {"message_id", UUIDOID},
	[RC_OUTBOX_TOPIC] = {"topic", TEXTOID},
	[RC_OUTBOX_KEY] = {"key", BYTEAOID},
	[RC_OUTBOX_VALUE] = {"value", BYTEAOID},
	[RC_OUTBOX_HEADERS] = {"headers", JSONBOID},
	[RC_OUTBOX_ORIGIN] = {"origin", TEXTOID},
	[RC_OUTBOX_OWNER] = {"owner", NAMEOID},
	[RC_OUTBOX_DEAD_LETTER] = {"dead_letter", INT8OID}
};

static bool is_plain(Relation table);
static bool find_column(Relation table, RcOutboxColumn column, AttrNumber *number);

/*
 * Open the table, for this transaction, and find its columns.  NULL: it is not
 * there, or SQL has to be used.
 */
Relation
rc_outbox_open(LOCKMODE mode, AttrNumber *columns)
{
	Oid			schema;
	Oid			oid;
	Relation	table;

	if ((rc_fast_paths & RC_FAST_OUTBOX) == 0)
		return NULL;
	schema = rc_extension_lock();
	oid = OidIsValid(schema) ? get_relname_relid("outbox", schema) : InvalidOid;
	table = OidIsValid(oid) ? try_relation_open(oid, mode) : NULL;
	if (table == NULL || (is_plain(table) && rc_outbox_columns(table, columns)))
		return table;
	relation_close(table, NoLock);
	return NULL;
}

/* One heap, which has all rows. */
static bool
is_plain(Relation table)
{
	return table->rd_rel->relkind == RELKIND_RELATION &&
		table->rd_rel->relam == HEAP_TABLE_AM_OID &&
		!table->rd_rel->relhassubclass && table->rd_rules == NULL;
}

/* Find the columns; false if one is missing, generated or of another type. */
bool
rc_outbox_columns(Relation table, AttrNumber *columns)
{
	for (int i = 0; i < RC_OUTBOX_COLUMNS; i++)
	{
		if (!find_column(table, i, &columns[i]))
			return false;
	}
	return true;
}

static bool
find_column(Relation table, RcOutboxColumn column, AttrNumber *number)
{
	TupleDesc	desc = RelationGetDescr(table);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped ||
			strcmp(NameStr(attribute->attname), known_columns[column].name) != 0)
			continue;
		*number = i + 1;
		return attribute->atttypid == known_columns[column].type &&
			attribute->atttypmod == -1 && attribute->attgenerated == '\0';
	}
	return false;
}
