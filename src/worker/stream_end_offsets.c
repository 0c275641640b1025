/*-------------------------------------------------------------------------
 *
 * stream_end_offsets.c
 *	  End offsets up to which a stream is to be applied, and the locks of its
 *	  workers, for processes other than these workers.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "miscadmin.h"

#include "kafka/kafka.h"

/* Timeout of requests to Kafka, in ms. */
#define TIMEOUT_MS		30000

/*
 * The end offsets of all partitions of the stream's topics, or only of topic
 * "only", as a List of RcEndOffset; empty partitions are left out.  "End" is
 * the last stable offset.  Raises ERRCODE_UNDEFINED_OBJECT if a topic is
 * missing.
 */
List *
rc_stream_end_offsets(const RcStream *stream, const char *only, RcKafka *kafka)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *end_offsets = NIL;
	ListCell   *lc;

	foreach(lc, stream->topics)
	{
		char	   *topic = (char *) lfirst(lc);
		int			n;

		if (only != NULL && strcmp(topic, only) != 0)
			continue;
		n = rc_kafka_partition_count(kafka, topic, TIMEOUT_MS);
		if (n == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("topic \"%s\" does not exist", topic)));
		for (int p = 0; p < n; p++)
		{
			RcEndOffset *end;
			int64		low;
			int64		high;

			rc_consumer_watermarks(kafka, topic, p, &low, &high, TIMEOUT_MS);
			if (high <= low)
				continue;
			MemoryContextSwitchTo(context);
			end = palloc0(sizeof(RcEndOffset));
			end->topic = topic;
			end->partition = p;
			end->offset = high - 1;
			end_offsets = lappend(end_offsets, end);
		}
	}
	MemoryContextSwitchTo(context);
	return end_offsets;
}

/*
 * Whether a stream's committed offsets have passed all end offsets
 * (RcEndOffset).  A partition with a pending rc_seek() has not.
 */
bool
rc_end_offsets_reached(const char *stream, List *end_offsets)
{
	List	   *offsets = rc_offsets_load(stream);
	ListCell   *lc;

	foreach(lc, end_offsets)
	{
		RcEndOffset *end = (RcEndOffset *) lfirst(lc);
		bool		reached = false;
		ListCell   *lo;

		foreach(lo, offsets)
		{
			RcOffset   *offset = (RcOffset *) lfirst(lo);

			if (offset->partition == end->partition &&
				offset->next_offset > end->offset &&
				offset->seek_to == NULL &&
				strcmp(offset->topic, end->topic) == 0)
				reached = true;
		}
		if (!reached)
			return false;
	}
	return true;
}

/* Whether any worker of the stream runs in another process. */
bool
rc_stream_has_worker(const RcStream *stream)
{
	for (int i = 0; i < stream->workers; i++)
	{
		int			pid = rc_lock_holder(MyDatabaseId, RC_WORKER_STREAM,
										 stream->name, i);

		if (pid != 0 && pid != MyProcPid)
			return true;
	}
	return false;
}

/* Take the locks of all workers of a stream; false if one of them is held. */
bool
rc_stream_lock_all(const RcStream *stream)
{
	for (int i = 0; i < stream->workers; i++)
	{
		if (rc_lock_take(RC_WORKER_STREAM, stream->name, i))
			continue;
		while (--i >= 0)
			rc_lock_release(RC_WORKER_STREAM, stream->name, i);
		return false;
	}
	return true;
}

/* Release them. */
void
rc_stream_unlock_all(const RcStream *stream)
{
	for (int i = 0; i < stream->workers; i++)
		rc_lock_release(RC_WORKER_STREAM, stream->name, i);
}
