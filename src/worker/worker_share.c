/*-------------------------------------------------------------------------
 *
 * worker_share.c
 *	  How many workers one role may have in a database: its streams, runs,
 *	  rc_drain() and rc_retry() together, so that nobody's sources or calls
 *	  keep those of others from their worker slots.
 *
 * It starts and ends nothing.  Who starts something looks here first: the
 * scheduler, and a backend that waits for a worker (worker_request.c).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_share.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"

/* Workers that connect as an owner; others are the extension's own. */
#define OF_OWNERS \
	"(a.backend_type IN ('" RC_TITLE_STREAM "', '" RC_TITLE_RETRY "', '" RC_TITLE_DRAIN "')" \
	" OR a.backend_type LIKE 'rappel^_conso run %' ESCAPE '^')"

int
rc_share_most(void)
{
	return rc_workers_per_owner > 0 ? rc_workers_per_owner :
		Max(1, max_worker_processes / 2);
}

/*
 * Which workers a role has now, but for processes that the caller counts by
 * itself: "but" is an array of their PIDs, as text.
 */
void
rc_share_count(Oid owner, const char *but, RcShare *share)
{
	RcQueryScope scope;
	RcParams	params = {0};

	Assert(IsTransactionState());
	memset(share, 0, sizeof(RcShare));
	share->owner = owner;
	share->limited = !superuser_arg(owner);
	pgstat_clear_snapshot();
	rc_param_datum(&params, OIDOID, ObjectIdGetDatum(owner));
	rc_param_datum(&params, OIDOID, ObjectIdGetDatum(MyDatabaseId));
	rc_param_text(&params, but);
	rc_query_begin(&scope);
	rc_query("SELECT pg_catalog.count(*) FILTER (WHERE a.backend_type = '" RC_TITLE_STREAM "'),"
			 " pg_catalog.count(*) FILTER (WHERE a.backend_type <> '" RC_TITLE_STREAM "')"
			 " FROM pg_catalog.pg_stat_get_activity(NULL) a"
			 " WHERE a.usesysid = $1 AND a.datid = $2 AND " OF_OWNERS
			 " AND a.pid <> ALL (CAST($3 AS int4[]))", &params);
	share->streams = (int) rc_column_int8(0, 1, 0);
	share->others = (int) rc_column_int8(0, 2, 0);
	rc_query_end(&scope);
}

/* How much of its share a role has, streams and all. */
int
rc_share_used(const RcShare *share)
{
	return share->streams + share->others;
}

/* Whether a run of the role has to wait for another of its own kind to end. */
bool
rc_share_is_full(const RcShare *share)
{
	return share->limited && share->others >= rc_share_most();
}

/* Whether it can begin when one of the role's own stream workers has left. */
bool
rc_share_must_leave(const RcShare *share)
{
	return share->limited && rc_share_used(share) >= rc_share_most();
}

/* Why something of the role waits. */
char *
rc_share_message(const char *owner_name)
{
	return psprintf("role \"%s\" has as many workers as rappel_conso.workers_per_owner allows: %d",
					owner_name, rc_share_most());
}

/*
 * Say that this session wants a worker slot for the role, until it says that
 * it does not any more or its transaction aborts.  The mark without a name is
 * for the scheduler to see that there is any.
 */
void
rc_share_mark(Oid owner)
{
	rc_lock_mark(RC_WORKER_SLOT, "", false);
	rc_lock_mark(RC_WORKER_SLOT, psprintf("%u", owner), false);
}

void
rc_share_unmark(Oid owner)
{
	rc_lock_unmark(RC_WORKER_SLOT, "", false);
	rc_lock_unmark(RC_WORKER_SLOT, psprintf("%u", owner), false);
}

bool
rc_share_marked(Oid owner)
{
	return rc_lock_marked(RC_WORKER_SLOT, psprintf("%u", owner));
}

/* The roles that sessions want worker slots for. */
List *
rc_share_waiting(void)
{
	MemoryContext context = CurrentMemoryContext;
	RcQueryScope scope;
	List	   *owners = NIL;
	uint64		n;

	Assert(IsTransactionState());
	rc_query_begin(&scope);
	n = rc_query("SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname IN"
				 " (SELECT owner FROM rappel_conso.stream"
				 "  UNION SELECT owner FROM rappel_conso.source)", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		Oid			owner = (Oid) rc_column_int8(i, 1, InvalidOid);
		MemoryContext spi = MemoryContextSwitchTo(context);

		if (rc_share_marked(owner))
			owners = lappend_oid(owners, owner);
		MemoryContextSwitchTo(spi);
	}
	rc_query_end(&scope);
	return owners;
}

/*
 * In a worker that a backend has started: many may have found the same last
 * place of the share.  Those that came first have it.
 */
void
rc_share_check(void)
{
	MemoryContext context = CurrentMemoryContext;
	RcQueryScope scope;
	RcParams	params = {0};
	bool		full;

	rc_transaction_begin();
	rc_param_int4(&params, MyProcPid);
	rc_param_int4(&params, rc_share_most());
	rc_query_begin(&scope);
	rc_query("SELECT pg_catalog.count(*) >= $2"
			 " FROM pg_catalog.pg_stat_get_activity($1) me,"
			 " pg_catalog.pg_stat_get_activity(NULL) a"
			 " WHERE a.usesysid = me.usesysid AND a.datid = me.datid"
			 " AND a.backend_type <> '" RC_TITLE_STREAM "' AND " OF_OWNERS
			 " AND (a.backend_start, a.pid) < (me.backend_start, me.pid)",
			 &params);
	full = rc_column_bool(0, 1);
	rc_query_end(&scope);
	MemoryContextSwitchTo(context);
	if (full && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("%s", rc_share_message(GetUserNameFromId(GetUserId(), false))),
				 errhint("Call the function again when one of them has ended.")));
	rc_transaction_commit();
}
