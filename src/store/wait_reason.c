/*-------------------------------------------------------------------------
 *
 * wait_reason.c
 *	  Why a stream or source cannot continue: texts for rc_status() and the
 *	  log.
 *
 *-------------------------------------------------------------------------
 */
#include "store/wait_reason.h"

#include "store/query.h"

/*
 * The process that holds, or waits for, a lock on a table of the extension or
 * on the extension itself, after waiting for the lock has failed with this
 * error; in the current context.  Without such a process, the error's own
 * message.  A waiting process counts because later requests queue behind it.
 */
char *
rc_lock_message(const ErrorData *error)
{
	RcQueryScope scope;
	bool		granted = false;
	char	   *table = NULL;
	char	   *process = NULL;

	rc_query_begin_catalog(&scope);
	if (rc_query("SELECT l.granted, c.relname, COALESCE(l.pid::text, '(prepared transaction)')"
				 " FROM pg_catalog.pg_locks l"
				 " LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind = 'r'"
				 " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
				 " WHERE (n.nspname = 'rappel_conso'"
				 "  OR (l.locktype = 'object' AND l.classid = 'pg_catalog.pg_extension'::regclass"
				 "   AND l.objid = (SELECT e.oid FROM pg_catalog.pg_extension e"
				 "    WHERE e.extname = 'rappel_conso')))"
				 " AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
				 " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d"
				 "  WHERE d.datname = pg_catalog.current_database())"
				 " AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock',"
				 "  'ShareRowExclusiveLock', 'ShareLock', 'ShareUpdateExclusiveLock')"
				 " ORDER BY l.granted DESC, l.mode = 'AccessExclusiveLock' DESC,"
				 " c.relname LIMIT 1",
				 NULL) == 1)
	{
		granted = rc_column_bool(0, 1);
		table = rc_column_text(0, 2);
		process = rc_column_text(0, 3);
	}
	rc_query_end(&scope);
	if (process == NULL)
		return error->message;
	if (table == NULL)
		return psprintf(gettext_noop("extension \"rappel_conso\" is locked by process %s"),
						process);
	return psprintf(granted ?
					gettext_noop("table \"rappel_conso.%s\" is locked by process %s") :
					gettext_noop("a lock on table \"rappel_conso.%s\" is waited for by process %s"),
					table, process);
}

/*
 * Store why a due source cannot run; NULL removes the reason.  Returns whether
 * that changed anything.
 */
bool
rc_source_wait(const char *source, const char *why)
{
	RcParams	params = {0};

	rc_param_text(&params, source);
	if (why == NULL)
		return rc_execute("DELETE FROM rappel_conso.source_wait"
						  " WHERE source = $1", &params) > 0;
	rc_param_text(&params, why);
	return rc_execute("INSERT INTO rappel_conso.source_wait AS w (source, reason)"
					  " SELECT s.name, $2 FROM rappel_conso.source s WHERE s.name = $1"
					  " ON CONFLICT (source) DO UPDATE SET reason = $2,"
					  "  since = pg_catalog.clock_timestamp()"
					  " WHERE w.reason <> $2", &params) > 0;
}

/* Delete reasons of sources that have nothing to start. */
void
rc_source_wait_remove_idle(void)
{
	rc_execute("DELETE FROM rappel_conso.source_wait w WHERE NOT EXISTS"
			   " (SELECT FROM rappel_conso.source s WHERE s.name = w.source"
			   "  AND NOT s.paused AND s.poll_interval IS NOT NULL)"
			   " AND NOT EXISTS (SELECT FROM rappel_conso.run r"
			   "  WHERE r.source = w.source AND r.state = 'queued')", NULL);
}
