/*-------------------------------------------------------------------------
 *
 * change_fold.c
 *	  rc_debezium_fold(): what a batch of changes leaves of each row of a table,
 *	  for the statements that rc_replicate() writes.
 *
 * A batch has many changes of one row, and a statement can write a row only
 * once.  Changes are taken in the order in which they are given.  A column whose
 * value the source has not sent, since it is stored out of line and was not
 * changed, keeps the value that the row has; a column that the source does not
 * have keeps it, too, or is given its default in a new row.  After a change of the
 * key, the row as it was is that of the old key.
 *
 * Nothing may be read or written here: the rows that the table has are an
 * argument, so that the statement says all that it does.
 *
 * A C symbol that a released install script names must never be removed.
 *
 *-------------------------------------------------------------------------
 */
#include "store/change_fold.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(rc_debezium_fold);

/* The parts of a change, as the statement has them in ROW(). */
typedef enum ChangePart
{
	PART_OP,
	PART_BEFORE,
	PART_AFTER,
	PART_OLD_KEY,
	PART_UNAVAILABLE,
	PART_MISSING,
	PART_EXTRA,
	NPARTS
}	ChangePart;

typedef struct Fold
{
	RcChangeTable table;
	bool		truncated;
	bool		apply_truncate;
	bool		ignore_truncate;
	bool		ignore_new;
	bool	   *written;		/* columns that the statement writes */
} Fold;

/* Set by each call; see rc_changes_folded(). */
static bool folded = false;

static void check_words(Fold *fold, text * on_truncate, text * on_new_column);
static void take_stored(Fold *fold, ArrayType *rows);
static void read_change(Fold *fold, Datum change, Datum *parts, bool *nulls);
static void fold_change(Fold *fold, Datum *parts, bool *nulls);
static void fold_truncate(Fold *fold);
static void fold_delete(Fold *fold, RcImage *before);
static void fold_write(Fold *fold, Datum *parts, bool *nulls);
static RcImage *current(const RcChangeKey *key);
static void set_gone(RcChangeKey *key);
static char *extra_names(Datum extra);
static RcImage *merged(Fold *fold, Datum *parts, bool *nulls, RcImage *after,
					   RcImage *before, RcImage *base);
static bool *flags_of(Fold *fold, Datum names, bool isnull);
pg_noreturn static void raise_unwritten(Fold *fold, int column);
pg_noreturn static void raise_unavailable(Fold *fold, int column,
										  const RcImage *row);
static void put_result(Fold *fold, ReturnSetInfo *result);

/*
 * rc_debezium_fold(table, columns, changes, stored, on_truncate,
 * on_new_column): (line, gone), one for each row that the changes are about.
 * "columns" are those that the statement writes.  A gone one has
 * its key only; one that is null means all rows of the table.
 */
Datum
rc_debezium_fold(PG_FUNCTION_ARGS)
{
	Fold		fold = {0};
	ArrayType  *changes;
	ArrayType  *stored;
	Datum	   *items;
	bool	   *nulls;
	int			n;

	for (int i = 1; i < 6; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("rc_debezium_fold() accepts no null but for its first argument")));
	}
	changes = PG_GETARG_ARRAYTYPE_P(2);
	stored = PG_GETARG_ARRAYTYPE_P(3);
	check_words(&fold, PG_GETARG_TEXT_PP(4), PG_GETARG_TEXT_PP(5));
	InitMaterializedSRF(fcinfo, 0);

	deconstruct_array(changes, RECORDOID, -1, false, TYPALIGN_DOUBLE,
					  &items, &nulls, &n);
	rc_change_table_open(&fold.table, get_fn_expr_argtype(fcinfo->flinfo, 0),
						 n * 2 + ArrayGetNItems(ARR_NDIM(stored),
												ARR_DIMS(stored)));
	fold.written = flags_of(&fold, PG_GETARG_DATUM(1), false);
	take_stored(&fold, stored);
	for (int i = 0; i < n; i++)
	{
		Datum		parts[NPARTS];
		bool		part_nulls[NPARTS];

		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			continue;
		read_change(&fold, items[i], parts, part_nulls);
		fold_change(&fold, parts, part_nulls);
	}
	put_result(&fold, (ReturnSetInfo *) fcinfo->resultinfo);
	rc_change_table_close(&fold.table);
	folded = true;
	return (Datum) 0;
}

/* Whether changes have been folded since this was asked last. */
bool
rc_changes_folded(void)
{
	bool		result = folded;

	folded = false;
	return result;
}

static void
check_words(Fold *fold, text * on_truncate, text * on_new_column)
{
	char	   *word = text_to_cstring(on_truncate);

	fold->apply_truncate = strcmp(word, "apply") == 0;
	fold->ignore_truncate = strcmp(word, "ignore") == 0;
	if (!fold->apply_truncate && !fold->ignore_truncate &&
		strcmp(word, "error") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_truncate cannot be \"%s\"", word),
				 errhint("Use apply, ignore or error.")));
	word = text_to_cstring(on_new_column);
	fold->ignore_new = strcmp(word, "ignore") == 0;
	if (!fold->ignore_new && strcmp(word, "error") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_new_column cannot be \"%s\"", word),
				 errhint("Use error or ignore.")));
}

