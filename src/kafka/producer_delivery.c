/*-------------------------------------------------------------------------
 *
 * producer_delivery.c
 *	  The delivery-report callback, and the refusals and resend list it
 *	  keeps.
 *
 * The callback runs inside librdkafka, so it must not call PostgreSQL nor
 * raise an error (see kafka_log.c): memory is malloc'd, and if that fails
 * no_memory is set, which rc_producer_check() raises.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/producer_internal.h"

static void keep_for_resend(RcProducer *producer, RcTopic *topic,
							const rd_kafka_message_t *message);
static RcDeliveredOffset *find_delivered(RcProducer *producer, RcTopic *topic,
										 int32 partition);
static RcTopic *topic_of(RcProducer *producer, const rd_kafka_topic_t *rkt);
static void append(RcResendList *list, RcResend *resend);

/*
 * librdkafka's callback for each record that has been delivered or has
 * failed.
 */
void
rc_delivery_cb(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;
	RcProducer *producer = kafka->producer;
	RcTopic    *topic;
	RcDeliveredOffset *delivered_offset;
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

	delivered_offset = find_delivered(producer, topic, message->partition);
	if (delivered_offset == NULL)
		return;
	if (message->err)
		delivered_offset->unconfirmed_records = true;
	else
	{
		kafka->answered = true;
		delivered_offset->offset = Max(delivered_offset->offset, message->offset);
	}
	if (delivered_offset->unconfirmed_records)
		keep_for_resend(producer, topic, message);
}

/*
 * Is this an error of the record itself, or of another one in its batch?
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
 * Store that a record was rejected permanently; with by_message, the result
 * of any record.
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
 * Copy a record to the resend list.  The list is never longer than
 * librdkafka's queue, since rc_producer_send() settles it before it sends
 * another record.
 */
static void
keep_for_resend(RcProducer *producer, RcTopic *topic,
				const rd_kafka_message_t *message)
{
	RcResend   *resend;
	size_t		key_len = message->key ? message->key_len : 0;
	size_t		value_len = message->payload ? message->len : 0;

	resend = malloc(offsetof(RcResend, data) + key_len + value_len + 1);
	if (resend == NULL)
	{
		producer->no_memory = true;
		return;
	}
	resend->topic = topic;
	resend->partition = message->partition;
	resend->timestamp_ms = rd_kafka_message_timestamp(message, NULL);
	resend->tag = (uint64) (uintptr_t) message->_private;
	resend->key_len = message->key ? (int) key_len : -1;
	resend->value_len = message->payload ? (int) value_len : -1;
	if (key_len > 0)
		memcpy(resend->data, message->key, key_len);
	if (value_len > 0)
		memcpy(resend->data + key_len, message->payload, value_len);
	if (rd_kafka_message_detach_headers((rd_kafka_message_t *) message,
										&resend->headers) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		resend->headers = NULL;
	append(&producer->resend, resend);
}

/*
 * The entry of a partition, created if there is none; NULL without memory.
 */
static RcDeliveredOffset *
find_delivered(RcProducer *producer, RcTopic *topic, int32 partition)
{
	if (partition < 0)
		partition = 0;
	if (partition >= topic->n_delivered)
	{
		RcDeliveredOffset *grown = realloc(topic->delivered,
										   (partition + 1) * sizeof(RcDeliveredOffset));

		if (grown == NULL)
		{
			producer->no_memory = true;
			return NULL;
		}
		topic->delivered = grown;
		for (; topic->n_delivered <= partition; topic->n_delivered++)
		{
			grown[topic->n_delivered].offset = -1;
			grown[topic->n_delivered].unconfirmed_records = false;
		}
	}
	return &topic->delivered[partition];
}

/*
 * The topic of a delivery report.  A topic's handle exists until the producer
 * is closed, so its address identifies it.
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
 * Return the refused records, and forget them: a List of RcRefused, palloc'd
 * in the current context.
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

static void
append(RcResendList *list, RcResend *resend)
{
	resend->next = NULL;
	if (list->length++ == 0)
		list->first = resend;
	else
		list->last->next = resend;
	list->last = resend;
}

/*
 * Move all of "back" to the end of "front".
 */
void
rc_resend_join(RcResendList *front, RcResendList *back)
{
	if (back->length == 0)
		return;
	if (front->length == 0)
		front->first = back->first;
	else
		front->last->next = back->first;
	front->last = back->last;
	front->length += back->length;
	memset(back, 0, sizeof(RcResendList));
}

void
rc_resend_free(RcResendList *list)
{
	while (list->length > 0)
	{
		RcResend   *resend = list->first;

		list->first = resend->next;
		list->length--;
		if (resend->headers != NULL)
			rd_kafka_headers_destroy(resend->headers);
		free(resend);
	}
}
