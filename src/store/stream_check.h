/*-------------------------------------------------------------------------
 *
 * stream_check.h
 *	  Checks a stream when it is stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_CHECK_H
#define RC_STREAM_CHECK_H

#include "store/stream_table.h"

extern void rc_check_topic(const char *topic, const char *name);

#endif							/* RC_STREAM_CHECK_H */