/* Take the rows that the table has, as far as the statement has read them. */
static void
take_stored(Fold *fold, ArrayType *rows)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;

	deconstruct_array(rows, ARR_ELEMTYPE(rows), -1, false, TYPALIGN_DOUBLE,
					  &items, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		RcImage    *row;

		if (nulls[i])
			continue;
		row = rc_change_image(&fold->table, items[i]);
		rc_change_key(&fold->table, row, "stored")->stored = row;
	}
}

static void
read_change(Fold *fold, Datum change, Datum *parts, bool *nulls)
{
	const Oid	types[NPARTS] = {
		CHAROID, fold->table.type, fold->table.type, fold->table.type,
		TEXTARRAYOID, TEXTARRAYOID, JSONBOID
	};
	HeapTupleHeader header = DatumGetHeapTupleHeader(change);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {0};
	bool		fits = desc->natts == NPARTS;

	for (int i = 0; fits && i < NPARTS; i++)
		fits = TupleDescAttr(desc, i)->atttypid == types[i];
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a change has other parts than rc_debezium_fold() takes"),
				 errhint("Use ROW(op, before, after, old_key, unavailable, missing, extra) of records, with the table's row type as value_type.")));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, parts, nulls);
	ReleaseTupleDesc(desc);
}

static void
fold_change(Fold *fold, Datum *parts, bool *nulls)
{
	char		op = nulls[PART_OP] ? '\0' : DatumGetChar(parts[PART_OP]);
	int			needed = op == 'd' ? PART_BEFORE : PART_AFTER;

	if (op == 'm')
		return;
	if (op == 't')
	{
		fold_truncate(fold);
		return;
	}
	if (op == '\0' || strchr("crud", op) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a change has the unknown operation \"%s\"",
						IS_HIGHBIT_SET(op) ? psprintf("\\%03o", (unsigned char) op) :
						pnstrdup(&op, 1))));
	if (nulls[needed])
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a change with operation \"%c\" has no row in \"%s\"",
						op, needed == PART_BEFORE ? "before" : "after")));
	if (op == 'd')
		fold_delete(fold, rc_change_image(&fold->table, parts[PART_BEFORE]));
	else
		fold_write(fold, parts, nulls);
}

/* All rows are gone, those that have not been read, too. */
static void
fold_truncate(Fold *fold)
{
	if (fold->ignore_truncate)
		return;
	if (!fold->apply_truncate)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("table \"%s\" was truncated at its source",
						RelationGetRelationName(fold->table.relation)),
				 errhint("Truncate it here if it should follow, and resolve the dead letter; on_truncate of rc_replicate() can be apply or ignore, too.")));
	fold->truncated = true;
	for (RcChangeKey *key = fold->table.oldest; key != NULL; key = key->younger)
	{
		key->changed = true;
		key->live = key->last = NULL;
	}
}

static void
fold_delete(Fold *fold, RcImage *before)
{
	set_gone(rc_change_key(&fold->table, before, "before"));
}

/*
 * A tombstone follows a delete: it must not hide what the row was, which a
 * change of its key asks for next.
 */
static void
set_gone(RcChangeKey *key)
{
	RcImage    *was = current(key);

	if (was != NULL)
		key->last = was;
	key->changed = true;
	key->live = NULL;
}

/* The row that a key has now; NULL: none that is known. */
static RcImage *
current(const RcChangeKey *key)
{
	return key->changed ? key->live : key->stored;
}

/*
 * An insert, an update, or a row of a snapshot: the row is written either way.
 *
 * With a changed key Debezium sends a delete and an insert that names the old
 * key; other connectors may send an update whose row before has it.
 */
static void
fold_write(Fold *fold, Datum *parts, bool *nulls)
{
	RcImage    *after = rc_change_image(&fold->table, parts[PART_AFTER]);
	RcImage    *before = nulls[PART_BEFORE] ? NULL :
		rc_change_image(&fold->table, parts[PART_BEFORE]);
	RcChangeKey *key = rc_change_key(&fold->table, after, "after");
	RcImage    *base = current(key);
	RcChangeKey *old;

	if (!nulls[PART_OLD_KEY])
	{
		old = rc_change_key(&fold->table,
							rc_change_image(&fold->table, parts[PART_OLD_KEY]),
							"old_key");
		base = old->last != NULL ? old->last : current(old);
	}
	else if (before != NULL && rc_change_has_key(&fold->table, before) &&
			 !rc_change_same_key(&fold->table, before, after))
	{
		old = rc_change_key(&fold->table, before, "before");
		base = current(old);
		set_gone(old);
	}
	if (!nulls[PART_EXTRA] && !fold->ignore_new)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the change has columns that table \"%s\" does not have",
						RelationGetRelationName(fold->table.relation)),
				 errdetail("They are: %s.", extra_names(parts[PART_EXTRA])),
				 errhint("Add the columns with ALTER TABLE, call rc_replicate() again, then rc_retry(); or leave them out, with on_new_column = ignore of rc_replicate().")));
	key->live = merged(fold, parts, nulls, after, before, base);
	key->changed = true;
}

