/*-------------------------------------------------------------------------
 *
 * stream_state.h
 *	  State of streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_STATE_H
#define RC_STREAM_STATE_H

#include "rappel_conso.h"

#include "datatype/timestamp.h"

/*
 * SQL condition: the retry of a stream is not due yet.  A time further away
 * than any backoff was stored before the clock was set back, and is ignored.
 */
#define RC_RETRY_IS_DUE_LATER(state) \
	state ".retry_at > pg_catalog.clock_timestamp()" \
	" AND " state ".retry_at <= pg_catalog.clock_timestamp() + '5 minutes'::interval"

/* Why a stream is failed or waiting. */
typedef struct RcStreamError
{
	bool		failed;			/* failed, not just waiting */
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
extern void rc_stream_wait_for(const char *stream, const char *detail,
							   const ErrorData *error);
extern bool rc_stream_unproven(const char *stream);
extern void rc_stream_fail(const char *stream, const ErrorData *error);
extern bool rc_stream_retry(const char *stream);
extern RcStreamError *rc_stream_error(const char *stream,
									  TimestampTz since);
extern void rc_stream_retry_all(void);
extern void rc_stream_retry_denied(void);
extern void rc_stream_postpone(const char *stream, const char *why);
extern bool rc_stream_postponed(const char *stream);
extern void rc_stream_topic_made(const char *topic);

#endif							/* RC_STREAM_STATE_H */
