/*-------------------------------------------------------------------------
 *
 * statement_run.c
 *	  Runs the statement of a stream over "records", in a sub-transaction.
 *
 * Here, and in statement_setup.c, a user's SQL runs.  It must run as the
 * stream's owner with nothing of ours switched on, and leave neither a setting
 * nor a deferred trigger behind (user_sql.c).  Which records are tried, and
 * what their errors mean, is decided in apply.c.
 *
 * SPI plans the statement; the executor is run here, as SPI would do it, so
 * that it is known whether an error came before the first record was looked at,
 * and so that rows go where they are needed (statement_result.c).
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "replication/slot.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

/* Below this number of records the plan for small batches is used. */
#define SMALL_BATCH		100

/* Memory of a tuplestore before it spills, in kB: a batch is 8 MB of bytes. */
#define STORE_KBYTES	(32 * 1024)

/* A kept plan is made anew after 1, 2, 4, .. and then each 1024 uses. */
#define REPLAN_USES		1024

static void drop_plan(RcSizedPlan *sized);
static void run_range(RcApplier *applier, const RcRecord *records, int n,
					  RcCounts *counts);
static void run_statement(RcApplier *applier, Tuplestorestate *store, int n,
						  RcCounts *counts);
static SPIPlanPtr get_plan(RcApplier *applier, int n);
static void execute(RcApplier *applier, SPIPlanPtr plan,
					QueryEnvironment *environment, RcResult *result);
static uint64 execute_query(RcApplier *applier, PlannedStmt *statement,
							QueryEnvironment *environment, DestReceiver *dest);
static void execute_utility(const RcStream *stream, PlannedStmt *statement,
							QueryEnvironment *environment);

/*
 * Before a batch: make the decoder, and anew with the plans when the row type
 * was altered.
 */
void
rc_statement_prepare(RcApplier *applier)
{
	MemoryContext old;

	applier->phase = RC_PHASE_PREPARE;
	rc_recall_table_check(applier->stream);
	if (applier->decoder != NULL && rc_decoder_current(applier->decoder))
		return;
	rc_statement_forget(applier);
	old = MemoryContextSwitchTo(applier->context);
	applier->decoder = rc_decoder_make(applier->stream);
	MemoryContextSwitchTo(old);
}

/* Free the kept plans. */
void
rc_statement_forget(RcApplier *applier)
{
	drop_plan(&applier->small);
	drop_plan(&applier->full);
}

static void
drop_plan(RcSizedPlan *sized)
{
	if (sized->plan != NULL)
		SPI_freeplan(sized->plan);
	memset(sized, 0, sizeof(RcSizedPlan));
}

/*
 * Apply n records in a sub-transaction; returns the error that undid it, in
 * the current context, or NULL.  Adds to *counts what the statement inserted
 * and updated.  A probe only finds out whether they can be applied: it is
 * undone in any case.
 */
ErrorData *
rc_statement_try(RcApplier *applier, const RcRecord *records, int n,
				 bool probe, RcCounts *counts)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	RcCounts	before = *counts;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextReset(applier->range_context);
		MemoryContextSwitchTo(applier->range_context);
		run_range(applier, records, n, counts);
		if (probe)
		{
			RollbackAndReleaseCurrentSubTransaction();
			*counts = before;
		}
		else
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		rc_user_sql_end();
		disable_timeout(STATEMENT_TIMEOUT, false);
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		if (rc_user_sql_explain(applier->stream, applier->stream->statement,
								error))
			applier->phase = RC_PHASE_PREPARE;
		RollbackAndReleaseCurrentSubTransaction();
		/* nobody else does: PostgresMain() releases one that a query held */
		if (MyReplicationSlot != NULL)
			ReplicationSlotRelease();
		*counts = before;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}

/* Decode the records into a tuplestore and run the statement over it. */
static void
run_range(RcApplier *applier, const RcRecord *records, int n,
		  RcCounts *counts)
{
	Tuplestorestate *store;

	/* decoding runs what the user has made for domains, too */
	applier->phase = RC_PHASE_DECODE;
	rc_user_sql_begin(applier->stream->statement);
	store = tuplestore_begin_heap(false, false, STORE_KBYTES);
	for (int i = 0; i < n; i++)
	{
		applier->decoding = i;
		rc_decoder_put(applier->decoder, store, &records[i]);
	}
	applier->phase = RC_PHASE_PREPARE;
	run_statement(applier, store, n, counts);
	tuplestore_end(store);
}

