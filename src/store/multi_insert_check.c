/*-------------------------------------------------------------------------
 *
 * multi_insert_check.c
 *	  Whether the rows of a statement can be inserted by many at a time
 *	  (multi_insert.c) with the same result as by the executor, one by one.
 *
 * What differs is when a row becomes visible to what runs for a later row of
 * the same statement.  So nothing that runs for each row before it is inserted
 * may be able to look: no BEFORE trigger, and no volatile function.  The rules
 * are those of COPY (CopyFrom() in PostgreSQL's commands/copyfrom.c), but the
 * checks of constraints and domains and the conditions of triggers may not
 * have volatile functions either.
 *
 * When in doubt the answer is no.  Nothing is executed here.
 *
 *-------------------------------------------------------------------------
 */
#include "store/multi_insert.h"

#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "utils/rel.h"
#include "utils/typcache.h"

static bool checks_volatile_domain(Node *node, void *context);
static bool is_volatile_domain(Oid type);
static bool has_volatile_check(Relation relation);
static bool has_volatile_condition(const TriggerDesc *triggers);
static bool has_shape(Relation relation, List *columns);

/*
 * Whether a statement, given as its rewritten queries, is one INSERT .. SELECT
 * that does nothing else.  The answer holds as long as the plan does.
 *
 * Defaults are part of the rewritten query.  nextval() is allowed because rows
 * are numbered in the same order.
 */
bool
rc_multi_insert_suits(List *queries)
{
	Query	   *query;

	if (list_length(queries) != 1)
		return false;
	query = linitial_node(Query, queries);
	return query->commandType == CMD_INSERT &&
		query->querySource == QSRC_ORIGINAL &&
		query->canSetTag &&
		query->onConflict == NULL &&
		query->returningList == NIL &&
		query->withCheckOptions == NIL &&
		!query->hasModifyingCTE &&
		!contain_volatile_functions_not_nextval((Node *) query) &&
		!checks_volatile_domain((Node *) query, NULL);
}

/* Walker: whether a value is converted to such a domain. */
static bool
checks_volatile_domain(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) &&
		is_volatile_domain(((CoerceToDomain *) node)->resulttype))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, checks_volatile_domain,
								 context, 0);
	return expression_tree_walker(node, checks_volatile_domain, context);
}

static bool
is_volatile_domain(Oid type)
{
	/* the context refers to it until it is reset */
	DomainConstraintRef *domain = palloc(sizeof(DomainConstraintRef));
	ListCell   *lc;

	InitDomainConstraintRef(type, domain, CurrentMemoryContext, false);
	foreach(lc, domain->constraints)
	{
		DomainConstraintState *constraint = lfirst(lc);

		if (contain_volatile_functions((Node *) constraint->check_expr))
			return true;
	}
	return false;
}

/*
 * Whether the rows of an INSERT that the executor has started can be inserted
 * by many at a time: what it inserts into, and that nothing is done for the
 * statement as a whole.  Called when the table is locked.
 */
bool
rc_multi_insert_takes(const ModifyTableState *node)
{
	const ModifyTable *plan = castNode(ModifyTable, node->ps.plan);
	const ResultRelInfo *table = node->resultRelInfo;
	const TriggerDesc *triggers = table->ri_TrigDesc;
	char		kind = table->ri_RelationDesc->rd_rel->relkind;

	if (node->operation != CMD_INSERT || !node->canSetTag ||
		node->mt_nrels != 1 || node->mt_transition_capture != NULL ||
		plan->onConflictAction != ONCONFLICT_NONE ||
		plan->returningLists != NIL || plan->withCheckOptionLists != NIL)
		return false;
	if (triggers != NULL &&
		(triggers->trig_insert_before_statement ||
		 triggers->trig_insert_after_statement ||
		 triggers->trig_insert_new_table))
		return false;
	if (!has_shape(table->ri_RelationDesc,
				   outerPlan(&plan->plan)->targetlist))
		return false;

	/* the partitions are looked at when a row is for them */
	return kind == RELKIND_PARTITIONED_TABLE ?
		triggers == NULL || !triggers->trig_insert_before_row :
		rc_multi_insert_takes_table(table);
}

/* Whether rows can be inserted by many into this table or partition. */
bool
rc_multi_insert_takes_table(const ResultRelInfo *table)
{
	const TriggerDesc *triggers = table->ri_TrigDesc;
	Relation	relation = table->ri_RelationDesc;

	if (relation->rd_rel->relkind != RELKIND_RELATION ||
		table->ri_WithCheckOptions != NIL ||
		table->ri_projectReturning != NULL)
		return false;
	if (triggers != NULL &&
		(triggers->trig_insert_before_row ||
		 triggers->trig_insert_instead_row ||
		 has_volatile_condition(triggers)))
		return false;
	return !has_volatile_check(relation);
}

static bool
has_volatile_check(Relation relation)
{
	const TupleConstr *constr = RelationGetDescr(relation)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		if (contain_volatile_functions(stringToNode(constr->check[i].ccbin)))
			return true;
	}
	return false;
}

/* WHEN of a trigger is looked at when the event is queued. */
static bool
has_volatile_condition(const TriggerDesc *triggers)
{
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const char *condition = triggers->triggers[i].tgqual;

		if (condition != NULL &&
			contain_volatile_functions(stringToNode(condition)))
			return true;
	}
	return false;
}

/*
 * Whether the rows of a plan are those of the table, so that their values can
 * be taken as they are.  The executor's ExecCheckPlanOutput() checks the same
 * and raises an error.
 */
static bool
has_shape(Relation relation, List *columns)
{
	TupleDesc	desc = RelationGetDescr(relation);
	ListCell   *lc;

	if (list_length(columns) != desc->natts)
		return false;
	foreach(lc, columns)
	{
		TargetEntry *column = lfirst_node(TargetEntry, lc);
		Form_pg_attribute attribute = TupleDescAttr(desc,
													foreach_current_index(lc));

		if (column->resjunk)
			return false;
		if (attribute->attisdropped || attribute->attgenerated)
		{
			if (!IsA(column->expr, Const) ||
				!((Const *) column->expr)->constisnull)
				return false;
		}
		else if (exprType((Node *) column->expr) != attribute->atttypid)
			return false;
	}
	return true;
}
