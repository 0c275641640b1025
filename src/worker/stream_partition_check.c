/*-------------------------------------------------------------------------
 *
 * stream_partition_check.c
 *	  Checks that a stream worker reads what was read before: detects another
 *	  cluster, a re-created topic, a log that has lost its end, and records
 *	  that were deleted.
 *
 * No offset may be moved silently: a gap is reported, and a topic that is not
 * the one that was read stops the stream.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "utils/memutils.h"

static void recover_one(RcConsumption *c, int i);
pg_noreturn static void raise_beyond_end(RcConsumption *c,
										 const RcOffset *offset, int64 high);
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
					 errmsg("topic \"%s\" was re-created, or has lost records, after stream \"%s\" last read it",
							offset->topic, c->stream->name),
					 errdetail("The record at offset %lld of partition %d has another timestamp than when it was applied.",
							   (long long) records[k].offset,
							   offset->partition),
					 errhint("If the topic was re-created, SELECT rc_seek('%s', 'earliest') reads the new one from its beginning. If a broker has lost records, call rc_seek() with a time before that: what was applied since is applied again.",
							 c->stream->name)));
		c->verify[i] = false;
		if (records[k].offset >= offset->next_offset)
			records[kept++] = records[k];
	}
	return kept;
}

/*
 * Handle partitions whose offset is out of range.  The others are found again
 * later if the definition changes meanwhile.  After the loss of a connection
 * all are read from their last applied record, to verify them.
 */
void
rc_partitions_recover(RcConsumption *c)
{
	bool		any = rc_consumer_interrupted(c->kafka);

	for (int i = 0; i < c->n && any; i++)
		c->verify[i] = rc_partitions_verifiable(&c->offsets[i], 0);
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
		raise_beyond_end(c, offset, high);
	if (offset->next_offset < low)
		skip_gap(c, i, low);
}

/*
 * The topic ends before our offset: it was re-created, or a broker has lost
 * its end, for example in a power failure.  Only the user knows which, and
 * the remedies differ.
 */
static void
raise_beyond_end(RcConsumption *c, const RcOffset *offset, int64 high)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("topic \"%s\" was re-created, or has lost records, after stream \"%s\" last read it",
					offset->topic, c->stream->name),
			 errdetail("The next record of partition %d should be at offset %lld, but it ends at %lld.",
					   offset->partition,
					   (long long) offset->next_offset, (long long) high),
			 errhint("If the topic was re-created, SELECT rc_seek('%s', 'earliest') reads the new one from its beginning. If a broker has lost its last records, or rc_seek() or a consumer group gave an offset beyond the end, SELECT rc_seek('%s', '%s:%d:%lld') continues at the end.",
					 c->stream->name, c->stream->name, offset->topic,
					 offset->partition, (long long) high)));
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
