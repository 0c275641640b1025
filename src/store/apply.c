/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Applies a batch: runs the stream's statement over "records" in a
 *	  sub-transaction, halves the batch where a record spoils it, and sends
 *	  the record that fails alone to the dead letters.
 *
 * Here, and only here, a user's SQL runs.  It must run as the stream's owner
 * with nothing of ours switched on, and leave neither a setting nor a
 * deferred trigger behind.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Below this number of records the plan for small batches is used. */
#define SMALL_BATCH		100

/* Memory of a tuplestore before it spills, in kB: a batch is 8 MB of bytes. */
#define STORE_KBYTES	(32 * 1024)

/* How long a lock is waited for to see whether a table is there, in ms. */
#define LOOK_LOCK_TIMEOUT	"10"

/* A kept plan is made anew after 1, 2, 4, .. and then each 1024 uses. */
#define REPLAN_USES		1024

typedef enum ApplyPhase
{
	PHASE_DECODE,
	PHASE_PREPARE,				/* parse, plan, start the executor */
	PHASE_EXECUTE
} ApplyPhase;

typedef struct SizedPlan
{
	SPIPlanPtr	plan;
	uint64		uses;
	uint64		replan_at;
} SizedPlan;

struct RcApplier
{
	const RcStream *stream;
	MemoryContext context;		/* lives as long as the applier */
	MemoryContext range_context;	/* of one try */
	RcDecoder  *decoder;
	SizedPlan	small;
	SizedPlan	full;
	int			dead_in_row;

	/* of the batch under way */
	const RcRecord *records;
	const RcDeadLetter *letters;	/* they are tried again; NULL: no */
	int64		run;
	RcCounts   *counts;
	int			decoding;		/* record under way in PHASE_DECODE */
	TimestampTz statement_start;
};

/* The phase is static since a hook of the executor sets it. */
static ApplyPhase phase;
static ExecutorRun_hook_type previous_run_hook = NULL;
static bool hook_installed = false;

static void note_execution(RC_RUN_HOOK_ARGS);
static void make_decoder(RcApplier *applier);
static bool lacks_table(const RcStream *stream);
static void drop_plan(SizedPlan *sized);
static void apply_range(RcApplier *applier, int low, int high);
static ErrorData *try_range(RcApplier *applier, int low, int high);
static void run_range(RcApplier *applier, int low, int high);
static void run_statement(RcApplier *applier, Tuplestorestate *store, int n);
static SPIPlanPtr get_plan(RcApplier *applier, int n);
static void count_result(RcApplier *applier, int n);
static void fire_deferred_triggers(void);
static bool spoils_one_record(RcApplier *applier, const ErrorData *error);
static void bury(RcApplier *applier, int at, ErrorData *error);

/*
 * Open an applier for a stream, whose struct must live as long.
 */
RcApplier *
rc_applier_open(const RcStream *stream)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "rappel_conso applier",
												  ALLOCSET_DEFAULT_SIZES);
	RcApplier  *applier = MemoryContextAllocZero(context, sizeof(RcApplier));

	if (!hook_installed)
	{
		previous_run_hook = ExecutorRun_hook;
		ExecutorRun_hook = note_execution;
		hook_installed = true;
	}
	applier->stream = stream;
	applier->context = context;
	applier->range_context = AllocSetContextCreate(context,
												   "rappel_conso batch",
												   ALLOCSET_DEFAULT_SIZES);
	return applier;
}

/* Free an applier and its kept plans. */
void
rc_applier_close(RcApplier *applier)
{
	drop_plan(&applier->small);
	drop_plan(&applier->full);
	MemoryContextDelete(applier->context);
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
		phase = PHASE_EXECUTE;
	if (previous_run_hook)
		previous_run_hook(RC_RUN_HOOK_PASS);
	else
		standard_ExecutorRun(RC_RUN_HOOK_PASS);
}

/*
 * The records of the next rc_apply() are these dead letters: one that fails
 * again stays dead, with its new error, and stops nothing.  NULL ends that.
 */
void
rc_applier_retry(RcApplier *applier, const RcDeadLetter *letters)
{
	applier->letters = letters;
}

/*
 * Run a stream's setup as its owner, in the transaction of the caller.
 * Returns true when a table that the statement names was missing before: then
 * nothing is there any more of what was applied, and sources that feed the
 * stream in direct mode begin anew.
 */