/*
 * Run the statement, then what it deferred, then undo what it did to
 * settings; all of it as the owner.
 */
static void
run_statement(RcApplier *applier, Tuplestorestate *store, int n,
			  RcCounts *counts)
{
	const RcStream *stream = applier->stream;
	int			level = NewGUCNestLevel();
	RcResult   *result = rc_result_make(stream);
	QueryEnvironment *environment = create_queryEnv();

	rc_user_sql_search_path(stream);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	register_ENR(environment,
				 rc_relation_register("records", store,
									  rc_decoder_desc(applier->decoder), n));

	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
	execute(applier, get_plan(applier, n), environment, result);
	SPI_finish();

	rc_user_sql_fire_deferred();
	rc_user_sql_end();
	disable_timeout(STATEMENT_TIMEOUT, false);
	AtEOXact_GUC(false, level);
	rc_result_finish(result, counts);
}

/*
 * The kept plan for a batch of n.  An ephemeral relation's size is frozen
 * into its plan, so there are two; and tables grow under a kept plan without
 * a word, so it is made anew now and then.
 */
static SPIPlanPtr
get_plan(RcApplier *applier, int n)
{
	RcSizedPlan *sized = (n < SMALL_BATCH) ? &applier->small : &applier->full;

	if (sized->plan != NULL && sized->uses >= sized->replan_at)
	{
		uint64		next = Min(sized->replan_at * 2,
							   sized->replan_at + REPLAN_USES);
		uint64		uses = sized->uses;

		drop_plan(sized);
		sized->uses = uses;
		sized->replan_at = next;
	}
	if (sized->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(applier->stream->statement, 0, NULL);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s",
				 SPI_result_code_string(SPI_result));
		rc_statement_check_plan(applier->stream, plan);
		SPI_keepplan(plan);
		sized->plan = plan;
		if (sized->replan_at == 0)
			sized->replan_at = 1;
	}
	sized->uses++;
	return sized->plan;
}

/*
 * Execute the plan: snapshot, command counter and what is done for each
 * statement that rules have made of it are those of SPI_execute_plan(), see
 * _SPI_execute_plan() in PostgreSQL's executor/spi.c.
 */
static void
execute(RcApplier *applier, SPIPlanPtr plan, QueryEnvironment *environment,
		RcResult *result)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	ListCell   *lc;

	if (cached == NULL)
		elog(ERROR, "the plan of a statement is not one of SPI_prepare()");
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, cached->stmt_list)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, lc);
		DestReceiver *dest = statement->canSetTag ?
			rc_result_receiver(result) : None_Receiver;
		uint64		rows;

		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
		if (statement->utilityStmt != NULL)
			execute_utility(applier->stream, statement, environment);
		else
		{
			rows = execute_query(applier, statement, environment, dest);
			if (statement->canSetTag)
				rc_result_rows(result, rows);
		}
	}
	PopActiveSnapshot();
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	CommandCounterIncrement();
}

/* Returns how many rows it has returned or changed. */
static uint64
execute_query(RcApplier *applier, PlannedStmt *statement,
			  QueryEnvironment *environment, DestReceiver *dest)
{
	QueryDesc  *query;
	uint64		rows;

	query = CreateQueryDesc(statement, applier->stream->statement,
							GetActiveSnapshot(), InvalidSnapshot, dest, NULL,
							environment, 0);

	/* privileges are looked at here */
	ExecutorStart(query, 0);

	/* from here on errors are those of records */
	applier->phase = RC_PHASE_EXECUTE;
	rc_executor_run(query);
	rows = query->estate->es_processed;
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	return rows;
}

/* A rule can notify; the statement itself is none, see statement_check.c. */
static void
execute_utility(const RcStream *stream, PlannedStmt *statement,
				QueryEnvironment *environment)
{
	if (statement->canSetTag)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("statement of stream \"%s\" cannot run over records",
						stream->name)));
	ProcessUtility(statement, stream->statement, true, PROCESS_UTILITY_QUERY,
				   NULL, environment, None_Receiver, NULL);
}
