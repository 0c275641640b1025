/*-------------------------------------------------------------------------
 *
 * apply_batch.h
 *	  A batch being applied, shared by apply.c, which chooses ranges of it,
 *	  and apply_failure.c, which keeps the records that failed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_APPLY_BATCH_H
#define RC_APPLY_BATCH_H

#include "store/applier.h"
#include "store/apply.h"

/* A record that failed alone. */
typedef struct RcFailure
{
	int			at;
	RcPart	   *part;
	int			part_end;
	ErrorData  *error;
} RcFailure;

/* A batch being applied.  Records are named by their index in it. */
typedef struct RcBatch
{
	RcApplier  *applier;
	const RcRecord *records;
	int			n;
	int			at;				/* next record to apply */
	RcPart	   *part;			/* contains "at" */
	int			part_end;
	int			bad;			/* record that does not decode; -1: none */
	ErrorData  *bad_error;
	List	   *failures;		/* undecided RcFailure *; the first one's
								 * error is RC_FAULT_UNPROVEN */
	int			unconfirmed;	/* those of them that have failed only once */
	int			probed;			/* index after the record that succeeded when
								 * those before it had failed */
	int			dead_in_row;	/* when the first of "failures" failed */
	TimestampTz bisecting_since;	/* in this transaction; 0: no range has
									 * failed */
	bool	   *dead;			/* records that became dead letters */
	int			repeats;		/* ranges that changed a row twice */
} RcBatch;

extern void rc_batch_record_failed(RcBatch *batch, ErrorData *error);
extern void rc_batch_settle(RcBatch *batch);
extern int	rc_batch_decided(const RcBatch *batch);
extern void rc_batch_resume_search(RcBatch *batch);
extern void rc_batch_note_tail(RcBatch *batch);

#endif							/* RC_APPLY_BATCH_H */
