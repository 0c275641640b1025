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

/* How long Kafka is waited for before a task counts as failed, in ms. */
#define RC_KAFKA_PATIENCE	30000

/* What the source asks the API for, in UTF-8: NULL where it has none. */
typedef struct RcAsked
{
	char	   *filter;
	char	   *key_field;
	char	   *cursor_field;
} RcAsked;

typedef struct RcRun
{
	MemoryContext context;		/* lives as long as the run */
	MemoryContext batch_context;	/* reset after each batch */
	int64		id;
	char	   *label;			/* value of RC_HEADER_RUN */
	RcSource   *source;
	RcStream   *stream;			/* the source's own; NULL if none */
	bool		full_sync;
	RcDestination *destination;

	List	   *windows;		/* RcWindow, of a backfill; else NIL */
	const char *task;			/* name of the task under way */

	/* the window under way; NULL: everything that is new */
	char	   *window_from;	/* ISO 8601 */
	char	   *window_to;		/* exclusive */

	/* abroad; released after each try of a task */
	RcReader   *reader;
	RcAsked		asked;
	RcQuota		quota;			/* as the API said it when a try failed */

	/* the pass over the dataset: stays from one try to the next */
	bool		pass_begun;
	bool		pass_full;		/* it began at the start of the dataset */
	char	   *pass_cursor;	/* stored cursor when it began; NULL: none */
	char	   *pass_from;		/* cursor value that it began at; NULL: start */
	char	   *resume;			/* last cursor value that is safe; NULL: none */
	bool		pass_resumed;	/* it was not read at one go */
	RcSeen	   *seen;			/* keys that a full pass has met; else NULL */
	int64		unreadable;		/* lines that are no JSON object, in all tries */
	int			reading;		/* number of the export that is read */
	HTAB	   *buried;			/* lines that are dead letters, see
								 * scan_bad_line.c */

	/* records that a full pass has missed, if too many; else 0 */
	int64		missing;
	int64		missing_limit;
	int64		known;
} RcRun;

extern void rc_run_extract(RcRun *run);
extern TimestampTz rc_run_quota(RcRun *run, RcQuota *quota);
extern bool rc_run_unchanged(RcRun *run);
extern void rc_run_check_missing(RcRun *run);

#endif							/* RC_RUN_WORKER_H */
