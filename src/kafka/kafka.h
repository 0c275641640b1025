/*-------------------------------------------------------------------------
 *
 * kafka.h
 *	  Producing to and consuming from Kafka with librdkafka.
 *
 * Nothing in src/kafka may use SPI or read a table.  Every wait is a
 * WaitLatch that can be interrupted.  No function here may be called while a
 * transaction is open, since it may wait for the network.
 *
 * A process has at most one open RcKafka handle of each kind, besides a
 * producer that was put aside.  Threads, sockets and librdkafka's memory are
 * released by rc_kafka_close(), or by a before_shmem_exit hook when the
 * process ends by an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KAFKA_H
#define RC_KAFKA_H

#include "record.h"

#include "nodes/pg_list.h"

/* ---- kafka_client.c, kafka_wait.c, kafka_log.c, kafka_topic*.c ---- */

typedef struct RcKafka RcKafka;

typedef enum RcKafkaKind
{
	RC_KAFKA_PRODUCER,
	RC_KAFKA_CONSUMER
} RcKafkaKind;

extern RcKafka *rc_kafka_open(RcKafkaKind kind, const char *client_id,
							  const char *group_id);
extern void rc_kafka_close(RcKafka *kafka);
extern void rc_kafka_put_aside(RcKafka *kafka);
extern void rc_kafka_stop_when(RcKafka *kafka, bool (*stop) (void));
extern bool rc_kafka_wait(RcKafka *kafka, long timeout_ms);
extern const char *rc_kafka_connection_error(RcKafka *kafka);
extern const char *rc_kafka_address_error(RcKafka *kafka);
extern const char *rc_kafka_connection_hint(RcKafka *kafka);
extern bool rc_kafka_stale(RcKafka *kafka);
extern bool rc_kafka_throttled(RcKafka *kafka);
extern char *rc_kafka_cluster_id(RcKafka *kafka, int timeout_ms);
extern int	rc_kafka_partition_count(RcKafka *kafka, const char *topic,
									 int timeout_ms);

/* A topic to create; -1 means the broker's default. */
typedef struct RcNewTopic
{
	const char *name;
	int			partitions;
	int			replication;
	bool		compacted;
	List	   *settings;		/* of char *: name=value; they take precedence
								 * over "compacted" */
} RcNewTopic;

extern void rc_kafka_create_topic(RcKafka *kafka, const RcNewTopic *topic,
								  int timeout_ms);
extern List *rc_kafka_topic_differences(RcKafka *kafka, const char *topic,
										List *settings, int timeout_ms,
										const char **error);

/*
 * The outcome of sending a message, or of looking up or creating its topic.
 */
typedef enum RcKafkaOutcome
{
	RC_KAFKA_DONE,				/* delivered; or the topic exists */
	RC_KAFKA_REFUSED,			/* the message, or one of its batch,
								 * permanently */
	RC_KAFKA_TOPIC_REFUSED,		/* every message for this topic, permanently */
	RC_KAFKA_LATER				/* transient, or can be allowed by an ACL:
								 * retry */
} RcKafkaOutcome;

/* The outcome for a topic, or for the message with that tag. */
typedef struct RcAnswer
{
	const char *topic;
	uint64		tag;
	int			partitions;		/* of a topic; 0: it does not exist */
	int			worst;			/* its partition without a leader, or with the
								 * fewest replicas in sync */
	int			in_sync;		/* of that partition; -1: no leader */
	int			replicas;
	RcKafkaOutcome outcome;
	int			sqlstate;
	const char *error;			/* NULL if there is none */
} RcAnswer;

extern void rc_kafka_look_up(RcKafka *kafka, const char *topic, int timeout_ms,
							 RcAnswer *answer);
extern char *rc_kafka_unconfirmed(RcKafka *kafka, const char *topic,
								  int timeout_ms);

#define RC_UNCONFIRMED_HINT \
	"Each partition of the topic needs a leader at an address that this server reaches, and at least as many replicas in sync as the topic's min.insync.replicas says."

extern void rc_kafka_make_topics(RcKafka *kafka, List *topics, int timeout_ms);
extern List *rc_kafka_topics_made(RcKafka *kafka);

/* ---- producer.c, producer_settle.c ---- */

extern void rc_producer_send(RcKafka *kafka, const RcRecord *record,
							 uint64 tag);
extern void rc_producer_flush(RcKafka *kafka, int timeout_ms, List **refused);
extern int64 rc_producer_last_offset(RcKafka *kafka, const char *topic,
									 int32 partition);

/* ---- producer_publish.c ---- */

/*
 * The most bytes that a message takes of a batch; key and value are their
 * lengths in bytes, headers that of all names and values together.  A
 * header's name and value each have a length before them.
 */
#define RC_PUBLISH_SIZE(key, value, headers) \
	((int64) (key) + (value) + 4 * (int64) (headers) + 128)

extern void rc_publish_begin(RcKafka *kafka);
extern void rc_publish_batch(RcKafka *kafka, int *messages, int *bytes);
extern bool rc_publish_send(RcKafka *kafka, const RcRecord *record,
							uint64 tag, RcAnswer *answer);
extern void rc_publish_push(RcKafka *kafka);
extern List *rc_publish_serve(RcKafka *kafka);
extern bool rc_publish_failed(RcKafka *kafka);
extern void rc_publish_raise(RcKafka *kafka);

/* ---- consumer.c, consumer_fetch.c, consumer_offsets.c ---- */

typedef struct RcPartition
{
	char	   *topic;
	int32		partition;
	int64		offset;			/* the next one to read */
	int64		low;			/* watermarks last seen; -1: unknown */
	int64		high;			/* end of what can be read; see
								 * rc_consumer_position */
	bool		at_end;			/* everything up to high was returned */
	bool		out_of_range;	/* offset does not exist: deleted by
								 * retention, or the topic was re-created */
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
extern bool rc_consumer_interrupted(RcKafka *kafka);
extern void rc_consumer_release(RcKafka *kafka);
extern void rc_consumer_watermarks(RcKafka *kafka, const char *topic,
								   int32 partition, int64 *low, int64 *high,
								   int timeout_ms);
extern int64 rc_consumer_resolve(RcKafka *kafka, const char *topic,
								 int32 partition, RcOffsetKind kind,
								 int64 timestamp_ms, int timeout_ms);
extern bool rc_consumer_commit(RcKafka *kafka, const RcPartition *partitions,
							   int n);
extern void rc_consumer_commit_wait(RcKafka *kafka,
									const RcPartition *partitions, int n,
									int timeout_ms);
extern int	rc_consumer_group_refusal(const RcKafka *kafka,
									  const char **error);
extern void rc_consumer_claim_group(RcKafka *kafka, const char *group,
									const RcPartition *partitions, int n,
									int timeout_ms);
extern void rc_consumer_group_offsets(RcKafka *kafka, const char *group,
									  const char *topic, int n,
									  int64 *offsets, int timeout_ms);

#endif							/* RC_KAFKA_H */