/* Names of the columns that only the source has. */
static char *
extra_names(Datum extra)
{
	JsonbIterator *at = JsonbIteratorInit(&DatumGetJsonbP(extra)->root);
	JsonbValue	value;
	JsonbIteratorToken token;
	StringInfoData names;

	initStringInfo(&names);
	while ((token = JsonbIteratorNext(&at, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			appendStringInfo(&names, "%s%.*s", names.len > 0 ? ", " : "",
							 value.val.string.len, value.val.string.val);
	}
	return names.data;
}

/* The row that a change makes of the one that there was, if any. */
static RcImage *
merged(Fold *fold, Datum *parts, bool *nulls, RcImage *after, RcImage *before,
	   RcImage *base)
{
	bool	   *unavailable = flags_of(fold, parts[PART_UNAVAILABLE],
									   nulls[PART_UNAVAILABLE]);
	bool	   *missing = flags_of(fold, parts[PART_MISSING],
								   nulls[PART_MISSING]);

	for (int i = 0; i < fold->table.desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(fold->table.desc, i);
		RcImage    *from = base;

		if (column->attisdropped || column->attgenerated != '\0')
			continue;
		if (!fold->written[i] && !fold->ignore_new &&
			(missing == NULL || !missing[i]))
			raise_unwritten(fold, i);
		if (!((unavailable != NULL && unavailable[i]) ||
			  (missing != NULL && missing[i])))
			continue;
		if (unavailable != NULL && unavailable[i])
		{
			if (before != NULL && !before->nulls[i])
				from = before;
			if (from == NULL)
				raise_unavailable(fold, i, after);
		}
		if (from != NULL)
		{
			after->values[i] = from->values[i];
			after->nulls[i] = from->nulls[i];
		}
		else
			after->values[i] = rc_change_default(&fold->table, i + 1,
												 &after->nulls[i]);
	}
	return after;
}

/* The columns of these names, as flags; NULL if there are none. */
static bool *
flags_of(Fold *fold, Datum names, bool isnull)
{
	Datum	   *items;
	int			n;
	bool	   *flags;

	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false,
					  TYPALIGN_INT, &items, NULL, &n);
	flags = palloc0(fold->table.desc->natts * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		char	   *name = TextDatumGetCString(items[i]);

		for (int column = 0; column < fold->table.desc->natts; column++)
		{
			if (strcmp(NameStr(TupleDescAttr(fold->table.desc, column)->attname),
					   name) == 0)
				flags[column] = true;
		}
		pfree(name);
	}
	return flags;
}

static void
raise_unwritten(Fold *fold, int column)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("the change has column \"%s\" of table \"%s\", which the stream's statement does not write",
					NameStr(TupleDescAttr(fold->table.desc, column)->attname),
					RelationGetRelationName(fold->table.relation)),
			 errhint("Call rc_replicate() again, which writes the statement again, then rc_retry().")));
}

static void
raise_unavailable(Fold *fold, int column, const RcImage *row)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("the change does not have the value of column \"%s\" of table \"%s\", and no row that has it is there",
					NameStr(TupleDescAttr(fold->table.desc, column)->attname),
					RelationGetRelationName(fold->table.relation)),
			 errdetail("The source has not sent it because it is stored out of line and was not changed."),
			 errhint("Use ALTER TABLE .. REPLICA IDENTITY FULL at the source, and have the connector read the table again.")));
}

static void
put_result(Fold *fold, ReturnSetInfo *result)
{
	TupleDesc	desc = fold->table.desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, false};

	if (fold->truncated)
	{
		values[1] = BoolGetDatum(true);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	nulls[0] = false;
	for (RcChangeKey *key = fold->table.oldest; key != NULL; key = key->younger)
	{
		RcImage    *row = key->live;

		if (!key->changed || (row == NULL && fold->truncated))
			continue;
		if (row == NULL)
		{
			row = palloc(sizeof(RcImage));
			row->values = palloc0(desc->natts * sizeof(Datum));
			row->nulls = palloc(desc->natts * sizeof(bool));
			memset(row->nulls, true, desc->natts * sizeof(bool));
			for (int i = 0; i < fold->table.nkeys; i++)
			{
				int			at = fold->table.keys[i] - 1;

				row->values[at] = key->of->values[at];
				row->nulls[at] = false;
			}
		}
		values[0] = HeapTupleGetDatum(heap_form_tuple(desc, row->values,
													  row->nulls));
		values[1] = BoolGetDatum(key->live == NULL);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
