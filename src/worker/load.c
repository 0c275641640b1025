/*-------------------------------------------------------------------------
 *
 * load.c
 *	  The task that ends when the source's stream has applied what the run
 *	  has published.
 *
 * Where a stream worker runs it only waits for it; else it does its work.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"

/* How often the stream's offsets are looked at, in ms. */
#define LOOK_INTERVAL	50

static void add_left_behind(RcRun *run);
static void check_stream(RcRun *run, bool worked);
static void check_topics(RcRun *run);
static void consume_here(RcRun *run);

/*
 * Wait for the stream, or do its work.  Errors: those of the stream when it
 * is paused or failed.
 */
void
rc_run_load(RcRun *run)
{
	bool		woken = false;

	if (run->topic_anew)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" was made anew, and stream \"%s\" stands in the old one",
						run->source->topic, run->stream->name),
				 errdetail("Everything is published in it again; nothing of that is applied yet."),
				 errhint("SELECT rc_seek('%s', 'earliest').",
						 run->stream->name)));
	add_left_behind(run);
	if (run->targets == NIL)
		return;
	check_topics(run);
	for (;;)
	{
		bool		reached;
		bool		worked;

		rc_transaction_begin();
		MemoryContextSwitchTo(run->batch_context);
		reached = rc_targets_reached(run->stream->name, run->targets);
		worked = rc_stream_worked(run->stream);
		if (!reached)
			check_stream(run, worked);
		if (worked && !woken)
		{
			/* it may wait for the topic that this run has made */
			for (int i = 0; i < run->stream->workers; i++)
				rc_wake_at_commit(RC_WORKER_STREAM, run->stream->name, i);
			woken = true;
		}
		rc_transaction_commit();
		MemoryContextSwitchTo(run->context);
		MemoryContextReset(run->batch_context);

		if (reached)
			return;
		if (worked)
			rc_worker_wait(LOOK_INTERVAL);
		else
			consume_here(run);
	}
}

/*
 * A run that did not come to its end may have published what nobody has
 * applied since, and its records are not published again: then everything in
 * the topic is awaited.
 */
static void
add_left_behind(RcRun *run)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		whole;

	rc_transaction_begin();
	rc_param_text(&params, run->source->name);
	rc_param_int8(&params, run->id);
	rc_query_begin(&scope);
	whole = rc_query("SELECT state = 'success' FROM rappel_conso.run"
					 " WHERE source = $1 AND id < $2"
					 " ORDER BY id DESC LIMIT 1", &params) == 0 ||
		rc_column_bool(0, 1);
	rc_query_end(&scope);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);
	if (whole)
		return;

	/* released with what the task holds abroad if this fails */
	rc_run_open_kafka(run);
	run->targets = rc_stream_ends(run->stream, run->source->topic,
								  run->producer);
	rc_kafka_close(run->producer);
	run->producer = NULL;
}

/* A stream that will not get there is an error of the run. */
static void
check_stream(RcRun *run, bool worked)
{
	RcQueryScope scope;
	RcStream   *stream = rc_stream_load(run->stream->name);
	RcParams	params = {0};

	if (stream == NULL || stream->paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg(stream ? "stream \"%s\" is paused" :
						"stream \"%s\" does not exist any more",
						run->stream->name)));

	/*
	 * Without a scheduler nobody tries it again but we; and a try that is
	 * under way or due may succeed.
	 */
	if (worked ||
		rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0) == 0)
		return;
	rc_param_text(&params, stream->name);
	rc_query_begin(&scope);
	if (rc_query("SELECT sqlstate, error, error_detail, hint"
				 " FROM rappel_conso.stream_state"
				 " WHERE stream = $1 AND state = 'failed'"
				 " AND " RC_RETRY_IS_DUE_LATER("stream_state"), &params) == 1)
	{
		char	   *code = rc_column_text(0, 1);
		char	   *detail = rc_column_text(0, 3);
		char	   *hint = rc_column_text(0, 4);

		/* its words are for its owner, not for who reads the run's */
		if (!rc_may_act_for(run->source->owner, stream->owner))
			ereport(ERROR,
					(errcode(MAKE_SQLSTATE(code[0], code[1], code[2], code[3],
										   code[4])),
					 errmsg("stream \"%s\" has failed", stream->name),
					 errhint("Its owner sees the error in rappel_conso.stream_state.")));
		ereport(ERROR,
				(errcode(MAKE_SQLSTATE(code[0], code[1], code[2], code[3],
									   code[4])),
				 errmsg("stream \"%s\" has failed: %s", stream->name,
						rc_column_text(0, 2)),
				 detail ? errdetail_internal("%s", detail) : 0,
				 hint ? errhint("%s", hint) : 0));
	}
	rc_query_end(&scope);
}

/* The stream must read what the source publishes. */
static void
check_topics(RcRun *run)
{
	ListCell   *lc;

	foreach(lc, run->stream->topics)
	{
		if (strcmp((char *) lfirst(lc), run->source->topic) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("stream \"%s\" does not read topic \"%s\" of source \"%s\"",
					run->stream->name, run->source->topic, run->source->name),
			 errhint("Add the topic to the stream's column \"topics\", or set the source's column \"stream\" to null.")));
}

/* Nobody works for the stream: take the places of all its workers. */
static void
consume_here(RcRun *run)
{
	RcCounts	counts = {0};

	if (run->stream->owner != run->source->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no worker of stream \"%s\" runs", run->stream->name),
				 errdetail("The run cannot do its work, since source \"%s\" has another owner.",
						   run->source->name),
				 errhint("Call rc_start().")));
	if (!rc_stream_take(run->stream))
		return;
	rc_stream_consume(run->stream->name, -1, run->targets, false, &counts);
	rc_stream_give(run->stream);
}
