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

extern List *rc_outbox_topics(const char *after, int limit);
extern List *rc_outbox_topics_readable(int limit, int *unreadable);
extern void rc_outbox_by_index(void);
extern void rc_outbox_topics_sweep(void);

#endif							/* RC_OUTBOX_TOPICS_H */
