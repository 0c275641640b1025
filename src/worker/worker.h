/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Background workers: what they have in common, and their entry points.
 *
 * Only src/worker uses both the network (src/source, src/kafka) and the
 * database (src/store).
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_H
#define RC_WORKER_H

#include "rappel_conso.h"

#include "postmaster/bgworker.h"
#include "storage/dsm.h"

#include "store/store.h"
#include "worker/wakeup.h"
#include "worker/worker_kind.h"
#include "worker/worker_lock.h"

/* Arguments of a worker; passed in bgw_extra. */
typedef struct RcWorkerArgs
{
	Oid			database;
	Oid			role;			/* InvalidOid: the bootstrap superuser */
	dsm_handle	segment;		/* queue to the waiting backend, or 0 */
	int32		number;			/* of the stream's worker, from 0 */
	int64		id;				/* run: the queued run; retry: the dead
								 * letter; 0: none, all */
	bool		full_sync;		/* run */
	bool		scheduled;		/* run: started by the scheduler */
	bool		by_hand;		/* scheduler: started by rc_start() */
	char		name[NAMEDATALEN];	/* of the source or stream */
} RcWorkerArgs;

StaticAssertDecl(sizeof(RcWorkerArgs) <= BGW_EXTRALEN,
				 "arguments of a worker must fit into bgw_extra");

/* ---- worker.c: life of a worker ---- */

extern bool rc_worker_launch(RcWorkerKind kind, const RcWorkerArgs *args,
							 BackgroundWorkerHandle **handle);
pg_noreturn extern void rc_worker_main(void (*work) (RcWorkerArgs *args));
extern void rc_worker_connect(const RcWorkerArgs *args, RcWorkerKind kind);
extern void rc_worker_log_shutdown(void);
extern void rc_worker_override_settings(void);
extern void rc_worker_wait(long timeout_ms);
extern bool rc_time_passed(TimestampTz since, int ms);
extern char *rc_client_id(const char *name);
extern void rc_transaction_begin(void);
extern void rc_transaction_begin_in(MemoryContext results);
extern void rc_transaction_commit(void);
extern bool rc_cancel_ends_worker;
extern ErrorData *rc_worker_recover(MemoryContext keep, bool report);
extern bool rc_role_can_login(Oid role);

/* ---- reply_queue.c: from a worker to the backend that waits ---- */

/* Maximum number of values. */
#define RC_REPLY_VALUES	8

extern void rc_queue_attach(dsm_handle segment);
extern void rc_queue_connected(void);
extern void rc_queue_send_busy(void);
extern void rc_queue_send_end(const int64 *values, int n);

/* ---- stream_request.c: start of a worker that does one thing ---- */

extern RcStream *rc_request_begin(RcWorkerArgs *args, RcWorkerKind kind);

/* ---- stream_worker.c ---- */

struct RcKafka;

/* Offset up to which a partition has to be applied. */
typedef struct RcEndOffset
{
	char	   *topic;
	int32		partition;
	int64		offset;			/* of the last record, inclusive */
} RcEndOffset;

/* A process's state of a stream and of Kafka: see stream_consumer.h. */
typedef struct RcStreamConsumer RcStreamConsumer;

extern RcStreamConsumer *rc_stream_consumer_create(void);
extern void rc_stream_consume(RcStreamConsumer *consumer, const char *name,
							  int number, List *end_offsets, bool even_paused,
							  RcCounts *counts);
extern List *rc_stream_end_offsets(const RcStream *stream, const char *only,
								   struct RcKafka *kafka);
extern bool rc_end_offsets_reached(const char *stream, List *end_offsets);
extern bool rc_stream_has_worker(const RcStream *stream);
extern bool rc_stream_lock_all(const RcStream *stream);
extern void rc_stream_unlock_all(const RcStream *stream);
extern void rc_stream_close(RcStreamConsumer *consumer);
extern bool rc_stream_stale(const RcStreamConsumer *consumer);
extern bool rc_stream_undecided(const RcStreamConsumer *consumer);
extern bool rc_stream_error_is_transient(const RcStreamConsumer *consumer,
										 const ErrorData *error);
extern void rc_stream_pause(RcStreamConsumer *consumer, long timeout_ms);

/* ---- entry points ---- */

extern PGDLLEXPORT void rc_launcher_main(Datum arg);
extern PGDLLEXPORT void rc_scheduler_main(Datum arg);
extern PGDLLEXPORT void rc_run_main(Datum arg);
extern PGDLLEXPORT void rc_stream_main(Datum arg);
extern PGDLLEXPORT void rc_outbox_main(Datum arg);
extern PGDLLEXPORT void rc_retry_main(Datum arg);
extern PGDLLEXPORT void rc_drain_main(Datum arg);
extern PGDLLEXPORT void rc_watermarks_main(Datum arg);

extern void rc_launcher_register(void);
extern bool rc_launcher_serves_us(void);
extern void rc_launcher_start_at_commit(void);

#endif							/* RC_WORKER_H */
