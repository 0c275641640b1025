/*-------------------------------------------------------------------------
 *
 * run_worker.h
 *	  State of a run, shared by its tasks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RUN_WORKER_H
#define RC_RUN_WORKER_H

#include "worker/worker.h"

#include "source/reader.h"
#include "transform/transform.h"
#include "utils/hsearch.h"
#include "worker/destination.h"

/* Columns of the source sent to the API, in UTF-8; NULL if not set. */
typedef struct RcAsked
{
	char	   *filter;
	char	   *key_field;
	char	   *cursor_field;
} RcAsked;

/* State of a task's scan of the dataset, kept between attempts. */
typedef struct RcScanState
{
	bool		begun;
	bool		full;			/* a full scan */
	char	   *cursor;			/* stored cursor when it began; NULL: none */
	char	   *from;			/* cursor value at which it began; NULL: start
								 * of the dataset */
	char	   *resume;			/* last cursor value that is safe; NULL: none */
	bool		resumed;		/* an attempt resumed, so counts may be wrong */
	RcSeen	   *seen;			/* keys found by a full scan; else NULL */
	int64		unreadable;		/* lines that are no JSON object, in all
								 * attempts */
	int			reading;		/* number of the export being read */
	HTAB	   *dead_lines;		/* dead lines, see scan_bad_line.c */
} RcScanState;

/* Records missing from a full scan, if too many. */
typedef struct RcMissing
{
	int64		n;				/* missing records; 0: not too many */
	int64		limit;			/* maximum that may vanish at once */
	int64		known;			/* records known before */
} RcMissing;

typedef struct RcRun
{
	MemoryContext context;		/* same lifetime as the run */
	MemoryContext batch_context;	/* reset after each batch */
	int64		id;
	char	   *label;			/* value of RC_HEADER_RUN */
	RcSource   *source;
	RcStream   *stream;			/* the source's own; NULL if none */
	bool		full_sync;
	List	   *windows;		/* RcWindow, of a backfill; else NIL */
	RcDestination *destination;

	const char *task;			/* name of the current task */
	const RcWindow *window;		/* window of the task; NULL: no backfill */
	RcReader   *reader;			/* released after each attempt */
	RcAsked		asked;
	RcQuota		quota;			/* as last reported when an attempt failed */

	RcScanState scan_state;
	RcMissing	missing;
} RcRun;

/* run_worker.c */
extern void rc_run_release(RcRun *run);
extern ErrorData *rc_run_source_gone(RcRun *run);

/* run_task.c */
typedef void (*RcTaskFunction) (RcRun *run);

extern void rc_run_task(RcRun *run, const char *name,
						RcTaskFunction function);
extern void rc_run_set_task(RcRun *run, const char *name, const char *state,
							int attempt, TimestampTz next_try,
							const ErrorData *error);

/* run_extract.c and scan_withdraw.c */
extern void rc_run_extract(RcRun *run);
extern TimestampTz rc_run_quota(RcRun *run, RcQuota *quota);
extern bool rc_run_unchanged(RcRun *run);
extern void rc_run_check_missing(RcRun *run);

#endif							/* RC_RUN_WORKER_H */
