/*-------------------------------------------------------------------------
 *
 * user_sql.c
 *	  The environment of a user's SQL (statement_run.c, statement_setup.c):
 *	  its settings, its cancellation when the definition changes, triggers
 *	  that it deferred, and what is reported of its errors.
 *
 * Between rc_user_sql_begin() and rc_user_sql_end() a signal may cancel the
 * current statement, so the extension's own SQL must not run there.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/portal.h"

#include "store/error_class.h"
#include "store/stream_table.h"
#include "store/user_sql.h"

/* Set by a signal: the loaded definition is out of date. */
static volatile sig_atomic_t definition_changed = false;
static volatile sig_atomic_t user_sql_runs = false;

/* The pending cancel was requested by that signal only. */
static volatile sig_atomic_t cancel_is_ours = false;

static bool explain_cancel(const RcStream *stream, ErrorData *error);
static void shorten_context(ErrorData *error, const char *sql);

/*
 * Signal handler: a definition has changed, perhaps the one that this process
 * works for.  Cancels the user's SQL if it is running; in any case sets the
 * latch, so that the main loop checks.
 */
void
rc_statement_cancel(SIGNAL_ARGS)
{
	int			save_errno = errno;

	definition_changed = true;
	if (user_sql_runs)
	{
		if (!QueryCancelPending)
			cancel_is_ours = true;
		QueryCancelPending = true;
		InterruptPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

/* Signal handler: a user cancels this process. */
void
rc_user_cancel(SIGNAL_ARGS)
{
	cancel_is_ours = false;
	StatementCancelHandler(postgres_signal_arg);
}

/*
 * Must be called before a definition is loaded, so that no later change is
 * missed.
 */
void
rc_statement_expect(void)
{
	definition_changed = false;
}

/*
 * Whether a definition changed since; what was loaded may include the change.
 */
bool
rc_statement_changed(void)
{
	return definition_changed;
}

/*
 * Start of a user's SQL: from here on a change of the definition cancels it.
 */
void
rc_user_sql_begin(const char *sql)
{
	debug_query_string = sql;
	pgstat_report_activity(STATE_RUNNING, sql);
	user_sql_runs = true;
	if (definition_changed)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement due to a change of its definition")));
}

/*
 * End of a user's SQL.  A cancel by rc_statement_cancel() that came too late
 * must not hit our own SQL, where it would be reported as a user's cancel.
 */
void
rc_user_sql_end(void)
{
	user_sql_runs = false;
	debug_query_string = NULL;
	if (cancel_is_ours)
	{
		QueryCancelPending = false;
		if (!cancel_is_ours)
			QueryCancelPending = true;	/* rc_user_cancel() came in between */
		cancel_is_ours = false;
	}
}

/* Set the stream's search_path, in the caller's GUC nest level. */
void
rc_user_sql_search_path(const RcStream *stream)
{
	if (stream->search_path)
		(void) set_config_option("search_path", stream->search_path,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}

/*
 * Fire triggers that are deferred, as a commit does: before PostgreSQL 18 that
 * would fire them as the role that commits, and their errors would fail the
 * whole batch.
 *
 * SET CONSTRAINTS ALL IMMEDIATE would hold for later statements of the same
 * transaction, too.  In a subtransaction none may be pending from before it:
 * what has fired is forgotten, and would be missed if it is rolled back.
 */
void
rc_user_sql_fire_deferred(void)
{
	AfterTriggerFireDeferred();
}

/*
 * In a PG_CATCH around a user's SQL: end it, and raise its error again as
 * rc_user_sql_explain() adjusts it.  "context" is where that is built.
 */
void
rc_user_sql_rethrow(const RcStream *stream, const char *sql,
					MemoryContext context)
{
	ErrorData  *error;

	rc_user_sql_end();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	(void) rc_user_sql_explain(stream, sql, error);
	ReThrowError(error);
}

/*
 * Leave no user SQL to the commit, where a change of the definition would not
 * cancel it and our row locks would be held meanwhile: fire deferred triggers
 * that have deferred themselves again, and close cursors WITH HOLD, whose
 * queries the commit would run.  To be called outside of subtransactions, and
 * before SQL of ours that locks rows.
 */
void
rc_user_sql_finish(const RcStream *stream)
{
	MemoryContext context = CurrentMemoryContext;
	int			level = NewGUCNestLevel();

	rc_user_sql_search_path(stream);
	PG_TRY();
	{
		rc_user_sql_begin(stream->statement);
		AfterTriggerFireDeferred();
		PortalHashTableDeleteAll();
		rc_user_sql_end();
	}
	PG_CATCH();
	{
		rc_user_sql_rethrow(stream, stream->statement, context);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
}

/*
 * Adjust the error of a user's SQL for reporting.  Returns true if it was
 * cancelled by a change of its definition.
 */
bool
rc_user_sql_explain(const RcStream *stream, const char *sql, ErrorData *error)
{
	bool		cancelled = explain_cancel(stream, error);

	shorten_context(error, sql);
	return cancelled;
}

/*
 * Replace the error of a statement that was cancelled by a change of its
 * definition: no record is at fault, and the next attempt uses the new one.
 */
static bool
explain_cancel(const RcStream *stream, ErrorData *error)
{
	if (!definition_changed || error->sqlerrcode != ERRCODE_QUERY_CANCELED ||
		rc_error_is_timeout(error))
		return false;
	error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error->message = psprintf(gettext_noop("stream \"%s\" was changed while its statement ran"),
							  stream->name);
	error->detail = pstrdup("The statement was canceled; what was committed before is kept.");
	return true;
}

/*
 * Remove the line from an error's context that merely repeats the user's SQL,
 * as SPI adds it: it is in the stream's row.  Context of functions that it
 * called is kept.
 */
static void
shorten_context(ErrorData *error, const char *sql)
{
	char	   *from;
	char	   *to;

	if (error->context == NULL || (from = strstr(error->context, sql)) == NULL)
		return;
	to = from + strlen(sql);
	while (from > error->context && from[-1] != '\n')
		from--;
	while (*to != '\0' && *to != '\n')
		to++;
	if (*to == '\n')
		to++;
	else if (from > error->context)
		from--;
	memmove(from, to, strlen(to) + 1);
	if (error->context[0] == '\0')
		error->context = NULL;
}
