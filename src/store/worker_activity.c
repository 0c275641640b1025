/*-------------------------------------------------------------------------
 *
 * worker_activity.c
 *	  Reads the extension's workers from pg_stat_activity: their number,
 *	  owners and state.
 *
 * No process is signalled here.  The result may be out of date on return, and
 * does not include a process that has just been started: see
 * worker_children.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/worker_activity.h"

#include "miscadmin.h"
#include "pgstat.h"

#include "store/query.h"

/* SQL condition: a run's backend_type, which ends in the source's name. */
#define IS_RUN	"a.backend_type LIKE 'rappel^_conso run %' ESCAPE '^'"

/* SQL condition: workers that run as an owner of sources or streams. */
#define OF_OWNERS \
	"(a.backend_type IN ('" RC_TITLE_STREAM "', '" RC_TITLE_RETRY "', '" RC_TITLE_DRAIN "')" \
	" OR " IS_RUN ")"

static void begin(RcQueryScope *scope);

/* Read the current processes, not those seen earlier in the transaction. */
static void
begin(RcQueryScope *scope)
{
	pgstat_clear_snapshot();
	rc_query_begin(scope);
}

/*
 * The number of worker slots that have a process.  A worker of another
 * extension that waits to be restarted has a slot but no process.
 */
int64
rc_activity_used_slots(void)
{
	RcQueryScope scope;
	int64		used;

	begin(&scope);
	rc_query("SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_activity(NULL) a"
			 " WHERE a.backend_type <> ALL (ARRAY['archiver', 'autovacuum launcher',"
			 "  'autovacuum worker', 'background writer', 'checkpointer',"
			 "  'client backend', 'io worker', 'logger', 'slotsync worker',"
			 "  'standalone backend', 'startup', 'walreceiver', 'walsender',"
			 "  'walsummarizer', 'walwriter'])", NULL);
	used = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return used;
}

/*
 * Count the workers of a role: those of its streams, and others.  "but" is an
 * array of PIDs, as text, to leave out.
 */
void
rc_activity_count(Oid owner, const char *but, int *streams, int *others)
{
	RcQueryScope scope;
	RcParams	params = {0};

	rc_param_oid(&params, owner);
	rc_param_oid(&params, MyDatabaseId);
	rc_param_text(&params, but);
	begin(&scope);
	rc_query("SELECT pg_catalog.count(*) FILTER (WHERE a.backend_type = '" RC_TITLE_STREAM "'),"
			 " pg_catalog.count(*) FILTER (WHERE a.backend_type <> '" RC_TITLE_STREAM "')"
			 " FROM pg_catalog.pg_stat_get_activity(NULL) a"
			 " WHERE a.usesysid = $1 AND a.datid = $2 AND " OF_OWNERS
			 " AND a.pid <> ALL (CAST($3 AS int4[]))", &params);
	*streams = (int) rc_column_int8(0, 1, 0);
	*others = (int) rc_column_int8(0, 2, 0);
	rc_query_end(&scope);
}

/*
 * Whether at least "most" workers of the same role, other than those of
 * streams, were started before process "pid".
 */
bool
rc_activity_preceded(int pid, int most)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		preceded;

	rc_param_int4(&params, pid);
	rc_param_int4(&params, most);
	rc_query_begin(&scope);
	rc_query("SELECT pg_catalog.count(*) >= $2"
			 " FROM pg_catalog.pg_stat_get_activity($1) me,"
			 " pg_catalog.pg_stat_get_activity(NULL) a"
			 " WHERE a.usesysid = me.usesysid AND a.datid = me.datid"
			 " AND a.backend_type <> '" RC_TITLE_STREAM "' AND " OF_OWNERS
			 " AND (a.backend_start, a.pid) < (me.backend_start, me.pid)",
			 &params);
	preceded = rc_column_bool(0, 1);
	rc_query_end(&scope);
	return preceded;
}

