/*-------------------------------------------------------------------------
 *
 * producer_delivery.c
 *	  What became of the records that a producer has sent.
 *
 * The delivery-report callback runs inside librdkafka, so what it calls must
 * not call PostgreSQL nor raise an error: it uses malloc, and leaves a note
 * where that fails.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

static void keep_again(RcProducer *producer, RcTopic *topic,
					   const rd_kafka_message_t *message);
static RcSpot *find_spot(RcProducer *producer, RcTopic *topic,
						 int32 partition);
static RcTopic *topic_of(RcProducer *producer, const rd_kafka_topic_t *rkt);
static void append(RcAgainList *list, RcAgain *again);

/*
 * A record has been delivered, or not.
 */
void
rc_delivery_cb(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;
	RcProducer *producer = kafka->producer;
	RcTopic    *topic;
	RcSpot	   *spot;
	uint64		tag = (uint64) (uintptr_t) message->_private;

	if (!kafka->open)
		return;
	producer->outstanding--;
	producer->reports++;
	if (producer->by_message)
	{
		if (!message->err)
			kafka->answered = true;
		rc_delivery_refuse(producer, tag, message->err);
		return;
	}
	topic = topic_of(producer, message->rkt);
	if (topic == NULL)
		return;
	if (rc_delivery_is_refusal(message->err) && producer->alone)
	{
		rc_delivery_refuse(producer, tag, message->err);
		return;
	}
	if (message->err && !rc_delivery_is_refusal(message->err))
	{
		if (!producer->failed)
		{
			producer->failed = message->err;
			producer->failed_topic = topic;
		}
		return;
	}

	spot = find_spot(producer, topic, message->partition);
	if (spot == NULL)
		return;
	if (message->err)
		spot->doubtful = true;
	else
	{
		kafka->answered = true;
		spot->offset = Max(spot->offset, message->offset);
	}
	if (spot->doubtful)
		keep_again(producer, topic, message);
}

/*
 * Is this an error of the record, or of one in the same batch?
 */
bool
rc_delivery_is_refusal(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
		err == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE ||
		err == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
		err == RD_KAFKA_RESP_ERR_INVALID_MSG ||
		err == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
}

/*
 * Note that a record was refused for its own sake, or with by_message what
 * became of it.
 */
void
rc_delivery_refuse(RcProducer *producer, uint64 tag, rd_kafka_resp_err_t err)
{
	if (producer->nrefusals >= producer->refusals_size)
	{
		int			size = Max(64, producer->refusals_size * 2);
		RcRefusal  *grown = realloc(producer->refusals,
									size * sizeof(RcRefusal));

		if (grown == NULL)
		{
			producer->no_memory = true;
			return;
		}
		producer->refusals = grown;
		producer->refusals_size = size;
	}
	producer->refusals[producer->nrefusals].tag = tag;
	producer->refusals[producer->nrefusals].err = err;
	producer->nrefusals++;
}

/*
 * Copy a record to be sent again.  There are never more than librdkafka's
 * queue holds, since rc_producer_send() settles them before it goes on.
 */
static void
keep_again(RcProducer *producer, RcTopic *topic,
		   const rd_kafka_message_t *message)
{
	RcAgain    *again;
	size_t		key_len = message->key ? message->key_len : 0;
	size_t		value_len = message->payload ? message->len : 0;

	again = malloc(offsetof(RcAgain, data) + key_len + value_len + 1);
	if (again == NULL)
	{
		producer->no_memory = true;
		return;
	}
	again->topic = topic;
	again->partition = message->partition;
	again->timestamp_ms = rd_kafka_message_timestamp(message, NULL);
	again->tag = (uint64) (uintptr_t) message->_private;
	again->key_len = message->key ? (int) key_len : -1;
	again->value_len = message->payload ? (int) value_len : -1;
	if (key_len > 0)
		memcpy(again->data, message->key, key_len);
	if (value_len > 0)
		memcpy(again->data + key_len, message->payload, value_len);
	if (rd_kafka_message_detach_headers((rd_kafka_message_t *) message,
										&again->headers) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		again->headers = NULL;
	append(&producer->again, again);
}

/*
 * Where a partition stands; NULL if memory is out.
 */
static RcSpot *
find_spot(RcProducer *producer, RcTopic *topic, int32 partition)
{
	if (partition < 0)
		partition = 0;
	if (partition >= topic->nspots)
	{
		RcSpot	   *grown = realloc(topic->spots,
									(partition + 1) * sizeof(RcSpot));

		if (grown == NULL)
		{
			producer->no_memory = true;
			return NULL;
		}
		topic->spots = grown;
		for (; topic->nspots <= partition; topic->nspots++)
		{
			grown[topic->nspots].offset = -1;
			grown[topic->nspots].doubtful = false;
		}
	}
	return &topic->spots[partition];
}

/*
 * The topic of a report.  Each handle is held until the end, so its address
 * names it.
 */
static RcTopic *
topic_of(RcProducer *producer, const rd_kafka_topic_t *rkt)
{
	RcTopic    *topic = producer->current;

	if (topic != NULL && topic->rkt == rkt)
		return topic;
	for (topic = producer->topics; topic != NULL; topic = topic->next)
	{
		if (topic->rkt == rkt)
			return topic;
	}
	return NULL;
}

/*
 * Hand over what has been refused: a list of RcRefused, palloc'd in the
 * current context.
 */
List *
rc_delivery_refusals(RcProducer *producer)
{
	List	   *refused = NIL;

	for (int i = 0; i < producer->nrefusals; i++)
	{
		RcRefused  *one = palloc(sizeof(RcRefused));

		one->tag = producer->refusals[i].tag;
		one->sqlstate = rc_kafka_errcode(producer->refusals[i].err);
		one->error = pstrdup(rd_kafka_err2str(producer->refusals[i].err));
		refused = lappend(refused, one);
	}
	producer->nrefusals = 0;
	return refused;
}

/*
 * Put one at the end of a list.
 */
static void
append(RcAgainList *list, RcAgain *again)
{
	again->next = NULL;
	if (list->length++ == 0)
		list->first = again;
	else
		list->last->next = again;
	list->last = again;
}

/*
 * Move all of "back" to the end of "front".
 */
void
rc_again_join(RcAgainList *front, RcAgainList *back)
{
	if (back->length == 0)
		return;
	if (front->length == 0)
		front->first = back->first;
	else
		front->last->next = back->first;
	front->last = back->last;
	front->length += back->length;
	memset(back, 0, sizeof(RcAgainList));
}

/*
 * Free the records of a list.
 */
void
rc_again_free(RcAgainList *list)
{
	while (list->length > 0)
	{
		RcAgain    *again = list->first;

		list->first = again->next;
		list->length--;
		if (again->headers != NULL)
			rd_kafka_headers_destroy(again->headers);
		free(again);
	}
}
