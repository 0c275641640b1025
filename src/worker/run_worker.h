/*-------------------------------------------------------------------------
 *
 * run_worker.h
 *	  A run under way: what its tasks share.
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

/* What the source asks the API for, in UTF-8: NULL where it has none. */
typedef struct RcAsked
{
	char	   *filter;
	char	   *key_field;
	char	   *cursor_field;
} RcAsked;

/*
 * The pass over the dataset that a task makes: what stays of it from one try
 * to the next.
 */
typedef struct RcScanState
{
	bool		begun;
	bool		full;			/* it began at the start of the dataset */
	char	   *cursor;			/* stored when it began; NULL: none */
	char	   *from;			/* cursor value that it began at; NULL: the
								 * start */
	char	   *resume;			/* last cursor value that is safe; NULL: none */
	bool		resumed;		/* it was not read at one go */
	RcSeen	   *seen;			/* keys that a full pass has met; else NULL */
	int64		unreadable;		/* lines that are no JSON object, in all tries */
	int			reading;		/* number of the export that is read */
	HTAB	   *buried;			/* lines that are dead letters, see
								 * scan_bad_line.c */
} RcScanState;

/* What a full pass has missed, where it is too much. */
typedef struct RcMissing
{
	int64		n;				/* records; 0: not too many */
	int64		limit;			/* of them that may vanish at once */
	int64		known;			/* that there were before */
} RcMissing;

typedef struct RcRun
{
	MemoryContext context;		/* lives as long as the run */
	MemoryContext batch_context;	/* reset after each batch */
	int64		id;
	char	   *label;			/* value of RC_HEADER_RUN */
	RcSource   *source;
	RcStream   *stream;			/* the source's own; NULL if none */
	bool		full_sync;
	List	   *windows;		/* RcWindow, of a backfill; else NIL */
	RcDestination *destination;

	const char *task;			/* name of the task under way */
	const RcWindow *window;		/* that it reads; NULL: all that is new */
	RcReader   *reader;			/* released after each try */
	RcAsked		asked;
	RcQuota		quota;			/* as the API said it when a try failed */

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

/* what the tasks do */
extern void rc_run_extract(RcRun *run);
extern TimestampTz rc_run_quota(RcRun *run, RcQuota *quota);
extern bool rc_run_unchanged(RcRun *run);
extern void rc_run_check_missing(RcRun *run);

#endif							/* RC_RUN_WORKER_H */
