/*-------------------------------------------------------------------------
 *
 * source_record_insert.c
 *	  Stores what is known of new records in rappel_conso.source_record, many
 *	  at a time, as COPY does.
 *
 * What it gains is said in first_scan.c.
 *
 * Falls back to the statement of source_record.c if anything but our own
 * foreign key is attached to the table, and always for records of which
 * something is known already.
 *
 * The caller holds the fence of the source: it has locked, in this
 * transaction, the row of rappel_conso.source_state that the foreign key
 * refers to.  That is all that the key's trigger would do for each row, so it
 * is not fired.
 *
 *-------------------------------------------------------------------------
 */
#include "store/source_record.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* The columns of rappel_conso.source_record, in its order. */
enum
{
	SOURCE, DESTINATION, KEY, HASH, VERSION, RUN, MISSED_AT, NCOLUMNS
};

/* Rows are inserted when there are so many. */
#define MAX_ROWS	1000

/* The table, and rows to be inserted into it. */
typedef struct Insertion
{
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *table;
	TupleTableSlot *slots[MAX_ROWS];
	int			made;			/* number of slots that exist */
	int			n;
	Datum		source;
	Datum		destination;
} Insertion;

static Relation open_table(void);
static void begin(Insertion *insertion, Relation relation,
				  const RcSource *source, const char *destination);
static void add(Insertion *insertion, const RcRecord *record,
				const RcKnownRecord *state);
static TupleTableSlot *next_slot(Insertion *insertion);
static void insert_all(Insertion *insertion);
static void end(Insertion *insertion);

/*
 * Store those records that states[].insert says can be inserted.  Returns false
 * if nothing was done: they are then stored as all others are.
 */
bool
rc_known_records_insert(const RcSource *source, const char *destination,
						const RcRecord *records, const RcKnownRecord *states,
						int n)
{
	Relation	relation;
	Insertion	insertion;

	if ((rc_fast_paths & RC_FAST_NEW) == 0)
		return false;
	relation = open_table();
	if (relation == NULL)
		return false;
	begin(&insertion, relation, source, destination);
	for (int i = 0; i < n; i++)
	{
		if (!states[i].insert || !states[i].write)
			continue;
		add(&insertion, &records[i], &states[i]);
		if (insertion.n == MAX_ROWS)
			insert_all(&insertion);
	}
	insert_all(&insertion);
	end(&insertion);
	return true;
}

/*
 * Open the table for writing; NULL if it is not as the install script makes
 * it, or has triggers that were added to it.
 */
static Relation
open_table(void)
{
	Oid			schema = get_namespace_oid(RC_NAME, true);
	Oid			oid = get_relname_relid("source_record", schema);
	Relation	relation;
	const TriggerDesc *triggers;
	bool		ours;

	if (!OidIsValid(oid))
		return NULL;
	relation = table_open(oid, RowExclusiveLock);
	ours = relation->rd_rel->relkind == RELKIND_RELATION &&
		RelationGetNumberOfAttributes(relation) == NCOLUMNS &&
		(RelationGetDescr(relation)->constr == NULL ||
		 RelationGetDescr(relation)->constr->num_check == 0) &&
		relation->rd_rules == NULL;
	triggers = relation->trigdesc;
	for (int i = 0; ours && triggers != NULL && i < triggers->numtriggers; i++)
		ours = triggers->triggers[i].tgisinternal;
	if (ours)
		return relation;
	table_close(relation, RowExclusiveLock);
	return NULL;
}

static void
begin(Insertion *insertion, Relation relation, const RcSource *source,
	  const char *destination)
{
	memset(insertion, 0, sizeof(Insertion));
	insertion->relation = relation;
	insertion->estate = CreateExecutorState();
	insertion->table = makeNode(ResultRelInfo);
	InitResultRelInfo(insertion->table, relation, 1, NULL, 0);
	ExecOpenIndices(insertion->table, false);
	insertion->source = CStringGetTextDatum(source->name);
	insertion->destination = CStringGetTextDatum(destination);
}

static void
add(Insertion *insertion, const RcRecord *record, const RcKnownRecord *state)
{
	MemoryContext old;
	TupleTableSlot *slot = next_slot(insertion);
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
	memset(nulls, false, sizeof(bool) * NCOLUMNS);
	values[SOURCE] = insertion->source;
	values[DESTINATION] = insertion->destination;
	values[KEY] = PointerGetDatum(cstring_to_text_with_len(record->key,
														   record->key_len));
	values[HASH] = Int64GetDatum(state->hash);
	nulls[VERSION] = state->version == NULL;
	if (state->version != NULL)
		values[VERSION] = CStringGetTextDatum(state->version);
	values[RUN] = Int64GetDatum(state->run);
	nulls[MISSED_AT] = true;
	ExecStoreVirtualTuple(slot);
	ExecMaterializeSlot(slot);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(insertion->estate);
}

static TupleTableSlot *
next_slot(Insertion *insertion)
{
	int			i = insertion->n++;

	if (i == insertion->made)
	{
		insertion->slots[i] = table_slot_create(insertion->relation, NULL);
		insertion->made++;
	}
	return ExecClearTuple(insertion->slots[i]);
}

static void
insert_all(Insertion *insertion)
{
	MemoryContext old;

	if (insertion->n == 0)
		return;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(insertion->estate));
	table_multi_insert(insertion->relation, insertion->slots, insertion->n,
					   GetCurrentCommandId(true), 0, NULL);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < insertion->n; i++)
	{
		ResetPerTupleExprContext(insertion->estate);
		list_free(rc_insert_index_tuples(insertion->table, insertion->slots[i],
										 insertion->estate));
	}
	insertion->n = 0;
}

static void
end(Insertion *insertion)
{
	for (int i = 0; i < insertion->made; i++)
		ExecDropSingleTupleTableSlot(insertion->slots[i]);
	table_finish_bulk_insert(insertion->relation, 0);
	ExecCloseIndices(insertion->table);
	FreeExecutorState(insertion->estate);
	table_close(insertion->relation, NoLock);
	CommandCounterIncrement();
}