/*
 * The stream worker whose end does the least harm: outside of a transaction if
 * possible, then the newest one of the role with most workers; with "owner",
 * only of that role. 0 if there is none.
 */
int
rc_activity_stream_to_end(Oid owner)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int			pid = 0;

	rc_param_oid(&params, MyDatabaseId);
	rc_param_oid(&params, owner);
	begin(&scope);
	if (rc_query("SELECT a.pid FROM (SELECT o.*,"
				 "  pg_catalog.count(*) OVER (PARTITION BY o.usesysid) AS n"
				 "  FROM pg_catalog.pg_stat_get_activity(NULL) o"
				 "  WHERE o.datid = $1 AND o.backend_type LIKE 'rappel^_conso %' ESCAPE '^') a"
				 " WHERE a.backend_type = '" RC_TITLE_STREAM "'"
				 " AND ($2 = 0 OR a.usesysid = $2)"
				 " ORDER BY a.xact_start IS NOT NULL, a.n DESC, a.backend_start DESC LIMIT 1",
				 &params) == 1)
		pid = (int) rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return pid;
}

/* Processes of runs, as RcRunProcess in the current context. */
List *
rc_activity_run_processes(void)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *processes = NIL;
	uint64		n;

	rc_param_oid(&params, MyDatabaseId);
	begin(&scope);
	n = rc_query("SELECT a.pid, a.usesysid, a.backend_type"
				 " FROM pg_catalog.pg_stat_get_activity(NULL) a"
				 " WHERE a.datid = $1 AND a.usesysid IS NOT NULL AND " IS_RUN,
				 &params);
	for (uint64 i = 0; i < n; i++)
	{
		RcRunProcess *process = SPI_palloc(sizeof(RcRunProcess));

		process->pid = (int) rc_column_int8(i, 1, 0);
		process->role = (Oid) rc_column_int8(i, 2, InvalidOid);
		process->source = rc_column_text(i, 3) + strlen(RC_TITLE_RUN " ");
		processes = rc_result_append(processes, process);
	}
	rc_query_end(&scope);
	return processes;
}

/*
 * Runs in state running without a process for their source, as RcRunningRun in
 * the current context. backend_type is compared, because any user can set
 * application_name.  It contains the name that the source had when the process
 * was started, so a run of a source renamed since is returned, too.
 */
List *
rc_activity_runs_without_process(void)
{
	RcQueryScope scope;
	List	   *runs = NIL;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT r.source, r.id::text FROM rappel_conso.run r WHERE r.state = 'running'"
				 " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a"
				 "  WHERE a.datname = pg_catalog.current_database()"
				 "  AND a.backend_type = '" RC_TITLE_RUN " ' || r.source)",
				 NULL);
	for (uint64 i = 0; i < n; i++)
	{
		RcRunningRun *run = SPI_palloc(sizeof(RcRunningRun));

		run->source = rc_column_text(i, 1);
		run->id = rc_column_text(i, 2);
		runs = rc_result_append(runs, run);
	}
	rc_query_end(&scope);
	return runs;
}

/*
 * Whether a process has a snapshot that may be older than the last change of a
 * stream.
 */
bool
rc_activity_began_before(int pid, const char *stream)
{
	RcParams	params = {0};

	rc_param_int4(&params, pid);
	rc_param_text(&params, stream);
	return rc_execute("SELECT 1 FROM pg_catalog.pg_stat_get_activity($1) a"
					  " WHERE a.backend_xmin IS NOT NULL AND (EXISTS"
					  "  (SELECT FROM rappel_conso.stream s WHERE s.name = $2"
					  "   AND pg_catalog.age(a.backend_xmin) >= pg_catalog.age(s.xmin))"
					  "  OR EXISTS (SELECT FROM rappel_conso.stream_offset o"
					  "   WHERE o.stream = $2"
					  "   AND pg_catalog.age(a.backend_xmin) >= pg_catalog.age(o.xmin)))",
					  &params) > 0;
}
