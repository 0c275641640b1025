/*-------------------------------------------------------------------------
 *
 * statement_setup.c
 *	  Prepares a stream before its statement runs: executes its setup, and
 *	  checks what could not be checked when the stream was stored.
 *
 * A user's SQL runs here, as in statement_run.c: as the stream's owner,
 * without the extension's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "miscadmin.h"
#include "utils/guc.h"

/* lock_timeout, in ms, while finding out whether a table exists. */
#define INSPECT_LOCK_TIMEOUT	"10"

static void run_setup(const RcStream *stream);
static void note_begun(const RcStream *stream);
static void report_emptied(const RcStream *stream, const char *tables);
static void inspect_statement(const RcStream *stream, RcStatementFacts *facts);

/*
 * Run the setup of a stream as its owner, in the caller's transaction, and
 * check what could not be checked when the stream was stored.  Returns true if
 * a table that the statement names was missing before: whatever was applied to
 * it is lost, so sources that feed the stream in direct mode start over.
 */
bool
rc_applier_setup(const RcStream *stream)
{
	int			level = NewGUCNestLevel();
	bool		missing = false;
	RcStatementFacts facts;

	rc_statement_check_owner(stream);
	rc_user_sql_search_path(stream);
	rc_statement_check_command(stream);
	if (stream->setup)
	{
		inspect_statement(stream, &facts);
		missing = facts.lacks_table;
		run_setup(stream);
	}
	inspect_statement(stream, &facts);
	rc_statement_require_records(stream, &facts);
	rc_user_sql_finish(stream);
	if (facts.emptied)
		report_emptied(stream, facts.emptied);
	note_begun(stream);
	AtEOXact_GUC(false, level);
	if (missing)
		rc_stream_forget(stream);
	return missing;
}

/*
 * Raise an error unless the current role is the owner of the stream.  The
 * stream may have been given to another role after the worker was started;
 * then the SQL is that role's and must not run as this one.
 */
void
rc_statement_check_owner(const RcStream *stream)
{
	if (!OidIsValid(stream->owner))
		rc_role_lost_error(stream->owner_name, "stream", stream->name);
	if (GetSessionUserId() != stream->owner || GetUserId() != stream->owner)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("stream \"%s\" was given to another owner concurrently",
						stream->name),
				 errhint("Call the function again.")));
}

/*
 * Insert the stream's row of an unlogged table of ours.  It vanishes when a
 * crash empties unlogged tables, which shows that it happened.
 */
static void
note_begun(const RcStream *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream->name);
	rc_execute("INSERT INTO rappel_conso.unlogged_kept (stream)"
			   " SELECT s.name FROM rappel_conso.stream s WHERE s.name = $1"
			   " ON CONFLICT DO NOTHING", &params);
}

/*
 * Warn that unlogged tables have been emptied; only the user knows what to do.
 */
static void
report_emptied(const RcStream *stream, const char *tables)
{
	char	   *detail = psprintf(gettext_noop("unlogged table %s was emptied by a crash or a promotion; it lacks the rows that were applied before"),
								  tables);

	rc_stream_state_set(stream->name, "running", detail);
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
					 errmsg("setup of stream \"%s\" contains a command that cannot run in it",
							stream->name)));
		SPI_finish();
		rc_user_sql_fire_deferred();
		rc_user_sql_end();
	}
	PG_CATCH();
	{
		rc_user_sql_rethrow(stream, stream->setup, context);
	}
	PG_END_TRY();
}

/* Inspect the statement without waiting for other sessions' locks. */
static void
inspect_statement(const RcStream *stream, RcStatementFacts *facts)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", INSPECT_LOCK_TIMEOUT, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		/* planning may run immutable functions of the user */
		rc_user_sql_begin(stream->statement);
		rc_statement_inspect(stream, false, facts);
	}
	PG_FINALLY();
	{
		rc_user_sql_end();
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
}
