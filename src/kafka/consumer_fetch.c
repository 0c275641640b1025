/*-------------------------------------------------------------------------
 *
 * consumer_fetch.c
 *	  Takes records from a consumer's queue.
 *
 * A returned record points into librdkafka's memory and stays valid until
 * rc_consumer_release(), so a failed batch can be applied again without being
 * fetched again.  Between the first record of a call and its return nothing
 * may be logged: ereport() processes interrupts, and an error would lose the
 * records that are already taken from the queue.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer_internal.h"

#include "access/xact.h"
#include "utils/memutils.h"

/*
 * A broker thread of librdkafka that has read ahead enough sleeps for up to a
 * second, and is not woken when its queue is drained (rdkafka_broker.c,
 * rd_kafka_broker_consumer_serve, in 2.0.2).  Any request to the broker wakes
 * it; see wake_broker_thread().
 */
#define WAKE_BYTES		(2 * 1024 * 1024)
#define WAKE_MESSAGES	(RC_KAFKA_AHEAD_MESSAGES / 4)
#define WAKE_QUEUE_EMPTY		32	/* divides both if the queue is empty */

/*
 * How often in a row an assignment may be interrupted before it has returned
 * a record; see rc_consumer_interrupted().
 */
#define MAX_RESTARTS	3

static rd_kafka_message_t *next_message(RcKafka *kafka, int want, Size room);
static bool connection_closed(RcKafka *kafka);
static RcAssigned *find_assigned(RcConsumer *consumer,
								 const rd_kafka_message_t *message);
static void take_from_buffer(RcConsumer *consumer, RcAssigned *assigned,
							 rd_kafka_message_t *message, RcRecord *record);
static void fill_headers(RcConsumer *consumer,
						 const rd_kafka_message_t *message, RcRecord *record);
static bool is_event(RcKafka *kafka, RcAssigned *assigned,
					 const rd_kafka_message_t *message);
static void raise_error(RcAssigned *assigned, rd_kafka_message_t *message);
static void raise_topic_error(RcKafka *kafka);
static void wake_broker_thread(RcKafka *kafka);

/*
 * Can records be fetched without waiting?
 */
bool
rc_consumer_has_more(RcKafka *kafka)
{
	RcConsumer *consumer = kafka->consumer;

	return consumer->buffer_next < consumer->buffer_end || !consumer->queue_empty;
}

/*
 * Has a connection to a broker been closed since the assignment?  Then
 * rc_consumer_fetch() returns no records any more, and the caller must assign
 * the partitions again, at a record that it can recognize: a broker may come
 * back, or another one take over, with a log that was cut and has grown again
 * beyond our offset.  (librdkafka 2.1 detects that by leader epochs.)
 */
bool
rc_consumer_interrupted(RcKafka *kafka)
{
	return kafka->consumer->interrupted;
}

/*
 * Fetch the records available now, without waiting: at most "max" records
 * and, beyond the first, max_bytes of keys and values.  Records are in order
 * within a partition.  Returns their number; records returned by earlier
 * calls stay valid until rc_consumer_release().
 *
 * Three conditions are not errors: an offset that does not exist (see
 * out_of_range of rc_consumer_position()), an interrupted assignment (see
 * rc_consumer_interrupted()) and unreachable brokers (see
 * rc_kafka_connection_error()).
 *
 * Errors: 42704 if a topic or partition does not exist, 42501 if the Kafka
 * user has no right to read it, XX001 for a message that cannot be decoded;
 * others by rc_kafka_errcode().  librdkafka reports each error only once, so
 * the caller must call rc_consumer_assign() with its own offsets before it
 * fetches again.
 */
int
rc_consumer_fetch(RcKafka *kafka, RcRecord *records, int max, Size max_bytes)
{
	RcConsumer *consumer = kafka->consumer;
	Size		bytes = 0;
	int			n = 0;

	Assert(!IsTransactionState());
	rd_kafka_poll(kafka->rk, 0);
	rc_report_emit(kafka);

	while (n < max)
	{
		Size		room = max_bytes > bytes ? max_bytes - bytes : 0;
		rd_kafka_message_t *message = next_message(kafka, max - n, room);
		RcAssigned *assigned;
		Size		size;

		if (message == NULL)
			break;
		assigned = find_assigned(consumer, message);
		if (message->err)
		{
			if (!is_event(kafka, assigned, message))
			{
				if (n > 0)
					break;		/* the error is for the next call */
				consumer->buffer_next++;
				raise_error(assigned, message);
			}
			consumer->buffer_next++;
			rd_kafka_message_destroy(message);
			continue;
		}
		size = message->len + message->key_len;
		if (n > 0 && size > room)
			break;
		if (assigned == NULL)
		{
			consumer->buffer_next++;
			rd_kafka_message_destroy(message);
			continue;
		}
		take_from_buffer(consumer, assigned, message, &records[n]);
		bytes += size;
		n++;
	}
	if (n > 0)
		kafka->answered = true;
	else if (kafka->topic_code)
		raise_topic_error(kafka);
	wake_broker_thread(kafka);
	return n;
}

