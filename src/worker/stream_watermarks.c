/*-------------------------------------------------------------------------
 *
 * stream_watermarks.c
 *	  A worker that reads, once, the watermarks of partitions whose streams
 *	  have no running worker (paused, failed or waiting), so that their lag is
 *	  up to date.
 *
 * The scheduler starts it regularly; it holds its worker slot only as long as
 * that takes.  It runs no user's SQL and moves no offset.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kafka/kafka.h"

/* Timeout of requests to Kafka, in ms. */
#define TIMEOUT_MS		5000

/* Time limit, in ms.  The remaining partitions come first the next time. */
#define MOST_TIME		20000

static void read_once(RcWorkerArgs *args);
static void read_all(RcKafka *kafka);
static void read_partition(RcKafka *kafka, const RcUnwatched *at);

/* Entry point of the watermarks worker. */
void
rc_watermarks_main(Datum arg)
{
	rc_worker_main(read_once);
}

static void
read_once(RcWorkerArgs *args)
{
	MemoryContext context;

	rc_queue_attach(args->segment);
	rc_worker_connect(args, RC_WORKER_WATERMARKS);
	rc_queue_connected();
	if (!rc_lock_take(RC_WORKER_WATERMARKS, "", 0))
		return;
	rc_query_lock_timeout = TIMEOUT_MS;
	context = AllocSetContextCreate(TopMemoryContext,
									"rappel_conso watermarks",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	/* unreachable brokers are reported by the workers that need them */
	PG_TRY();
	{
		read_all(rc_kafka_open(RC_KAFKA_CONSUMER,
							   rc_client_id("watermarks"), NULL));
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(context, false);

		ereport(DEBUG1,
				(errmsg("could not look at the ends of partitions: %s",
						error->message)));
	}
	PG_END_TRY();
}

static void
read_all(RcKafka *kafka)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz began = GetCurrentTimestamp();
	RcUnwatched *unwatched = NULL;
	const char *topic = "";
	int			partitions = 0;
	int			n = 0;

	rc_transaction_begin_in(context);
	if (rc_extension_present())
		unwatched = rc_offsets_unwatched(&n);
	rc_transaction_commit();
	for (int i = 0; i < n && !rc_time_passed(began, MOST_TIME); i++)
	{
		if (strcmp(topic, unwatched[i].offset.topic) != 0)
		{
			topic = unwatched[i].offset.topic;
			partitions = rc_kafka_partition_count(kafka, topic, TIMEOUT_MS);
		}
		if (unwatched[i].offset.partition < partitions)
			read_partition(kafka, &unwatched[i]);
		MemoryContextSwitchTo(context);
	}
}

/* Store the high watermark of a partition if it has changed. */
static void
read_partition(RcKafka *kafka, const RcUnwatched *at)
{
	int64		low;
	int64		high;

	rc_consumer_watermarks(kafka, at->offset.topic, at->offset.partition,
						   &low, &high, TIMEOUT_MS);
	if (high == at->offset.high_watermark)
		return;
	rc_transaction_begin();
	rc_offset_observe(at->stream, &at->offset, high);
	rc_transaction_commit();
}
