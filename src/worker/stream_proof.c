/*-------------------------------------------------------------------------
 *
 * stream_proof.c
 *	  Handles undecided records of a stream: they failed, and it is not proven
 *	  that they are at fault.  They are tried again together with later
 *	  records.
 *
 * What counts as proof is decided in apply.c.  Here enough records are fetched
 * to make it possible.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How long to wait for later records, in ms. */
#define PROOF_TIMEOUT_MS		3000

/* Minimum wait before undecided records are tried again, in ms. */
#define PROOF_PAUSE			500

static void wait_for_more(RcKafka *kafka, long timeout_ms);

/* "unproven" says that an earlier worker has left undecided records. */
void
rc_proof_expect(RcStreamConsumer *consumer, bool unproven)
{
	consumer->proving |= unproven;
}

/* Whether undecided records are being handled. */
bool
rc_proof_wanted(const RcConsumption *c)
{
	return c->consumer->proving;
}

/*
 * If the last batch has left undecided records, raise their error: the stream
 * waits, and then reads them again.
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
 * Fetch records, up to the number that may be needed as proof; at least two if
 * available.
 */
int
rc_proof_fetch(RcConsumption *c, RcRecord *records)
{
	int			max = rc_applier_proof_records(c->applier);
	TimestampTz start = GetCurrentTimestamp();
	Size		bytes = 0;
	int			n = 0;

	/* rc_partitions_verify() will drop those applied before */
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
		if (rc_partitions_at_end(c) || rc_consumer_interrupted(c->kafka) ||
			rc_time_passed(start, PROOF_TIMEOUT_MS))
			break;
		(void) rc_kafka_wait(c->kafka, PROOF_TIMEOUT_MS / 10);
	}
	return n;
}

/*
 * Move the records of the failed partition to the front: others count as proof
 * only if they come after those that failed.
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
 * Wait before undecided records are tried again, until the time is up or a
 * later record arrives.
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
		/* the next attempt gets the same error */
		FreeErrorData(rc_worker_recover(TopMemoryContext, true));
	}
	PG_END_TRY();
	rc_worker_wait(0);
}

/*
 * Wait until Kafka has another record, the latch is set or the time is up.
 * The record is fetched again when the stream is opened.
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
		if (rc_consumer_fetch(kafka, &record, 1, 1) > 0 ||
			rc_consumer_interrupted(kafka))
			break;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0 || !rc_kafka_wait(kafka, Min(left, timeout_ms)))
			break;
	}
	rc_consumer_release(kafka);
}
