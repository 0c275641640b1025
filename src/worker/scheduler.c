/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *	  The scheduler of a database: starts stream workers and runs that are
 *	  due, and removes old history.
 *
 * What is due is found by scheduler_due.c.  It never touches a record, and runs no SQL
 * of a user: it is connected as the bootstrap superuser.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Everything is looked at this often, in ms, and when the latch is set. */
#define LOOK_INTERVAL		5000

/* Old history is removed this often, in ms. */
#define RETENTION_INTERVAL	(60 * 60 * 1000)

/* How soon to look again whether a slot is free for a run, in ms. */
#define SLOT_INTERVAL		100

/* The longest wait of our own queries for a lock, in ms. */
#define LOCK_PATIENCE		2000

#define NO_SLOT \
	"no free worker slot; max_worker_processes may have to be increased"

MemoryContext rc_round_context;
long		rc_next_look;

/* As this round has seen them; -1, or not in the list: it has not yet. */
static int	free_slots;
static List *shares;

/* Finds what is due, and adds it to a list of RcStart. */
typedef List *(*Part) (List *starts);

static void schedule(RcWorkerArgs *args);
static bool may_run(bool by_hand);
static void round_of_work(void);
static List *retry_after_reload(List *starts);
static List *guarded(Part part, List *starts);
static void start_all(List *starts);
static int	start_guarded(const RcStart *what);
static int	recover_part(void);
static void settle_lost(List *lost);
static void settle_child(const RcLostChild *child);
static void start(const RcStart *what);
static void start_run(const RcStart *what);
static RcShare *share_of(Oid owner);
static void make_room(const RcShare *share);
static void make_room_for_calls(void);
static int	count_free_slots(void);
static void start_stream(const RcStart *what);
static void say_waiting(const RcStart *what, const char *why);
static bool refuse_owner(const RcStart *what);
static void remove_history(void);

/*
 * Entry point of the scheduler.
 */
void
rc_scheduler_main(Datum arg)
{
	rc_worker_main(schedule);
}

static void
schedule(RcWorkerArgs *args)
{
	rc_worker_connect(args, RC_WORKER_SCHEDULER);
	if (!rc_lock_take(RC_WORKER_SCHEDULER, "", 0) || !may_run(args->by_hand))
		proc_exit(0);
	ereport(LOG,
			(errmsg("rappel_conso scheduler started in database with OID %u",
					args->database)));
	rc_query_lock_timeout = LOCK_PATIENCE;
	rc_round_context = AllocSetContextCreate(TopMemoryContext,
											 "rappel_conso scheduler",
											 ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		MemoryContextSwitchTo(rc_round_context);
		MemoryContextReset(rc_round_context);
		rc_next_look = LOOK_INTERVAL;
		PG_TRY();
		{
			round_of_work();
		}
		PG_CATCH();
		{
			(void) rc_worker_recover(rc_round_context, true);
		}
		PG_END_TRY();
		rc_worker_wait(rc_next_look);
	}
}

/*
 * Whether the extension is there, and rc_stop() has not been called since
 * the server started; rc_start() overrules that.
 */
static bool
may_run(bool by_hand)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		may;

	rc_transaction_begin();
	may = rc_extension_present();
	if (may && by_hand)
		rc_execute("DELETE FROM rappel_conso.stopped", NULL);
	else if (may)
	{
		rc_param_time(&params, PgStartTime);
		rc_query_begin(&scope);
		may = rc_query("SELECT 1 FROM rappel_conso.stopped"
					   " WHERE stopped_at >= $1", &params) == 0;
		rc_query_end(&scope);
	}
	rc_transaction_commit();
	return may;
}

/* Look for what there is to do, then start it: runs go first. */
static void
round_of_work(void)
{
	static TimestampTz removed_at = 0;
	List	   *starts = NIL;

	free_slots = -1;
	shares = NIL;
	settle_lost(rc_children_look(&rc_next_look));
	rc_transaction_begin();
	if (!rc_extension_present())
	{
		rc_transaction_commit();
		rc_cancel_all();
		ereport(LOG,
				(errmsg("rappel_conso scheduler leaves: the extension is gone, or has another version than the library")));
		proc_exit(0);
	}
	rc_transaction_commit();

	/* one by one, since a table that somebody has locked may stop each */
	starts = guarded(rc_due_gone, starts);
	starts = guarded(rc_due_dead_runs, starts);
	starts = guarded(rc_due_orphans, starts);
	starts = guarded(rc_due_runs, starts);
	starts = guarded(rc_due_cancels, starts);
	if (rc_kafka_brokers[0] != '\0')
	{
		starts = guarded(retry_after_reload, starts);
		starts = guarded(rc_due_publisher, starts);
		starts = guarded(rc_due_streams, starts);
		starts = guarded(rc_due_watermarks, starts);
	}
	start_all(starts);
	make_room_for_calls();
	MemoryContextSwitchTo(rc_round_context);
	if (rc_time_passed(removed_at, RETENTION_INTERVAL))
	{
		removed_at = GetCurrentTimestamp();
		remove_history();
	}
}

