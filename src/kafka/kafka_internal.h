/*-------------------------------------------------------------------------
 *
 * kafka_internal.h
 *	  Declarations that only the files of src/kafka share.
 *
 * No file outside src/kafka may include it: librdkafka's types stay here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KAFKA_INTERNAL_H
#define RC_KAFKA_INTERNAL_H

#include "kafka/kafka.h"

#include <librdkafka/rdkafka.h>

#include "compat.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "rappel_conso.h"
#include "utils/palloc.h"

/*
 * The largest message that a producer sends, and max.message.bytes of topics
 * that the extension creates: 16 MB, and room for very many headers.
 */
#define RC_KAFKA_MAX_MESSAGE	18874368

/*
 * How many messages and kilobytes librdkafka may read ahead.  A fetch is sent
 * while both are below the mark, so one answer more than that can be held.
 */
#define RC_KAFKA_AHEAD_MESSAGES	20000
#define RC_KAFKA_AHEAD_KBYTES	8192

/* Size of a buffer for an error text of librdkafka; longer ones are cut. */
#define RC_KAFKA_ERRSTR_MAX	512

typedef struct RcProducer RcProducer;
typedef struct RcConsumer RcConsumer;
typedef struct RcFiles RcFiles;

/*
 * A client.  Callbacks of librdkafka write the members marked so.  They run
 * in this thread, inside librdkafka's functions, so they must not call
 * PostgreSQL (see kafka_log.c).
 */
struct RcKafka
{
	RcKafkaKind kind;
	bool		open;
	bool		aside;			/* another of its kind can be opened */
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;	/* consumer queue, or main queue */
	rd_kafka_queue_t *admin;	/* results of the admin API; NULL before the
								 * first request */
	int			pipe[2];		/* librdkafka writes, rc_kafka_wait reads */
	int			external_fds;	/* how many fd.c counts for it */
	MemoryContext context;
	RcFiles    *files;			/* files and settings it was opened with */
	TimestampTz opened_at;
	bool		tokens;			/* logs in with tokens: OAUTHBEARER */
	bool		oidc;			/* which come from a token endpoint */
	bool		(*stop) (void); /* see rc_kafka_stop_when(); or NULL */
	RcProducer *producer;		/* of RC_KAFKA_PRODUCER */
	RcConsumer *consumer;		/* of RC_KAFKA_CONSUMER */

	/* written by callbacks */
	bool		answered;		/* a broker has answered */
	bool		down;			/* no broker is reachable */
	bool		down_reported;	/* that was logged */
	bool		was_up;			/* a broker has been reachable before */
	instr_time	down_since;
	instr_time	throttled_at;
	int			throttle_ms;	/* brokers answer late since then; see
								 * rc_kafka_throttled() */
	char		last_error[RC_KAFKA_ERRSTR_MAX];
	const char *last_hint;		/* for last_error; or NULL */
	char		address_error[RC_KAFKA_ERRSTR_MAX]; /* see kafka_address.c */
	instr_time	address_failed;
	char		token_error[RC_KAFKA_ERRSTR_MAX];	/* why no token came the
													 * last time */
	rd_kafka_resp_err_t topic_code; /* why a topic cannot be read */
	bool		topic_lost;		/* the same, until the next assignment */
	char		topic_error[RC_KAFKA_ERRSTR_MAX];

	/* written by librdkafka's own threads */
	pg_atomic_uint32 verify_code;	/* why a certificate was not accepted */
	pg_atomic_uint32 closed;	/* connections that have been closed */
};

/*
 * A time limit for blocking calls of librdkafka, which are made in short
 * slices (see kafka_wait.c).
 */
typedef struct RcDeadline
{
	instr_time	start;
	int			timeout_ms;
	int			slice_ms;
} RcDeadline;

/* kafka_wait.c */
extern void rc_kafka_pause(RcKafka *kafka, long timeout_ms);
extern bool rc_kafka_resend(RcKafka *kafka, RcDeadline *deadline);
extern bool rc_deadline_over(RcKafka *kafka, RcDeadline *deadline);
extern void rc_deadline_start(RcDeadline *deadline, int timeout_ms);
extern long rc_deadline_left(const RcDeadline *deadline);
extern int	rc_deadline_slice(RcDeadline *deadline);

/* kafka_config.c */
#define RC_OIDC_HINT \
	"OAUTHBEARER with a token endpoint needs a librdkafka that is built with libcurl: that of Debian 13 is, that of Debian 12 is not. " \
	"Put one into a folder that \"LD_LIBRARY_PATH\" of the server names, or use another \"sasl.mechanism\"."

extern rd_kafka_conf_t *rc_config_build(RcKafka *kafka,
										const char *client_id,
										const char *group_id);

/* kafka_files.c */
extern RcFiles *rc_files_note(MemoryContext context);
extern void rc_files_add(RcFiles *files, const char *path);
extern bool rc_files_changed(const RcFiles *files);

/* kafka_address.c */
extern bool rc_address_failed(RcKafka *kafka, const char *text);
extern void rc_address_recall(RcKafka *kafka);
extern const char *rc_address_hint(RcKafka *kafka);

/* kafka_error.c */
extern void rc_explain_attach(RcKafka *kafka, rd_kafka_conf_t *conf);
extern void rc_explain_connection(RcKafka *kafka, const char *text);
pg_noreturn extern void rc_explain_start(const char *text);

/* kafka_log.c */
extern void rc_report_attach(rd_kafka_conf_t *conf);
extern void rc_report_emit(RcKafka *kafka);
extern void rc_report_note(const char *what, const char *text);
extern void rc_kafka_mark_up(RcKafka *kafka);
extern const char *rc_kafka_error_text(RcKafka *kafka, rd_kafka_resp_err_t err);
extern void rc_kafka_unreachable(RcKafka *kafka, rd_kafka_resp_err_t err);
extern int	rc_kafka_errcode(rd_kafka_resp_err_t err);

/* kafka_admin.c */
extern void *rc_admin_opaque(void);
extern rd_kafka_AdminOptions_t *rc_admin_options(RcKafka *kafka,
												 rd_kafka_admin_op_t operation,
												 long timeout_ms, void *opaque);
extern rd_kafka_event_t *rc_admin_wait(RcKafka *kafka, void *opaque,
									   RcDeadline *deadline);

/* kafka_topic_settings.c */
extern void rc_topic_settings(rd_kafka_NewTopic_t *new_topic,
							  const RcNewTopic *topic);

/* producer_publish.c */
extern RcKafkaOutcome rc_outcome_of(rd_kafka_resp_err_t err);

/* producer.c */
extern void rc_producer_push(RcKafka *kafka);
extern void rc_producer_attach(rd_kafka_conf_t *conf);
extern void rc_producer_begin(RcKafka *kafka);
extern void rc_producer_end(RcKafka *kafka);

/* consumer.c */
extern void rc_consumer_attach(rd_kafka_conf_t *conf);
extern void rc_consumer_watch(RcKafka *kafka, rd_kafka_conf_t *conf);
extern void rc_consumer_begin(RcKafka *kafka);
extern void rc_consumer_end(RcKafka *kafka);

/* consumer_fetch.c */
extern bool rc_consumer_has_more(RcKafka *kafka);

#endif							/* RC_KAFKA_INTERNAL_H */
