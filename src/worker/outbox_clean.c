/*-------------------------------------------------------------------------
 *
 * outbox_clean.c
 *	  Decides when the outbox is vacuumed, so that it stays small under load
 *	  and the index on (topic, id) does not begin with what has been deleted.
 *
 * Publishing must not depend on it: after an error it is left to autovacuum
 * for an hour.  Nor must it wait for long: nothing is sent during a VACUUM, and
 * a process that is to end finishes it first while messages are unsettled.
 * So a table that is large, after a time without brokers, is left to autovacuum.
 *
 * Gain: 15,000 messages at a time keep the table below 12 MB, and it is empty
 * after them; without, and without autovacuum, it has 330 bytes for each message
 * ever sent.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "access/transam.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/outbox_vacuum.h"

/*
 * VACUUM after so many rows, or bytes, but not before a share of the table has
 * been deleted: it reads all of its indexes.
 */
#define ROWS			10000
#define BYTES			(8 * 1024 * 1024)
#define SHARE			4

/* A larger table is left to autovacuum; reading it takes a second or so. */
#define MAX_TABLE_BYTES	(128 * 1024 * 1024)

/* Bytes of a row besides key, value and headers. */
#define ROW_BYTES		130

/* Interval between two attempts, in ms, and while it is autovacuum's. */
#define ATTEMPT_PAUSE	200
#define LONG_PAUSE		3600000

/* What has been deleted since the last VACUUM. */
static int64 rows = 0;
static int64 bytes = 0;

/* The next transaction when that was enough; invalid: it is not. */
static TransactionId enough_at = InvalidTransactionId;

/* The table may have free space at its end. */
static bool shrinkable = false;

static TimestampTz tried_at = 0;
static int	pause_ms = ATTEMPT_PAUSE;

static bool is_idle(void);
static bool vacuum(bool idle);

/* Rows of a batch were deleted. */
void
rc_out_deleted(int n, int64 size)
{
	rows += n;
	bytes += size + (int64) n * ROW_BYTES;
}

/*
 * VACUUM the outbox if it is time to.  While it has messages the table keeps
 * its size, to be filled again.
 */
void
rc_out_clean(RcPublisher *publisher)
{
	bool		idle = is_idle();

	if (rows < ROWS && bytes < BYTES && !(idle && shrinkable))
		return;
	if (rc_outbox_ending() || !rc_time_passed(tried_at, pause_ms))
		return;
	tried_at = GetCurrentTimestamp();
	pause_ms = ATTEMPT_PAUSE;
	if (!TransactionIdIsValid(enough_at))
		enough_at = ReadNextTransactionId();
	PG_TRY();
	{
		if (vacuum(idle))
		{
			rows = bytes = 0;
			enough_at = InvalidTransactionId;
			shrinkable = !idle;
		}
	}
	PG_CATCH();
	{
		FreeErrorData(rc_worker_recover(publisher->context, true));
		pause_ms = LONG_PAUSE;
	}
	PG_END_TRY();
	PortalContext = NULL;
	MemoryContextSwitchTo(publisher->context);
}

static bool
is_idle(void)
{
	return rc_out_count(RC_OUT_WITH_MESSAGES) == 0 &&
		rc_out_count(RC_OUT_UNSETTLED) == 0;
}

/* Returns false if it was not done. */
static bool
vacuum(bool idle)
{
	MemoryContext context = CurrentMemoryContext;
	int64		size;
	bool		due;
	bool		done = false;

	rc_transaction_begin_in(context);
	size = rc_outbox_size();
	due = rc_outbox_removable(enough_at) && (idle || bytes >= size / SHARE);
	rc_transaction_commit();
	if (size > MAX_TABLE_BYTES)
		pause_ms = LONG_PAUSE;
	if (!due || size > MAX_TABLE_BYTES)
		return false;

	/* what VACUUM keeps between its transactions */
	PortalContext = context;
	rc_transaction_begin_in(context);
	done = rc_outbox_vacuum(idle);
	rc_transaction_commit();
	return done;
}