/*
 * Free all records that rc_consumer_fetch() has returned.
 */
void
rc_consumer_release(RcKafka *kafka)
{
	RcConsumer *consumer = kafka->consumer;

	while (consumer->nreturned > 0)
		rd_kafka_message_destroy(consumer->returned[--consumer->nreturned]);
	if (consumer->header_context != NULL)
		MemoryContextReset(consumer->header_context);
}

/*
 * The next message, which stays in the buffer; NULL if there is none now, or
 * the assignment was interrupted.  No more messages are taken from
 * librdkafka's queue than fit into "room" bytes by their average size, since
 * librdkafka reads ahead further as soon as messages have left its queue.
 */
static rd_kafka_message_t *
next_message(RcKafka *kafka, int want, Size room)
{
	RcConsumer *consumer = kafka->consumer;

	if (consumer->buffer_next >= consumer->buffer_end)
	{
		Size		fit = room / Max(consumer->average, 1);
		size_t		take = Max(Min(Min(fit, want), RC_FETCH_BUFFER_MAX), 1);
		ssize_t		got;

		consumer->buffer_next = consumer->buffer_end = 0;
		got = rd_kafka_consume_batch_queue(kafka->queue, 0, consumer->buffer,
										   take);
		consumer->queue_empty = got < (ssize_t) take;
		if (got <= 0)
			return NULL;
		consumer->buffer_end = (int) got;
	}
	return connection_closed(kafka) ? NULL :
		consumer->buffer[consumer->buffer_next];
}

/*
 * See rc_consumer_interrupted().  A message in the buffer can be of a new
 * connection only if the count had changed before it was taken.  While a
 * broker is down, each attempt to reach it counts, too, so the number of
 * restarts is limited.
 */
static bool
connection_closed(RcKafka *kafka)
{
	RcConsumer *consumer = kafka->consumer;
	uint32		closed = pg_atomic_read_u32(&kafka->closed);

	if (likely(closed == consumer->closed))
		return false;
	if (consumer->restarts < MAX_RESTARTS)
	{
		consumer->restarts += consumer->interrupted ? 0 : 1;
		consumer->interrupted = true;
		return true;
	}
	consumer->closed = closed;
	return false;
}

/*
 * The partition of a message; NULL if it is not assigned (any more).  The
 * search begins at the partition of the last message, since consecutive
 * messages are mostly of one partition.
 */
static RcAssigned *
find_assigned(RcConsumer *consumer, const rd_kafka_message_t *message)
{
	const char *topic;

	if (message->rkt == NULL)
		return NULL;
	topic = rd_kafka_topic_name(message->rkt);
	for (int i = 0; i < consumer->nassigned; i++)
	{
		RcAssigned *assigned = &consumer->assigned[consumer->current];

		if (assigned->state.partition == message->partition &&
			strcmp(assigned->state.topic, topic) == 0)
			return assigned;
		if (++consumer->current >= consumer->nassigned)
			consumer->current = 0;
	}
	return NULL;
}

/*
 * Fill a record from the next message and move the message from buffer to
 * returned.  If memory is short the error is raised before it is moved.
 */
static void
take_from_buffer(RcConsumer *consumer, RcAssigned *assigned,
				 rd_kafka_message_t *message, RcRecord *record)
{
	rd_kafka_timestamp_type_t type;
	Size		size = message->len + message->key_len;

	if (consumer->nreturned >= consumer->returned_size)
	{
		int			grown = Max(1024, consumer->returned_size * 2);
		Size		bytes = grown * sizeof(rd_kafka_message_t *);

		consumer->returned = consumer->returned == NULL ?
			MemoryContextAllocHuge(consumer->context, bytes) :
			repalloc_huge(consumer->returned, bytes);
		consumer->returned_size = grown;
	}
	record->topic = assigned->state.topic;
	record->partition = message->partition;
	record->offset = message->offset;
	record->timestamp_ms = rd_kafka_message_timestamp(message, &type);
	/* compared with the stored one, see rc_partitions_verify() */
	if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ||
		record->timestamp_ms < 0 || record->timestamp_ms > RC_MAX_KAFKA_TIME)
		record->timestamp_ms = -1;
	record->key = message->key;
	record->key_len = message->key ? (int) message->key_len : -1;
	record->value = message->payload;
	record->value_len = message->payload ? (int) message->len : -1;
	record->field_name = NULL;
	fill_headers(consumer, message, record);

	consumer->restarts = 0;
	consumer->buffer_next++;
	consumer->returned[consumer->nreturned++] = message;
	consumer->taken_messages++;
	consumer->taken_bytes += size;
	consumer->average = (consumer->average * 15 + size) / 16;
	assigned->state.offset = message->offset + 1;
	assigned->eof = false;
}

