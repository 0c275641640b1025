/*-------------------------------------------------------------------------
 *
 * outbox_worker.h
 *	  State of the outbox worker, shared by the files outbox_*.c of this
 *	  folder.
 *
 * A topic has one batch at a time: its next messages are read when each
 * message of that batch has been deleted, has become a dead letter, or is left
 * in the outbox.  So no topic waits for another, and the order of a topic's
 * messages is kept when some are rejected or sent again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_WORKER_H
#define RC_OUTBOX_WORKER_H

#include "kafka/kafka.h"
#include "worker/worker.h"

#define RC_TOPIC_NAME_MAX	249

/* Messages read at a time. */
#define RC_READ_LIMIT		5000

/*
 * Limits of bytes in flight: of healthy topics, each counted with half of the
 * limit at most; of slow ones; and of all.  A single message may exceed them.
 */
#define RC_BYTES_LIMIT		(8 * 1024 * 1024)
#define RC_SLOW_LIMIT		(12 * 1024 * 1024)
#define RC_OPEN_LIMIT		(24 * 1024 * 1024)

#define RC_FORBIDDEN_HINT \
	"Grant WRITE and DESCRIBE on the topic to the Kafka user of this server."

#define RC_DAMAGE_HINT \
	"See the server log. The messages are sent once the damaged data has been repaired, restored or deleted."

typedef enum RcTopicPhase
{
	RC_TOPIC_NEW,				/* not looked up yet */
	RC_TOPIC_MISSING,			/* to be created */
	RC_TOPIC_MAKING,			/* creation requested */
	RC_TOPIC_READY,
	RC_TOPIC_REFUSED			/* its messages become dead letters */
} RcTopicPhase;

typedef enum RcFate
{
	RC_FATE_LEFT,				/* left in the outbox */
	RC_FATE_OPEN,				/* sent; report is due */
	RC_FATE_DELIVERED,
	RC_FATE_GONE,				/* delivered, and deleted */
	RC_FATE_DEAD
} RcFate;

/* A message of a batch. */
typedef struct RcSent
{
	RcOutboxRow row;
	RcFate		fate;
	bool		refused;		/* Kafka has rejected it, or its whole batch */
	bool		bare;			/* dead; headers are unreadable or too large */
	int			sqlstate;		/* of the rejection */
	char	   *error;
} RcSent;

typedef struct RcOutTopic
{
	char		name[RC_TOPIC_NAME_MAX + 1];	/* key of the hash table */
	int			number;			/* index in outbox_topic.c, used in tags */
	RcTopicPhase phase;
	bool		has_messages;	/* as far as is known */
	bool		listed;			/* in the window; see outbox_window.c */
	bool		was_listed;
	bool		asked;			/* read since it was listed */
	bool		alone;			/* read separately from other topics */

	/* the current batch */
	RcSent	   *sent;
	int			nsent;
	int			sent_size;
	int			next;			/* index of the next one to send */
	int			nopen;
	int64		bytes;
	bool		full;			/* no more messages may be added */
	bool		stopped;		/* no more of them may be sent */
	bool		decided;		/* decide() has evaluated the reports */
	bool		aside;			/* sent by the replaced producer */
	TimestampTz sent_at;
	TimestampTz settle_at;		/* retry deletion of delivered messages then */
	int			later_sqlstate; /* why some of them were left */
	char	   *later_error;	/* NULL: none was */

	int			max;			/* messages of the next batch; 0: no limit */

	/* wait for a retry */
	TimestampTz retry_at;		/* 0: none */
	int			failures;
	int			sqlstate;
	char	   *error;			/* NULL: not waiting */
	char	   *hint;
	bool		has_row;		/* has a row in rappel_conso.outbox_topic */
	bool		changed;		/* the row must be written or deleted */

	int			refusal_sqlstate;	/* why it is permanently rejected */
	char	   *refusal;
} RcOutTopic;

