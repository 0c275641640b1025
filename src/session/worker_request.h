/*-------------------------------------------------------------------------
 *
 * worker_request.h
 *	  A worker that a backend starts and waits for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_WORKER_REQUEST_H
#define RC_WORKER_REQUEST_H

#include "worker/worker.h"

typedef struct RcWorkerRequest
{
	RcWorkerKind kind;
	RcWorkerArgs args;
	const char *stream;			/* whose workers the caller can block; or NULL */
	TimestampTz deadline;		/* 0: none */
	pid_t		worker;			/* the process that was started; 0: none */
	bool		busy;			/* another process is doing this work */
	bool		ended;			/* values are set */
	bool		reported_prepared;	/* a blocking prepared transaction was
									 * reported */
	int64		values[RC_REPLY_VALUES];
} RcWorkerRequest;

extern void rc_worker_request(RcWorkerRequest *request);
extern void rc_worker_request_check_blocked(RcWorkerRequest *request);
extern Datum rc_worker_reply_row(FunctionCallInfo fcinfo, const int64 *values, int n);

#endif							/* RC_WORKER_REQUEST_H */
