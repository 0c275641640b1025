/*-------------------------------------------------------------------------
 *
 * stream_check.h
 *	  The check when a stream is stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_CHECK_H
#define RC_STREAM_CHECK_H

#include "store/stream_table.h"

extern void rc_check_topic(const char *topic, const char *name);
extern bool rc_grants_suffice(const RcStream *stream);
extern void rc_check_grants(Oid owner, const char *owner_name, List *topics,
							const char *output_topic, const char *name);
extern void rc_check_source_grant(Oid owner, const char *owner_name,
								  const char *topic, const char *name);

#endif							/* RC_STREAM_CHECK_H */
