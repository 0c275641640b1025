/*-------------------------------------------------------------------------
 *
 * outbox_worker.c
 *	  The outbox worker ("publisher"): sends the messages in the outbox to
 *	  Kafka, and deletes those that Kafka has confirmed.
 *
 * A message is never deleted before it is confirmed, and never sent before the
 * transaction that wrote it is flushed to disk.  Nothing here may wait for one
 * topic while messages of another could be sent: see outbox_worker.h.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define POLL_INTERVAL_MS	5000
#define MIN_BACKOFF		500
#define MAX_BACKOFF		30000

/*
 * Interval of polling delivery reports, and how long after SIGTERM they are
 * waited for, in ms.
 */
#define REPORT_WAIT		100
#define END_TIMEOUT_MS	500

/* lock_timeout: a session may hold a lock for hours. */
#define LOCK_TIMEOUT	"1s"

/* Set while batches are unsettled, and by SIGTERM, with its time. */
static volatile sig_atomic_t busy = false;
static volatile sig_atomic_t ending = false;
static volatile TimestampTz ending_since;

static void publish(RcWorkerArgs *args);
static void end_softly(SIGNAL_ARGS);
static bool publish_round(RcPublisher *publisher);
static bool take_reports(RcPublisher *publisher);
static bool take_answers(RcKafka *kafka);
static bool settle(RcPublisher *publisher);
static void wait_for_reports(RcPublisher *publisher, TimestampTz start);
static void raise_failed(RcPublisher *publisher);
static void recover(RcPublisher *publisher, const ErrorData *error);
static void wait_for_more(RcPublisher *publisher, long timeout_ms);
static long next_wait(const RcPublisher *publisher);
static void retry_after_reload(RcPublisher *publisher);

/* Entry point of the outbox worker. */
void
rc_outbox_main(Datum arg)
{
	rc_worker_main(publish);
}

static void
publish(RcWorkerArgs *args)
{
	RcPublisher *publisher;

	rc_queue_attach(args->segment);
	rc_worker_connect(args, RC_WORKER_OUTBOX);
	rc_queue_connected();
	if (!rc_lock_take(RC_WORKER_OUTBOX, "", 0))
		proc_exit(0);
	pqsignal(SIGTERM, end_softly);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);

	/* nothing is sent during a VACUUM */
	SetConfigOption("vacuum_cost_delay", "0", PGC_SUSET, PGC_S_OVERRIDE);
	publisher = MemoryContextAllocZero(TopMemoryContext, sizeof(RcPublisher));
	publisher->context = AllocSetContextCreate(TopMemoryContext,
											   "rappel_conso outbox",
											   ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		bool		more = false;

		MemoryContextSwitchTo(publisher->context);
		MemoryContextReset(publisher->context);
		PG_TRY();
		{
			more = publish_round(publisher);
		}
		PG_CATCH();
		{
			recover(publisher, rc_worker_recover(publisher->context, true));
		}
		PG_END_TRY();

		MemoryContextSwitchTo(publisher->context);
		rc_out_clean(publisher);
		wait_for_more(publisher, more ? 0 : next_wait(publisher));
	}
}

/*
 * SIGTERM handler: messages confirmed by Kafka are settled before the process
 * exits, which takes no longer than the time limits above.  A second SIGTERM
 * exits at once.
 */
static void
end_softly(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (busy && !ending)
	{
		ending_since = GetCurrentTimestamp();
		ending = true;
		SetLatch(MyLatch);
	}
	else
		die(postgres_signal_arg);
	errno = save_errno;
}

/* SIGTERM was received: exit when confirmed messages are settled. */
bool
rc_outbox_ending(void)
{
	return ending;
}

/*
 * One round: settle reports, send what can be sent.  Returns true if there may
 * be more to do at once.
 */
static bool
publish_round(RcPublisher *publisher)
{
	bool		more = false;
	List	   *messages;

	retry_after_reload(publisher);
	more = take_reports(publisher);
	if (ending)
		wait_for_reports(publisher, ending_since);
	more |= settle(publisher);
	if (ending)
		proc_exit(0);
	if (publisher->kafka != NULL && rc_publish_failed(publisher->kafka))
		raise_failed(publisher);
	rc_out_close_aside(publisher);
	rc_out_report_unconfirmed(publisher);
	rc_out_put_aside_stalled(publisher);
	if (rc_out_count(RC_OUT_OPEN) > 0 &&
		publisher->retry_at > GetCurrentTimestamp())
		return more;

	messages = rc_out_read(publisher);
	if (publisher->kafka != NULL || rc_out_count(RC_OUT_WITH_MESSAGES) > 0)
	{
		bool		used;

		rc_out_open_producer(publisher);
		busy = true;
		used = rc_out_hand_over(publisher, messages) > 0;
		busy = rc_out_count(RC_OUT_UNSETTLED) > 0;
		used |= rc_out_look_up_topics(publisher);
		if (used)
			rc_out_window_used();
		more |= used;
	}
	publisher->backoff = 0;
	return more || rc_out_window_more();
}

