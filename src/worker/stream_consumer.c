/*-------------------------------------------------------------------------
 *
 * stream_consumer.c
 *	  Consumes a stream: fetches its partitions, and checks between batches
 *	  whether its definition has changed (stream_definition.c).
 *
 * No transaction may be open while Kafka is waited for.  A batch is applied in
 * stream_batch.c; undecided records are handled in stream_proof.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Interval of checking, in ms, in case a wake-up was lost. */
#define POLL_INTERVAL_MS		5000

/* How long a run waits for the commit to the consumer group, in ms. */
#define GROUP_TIMEOUT_MS		10000

static void consume(RcConsumption *c, List *end_offsets, RcCounts *counts);
static bool apply_fetched(RcConsumption *c, RcRecord *records, int n,
						  RcCounts *counts, int *applied);
static void wait_after_error(RcKafka *kafka, long timeout_ms);
static bool idle(RcConsumption *c, bool at_end);
static void report_group(RcConsumption *c);
static bool passed(const RcConsumption *c, List *end_offsets);
static void wait_for_brokers(RcConsumption *c, const char *connection_error);

/*
 * Consume a stream until its definition changes or, if end_offsets is not NIL,
 * until these have been applied.  "number" -1 means all partitions;
 * even_paused, that a paused stream is consumed too.  Adds to *counts what was
 * applied; "fetched" is the number of records.  Raises errors of Kafka and
 * those of rc_apply(); committed batches are kept.  A request to Kafka that
 * was given up because the definition changed is no error.
 */
void
rc_stream_consume(RcStreamConsumer *consumer, const char *name, int number,
				  List *end_offsets, bool even_paused, RcCounts *counts)
{
	MemoryContext caller = CurrentMemoryContext;

	Assert(!IsTransactionState());
	Assert(number >= 0 || end_offsets != NIL);
	PG_TRY();
	{
		if (rc_consumption_open(consumer, name, number, even_paused))
			consume(consumer->current, end_offsets, counts);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_CONNECTION_FAILURE ||
			!rc_statement_changed())
			PG_RE_THROW();
		FreeErrorData(rc_worker_recover(caller, false));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
}

/* The loop of rc_stream_consume(). */
static void
consume(RcConsumption *c, List *end_offsets, RcCounts *counts)
{
	RcRecord   *records;
	bool		applied = false;

	records = palloc0(sizeof(RcRecord) *
					  (rc_applier_proof_records(c->applier) + c->n));

	for (;;)
	{
		int			n = rc_proof_wanted(c) ? rc_proof_fetch(c, records) :
			rc_consumer_fetch(c->kafka, records, c->stream->batch_size,
							  RC_CONSUME_BYTES);

		if (n > 0)
		{
			int			done;
			bool		whole = apply_fetched(c, records, n, counts, &done);

			applied = true;
			rc_consumer_release(c->kafka);
			if (c->number < 0)
				ereport(NOTICE,
						(errmsg("stream \"%s\": %d records applied",
								c->stream->name, done)));

			/*
			 * The rest is fetched again when the stream is opened; c->kafka
			 * is past it, so its positions must not be used.
			 */
			if (!whole)
				return;
		}
		rc_partitions_recover(c);
		if (end_offsets != NIL)
		{
			rc_partitions_observe(c, n == 0);
			if (passed(c, end_offsets))
			{
				rc_partitions_observe(c, true);

				/*
				 * an asynchronous commit would be lost when this process
				 * exits
				 */
				if (applied)
					rc_partitions_commit(c, GROUP_TIMEOUT_MS);
				return;
			}
		}
		if (!idle(c, n == 0))
			return;
	}
}

/*
 * Apply what was fetched.  Each run's records are a commit of their own, to
 * count them for that run, except that undecided records are applied together
 * with all others. *applied is set to the number of records applied.  Returns
 * false if the rest is not wanted any more.
 */
static bool
apply_fetched(RcConsumption *c, RcRecord *records, int n, RcCounts *counts,
			  int *applied)
{
	int			max = rc_applier_proof_records(c->applier);
	int			done = 0;

	n = rc_partitions_verify(c, records, n);
	if (rc_proof_wanted(c))
		rc_proof_order(c, records, n);
	while (done < n)
	{
		done += rc_consume_batch(c, records + done,
								 Min(n - done, max), counts);

		/* after slow records, the rest may not be wanted any more */
		if (done < n && rc_time_passed(c->polled_at, POLL_INTERVAL_MS) &&
			!rc_consumption_wanted(c))
			break;
	}
	*applied = done;
	return done == n;
}

/* Whether rc_stream_consume() has left undecided records. */
bool
rc_stream_undecided(const RcStreamConsumer *consumer)
{
	const RcConsumption *c = consumer->current;

	return c != NULL && c->applier != NULL &&
		rc_applier_undecided(c->applier, NULL);
}

/* Whether the error that ended rc_stream_consume() is transient. */
bool
rc_stream_error_is_transient(const RcStreamConsumer *consumer, const ErrorData *error)
{
	const RcConsumption *c = consumer->current;

	if (c != NULL && c->applier != NULL)
		return rc_applier_error_is_transient(c->applier, error);
	return rc_error_is_transient(error->sqlerrcode);
}

