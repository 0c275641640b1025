/*-------------------------------------------------------------------------
 *
 * dataset_scan.h
 *	  A pass over a dataset: what run_extract*.c, dataset_scan.c and scan_*.c
 *	  share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DATASET_SCAN_H
#define RC_DATASET_SCAN_H

#include "worker/run_worker.h"

/* A batch ends with the stream's batch_size, or with this many bytes. */
#define RC_BATCH_BYTES		(8 * 1024 * 1024)

/* A line that did not become a record. */
typedef struct RcBadLine
{
	RcRecord	record;			/* its bytes as value */
	char	   *error;
} RcBadLine;

/* Records read but not yet safe. */
typedef struct RcBatch
{
	RcRecord   *records;
	RcKnownRecord *memory;		/* of each record */
	int			n;
	int			max;
	RcRecord   *to_send;		/* those of them that are handed on */
	int		   *place;			/* where each stands in records */
	int			n_to_send;
	Size		bytes;
	int			lines;
	List	   *bad;			/* of RcBadLine * */
	char	   *cursor;			/* of its last record that has one */
	char	  **cursors;		/* the same up to each record */
	int			nseen;			/* records noted as met by a full pass */
	bool		withdrawal;		/* records without a value */
	RcHeader	headers[3];
} RcBatch;

/* A pass over the dataset, or over what is new in it. */
typedef struct RcScan
{
	RcRun	   *run;
	RcSourceState *state;
	const RcTransform *transform;
	RcFieldKind kind;			/* of the cursor field */
	char	   *stored_cursor;	/* as in source_state; NULL: none */
	char	   *max_cursor;		/* no cursor of a time goes beyond this date */
	char	   *last_cursor;	/* of the line before; NULL: none */
	bool		ordered;		/* the API kept the order that was asked for */
	int64		received;
	int64		unreadable;		/* of those: they are no JSON object */
	int			bad_in_row;		/* of those: the latest, which are no record */
	int64		expected;
	int64		before;			/* what the API counts, before and after */
	int64		after;
	TimestampTz reported_at;
	int64		reported;		/* records, when progress was told last */
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
extern void rc_bad_lines_buried(RcScan *scan, List *refused);

#endif							/* RC_DATASET_SCAN_H */
