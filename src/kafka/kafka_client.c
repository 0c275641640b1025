/*-------------------------------------------------------------------------
 *
 * kafka_client.c
 *	  Opens and closes a Kafka client.
 *
 * A client must not be opened in the postmaster: its threads would not
 * survive a fork.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * File descriptors of a client, which fd.c has to count: a pipe (see
 * open_pipe()), and a socket and a pipe for each of a few broker threads.
 */
#define EXTERNAL_FDS	11

/*
 * One client of each kind, and one that is put aside.  Static, because
 * close_at_exit() has to find them.
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
 * Start a client.  client_id is its name in the brokers' logs and quotas;
 * group_id is the consumer group that rc_consumer_commit() writes to (NULL:
 * the client id; ignored for a producer).  Does not wait for a broker.
 *
 * The handle is valid until rc_kafka_close().  A client of the same kind that
 * an error has left open is closed first, unless it was put aside.
 *
 * Errors: as rc_config_build(); F0000 or 53000 if librdkafka cannot start.
 */
RcKafka *
rc_kafka_open(RcKafkaKind kind, const char *client_id, const char *group_id)
{
	static bool registered = false;
	RcKafka    *kafka = handle_for(kind);

	Assert(!IsTransactionState());
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

/* The open handle of that kind, or a free one. */
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
 * Let another client of its kind be opened while this one stays open.
 */
void
rc_kafka_put_aside(RcKafka *kafka)
{
	kafka->aside = true;
}

/*
 * Let requests that no broker responds to end early: once stop() returns true,
 * none is sent again, and its error is raised as after the time limit.
 */
void
rc_kafka_stop_when(RcKafka *kafka, bool (*stop) (void))
{
	kafka->stop = stop;
}

/*
 * Start librdkafka with all signals blocked, so that none of its threads can
 * ever run a signal handler of PostgreSQL's.  Then let each new event write
 * to the pipe, which wakes rc_kafka_wait().
 */
static void
start_client(RcKafka *kafka, const char *client_id, const char *group_id)
{
	rd_kafka_conf_t *conf = rc_config_build(kafka, client_id, group_id);
	char		error_text[RC_KAFKA_ERRSTR_MAX];
	sigset_t	saved;

	rd_kafka_conf_set_opaque(conf, kafka);
	rc_report_attach(conf);
	rc_explain_attach(kafka, conf);
	if (kafka->kind == RC_KAFKA_PRODUCER)
		rc_producer_attach(conf);
	else
	{
		rc_consumer_attach(conf);
		rc_consumer_watch(kafka, conf);
	}

	block_signals(&saved);
	kafka->rk = rd_kafka_new(kafka->kind == RC_KAFKA_PRODUCER ?
							 RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER,
							 conf, error_text, sizeof(error_text));
	restore_signals(&saved);
	if (kafka->rk == NULL)
	{
		bool		resource = (rd_kafka_last_error() ==
								RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE);

		rd_kafka_conf_destroy(conf);
		rc_mask_invalid(error_text);
		if (!resource)
			rc_explain_start(error_text);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a Kafka client: %s", error_text)));
	}

	rd_kafka_set_log_queue(kafka->rk, NULL);
	kafka->queue = kafka->kind == RC_KAFKA_PRODUCER ?
		rd_kafka_queue_get_main(kafka->rk) :
		rd_kafka_queue_get_consumer(kafka->rk);
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->pipe[1], "1", 1);
}

/*
 * Stop a client and free its resources.  A producer's undelivered messages
 * are dropped; call rc_producer_flush() first.  Does nothing if the client is
 * closed.
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
 * Close all clients at exit of the process: librdkafka's threads must have
 * ended before exit() runs destructors of libraries that they use.
 */
static void
close_at_exit(int code, Datum arg)
{
	for (int i = 0; i < lengthof(handles); i++)
		rc_kafka_close(&handles[i]);
}

/*
 * Create the pipe that librdkafka writes to when a queue becomes non-empty.
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
 * Reserve at fd.c the descriptors that the client is going to open.
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
 * Threads inherit the signal mask of the thread that creates them.  Nothing
 * that can raise an error may be called between block_signals() and
 * restore_signals(): the process would ignore signals from then on.
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
