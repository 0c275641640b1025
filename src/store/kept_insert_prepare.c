/*-------------------------------------------------------------------------
 *
 * kept_insert_prepare.c
 *	  Prepares inserting into the outbox, and keeps that as long as nothing
 *	  has changed that it was made from.
 *
 * It is kept beyond transactions.  So relations and locks, which belong to
 * one, are taken in each call, and nothing may point into the memory of a
 * relation's descriptor.
 *
 *-------------------------------------------------------------------------
 */
#include "store/kept_insert_internal.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "store/known_role.h"

static RcKeptInsert *kept = NULL;

/* The table and its indexes; what happens to others does not matter. */
#define RELATIONS_MAX	8
static Oid	relations[RELATIONS_MAX];
static int	nrelations = 0;

/* Changes of these, and of functions, that this session has learned of. */
static uint64 changes = 1;

/* "changes" when the table was found to be left to an INSERT; 0: it is not. */
static uint64 unsuited_at = 0;

static bool is_current(Oid schema);
static bool prepare(Oid schema, Relation table);
static bool note_relations(Relation table);
static void prepare_result(Relation table);
static void prepare_defaults(Relation table);
static void prepare_generated(Relation table, AttrNumber column);
static bool is_role_of_owner(Node *expression);
static void open_indexes(Relation table);
static void register_callbacks(void);
static void on_relcache(Datum arg, Oid relation);
static void on_syscache(Datum arg, int cache, uint32 hash);

/*
 * Open the table and its indexes, and prepare for it if it has changed.  NULL:
 * an INSERT has to do it.
 */
RcKeptInsert *
rc_kept_insert_open(Oid schema)
{
	Relation	table;
	Oid			oid;

	register_callbacks();
	oid = is_current(schema) ? relations[0] : get_relname_relid("outbox", schema);
	table = OidIsValid(oid) ? try_relation_open(oid, RowExclusiveLock) : NULL;
	if (table == NULL)
		return NULL;

	/* the lock has made us learn of changes */
	if (is_current(schema))
		open_indexes(table);
	else if (unsuited_at == changes || !prepare(schema, table))
	{
		relation_close(table, NoLock);
		return NULL;
	}
	return kept;
}

static bool
is_current(Oid schema)
{
	return kept != NULL && kept->made_at == changes &&
		kept->schema == schema;
}

/* Returns false if the table has to be left to an INSERT. */
static bool
prepare(Oid schema, Relation table)
{
	AttrNumber	columns[RC_OUTBOX_COLUMNS];
	MemoryContext context;
	MemoryContext old;
	Oid			user;
	int			sec_context;
	uint64		before;

	if (kept != NULL)
		MemoryContextDelete(kept->context);
	kept = NULL;
	before = note_relations(table) ? changes : 0;
	if (before == 0 || !rc_outbox_is_plain(table, columns))
	{
		unsuited_at = before;
		return false;
	}
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso outbox",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	kept = palloc0(sizeof(RcKeptInsert));
	kept->context = context;
	kept->schema = schema;
	kept->made_at = before;
	memcpy(kept->columns, columns, sizeof(columns));

	rc_kept_insert_switch_up(&user, &sec_context);
	prepare_result(table);
	prepare_defaults(table);
	SetUserIdAndSecContext(user, sec_context);
	MemoryContextSwitchTo(old);
	return true;
}

/* From here on their changes are noticed.  False: too many indexes. */
static bool
note_relations(Relation table)
{
	List	   *indexes;
	ListCell   *lc;

	nrelations = 0;
	relations[nrelations++] = RelationGetRelid(table);
	indexes = RelationGetIndexList(table);
	foreach(lc, indexes)
	{
		if (nrelations == RELATIONS_MAX)
			return false;
		relations[nrelations++] = lfirst_oid(lc);
	}
	return true;
}

static void
prepare_result(Relation table)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *result = makeNode(ResultRelInfo);

	/* a copy: that of the table may be freed between calls */
	kept->desc = CreateTupleDescCopyConstr(RelationGetDescr(table));
	InitResultRelInfo(result, table, 0, NULL, 0);
	ExecOpenIndices(result, false);
	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		IndexInfo  *index = result->ri_IndexRelationInfo[i];

		index->ii_PredicateState = ExecPrepareQual(index->ii_Predicate, estate);
	}
	kept->estate = estate;
	kept->result = result;
}

static void
prepare_defaults(Relation table)
{
	int			natts = RelationGetNumberOfAttributes(table);

	kept->defaults = palloc0(sizeof(ExprState *) * natts);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table), i);
		Node	   *expression = NULL;

		if (attribute->attisdropped)
			continue;
		if (attribute->attgenerated == '\0')
			expression = build_column_default(table, i + 1);
		else if (attribute->attgenerated == ATTRIBUTE_GENERATED_STORED)
			prepare_generated(table, i + 1);
		if (expression != NULL && IsA(expression, FuncExpr) &&
			((FuncExpr *) expression)->funcid == F_GEN_RANDOM_UUID &&
			i == kept->columns[RC_OUTBOX_MESSAGE_ID] - 1)
			kept->random_id = true;
		else if (expression != NULL)
			kept->defaults[i] = ExecPrepareExpr((Expr *) expression,
												kept->estate);
	}
}

/* The messages of a call have one owner. */
static void
prepare_generated(Relation table, AttrNumber column)
{
	if (kept->owner_oid == 0 &&
		is_role_of_owner(build_column_default(table, column)))
		kept->owner_oid = column;
	else
		kept->generated = true;
}

static bool
is_role_of_owner(Node *expression)
{
	FuncExpr   *call = (FuncExpr *) expression;
	Var		   *argument;
	FmgrInfo	info;

	if (expression == NULL || !IsA(expression, FuncExpr) ||
		list_length(call->args) != 1)
		return false;
	argument = linitial(call->args);
	if (!IsA(argument, Var) ||
		argument->varattno != kept->columns[RC_OUTBOX_OWNER])
		return false;
	fmgr_info(call->funcid, &info);
	return info.fn_addr == rc_role_oid;
}

/* The kept pointers to relations are of another call. */
static void
open_indexes(Relation table)
{
	ResultRelInfo *result = kept->result;

	result->ri_RelationDesc = table;
	for (int i = 0; i < result->ri_NumIndices; i++)
		result->ri_IndexRelationDescs[i] = index_open(relations[i + 1],
													  RowExclusiveLock);
}

/* Close them; locks are kept, as those of an INSERT are. */
void
rc_kept_insert_close(RcKeptInsert *opened)
{
	ResultRelInfo *result = opened->result;

	for (int i = 0; i < result->ri_NumIndices; i++)
		index_close(result->ri_IndexRelationDescs[i], NoLock);
	relation_close(result->ri_RelationDesc, NoLock);
}

/* After an error: what is kept may be in any state. */
void
rc_kept_insert_failed(void)
{
	changes++;
}

/*
 * Functions that only the extension may execute are looked up as the bootstrap
 * superuser.
 */
void
rc_kept_insert_switch_up(Oid *user, int *sec_context)
{
	GetUserIdAndSecContext(user, sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   *sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	registered = true;
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_syscache, (Datum) 0);
}

static void
on_relcache(Datum arg, Oid relation)
{
	if (!OidIsValid(relation))
		changes++;
	for (int i = 0; i < nrelations; i++)
	{
		if (relation == relations[i])
			changes++;
	}
}

static void
on_syscache(Datum arg, int cache, uint32 hash)
{
	changes++;
}
