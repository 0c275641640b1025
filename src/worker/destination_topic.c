/*-------------------------------------------------------------------------
 *
 * destination_topic.c
 *	  Publishes the records of a run to the source's topic, which is created
 *	  if it is missing.
 *
 * A record counts as sent only when Kafka has confirmed it.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/destination_topic.h"

#include "utils/memutils.h"

/* Timeout of requests to Kafka, in ms; after it the task has failed. */
#define TIMEOUT_MS	30000

/* Timeout of looking up the topic's settings, which a run can do without. */
#define SETTINGS_TIMEOUT_MS	5000

static void check_settings(RcTopicDestination *topic);
static bool make_topic(RcTopicDestination *topic);
static bool can_hold(RcTopicDestination *topic);
static bool knows_at_most(RcTopicDestination *topic, int64 most);
static void wake_streams(RcRun *run);
static void note_end_offsets(RcTopicDestination *topic);

static RcDestination *
topic_make(RcRun *run)
{
	RcTopicDestination *topic = palloc0(sizeof(RcTopicDestination));

	topic->consumer = rc_stream_consumer_create();
	return &topic->base;
}

/*
 * Open a producer and the topic.  If the topic was re-created, delete what is
 * known of the records sent, so that everything is published again.
 */
static void
topic_open(RcDestination *destination)
{
	RcTopicDestination *topic = (RcTopicDestination *) destination;
	RcRun	   *run = destination->run;
	bool		made;

	rc_transaction_begin();
	rc_check_source_grant(run->source->owner, run->source->owner_name,
						  run->source->topic, run->source->name);
	rc_transaction_commit();
	rc_topic_connect(topic);
	made = make_topic(topic);
	if (run->source->topic_config != NIL)
		check_settings(topic);
	if (made ? knows_at_most(topic, 0) : can_hold(topic))
		return;

	rc_transaction_begin();
	rc_source_forget(run->source, destination->id);
	if (run->stream)
		topic->recreated = rc_offset_outdate(run->stream->name, run->source->topic);
	rc_transaction_commit();
	wake_streams(run);
	ereport(NOTICE,
			(errmsg("topic \"%s\" was re-created: source \"%s\" publishes all records again",
					run->source->topic, run->source->name)));
}

/* Open a producer; find out the cluster's id and the topic's partitions. */
void
rc_topic_connect(RcTopicDestination *topic)
{
	RcSource   *source = topic->base.run->source;
	char	   *cluster;

	if (topic->producer != NULL)
		return;
	topic->producer = rc_kafka_open(RC_KAFKA_PRODUCER,
									rc_client_id(source->name),
									NULL);
	cluster = rc_kafka_cluster_id(topic->producer, TIMEOUT_MS);
	topic->base.id = psprintf("%s/%s", cluster, source->topic);
	topic->partitions = rc_kafka_partition_count(topic->producer,
												 source->topic,
												 TIMEOUT_MS);
}

/* Create the topic if it is missing; returns whether it was. */
static bool
make_topic(RcTopicDestination *topic)
{
	RcSource   *source = topic->base.run->source;
	RcNewTopic	new_topic = {0};
	RcAnswer	answer;

	if (topic->partitions > 0)
		return false;
	new_topic.name = source->topic;
	new_topic.partitions = source->partitions;
	new_topic.replication = source->replication;
	new_topic.compacted = source->key_field != NULL;
	new_topic.settings = source->topic_config;
	rc_kafka_create_topic(topic->producer, &new_topic, TIMEOUT_MS);

	/*
	 * librdkafka has just seen that there is no such topic, and would hold
	 * messages back for a second before it asks again
	 */
	rc_kafka_look_up(topic->producer, source->topic, TIMEOUT_MS, &answer);
	topic->partitions = source->partitions;
	ereport(NOTICE,
			(errmsg_plural("created topic \"%s\" with %d partition",
						   "created topic \"%s\" with %d partitions",
						   source->partitions, source->topic,
						   source->partitions)));
	wake_streams(topic->base.run);
	return true;
}

/* Warn if the topic has other settings than the source asks for. */
static void
check_settings(RcTopicDestination *topic)
{
	const RcSource *source = topic->base.run->source;
	const char *error;
	List	   *differences;
	StringInfoData detail;
	ListCell   *lc;

	differences = rc_kafka_topic_differences(topic->producer, source->topic,
											 source->topic_config,
											 SETTINGS_TIMEOUT_MS, &error);
	if (error != NULL)
		ereport(NOTICE,
				(errmsg("could not look up the settings of topic \"%s\": %s",
						source->topic, error),
				 errhint("Give the Kafka user the right to describe the topic's configuration, or set topic_config of the source to null.")));
	if (differences == NIL)
		return;
	initStringInfo(&detail);
	foreach(lc, differences)
		appendStringInfo(&detail, "%s%s", detail.len > 0 ? " " : "",
						 (const char *) lfirst(lc));
	ereport(WARNING,
			(errmsg("topic \"%s\" has other settings than topic_config of source \"%s\"",
					source->topic, source->name),
			 errdetail_internal("%s", detail.data),
			 errhint("An existing topic is not changed: use Kafka's own tool, kafka-configs, or correct topic_config.")));
}

