/*-------------------------------------------------------------------------
 *
 * apply_batch.h
 *	  A batch under way: what apply.c, which tries ranges of it, and
 *	  apply_failure.c, which keeps what failed, share.
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

/* A batch under way. */
typedef struct RcBatch
{
	RcApplier  *applier;
	const RcRecord *records;
	int			n;
	int			at;				/* what is before it has been tried */
	RcPart	   *part;			/* that "at" is in */
	int			part_end;
	int			bad;			/* known not to be decodable; -1: none */
	ErrorData  *bad_error;
	List	   *failures;		/* of RcFailure *, that nothing is proven of;
								 * the first one needs proof */
	int			unconfirmed;	/* those of them that failed but once */
	int			probed;			/* a record before this one could be applied
								 * after those before it had failed */
	int			dead_in_row;	/* when the first of them failed */
	TimestampTz bisecting_since;	/* in this transaction; 0: nothing was */
	int			repeats;		/* ranges that met a row twice */
} RcBatch;

extern void rc_batch_record_failed(RcBatch *batch, ErrorData *error);
extern void rc_batch_settle(RcBatch *batch);
extern int	rc_batch_decided(const RcBatch *batch);
extern void rc_batch_resume_search(RcBatch *batch);
extern void rc_batch_note_tail(RcBatch *batch);

#endif							/* RC_APPLY_BATCH_H */
