/*-------------------------------------------------------------------------
 *
 * destination.c
 *	  The kinds of destination that a source's records can go to.
 *
 * It must not know more of one than its name.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

/*
 * The destination of a run: the source's topic, or its own stream where there
 * is none, or no Kafka.  Nothing is asked yet.
 */
RcDestination *
rc_destination_make(RcRun *run)
{
	const RcDestinationClass *class = &rc_topic_class;
	RcDestination *destination;

	if (rc_kafka_brokers[0] == '\0' || run->source->topic == NULL)
		class = &rc_direct_class;
	destination = class->make(run);
	destination->class = class;
	destination->run = run;
	return destination;
}
