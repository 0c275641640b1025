/*-------------------------------------------------------------------------
 *
 * consumer_internal.h
 *	  A consumer's state, for consumer.c and consumer_fetch.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_CONSUMER_INTERNAL_H
#define RC_CONSUMER_INTERNAL_H

#include "kafka/kafka_internal.h"

/* The most messages that are taken from librdkafka's queue at once. */
#define RC_FETCH_BUFFER_MAX	256

/* A partition of the assignment. */
typedef struct RcAssigned
{
	RcPartition state;
	bool		eof;			/* librdkafka has reported the end at offset */
	rd_kafka_queue_t *queue;	/* see unassign() */
} RcAssigned;

struct RcConsumer
{
	MemoryContext context;		/* lives as long as the handle */
	MemoryContext assignment_context;
	MemoryContext header_context;
	RcAssigned *assigned;
	int			nassigned;
	int			current;		/* the partition of the last message */

	/*
	 * taken from the queue; not returned yet are [buffer_next, buffer_end)
	 */
	rd_kafka_message_t *buffer[RC_FETCH_BUFFER_MAX];
	int			buffer_next;
	int			buffer_end;

	/* returned by rc_consumer_fetch(), not released; owned by librdkafka */
	rd_kafka_message_t **returned;
	int			nreturned;
	int			returned_size;

	uint32		closed;			/* connections closed before the assignment;
								 * see rc_consumer_interrupted() */
	bool		interrupted;	/* one has been closed since */
	int			restarts;		/* assignments without a record, after that */

	bool		queue_empty;	/* at the last poll */
	Size		average;		/* moving average of a message's bytes */
	Size		taken_bytes;	/* since wake_broker_thread() sent a request */
	int			taken_messages;
	bool		committing;		/* a commit is in progress; cleared by the
								 * callback */
	rd_kafka_resp_err_t commit_error;	/* of the last commit; set by the
										 * callback */
	RcDeadline	commit_limit;
};

extern void rc_consumer_drop_buffer(RcConsumer *consumer);
extern void rc_consumer_group_denied(RcKafka *kafka);
extern rd_kafka_topic_partition_list_t *rc_consumer_list(const RcPartition *partitions,
														 int n);

#endif							/* RC_CONSUMER_INTERNAL_H */
