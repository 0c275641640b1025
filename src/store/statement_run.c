/*-------------------------------------------------------------------------
 *
 * statement_run.c
 *	  Runs a user's SQL: the statement of a stream over "records", in a
 *	  sub-transaction, and its setup.
 *
 * Here, and only here, a user's SQL runs.  It must run as the stream's owner
 * with nothing of ours switched on, and leave neither a setting nor a
 * deferred trigger behind (user_sql.c).  Which records are tried, and what
 * their errors mean, is decided in apply.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

/* Below this number of records the plan for small batches is used. */
#define SMALL_BATCH		100

/* Memory of a tuplestore before it spills, in kB: a batch is 8 MB of bytes. */
#define STORE_KBYTES	(32 * 1024)

/* How long a lock is waited for to see whether a table is there, in ms. */
#define LOOK_LOCK_TIMEOUT	"10"

/* A kept plan is made anew after 1, 2, 4, .. and then each 1024 uses. */
#define REPLAN_USES		1024

/* The phase is static since a hook of the executor sets it. */
static RcPhase phase;
static ExecutorRun_hook_type previous_run_hook = NULL;
static bool hook_installed = false;

static void note_execution(RC_RUN_HOOK_ARGS);
static void run_setup(const RcStream *stream);
static void note_begun(const RcStream *stream);
static void tell_emptied(const RcStream *stream, const char *tables);
static void look_at_statement(const RcStream *stream, RcStatementLook *look);
static void drop_plan(RcSizedPlan *sized);
static void run_range(RcApplier *applier, const RcRecord *records, int n,
					  RcCounts *counts);
static void run_statement(RcApplier *applier, Tuplestorestate *store, int n,
						  RcCounts *counts);
static SPIPlanPtr get_plan(RcApplier *applier, int n);
static void count_result(RcCounts *counts);

/* How far the last try has come. */
RcPhase
rc_statement_phase(void)
{
	return phase;
}

/*
 * The statement has got past planning: errors are now those of records.
 * Functions that are run while it is planned have no "records".
 */
static void
note_execution(RC_RUN_HOOK_ARGS)
{
	if (queryDesc->queryEnv != NULL &&
		get_ENR(queryDesc->queryEnv, "records") != NULL)
		phase = RC_PHASE_EXECUTE;
	if (previous_run_hook)
		previous_run_hook(RC_RUN_HOOK_PASS);
	else
		standard_ExecutorRun(RC_RUN_HOOK_PASS);
}

/*
 * Make ready what the statement of a stream needs, in the transaction of the
 * caller: run its setup as its owner, and check what could not be checked when
 * the stream was stored.  Returns true when a table that the statement names
 * was missing before: then nothing is there any more of what was applied, and
 * sources that feed the stream in direct mode begin anew.
 */
bool
rc_applier_setup(const RcStream *stream)
{
	int			level = NewGUCNestLevel();
	bool		missing = false;
	RcStatementLook look;

	rc_statement_check_owner(stream);
	rc_user_sql_search_path(stream);
	rc_statement_check_command(stream);
	if (stream->setup)
	{
		look_at_statement(stream, &look);
		missing = look.lacks_table;
		run_setup(stream);
	}
	look_at_statement(stream, &look);
	rc_statement_require_records(stream, &look);
	if (look.emptied)
		tell_emptied(stream, look.emptied);
	note_begun(stream);
	AtEOXact_GUC(false, level);
	if (missing)
		rc_stream_forget(stream);
	return missing;
}

/*
 * A definition may run only as the role that it names as its owner.  It may
 * be given to another one after a worker was started for it, and then it is
 * that one's SQL.
 */
void
rc_statement_check_owner(const RcStream *stream)
{
	if (!OidIsValid(stream->owner))
		rc_role_lost_error(stream->owner_name, "stream", stream->name);
	if (GetSessionUserId() != stream->owner || GetUserId() != stream->owner)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("stream \"%s\" was given to another role meanwhile",
						stream->name),
				 errhint("Call the function again.")));
}

