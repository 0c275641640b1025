/*-------------------------------------------------------------------------
 *
 * scheduler_changes.c
 *	  Changes of streams that nobody was told of when they were committed, as
 *	  by COMMIT PREPARED or with session_replication_role = replica.
 *
 * Workers look by themselves between two batches; but a statement may never
 * end.  A statement that was begun after the change may be canceled as well
 * now and then, which costs its batch another try; see stream_worker.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Workers of a stream, at most: see the column's constraint. */
#define MAX_WORKERS		64

/* What a stream was at the last look. */
typedef struct Known
{
	char		name[NAMEDATALEN];	/* key of the hash table */
	uint64		version;		/* hash of what names it; workers know of it */
	uint64		latest;			/* the same, as it was read last */
	bool		seen;
} Known;

static HTAB *known_streams = NULL;

static bool note(const char *name, const char *version);
static List *find_gone(void);
static void cancel_workers(const char *name, bool gone);
static void cancel(RcWorkerKind kind, const char *worker, int number,
				   const char *stream, bool gone);
static void signal_worker(int pid);
static bool began_before(int pid, const char *stream);

/*
 * Cancel statements of streams that have been changed since the last look, if
 * they may have been begun before.  Starts nothing.
 */
List *
rc_due_cancels(List *starts)
{
	RcQueryScope scope;
	List	   *changed = NIL;
	ListCell   *lc;
	uint64		n;

	/* partitions that a worker has found begin with epoch 1 */
	rc_query_begin(&scope);
	n = rc_query("SELECT s.name, s.xmin::text || ' ' || s.ctid::text || ' ' ||"
				 " COALESCE((SELECT pg_catalog.string_agg(o.epoch::text, ' '"
				 "  ORDER BY o.topic, o.partition) FILTER (WHERE o.epoch > 1)"
				 "  FROM rappel_conso.stream_offset o WHERE o.stream = s.name), '')"
				 " FROM rappel_conso.stream s", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = rc_column_text(i, 1);

		if (note(name, rc_column_text(i, 2)))
			changed = rc_result_append(changed, name);
	}
	rc_query_end(&scope);
	/* a lock may end this in between: the rest is then found again */
	foreach(lc, find_gone())
	{
		cancel_workers((char *) lfirst(lc), true);
		(void) hash_search(known_streams, lfirst(lc), HASH_REMOVE, NULL);
	}
	foreach(lc, changed)
	{
		Known	   *known = hash_search(known_streams, lfirst(lc), HASH_FIND,
										NULL);

		cancel_workers(known->name, false);
		known->version = known->latest;
	}
	return starts;
}

/*
 * The extension has gone, or is of another version: nobody is left to end a
 * statement that does not end by itself.  Its worker then finds that out.
 */
void
rc_cancel_all(void)
{
	ListCell   *lc;

	foreach(lc, rc_lock_holders(MyDatabaseId))
		signal_worker(lfirst_int(lc));
}

/*
 * Remember what a stream is now; true if it is not what its workers know of.
 */
static bool
note(const char *name, const char *version)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) version,
										   strlen(version), 0);
	Known	   *known;
	bool		found;

	if (known_streams == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = NAMEDATALEN;
		control.entrysize = sizeof(Known);
		known_streams = hash_create("rappel_conso streams", 64, &control,
									HASH_ELEM | HASH_STRINGS);
	}
	known = hash_search(known_streams, name, HASH_ENTER, &found);
	if (!found)
		known->version = hash;
	known->latest = hash;
	known->seen = true;
	return known->version != hash;
}

/* Those that were not noted since the last time. */
static List *
find_gone(void)
{
	List	   *gone = NIL;
	HASH_SEQ_STATUS status;
	Known	   *known;

	if (known_streams == NULL)
		return NIL;
	hash_seq_init(&status, known_streams);
	while ((known = hash_seq_search(&status)) != NULL)
	{
		if (!known->seen)
			gone = lappend(gone, pstrdup(known->name));
		known->seen = false;
	}
	return gone;
}

/* Whoever can run a stream's statement: see cancel_users() in definition_triggers.c. */
static void
cancel_workers(const char *name, bool gone)
{
	ListCell   *lc;

	for (int i = 0; i < MAX_WORKERS; i++)
		cancel(RC_WORKER_STREAM, name, i, name, gone);
	cancel(RC_WORKER_RETRY, name, 0, name, gone);
	foreach(lc, rc_sources_of_stream(name))
		cancel(RC_WORKER_RUN, (char *) lfirst(lc), 0, name, gone);
}

static void
cancel(RcWorkerKind kind, const char *worker, int number, const char *stream,
	   bool gone)
{
	int			pid = rc_lock_holder(MyDatabaseId, kind, worker, number);

	if (pid != 0 && (gone || began_before(pid, stream)))
		signal_worker(pid);
}

static void
signal_worker(int pid)
{
	if (pid != MyProcPid)
		rc_wake_process(pid, true);
}

/*
 * Whether the process has a snapshot that may not see what the stream is now.
 */
static bool
began_before(int pid, const char *stream)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		before;

	rc_param_int4(&params, pid);
	rc_param_text(&params, stream);
	rc_query_begin(&scope);
	before = rc_query("SELECT 1 FROM pg_catalog.pg_stat_get_activity($1) a"
					  " WHERE a.backend_xmin IS NOT NULL AND (EXISTS"
					  "  (SELECT FROM rappel_conso.stream s WHERE s.name = $2"
					  "   AND pg_catalog.age(a.backend_xmin) >= pg_catalog.age(s.xmin))"
					  "  OR EXISTS (SELECT FROM rappel_conso.stream_offset o"
					  "   WHERE o.stream = $2"
					  "   AND pg_catalog.age(a.backend_xmin) >= pg_catalog.age(o.xmin)))",
					  &params) > 0;
	rc_query_end(&scope);
	return before;
}
