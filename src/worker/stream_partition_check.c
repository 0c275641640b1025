/*-------------------------------------------------------------------------
 *
 * stream_partition_check.c
 *	  Whether what a stream worker reads is what was read before: another
 *	  cluster, a topic that was made again, records that are gone.
 *
 * It must not move an offset silently: a gap is reported, and a topic that is
 * not the one we knew stops the stream.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "utils/memutils.h"

static void recover_one(RcConsumption *c, int i);
static void skip_gap(RcConsumption *c, int i, int64 to);

void
rc_partitions_check_cluster(RcConsumption *c, const RcOffset *offset)
{
	if (offset->cluster_id != NULL &&
		strcmp(offset->cluster_id, c->cluster_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("offsets of stream \"%s\" belong to another Kafka cluster",
						c->stream->name),
				 errdetail("Topic \"%s\" was read on cluster \"%s\"; this is cluster \"%s\".",
						   offset->topic, offset->cluster_id, c->cluster_id),
				 errhint("SELECT rc_seek('%s', 'earliest') reads the topic of this cluster from its beginning.",
						 c->stream->name)));
}

/*
 * Take out of the records those that were applied before and are read again
 * to see whether the topic is still the one we knew; returns how many are
 * left.  That the record has been compacted away is fine.
 */
int
rc_partitions_verify(RcConsumption *c, RcRecord *records, int n)
{
	int			kept = 0;

	for (int k = 0; k < n; k++)
	{
		int			i = rc_partitions_find(c, &records[k]);
		RcOffset   *offset = &c->offsets[i];

		if (c->verify[i] && records[k].offset == offset->last_offset &&
			records[k].timestamp_ms != offset->last_timestamp_ms)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("topic \"%s\" is not the one that stream \"%s\" knew",
							offset->topic, c->stream->name),
					 errdetail("The record at offset %lld of partition %d has another timestamp than when it was applied: the topic was deleted and made again.",
							   (long long) records[k].offset,
							   offset->partition),
					 errhint("SELECT rc_seek('%s', 'earliest') reads the new topic from its beginning.",
							 c->stream->name)));
		c->verify[i] = false;
		if (records[k].offset >= offset->next_offset)
			records[kept++] = records[k];
	}
	return kept;
}

/*
 * Deal with partitions whose offset is not there any more.
 */
void
rc_partitions_recover(RcConsumption *c)
{
	bool		any = false;

	for (int i = 0; i < c->n; i++)
	{
		if (!rc_consumer_position(c->kafka, i)->out_of_range)
			continue;
		recover_one(c, i);
		any = true;
	}
	if (any)
		rc_partitions_begin(c);
}

static void
recover_one(RcConsumption *c, int i)
{
	RcOffset   *offset = &c->offsets[i];
	int64		low;
	int64		high;

	rc_consumer_watermarks(c->kafka, offset->topic, offset->partition,
						   &low, &high, RC_CONSUME_TIMEOUT_MS(c));
	c->verify[i] = false;
	if (offset->next_offset > high)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" is not the one that stream \"%s\" knew",
						offset->topic, c->stream->name),
				 errdetail("The next record of partition %d should be at offset %lld, but it ends at %lld.",
						   offset->partition,
						   (long long) offset->next_offset, (long long) high),
				 offset->next_offset == offset->last_offset + 1 ?
				 errhint("SELECT rc_seek('%s', 'earliest') reads the new topic from its beginning.",
						 c->stream->name) :
				 errhint("If rc_seek() was given an offset beyond the end, SELECT rc_seek('%s', 'latest') goes to the end; if the topic was made again, 'earliest' reads it from its beginning.",
						 c->stream->name)));
	if (offset->next_offset < low)
		skip_gap(c, i, low);
}

/* Records were deleted before we read them: go on after them, and say so. */
static void
skip_gap(RcConsumption *c, int i, int64 to)
{
	RcOffset   *offset = &c->offsets[i];
	char	   *gap = psprintf("records %lld to %lld of topic \"%s\", partition %d were deleted before they were read",
							   (long long) offset->next_offset,
							   (long long) to - 1, offset->topic,
							   offset->partition);

	rc_transaction_begin();
	rc_offset_skip(c->stream->name, offset, to);
	rc_stream_state_set(c->stream->name, "running", gap);
	rc_transaction_commit();
	offset->next_offset = to;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("stream \"%s\": %s", c->stream->name, gap)));
}
