/*-------------------------------------------------------------------------
 *
 * statement_run.c
 *	  Executes the statement of a stream over "records", in a subtransaction.
 *
 * A user's SQL runs only here and in statement_setup.c.  It must run as the
 * stream's owner, without the extension's rights, and must leave neither a
 * setting nor a deferred trigger behind (user_sql.c).  Which records are
 * applied, and what their errors mean, is decided in apply.c.
 *
 * SPI plans the statement, but the executor is run here as SPI would do it.
 * That shows whether an error came before the first record was processed, and
 * rows can be sent where they are needed (statement_result.c).
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

#include "store/multi_insert.h"
#include "store/record_scan.h"
#include "store/statement_new.h"

/* Batches of fewer records use the plan for small batches. */
#define SMALL_BATCH		100

/* So many records are worth the preparation of multi_insert.c. */
#define MULTI_INSERT_ROWS	8

/* Memory of a tuplestore before it spills, in kB; a batch has up to 8 MB. */
#define STORE_KBYTES	(32 * 1024)

/* A saved plan is replaced after 1, 2, 4, .. uses, then after each 1024. */
#define REPLAN_USES		1024

/* What the statement sees as "records". */
typedef struct Records
{
	RcRows	   *rows;
	Tuplestorestate *store;
	bool		stored;			/* the store has the rows, too */
} Records;

static void drop_plan(RcSizedPlan *sized);
static ErrorData *try(RcApplier *applier, const RcRecord *records, int *n,
					  bool probe, bool maybe_new, RcCounts *counts);
static void run_range(RcApplier *applier, const RcRecord *records, int *n,
					  bool maybe_new, RcCounts *counts);
static void run_statement(RcApplier *applier, Records *records,
						  bool maybe_new, RcCounts *counts);
static bool run_new(RcApplier *applier, Records *records,
					QueryEnvironment *environment, RcResult *result);
static RcSizedPlan *get_plan(RcApplier *applier, RcPlans *plans, int n);
static uint64 execute(RcApplier *applier, RcPlans *plans, Records *records,
					  QueryEnvironment *environment, DestReceiver *dest);
static bool suits_many(RcSizedPlan *sized, const CachedPlan *cached, int n);
static uint64 execute_query(RcApplier *applier, const char *sql,
							PlannedStmt *statement, Records *records, QueryEnvironment *environment,
							DestReceiver *dest, bool *many);
static void execute_utility(const RcStream *stream, PlannedStmt *statement,
							QueryEnvironment *environment);

/*
 * Called before a batch: make the decoder, or replace decoder and plans if the
 * row type was altered.
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
	applier->plans.sql = applier->stream->statement;
	rc_new_rows_prepare(applier);
}

/* Free the saved plans. */
void
rc_statement_forget(RcApplier *applier)
{
	RcPlans    *all[] = {&applier->plans, &applier->ask_new,
	&applier->insert_new};

	for (int i = 0; i < lengthof(all); i++)
	{
		drop_plan(&all[i]->small);
		drop_plan(&all[i]->full);
	}
}

static void
drop_plan(RcSizedPlan *sized)
{
	if (sized->plan != NULL)
		SPI_freeplan(sized->plan);
	memset(sized, 0, sizeof(RcSizedPlan));
}

/*
 * Apply *n records in a subtransaction, or as many of them as are decoded to a
 * bounded memory: *n is set to that.  Returns the error that rolled it back, in
 * the current context, or NULL.  Rows inserted and updated are added to
 * *counts.  A probe only finds out whether the records can be applied: it is
 * always rolled back.
 */
ErrorData *
rc_statement_try(RcApplier *applier, const RcRecord *records, int *n,
				 bool probe, RcCounts *counts)
{
	bool		maybe_new = !probe && rc_new_rows_maybe(applier, *n);
	ErrorData  *error = try(applier, records, n, probe, maybe_new, counts);

	if (error == NULL || !rc_new_rows_failed(applier, error))
		return error;
	FreeErrorData(error);
	return try(applier, records, n, probe, false, counts);
}

/*
 * The same.  "maybe_new" says that the rows may all be new, for which there is
 * another statement.
 */
static ErrorData *
try(RcApplier *applier, const RcRecord *records, int *n, bool probe,
	bool maybe_new, RcCounts *counts)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	RcCounts	before = *counts;
	ErrorData  *volatile error = NULL;

	/* of triggers that a superuser has put on a table of ours */
	rc_user_sql_fire_deferred();
	applier->inserting_new = false;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(applier->range_context);
		run_range(applier, records, n, maybe_new, counts);
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

		/*
		 * a query may have acquired one; PostgresMain(), which would release
		 * it, is not reached
		 */
		if (MyReplicationSlot != NULL)
			ReplicationSlotRelease();
		*counts = before;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old);
	MemoryContextReset(applier->range_context);
	CurrentResourceOwner = owner;
	return error;
}

/* Decode the records and execute the statement over them. */
static void
run_range(RcApplier *applier, const RcRecord *records, int *n,
		  bool maybe_new, RcCounts *counts)
{
	Records		decoded = {0};
	int			i;

	/* decoding may run user code, in constraints of domains */
	applier->phase = RC_PHASE_DECODE;
	rc_user_sql_begin(applier->stream->statement);
	decoded.rows = rc_rows_make(rc_decoder_desc(applier->decoder));
	rc_decoder_begin(applier->decoder, decoded.rows);
	for (i = 0; i < *n && !rc_rows_full(decoded.rows); i++)
	{
		applier->decoding = i;
		rc_decoder_put(applier->decoder, &records[i]);
	}
	*n = i;
	applier->phase = RC_PHASE_PREPARE;
	decoded.store = tuplestore_begin_heap(false, false, STORE_KBYTES);
	run_statement(applier, &decoded, maybe_new, counts);
	tuplestore_end(decoded.store);
}

