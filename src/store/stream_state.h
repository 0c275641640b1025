/*-------------------------------------------------------------------------
 *
 * stream_state.h
 *	  What the workers of each stream last said.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_STATE_H
#define RC_STREAM_STATE_H

#include "rappel_conso.h"

#include "datatype/timestamp.h"

/*
 * SQL: a failed stream's next try is not due yet.  One that is further away
 * than any backoff dates from before the clock was set back.
 */
#define RC_RETRY_IS_DUE_LATER(state) \
	state ".retry_at > pg_catalog.clock_timestamp()" \
	" AND " state ".retry_at <= pg_catalog.clock_timestamp() + '5 minutes'::interval"

/* What keeps a stream from going on, in its own words. */
typedef struct RcStreamError
{
	bool		failed;			/* it does not only wait */
	int			sqlstate;
	char	   *error_text;
	char	   *detail;			/* NULL: none */
	char	   *hint;			/* NULL: none */
} RcStreamError;

extern void rc_stream_state_set(const char *stream, const char *state,
								const char *detail);
extern void rc_stream_begin(const char *stream);
extern void rc_stream_run(const char *stream, bool recovered);
extern void rc_stream_wait(const char *stream, const ErrorData *error);
extern bool rc_stream_unproven(const char *stream);
extern void rc_stream_fail(const char *stream, const ErrorData *error);
extern bool rc_stream_retry(const char *stream);
extern RcStreamError *rc_stream_trouble(const char *stream,
										TimestampTz since);
extern void rc_stream_retry_all(void);
extern void rc_stream_retry_denied(void);
extern void rc_stream_postpone(const char *stream, const char *why);
extern bool rc_stream_postponed(const char *stream);
extern void rc_stream_topic_made(const char *topic);

#endif							/* RC_STREAM_STATE_H */