/*
 * Each start is a part of its own.  Where one waits in vain for a lock, others
 * of the same owner are left for the next round, so that who locks all of his
 * rows does not make everybody wait for each.
 */
static void
start_all(List *starts)
{
	List	   *locked = NIL;
	ListCell   *lc;

	foreach(lc, starts)
	{
		const RcStart *what = (const RcStart *) lfirst(lc);

		if (what->owner_name != NULL && list_member_oid(locked, what->owner))
			continue;
		if (start_guarded(what) == ERRCODE_LOCK_NOT_AVAILABLE)
			locked = lappend_oid(locked, what->owner);
	}
}

/* Returns the SQLSTATE of an error, or 0. */
static int
start_guarded(const RcStart *what)
{
	volatile int sqlstate = 0;

	PG_TRY();
	{
		start(what);
	}
	PG_CATCH();
	{
		sqlstate = recover_part();
	}
	PG_END_TRY();
	return sqlstate;
}

/* A setting, or a file that one names, may have been mended. */
static List *
retry_after_reload(List *starts)
{
	static TimestampTz reloaded_at = 0;

	if (reloaded_at != PgReloadTime)
	{
		rc_stream_retry_all();
		reloaded_at = PgReloadTime;
	}
	return starts;
}

/*
 * One part of a round, in a transaction of its own; its error costs the
 * others nothing.
 */
static List *
guarded(Part part, List *starts)
{
	List	   *volatile result = starts;

	PG_TRY();
	{
		rc_transaction_begin_in(rc_round_context);
		result = part(starts);
		rc_transaction_commit();
	}
	PG_CATCH();
	{
		recover_part();
		result = starts;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(rc_round_context);
	return result;
}

/*
 * In PG_CATCH, where a part of a round has failed: the others go on.  Returns
 * the SQLSTATE.
 */
static int
recover_part(void)
{
	ErrorData  *error = rc_worker_recover(rc_round_context,
										  geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE);

	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		rc_transaction_begin();
		ereport(LOG,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("rappel_conso scheduler waits: %s",
						rc_lock_words(error))));
		rc_transaction_commit();
	}
	MemoryContextSwitchTo(rc_round_context);
	return error->sqlerrcode;
}

