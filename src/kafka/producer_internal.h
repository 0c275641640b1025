/*-------------------------------------------------------------------------
 *
 * producer_internal.h
 *	  A producer's state, for the files producer*.c and kafka_topic_create.c.
 *
 * What is marked as written by the callback is plain memory: see kafka_log.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_PRODUCER_INTERNAL_H
#define RC_PRODUCER_INTERNAL_H

#include "kafka/kafka_internal.h"

#include "nodes/pg_list.h"

/* Where a partition stands. */
typedef struct RcDeliveredOffset
{
	int64		offset;			/* highest one delivered; -1: none */
	bool		unconfirmed_records;	/* a batch was refused: all is sent
										 * again */
} RcDeliveredOffset;

typedef struct RcTopic
{
	struct RcTopic *next;
	char	   *name;
	rd_kafka_topic_t *rkt;
	RcDeliveredOffset *delivered;	/* malloc'd, by partition */
	int			n_delivered;
} RcTopic;

/* A record to be sent again.  malloc'd, its key and value behind it. */
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

/* What became of one; a refusal, or with by_message any report. */
typedef struct RcRefusal
{
	uint64		tag;
	rd_kafka_resp_err_t err;
} RcRefusal;

struct RcProducer
{
	RcTopic    *topics;
	RcTopic    *current;		/* the one used last */
	int			unserved;		/* records since callbacks were served */
	bool		by_message;		/* each report is handed out; see
								 * producer_publish.c */
	bool		alone;			/* one record is on its way, by itself */
	List	   *making;			/* names of the topics asked for */
	RcResendList rest;			/* to be sent again; see rc_producer_settle() */

	/* written by the callback */
	int64		outstanding;	/* records without a report */
	uint64		reports;		/* reports so far */
	rd_kafka_resp_err_t failed; /* the first error that is no refusal */
	RcTopic    *failed_topic;
	bool		no_memory;
	RcResendList resend;
	RcRefusal  *refusals;
	int			nrefusals;
	int			refusals_size;
};

/*
 * How long a wait lasts at most before the deadline is looked at, and what is
 * queued is pushed again: a broker may have come up meanwhile.
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
extern void rc_producer_settle(RcKafka *kafka, const RcDeadline *deadline);

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
