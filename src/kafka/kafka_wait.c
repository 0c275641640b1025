/*-------------------------------------------------------------------------
 *
 * kafka_wait.c
 *	  Waits for events of a Kafka client, and limits the time of blocking
 *	  calls.
 *
 * Nothing may block in librdkafka for as long as a second: a blocked process
 * does not respond to a cancel, and all processes wait for it at a
 * ProcSignalBarrier.  Waits happen in WaitLatch; functions of librdkafka are
 * called with a timeout of 0 or, where its API has no asynchronous form, in
 * slices of SLICE_MAX_MS at most.
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

/* Shortest and longest slice of a call that blocks in librdkafka. */
#define SLICE_MIN_MS	300
#define SLICE_MAX_MS	800

/* After so long without a reachable broker the client is opened again. */
#define REOPEN_AFTER_MS	30000

/*
 * Wait until the client has an event (returns true), or the latch is set or
 * timeout_ms have passed (false; with 0 it only polls).  Runs librdkafka's
 * callbacks and processes interrupts.  Resets the latch, so the caller must
 * check its own flags afterwards.  Returns at once while a consumer has
 * records that have not been fetched: to wait for something else, use
 * rc_wait_latch().
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
 * Wait for timeout_ms between two attempts, or until the latch is set.
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
 * Should the client be closed and opened again?  Yes if a setting or file
 * that it was opened with has changed.  Yes, too, if no broker is reachable
 * and either the configuration has been reloaded since or that has lasted
 * REOPEN_AFTER_MS: the cause may be a change that rc_files_changed() cannot
 * detect, such as a host's address or the CA certificates of the operating
 * system.
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
 * Should a failed request be sent again?  Not after the deadline, not if the
 * function of rc_kafka_stop_when() says so, and not if the client's settings
 * or files have changed, since it has to be opened again.  A consumer without
 * a reachable broker also stops at a reload of the configuration.  A producer
 * does not: its caller would count that as one of a limited number of attempts.
 */
bool
rc_kafka_resend(RcKafka *kafka, RcDeadline *deadline)
{
	if (rc_deadline_over(kafka, deadline) ||
		(kafka->stop != NULL && kafka->stop()) ||
		rc_files_changed(kafka->files))
		return false;
	return !(ConfigReloadPending && kafka->down &&
			 kafka->kind == RC_KAFKA_CONSUMER);
}

/*
 * Start a time limit of timeout_ms from now.
 */
void
rc_deadline_start(RcDeadline *deadline, int timeout_ms)
{
	INSTR_TIME_SET_CURRENT(deadline->start);
	deadline->timeout_ms = timeout_ms;
	deadline->slice_ms = SLICE_MIN_MS;
}

/*
 * Milliseconds left; 0 after the deadline.
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
 * Is the time over?  It begins again where a broker lets the client wait for
 * a quota: it answers then.
 */
bool
rc_deadline_over(RcKafka *kafka, RcDeadline *deadline)
{
	if (rc_deadline_left(deadline) > 0)
		return false;
	if (!rc_kafka_throttled(kafka))
		return true;
	rc_deadline_start(deadline, deadline->timeout_ms);
	return false;
}

/*
 * The timeout of the next blocking call, in ms: it doubles from SLICE_MIN_MS
 * to SLICE_MAX_MS, so that a slow broker's response is not missed.
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