/*
 * Wait before the same records are tried again.  If they are undecided, a
 * later record ends the wait.
 */
void
rc_stream_pause(RcStreamConsumer *consumer, long timeout_ms)
{
	if (rc_stream_undecided(consumer))
		rc_proof_pause(consumer->kafka, timeout_ms);
	else
		wait_after_error(consumer->kafka, timeout_ms);
}

/*
 * Wait after an error, until the time is up or there is a reason to retry at
 * once: a reload, a wake-up, brokers that are reachable again, or a changed
 * configuration.
 */
static void
wait_after_error(RcKafka *kafka, long timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		away = kafka != NULL && rc_kafka_connection_error(kafka) != NULL;

	while (!rc_time_passed(start, (int) timeout_ms))
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left = timeout_ms -
			TimestampDifferenceMilliseconds(start, now);
		long		slice = Min(Max(left, 1), POLL_INTERVAL_MS);

		rc_worker_wait(slice);
		if (!rc_time_passed(now, (int) slice))
			return;
		if (away && (rc_kafka_stale(kafka) || rc_kafka_connection_error(kafka) == NULL))
			return;
	}
}

/*
 * Between two batches: handle interrupts and reloads, store watermarks and,
 * after POLL_INTERVAL_MS, check the definition.  Waits if everything has been
 * read.  Returns false if the stream must be opened again.
 */
static bool
idle(RcConsumption *c, bool at_end)
{
	TimestampTz now = GetCurrentTimestamp();

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (rc_kafka_stale(c->kafka))
			return false;
	}
	report_group(c);
	rc_partitions_observe(c, false);
	if (rc_time_passed(c->polled_at, POLL_INTERVAL_MS))
	{
		if (!rc_consumption_wanted(c))
			return false;
		c->recovered |= at_end && rc_partitions_at_end(c);
		rc_consume_show(c, rc_kafka_connection_error(c->kafka));
		if (rc_kafka_stale(c->kafka))
			return false;
		if (rc_kafka_connection_error(c->kafka) == NULL && rc_partitions_changed(c))
			return false;
	}
	if (at_end && !rc_kafka_wait(c->kafka, POLL_INTERVAL_MS))
	{
		/*
		 * woken by a change of the row, or by a process that waits for our
		 * offsets
		 */
		c->polled_at = 0;
		if (!TimestampDifferenceExceeds(now, GetCurrentTimestamp(),
										POLL_INTERVAL_MS))
			c->observed_at = 0;
	}
	return true;
}

/*
 * Warn once if a consumer has joined the group that the stream names, or the
 * Kafka user has lost its right on it: the offsets there no longer change.
 */
static void
report_group(RcConsumption *c)
{
	const char *error;
	int			code;

	if (c->group_reported || c->stream->group_id == NULL)
		return;
	code = rc_consumer_group_refusal(c->kafka, &error);
	if (code == ERRCODE_SUCCESSFUL_COMPLETION)
		return;
	c->group_reported = true;
	ereport(WARNING,
			(errcode(code),
			 code == ERRCODE_OBJECT_IN_USE ?
			 errmsg("stream \"%s\": consumer group \"%s\" has members",
					c->stream->name, c->stream->group_id) :
			 errmsg("stream \"%s\": could not commit offsets to consumer group \"%s\": %s",
					c->stream->name, c->stream->group_id, error),
			 errdetail("The stream continues, but Kafka does not show its offsets there."),
			 code == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Give the Kafka user the right to read the group.") :
			 errhint("Stop the consumers of that group, or use another group_id.")));
}

/*
 * Whether the partitions have passed the end offsets, as far as known in
 * memory.
 */
static bool
passed(const RcConsumption *c, List *end_offsets)
{
	ListCell   *lc;

	foreach(lc, end_offsets)
	{
		RcEndOffset *end = (RcEndOffset *) lfirst(lc);

		for (int i = 0; i < c->n; i++)
		{
			const RcOffset *offset = &c->offsets[i];

			if (offset->partition == end->partition &&
				offset->next_offset <= end->offset &&
				strcmp(offset->topic, end->topic) == 0)
				return false;
		}
	}
	return true;
}

/* Store that the stream waits for the brokers. */
static void
wait_for_brokers(RcConsumption *c, const char *connection_error)
{
	ErrorData	error = {0};

	error.sqlerrcode = ERRCODE_CONNECTION_FAILURE;
	error.message = psprintf(gettext_noop("could not reach the Kafka brokers \"%s\": %s"),
							 rc_kafka_brokers, connection_error);
	error.hint = pstrdup(rc_kafka_connection_hint(c->kafka));
	rc_stream_wait_for(c->stream->name, connection_error, &error);
}

/* Store what the stream waits for; NULL: it is running. */
void
rc_consume_show(RcConsumption *c, const char *connection_error)
{
	rc_transaction_begin();
	if (connection_error)
		wait_for_brokers(c, connection_error);
	else
		rc_stream_run(c->stream->name, c->recovered);
	rc_transaction_commit();
}
