/*-------------------------------------------------------------------------
 *
 * destination_topic.h
 *	  A topic as the destination of a run, shared by destination_topic.c,
 *	  which publishes to it, and run_load.c, which waits until it is applied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DESTINATION_TOPIC_H
#define RC_DESTINATION_TOPIC_H

#include "worker/run_worker.h"

#include "kafka/kafka.h"

typedef struct RcTopicDestination
{
	RcDestination base;
	/* released after each attempt of a task */
	RcKafka    *producer;
	RcStreamConsumer *consumer; /* used by the load if no stream worker runs */

	int			partitions;		/* of the topic; 0: the topic is missing */
	bool		recreated;		/* re-created; the stream has offsets of the
								 * old one */
	List	   *end_offsets;	/* List of RcEndOffset: what was published */
} RcTopicDestination;

/* destination_topic.c */
extern void rc_topic_connect(RcTopicDestination *topic);

/* run_load.c */
extern void rc_topic_load(RcDestination *destination);

#endif							/* RC_DESTINATION_TOPIC_H */
