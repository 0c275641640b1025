/*-------------------------------------------------------------------------
 *
 * stream_start_offsets.c
 *	  Where a stream starts in partitions that have no offset yet, or that
 *	  rc_seek() has moved.
 *
 * An offset must be stored before the first record is fetched, so that it means
 * the same after a crash.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/start_position.h"

static bool add_topic(RcConsumption *c, List *offsets, const char *topic);
static bool find_starts(RcConsumption *c, List *offsets, const char *topic,
						int64 *starts, int n);
static void take_over_group(RcConsumption *c, const char *group,
							const char *topic, int64 *starts, int n);
static RcOffset *find_offset(List *offsets, const char *topic, int partition);
static void write_starts(RcConsumption *c, List *offsets, const char *topic,
						 const int64 *starts, int n);
static int64 resolve(RcConsumption *c, const char *topic, int partition,
					 const char *where);

/*
 * Store the start of partitions of all topics.  Returns false if no topic
 * exists, or the definition has changed.
 */
bool
rc_start_offsets_store(RcConsumption *c)
{
	List	   *offsets;
	ListCell   *lc;
	bool		exists = false;

	rc_transaction_begin_in(c->context);
	offsets = rc_offsets_load(c->stream->name);
	rc_transaction_commit();
	foreach(lc, c->stream->topics)
	{
		exists |= add_topic(c, offsets, (char *) lfirst(lc));

		/* check each time: there may be very many topics */
		c->stale = rc_statement_changed();
		if (c->stale)
			return false;
	}
	return exists;
}

/*
 * Store where the partitions of a topic start, before the first fetch, so that
 * "latest" means the same after a crash.  Returns false if the topic does not
 * exist.
 */
static bool
add_topic(RcConsumption *c, List *offsets, const char *topic)
{
	int			n = rc_partitions_count(c, topic);
	int64	   *starts = palloc(sizeof(int64) * (n + 1));

	if (find_starts(c, offsets, topic, starts, n))
		write_starts(c, offsets, topic, starts, n);
	MemoryContextSwitchTo(c->context);
	return n > 0;
}

/*
 * Look up the starts of n partitions: -1 for those that keep their offset.
 * Returns whether there is any other.
 */
static bool
find_starts(RcConsumption *c, List *offsets, const char *topic,
			int64 *starts, int n)
{
	bool		known = rc_partitions_known(offsets, topic) > 0;
	const char *group = known ? NULL : rc_start_group(c->stream->start_at);
	bool		any = false;

	if (group != NULL && n > 0)
	{
		rc_consumer_group_offsets(c->kafka, group, topic, n, starts,
								  RC_CONSUME_TIMEOUT_MS(c));
		if (c->stream->group_id != NULL &&
			strcmp(c->stream->group_id, group) == 0)
			take_over_group(c, group, topic, starts, n);
	}
	for (int p = 0; p < n; p++)
	{
		RcOffset   *offset = find_offset(offsets, topic, p);

		/*
		 * A partition added later is read from its beginning, as is one in
		 * which the group has no offset.
		 */
		if (offset == NULL)
		{
			if (group == NULL || starts[p] < 0)
				starts[p] = resolve(c, topic, p, known || group != NULL ?
									"earliest" : c->stream->start_at);
		}
		else if (offset->seek_to != NULL && rc_partitions_ours(c, p))
			starts[p] = resolve(c, topic, p, offset->seek_to);
		else
			starts[p] = -1;
		any |= starts[p] >= 0;

		/* none is stored then, and there may be very many */
		if (rc_statement_changed())
			return false;
	}
	return any;
}

/*
 * Do not begin at the offsets of a group that the stream is to continue while
 * it has members: they continue from there, too, and their records would be
 * applied twice.  To commit what was just read changes nothing, and Kafka
 * rejects it then.
 *
 * Errors: those of rc_consumer_claim_group().
 */
static void
take_over_group(RcConsumption *c, const char *group, const char *topic,
				int64 *starts, int n)
{
	RcPartition *read = palloc0(sizeof(RcPartition) * n);
	int			m = 0;

	for (int p = 0; p < n; p++)
	{
		if (starts[p] < 0)
			continue;
		read[m].topic = unconstify(char *, topic);
		read[m].partition = p;
		read[m++].offset = starts[p];
	}
	rc_consumer_claim_group(c->kafka, group, read, m,
							RC_CONSUME_TIMEOUT_MS(c));
	pfree(read);
}

static RcOffset *
find_offset(List *offsets, const char *topic, int partition)
{
	ListCell   *lc;

	foreach(lc, offsets)
	{
		RcOffset   *offset = (RcOffset *) lfirst(lc);

		if (offset->partition == partition &&
			strcmp(offset->topic, topic) == 0)
			return offset;
	}
	return NULL;
}

/*
 * Store the starts of all new partitions of a topic, including those of other
 * workers, in one transaction: otherwise the rest would be taken for
 * partitions added later. starts[] is -1 for those that keep their offset.
 */
static void
write_starts(RcConsumption *c, List *offsets, const char *topic,
			 const int64 *starts, int n)
{
	rc_transaction_begin_in(c->context);
	rc_stream_lock(c->stream->name);
	rc_partitions_check_definition(c);
	for (int p = 0; p < n && !c->stale; p++)
	{
		RcOffset   *offset = find_offset(offsets, topic, p);

		if (starts[p] < 0)
			continue;
		if (offset != NULL)
			rc_offset_seek(c->stream->name, offset, starts[p], c->cluster_id);
		else
		{
			rc_offset_insert(c->stream->name, topic, p, starts[p],
							 c->cluster_id);
			/* another worker may have to be started for it */
			rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
		}
	}

	/* a crash must not lose it: "latest" would skip what is read now */
	ForceSyncCommit();
	rc_transaction_commit();
}

/* The offset that "earliest", "latest" or a timestamp means. */
static int64
resolve(RcConsumption *c, const char *topic, int partition, const char *where)
{
	TimestampTz time;

	if (strcmp(where, "earliest") == 0)
		return rc_consumer_resolve(c->kafka, topic, partition,
								   RC_OFFSET_EARLIEST, 0,
								   RC_CONSUME_TIMEOUT_MS(c));
	if (strcmp(where, "latest") == 0)
		return rc_consumer_resolve(c->kafka, topic, partition,
								   RC_OFFSET_LATEST, 0, RC_CONSUME_TIMEOUT_MS(c));
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(where),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	/* librdkafka gives negative times another meaning */
	if (TIMESTAMP_NOT_FINITE(time) || time < rc_from_kafka_time(0))
		return resolve(c, topic, partition,
					   TIMESTAMP_IS_NOEND(time) ? "latest" : "earliest");
	return rc_consumer_resolve(c->kafka, topic, partition,
							   RC_OFFSET_TIMESTAMP, rc_to_kafka_time(time),
							   RC_CONSUME_TIMEOUT_MS(c));
}
