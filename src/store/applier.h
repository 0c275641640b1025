/*-------------------------------------------------------------------------
 *
 * applier.h
 *	  The state of a stream's statement between batches, shared by apply.c,
 *	  which chooses the ranges of records to apply, and statement_run.c, which
 *	  executes the statement over one range.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_APPLIER_H
#define RC_APPLIER_H

#include "store/store.h"

/*
 * The phase in which executing the statement failed.  It decides whether a
 * record can be at fault.
 */
typedef enum RcPhase
{
	RC_PHASE_DECODE,
	RC_PHASE_PREPARE,			/* parse, plan, start the executor */
	RC_PHASE_EXECUTE
} RcPhase;

/* Who is at fault for an error. */
typedef enum RcFault
{
	RC_FAULT_NO_RECORD,			/* no record: retry the batch */
	RC_FAULT_RECORD,			/* this record: an error of data */
	RC_FAULT_UNPROVEN			/* this record, if a later one succeeds */
} RcFault;

/* A saved plan, for batches of roughly one size. */
typedef struct RcSizedPlan
{
	SPIPlanPtr	plan;
	uint64		uses;
	uint64		replan_at;
	int			checked;		/* generation of the plan that "many" is of */
	bool		many;			/* multi_insert.c suits the statement */
} RcSizedPlan;

/* A statement and its plans. */
typedef struct RcPlans
{
	const char *sql;			/* NULL: there is no such statement */
	RcSizedPlan small;
	RcSizedPlan full;
} RcPlans;

struct RcApplier
{
	const RcStream *stream;
	MemoryContext context;		/* same lifetime as the applier */

	/* statement_run.c */
	MemoryContext range_context;	/* reset for each execution */
	RcDecoder  *decoder;
	RcPlans		plans;			/* of the stream's statement */
	int			decoding;		/* index of the record decoded last */
	RcPhase		phase;			/* reached by the last execution */

	/* statement_new.c */
	RcPlans		ask_new;		/* whether all rows are new */
	RcPlans		insert_new;		/* inserts them */
	bool		inserting_new;	/* in the last execution */

	/* apply.c: kept between batches */
	RcDeadLetter *letters;		/* being retried; NULL: none */
	int			size;			/* records per range; 0: unlimited */
	int			passed;			/* such ranges that succeeded in a row */
	int			dead_in_row;
	bool		reported;		/* report_repeats() has reported */

	/*
	 * apply_failure.c: a search for a record that can be applied, when it
	 * takes more than one transaction.  "searched" is the number of records
	 * that have failed so far, from the record at search_offset on; 0 when
	 * there is no such search.
	 */
	MemoryContext search_context;
	int			searched;
	char	   *search_topic;
	int32		search_partition;
	int64		search_offset;
	int			search_code;
	char	   *search_message;
	int			search_dead_in_row; /* dead_in_row before the search */

	/* apply_failure.c: undecided records of the last batch */
	int			tail_length;	/* their number; 0: none */
	const RcRecord *tail_record;	/* the first of them */
	bool		tail_failed;	/* enough of them to fail the stream */
	int			tail_code;
	char	   *tail_message;
	RcOutcome	outcome;		/* of the error that was raised */
};

extern void rc_statement_prepare(RcApplier *applier);
extern void rc_statement_forget(RcApplier *applier);
extern ErrorData *rc_statement_try(RcApplier *applier,
								   const RcRecord *records, int *n,
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
extern void rc_user_sql_finish(const RcStream *stream);
pg_noreturn extern void rc_user_sql_rethrow(const RcStream *stream, const char *sql,
											MemoryContext context);
extern bool rc_user_sql_explain(const RcStream *stream, const char *sql,
								ErrorData *error);

/* error_class.c */
extern RcFault rc_error_fault(const ErrorData *error);

#endif							/* RC_APPLIER_H */
