/*-------------------------------------------------------------------------
 *
 * kept_grant.h
 *	  Which topics a role may write to, as this session has looked it up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KEPT_GRANT_H
#define RC_KEPT_GRANT_H

#include "rappel_conso.h"

extern bool rc_topic_writable(Oid role, const char *topic);

#endif							/* RC_KEPT_GRANT_H */
