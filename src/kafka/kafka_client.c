/*-------------------------------------------------------------------------
 *
 * kafka_client.c
 *	  A client of Kafka: how it is opened, waited for and closed.
 *
 * Nothing here may block without end: PostgreSQL waits for every process at
 * a barrier now and then.  Waits happen in WaitLatch; the library is asked
 * with a timeout of 0, or in slices of at most a second where it has no other
 * way.  No client may be made in the postmaster, since threads do not survive
 * a fork.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * File descriptors of a client, for fd.c's account: our pipe, and for each of
 * a few broker threads a socket and a pipe.
 */
#define EXTERNAL_FDS	11

/* Slices of a call that blocks in the library. */
#define SLICE_MIN_MS	300
#define SLICE_MAX_MS	1000

/* After so long without a broker, all that is known is read again. */
#define REOPEN_AFTER_MS	30000

/*
 * One client of each kind, and one that is put aside; the exit hook has to find
 * them.
 */
static RcKafka handles[3];

static RcKafka *handle_for(RcKafkaKind kind);
static void start_client(RcKafka *kafka, const char *client_id,
						 const char *group_id);
static void open_pipe(RcKafka *kafka);
static void reserve_fds(RcKafka *kafka);
static void close_pipe(RcKafka *kafka);
static void block_signals(sigset_t *saved);
static void restore_signals(const sigset_t *saved);
static void close_at_exit(int code, Datum arg);

/*
 * Start a client.  client_id is how it calls itself to brokers; group_id is
 * the consumer group that rc_consumer_commit() writes to (NULL: the client
 * id; ignored for a producer).  Does not wait for a broker.
 *
 * The handle lives until rc_kafka_close().  An open one of the same kind, left
 * by an error, is closed first, unless it was put aside.
 *
 * Errors: see rc_config_build(); F0000 or 53000 if librdkafka cannot start.
 */
RcKafka *
rc_kafka_open(RcKafkaKind kind, const char *client_id, const char *group_id)
{
	static bool registered = false;
	RcKafka    *kafka = handle_for(kind);

	if (!IsUnderPostmaster)
		elog(ERROR, "cannot start a Kafka client in the postmaster");
	if (!registered)
	{
		before_shmem_exit(close_at_exit, (Datum) 0);
		registered = true;
	}
	rc_kafka_close(kafka);

	memset(kafka, 0, sizeof(RcKafka));
	kafka->kind = kind;
	kafka->pipe[0] = kafka->pipe[1] = -1;
	kafka->open = true;
	kafka->opened_at = GetCurrentTimestamp();
	PG_TRY();
	{
		kafka->context = AllocSetContextCreate(TopMemoryContext,
											   "rappel_conso Kafka client",
											   ALLOCSET_DEFAULT_SIZES);
		reserve_fds(kafka);
		open_pipe(kafka);
		if (kind == RC_KAFKA_PRODUCER)
			rc_producer_begin(kafka);
		else
			rc_consumer_begin(kafka);
		start_client(kafka, client_id, group_id);
	}
	PG_CATCH();
	{
		rc_kafka_close(kafka);
		PG_RE_THROW();
	}
	PG_END_TRY();

	rc_report_emit(kafka);
	return kafka;
}

/* The handle of that kind, or a free one. */
static RcKafka *
handle_for(RcKafkaKind kind)
{
	for (int i = 0; i < lengthof(handles); i++)
	{
		if (handles[i].open && handles[i].kind == kind && !handles[i].aside)
			return &handles[i];
	}
	for (int i = 0; i < lengthof(handles); i++)
	{
		if (!handles[i].open)
			return &handles[i];
	}
	elog(ERROR, "too many Kafka clients are open");
	return NULL;				/* keep compiler quiet */
}

/*
 * Leave the client open beside the next one of its kind.
 */
void
rc_kafka_put_aside(RcKafka *kafka)
{
	kafka->aside = true;
}

/*
 * Start librdkafka with all signals blocked, so that none of its threads can
 * ever run a handler of PostgreSQL's.  Then have everything that happens wake
 * rc_kafka_wait().
 */
