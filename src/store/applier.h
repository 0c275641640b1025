/*-------------------------------------------------------------------------
 *
 * applier.h
 *	  A stream being applied: what apply.c, which decides what is tried, and
 *	  statement_run.c, which tries it, share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_APPLIER_H
#define RC_APPLIER_H

#include "store/store.h"

/* How far a try has come: it says whose fault an error can be. */
typedef enum RcPhase
{
	RC_PHASE_DECODE,
	RC_PHASE_PREPARE,			/* parse, plan, start the executor */
	RC_PHASE_EXECUTE
} RcPhase;

/* Whose fault an error is. */
typedef enum RcFault
{
	RC_FAULT_NO_RECORD,			/* no record's: the batch waits */
	RC_FAULT_RECORD,			/* it speaks of data */
	RC_FAULT_UNPROVEN			/* a record's, if a later one is applied */
} RcFault;

/* A kept plan for batches of about one size. */
typedef struct RcSizedPlan
{
	SPIPlanPtr	plan;
	uint64		uses;
	uint64		replan_at;
} RcSizedPlan;

struct RcApplier
{
	const RcStream *stream;
	MemoryContext context;		/* lives as long as the applier */

	/* statement_run.c */
	MemoryContext range_context;	/* of one try */
	RcDecoder  *decoder;
	RcSizedPlan small;
	RcSizedPlan full;
	int			decoding;		/* record that a try was decoding last */
	RcPhase		phase;			/* how far the last try has come */

	/* apply.c: from one batch to the next */
	RcDeadLetter *letters;		/* they are tried again; NULL: no */
	int			size;			/* of the next range; 0: what is there */
	int			passed;			/* ranges of this size, in a row */
	int			dead_in_row;
	bool		reported;		/* of statements that meet a row twice */

	/*
	 * apply.c: proof is looked for in more than one transaction.  So many
	 * records have failed, of which this is the first; 0: none.
	 */
	MemoryContext search_context;
	int			searched;
	char	   *search_topic;
	int32		search_partition;
	int64		search_offset;
	int			search_code;
	char	   *search_message;
	int			search_dead_in_row; /* before it */

	/* apply.c: what the last batch has left */
	int			tail_length;	/* records that nothing is proven of; 0: none */
	const RcRecord *tail_record;	/* the first of them */
	bool		tail_failed;	/* so many that the stream has failed */
	int			tail_code;
	char	   *tail_message;
	RcOutcome	outcome;		/* of the error that was thrown */
};

extern void rc_statement_prepare(RcApplier *applier);
extern void rc_statement_forget(RcApplier *applier);
extern ErrorData *rc_statement_try(RcApplier *applier,
								   const RcRecord *records, int n,
								   bool probe, RcCounts *counts);

/* statement_result.c */
typedef struct RcResult RcResult;

extern RcResult *rc_result_make(const RcStream *stream);
extern DestReceiver *rc_result_receiver(RcResult *result);
extern void rc_result_rows(RcResult *result, uint64 rows);
extern void rc_result_finish(RcResult *result, RcCounts *counts);

/* user_sql.c */
extern void rc_user_sql_begin(const char *sql);
extern void rc_user_sql_end(void);
extern void rc_user_sql_search_path(const RcStream *stream);
extern void rc_user_sql_fire_deferred(void);
extern bool rc_user_sql_explain(const RcStream *stream, const char *sql,
								ErrorData *error);

/* error_class.c */
extern RcFault rc_error_fault(const ErrorData *error);

#endif							/* RC_APPLIER_H */
