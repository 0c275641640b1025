/*-------------------------------------------------------------------------
 *
 * producer_settle.c
 *	  Waits until each record sent is delivered or refused.
 *
 * A broker accepts or refuses whole batches, so one bad record (too large for
 * its topic, or without a key in a compacted topic) fails its batch.  It is
 * found by sending the batch again in ever smaller parts.  Records that were
 * sent after it to the same partition are sent again, too: they are in the
 * topic twice, but in order.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

static bool wait_for_reports(RcKafka *kafka, RcDeadline *deadline);
static void send_resend_list(RcKafka *kafka, int count);

/*
 * Wait until every record has its delivery report.  Returns false at the
 * deadline, which is moved by each report: only where nothing comes, the
 * broker has a problem.
 */
static bool
wait_for_reports(RcKafka *kafka, RcDeadline *deadline)
{
	RcProducer *producer = kafka->producer;

	rd_kafka_poll(kafka->rk, 0);
	while (producer->outstanding > 0)
	{
		uint64		before = producer->reports;

		if (rc_deadline_over(kafka, deadline))
			return false;
		rc_producer_push(kafka);
		if (producer->outstanding == 0)
			break;
		rc_kafka_wait(kafka, Min(rc_deadline_left(deadline),
								 RC_PRODUCER_WAIT_MS));
		if (producer->failed)
			break;
		if (producer->reports != before)
			rc_deadline_start(deadline, deadline->timeout_ms);
	}
	return true;
}

/*
 * Wait for all delivery reports; then, as long as there are refused batches,
 * send their records again, each time half as many at once, until the bad
 * record is in a batch of its own.
 */
void
rc_producer_settle(RcKafka *kafka, RcDeadline *deadline)
{
	RcProducer *producer = kafka->producer;
	int			count = 0;

	for (;;)
	{
		bool		resend;

		if (!wait_for_reports(kafka, deadline))
			rc_producer_fail(kafka, producer->current, RD_KAFKA_RESP_ERR__TIMED_OUT);
		producer->alone = false;
		rc_producer_check(kafka);

		resend = producer->resend.length > 0;
		rc_resend_join(&producer->resend, &producer->rest);
		producer->rest = producer->resend;
		memset(&producer->resend, 0, sizeof(RcResendList));
		if (producer->rest.length == 0)
			break;

		if (count == 0)
			count = producer->rest.length / 2;
		else
			count = resend ? count / 2 : count * 2;
		count = Min(Max(count, 1), producer->rest.length);
		send_resend_list(kafka, count);
	}
}

/*
 * Send the first "count" records of producer->rest again.  They fit into the
 * local queue: it held all of them before.
 */
static void
send_resend_list(RcKafka *kafka, int count)
{
	RcProducer *producer = kafka->producer;
	RcTopic    *topic;

	for (topic = producer->topics; topic != NULL; topic = topic->next)
	{
		for (int i = 0; i < topic->n_delivered; i++)
			topic->delivered[i].unconfirmed_records = false;
	}
	producer->alone = (count == 1);

	while (count-- > 0)
	{
		RcResend   *resend = producer->rest.first;
		RcRecord	record = {0};
		rd_kafka_resp_err_t err;

		record.key = resend->data;
		record.key_len = resend->key_len;
		record.value = resend->data + Max(resend->key_len, 0);
		record.value_len = resend->value_len;
		record.timestamp_ms = resend->timestamp_ms;
		err = rc_producer_produce(kafka, resend->topic, resend->partition, &record,
								  resend->headers, resend->tag);
		if (err)
			rc_producer_fail(kafka, resend->topic, err);
		producer->rest.first = resend->next;
		producer->rest.length--;
		free(resend);
	}
}