/*
 * Execute the statement, then the triggers that it deferred, then restore
 * settings; all of it as the owner.
 */
static void
run_statement(RcApplier *applier, Records *records, bool maybe_new,
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
				 rc_relation_register("records", records->store,
									  records->rows->desc,
									  records->rows->n));

	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
	if (!maybe_new || !run_new(applier, records, environment, result))
		rc_result_rows(result, execute(applier, &applier->plans, records,
									   environment, rc_result_receiver(result)));
	SPI_finish();

	rc_user_sql_fire_deferred();
	rc_user_sql_end();
	disable_timeout(STATEMENT_TIMEOUT, false);
	AtEOXact_GUC(false, level);
	rc_result_finish(result, counts);
}

/* If all rows are new, insert them and return true. */
static bool
run_new(RcApplier *applier, Records *records, QueryEnvironment *environment,
		RcResult *result)
{
	bool		all_new;

	applier->inserting_new = true;
	(void) execute(applier, &applier->ask_new, records, environment,
				   rc_new_rows_receiver(&all_new));
	applier->phase = RC_PHASE_PREPARE;
	if (all_new)
		rc_result_rows(result, execute(applier, &applier->insert_new, records,
									   environment, None_Receiver));
	else
		applier->inserting_new = false;
	return all_new;
}

/*
 * The saved plan for a batch of n records.  The size of "records" is part of a
 * plan, so there are two; and since tables grow without invalidating plans, a
 * plan is replaced now and then.
 */
static RcSizedPlan *
get_plan(RcApplier *applier, RcPlans *plans, int n)
{
	RcSizedPlan *sized = (n < SMALL_BATCH) ? &plans->small : &plans->full;

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
		SPIPlanPtr	plan = SPI_prepare(plans->sql, 0, NULL);

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
	return sized;
}

/*
 * Execute a statement; returns the number of rows returned or changed.
 * Snapshots and command counter, for each query that rules have produced, are
 * handled as in _SPI_execute_plan() in PostgreSQL's executor/spi.c.
 */
static uint64
execute(RcApplier *applier, RcPlans *plans, Records *records,
		QueryEnvironment *environment, DestReceiver *dest)
{
	RcSizedPlan *sized = get_plan(applier, plans, records->rows->n);
	uint64		rows = 0;
	CachedPlan *cached = SPI_plan_get_cached_plan(sized->plan);
	bool	   *many;
	ListCell   *lc;

	if (cached == NULL)
		elog(ERROR, "the plan of a statement is not one of SPI_prepare()");
	many = suits_many(sized, cached, records->rows->n) ? &sized->many : NULL;
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, cached->stmt_list)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, lc);
		uint64		done;

		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
		if (statement->utilityStmt != NULL)
			execute_utility(applier->stream, statement, environment);
		else
		{
			done = execute_query(applier, plans->sql, statement, records,
								 environment,
								 statement->canSetTag ? dest : None_Receiver,
								 many);
			if (statement->canSetTag)
				rows = done;
		}
	}
	PopActiveSnapshot();
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	CommandCounterIncrement();
	return rows;
}

/* Whether the rows of a statement over n records are inserted by many. */
static bool
suits_many(RcSizedPlan *sized, const CachedPlan *cached, int n)
{
	if (n < MULTI_INSERT_ROWS || (rc_fast_paths & RC_FAST_INSERTS) == 0)
		return false;
	if (sized->checked != cached->generation)
	{
		CachedPlanSource *source =
			linitial(SPI_plan_get_plan_sources(sized->plan));

		sized->many = rc_multi_insert_suits(source->query_list);
		sized->checked = cached->generation;
	}
	return sized->many;
}

/*
 * Returns the number of rows returned or changed.  "many" is NULL if rows must
 * not be inserted by many.
 */
static uint64
execute_query(RcApplier *applier, const char *sql, PlannedStmt *statement,
			  Records *records, QueryEnvironment *environment,
			  DestReceiver *dest, bool *many)
{
	QueryDesc  *query;
	bool		scans = (rc_fast_paths & RC_FAST_SCANS) != 0;
	uint64		rows;

	if (!records->stored &&
		(!scans || !rc_record_scan_suffices(statement)))
	{
		rc_rows_store(records->rows, records->store);
		records->stored = true;
	}

	query = CreateQueryDesc(statement, sql, GetActiveSnapshot(),
							InvalidSnapshot, dest, NULL, environment, 0);

	/* checks privileges */
	ExecutorStart(query, 0);
	if (scans)
		rc_decoder_reads(applier->decoder,
						 rc_record_scan_start(query, records->rows,
											  records->store));
	if (many != NULL)
		rc_multi_insert_start(query, many);

	/* from here on a record may be at fault */
	applier->phase = RC_PHASE_EXECUTE;
	rc_executor_run(query);
	rows = query->estate->es_processed;
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	return rows;
}

/*
 * Only a rule can add a utility command (NOTIFY); the statement itself cannot
 * be one, see statement_check.c.
 */
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
