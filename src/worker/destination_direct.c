/*-------------------------------------------------------------------------
 *
 * destination_direct.c
 *	  Direct mode: applies the records of a run to the source's own stream,
 *	  without Kafka, in the commit that advances the cursor past them.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run_worker.h"

typedef struct RcDirectDestination
{
	RcDestination base;
	RcApplier  *applier;		/* NULL: not open */
} RcDirectDestination;

static void check_stream(RcRun *run);

static RcDestination *
direct_make(RcRun *run)
{
	RcDirectDestination *direct = palloc0(sizeof(RcDirectDestination));

	direct->base.id = "direct";
	return &direct->base;
}

static void
direct_check(const RcDestination *destination)
{
	RcRun	   *run = destination->run;

	if (run->stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" has no stream to load in direct mode", run->source->name),
				 errhint("Set the source's column \"stream\", or configure Kafka brokers.")));
	if (run->stream->owner != run->source->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("source \"%s\" and stream \"%s\" have different owners",
						run->source->name, run->stream->name),
				 errhint("In direct mode one process does the work of both: make one role the owner of both.")));
}

/* Check grants, run the stream's setup, and open its statement. */
static void
direct_open(RcDestination *destination)
{
	RcDirectDestination *direct = (RcDirectDestination *) destination;
	RcStream   *stream = destination->run->stream;

	rc_transaction_begin();
	rc_check_grants(stream->owner, stream->owner_name, NIL,
					stream->output_topic, stream->name);
	(void) rc_applier_setup(stream);
	rc_transaction_commit();
	direct->applier = rc_applier_open(stream);
}

/* The rows belong to the user: deleted ones are not loaded again. */
static bool
direct_holds(RcDestination *destination)
{
	return true;
}

/* Apply the records, or the first part of them; see rc_apply(). */
static void
direct_commit(RcDestination *destination, RcSending *sending)
{
	RcDirectDestination *direct = (RcDirectDestination *) destination;
	RcRun	   *run = destination->run;
	RcPart		part = {0};

	check_stream(run);
	rc_source_fence(run->source, destination->id, sending->state);
	part.n = part.applied = sending->n;
	part.run = run->id;
	(void) rc_apply(direct->applier, sending->records, &part, 1);
	sending->safe = part.applied;
	sending->counts = part.counts;
}

/*
 * Raise an error if the stream was changed or paused since the run loaded it:
 * no stream worker exists in direct mode that would notice.
 */
static void
check_stream(RcRun *run)
{
	RcStream   *now = rc_stream_load(run->stream->name);

	if (now != NULL && strcmp(now->version, run->stream->version) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("stream \"%s\" was changed while source \"%s\" was being read",
					run->stream->name, run->source->name),
			 errdetail("Rows that were committed before are kept; the next run resumes from there.")));
}

/* Undecided records (see rc_apply()) are kept for the next batch. */
static bool
direct_needs_more(RcDestination *destination, bool at_end)
{
	RcDirectDestination *direct = (RcDirectDestination *) destination;

	rc_applier_check(direct->applier, at_end, false);
	return rc_applier_undecided(direct->applier, NULL);
}

static bool
direct_error_is_transient(const RcDestination *destination, const ErrorData *error)
{
	RcApplier  *applier = ((const RcDirectDestination *) destination)->applier;

	return applier != NULL ? rc_applier_error_is_transient(applier, error) :
		rc_error_is_transient(error->sqlerrcode);
}

static void
direct_close(RcDestination *destination)
{
	RcDirectDestination *direct = (RcDirectDestination *) destination;

	if (direct->applier != NULL)
		rc_applier_close(direct->applier);
	direct->applier = NULL;
}

const RcDestinationClass rc_direct_class = {
	.name = "direct",
	.ahead_of_commit = false,
	.takes_fields = true,
	.make = direct_make,
	.check = direct_check,
	.open = direct_open,
	.holds = direct_holds,
	.commit = direct_commit,
	.needs_more = direct_needs_more,
	.is_transient = direct_error_is_transient,
	.close = direct_close,
};
