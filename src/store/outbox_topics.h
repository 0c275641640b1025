/*-------------------------------------------------------------------------
 *
 * outbox_topics.h
 *	  The topics of messages in the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_TOPICS_H
#define RC_OUTBOX_TOPICS_H

#include "rappel_conso.h"

#include "nodes/pg_list.h"

/* Whether a topic may be listed without a look whether it has messages. */
typedef bool (*RcTopicAssume) (const char *name);

extern List *rc_outbox_topics(const char *after, int limit,
							  RcTopicAssume assume);
extern List *rc_outbox_topics_readable(int limit, int *unreadable);
extern void rc_outbox_by_index(void);
extern void rc_outbox_topics_sweep(void);

#endif							/* RC_OUTBOX_TOPICS_H */
