/*-------------------------------------------------------------------------
 *
 * producer_internal.h
 *	  A producer's state, for the files producer*.c and
 *	  kafka_topic_create.c.
 *
 * Members that the delivery-report callback writes point to malloc'd memory,
 * since the callback must not call PostgreSQL (see kafka_log.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_PRODUCER_INTERNAL_H
#define RC_PRODUCER_INTERNAL_H

#include "kafka/kafka_internal.h"

#include "nodes/pg_list.h"

/* What has been delivered to a partition. */
typedef struct RcDeliveredOffset
{
	int64		offset;			/* highest delivered; -1: none */
	bool		unconfirmed_records;	/* a batch was refused: later records
										 * are sent again */
} RcDeliveredOffset;

typedef struct RcTopic
{
	struct RcTopic *next;
	char	   *name;
	rd_kafka_topic_t *rkt;
	RcDeliveredOffset *delivered;	/* malloc'd, by partition */
	int			n_delivered;
} RcTopic;

/*
 * A record to be sent again, malloc'd; data has its key and then its value.
 */
typedef struct RcResend
{
	struct RcResend *next;
	RcTopic    *topic;
	int32		partition;
	int64		timestamp_ms;
	uint64		tag;
	int			key_len;		/* -1: null */
	int			value_len;		/* -1: null */
	rd_kafka_headers_t *headers;	/* or NULL */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} RcResend;

typedef struct RcResendList
{
	RcResend   *first;
	RcResend   *last;
	int			length;
} RcResendList;

/*
 * The error of a refused record; with by_message, the result of any record.
 */
typedef struct RcRefusal
{
	uint64		tag;
	rd_kafka_resp_err_t err;
} RcRefusal;

struct RcProducer
{
	RcTopic    *topics;
	RcTopic    *current;		/* the topic used last */
	int			unserved;		/* records sent since callbacks were run */
	bool		by_message;		/* each delivery report is returned; see
								 * producer_publish.c */
	bool		alone;			/* exactly one record is in flight */
	List	   *making;			/* names of the topics that are being created */
	RcResendList rest;			/* records that are being sent again; see
								 * rc_producer_settle() */

	/* written by the callback */
	int64		outstanding;	/* records without a delivery report */
	uint64		reports;		/* delivery reports so far */
	rd_kafka_resp_err_t failed; /* first error that is not a refusal */
	RcTopic    *failed_topic;
	bool		no_memory;
	RcResendList resend;
	RcRefusal  *refusals;
	int			nrefusals;
	int			refusals_size;
};

/*
 * The longest wait, in ms, before the deadline is checked and queued messages
 * are pushed again, since a broker may have become reachable.
 */
#define RC_PRODUCER_WAIT_MS	100

/* producer.c */
extern RcTopic *rc_producer_topic(RcKafka *kafka, const char *name);
extern rd_kafka_resp_err_t rc_producer_try(RcKafka *kafka, RcTopic *topic,
										   const RcRecord *record, uint64 tag);
extern rd_kafka_resp_err_t rc_producer_produce(RcKafka *kafka, RcTopic *topic,
											   int32 partition,
											   const RcRecord *record,
											   rd_kafka_headers_t *headers,
											   uint64 tag);
extern void rc_producer_check(RcKafka *kafka);
extern void rc_producer_fail(RcKafka *kafka, RcTopic *topic,
							 rd_kafka_resp_err_t err);

/* producer_settle.c */
extern void rc_producer_settle(RcKafka *kafka, RcDeadline *deadline);

/* producer_delivery.c */
extern void rc_delivery_cb(rd_kafka_t *rk, const rd_kafka_message_t *message,
						   void *opaque);
extern bool rc_delivery_is_refusal(rd_kafka_resp_err_t err);
extern void rc_delivery_refuse(RcProducer *producer, uint64 tag,
							   rd_kafka_resp_err_t err);
extern List *rc_delivery_refusals(RcProducer *producer);
extern void rc_resend_join(RcResendList *front, RcResendList *back);
extern void rc_resend_free(RcResendList *list);

#endif							/* RC_PRODUCER_INTERNAL_H */