bool
rc_applier_setup(const RcStream *stream)
{
	int			level;
	bool		missing;

	if (stream->setup == NULL)
		return false;
	level = NewGUCNestLevel();
	if (stream->search_path)
		(void) set_config_option("search_path", stream->search_path,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	missing = lacks_table(stream);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(stream->setup, false, 0) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("setup of stream \"%s\" has a command that cannot run there",
						stream->name)));
	SPI_finish();
	fire_deferred_triggers();
	AtEOXact_GUC(false, level);
	if (missing)
		rc_stream_forget(stream);
	return missing;
}

/* Nobody shall be waited for to learn that. */
static bool
lacks_table(const RcStream *stream)
{
	int			level = NewGUCNestLevel();
	bool		missing;

	(void) set_config_option("lock_timeout", LOOK_LOCK_TIMEOUT, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	missing = rc_statement_lacks_table(stream, false);
	AtEOXact_GUC(false, level);
	return missing;
}

/*
 * Apply n records in the caller's transaction, in order.
 *
 * Adds to *counts: inserted and updated by a statement that returns a single
 * boolean column "inserted", else the rows written as inserted; dead; and
 * what is left as unchanged.  Dead letters are written in the same
 * transaction.  Errors that are not one record's fault are thrown, as are
 * those that stop the stream (stop_after, on_error); then the caller must
 * abort, and nothing has happened.
 */
void
rc_apply(RcApplier *applier, const RcRecord *records, int n, int64 run,
		 RcCounts *counts)
{
	RcCounts	before = *counts;
	int			dead_in_row = applier->dead_in_row;

	applier->records = records;
	applier->run = run;
	applier->counts = counts;

	PG_TRY();
	{
		make_decoder(applier);
		apply_range(applier, 0, n);
	}
	PG_CATCH();
	{
		/* the same batch may come again */
		*counts = before;
		applier->dead_in_row = dead_in_row;
		PG_RE_THROW();
	}
	PG_END_TRY();

	counts->unchanged += n - (counts->inserted - before.inserted) -
		(counts->updated - before.updated) - (counts->dead - before.dead);
	if (counts->unchanged < before.unchanged)
		counts->unchanged = before.unchanged;
}

/* The decoder, made anew with the plans when the row type was altered. */
static void
make_decoder(RcApplier *applier)
{
	MemoryContext old;

	phase = PHASE_PREPARE;
	if (applier->decoder != NULL && rc_decoder_current(applier->decoder))
		return;
	drop_plan(&applier->small);
	drop_plan(&applier->full);
	old = MemoryContextSwitchTo(applier->context);
	applier->decoder = rc_decoder_make(applier->stream);
	MemoryContextSwitchTo(old);
}

static void
drop_plan(SizedPlan *sized)
{
	if (sized->plan != NULL)
		SPI_freeplan(sized->plan);
	memset(sized, 0, sizeof(SizedPlan));
}

/*
 * Apply records low .. high - 1.  Where decoding fails the culprit is known;
 * else the range is halved until it is alone.
 */
static void
apply_range(RcApplier *applier, int low, int high)
{
	while (low < high)
	{
		ErrorData  *error;
		int			middle;

		CHECK_FOR_INTERRUPTS();
		error = try_range(applier, low, high);
		if (error == NULL)
		{
			applier->dead_in_row = 0;
			return;
		}
		if (!spoils_one_record(applier, error))
			ReThrowError(error);

		if (phase == PHASE_DECODE)
			middle = applier->decoding;
		else if (high - low == 1)
			middle = low;
		else
		{
			FreeErrorData(error);
			middle = low + (high - low) / 2;
			apply_range(applier, low, middle);
			low = middle;
			continue;
		}
		apply_range(applier, low, middle);
		bury(applier, middle, error);
		low = middle + 1;
	}
}

/*
 * One try in a sub-transaction; returns its error, or NULL.
 */
static ErrorData *
try_range(RcApplier *applier, int low, int high)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	RcCounts	before = *applier->counts;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextReset(applier->range_context);
		MemoryContextSwitchTo(applier->range_context);
		run_range(applier, low, high);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		disable_timeout(STATEMENT_TIMEOUT, false);
		debug_query_string = NULL;
		RollbackAndReleaseCurrentSubTransaction();
		*applier->counts = before;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}

/* Decode the records into a tuplestore and run the statement over it. */
static void
run_range(RcApplier *applier, int low, int high)
{
	Tuplestorestate *store;

	phase = PHASE_DECODE;
	store = tuplestore_begin_heap(false, false, STORE_KBYTES);
	for (int i = low; i < high; i++)
	{
		applier->decoding = i;
		rc_decoder_put(applier->decoder, store, &applier->records[i]);
	}
	phase = PHASE_PREPARE;
	run_statement(applier, store, high - low);
	tuplestore_end(store);
}

/*
 * Run the statement, then what it deferred, then undo what it did to
 * settings; all of it as the owner.
 */
