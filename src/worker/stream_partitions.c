/*-------------------------------------------------------------------------
 *
 * stream_partitions.c
 *	  Which partitions a stream worker reads: offsets come from
 *	  rappel_conso.stream_offset, never from the consumer group.
 *
 * No offset may be moved silently.  Where new partitions start is found out in
 * stream_start_offsets.c; offsets are checked in stream_partition_check.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "utils/timestamp.h"

/* Minimum interval of storing watermarks, in ms. */
#define OBSERVE_INTERVAL	10000

/*
 * Interval of committing unchanged offsets to the consumer group, in ms: a
 * broker forgets those of a group without members some time after their last
 * commit (offsets.retention.minutes, a week by default).
 */
#define SHOW_INTERVAL		(60 * 60 * 1000)

static bool choose_offsets(RcConsumption *c);
static void claim_group(RcConsumption *c);
static void note_start(RcConsumption *c);

/*
 * Find the partitions, store the start of new ones, execute a pending
 * rc_seek(), and start fetching.  Returns false if no topic of the stream
 * exists yet, or the definition changed.
 */
bool
rc_partitions_assign(RcConsumption *c)
{
	c->cluster_id = rc_kafka_cluster_id(c->kafka, RC_CONSUME_TIMEOUT_MS(c));
	if (!rc_start_offsets_store(c))
		return false;

	/* load what that has stored, with the current epochs */
	rc_transaction_begin_in(c->context);
	c->known = rc_offsets_load(c->stream->name);
	rc_partitions_check_definition(c);
	rc_transaction_commit();
	if (c->stale || !choose_offsets(c))
		return false;

	c->partitions = palloc0(sizeof(RcPartition) * Max(c->n, 1));
	c->verify = palloc0(sizeof(bool) * Max(c->n, 1));
	for (int i = 0; i < c->n; i++)
	{
		rc_partitions_check_cluster(c, &c->offsets[i]);
		c->verify[i] = rc_partitions_verifiable(&c->offsets[i], 0);
	}
	if (c->number >= 0)
		note_start(c);
	if (c->stream->group_id != NULL)
		claim_group(c);
	c->shown_at = GetCurrentTimestamp();
	rc_partitions_begin(c);
	return true;
}

/*
 * Choose our partitions among the known ones, which are sorted by topic.
 * Returns false if the definition has changed, or rc_seek() was called
 * meanwhile: its epoch must not be used with the old offset.
 */
static bool
choose_offsets(RcConsumption *c)
{
	const char *topic = "";
	int			partitions = 0;
	ListCell   *lc;

	c->n = 0;
	c->offsets = palloc0(sizeof(RcOffset) * Max(list_length(c->known), 1));
	foreach(lc, c->known)
	{
		RcOffset   *offset = (RcOffset *) lfirst(lc);

		if (!rc_stream_reads(c->stream, offset->topic) ||
			!rc_partitions_ours(c, offset->partition))
			continue;
		if (strcmp(offset->topic, topic) != 0)
		{
			topic = offset->topic;
			partitions = rc_partitions_count(c, topic);
			c->stale |= rc_statement_changed();
		}
		if (c->stale)
			break;
		if (offset->partition >= partitions)
			continue;
		c->stale |= offset->seek_to != NULL;
		c->offsets[c->n++] = *offset;
	}
	return !c->stale;
}

/* Show our offsets in the consumer group that the stream names. */
static void
claim_group(RcConsumption *c)
{
	RcPartition *stored = palloc0(sizeof(RcPartition) * Max(c->n, 1));

	for (int i = 0; i < c->n; i++)
	{
		stored[i].topic = c->offsets[i].topic;
		stored[i].partition = c->offsets[i].partition;
		stored[i].offset = c->offsets[i].next_offset;
	}
	rc_consumer_claim_group(c->kafka, c->stream->group_id, stored, c->n,
							RC_CONSUME_TIMEOUT_MS(c));
	pfree(stored);
}

/* Store that the worker has started: rates are computed from then on. */
static void
note_start(RcConsumption *c)
{
	rc_transaction_begin();
	for (int i = 0; i < c->n; i++)
		rc_offset_started(c->stream->name, &c->offsets[i]);
	rc_transaction_commit();
}

/*
 * Set c->stale if the definition is not the one that was opened.  Must be
 * called after the offsets have been read: an epoch of a newer definition
 * would let a batch of this one pass the fence.
 */
void
rc_partitions_check_definition(RcConsumption *c)
{
	RcStream   *now = rc_stream_load(c->stream->name);

	if (now == NULL || strcmp(now->version, c->stream->version) != 0)
		c->stale = true;
}

/* How many partitions a topic has; 0: it does not exist. */
int
rc_partitions_count(RcConsumption *c, const char *topic)
{
	return rc_kafka_partition_count(c->kafka, topic, RC_CONSUME_TIMEOUT_MS(c));
}

/* Whether this worker reads the partition. */
bool
rc_partitions_ours(const RcConsumption *c, int partition)
{
	return c->number < 0 || partition % c->stream->workers == c->number;
}

