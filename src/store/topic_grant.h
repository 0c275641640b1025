/*-------------------------------------------------------------------------
 *
 * topic_grant.h
 *	  Which role may read and write which topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_TOPIC_GRANT_H
#define RC_TOPIC_GRANT_H

#include "store/stream_table.h"

extern bool rc_topic_allowed(Oid role, const char *topic, bool write);
extern bool rc_grants_suffice(const RcStream *stream);
extern void rc_check_grants(Oid owner, const char *owner_name, List *topics,
							const char *output_topic, const char *name);
extern void rc_check_source_grant(Oid owner, const char *owner_name,
								  const char *topic, const char *name);

#endif							/* RC_TOPIC_GRANT_H */
