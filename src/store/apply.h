/*-------------------------------------------------------------------------
 *
 * apply.h
 *	  A batch to tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_APPLY_H
#define RC_APPLY_H

#include "record.h"
#include "store/dead_letter.h"
#include "store/run_table.h"
#include "store/stream_table.h"

/* With so many records behind it at least a record that failed is tried. */
#define RC_PROOF_RECORDS	100

typedef struct RcApplier RcApplier;

/* Records of a batch that belong to one run. */
typedef struct RcPart
{
	int			n;
	int64		run;			/* that handed them on; 0: none */
	int			applied;		/* so many of them, from the first on */
	RcCounts	counts;			/* what became of those */
} RcPart;

/* What the error that a batch has left means for its stream. */
typedef enum RcOutcome
{
	RC_OUTCOME_CODE,			/* what its SQLSTATE says */
	RC_OUTCOME_WAITS,			/* may pass: the same batch again */
	RC_OUTCOME_FAILED			/* would fail for all records */
} RcOutcome;

extern RcApplier *rc_applier_open(const RcStream *stream);
extern void rc_applier_close(RcApplier *applier);
extern void rc_applier_retry(RcApplier *applier, RcDeadLetter *letters);
extern int	rc_apply(RcApplier *applier, const RcRecord *records,
					 RcPart *parts, int nparts);
extern int	rc_applier_proof_records(const RcApplier *applier);
extern bool rc_applier_undecided(const RcApplier *applier,
								 const RcRecord **at);
extern void rc_applier_check(RcApplier *applier, bool at_end, bool sought);
extern bool rc_applier_error_is_transient(const RcApplier *applier,
										  const ErrorData *error);

#endif							/* RC_APPLY_H */
