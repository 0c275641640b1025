/*-------------------------------------------------------------------------
 *
 * statement_check.c
 *	  Checks the statement of a stream by planning it over an empty "records":
 *	  its kind, and the tables that it reads and writes.
 *
 * Nothing is executed here; user and search_path are set by the caller.  A
 * stream is checked when it is stored.  If that is not possible (a restored
 * row, a table that its setup creates), the worker checks it before the first
 * batch.
 *
 *-------------------------------------------------------------------------
 */
#include "store/statement_check.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"

#include "store/error_class.h"
#include "store/records_relation.h"
#include "store/statement_output.h"
#include "store/stream_table.h"
#include "store/subtransaction.h"
#include "store/unlogged_tables.h"

/*
 * A query being searched for "records", linked to the query that contains it.
 */
typedef struct Level
{
	Query	   *query;
	struct Level *outer;
	List	  **seen;			/* CTEs visited already */
} Level;

/* Arguments of inspect_step(). */
typedef struct Planning
{
	const RcStream *stream;
	bool		strict;
	RcStatementFacts *facts;
} Planning;

static void plan_or_wait_for_setup(const RcStream *stream,
								   RcStatementFacts *facts);
static void inspect_step(void *arg);
static void plan_statement(const RcStream *stream, RcStatementFacts *facts);
static void check_plan(SPIPlanPtr plan, const char *name);
static void check_commands(List *commands, const char *name);
static bool selects_into(Node *command);
static void inspect_plan(SPIPlanPtr plan, RcStatementFacts *facts);
static bool reads_records(Node *node, void *context);
static bool entry_reads_records(const RangeTblEntry *entry, Level *level);
static void start_plan(SPIPlanPtr plan, EphemeralNamedRelation records);
static void add_hint(void *arg);

/*
 * Check the statement of a stream that is being stored, as the current user,
 * and warn of unlogged tables that it writes.
 */
void
rc_statement_check(const RcStream *stream)
{
	RcStatementFacts facts = {0};
	ListCell   *lc;

	if (stream->setup)
		plan_or_wait_for_setup(stream, &facts);
	else
		plan_statement(stream, &facts);
	rc_statement_require_records(stream, &facts);
	foreach(lc, facts.unlogged)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("table \"%s\", which stream \"%s\" writes to, is unlogged",
						get_rel_name(lfirst_oid(lc)), stream->name),
				 errdetail("A crash of the server or the promotion of a standby empties the table, but not the stream's offsets."),
				 errhint("Use ALTER TABLE .. SET LOGGED, or call rc_seek() after such an event.")));
}

/*
 * A missing table is not an error while the setup, which may create it, has
 * not run.
 */
static void
plan_or_wait_for_setup(const RcStream *stream, RcStatementFacts *facts)
{
	rc_statement_inspect(stream, true, facts);
	if (!facts->lacks_table)
		return;
	rc_statement_check_command(stream);
	ereport(NOTICE,
			(errmsg("statement of stream \"%s\" will be checked after its setup has run",
					stream->name)));
}

/*
 * Check only that the statement is one command of a kind that can be planned.
 */
void
rc_statement_check_command(const RcStream *stream)
{
	check_commands(pg_parse_query(stream->statement), stream->name);
}

/*
 * Check a plan that was made for a batch: objects may have changed since the
 * statement was checked.
 */
void
rc_statement_check_plan(const RcStream *stream, SPIPlanPtr plan)
{
	RcStatementFacts facts = {0};

	check_plan(plan, stream->name);
	inspect_plan(plan, &facts);
	rc_statement_require_records(stream, &facts);
}

/*
 * Raise an error unless the statement reads "records".  It would be executed
 * once for each batch, and the records would be skipped silently.
 */
void
rc_statement_require_records(const RcStream *stream,
							 const RcStatementFacts *facts)
{
	if (facts->planned && !facts->reads_records)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("statement of stream \"%s\" does not read relation \"records\"",
						stream->name),
				 errdetail("Its offsets would advance past records that nothing has used."),
				 errhint("Use the relation records, without a schema, in FROM or USING.")));
}

