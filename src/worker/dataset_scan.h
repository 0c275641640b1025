/*-------------------------------------------------------------------------
 *
 * dataset_scan.h
 *	  A scan of a dataset, shared by run_extract*.c, dataset_scan.c and
 *	  scan_*.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DATASET_SCAN_H
#define RC_DATASET_SCAN_H

#include "worker/run_worker.h"

/* A batch ends at the stream's batch_size, or at this many bytes. */
#define RC_BATCH_BYTES		(8 * 1024 * 1024)

/* A line that could not be converted to a record. */
typedef struct RcBadLine
{
	RcRecord	record;			/* value is the line */
	char	   *error;
} RcBadLine;

/* Records read, but not yet committed by the destination. */
typedef struct RcBatch
{
	RcRecord   *records;
	RcKnownRecord *states;		/* state of each record's key */
	int			n;
	int			max;
	RcRecord   *to_send;		/* records to send */
	int		   *source_index;	/* index in records of each of to_send */
	int			n_to_send;
	Size		bytes;
	int			lines;
	List	   *bad;			/* of RcBadLine * */
	char	   *cursor;			/* of its last record that has a cursor */
	char	  **cursors;		/* cursor after each record */
	int			nseen;			/* records already added to scan_state.seen */
	bool		withdrawal;		/* a batch of withdrawn records (no value) */
	RcHeader	headers[3];
} RcBatch;

/* A scan of the whole dataset, or of what is new in it. */
typedef struct RcScan
{
	RcRun	   *run;
	RcSourceState *state;
	const RcTransform *transform;
	RcTransformWork *work;
	RcFieldKind kind;			/* of the cursor field */
	char	   *stored_cursor;	/* stored in source_state; NULL: none */
	char	   *max_cursor;		/* greatest date accepted as a cursor */
	char	   *last_cursor;	/* of the previous line; NULL: none */
	bool		ordered;		/* lines came in the order of the cursor */
	int64		received;
	int64		unreadable;		/* of those, lines that are no JSON object */
	int			bad_in_row;		/* of those, the last ones that failed in a
								 * row */
	int64		expected;
	int64		before;			/* count by the API, before and after */
	int64		after;
	TimestampTz reported_at;
	int64		reported;		/* records at the last progress report */
	RcFirstScan *first_scan;	/* NULL: records may be known */
	RcBatch		batch;
} RcScan;

/* dataset_scan.c */
extern void rc_scan_begin_batch(RcScan *scan);
extern void rc_scan_flush(RcScan *scan, bool at_end);
extern void rc_scan_report_progress(RcScan *scan, bool end);

/* scan_line.c */
extern void rc_scan_add_line(RcScan *scan, const char *line, size_t len,
							 bool may_be_half);
extern void rc_scan_add_withdrawn(RcScan *scan, const RcRecord *record);

/* scan_withdraw.c */
extern void rc_scan_withdraw(RcScan *scan);

/* run_extract_count.c */
extern bool rc_scan_count_differs(RcScan *scan, const RcDatasetInfo *info);
extern void rc_scan_note_count_difference(RcScan *scan, const RcDatasetInfo *info);
extern void rc_scan_check_count(RcScan *scan, const RcReadRange *range);

/* scan_bad_line.c */
extern void rc_bad_lines_begin(RcRun *run);
extern void rc_bad_line_add(RcScan *scan, const char *line, size_t len,
							const RcTransformed *made, const char *error);
extern void rc_bad_lines_check(RcScan *scan);
extern void rc_bad_lines_drop(RcScan *scan);
extern int	rc_bad_lines_to_dead_letters(RcScan *scan, List *refused);
extern void rc_bad_lines_committed(RcScan *scan, List *refused);

#endif							/* RC_DATASET_SCAN_H */
