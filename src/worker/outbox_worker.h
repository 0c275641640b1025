/*-------------------------------------------------------------------------
 *
 * outbox_worker.h
 *	  What the publisher knows of each topic, for the files outbox*.c.
 *
 * A topic has one batch at a time under way: its next messages are read when
 * each message of that batch has been deleted, has become a dead letter, or
 * stays where it is.  So no topic waits for another, and the order of a
 * topic's messages holds when some of them are refused or sent again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_WORKER_H
#define RC_OUTBOX_WORKER_H

#include "kafka/kafka.h"
#include "worker/worker.h"

#define RC_TOPIC_NAME_MAX	249

/* Messages that are read at a time. */
#define RC_READ_LIMIT		5000

/*
 * Bytes under way: of topics that go well, each counted with half of the limit
 * at most, of those that do not, and of all.  One message may pass each.
 */
#define RC_BYTES_LIMIT		(8 * 1024 * 1024)
#define RC_SLOW_LIMIT		(12 * 1024 * 1024)
#define RC_OPEN_LIMIT		(24 * 1024 * 1024)

#define RC_FORBIDDEN_HINT \
	"Grant WRITE and DESCRIBE on the topic to the Kafka user of this server."

#define RC_DAMAGE_HINT \
	"See the server's log. Once what is damaged is repaired, restored or deleted, the messages are sent."

typedef enum RcTopicPhase
{
	RC_TOPIC_NEW,				/* to be looked up */
	RC_TOPIC_MISSING,			/* to be made */
	RC_TOPIC_MAKING,			/* asked for */
	RC_TOPIC_READY,
	RC_TOPIC_REFUSED			/* its messages become dead letters */
} RcTopicPhase;

typedef enum RcFate
{
	RC_FATE_LEFT,				/* stays in the outbox */
	RC_FATE_OPEN,				/* handed over, no report yet */
	RC_FATE_DELIVERED,
	RC_FATE_GONE,				/* delivered, and deleted */
	RC_FATE_DEAD
} RcFate;

/* A message of a batch. */
typedef struct RcSent
{
	int64		id;
	RcFate		fate;
	bool		refused;		/* with its batch */
	bool		bare;			/* dead: its headers cannot be read */
	int			sqlstate;		/* why it is dead, or was refused */
	char	   *error;
} RcSent;

typedef struct RcOutTopic
{
	char		name[RC_TOPIC_NAME_MAX + 1];	/* key of the hash table */
	int			number;			/* its place in the tags of messages */
	RcTopicPhase phase;
	bool		has_messages;	/* at the last look, as far as is known */
	bool		listed;			/* of the window: see outbox_window.c */
	bool		was_listed;
	bool		asked;			/* its messages were asked for since */
	bool		alone;			/* they are read apart from those of others */

	/* the batch under way */
	RcSent	   *sent;
	int			nsent;
	int			sent_size;
	int			next;			/* of them, to be handed over */
	int			nopen;
	int64		bytes;
	bool		full;			/* no message more */
	bool		stopped;		/* none is handed over any more */
	bool		decided;		/* all reports are there and judged */
	bool		aside;			/* by the producer that was put aside */
	TimestampTz sent_at;
	TimestampTz settle_at;		/* its delivered messages could not be deleted */
	int			later_sqlstate; /* why some of them are left */
	char	   *later_error;	/* NULL: none is */

	int			max;			/* messages of the next batch; 0: no limit */

	/* its wait */
	TimestampTz retry_at;		/* 0: none */
	int			failures;
	int			sqlstate;
	char	   *error;			/* NULL: it does not wait */
	char	   *hint;
	bool		has_row;		/* of rappel_conso.outbox_topic */
	bool		changed;		/* which is to be written or deleted */

	int			refusal_sqlstate;	/* why no message can go there */
	char	   *refusal;
} RcOutTopic;

typedef struct RcPublisher
{
	MemoryContext context;		/* of one round */
	RcKafka    *kafka;			/* NULL: closed */
	int			lookups;		/* that it has done */
	int			batch_messages; /* of one batch, at most */
	int			batch_bytes;
	RcKafka    *aside;			/* put aside, for its last reports; or NULL */
	TimestampTz aside_since;
	bool		reading;		/* an error is one of reading */
	bool		one_by_one;		/* so each message is read by itself */
	long		backoff;		/* after an error, in ms; 0: there was none */
	TimestampTz retry_at;		/* when topics are looked up again */
} RcPublisher;

/* Bytes of batches, as above. */
typedef struct RcOutBytes
{
	int64		fresh;
	int64		slow;
	int64		all;
} RcOutBytes;

/* Topics to be counted. */
typedef enum RcOutCount
{
	RC_OUT_WITH_MESSAGES,
	RC_OUT_READY,
	RC_OUT_MAKING,
	RC_OUT_OPEN,				/* reports are due */
	RC_OUT_UNSETTLED			/* a batch is under way */
} RcOutCount;

/* ---- outbox_worker.c ---- */

/* The process shall end when what has been confirmed is settled. */
extern volatile sig_atomic_t rc_out_ending;

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

extern void rc_out_add(RcOutTopic *topic, int64 id, int64 bytes);
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
extern void rc_out_report_waiting(const char *error);

#endif							/* RC_OUTBOX_WORKER_H */
