/*-------------------------------------------------------------------------
 *
 * consumer_offsets.c
 *	  Looks up offsets at the brokers: first and last ones, and by
 *	  timestamp.
 *
 * It must not change the assignment.  Blocking calls of librdkafka are made
 * in slices (see kafka_wait.c).
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include "miscadmin.h"

/* Between two attempts. */
#define PAUSE_MS	100

static int64 ask_offset(RcKafka *kafka, const char *topic, int32 partition,
						int64 when, RcDeadline *deadline);
static rd_kafka_resp_err_t ask_once(RcKafka *kafka, const char *topic,
									int32 partition, int64 *when,
									int timeout_ms);
static void check_partition(RcKafka *kafka, const char *topic,
							int32 partition, rd_kafka_resp_err_t err,
							RcDeadline *deadline);

/*
 * Look up the watermarks of a partition: the first offset, and the last
 * stable one (the end for a consumer that reads committed records only).
 * Waits for timeout_ms at most.
 *
 * Errors: 08006 if no broker responds, 42704 if there is no such partition;
 * others by rc_kafka_errcode().
 */
void
rc_consumer_watermarks(RcKafka *kafka, const char *topic, int32 partition,
					   int64 *low, int64 *high, int timeout_ms)
{
	RcDeadline	deadline;

	rc_deadline_start(&deadline, timeout_ms);
	*low = ask_offset(kafka, topic, partition, RD_KAFKA_OFFSET_BEGINNING,
					  &deadline);
	*high = ask_offset(kafka, topic, partition, RD_KAFKA_OFFSET_END,
					   &deadline);
	*high = Max(*high, *low);
}

/*
 * Look up the first or last offset of a partition, or that of the first
 * record at or after timestamp_ms (milliseconds since 1970-01-01 UTC), which
 * is the end if there is no such record.  Waits for timeout_ms at most.
 *
 * Errors: as rc_consumer_watermarks().
 */
int64
rc_consumer_resolve(RcKafka *kafka, const char *topic, int32 partition,
					RcOffsetKind kind, int64 timestamp_ms, int timeout_ms)
{
	RcDeadline	deadline;
	int64		offset = -1;

	rc_deadline_start(&deadline, timeout_ms);
	if (kind == RC_OFFSET_EARLIEST)
		return ask_offset(kafka, topic, partition, RD_KAFKA_OFFSET_BEGINNING,
						  &deadline);
	if (kind == RC_OFFSET_TIMESTAMP)
		offset = ask_offset(kafka, topic, partition, Max(timestamp_ms, 0),
							&deadline);
	if (offset < 0)
		offset = ask_offset(kafka, topic, partition, RD_KAFKA_OFFSET_END,
							&deadline);
	return offset;
}

/*
 * Ask a partition's leader for the offset of a timestamp, or of
 * RD_KAFKA_OFFSET_BEGINNING or _END. rd_kafka_query_watermark_offsets()
 * cannot be used for the latter: in 2.0.2 it ignores its timeout while it
 * waits for the response.
 */
static int64
ask_offset(RcKafka *kafka, const char *topic, int32 partition, int64 when,
		   RcDeadline *deadline)
{
	rd_kafka_resp_err_t err;

	do
	{
		int64		offset = when;

		err = ask_once(kafka, topic, partition, &offset,
					   rc_deadline_slice(deadline));
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			rc_kafka_mark_up(kafka);
			return offset;
		}
		check_partition(kafka, topic, partition, err, deadline);
		rc_kafka_pause(kafka, PAUSE_MS);
	} while (rc_kafka_resend(kafka, deadline));

	rc_kafka_unreachable(kafka, err);
	return -1;
}

/* Ask once; processes interrupts, since there may be very many partitions. */
static rd_kafka_resp_err_t
ask_once(RcKafka *kafka, const char *topic, int32 partition, int64 *when,
		 int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;

	CHECK_FOR_INTERRUPTS();
	list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = *when;
	err = rd_kafka_offsets_for_times(kafka->rk, list, timeout_ms);
	if (!err)
		err = list->elems[0].err;
	*when = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

/*
 * Raise an error that another attempt would not fix; return if one might.
 * librdkafka reports an unknown partition also before it has metadata, so in
 * that case the topic is looked up.
 */
static void
check_partition(RcKafka *kafka, const char *topic, int32 partition,
				rd_kafka_resp_err_t err, RcDeadline *deadline)
{
	int			code = rc_kafka_errcode(err);

	if (code == ERRCODE_CONNECTION_FAILURE)
		return;
	if (code == ERRCODE_UNDEFINED_OBJECT)
	{
		int			left = (int) Max(rc_deadline_left(deadline), 1);

		if (rc_kafka_partition_count(kafka, topic, left) > partition)
			return;
	}
	ereport(ERROR,
			(errcode(code),
			 errmsg("could not look up partition %d of topic \"%s\": %s",
					partition, topic, rd_kafka_err2str(err)),
			 code == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Give the Kafka user the right to read the topic.") : 0));
}
