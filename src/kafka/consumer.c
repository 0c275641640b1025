/*-------------------------------------------------------------------------
 *
 * consumer.c
 *	  The assignment of a consumer, and its positions; consumer_fetch.c returns
 *	  the records.
 *
 * The caller assigns partitions with offsets that it has stored in
 * PostgreSQL.  No offset may be reset here: records would be skipped or applied
 * twice.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer_internal.h"

#include <unistd.h>

#include "utils/memutils.h"

/*
 * How often, and how long each time, unassign() waits for events of a deleted
 * topic.
 */
#define UNASSIGN_ROUNDS		10
#define UNASSIGN_WAIT_MS	30

static int	close_cb(int fd, void *opaque);
static void unassign(RcKafka *kafka);
static void empty_queue(rd_kafka_queue_t *queue, int timeout_ms);
static void copy_assignment(RcConsumer *consumer,
							const RcPartition *partitions, int n);

/*
 * Register the callback for closed connections.
 */
void
rc_consumer_watch(RcKafka *kafka, rd_kafka_conf_t *conf)
{
	pg_atomic_init_u32(&kafka->closed, 0);
	rd_kafka_conf_set_closesocket_cb(conf, close_cb);
}

/*
 * librdkafka's callback to close a connection, called in a thread of
 * librdkafka.
 */
static int
close_cb(int fd, void *opaque)
{
	pg_atomic_fetch_add_u32(&((RcKafka *) opaque)->closed, 1);
	return close(fd);
}

void
rc_consumer_begin(RcKafka *kafka)
{
	RcConsumer *consumer = MemoryContextAllocZero(kafka->context,
												  sizeof(RcConsumer));

	consumer->context = kafka->context;
	consumer->assignment_context =
		AllocSetContextCreate(kafka->context, "rappel_conso assignment",
							  ALLOCSET_SMALL_SIZES);
	consumer->header_context =
		AllocSetContextCreate(kafka->context, "rappel_conso headers",
							  ALLOCSET_DEFAULT_SIZES);
	consumer->queue_empty = true;
	kafka->consumer = consumer;
}

/*
 * Free all messages and the assignment, before librdkafka is destroyed.
 */
void
rc_consumer_end(RcKafka *kafka)
{
	rc_consumer_drop_buffer(kafka->consumer);
	rc_consumer_release(kafka);
	unassign(kafka);
}

/*
 * Remove the assignment.
 *
 * When a topic is deleted while it is read, librdkafka leaves events in the
 * partition's own queue that reference the partition, and rd_kafka_destroy()
 * would wait forever (2.0.2; fixed in 2.4.0, pull request 4724).  That queue
 * can be emptied only through a handle obtained before; and after such an
 * error events can still arrive for a moment.
 */
static void
unassign(RcKafka *kafka)
{
	RcConsumer *consumer = kafka->consumer;
	int			rounds = kafka->topic_lost ? UNASSIGN_ROUNDS : 1;

	if (consumer->nassigned == 0)
		return;
	while (rounds-- > 0)
	{
		(void) rd_kafka_assign(kafka->rk, NULL);
		for (int i = 0; i < consumer->nassigned; i++)
			empty_queue(consumer->assigned[i].queue,
						kafka->topic_lost && i == 0 ? UNASSIGN_WAIT_MS : 0);
	}
	for (int i = 0; i < consumer->nassigned; i++)
	{
		if (consumer->assigned[i].queue != NULL)
			rd_kafka_queue_destroy(consumer->assigned[i].queue);
	}
	consumer->nassigned = 0;
	kafka->topic_lost = false;
}

static void
empty_queue(rd_kafka_queue_t *queue, int timeout_ms)
{
	rd_kafka_message_t *message;

	if (queue == NULL)
		return;
	while (rd_kafka_consume_batch_queue(queue, timeout_ms, &message, 1) == 1)
		rd_kafka_message_destroy(message);
}

/*
 * Replace the assignment by these partitions, each read from its offset.  The
 * list is copied.  Records that rc_consumer_fetch() has returned are
 * released.  Does not wait for a broker.
 *
 * Errors: by rc_kafka_errcode().
 */
void
rc_consumer_assign(RcKafka *kafka, const RcPartition *partitions, int n)
{
	RcConsumer *consumer = kafka->consumer;
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;

	unassign(kafka);
	consumer->closed = pg_atomic_read_u32(&kafka->closed);
	consumer->interrupted = false;
	copy_assignment(consumer, partitions, n);
	list = rc_consumer_list(partitions, n);
	err = rd_kafka_assign(kafka->rk, n > 0 ? list : NULL);
	rd_kafka_topic_partition_list_destroy(list);
	for (int i = 0; i < n && !err; i++)
		consumer->assigned[i].queue =
			rd_kafka_queue_get_partition(kafka->rk, partitions[i].topic,
										 partitions[i].partition);
	rc_consumer_drop_buffer(consumer);
	rc_consumer_release(kafka);
	kafka->topic_code = RD_KAFKA_RESP_ERR_NO_ERROR;
	consumer->queue_empty = false;
	consumer->average = RC_KAFKA_MAX_MESSAGE / RC_FETCH_BUFFER_MAX;
	if (err)
		ereport(ERROR,
				(errcode(rc_kafka_errcode(err)),
				 errmsg("could not assign Kafka partitions: %s",
						rd_kafka_err2str(err))));
}

static void
copy_assignment(RcConsumer *consumer, const RcPartition *partitions, int n)
{
	MemoryContext old;

	consumer->nassigned = 0;
	consumer->current = 0;
	MemoryContextReset(consumer->assignment_context);
	old = MemoryContextSwitchTo(consumer->assignment_context);
	consumer->assigned = palloc0(Max(n, 1) * sizeof(RcAssigned));
	for (int i = 0; i < n; i++)
	{
		RcPartition *state = &consumer->assigned[i].state;

		state->topic = pstrdup(partitions[i].topic);
		state->partition = partitions[i].partition;
		state->offset = partitions[i].offset;
		state->low = state->high = -1;
	}
	consumer->nassigned = n;
	MemoryContextSwitchTo(old);
}

/*
 * The position of the i-th partition of the assignment.  "offset" follows the
 * last record returned, and is past transaction markers and compacted records
 * once the end has been reached; "low" and "high" are from the broker's last
 * response.  While a Kafka transaction is open, "high" is the transaction's
 * first offset if all records before it have been returned; else it can be
 * greater.  Valid until the next call.
 */
const RcPartition *
rc_consumer_position(RcKafka *kafka, int i)
{
	RcAssigned *assigned = &kafka->consumer->assigned[i];
	RcPartition *state = &assigned->state;
	int64		low;
	int64		high;

	Assert(i >= 0 && i < kafka->consumer->nassigned);
	if (rd_kafka_get_watermark_offsets(kafka->rk, state->topic,
									   state->partition, &low, &high) ==
		RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		state->low = low < 0 ? state->low : low;
		state->high = high < 0 ? state->high : high;
	}
	if (assigned->eof)
		state->high = state->offset;
	state->at_end = !state->out_of_range && state->high >= 0 &&
		state->offset >= state->high;
	return state;
}

/* The partitions with their offsets; the caller destroys the list. */
rd_kafka_topic_partition_list_t *
rc_consumer_list(const RcPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list;

	list = rd_kafka_topic_partition_list_new(Max(n, 1));
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, partitions[i].topic,
										  partitions[i].partition)->offset =
			partitions[i].offset;
	return list;
}
