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

typedef struct RcCall
{
	RcWorkerKind kind;
	RcWorkerArgs args;
	const char *what;			/* for messages: run worker of source "x" */
	const char *stream;			/* whose workers the caller may block; NULL */
	TimestampTz deadline;		/* 0: none */
	pid_t		worker;			/* process that was started; 0: none */
	bool		busy;			/* another process does it */
	bool		ended;			/* values are there */
	bool		told_prepared;	/* that a prepared transaction is in its way */
	int64		values[RC_CALL_VALUES];
} RcCall;

extern void rc_call_worker(RcCall *call);
extern void rc_call_check_blocked(RcCall *call);
extern Datum rc_call_row(FunctionCallInfo fcinfo, const int64 *values, int n);

#endif							/* RC_WORKER_REQUEST_H */
