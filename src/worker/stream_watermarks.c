/*-------------------------------------------------------------------------
 *
 * stream_watermarks.c
 *	  A worker that looks once at the ends of partitions whose streams have no
 *	  worker, since they are paused, failed or wait, so that their lag is true.
 *
 * The scheduler starts it now and then; it holds its slot for as long as the
 * look takes.  It runs nothing of a user, and must not move an offset.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kafka/kafka.h"

/* How long Kafka is waited for, in ms. */
#define TIMEOUT_MS		5000

/* What has not been looked at by then is first the next time, in ms. */
#define MOST_TIME		20000

static void look(RcWorkerArgs *args);
static void look_at_all(RcKafka *kafka);
static void look_at(RcKafka *kafka, const RcUnwatched *at);

/*
 * Entry point.
 */
void
rc_watermarks_main(Datum arg)
{
	rc_worker_main(look);
}

static void
look(RcWorkerArgs *args)
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

	/* that brokers cannot be reached is for those to say who need them */
	PG_TRY();
	{
		look_at_all(rc_kafka_open(RC_KAFKA_CONSUMER,
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
look_at_all(RcKafka *kafka)
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
			look_at(kafka, &unwatched[i]);
		MemoryContextSwitchTo(context);
	}
}

/* Nothing is written where nothing has changed. */
static void
look_at(RcKafka *kafka, const RcUnwatched *at)
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
