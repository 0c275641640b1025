/*-------------------------------------------------------------------------
 *
 * source_state.h
 *	  How far a source has been read for each destination.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SOURCE_STATE_H
#define RC_SOURCE_STATE_H

#include "record.h"
#include "store/query.h"
#include "store/source_table.h"
#include "store/stream_table.h"

/* A row of rappel_conso.source_state. */
typedef struct RcSourceState
{
	int64		epoch;
	char	   *cursor;			/* NULL: none yet */
	int64		next_offset;
	bool		complete;
	char	   *data_processed;
	int64		records_count;
	bool		full_due;		/* a full scan is due */
	bool		first_scan;		/* no scan has reached the end yet */

	int64		count_difference;	/* dataset's count minus known records
									 * after a full scan; 0 if unknown */
	bool		missing_refused;	/* more are missing than may be withdrawn
									 * at once */
	int64		missing_accepted;	/* missing records accepted by a requested
									 * full sync */
	bool		destination_changed;	/* the last successful run had another
										 * destination */
	int64		last_timestamp_ms;	/* of the records sent; 0: none */
} RcSourceState;

extern void rc_param_source(RcParams *params, const RcSource *source,
							const char *destination);
extern RcSourceState *rc_source_state(const RcSource *source,
									  const char *destination);
extern char *rc_cursor_before(const char *cursor, const RcSource *source);
extern void rc_source_rewind(const RcSource *source, const char *destination,
							 RcSourceState *state, const char *cursor);
extern void rc_source_advance(const RcSource *source, const char *destination,
							  RcSourceState *state, const char *cursor,
							  int64 next_offset);
extern void rc_source_fence(const RcSource *source, const char *destination,
							const RcSourceState *state);
extern void rc_source_changed(const RcSource *source);
extern ErrorData *rc_source_gone(const RcSource *source);
extern void rc_source_checked(const RcSource *source, const char *destination);
extern void rc_source_quota(const RcSource *source, const RcQuota *quota);
extern void rc_source_complete(const RcSource *source, const char *destination,
							   RcSourceState *state,
							   const char *data_processed,
							   int64 records_count, bool full);
extern void rc_source_count_difference(const RcSource *source, const char *destination,
									   RcSourceState *state, int64 count_difference, bool known);
extern void rc_source_missing(const RcSource *source, const char *destination,
							  RcSourceState *state, bool refused,
							  int64 accepted);
extern void rc_source_forget(const RcSource *source, const char *destination);
extern void rc_stream_forget(const RcStream *stream);

#endif							/* RC_SOURCE_STATE_H */