/*
 * Plan the statement in a subtransaction and collect facts.  A missing table
 * is not an error.  Others are raised if "strict"; else only transient ones
 * are, except a failure to lock a table: setup may fix the rest.
 */
void
rc_statement_inspect(const RcStream *stream, bool strict, RcStatementFacts *facts)
{
	Planning	planning = {stream, strict, facts};
	ErrorData  *error;

	memset(facts, 0, sizeof(RcStatementFacts));
	error = rc_subtransaction_try(inspect_step, &planning);
	if (error == NULL)
		return;
	facts->lacks_table = error->sqlerrcode == ERRCODE_UNDEFINED_TABLE;
	if (!facts->lacks_table &&
		(strict || (rc_error_is_transient(error->sqlerrcode) &&
					error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)))
		ReThrowError(error);
	FreeErrorData(error);
}

static void
inspect_step(void *arg)
{
	const Planning *planning = (const Planning *) arg;
	RcStatementFacts *facts = planning->facts;

	plan_statement(planning->stream, facts);
	if (!planning->strict && facts->unlogged != NIL)
		facts->emptied = rc_unlogged_emptied(planning->stream, facts->unlogged);
}

/* Plan the statement.  Lists in *facts are in the current context. */
static void
plan_statement(const RcStream *stream, RcStatementFacts *facts)
{
	MemoryContext context = CurrentMemoryContext;
	RcDecoder  *decoder = rc_decoder_make(stream);
	Tuplestorestate *store = tuplestore_begin_heap(false, false, 64);
	TupleDesc	desc = rc_decoder_desc(decoder);
	EphemeralNamedRelation records;
	ErrorContextCallback callback;
	SPIPlanPtr	plan;
	MemoryContext old;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	records = rc_relation_register("records", store, desc, 1000);

	callback.callback = add_hint;
	callback.arg = desc;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	plan = SPI_prepare(stream->statement, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	check_plan(plan, stream->name);
	old = MemoryContextSwitchTo(context);
	inspect_plan(plan, facts);
	MemoryContextSwitchTo(old);
	if (stream->output_topic)
		rc_output_check(((CachedPlanSource *)
						 linitial(SPI_plan_get_plan_sources(plan)))->resultDesc,
						stream->name);
	start_plan(plan, records);
	error_context_stack = callback.previous;

	SPI_finish();
	tuplestore_end(store);
}

/* Check the commands of a plan. */
static void
check_plan(SPIPlanPtr plan, const char *name)
{
	List	   *commands = NIL;
	ListCell   *lc;

	foreach(lc, SPI_plan_get_plan_sources(plan))
		commands = lappend(commands,
						   ((CachedPlanSource *) lfirst(lc))->raw_parse_tree);
	check_commands(commands, name);
}

/* "commands" is a List of RawStmt. */
static void
check_commands(List *commands, const char *name)
{
	Node	   *command;

	if (list_length(commands) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("statement of stream \"%s\" must be a single command, not %d",
						name, list_length(commands)),
				 errhint("Use data-modifying CTEs to do several things with one batch.")));
	command = linitial_node(RawStmt, commands)->stmt;
	if ((!IsA(command, SelectStmt) && !IsA(command, InsertStmt) &&
		 !IsA(command, UpdateStmt) && !IsA(command, DeleteStmt) &&
		 !IsA(command, MergeStmt)) || selects_into(command))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("statement of stream \"%s\" must be INSERT, UPDATE, DELETE, MERGE or SELECT",
						name)));
}

/* SELECT .. INTO is parsed as a SELECT, but creates a table. */
static bool
selects_into(Node *command)
{
	SelectStmt *select;

	if (!IsA(command, SelectStmt))
		return false;
	for (select = (SelectStmt *) command; select->larg != NULL;)
		select = select->larg;
	return select->intoClause != NULL;
}

