/*-------------------------------------------------------------------------
 *
 * stream_consumer.h
 *	  A stream being consumed, shared by the files that do it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_CONSUMER_H
#define RC_STREAM_CONSUMER_H

#include "worker/worker.h"

#include "kafka/kafka.h"

/*
 * Timeout of requests to Kafka, in ms.  A stream worker can retry often, and
 * shows the error meanwhile; a run has few attempts.
 */
#define RC_CONSUME_TIMEOUT_MS(c)	((c)->number >= 0 ? 5000 : 30000)

/*
 * The longest consumer group: group_id has that limit, and the default is made
 * of two names and a number.
 */
#define RC_GROUP_ID_MAX		249

/* A batch ends at this many bytes, or at the stream's batch_size. */
#define RC_CONSUME_BYTES	(8 * 1024 * 1024)

/*
 * What a process keeps of a stream when its definition changes, and after an
 * error.
 */
struct RcStreamConsumer
{
	RcKafka    *kafka;			/* NULL: not open */
	char		group[RC_GROUP_ID_MAX + 1]; /* its consumer group */
	struct RcConsumption *current;	/* the open definition; NULL: none */
	bool		proving;		/* there are undecided records, handled by
								 * stream_proof.c; the partition of the first,
								 * if known: */
	char		proving_topic[256];
	int32		proving_partition;
};

typedef struct RcConsumption
{
	RcStreamConsumer *consumer; /* whose "current" this is */
	MemoryContext context;		/* deleted when the stream is opened again */
	MemoryContext batch_context;	/* reset after each batch */
	RcStream   *stream;
	int			number;			/* -1: all partitions */
	RcKafka    *kafka;
	char	   *cluster_id;
	RcApplier  *applier;
	List	   *known;			/* RcOffset of all partitions when opened */
	int			n;				/* number of our partitions */
	RcOffset   *offsets;		/* as committed, same order as "partitions" */
	RcPartition *partitions;	/* as assigned */
	bool	   *verify;			/* read the last applied record again, to
								 * verify it */
	char	   *run_prefix;		/* of RC_HEADER_RUN for runs of this database */
	bool		group_reported; /* that offsets are not shown any more */
	bool		recovered;		/* a record was applied, or all is read */
	bool		stale;			/* definition changed while it was opened */
	TimestampTz polled_at;		/* last check of the definition */
	TimestampTz observed_at;
	bool		commit_again;	/* commit to the group again; see
								 * rc_partitions_observe() */
	TimestampTz shown_at;		/* last such commit */
} RcConsumption;

/* stream_definition.c */
extern bool rc_consumption_open(RcStreamConsumer *consumer, const char *name,
								int number, bool even_paused);
extern bool rc_consumption_wanted(RcConsumption *c);

/* stream_consumer.c */
extern void rc_consume_show(RcConsumption *c, const char *connection_error);

/* stream_batch.c */
extern int	rc_consume_batch(RcConsumption *c, RcRecord *records, int n,
							 RcCounts *total);

/* stream_proof.c */
extern void rc_proof_expect(RcStreamConsumer *consumer, bool unproven);
extern bool rc_proof_wanted(const RcConsumption *c);
extern void rc_proof_begin(RcConsumption *c);
extern int	rc_proof_fetch(RcConsumption *c, RcRecord *records);
extern void rc_proof_order(const RcConsumption *c, RcRecord *records, int n);
extern void rc_proof_pause(RcKafka *kafka, long timeout_ms);

/* stream_partitions.c */
extern bool rc_partitions_assign(RcConsumption *c);
extern int	rc_partitions_count(RcConsumption *c, const char *topic);
extern bool rc_partitions_ours(const RcConsumption *c, int partition);
extern int	rc_partitions_known(List *offsets, const char *topic);
extern void rc_partitions_check_definition(RcConsumption *c);
extern bool rc_partitions_changed(RcConsumption *c);
extern void rc_partitions_begin(RcConsumption *c);
extern void rc_partitions_commit(RcConsumption *c, int wait_ms);
extern void rc_partitions_observe(RcConsumption *c, bool at_once);
extern bool rc_partitions_at_end(RcConsumption *c);
extern int	rc_partitions_find(RcConsumption *c, const RcRecord *record);

/* stream_start_offsets.c */
extern bool rc_start_offsets_store(RcConsumption *c);

/* stream_partition_check.c */
extern void rc_partitions_check_cluster(RcConsumption *c,
										const RcOffset *offset);
extern bool rc_partitions_verifiable(const RcOffset *offset, int64 low);
extern int	rc_partitions_verify(RcConsumption *c, RcRecord *records, int n);
extern void rc_partitions_recover(RcConsumption *c);

#endif							/* RC_STREAM_CONSUMER_H */
