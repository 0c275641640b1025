/*-------------------------------------------------------------------------
 *
 * stream_proof.c
 *	  A stream that stands before records that have failed, while nothing
 *	  proves whose fault that is: they are tried again with those that come
 *	  behind them.
 *
 * What proves something is decided in apply.c; here is seen to it that there
 * is a chance of it.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How long more records are waited for that may prove something, in ms. */
#define PROOF_TIMEOUT_MS		3000

/* The first wait before records that nothing is proven of are tried again. */
#define PROOF_PAUSE			500

static void wait_for_more(RcKafka *kafka, long timeout_ms);

/* A worker before this one has left such records. */
void
rc_proof_expect(RcStreamConsumer *consumer, bool unproven)
{
	consumer->proving |= unproven;
}

/* Whether such records are to be read. */
bool
rc_proof_wanted(const RcConsumption *c)
{
	return c->consumer->proving;
}

/*
 * Where the last batch has left records of which nothing is proven, raise
 * their error: the stream waits, and then reads them again.
 */
void
rc_proof_begin(RcConsumption *c)
{
	RcStreamConsumer *consumer = c->consumer;
	const RcRecord *failed;

	consumer->proving = rc_applier_undecided(c->applier, &failed);
	if (!consumer->proving)
		return;
	strlcpy(consumer->proving_topic, failed->topic,
			sizeof(consumer->proving_topic));
	consumer->proving_partition = failed->partition;
	rc_applier_check(c->applier, true, true);
}

/*
 * What comes, up to so many records as may be needed; at least two if they are
 * there.
 */
int
rc_proof_fetch(RcConsumption *c, RcRecord *records)
{
	int			max = rc_applier_proof_records(c->applier);
	TimestampTz start = GetCurrentTimestamp();
	Size		bytes = 0;
	int			n = 0;

	/* some of them have been applied: rc_partitions_verify() */
	for (int i = 0; i < c->n; i++)
		max += c->verify[i] ? 1 : 0;
	while (n < max && (n < 2 || bytes < RC_CONSUME_BYTES))
	{
		int			more = rc_consumer_fetch(c->kafka, records + n, max - n,
											 bytes < RC_CONSUME_BYTES ?
											 RC_CONSUME_BYTES - bytes : 1);

		for (int i = n; i < n + more; i++)
			bytes += Max(records[i].key_len, 0) + Max(records[i].value_len, 0);
		n += more;
		if (more > 0)
			continue;
		if (rc_partitions_at_end(c) || rc_time_passed(start, PROOF_TIMEOUT_MS))
			break;
		(void) rc_kafka_wait(c->kafka, PROOF_TIMEOUT_MS / 10);
	}
	return n;
}

/*
 * Records of other partitions prove something for those that failed only if
 * they are behind them.
 */
void
rc_proof_order(const RcConsumption *c, RcRecord *records, int n)
{
	const RcStreamConsumer *consumer = c->consumer;
	RcRecord   *ordered = palloc(sizeof(RcRecord) * Max(n, 1));
	int			k = 0;

	for (int scan = 0; scan < 2; scan++)
	{
		for (int i = 0; i < n; i++)
		{
			bool		failed =
				records[i].partition == consumer->proving_partition &&
				strcmp(records[i].topic, consumer->proving_topic) == 0;

			if (failed == (scan == 0))
				ordered[k++] = records[i];
		}
	}
	memcpy(records, ordered, sizeof(RcRecord) * n);
	pfree(ordered);
}

/*
 * Wait before they are tried again, but not longer than until a record comes
 * behind them.
 */
void
rc_proof_pause(RcKafka *kafka, long timeout_ms)
{
	rc_worker_wait(Min(timeout_ms, PROOF_PAUSE));
	if (kafka == NULL || timeout_ms <= PROOF_PAUSE)
		return;
	PG_TRY();
	{
		wait_for_more(kafka, timeout_ms - PROOF_PAUSE);
	}
	PG_CATCH();
	{
		/* of no interest here: the next try meets it */
		FreeErrorData(rc_worker_recover(TopMemoryContext, true));
	}
	PG_END_TRY();
	rc_worker_wait(0);
}

/*
 * Wait until Kafka has another record, the latch is set or the time is over.
 * What is taken here is read again when the stream is opened.
 */
static void
wait_for_more(RcKafka *kafka, long timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);

	for (;;)
	{
		RcRecord	record;
		long		left;

		rc_consumer_release(kafka);
		if (rc_consumer_fetch(kafka, &record, 1, 1) > 0)
			break;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0 || !rc_kafka_wait(kafka, Min(left, timeout_ms)))
			break;
	}
	rc_consumer_release(kafka);
}