/* Collect what the rewritten queries of a plan read and write. */
static void
inspect_plan(SPIPlanPtr plan, RcStatementFacts *facts)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	List	   *seen = NIL;
	Level		top = {NULL, NULL, &seen};

	/* a rule may have rewritten it to nothing */
	facts->planned = true;
	facts->reads_records = source->query_list == NIL ||
		reads_records((Node *) source->query_list, &top);
	facts->unlogged = rc_unlogged_written(source->query_list);
}

/*
 * Whether "records" is read anywhere: in a CTE, a subquery, an argument.  A
 * SELECT in WITH is executed only if it is referred to by a query that is.
 */
static bool
reads_records(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return entry_reads_records((RangeTblEntry *) node, (Level *) context);
	if (IsA(node, Query))
	{
		Level		level = {(Query *) node, (Level *) context,
		((Level *) context)->seen};
		ListCell   *lc;

		CHECK_FOR_INTERRUPTS();
		if (query_tree_walker(level.query, reads_records, &level,
							  QTW_EXAMINE_RTES_BEFORE |
							  QTW_IGNORE_CTE_SUBQUERIES))
			return true;
		foreach(lc, level.query->cteList)
		{
			Query	   *with = castNode(Query,
										lfirst_node(CommonTableExpr, lc)->ctequery);

			if (with->commandType != CMD_SELECT &&
				reads_records((Node *) with, &level))
				return true;
		}
		return false;
	}
	return expression_tree_walker(node, reads_records, context);
}

/*
 * Whether an entry of FROM reads "records"; level is that of its query.  A CTE
 * is visited at its first reference only: following all references can take
 * exponential time.
 */
static bool
entry_reads_records(const RangeTblEntry *entry, Level *level)
{
	ListCell   *lc;

	if (entry->rtekind == RTE_NAMEDTUPLESTORE)
		return strcmp(entry->enrname, "records") == 0;
	if (entry->rtekind != RTE_CTE || entry->self_reference)
		return false;
	for (Index i = 0; i < entry->ctelevelsup; i++)
		level = level->outer;
	foreach(lc, level->query->cteList)
	{
		CommonTableExpr *with = lfirst_node(CommonTableExpr, lc);

		if (strcmp(with->ctename, entry->ctename) != 0)
			continue;
		if (list_member_ptr(*level->seen, with))
			return false;
		*level->seen = lappend(*level->seen, with);
		return reads_records(with->ctequery, level);
	}
	return false;
}

/* Start the executor as EXPLAIN does, which checks privileges. */
static void
start_plan(SPIPlanPtr plan, EphemeralNamedRelation records)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	QueryEnvironment *environment = create_queryEnv();
	ListCell   *lc;

	if (cached == NULL)
		return;
	register_ENR(environment, records);
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, cached->stmt_list)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, lc);
		QueryDesc  *query;

		if (statement->commandType == CMD_UTILITY)
			continue;
		/* hooks of other extensions may keep this text */
		query = CreateQueryDesc(statement, source->query_string,
								GetActiveSnapshot(), InvalidSnapshot,
								None_Receiver, NULL, environment, 0);
		ExecutorStart(query, EXEC_FLAG_EXPLAIN_ONLY);
		ExecutorEnd(query);
		FreeQueryDesc(query);
	}
	PopActiveSnapshot();
	ReleaseCachedPlan(cached, NULL);
}

/*
 * Error context callback: a missing column is usually meant to be one of
 * "records", so list those.
 */
static void
add_hint(void *arg)
{
	TupleDesc	desc = (TupleDesc) arg;
	StringInfoData columns;

	if (geterrcode() != ERRCODE_UNDEFINED_COLUMN)
		return;
	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (name[0] != '"')
			appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "",
							 quote_identifier(name));
	}
	errhint("The relation records has the columns %s.", columns.data);
}
