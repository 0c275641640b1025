/*-------------------------------------------------------------------------
 *
 * apply.h
 *	  Applies batches of records to tables by a stream's statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_APPLY_H
#define RC_APPLY_H

#include "record.h"
#include "store/dead_letter.h"
#include "store/run_table.h"
#include "store/stream_table.h"

/* Lower bound of rc_applier_proof_records(). */
#define RC_PROOF_RECORDS	100

typedef struct RcApplier RcApplier;

/* Records of a batch that belong to one run. */
typedef struct RcPart
{
	int			n;
	int64		run;			/* that sent them; 0: none */
	int			applied;		/* number of those dealt with, from the first */
	RcCounts	counts;			/* results of those */
} RcPart;

/*
 * How the stream treats the error that rc_apply() or rc_applier_check()
 * raised.
 */
typedef enum RcOutcome
{
	RC_OUTCOME_CODE,			/* decided by its SQLSTATE */
	RC_OUTCOME_WAITS,			/* transient: retry the batch */
	RC_OUTCOME_FAILED			/* permanent: the stream has failed */
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
