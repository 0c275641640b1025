/*-------------------------------------------------------------------------
 *
 * outbox_read.h
 *	  Reads messages of the outbox, and stores the state of topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_READ_H
#define RC_OUTBOX_READ_H

#include "record.h"
#include "store/message.h"
#include "store/outbox_row.h"

#include "nodes/pg_list.h"

/* A topic that the outbox has messages for. */
typedef struct RcOutboxTopic
{
	char	   *name;
	bool		waiting;		/* the fields below are its row of
								 * outbox_topic */
	int			failures;
	TimestampTz retry_at;
	TimestampTz failed_at;
	char	   *sqlstate;
	char	   *error;
	char	   *hint;
} RcOutboxTopic;

typedef struct RcMessage
{
	RcOutboxRow row;
	RcMessageSize size;
	int			sqlstate;		/* of the problem */
	char	   *problem;		/* why it can never be sent; NULL: sendable */
	RcRecord	record;			/* only its topic if there is a problem */
} RcMessage;

/*
 * Whether to read a message.  It is called for the messages of a topic in the
 * order of their ids, before key, value and headers are read.
 */
typedef bool (*RcMessageTake) (void *arg, const RcMessage *message);

extern List *rc_outbox_read(char **topics, int ntopics, int limit,
							bool one_by_one, RcMessageTake take, void *arg);
extern void rc_outbox_state_set(const char *state, int sqlstate,
								const char *error, const char *hint);
extern void rc_outbox_topic_waits(const char *topic, int failures,
								  TimestampTz retry_at, int sqlstate,
								  const char *error, const char *hint);
extern void rc_outbox_topic_goes(const char *topic);

#endif							/* RC_OUTBOX_READ_H */