static void
fill_headers(RcConsumer *consumer, const rd_kafka_message_t *message,
			 RcRecord *record)
{
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t err = rd_kafka_message_headers(message, &headers);

	record->headers = NULL;
	record->nheaders = 0;
	record->headers_lost = err != RD_KAFKA_RESP_ERR_NO_ERROR &&
		err != RD_KAFKA_RESP_ERR__NOENT;
	if (err)
		return;
	record->nheaders = (int) rd_kafka_header_cnt(headers);
	if (record->nheaders == 0)
		return;
	record->headers = MemoryContextAlloc(consumer->header_context,
										 record->nheaders * sizeof(RcHeader));
	for (int i = 0; i < record->nheaders; i++)
	{
		RcHeader   *header = &record->headers[i];
		const void *value = NULL;
		size_t		size = 0;

		rd_kafka_header_get_all(headers, i, &header->name, &value, &size);
		header->value = value;
		header->value_len = value ? (int) size : -1;
	}
}

/*
 * Handle messages that librdkafka flags as errors but that are none here: the
 * end of a partition, an offset that does not exist, connection errors, from
 * which librdkafka recovers by itself, and a missing right on the group,
 * which is not needed to read.  Returns false for a real error.
 */
static bool
is_event(RcKafka *kafka, RcAssigned *assigned,
		 const rd_kafka_message_t *message)
{
	switch (message->err)
	{
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			if (assigned != NULL)
			{
				assigned->state.offset = Max(assigned->state.offset,
											 message->offset);
				assigned->eof = true;
			}
			kafka->answered = true;
			return true;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			if (assigned != NULL)
				assigned->state.out_of_range = true;
			return true;
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			rc_consumer_group_denied(kafka);
			rc_report_note("CONSUMER", rd_kafka_message_errstr(message));
			return true;
		default:
			if (message->rkt == NULL ||
				rc_kafka_errcode(message->err) == ERRCODE_CONNECTION_FAILURE)
			{
				rc_report_note("CONSUMER", rd_kafka_message_errstr(message));
				return true;
			}
			return false;
	}
}

/*
 * Raise the error that a message contains, and free the message.
 */
static void
raise_error(RcAssigned *assigned, rd_kafka_message_t *message)
{
	char		error_text[RC_KAFKA_ERRSTR_MAX];
	char		topic[RC_KAFKA_ERRSTR_MAX];
	int32		partition = message->partition;
	int			code = rc_kafka_errcode(message->err);

	strlcpy(error_text, rd_kafka_message_errstr(message), sizeof(error_text));
	strlcpy(topic, rd_kafka_topic_name(message->rkt), sizeof(topic));
	rd_kafka_message_destroy(message);
	rc_mask_invalid(error_text);
	ereport(ERROR,
			(errcode(code),
			 errmsg("could not read partition %d of topic \"%s\": %s",
					partition, topic, error_text),
			 assigned != NULL ?
			 errdetail("The next offset to read is %lld.",
					   (long long) assigned->state.offset) : 0,
			 code == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Give the Kafka user the right to read the topic.") : 0));
}

/*
 * Raise the error of a topic that kafka_log.c has stored.  Its text begins
 * with the topic's name; if no assigned topic has that name the error is of
 * an earlier assignment and is ignored.
 */
static void
raise_topic_error(RcKafka *kafka)
{
	RcConsumer *consumer = kafka->consumer;
	int			code = rc_kafka_errcode(kafka->topic_code);

	kafka->topic_code = RD_KAFKA_RESP_ERR_NO_ERROR;
	for (int i = 0; i < consumer->nassigned; i++)
	{
		const char *topic = consumer->assigned[i].state.topic;
		size_t		len = strlen(topic);

		if (strncmp(kafka->topic_error, topic, len) == 0 &&
			kafka->topic_error[len] == ' ')
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not read from Kafka: %s",
							kafka->topic_error),
					 code == ERRCODE_INSUFFICIENT_PRIVILEGE ?
					 errhint("Give the Kafka user the right to read the topic.") : 0));
	}
}

/*
 * Wake broker threads that sleep because enough was read ahead; see
 * WAKE_BYTES.  The request is one for end offsets; with a timeout of 0 its
 * response is dropped.
 */
static void
wake_broker_thread(RcKafka *kafka)
{
	RcConsumer *consumer = kafka->consumer;
	int			share = consumer->queue_empty ? WAKE_QUEUE_EMPTY : 1;
	rd_kafka_topic_partition_list_t *list;

	if (consumer->taken_bytes < WAKE_BYTES / share &&
		consumer->taken_messages < WAKE_MESSAGES / share)
		return;
	consumer->taken_bytes = 0;
	consumer->taken_messages = 0;
	list = rd_kafka_topic_partition_list_new(consumer->nassigned);
	for (int i = 0; i < consumer->nassigned; i++)
	{
		RcPartition *state = &consumer->assigned[i].state;

		rd_kafka_topic_partition_list_add(list, state->topic,
										  state->partition)->offset =
			RD_KAFKA_OFFSET_END;
	}
	rd_kafka_offsets_for_times(kafka->rk, list, 0);
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * Free messages that were taken from the queue and not returned.
 */
void
rc_consumer_drop_buffer(RcConsumer *consumer)
{
	while (consumer->buffer_next < consumer->buffer_end)
		rd_kafka_message_destroy(consumer->buffer[consumer->buffer_next++]);
}
