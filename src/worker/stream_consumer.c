/*-------------------------------------------------------------------------
 *
 * stream_consumer.c
 *	  Consumes a stream: fetches its partitions, and looks for changes of its
 *	  definition (stream_definition.c) between batches.
 *
 * Kafka is waited for with no transaction open.  A batch is applied in
 * stream_batch.c; what is done about records of which nothing is proven is
 * in stream_proof.c.
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

/* Every process looks by itself this often for what a wake-up would say. */
#define LOOK_INTERVAL		5000

/* How long a run waits until Kafka's group has its offsets, in ms. */
#define GROUP_PATIENCE		10000

static void consume(RcConsumption *c, List *targets, RcCounts *counts);
static bool apply_fetched(RcConsumption *c, RcRecord *records, int n,
						  RcCounts *counts, int *applied);
static void rest(RcKafka *kafka, long timeout_ms);
static bool idle(RcConsumption *c, bool at_end);
static bool passed(const RcConsumption *c, List *targets);

/*
 * Consume a stream until its definition changes, or, with targets, until all
 * of them have been applied.  "number" -1 means all partitions; even_paused
 * that a paused stream is consumed too.  Adds to *counts what was applied
 * (fetched: the records).  Errors: those of Kafka, and those of rc_apply();
 * nothing is lost by them.
 */
void
rc_stream_consume(RcStreamConsumer *consumer, const char *name, int number,
				  List *targets, bool even_paused, RcCounts *counts)
{
	MemoryContext caller = CurrentMemoryContext;

	Assert(!IsTransactionState());
	Assert(number >= 0 || targets != NIL);
	if (rc_consumption_open(consumer, name, number, even_paused))
		consume(consumer->current, targets, counts);
	MemoryContextSwitchTo(caller);
}

/* Until what is open is not wanted any more, or all targets are passed. */
static void
consume(RcConsumption *c, List *targets, RcCounts *counts)
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
			 * What is left of them is fetched again when the stream is
			 * opened; c->kafka is past it, and must not be asked how far we
			 * are.
			 */
			if (!whole)
				return;
		}
		rc_partitions_recover(c);
		if (targets != NIL)
		{
			rc_partitions_observe(c, n == 0);
			if (passed(c, targets))
			{
				rc_partitions_observe(c, true);
				/* what the group has not been told when we leave is lost */
				if (applied)
					rc_partitions_commit(c, GROUP_PATIENCE);
				return;
			}
		}
		if (!idle(c, n == 0))
			return;
	}
}

/*
 * Apply what was fetched, one commit for each run's records, so that its
 * counters are its own; but where proof is looked for all of it together.
 * *applied is the number of records applied.  Returns false if that is not all
 * of them, since they are not wanted any more.
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

		/* slow records: what is left of them may not be wanted any more */
		if (done < n && rc_time_passed(c->looked_at, LOOK_INTERVAL) &&
			!rc_consumption_wanted(c))
			break;
	}
	*applied = done;
	return done == n;
}

/* Whether the error that has ended rc_stream_consume() is one that waits for proof. */
bool
rc_stream_undecided(const RcStreamConsumer *consumer)
{
	const RcConsumption *c = consumer->current;

	return c != NULL && c->applier != NULL &&
		rc_applier_undecided(c->applier, NULL);
}

/* Whether the error that has ended rc_stream_consume() may pass. */
bool
rc_stream_may_pass(const RcStreamConsumer *consumer, const ErrorData *error)
{
	const RcConsumption *c = consumer->current;

	if (c != NULL && c->applier != NULL)
		return rc_applier_may_pass(c->applier, error);
	return rc_error_may_pass(error->sqlerrcode);
}

/*
 * Wait before the same records are tried again.  Where proof is waited for, a
 * record that comes behind them may bring it.
 */
void
rc_stream_pause(RcStreamConsumer *consumer, long timeout_ms)
{
	if (rc_stream_undecided(consumer))
		rc_proof_pause(consumer->kafka, timeout_ms);
	else
		rest(consumer->kafka, timeout_ms);
}

/*
 * Wait after an error, but not longer than until there is a reason to try at
 * once: a reload, somebody who wakes us, brokers that can be reached again, or
 * another configuration.
 */
static void
rest(RcKafka *kafka, long timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		away = kafka != NULL && rc_kafka_trouble(kafka) != NULL;

	while (!rc_time_passed(start, (int) timeout_ms))
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left = timeout_ms -
			TimestampDifferenceMilliseconds(start, now);
		long		slice = Min(Max(left, 1), LOOK_INTERVAL);

		rc_worker_wait(slice);
		if (!rc_time_passed(now, (int) slice))
			return;
		if (away && (rc_kafka_stale(kafka) || rc_kafka_trouble(kafka) == NULL))
			return;
	}
}

/*
 * Between two batches: interrupts, settings, watermarks, and now and then a
 * look at the definition.  Waits when everything has been read.  False: open
 * the stream again.
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
	rc_partitions_observe(c, false);
	if (rc_time_passed(c->looked_at, LOOK_INTERVAL))
	{
		if (!rc_consumption_wanted(c))
			return false;
		c->cured |= at_end && rc_partitions_at_end(c);
		rc_consume_show(c, rc_kafka_trouble(c->kafka));
		if (rc_kafka_stale(c->kafka))
			return false;
		if (rc_kafka_trouble(c->kafka) == NULL && rc_partitions_changed(c))
			return false;
	}
	if (at_end && !rc_kafka_wait(c->kafka, LOOK_INTERVAL))
	{
		/* woken, by a change of the row, or by who waits for what we know */
		c->looked_at = 0;
		if (!TimestampDifferenceExceeds(now, GetCurrentTimestamp(),
										LOOK_INTERVAL))
			c->observed_at = 0;
	}
	return true;
}

/* Whether the partitions have passed the targets, by what is in memory. */
static bool
passed(const RcConsumption *c, List *targets)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		RcTarget   *target = (RcTarget *) lfirst(lc);

		for (int i = 0; i < c->n; i++)
		{
			const RcOffset *offset = &c->offsets[i];

			if (offset->partition == target->partition &&
				offset->next_offset <= target->offset &&
				strcmp(offset->topic, target->topic) == 0)
				return false;
		}
	}
	return true;
}

/* Show what the stream waits for; NULL: it runs. */
void
rc_consume_show(RcConsumption *c, const char *trouble)
{
	rc_transaction_begin();
	if (trouble)
		rc_stream_say(c->stream->name, "waiting", trouble);
	else
		rc_stream_run(c->stream->name, c->cured);
	rc_transaction_commit();
}
