/*-------------------------------------------------------------------------
 *
 * destination.c
 *	  Chooses the destination of a source's records.
 *
 * Only the classes are known here; destination.h is their interface.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

/*
 * Make the destination of a run: the source's topic, or its stream (direct
 * mode) if the source has no topic or no brokers are set.  Uses no network.
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
