/*-------------------------------------------------------------------------
 *
 * scheduler_changes.c
 *	  Detects changes of streams that sent no signal when they were committed,
 *	  as by COMMIT PREPARED or with session_replication_role = replica, and
 *	  cancels their statements.
 *
 * Workers check between two batches, but a statement may run forever.  A
 * statement that was started after the change may occasionally be cancelled as
 * well, which costs its batch a retry; see stream_worker.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Maximum number of workers of a stream: see the column's constraint. */
#define MAX_WORKERS		64

/* Version of a stream at the last poll. */
typedef struct Known
{
	char		name[NAMEDATALEN];	/* key of the hash table */
	uint64		version;		/* hash of the version that its workers know */
	uint64		latest;			/* hash of the version read last */
	bool		seen;
} Known;

static HTAB *known_streams = NULL;

static bool note(const char *name, const char *version);
static List *find_gone(void);
static void cancel_workers(const char *name, bool gone);
static void cancel(RcWorkerKind kind, const char *worker, int number,
				   const char *stream, bool gone);
static void signal_worker(int pid);

/*
 * Cancel statements of streams that were changed since the last poll, if they
 * may have been started before.  Starts nothing.
 */
List *
rc_due_cancels(List *starts)
{
	List	   *changed = NIL;
	ListCell   *lc;

	foreach(lc, rc_stream_versions())
	{
		const RcStreamVersion *now = (const RcStreamVersion *) lfirst(lc);

		if (note(now->name, now->version))
			changed = lappend(changed, now->name);
	}

	/* if a lock timeout ends this in between, the rest is found again */
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
 * The extension was dropped, or updated to another version, and the scheduler
 * exits: cancel all running statements, which nothing would end afterwards.
 * Their workers then notice the change.
 */
void
rc_cancel_all(void)
{
	ListCell   *lc;

	foreach(lc, rc_lock_holders(MyDatabaseId))
		signal_worker(lfirst_int(lc));
}

/*
 * Record the version of a stream.  Returns true if its workers do not know of
 * it yet.
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

/* Streams that were not noted since the last call. */
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

/*
 * Cancel all workers that may run a stream's statement: see cancel_users() in
 * definition_triggers.c.
 */
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

	if (pid != 0 && (gone || rc_activity_began_before(pid, stream)))
		signal_worker(pid);
}

static void
signal_worker(int pid)
{
	if (pid != MyProcPid)
		rc_wake_process(pid, true);
}
