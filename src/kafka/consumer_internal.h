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

/* Messages taken out of librdkafka's queue at once, at most. */
#define RC_FETCH_BUFFER_MAX	256

/* A partition of the assignment. */
typedef struct RcAssigned
{
	RcPartition state;
	bool		eof;			/* librdkafka has told of the end at offset */
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

	/* taken from the queue, not handed out: hand[hand_next .. hand_end - 1] */
	rd_kafka_message_t *hand[RC_FETCH_BUFFER_MAX];
	int			hand_next;
	int			hand_end;

	/* handed out, not released */
	rd_kafka_message_t **out;
	int			nout;
	int			out_size;

	bool		queue_empty;	/* the queue was empty at the last look */
	Size		average;		/* bytes of a message, about */
	Size		taken_bytes;	/* since the last nudge */
	int			taken_messages;
	bool		committing;		/* written by the callback, too */
	bool		refused;		/* the last commit was, says the callback */
	bool		no_group;		/* we have no right on the group */
	RcDeadline	commit_limit;
};

extern void rc_consumer_drop_buffer(RcConsumer *consumer);

#endif							/* RC_CONSUMER_INTERNAL_H */