/* Wake streams that may be waiting for the topic. */
static void
wake_streams(RcRun *run)
{
	rc_transaction_begin();
	rc_stream_topic_made(run->source->topic);
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	if (run->stream != NULL)
		rc_wake_stream(run->stream->name, run->stream->workers);
	rc_transaction_commit();
}

static bool
topic_holds(RcDestination *destination)
{
	RcTopicDestination *topic = (RcTopicDestination *) destination;

	rc_topic_connect(topic);
	return can_hold(topic);
}

/*
 * Whether the topic may be the one that the records were published to.  If its
 * offsets are fewer than the records known to have been sent, it was
 * re-created.
 */
static bool
can_hold(RcTopicDestination *topic)
{
	int64		published = 0;

	if (knows_at_most(topic, 0))
		return true;
	for (int p = 0; p < topic->partitions; p++)
	{
		int64		low;
		int64		high;

		rc_consumer_watermarks(topic->producer, topic->base.run->source->topic,
							   p, &low, &high, TIMEOUT_MS);
		published += high;
	}
	return knows_at_most(topic, published);
}

static bool
knows_at_most(RcTopicDestination *topic, int64 most)
{
	bool		at_most;

	rc_transaction_begin();
	at_most = rc_known_records_at_most(topic->base.run->source, topic->base.id,
									   most);
	rc_transaction_commit();
	return at_most;
}

/* Publish records and wait until Kafka has confirmed them. */
static void
topic_send(RcDestination *destination, RcSending *sending)
{
	RcTopicDestination *topic = (RcTopicDestination *) destination;
	RcRun	   *run = destination->run;
	ListCell   *lc;

	for (int i = 0; i < sending->n; i++)
		rc_producer_send(topic->producer, &sending->records[i], i);
	MemoryContextSwitchTo(run->batch_context);
	rc_producer_flush(topic->producer, TIMEOUT_MS, &sending->refused);
	foreach(lc, sending->refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);

		message->error = psprintf(gettext_noop("Kafka rejected the record: %s"),
								  message->error);
	}
	MemoryContextSwitchTo(run->context);
	note_end_offsets(topic);
}

/* Record the last offset published to each partition, for the load. */
static void
note_end_offsets(RcTopicDestination *topic)
{
	char	   *name = topic->base.run->source->topic;

	for (int p = 0; p < topic->partitions; p++)
	{
		int64		offset = rc_producer_last_offset(topic->producer, name, p);
		RcEndOffset *end = NULL;
		ListCell   *lc;

		if (offset < 0)
			continue;
		foreach(lc, topic->end_offsets)
		{
			if (((RcEndOffset *) lfirst(lc))->partition == p)
				end = (RcEndOffset *) lfirst(lc);
		}
		if (end == NULL)
		{
			end = palloc0(sizeof(RcEndOffset));
			end->topic = name;
			end->partition = p;
			topic->end_offsets = lappend(topic->end_offsets, end);
		}
		end->offset = Max(end->offset, offset);
	}
}

/* Kafka has confirmed all records, or rejected them permanently. */
static void
topic_commit(RcDestination *destination, RcSending *sending)
{
	sending->safe = sending->n;
	sending->counts.published = sending->n - list_length(sending->refused);
}

static bool
topic_error_is_transient(const RcDestination *destination, const ErrorData *error)
{
	const RcTopicDestination *topic = (const RcTopicDestination *) destination;

	return rc_stream_error_is_transient(topic->consumer, error);
}

/* Close the producer, and the consumer that the load may have opened. */
static void
topic_close(RcDestination *destination)
{
	RcTopicDestination *topic = (RcTopicDestination *) destination;

	if (topic->producer != NULL)
		rc_kafka_close(topic->producer);
	topic->producer = NULL;
	rc_stream_close(topic->consumer);
}

const RcDestinationClass rc_topic_class = {
	.name = "topic",
	.ahead_of_commit = true,
	.make = topic_make,
	.open = topic_open,
	.holds = topic_holds,
	.send = topic_send,
	.commit = topic_commit,
	.load = rc_topic_load,
	.is_transient = topic_error_is_transient,
	.close = topic_close,
};
