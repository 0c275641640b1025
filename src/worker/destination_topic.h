/*-------------------------------------------------------------------------
 *
 * destination_topic.h
 *	  A topic as the destination of a run: what destination_topic.c, which
 *	  fills it, and run_load.c, which waits for what reads it, share.
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
	/* released after each try of a task */
	RcKafka    *producer;
	RcStreamConsumer *consumer; /* works where no stream worker does */

	int			partitions;		/* of the topic; 0: it is missing */
	bool		anew;			/* but the stream stands in the old one */
	List	   *end_offsets;	/* RcEndOffset: what was published */
} RcTopicDestination;

/* destination_topic.c */
extern void rc_topic_connect(RcTopicDestination *topic);

/* run_load.c */
extern void rc_topic_load(RcDestination *destination);

#endif							/* RC_DESTINATION_TOPIC_H */
