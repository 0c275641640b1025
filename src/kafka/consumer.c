/*-------------------------------------------------------------------------
 *
 * consumer.c
 *	  Which partitions are read, and how far; consumer_fetch.c has the records.
 *
 * Partitions are assigned by the caller, with offsets that it keeps itself;
 * the group serves only to show them to Kafka's own tools.  So nothing here
 * may store, commit or reset an offset of its own accord.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer_internal.h"

#include "utils/memutils.h"

/* A commit of which nothing has been heard for so long is not waited for. */
#define COMMIT_LIMIT_MS	60000

/* How often, and how long each time, a lost topic's events are waited for. */
#define UNASSIGN_ROUNDS		10
#define UNASSIGN_WAIT_MS	30

/* How long to wait between two looks at the answer to a commit. */
#define COMMIT_PAUSE_MS	10

static void commit_cb(rd_kafka_t *rk, rd_kafka_resp_err_t err,
					  rd_kafka_topic_partition_list_t *offsets, void *opaque);
static void unassign(RcKafka *kafka);
static void empty_queue(rd_kafka_queue_t *queue, int timeout_ms);
static void copy_assignment(RcConsumer *consumer,
							const RcPartition *partitions, int n);
static rd_kafka_topic_partition_list_t *make_list(const RcPartition *partitions,
												  int n);

/*
 * Have results of commits come here.
 */
void
rc_consumer_attach(rd_kafka_conf_t *conf)
{
	rd_kafka_conf_set_offset_commit_cb(conf, commit_cb);
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
 * Give all messages back, before librdkafka is destroyed.
 */
void
rc_consumer_end(RcKafka *kafka)
{
	rc_consumer_drop_buffer(kafka->consumer);
	rc_consumer_release(kafka);
	unassign(kafka);
}

/*
 * Read nothing any more.
 *
 * When a topic is deleted while it is read, librdkafka leaves events in the
 * partition's own queue that hold the partition, and rd_kafka_destroy() would
 * wait for ever (2.0.2; mended in 2.4.0, pull request 4724).  That queue can
 * be emptied only by a handle that was got before; and after such an error
 * events may still come for a moment.
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
 * Read these partitions from now on, each from its offset; the earlier ones
 * no more.  The list is copied; records handed out are released.  Does not
 * wait for a broker.
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
	copy_assignment(consumer, partitions, n);
	list = make_list(partitions, n);
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
 * Where the i-th partition of the assignment stands: "offset" is the one
 * after the records handed out so far, past transaction markers and compacted
 * records once the end has been seen; "low" and "high" are what the broker
 * told with its last answer.  While a transaction is open, "high" is where it
 * begins if all before it has been handed out, else it may be further on.
 * Valid until the next call.
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

/*
 * Write offsets, each the next one to read, to the consumer group.  Does not
 * wait, and no failure matters: it is only for Kafka's own tools.  While one
 * commit is under way, others are left out; a later one says it all.
 */
void
rc_consumer_commit(RcKafka *kafka, const RcPartition *partitions, int n)
{
	RcConsumer *consumer = kafka->consumer;
	rd_kafka_topic_partition_list_t *list;

	if (n <= 0 ||
		(consumer->committing && rc_deadline_left(&consumer->commit_limit) > 0))
		return;
	list = make_list(partitions, n);
	consumer->committing =
		rd_kafka_commit(kafka->rk, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR;
	rc_deadline_start(&consumer->commit_limit, COMMIT_LIMIT_MS);
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * The same, and wait for the answer, but not longer than timeout_ms: it only
 * serves others.  A new group's coordinator has to be found first, so what is
 * refused is tried again, unless we have no right on the group.
 */
void
rc_consumer_commit_wait(RcKafka *kafka, const RcPartition *partitions, int n,
						int timeout_ms)
{
	RcConsumer *consumer = kafka->consumer;
	RcDeadline	deadline;
	bool		asked = false;

	rc_deadline_start(&deadline, timeout_ms);
	while (n > 0 && !consumer->no_group && rc_deadline_left(&deadline) > 0)
	{
		if (!consumer->committing)
		{
			if (asked && !consumer->refused)
				return;
			rc_consumer_commit(kafka, partitions, n);
			asked = true;
		}
		rc_kafka_pause(kafka, COMMIT_PAUSE_MS);
	}
}

/*
 * A commit has succeeded, or not.
 */
static void
commit_cb(rd_kafka_t *rk, rd_kafka_resp_err_t err,
		  rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;

	if (!kafka->open)
		return;
	kafka->consumer->committing = false;
	kafka->consumer->refused = (err != RD_KAFKA_RESP_ERR_NO_ERROR);
	if (!err)
		kafka->consumer->no_group = false;
	else if (err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
		kafka->consumer->no_group = true;
	if (err)
		rc_report_note("COMMIT", rd_kafka_err2str(err));
}

static rd_kafka_topic_partition_list_t *
make_list(const RcPartition *partitions, int n)
{
	rd_kafka_topic_partition_list_t *list;

	list = rd_kafka_topic_partition_list_new(Max(n, 1));
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, partitions[i].topic,
										  partitions[i].partition)->offset =
			partitions[i].offset;
	return list;
}
