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
	RcMemory   *memory;			/* of each record */
	int			n;
	int			max;
	RcRecord   *news;			/* those of them that are handed on */
	int		   *place;			/* where each stands in records */
	int			nnews;
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
typedef struct RcPass
{
	RcRun	   *run;
	RcSourceState *state;
	const RcTransform *transform;
	RcFieldKind kind;			/* of the cursor field */
	char	   *stored_cursor;	/* as in source_state; NULL: none */
	char	   *horizon;		/* no cursor of a time goes beyond this date */
	char	   *last_cursor;	/* of the line before; NULL: none */
	bool		ordered;		/* the API kept the order that was asked for */
	int64		received;
	int64		unreadable;		/* of those: they are no JSON object */
	int			bad_in_row;		/* of those: the latest, which are no record */
	int64		expected;
	int64		before;			/* what the API counts, before and after */
	int64		after;
	TimestampTz told_at;
	int64		told;			/* records, when progress was told last */
	RcBatch		batch;
} RcPass;

/* dataset_scan.c */
extern void rc_pass_begin_batch(RcPass *pass);
extern void rc_pass_flush(RcPass *pass, bool at_end);
extern void rc_pass_tell(RcPass *pass, bool end);

/* scan_line.c */
extern void rc_pass_add_line(RcPass *pass, const char *line, size_t len,
							 bool may_be_half);
extern void rc_pass_add_withdrawn(RcPass *pass, const RcRecord *record);

/* scan_withdraw.c */
extern void rc_pass_withdraw(RcPass *pass);

/* run_extract_count.c */
extern bool rc_pass_count_differs(RcPass *pass, const RcDatasetInfo *info);
extern void rc_pass_note_surplus(RcPass *pass, const RcDatasetInfo *info);
extern void rc_pass_check_count(RcPass *pass, const RcReadRange *range);

/* scan_bad_line.c */
extern void rc_bad_lines_begin(RcRun *run);
extern void rc_bad_line_add(RcPass *pass, const char *line, size_t len,
							const RcTransformed *made, const char *error);
extern void rc_bad_lines_check(RcPass *pass);
extern void rc_bad_lines_drop(RcPass *pass);
extern int	rc_bad_lines_bury(RcPass *pass, List *refused);
extern void rc_bad_lines_buried(RcPass *pass, List *refused);

#endif							/* RC_DATASET_SCAN_H */
