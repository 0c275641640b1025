/*-------------------------------------------------------------------------
 *
 * kafka.h
 *	  Producing to and consuming from Kafka with librdkafka.
 *
 * Nothing in src/kafka knows SPI or a table.  Every wait is a WaitLatch that
 * can be interrupted; no function here may be called while a transaction is
 * open, since it may wait for the network.
 *
 * One RcKafka handle is open in a process at a time for each kind; what it
 * holds abroad is released by rc_kafka_close(), or by a before_shmem_exit
 * hook when the process ends by an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KAFKA_H
#define RC_KAFKA_H

#include "rappel_conso.h"

/* ---- client.c, config.c, report.c, topic.c ---- */

typedef struct RcKafka RcKafka;

typedef enum RcKafkaKind
{
	RC_KAFKA_PRODUCER,
	RC_KAFKA_CONSUMER
} RcKafkaKind;

extern RcKafka *rc_kafka_open(RcKafkaKind kind, const char *client_id,
							  const char *group_id);
extern void rc_kafka_close(RcKafka *kafka);
extern bool rc_kafka_wait(RcKafka *kafka, long timeout_ms);
extern const char *rc_kafka_trouble(RcKafka *kafka);
extern char *rc_kafka_cluster_id(RcKafka *kafka, int timeout_ms);
extern int	rc_kafka_partition_count(RcKafka *kafka, const char *topic,
									 int timeout_ms);
extern void rc_kafka_create_topic(RcKafka *kafka, const char *topic,
								  int partitions, int replication,
								  bool compacted, int timeout_ms);

/* ---- producer.c, delivery.c ---- */

typedef struct RcRefused
{
	uint64		tag;			/* the tag of rc_producer_send */
	char	   *error;			/* librdkafka's words */
} RcRefused;

extern void rc_producer_send(RcKafka *kafka, const RcRecord *record,
							 uint64 tag);
extern void rc_producer_flush(RcKafka *kafka, int timeout_ms, List **refused);
extern int64 rc_producer_last_offset(RcKafka *kafka, const char *topic,
									 int32 partition);

/* ---- consumer.c, fetch.c, offset.c ---- */

typedef struct RcPartition
{
	char	   *topic;
	int32		partition;
	int64		offset;			/* the next one to read */
	int64		low;			/* watermarks last seen; -1: not yet */
	int64		high;			/* end of what can be read; see
								 * rc_consumer_position */
	bool		at_end;			/* everything up to high was handed out */
	bool		out_of_range;	/* offset is not there: trimmed, or another
								 * topic */
} RcPartition;

typedef enum RcOffsetKind
{
	RC_OFFSET_EARLIEST,
	RC_OFFSET_LATEST,
	RC_OFFSET_TIMESTAMP
} RcOffsetKind;

extern void rc_consumer_assign(RcKafka *kafka, const RcPartition *partitions,
							   int n);
extern const RcPartition *rc_consumer_position(RcKafka *kafka, int i);
extern int	rc_consumer_fetch(RcKafka *kafka, RcRecord *records, int max,
							  Size max_bytes);
extern void rc_consumer_release(RcKafka *kafka);
extern void rc_consumer_watermarks(RcKafka *kafka, const char *topic,
								   int32 partition, int64 *low, int64 *high,
								   int timeout_ms);
extern int64 rc_consumer_resolve(RcKafka *kafka, const char *topic,
								 int32 partition, RcOffsetKind kind,
								 int64 timestamp_ms, int timeout_ms);
extern void rc_consumer_commit(RcKafka *kafka, const RcPartition *partitions,
							   int n);
extern void rc_consumer_commit_wait(RcKafka *kafka,
									const RcPartition *partitions, int n,
									int timeout_ms);

#endif							/* RC_KAFKA_H */