static void
start_client(RcKafka *kafka, const char *client_id, const char *group_id)
{
	rd_kafka_conf_t *conf = rc_config_build(kafka, client_id, group_id);
	char		words[RC_KAFKA_WORDS];
	sigset_t	saved;

	rd_kafka_conf_set_opaque(conf, kafka);
	rc_report_attach(conf);
	rc_explain_attach(kafka, conf);
	if (kafka->kind == RC_KAFKA_PRODUCER)
		rc_producer_attach(conf);
	else
		rc_consumer_attach(conf);

	block_signals(&saved);
	kafka->rk = rd_kafka_new(kafka->kind == RC_KAFKA_PRODUCER ?
							 RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER,
							 conf, words, sizeof(words));
	restore_signals(&saved);
	if (kafka->rk == NULL)
	{
		bool		resource = (rd_kafka_last_error() ==
								RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE);

		rd_kafka_conf_destroy(conf);
		if (!resource)
			rc_explain_start(words);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a Kafka client: %s", words)));
	}

	rd_kafka_set_log_queue(kafka->rk, NULL);
	kafka->queue = kafka->kind == RC_KAFKA_PRODUCER ?
		rd_kafka_queue_get_main(kafka->rk) :
		rd_kafka_queue_get_consumer(kafka->rk);
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->pipe[1], "1", 1);
}

/*
 * Stop a client and free all that it holds.  A producer's messages that have
 * not been delivered are dropped: rc_producer_flush() comes before.  Closing
 * one that is closed already does nothing.
 */
void
rc_kafka_close(RcKafka *kafka)
{
	if (!kafka->open)
		return;
	kafka->open = false;

	if (kafka->consumer != NULL)
		rc_consumer_end(kafka);
	if (kafka->queue != NULL)
	{
		rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(kafka->queue);
	}
	if (kafka->admin != NULL)
		rd_kafka_queue_destroy(kafka->admin);
	if (kafka->producer != NULL)
		rc_producer_end(kafka);
	if (kafka->rk != NULL)
		rd_kafka_destroy_flags(kafka->rk,
							   RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	kafka->queue = kafka->admin = NULL;
	kafka->rk = NULL;
	kafka->producer = NULL;
	kafka->consumer = NULL;
	kafka->files = NULL;

	close_pipe(kafka);
	while (kafka->external_fds > 0)
	{
		ReleaseExternalFD();
		kafka->external_fds--;
	}
	if (kafka->context != NULL)
		MemoryContextDelete(kafka->context);
	kafka->context = NULL;
}

/*
 * Threads must not live on into exit().
 */
static void
close_at_exit(int code, Datum arg)
{
	for (int i = 0; i < lengthof(handles); i++)
		rc_kafka_close(&handles[i]);
}

/*
 * Wait until the client has something (returns true), the latch is set or
 * timeout_ms have passed (false; 0 only looks).  Serves callbacks and
 * interrupts.  Resets the latch, so the caller looks at its own flags after
 * it.  Returns at once while a consumer has records that have not been
 * fetched: to wait for something else, use the latch alone.
 */
bool
rc_kafka_wait(RcKafka *kafka, long timeout_ms)
{
	bool		woken = false;
	int			events;

	if (kafka->kind == RC_KAFKA_CONSUMER && rc_consumer_has_more(kafka))
	{
		timeout_ms = 0;
		woken = true;
	}
	events = WaitLatchOrSocket(MyLatch,
							   WL_LATCH_SET | WL_SOCKET_READABLE |
							   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							   kafka->pipe[0], timeout_ms,
							   PG_WAIT_EXTENSION);
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (events & WL_SOCKET_READABLE)
	{
		char		buffer[64];

		while (read(kafka->pipe[0], buffer, sizeof(buffer)) > 0)
			;
		woken = true;
	}
	rd_kafka_poll(kafka->rk, 0);
	rc_report_emit(kafka);
	return woken;
}

/*
 * Let timeout_ms pass between two tries, or less if the latch is set.
 */
void
rc_kafka_pause(RcKafka *kafka, long timeout_ms)
{
	int			events;

	events = WaitLatch(MyLatch,
					   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   timeout_ms, PG_WAIT_EXTENSION);
	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	rd_kafka_poll(kafka->rk, 0);
	rc_report_emit(kafka);
}

/*
 * Whether the client ought to be closed and opened again: its settings, or a
 * file that it was made from, are others by now; or no broker can be reached,
 * and the configuration has been reloaded since, or that has lasted for a
 * while.  Then what is not seen to change counts, too: a name's address, the
 * machine's authorities.
 */
bool
rc_kafka_stale(RcKafka *kafka)
{
	instr_time	elapsed;

	if (rc_files_changed(kafka->files))
		return true;
	if (rc_kafka_trouble(kafka) == NULL)
		return false;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, kafka->down_since);
	return PgReloadTime > kafka->opened_at ||
		INSTR_TIME_GET_MILLISEC(elapsed) >= REOPEN_AFTER_MS;
}

