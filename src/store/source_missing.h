/*-------------------------------------------------------------------------
 *
 * source_missing.h
 *	  Records of a source that full scans no longer find.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SOURCE_MISSING_H
#define RC_SOURCE_MISSING_H

#include "record.h"
#include "store/source_table.h"

/* A record that full scans have not found for this long is withdrawn. */
#define RC_MISSING_TIME "'1 hour'::interval"

typedef struct RcSeen RcSeen;

extern RcSeen *rc_seen_begin(void);
extern void rc_seen_add(RcSeen *seen, const RcRecord *records, int n);
extern int64 rc_known_records_note_missing(const RcSource *source,
										   const char *destination,
										   RcSeen *seen);
extern RcRecord *rc_known_records_missing(const RcSource *source,
										  const char *destination,
										  const RcRecord *after, int limit,
										  int *n);

#endif							/* RC_SOURCE_MISSING_H */