typedef struct RcPublisher
{
	MemoryContext context;		/* reset in each round */
	RcKafka    *kafka;			/* NULL: closed */
	int			lookups;		/* lookups it has done */
	int			batch_messages; /* maximum of one batch */
	int			batch_bytes;
	RcKafka    *aside;			/* replaced producer with batches in flight;
								 * or NULL */
	TimestampTz aside_since;
	bool		reading;		/* set while messages are read */
	bool		one_by_one;		/* read each message in a subtransaction */
	long		backoff;		/* after an error, in ms; 0: no error */
	TimestampTz retry_at;		/* while reports are due, no new batch before
								 * it */
} RcPublisher;

/* Bytes in flight, see the limits above. */
typedef struct RcOutBytes
{
	int64		fresh;
	int64		slow;
	int64		all;
} RcOutBytes;

/* States of topics that rc_out_count() counts. */
typedef enum RcOutCount
{
	RC_OUT_WITH_MESSAGES,
	RC_OUT_READY,
	RC_OUT_MAKING,
	RC_OUT_OPEN,				/* reports are due */
	RC_OUT_UNSETTLED			/* have a batch */
} RcOutCount;

/* ---- outbox_worker.c ---- */

extern bool rc_outbox_ending(void);

/* ---- outbox_producer.c ---- */

extern void rc_out_open_producer(RcPublisher *publisher);
extern void rc_out_close_producer(RcPublisher *publisher);
extern void rc_out_report_unconfirmed(RcPublisher *publisher);
extern void rc_out_put_aside_stalled(RcPublisher *publisher);
extern void rc_out_close_aside(RcPublisher *publisher);

/* ---- outbox_topic.c ---- */

extern RcOutTopic *rc_out_topic(const char *name, bool create);
extern RcOutTopic *rc_out_topic_at(int number);
extern void rc_out_forget_idle(bool many);
extern bool rc_out_waits(const RcOutTopic *topic, TimestampTz now);
extern void rc_out_wait(RcOutTopic *topic, int sqlstate, const char *error,
						const char *hint);
extern void rc_out_resume_wait(RcOutTopic *topic, const RcOutboxTopic *row);
extern void rc_out_wait_over(RcOutTopic *topic);
extern void rc_out_refuse(RcOutTopic *topic, int sqlstate, const char *error);

extern void rc_out_add(RcOutTopic *topic, const RcOutboxRow *row, int64 bytes);
extern void rc_out_drop_batch(RcOutTopic *topic);
extern uint64 rc_out_tag(const RcOutTopic *topic, int i);
extern void rc_out_answer(const RcAnswer *answer);
extern void rc_out_dead(RcSent *sent, int sqlstate, const char *error);
extern void rc_out_later(RcOutTopic *topic, int sqlstate, const char *error);
extern void rc_out_put_aside(void);
extern void rc_out_lost(bool aside);
extern void rc_out_open_bytes(RcOutBytes *bytes);
extern bool rc_out_room(const RcOutTopic *topic, const RcOutBytes *bytes);
extern void rc_out_more_bytes(const RcOutTopic *topic, int64 more,
							  RcOutBytes *bytes);
extern int	rc_out_count(RcOutCount what);

/* ---- outbox_lookup.c ---- */

extern bool rc_out_look_up_topics(RcPublisher *publisher);
extern bool rc_out_take_topics(RcPublisher *publisher);

/* ---- outbox_window.c ---- */

extern void rc_out_list_topics(void);
extern void rc_out_list_readable(const ErrorData *error);
extern void rc_out_window_used(void);
extern bool rc_out_window_more(void);

/* ---- outbox_fetch.c ---- */

extern List *rc_out_read(RcPublisher *publisher);

/* ---- outbox_send.c ---- */

extern int	rc_out_hand_over(RcPublisher *publisher, List *messages);

/* ---- outbox_settle.c ---- */

extern bool rc_out_settle(int batch_limit, bool last);
extern void rc_out_report_waiting(const ErrorData *error);

/* ---- outbox_clean.c ---- */

extern void rc_out_deleted(int rows, int64 bytes);
extern void rc_out_clean(RcPublisher *publisher);

#endif							/* RC_OUTBOX_WORKER_H */
