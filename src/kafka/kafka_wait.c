/*-------------------------------------------------------------------------
 *
 * kafka_wait.c
 *	  Waiting for a client of Kafka: for what happens, for an answer until a
 *	  deadline, and whether it is worth to wait any longer.
 *
 * Nothing here may block without end: PostgreSQL waits for every process at
 * a barrier now and then.  Waits happen in WaitLatch; the library is asked
 * with a timeout of 0, or in slices of at most a second where it has no other
 * way.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "latch_wait.h"

/* Slices of a call that blocks in the library. */
#define SLICE_MIN_MS	300
#define SLICE_MAX_MS	1000

/* After so long without a broker, all that is known is read again. */
#define REOPEN_AFTER_MS	30000

/*
 * Wait until the client has something (returns true), the latch is set or
 * timeout_ms have passed (false; 0 only looks).  Serves callbacks and
 * interrupts.  Resets the latch, so the caller looks at its own flags after
 * it.  Returns at once while a consumer has records that have not been
 * fetched: to wait for something else, use the latch alone.
 */
bool
rc_kafka_wait(RcKafka *kafka, long timeout_ms)
{
	bool		woken = false;
	int			events;

	Assert(!IsTransactionState());
	if (kafka->kind == RC_KAFKA_CONSUMER && rc_consumer_has_more(kafka))
	{
		timeout_ms = 0;
		woken = true;
	}
	events = WaitLatchOrSocket(MyLatch,
							   WL_LATCH_SET | WL_SOCKET_READABLE |
							   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							   kafka->pipe[0], timeout_ms,
							   rc_wait_event(RC_WAIT_KAFKA));
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (events & WL_SOCKET_READABLE)
	{
		char		buffer[64];

		while (read(kafka->pipe[0], buffer, sizeof(buffer)) > 0)
			;
		woken = true;
	}
	rd_kafka_poll(kafka->rk, 0);
	rc_report_emit(kafka);
	return woken;
}

/*
 * Let timeout_ms pass between two tries, or less if the latch is set.
 */
void
rc_kafka_pause(RcKafka *kafka, long timeout_ms)
{
	int			events;

	Assert(!IsTransactionState());
	events = WaitLatch(MyLatch,
					   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   timeout_ms, rc_wait_event(RC_WAIT_KAFKA));
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	rd_kafka_poll(kafka->rk, 0);
	rc_report_emit(kafka);
}

/*
 * Whether the client ought to be closed and opened again: its settings, or a
 * file that it was made from, are others by now; or no broker can be reached,
 * and the configuration has been reloaded since, or that has lasted for a
 * while.  Then what is not seen to change counts, too: a name's address, the
 * machine's authorities.
 */
bool
rc_kafka_stale(RcKafka *kafka)
{
	instr_time	elapsed;

	if (rc_files_changed(kafka->files))
		return true;
	if (rc_kafka_connection_error(kafka) == NULL)
		return false;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, kafka->down_since);
	return PgReloadTime > kafka->opened_at ||
		INSTR_TIME_GET_MILLISEC(elapsed) >= REOPEN_AFTER_MS;
}

/*
 * Whether to try once more before the deadline.  Not with a client that cannot
 * come to anything: its files are others by now.  A consumer that has not met a
 * broker ends its wait at a reload, too; it can try again for nothing, while
 * a producer's user would lose one of its tries.
 */
bool
rc_kafka_resend(RcKafka *kafka, const RcDeadline *deadline)
{
	if (rc_deadline_left(deadline) == 0 || rc_files_changed(kafka->files))
		return false;
	return !(ConfigReloadPending && kafka->down &&
			 kafka->kind == RC_KAFKA_CONSUMER);
}

/*
 * Begin to count timeout_ms from now.
 */
void
rc_deadline_start(RcDeadline *deadline, int timeout_ms)
{
	INSTR_TIME_SET_CURRENT(deadline->start);
	deadline->timeout_ms = timeout_ms;
	deadline->slice_ms = SLICE_MIN_MS;
}

/*
 * Milliseconds left; 0 if time is up.
 */
long
rc_deadline_left(const RcDeadline *deadline)
{
	instr_time	elapsed;
	double		left;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, deadline->start);
	left = deadline->timeout_ms - INSTR_TIME_GET_MILLISEC(elapsed);
	return left > 0 ? (long) left + 1 : 0;
}

/*
 * How long the next blocking call may take: from 300 to 1000 ms, growing, so
 * that a slow broker's answer is waited for, too.
 */
int
rc_deadline_slice(RcDeadline *deadline)
{
	int			slice = (int) Min(deadline->slice_ms,
								  rc_deadline_left(deadline));

	Assert(!IsTransactionState());
	deadline->slice_ms = Min(deadline->slice_ms * 2, SLICE_MAX_MS);
	return slice;
}