/*
 * Process Kafka's answers about messages and topics; true if there were any.
 */
static bool
take_reports(RcPublisher *publisher)
{
	bool		any = false;

	if (publisher->aside != NULL)
		any |= take_answers(publisher->aside);
	if (publisher->kafka == NULL)
		return any;
	any |= take_answers(publisher->kafka);
	return rc_out_take_topics(publisher) || any;
}

static bool
take_answers(RcKafka *kafka)
{
	List	   *answers = rc_publish_serve(kafka);
	ListCell   *lc;

	foreach(lc, answers)
		rc_out_answer((RcAnswer *) lfirst(lc));
	return answers != NIL;
}

static bool
settle(RcPublisher *publisher)
{
	bool		any = rc_out_settle(publisher->batch_messages, ending);

	busy = rc_out_count(RC_OUT_UNSETTLED) > 0;
	return any;
}

/* Wait for reports, shortly after "start" at most. */
static void
wait_for_reports(RcPublisher *publisher, TimestampTz start)
{
	while (rc_out_count(RC_OUT_OPEN) > 0 &&
		   !rc_time_passed(start, END_TIMEOUT_MS))
	{
		rc_worker_wait(END_TIMEOUT_MS / 50);
		(void) take_reports(publisher);
	}
}

/*
 * The producer has failed fatally: settle what it has done, and raise its
 * error.
 */
static void
raise_failed(RcPublisher *publisher)
{
	wait_for_reports(publisher, GetCurrentTimestamp());
	(void) settle(publisher);
	rc_publish_raise(publisher->kafka);
}

/*
 * After an error.  Batches in flight are kept unless the producer has failed.
 * A producer without any is closed, since settings may have changed.  An error
 * of reading does not concern the producer: the same messages are read again,
 * each in a subtransaction.
 */
static void
recover(RcPublisher *publisher, const ErrorData *error)
{
	static bool failed_at_end = false;
	bool		reading = publisher->reading;

	if (ending && failed_at_end)
		proc_exit(0);
	failed_at_end = ending;
	publisher->one_by_one |= reading;
	publisher->reading = false;
	busy = rc_out_count(RC_OUT_UNSETTLED) > 0;
	if (publisher->kafka != NULL &&
		((rc_out_count(RC_OUT_OPEN) == 0 && !reading) ||
		 rc_publish_failed(publisher->kafka)))
		rc_out_close_producer(publisher);

	publisher->backoff = Min(MAX_BACKOFF,
							 Max(MIN_BACKOFF, publisher->backoff * 2));
	publisher->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  publisher->backoff);
	PG_TRY();
	{
		rc_out_report_waiting(error);
	}
	PG_CATCH();
	{
		FreeErrorData(rc_worker_recover(publisher->context, true));
	}
	PG_END_TRY();
}

/* Wait for reports if any are due, else for messages. */
static void
wait_for_more(RcPublisher *publisher, long timeout_ms)
{
	if (ending)
		return;
	if (timeout_ms > 0 && publisher->kafka != NULL &&
		rc_out_count(RC_OUT_UNSETTLED) + rc_out_count(RC_OUT_MAKING) > 0)
	{
		(void) rc_kafka_wait(publisher->kafka, Min(timeout_ms, REPORT_WAIT));
		timeout_ms = 0;
	}
	if (publisher->aside != NULL)
		timeout_ms = Min(timeout_ms, REPORT_WAIT);
	rc_worker_wait(timeout_ms);
}

/* How long there is nothing to do unless the latch is set, in ms. */
static long
next_wait(const RcPublisher *publisher)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = TimestampTzPlusMilliseconds(now, POLL_INTERVAL_MS);
	RcOutTopic *topic;

	if (publisher->backoff > 0)
		return publisher->backoff;
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->has_messages && topic->nsent == 0 &&
			topic->retry_at > now && topic->retry_at < next)
			next = topic->retry_at;
	}
	return TimestampDifferenceMilliseconds(now, next) + 1;
}

/* After a reload, which may have fixed the cause, retry all topics at once. */
static void
retry_after_reload(RcPublisher *publisher)
{
	static TimestampTz reloaded = 0;
	RcOutTopic *topic;

	if (PgReloadTime == reloaded)
		return;
	reloaded = PgReloadTime;
	publisher->retry_at = 0;
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
		topic->retry_at = 0;
}
