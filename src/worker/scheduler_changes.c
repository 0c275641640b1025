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

/*
 * Cancel statements of streams that have been changed since the last look, if
 * they may have been begun before.  Starts nothing.
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

/*
 * Whoever can run a stream's statement: see cancel_users() in
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