/*
 * Assign the partitions to the consumer, each at its next offset, or at its
 * last applied record if that is to be verified.
 */
void
rc_partitions_begin(RcConsumption *c)
{
	for (int i = 0; i < c->n; i++)
	{
		RcPartition *partition = &c->partitions[i];
		RcOffset   *offset = &c->offsets[i];

		memset(partition, 0, sizeof(RcPartition));
		partition->topic = offset->topic;
		partition->partition = offset->partition;
		partition->offset = c->verify[i] ? offset->last_offset :
			offset->next_offset;
		partition->low = partition->high = -1;
	}
	rc_consumer_assign(c->kafka, c->partitions, c->n);
}

/*
 * Whether a topic has partitions that are not assigned.  Workers without
 * partitions are not running, so the first worker checks for all.
 */
bool
rc_partitions_changed(RcConsumption *c)
{
	ListCell   *lc;

	foreach(lc, c->stream->topics)
	{
		const char *topic = (const char *) lfirst(lc);
		int			n = rc_partitions_count(c, topic);
		int			ours = 0;
		int			assigned = 0;

		/* the stream is opened again anyway, and there may be very many */
		if (rc_statement_changed())
			return true;
		for (int p = 0; p < n; p++)
			ours += rc_partitions_ours(c, p) ? 1 : 0;
		for (int i = 0; i < c->n; i++)
			assigned += strcmp(c->offsets[i].topic, topic) == 0 ? 1 : 0;
		if (ours != assigned || (c->number == 0 && n > rc_partitions_known(c->known, topic)))
			return true;
	}
	return false;
}

/* How many partitions of a topic are among these RcOffsets. */
int
rc_partitions_known(List *offsets, const char *topic)
{
	int			known = 0;
	ListCell   *lc;

	foreach(lc, offsets)
		known += strcmp(((RcOffset *) lfirst(lc))->topic, topic) == 0 ? 1 : 0;
	return known;
}

/* Whether everything available has been fetched. */
bool
rc_partitions_at_end(RcConsumption *c)
{
	for (int i = 0; i < c->n; i++)
	{
		if (!rc_consumer_position(c->kafka, i)->at_end)
			return false;
	}
	return true;
}

/* The index of the record's partition among ours. */
int
rc_partitions_find(RcConsumption *c, const RcRecord *record)
{
	for (int i = 0; i < c->n; i++)
	{
		if (c->offsets[i].partition == record->partition &&
			strcmp(c->offsets[i].topic, record->topic) == 0)
			return i;
	}
	elog(ERROR, "record of topic \"%s\", partition %d was not requested",
		 record->topic, record->partition);
	return -1;					/* keep compiler quiet */
}

/*
 * Commit the offsets to the consumer group again: when it was done first, the
 * group's coordinator may not have been known yet, or that is long ago.
 * wait_ms > 0 waits for the response.
 */
void
rc_partitions_commit(RcConsumption *c, int wait_ms)
{
	RcPartition *done = palloc0(sizeof(RcPartition) * Max(c->n, 1));

	for (int i = 0; i < c->n; i++)
	{
		done[i] = c->partitions[i];
		done[i].offset = c->offsets[i].next_offset;
	}
	if (wait_ms > 0)
		rc_consumer_commit_wait(c->kafka, done, c->n, wait_ms);
	c->commit_again = wait_ms <= 0 &&
		!rc_consumer_commit(c->kafka, done, c->n);
	pfree(done);
	c->shown_at = GetCurrentTimestamp();
}

/*
 * Store watermarks, and advance offsets past offsets without a message
 * (transaction markers, compacted tails).  Done at most every OBSERVE_INTERVAL
 * unless "at_once", and only for changes.
 */
void
rc_partitions_observe(RcConsumption *c, bool at_once)
{
	bool		open = false;

	if (!at_once && !rc_time_passed(c->observed_at, OBSERVE_INTERVAL))
		return;
	c->observed_at = GetCurrentTimestamp();
	if (c->commit_again || rc_time_passed(c->shown_at, SHOW_INTERVAL))
		rc_partitions_commit(c, 0);
	for (int i = 0; i < c->n; i++)
	{
		const RcPartition *position = rc_consumer_position(c->kafka, i);
		RcOffset   *offset = &c->offsets[i];
		bool		moved = position->at_end && !c->verify[i] &&
			position->offset > offset->next_offset;
		bool		seen = position->high >= 0 &&
			position->high != offset->high_watermark;

		if (!moved && !seen)
			continue;
		if (!open)
			rc_transaction_begin();
		open = true;
		if (moved)
			rc_offset_skip(c->stream->name, offset, position->offset);
		if (seen)
			rc_offset_observe(c->stream->name, offset, position->high);
		if (moved)
			offset->next_offset = position->offset;
		if (seen)
			offset->high_watermark = position->high;
	}
	if (open)
		rc_transaction_commit();
}
