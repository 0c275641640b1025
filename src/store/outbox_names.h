/*-------------------------------------------------------------------------
 *
 * outbox_names.h
 *	  Names of the topics that the outbox has messages for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_NAMES_H
#define RC_OUTBOX_NAMES_H

#include "store/outbox_topics.h"

extern bool rc_outbox_names(const char *after, int limit,
							RcTopicAssume assume, List **names,
							bool *looked_up);

#endif							/* RC_OUTBOX_NAMES_H */
