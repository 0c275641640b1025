/*-------------------------------------------------------------------------
 *
 * stream_partition_check.c
 *	  Checks that a stream worker reads what was read before: detects another
 *	  cluster, a re-created topic, and records that were deleted.
 *
 * No offset may be moved silently: a gap is reported, and a re-created topic
 * stops the stream.
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
				 errdetail("Topic \"%s\" was read from cluster \"%s\"; the present one is cluster \"%s\".",
						   offset->topic, offset->cluster_id, c->cluster_id),
				 errhint("SELECT rc_seek('%s', 'earliest') reads the topic of this cluster from its beginning.",
						 c->stream->name)));
}

/*
 * Whether the last record applied may still exist in a partition whose first
 * offset is "low".
 */
bool
rc_partitions_verifiable(const RcOffset *offset, int64 low)
{
	return offset->last_offset >= low &&
		offset->last_offset < offset->next_offset;
}

/*
 * Remove from the records those that were applied before, and were read again
 * only to verify that the topic is the same.  Returns the number of records
 * left.  The record to verify may be missing, because it was compacted.
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
					 errmsg("topic \"%s\" was re-created after stream \"%s\" last read it",
							offset->topic, c->stream->name),
					 errdetail("The record at offset %lld of partition %d has another timestamp than when it was applied.",
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
 * Handle partitions whose offset is out of range.  The others are found again
 * later if the definition changes meanwhile.
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
		if (rc_statement_changed())
			break;
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

	/* the offset may exist by now, in another topic of that name */
	c->verify[i] = rc_partitions_verifiable(offset, low);
	if (offset->next_offset > high)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" was re-created after stream \"%s\" last read it",
						offset->topic, c->stream->name),
				 errdetail("The next record of partition %d should be at offset %lld, but it ends at %lld.",
						   offset->partition,
						   (long long) offset->next_offset, (long long) high),
				 offset->next_offset == offset->last_offset + 1 ?
				 errhint("SELECT rc_seek('%s', 'earliest') reads the new topic from its beginning.",
						 c->stream->name) :
				 errhint("If rc_seek() was given an offset beyond the end, SELECT rc_seek('%s', 'latest') goes to the end; if the topic was re-created, 'earliest' reads it from its beginning.",
						 c->stream->name)));
	if (offset->next_offset < low)
		skip_gap(c, i, low);
}

/*
 * Records were deleted before they were read: continue after them, and report
 * it.
 */
static void
skip_gap(RcConsumption *c, int i, int64 to)
{
	RcOffset   *offset = &c->offsets[i];
	char	   *gap = psprintf(gettext_noop("records %lld to %lld of topic \"%s\", partition %d were deleted before they were read"),
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
