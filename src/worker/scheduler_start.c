/*-------------------------------------------------------------------------
 *
 * scheduler_start.c
 *	  Starts the workers that the scheduler has found due, as far as there are
 *	  free worker slots and the owner's share allows it.  The reason why one
 *	  cannot be started is stored in its state.
 *
 * Nothing waits for a slot here: the next round tries again.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/scheduler_due.h"

#include "miscadmin.h"

/* Interval of checking for a free slot for a run, in ms. */
#define SLOT_INTERVAL		100

#define NO_SLOT \
	gettext_noop("no free worker slot; you may need to increase max_worker_processes")

/* Slots and shares as seen in this round. */
typedef struct Round
{
	int			free_slots;		/* -1: not counted yet */
	List	   *shares;			/* RcShare of roles, as far as counted */
} Round;

static int	start_guarded(Round *round, const RcStart *what);
static void start(Round *round, const RcStart *what);
static void start_run(Round *round, const RcStart *what);
static RcShare *share_of(Round *round, Oid owner);
static void make_room(const RcShare *share);
static void make_room_for_calls(Round *round);
static int	count_free_slots(void);
static void start_stream(Round *round, const RcStart *what);
static void report_waiting(const RcStart *what, const char *why);
static bool refuse_owner(const RcStart *what);

/*
 * Start workers, each guarded against errors.  If one runs into a lock
 * timeout, others of the same owner are left for the next round, so that a
 * role that locks all of its rows does not delay everyone by one timeout for
 * each.
 */
void
rc_start_all(List *starts)
{
	Round		round = {.free_slots = -1};
	List	   *locked = NIL;
	ListCell   *lc;

	foreach(lc, starts)
	{
		const RcStart *what = (const RcStart *) lfirst(lc);

		if (what->owner_name != NULL && list_member_oid(locked, what->owner))
			continue;
		if (start_guarded(&round, what) == ERRCODE_LOCK_NOT_AVAILABLE)
			locked = lappend_oid(locked, what->owner);
	}
	make_room_for_calls(&round);
}

/* Start one worker.  Returns the SQLSTATE of an error, or 0. */
static int
start_guarded(Round *round, const RcStart *what)
{
	volatile int sqlstate = 0;

	PG_TRY();
	{
		start(round, what);
	}
	PG_CATCH();
	{
		sqlstate = rc_round_recover();
	}
	PG_END_TRY();
	return sqlstate;
}

/* Start one worker, or store why that is not possible. */
static void
start(Round *round, const RcStart *what)
{
	if (what->owner_name != NULL && refuse_owner(what))
		return;
	if (what->kind == RC_WORKER_STREAM)
		start_stream(round, what);
	else if (what->kind == RC_WORKER_RUN)
		start_run(round, what);
	else if (!rc_child_start(what) && what->kind != RC_WORKER_WATERMARKS)
		make_room(NULL);
}

/*
 * Start a run, within its owner's share.  If no slot is free, a stream worker
 * is ended to free one.
 */
static void
start_run(Round *round, const RcStart *what)
{
	RcShare    *share = share_of(round, what->owner);

	if (rc_share_must_leave(share))
	{
		report_waiting(what, rc_share_message(what->owner_name));
		if (!rc_share_is_full(share))
		{
			share->wanted++;
			make_room(share);
		}
	}
	else if (rc_child_start(what))
	{
		share->others++;
		report_waiting(what, NULL);
	}
	else
	{
		report_waiting(what, NO_SLOT);
		share->wanted++;
		make_room(share);
	}
}

/* The share of a role as seen in this round. */
static RcShare *
share_of(Round *round, Oid owner)
{
	RcShare    *share;
	ListCell   *lc;

	foreach(lc, round->shares)
	{
		share = (RcShare *) lfirst(lc);
		if (share->owner == owner)
			return share;
	}
	share = palloc(sizeof(RcShare));
	rc_transaction_begin();
	rc_share_count(owner, rc_children_pids(), share);
	rc_children_add(share);
	if (rc_share_marked(owner))
		share->wanted++;
	rc_transaction_commit();
	round->shares = lappend(round->shares, share);
	return share;
}

/*
 * End a stream worker so that a run of the role gets a slot, and check again
 * soon.
 */
static void
make_room(const RcShare *share)
{
	rc_transaction_begin();
	if (rc_children_make_room(share))
		rc_next_round_ms = Min(rc_next_round_ms, SLOT_INTERVAL);
	rc_transaction_commit();
}

/*
 * Make room for sessions that wait for a slot in rc_sync_now(), rc_drain() or
 * rc_retry().  A slot that is free is for them already, unless the role's
 * share is used up.
 */
static void
make_room_for_calls(Round *round)
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
		RcShare    *share = share_of(round, lfirst_oid(lc));

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

/*
 * Start a stream worker.  It leaves the last free slot to runs, and the part
 * of the role's share that its runs wait for.
 */
static void
start_stream(Round *round, const RcStart *what)
{
	RcShare    *share = share_of(round, what->owner);

	if (round->free_slots < 0)
		round->free_slots = count_free_slots();
	if (round->free_slots == 1)
		report_waiting(what, gettext_noop("the last free worker slot is reserved for runs; you may need to increase max_worker_processes"));
	else if (share->limited &&
			 rc_share_used(share) + share->wanted >= rc_share_most())
		report_waiting(what, rc_share_message(what->owner_name));
	else if (round->free_slots == 0 || !rc_child_start(what))
	{
		round->free_slots = 0;
		report_waiting(what, NO_SLOT);
	}
	else
	{
		round->free_slots--;
		share->streams++;
	}
}

/* Store why something cannot be started now; NULL: it was started. */
static void
report_waiting(const RcStart *what, const char *why)
{
	rc_transaction_begin();
	if (what->kind == RC_WORKER_STREAM && what->number == 0)
		rc_stream_state_set(what->name, "waiting", why);
	else if (what->kind == RC_WORKER_RUN && rc_source_wait(what->name, why) &&
			 why != NULL)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("source \"%s\" is due, but cannot run: %s",
						what->name, why)));
	rc_transaction_commit();
}

/*
 * Whether no worker can connect as the owner; then the stream or run is set to
 * failed.
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
			gettext_noop("the owner of the stream is not permitted to log in") :
			gettext_noop("the owner of the source is not permitted to log in");
		error.hint = "Workers connect as the owner: grant it LOGIN, or make another role the owner.";
	}
	if (error.message != NULL && stream)
		rc_stream_fail(what->name, &error);
	else if (error.message != NULL)
		rc_run_refuse(what->run, what->name, &error);
	rc_transaction_commit();
	return error.message != NULL;
}