static void
run_statement(RcApplier *applier, Tuplestorestate *store, int n)
{
	int			level = NewGUCNestLevel();
	int			result;
	RcOutput   *output = NULL;

	if (applier->stream->search_path)
		(void) set_config_option("search_path", applier->stream->search_path,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc_relation_register("records", store, rc_decoder_desc(applier->decoder), n);

	applier->statement_start = GetCurrentTimestamp();
	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
	debug_query_string = applier->stream->statement;
	result = SPI_execute_plan(get_plan(applier, n), NULL, NULL, false, 0);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("statement of stream \"%s\" cannot run over records: %s",
						applier->stream->name,
						SPI_result_code_string(result))));
	count_result(applier, n);
	if (applier->stream->output_topic)
		output = rc_output_collect(applier->stream->name);
	SPI_finish();

	fire_deferred_triggers();
	debug_query_string = NULL;
	disable_timeout(STATEMENT_TIMEOUT, false);
	AtEOXact_GUC(false, level);
	if (output)
		rc_outbox_insert(applier->stream, output);
}

/*
 * The kept plan for a batch of n.  An ephemeral relation's size is frozen
 * into its plan, so there are two; and tables grow under a kept plan without
 * a word, so it is made anew now and then.
 */
static SPIPlanPtr
get_plan(RcApplier *applier, int n)
{
	SizedPlan  *sized = (n < SMALL_BATCH) ? &applier->small : &applier->full;

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
count_result(RcApplier *applier, int n)
{
	SPITupleTable *table = SPI_tuptable;
	TupleDesc	desc = table ? table->tupdesc : NULL;

	if (desc == NULL || desc->natts != 1 ||
		TupleDescAttr(desc, 0)->atttypid != BOOLOID ||
		strcmp(NameStr(TupleDescAttr(desc, 0)->attname), "inserted") != 0)
	{
		applier->counts->inserted += SPI_processed;
		return;
	}
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		if (rc_column_bool(i, 1))
			applier->counts->inserted++;
		else
			applier->counts->updated++;
	}
}

/*
 * SET CONSTRAINTS ALL IMMEDIATE: before PostgreSQL 18 a deferred trigger
 * would fire as whoever commits, and its error would be the whole batch's.
 */
static void
fire_deferred_triggers(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->constraints = NIL;
	statement->deferred = false;
	AfterTriggerSetState(statement);
}

/*
 * Whether an error of the last try can be one record's fault: a value that
 * cannot be decoded, an error while executing of a class that speaks of
 * data, or the owner's statement timeout.
 */
static bool
spoils_one_record(RcApplier *applier, const ErrorData *error)
{
	if (phase == PHASE_PREPARE)
		return false;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return phase == PHASE_EXECUTE && StatementTimeout > 0 &&
			TimestampDifferenceExceeds(applier->statement_start,
									   GetCurrentTimestamp(),
									   StatementTimeout);
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case MAKE_SQLSTATE('2', '1', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '4', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):
			return true;
		default:
			return false;
	}
}

/* Send one record to the dead letters, or stop the stream. */
static void
bury(RcApplier *applier, int at, ErrorData *error)
{
	const RcStream *stream = applier->stream;
	const RcRecord *record = &applier->records[at];
	int			code = error->sqlerrcode;

	/* of a statement timeout nobody shall think that it may pass */
	if (rc_error_may_pass(code))
		code = ERRCODE_PROGRAM_LIMIT_EXCEEDED;

	if (applier->letters)
	{
		applier->counts->dead++;
		rc_dead_letter_again(applier->letters[at].id, error);
		return;
	}
	if (stream->stop_on_error)
		ereport(ERROR,
				(errcode(code),
				 errmsg("record at offset %lld of topic \"%s\", partition %d failed: %s",
						(long long) record->offset, record->topic,
						record->partition, error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Stream \"%s\" has on_error = stop.", stream->name)));
	if (applier->dead_in_row + 1 >= stream->stop_after)
		ereport(ERROR,
				(errcode(code),
				 errmsg("%d records in a row failed, the last one with: %s",
						stream->stop_after, error->message),
				 errdetail("The last one is at offset %lld of topic \"%s\", partition %d.",
						   (long long) record->offset, record->topic,
						   record->partition),
				 errhint("Something is wrong with stream \"%s\" rather than with its records.  Its column stop_after sets the limit.",
						 stream->name)));
	applier->dead_in_row++;
	applier->counts->dead++;
	rc_dead_letter_add("stream", stream->name, applier->run, record, error,
					   stream->owner_name);
	FreeErrorData(error);
}