/* Workers that could not connect. */
static void
settle_lost(List *lost)
{
	ListCell   *lc;

	foreach(lc, lost)
	{
		RcLostChild *child = (RcLostChild *) lfirst(lc);

		PG_TRY();
		{
			rc_transaction_begin();
			if (rc_extension_present())
				settle_child(child);
			rc_transaction_commit();
		}
		PG_CATCH();
		{
			recover_part();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(rc_round_context);
		if (child->what.kind != RC_WORKER_STREAM)
			rc_due_pause(child->what.kind, child->what.name);
	}
}

/*
 * A stream whose worker could not connect has failed.  A run that was asked
 * for fails where another try would do no better.
 */
static void
settle_child(const RcLostChild *child)
{
	ErrorData  *error = child->error;

	if (child->what.kind == RC_WORKER_STREAM)
		(void) rc_stream_fail(child->what.name, error);
	else if (child->what.kind == RC_WORKER_RUN &&
			 !rc_error_may_pass(error->sqlerrcode))
		rc_run_refuse(child->what.run, child->what.name, error);
	else if (child->what.kind == RC_WORKER_RUN)
		(void) rc_source_wait(child->what.name,
							  psprintf("its worker could not connect: %s",
									   error->message));
}

/* Start one worker, or say why not. */
static void
start(const RcStart *what)
{
	if (what->owner_name != NULL && refuse_owner(what))
		return;
	if (what->kind == RC_WORKER_STREAM)
		start_stream(what);
	else if (what->kind == RC_WORKER_RUN)
		start_run(what);
	else if (!rc_child_start(what) && what->kind != RC_WORKER_WATERMARKS)
		make_room(NULL);
}

/* A run always finds a slot, but no more of them than its owner's share. */
static void
start_run(const RcStart *what)
{
	RcShare    *share = share_of(what->owner);

	if (rc_share_must_leave(share))
	{
		say_waiting(what, rc_share_words(what->owner_name));
		if (!rc_share_is_full(share))
		{
			share->wanted++;
			make_room(share);
		}
	}
	else if (rc_child_start(what))
	{
		share->others++;
		say_waiting(what, NULL);
	}
	else
	{
		say_waiting(what, NO_SLOT);
		share->wanted++;
		make_room(share);
	}
}

/* What a role has, as this round knows it. */
static RcShare *
share_of(Oid owner)
{
	RcShare    *share;
	ListCell   *lc;

	foreach(lc, shares)
	{
		share = (RcShare *) lfirst(lc);
		if (share->owner == owner)
			return share;
	}
	share = palloc(sizeof(RcShare));
	rc_transaction_begin();
	rc_share_look(owner, rc_children_pids(), share);
	rc_children_add(share);
	if (rc_share_marked(owner))
		share->wanted++;
	rc_transaction_commit();
	shares = lappend(shares, share);
	return share;
}

/* A run of the role wants a slot: see to it, and look again soon. */
static void
make_room(const RcShare *share)
{
	rc_transaction_begin();
	if (rc_children_make_room(share))
		rc_next_look = Min(rc_next_look, SLOT_INTERVAL);
	rc_transaction_commit();
}

/*
 * Sessions want slots: rc_sync_now(), rc_drain(), rc_retry().  One that is
 * free already is theirs, unless the role has its share.
 */
static void
make_room_for_calls(void)
{
	List	   *owners;
	ListCell   *lc;

	if (!rc_lock_marked(RC_WORKER_SLOT, ""))
		return;
	rc_transaction_begin_in(rc_round_context);
	owners = rc_share_waiting();
	rc_transaction_commit();
	foreach(lc, owners)
	{
		RcShare    *share = share_of(lfirst_oid(lc));

		if (!rc_share_is_full(share) &&
			(rc_share_must_leave(share) || count_free_slots() == 0))
			make_room(share);
	}
}

static int
count_free_slots(void)
{
	int			n;

	rc_transaction_begin();
	n = rc_children_free_slots();
	rc_transaction_commit();
	return n;
}

/* A stream leaves a slot for runs, and others of the role's share to others. */
static void
start_stream(const RcStart *what)
{
	RcShare    *share = share_of(what->owner);

	if (free_slots < 0)
		free_slots = count_free_slots();
	if (free_slots == 1)
		say_waiting(what, "the last free worker slot is kept for runs; max_worker_processes may have to be increased");
	else if (share->limited &&
			 rc_share_used(share) + share->wanted >= rc_share_most())
		say_waiting(what, rc_share_words(what->owner_name));
	else if (free_slots == 0 || !rc_child_start(what))
	{
		free_slots = 0;
		say_waiting(what, NO_SLOT);
	}
	else
	{
		free_slots--;
		share->streams++;
	}
}

/*
 * Something cannot be started now: the status says why until it can.  NULL:
 * it was started.
 */
static void
say_waiting(const RcStart *what, const char *why)
{
	rc_transaction_begin();
	if (what->kind == RC_WORKER_STREAM && what->number == 0)
		rc_stream_say(what->name, "waiting", why);
	else if (what->kind == RC_WORKER_RUN && rc_source_wait(what->name, why) &&
			 why != NULL)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("source \"%s\" is due, but cannot run: %s",
						what->name, why)));
	rc_transaction_commit();
}

/*
 * Whether no worker can connect as the owner: then the stream or the run has
 * failed with that.
 */
static bool
refuse_owner(const RcStart *what)
{
	bool		stream = (what->kind == RC_WORKER_STREAM);
	ErrorData	error = {0};

	rc_transaction_begin();
	if (!OidIsValid(what->owner))
		rc_role_lost(what->owner_name, stream ? "stream" : "source",
					 what->name, &error);
	else if (!rc_role_can_login(what->owner))
	{
		error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		error.message = stream ?
			"the owner of the stream is not permitted to log in" :
			"the owner of the source is not permitted to log in";
		error.hint = "Workers connect as the owner: give it LOGIN, or make another role the owner.";
	}
	if (error.message != NULL && stream)
		(void) rc_stream_fail(what->name, &error);
	else if (error.message != NULL)
		rc_run_refuse(what->run, what->name, &error);
	rc_transaction_commit();
	return error.message != NULL;
}

/* Ended runs and resolved dead letters older than keep_history go. */
static void
remove_history(void)
{
	RcQueryScope scope;
	RcParams	params = {0};

	rc_transaction_begin();
	rc_param_int4(&params, rc_keep_history);
	rc_query_begin(&scope);
	rc_query("DELETE FROM rappel_conso.run WHERE state <> 'running'"
			 " AND finished_at < pg_catalog.now() - $1 * '1 day'::interval"
			 " AND id NOT IN (SELECT max(id) FROM rappel_conso.run GROUP BY source)",
			 &params);
	rc_query("DELETE FROM rappel_conso.dead_letter"
			 " WHERE resolved_at < pg_catalog.now() - $1 * '1 day'::interval",
			 &params);
	rc_query_end(&scope);
	rc_transaction_commit();
}
