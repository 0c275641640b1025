/*-------------------------------------------------------------------------
 *
 * user_sql.c
 *	  What surrounds a user's SQL, which statement_run.c runs: its settings,
 *	  its end by a change of its definition, triggers that it deferred, and
 *	  what is told of its errors.
 *
 * Between rc_user_sql_begin() and _end() a signal may cancel; nothing of ours
 * must run there.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"

#include "store/error_class.h"
#include "store/stream_table.h"
#include "store/user_sql.h"

/* Set by a signal: the definition that we have loaded is not the one of now. */
static volatile sig_atomic_t definition_changed = false;
static volatile sig_atomic_t user_sql_runs = false;

/* The cancel that is pending was asked for by that signal alone. */
static volatile sig_atomic_t cancel_is_ours = false;

static bool explain_cancel(const RcStream *stream, ErrorData *error);
static void shorten_context(ErrorData *error, const char *sql);

/*
 * Signal handler: a definition has been changed, and this process may work
 * for what was before.  A statement under way is cancelled; else whoever
 * waits for the latch looks.
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

/* Signal handler: somebody cancels what this process does. */
void
rc_user_cancel(SIGNAL_ARGS)
{
	cancel_is_ours = false;
	StatementCancelHandler(postgres_signal_arg);
}

/* To be called before a definition is loaded: changes from here on count. */
void
rc_statement_expect(void)
{
	definition_changed = false;
}

/* Whether there was one since; it may be in what was loaded already. */
bool
rc_statement_changed(void)
{
	return definition_changed;
}

/* From here on a change of the definition cancels. */
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
 * From here on it does not; one that comes too late for the user's SQL must
 * not hit ours, which would be told of as somebody's cancel.
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
			QueryCancelPending = true;	/* somebody's came just now */
		cancel_is_ours = false;
	}
}

/* In the caller's level of settings. */
void
rc_user_sql_search_path(const RcStream *stream)
{
	if (stream->search_path)
		(void) set_config_option("search_path", stream->search_path,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
}

/*
 * SET CONSTRAINTS ALL IMMEDIATE: before PostgreSQL 18 a deferred trigger
 * would fire as whoever commits, and its error would be the whole batch's.
 */
void
rc_user_sql_fire_deferred(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->constraints = NIL;
	statement->deferred = false;
	AfterTriggerSetState(statement);
}

/*
 * Make of the error of a user's SQL what is told of it.  True: it was cancelled
 * by a change of its definition.
 */
bool
rc_user_sql_explain(const RcStream *stream, const char *sql, ErrorData *error)
{
	bool		cancelled = explain_cancel(stream, error);

	shorten_context(error, sql);
	return cancelled;
}

/*
 * Say why a statement was cancelled.  That its definition has been changed is
 * the fault of no record, nor will it be the same at the next try.
 */
static bool
explain_cancel(const RcStream *stream, ErrorData *error)
{
	if (!definition_changed || error->sqlerrcode != ERRCODE_QUERY_CANCELED ||
		rc_error_is_timeout(error))
		return false;
	error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error->message = psprintf("stream \"%s\" was changed while its statement ran",
							  stream->name);
	error->detail = pstrdup("The statement was canceled; what was stored before stays.");
	return true;
}

/*
 * Take the line out of an error's context that only repeats the user's whole
 * SQL, as SPI adds it: the stream's row has it.  What functions called by it
 * say of themselves stays.
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