/*
 * Whether to try once more before the deadline.  Not with a client that cannot
 * come to anything: its files are others by now.  A consumer that has not met a
 * broker ends its wait at a reload, too; it can try again for nothing, while
 * a producer's user would lose one of its tries.
 */
bool
rc_kafka_again(RcKafka *kafka, const RcDeadline *deadline)
{
	if (rc_deadline_left(deadline) == 0 || rc_files_changed(kafka->files))
		return false;
	return !(ConfigReloadPending && kafka->down &&
			 kafka->kind == RC_KAFKA_CONSUMER);
}

/*
 * Begin to count timeout_ms from now.
 */
void
rc_deadline_start(RcDeadline *deadline, int timeout_ms)
{
	INSTR_TIME_SET_CURRENT(deadline->start);
	deadline->timeout_ms = timeout_ms;
	deadline->slice_ms = SLICE_MIN_MS;
}

/*
 * Milliseconds left; 0 if time is up.
 */
long
rc_deadline_left(const RcDeadline *deadline)
{
	instr_time	elapsed;
	double		left;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, deadline->start);
	left = deadline->timeout_ms - INSTR_TIME_GET_MILLISEC(elapsed);
	return left > 0 ? (long) left + 1 : 0;
}

/*
 * How long the next blocking call may take: from 300 to 1000 ms, growing, so
 * that a slow broker's answer is waited for, too.
 */
int
rc_deadline_slice(RcDeadline *deadline)
{
	int			slice = (int) Min(deadline->slice_ms,
								  rc_deadline_left(deadline));

	deadline->slice_ms = Min(deadline->slice_ms * 2, SLICE_MAX_MS);
	return slice;
}

/*
 * Make the pipe that librdkafka writes to when a queue is not empty any more.
 */
static void
open_pipe(RcKafka *kafka)
{
	if (pipe(kafka->pipe) != 0)
	{
		kafka->pipe[0] = kafka->pipe[1] = -1;
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create a pipe for the Kafka client: %m")));
	}
	for (int i = 0; i < 2; i++)
	{
		if (!pg_set_noblock(kafka->pipe[i]) ||
			fcntl(kafka->pipe[i], F_SETFD, FD_CLOEXEC) != 0)
			ereport(ERROR,
					(errcode_for_socket_access(),
					 errmsg("could not set up a pipe for the Kafka client: %m")));
	}
}

static void
close_pipe(RcKafka *kafka)
{
	for (int i = 0; i < 2; i++)
	{
		if (kafka->pipe[i] >= 0)
			close(kafka->pipe[i]);
		kafka->pipe[i] = -1;
	}
}

/*
 * Tell fd.c of the descriptors that the client is going to hold.
 */
static void
reserve_fds(RcKafka *kafka)
{
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a Kafka client: %m"),
				 errhint("Raise the server's limit of open files.")));
	kafka->external_fds = 1;
	while (kafka->external_fds < EXTERNAL_FDS)
	{
		ReserveExternalFD();
		kafka->external_fds++;
	}
}

/*
 * Threads inherit the mask of who starts them.  Nothing that can raise an
 * error may stand between these two.
 */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}