/* What empties unlogged tables after this will be seen. */
static void
note_begun(const RcStream *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream->name);
	rc_execute("INSERT INTO rappel_conso.unlogged_kept (stream)"
			   " SELECT s.name FROM rappel_conso.stream s WHERE s.name = $1"
			   " ON CONFLICT DO NOTHING", &params);
}

/* Unlogged tables are empty again: only the user knows what to do. */
static void
tell_emptied(const RcStream *stream, const char *tables)
{
	char	   *detail = psprintf("unlogged table %s was emptied by a crash or a promotion: what had been applied before is not in it",
								  tables);

	rc_stream_say(stream->name, "running", detail);
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("stream \"%s\": %s", stream->name, detail),
			 errhint("SELECT rc_seek('%s', 'earliest') applies everything that is in its topics again; in direct mode the source's next full sync does.",
					 stream->name)));
}

static void
run_setup(const RcStream *stream)
{
	MemoryContext context = CurrentMemoryContext;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PG_TRY();
	{
		rc_user_sql_begin(stream->setup);
		if (SPI_execute(stream->setup, false, 0) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("setup of stream \"%s\" has a command that cannot run there",
							stream->name)));
		SPI_finish();
		rc_user_sql_fire_deferred();
		rc_user_sql_end();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		rc_user_sql_end();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (rc_user_sql_explain(stream, stream->setup, error))
			phase = RC_PHASE_PREPARE;
		ReThrowError(error);
	}
	PG_END_TRY();
}

/* Nobody shall be waited for to learn that. */
static void
look_at_statement(const RcStream *stream, RcStatementLook *look)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LOOK_LOCK_TIMEOUT, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		/* planning runs immutable functions of the user */
		rc_user_sql_begin(stream->statement);
		rc_statement_look(stream, false, look);
	}
	PG_FINALLY();
	{
		rc_user_sql_end();
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
}

/*
 * Before a batch: make the decoder, and anew with the plans when the row type
 * was altered.
 */
void
rc_statement_prepare(RcApplier *applier)
{
	MemoryContext old;

	if (!hook_installed)
	{
		previous_run_hook = ExecutorRun_hook;
		ExecutorRun_hook = note_execution;
		hook_installed = true;
	}
	phase = RC_PHASE_PREPARE;
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
			phase = RC_PHASE_PREPARE;
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
	phase = RC_PHASE_DECODE;
	rc_user_sql_begin(applier->stream->statement);
	store = tuplestore_begin_heap(false, false, STORE_KBYTES);
	for (int i = 0; i < n; i++)
	{
		applier->decoding = i;
		rc_decoder_put(applier->decoder, store, &records[i]);
	}
	phase = RC_PHASE_PREPARE;
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
	int			result;
	RcOutput   *output = NULL;

	rc_user_sql_search_path(stream);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc_relation_register("records", store, rc_decoder_desc(applier->decoder), n);

	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
	result = SPI_execute_plan(get_plan(applier, n), NULL, NULL, false, 0);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("statement of stream \"%s\" cannot run over records: %s",
						stream->name, SPI_result_code_string(result))));
	count_result(counts);
	if (stream->output_topic)
		output = rc_output_collect(stream->name);
	SPI_finish();

	rc_user_sql_fire_deferred();
	rc_user_sql_end();
	disable_timeout(STATEMENT_TIMEOUT, false);
	AtEOXact_GUC(false, level);
	if (output)
		rc_outbox_insert(stream, output);
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

/* Count inserted and updated by the statement's rows. */
static void
count_result(RcCounts *counts)
{
	SPITupleTable *table = SPI_tuptable;
	TupleDesc	desc = table ? table->tupdesc : NULL;

	if (desc == NULL || desc->natts != 1 ||
		TupleDescAttr(desc, 0)->atttypid != BOOLOID ||
		strcmp(NameStr(TupleDescAttr(desc, 0)->attname), "inserted") != 0)
	{
		counts->inserted += SPI_processed;
		return;
	}
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		if (rc_column_bool(i, 1))
			counts->inserted++;
		else
			counts->updated++;
	}
}
