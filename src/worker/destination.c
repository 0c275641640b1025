/*-------------------------------------------------------------------------
 *
 * destination.c
 *	  Where the records of a run go: the source's own stream in direct mode,
 *	  else a topic.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

#include "utils/memutils.h"

static bool make_topic(RcRun *run);
static bool remembers_at_most(RcRun *run, int64 most);
static void wake_streams(RcRun *run);
static void note_targets(RcRun *run);

/*
 * Make ready what records go to, and learn its name: the stream with its
 * setup done, or a producer and the topic, which is made where it is missing.
 */
void
rc_run_open_destination(RcRun *run)
{
	if (!run->direct)
	{
		rc_transaction_begin();
		rc_check_source_grant(run->source->owner, run->source->owner_name,
							  run->source->topic, run->source->name);
		rc_transaction_commit();
		rc_run_open_kafka(run);
		if (make_topic(run) ? !remembers_at_most(run, 0) :
			!rc_run_topic_known(run))
		{
			rc_transaction_begin();
			rc_source_forget(run->source, run->destination);
			if (run->stream)
				run->topic_anew = rc_offset_outdate(run->stream->name,
													run->source->topic);
			rc_transaction_commit();
			wake_streams(run);
			ereport(NOTICE,
					(errmsg("topic \"%s\" was made anew: source \"%s\" publishes everything",
							run->source->topic, run->source->name)));
		}
		return;
	}
	rc_transaction_begin();
	rc_check_grants(run->stream->owner, run->stream->owner_name, NIL,
					run->stream->output_topic, run->stream->name);
	(void) rc_applier_setup(run->stream);
	rc_transaction_commit();
	run->applier = rc_applier_open(run->stream);
}

/* A producer, the name of the cluster, and what there is of the topic. */
void
rc_run_open_kafka(RcRun *run)
{
	RcSource   *source = run->source;
	char	   *cluster;

	if (run->producer != NULL)
		return;
	run->producer = rc_kafka_open(RC_KAFKA_PRODUCER,
								  rc_client_id(source->name),
								  NULL);
	cluster = rc_kafka_cluster_id(run->producer, RC_KAFKA_PATIENCE);
	run->destination = psprintf("%s/%s", cluster, source->topic);
	run->topic_partitions = rc_kafka_partition_count(run->producer,
													 source->topic,
													 RC_KAFKA_PATIENCE);
}

/* Streams may have been waiting for the topic. */
static void
wake_streams(RcRun *run)
{
	rc_transaction_begin();
	rc_stream_topic_made(run->source->topic);
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	for (int i = 0; run->stream != NULL && i < run->stream->workers; i++)
		rc_wake_at_commit(RC_WORKER_STREAM, run->stream->name, i);
	rc_transaction_commit();
}

/*
 * Whether the topic can be the one that the records were published to: each
 * that is remembered has taken an offset at least.
 */
bool
rc_run_topic_known(RcRun *run)
{
	int64		published = 0;

	if (run->producer == NULL || remembers_at_most(run, 0))
		return true;
	for (int p = 0; p < run->topic_partitions; p++)
	{
		int64		low;
		int64		high;

		rc_consumer_watermarks(run->producer, run->source->topic, p,
							   &low, &high, RC_KAFKA_PATIENCE);
		published += high;
	}
	return remembers_at_most(run, published);
}

static bool
remembers_at_most(RcRun *run, int64 most)
{
	bool		at_most;

	rc_transaction_begin();
	at_most = rc_remembered_at_most(run->source, run->destination, most);
	rc_transaction_commit();
	return at_most;
}

/* Make the topic if it is missing; returns whether it was. */
static bool
make_topic(RcRun *run)
{
	RcSource   *source = run->source;

	if (run->topic_partitions > 0)
		return false;
	rc_kafka_create_topic(run->producer, source->topic,
						  source->partitions, source->replication,
						  source->key_field != NULL, RC_KAFKA_PATIENCE);
	run->topic_partitions = source->partitions;
	ereport(NOTICE,
			(errmsg_plural("created topic \"%s\" with %d partition",
						   "created topic \"%s\" with %d partitions",
						   source->partitions, source->topic,
						   source->partitions)));
	wake_streams(run);
	return true;
}

/*
 * Publish records and wait until Kafka has them; returns what it refused for
 * its own sake, as a List of RcRefused in batch_context whose tags are the
 * records' places.
 */
List *
rc_run_publish(RcRun *run, const RcRecord *records, int n)
{
	List	   *refused = NIL;

	for (int i = 0; i < n; i++)
		rc_producer_send(run->producer, &records[i], i);
	MemoryContextSwitchTo(run->batch_context);
	rc_producer_flush(run->producer, RC_KAFKA_PATIENCE, &refused);
	MemoryContextSwitchTo(run->context);
	note_targets(run);
	return refused;
}

/* Remember the last offset published to each partition. */
static void
note_targets(RcRun *run)
{
	for (int p = 0; p < run->topic_partitions; p++)
	{
		int64		offset = rc_producer_last_offset(run->producer,
													 run->source->topic, p);
		RcTarget   *target = NULL;
		ListCell   *lc;

		if (offset < 0)
			continue;
		foreach(lc, run->targets)
		{
			if (((RcTarget *) lfirst(lc))->partition == p)
				target = (RcTarget *) lfirst(lc);
		}
		if (target == NULL)
		{
			target = palloc0(sizeof(RcTarget));
			target->topic = run->source->topic;
			target->partition = p;
			run->targets = lappend(run->targets, target);
		}
		target->offset = Max(target->offset, offset);
	}
}
