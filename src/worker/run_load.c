/*-------------------------------------------------------------------------
 *
 * run_load.c
 *	  The task "load": waits until the source's stream has applied what the
 *	  run published, or, if no stream worker is running, applies it here.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/destination_topic.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Interval of polling the stream's offsets, in ms. */
#define POLL_INTERVAL_MS	50

/* How long to wait for a stream that makes no progress, in ms. */
#define STREAM_TIMEOUT_MS	30000

/* State of the wait for a stream. */
typedef struct Wait
{
	TimestampTz began;
	TimestampTz since;			/* last progress */
	int64		offset_sum;		/* sum of its offsets then */
	char	   *error_text;		/* what it waits for, as last reported; NULL:
								 * nothing */
	char	   *detail;
	char	   *hint;
	int			sqlstate;
	bool		failed;			/* failed, not just waiting */
} Wait;

static void add_left_behind(RcTopicDestination *topic);
static void wait_for_stream(RcTopicDestination *topic);
static void check_stream(RcRun *run, bool worked, Wait *wait);
static void read_stream_state(RcRun *run, const RcStream *stream, Wait *wait);
static void note_progress(const char *stream, Wait *wait);
static void keep_text(MemoryContext context, char **kept, const char *text);
pg_noreturn static void raise_stream_error(RcRun *run, const RcStream *stream,
										   const Wait *wait);
static void check_topics(const RcRun *run, const RcStream *stream);
static bool can_consume(const RcRun *run);
pg_noreturn static void raise_no_worker(RcRun *run);
static void consume_here(RcTopicDestination *topic);

/*
 * Wait for the stream, or do its work.  Raises an error if the stream was
 * deleted, paused, has failed, or makes no progress.
 */
void
rc_topic_load(RcDestination *destination)
{
	RcTopicDestination *topic = (RcTopicDestination *) destination;
	RcRun	   *run = destination->run;

	if (topic->recreated)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" was re-created, but stream \"%s\" still has offsets of the old topic",
						run->source->topic, run->stream->name),
				 errdetail("All records are published to the new topic; none of them is applied yet."),
				 errhint("SELECT rc_seek('%s', 'earliest').",
						 run->stream->name)));
	add_left_behind(topic);
	if (topic->end_offsets == NIL)
		return;
	check_topics(run, run->stream);
	rc_lock_mark(RC_WORKER_STREAM, run->stream->name, true);
	PG_TRY();
	{
		wait_for_stream(topic);
	}
	PG_FINALLY();
	{
		rc_lock_unmark(RC_WORKER_STREAM, run->stream->name, true);
	}
	PG_END_TRY();
}

/* Wait until the stream has passed the offsets that were published. */
static void
wait_for_stream(RcTopicDestination *topic)
{
	RcRun	   *run = topic->base.run;
	bool		woken = false;
	Wait		wait = {0};

	wait.began = wait.since = GetCurrentTimestamp();
	for (;;)
	{
		bool		reached;
		bool		worked;

		rc_transaction_begin_in(run->batch_context);
		reached = rc_end_offsets_reached(run->stream->name, topic->end_offsets);
		worked = rc_stream_has_worker(run->stream);
		if (!reached)
			check_stream(run, worked, &wait);
		if (worked && !woken)
		{
			/* it may be waiting for the topic, which this run has created */
			rc_wake_stream(run->stream->name, run->stream->workers);
			woken = true;
		}
		rc_transaction_commit();
		MemoryContextReset(run->batch_context);

		if (reached)
			return;
		if (worked || !can_consume(run))
			rc_worker_wait(POLL_INTERVAL_MS);
		else
			consume_here(topic);
	}
}

/*
 * If the previous run did not succeed, it may have published records that are
 * not applied yet, and that this run has not published again.  Then wait for
 * everything in the topic.
 */
static void
add_left_behind(RcTopicDestination *topic)
{
	RcRun	   *run = topic->base.run;
	bool		whole;

	rc_transaction_begin();
	whole = rc_run_last_succeeded(run->source->name, run->id);
	rc_transaction_commit();
	if (whole)
		return;

	/* released by rc_run_release() if this fails */
	rc_topic_connect(topic);
	topic->end_offsets = rc_stream_end_offsets(run->stream, run->source->topic,
											   topic->producer);
	rc_kafka_close(topic->producer);
	topic->producer = NULL;
}

/*
 * Raise an error if the stream will not get there: it was deleted or paused,
 * does not read the topic any more, or has made no progress for some time and
 * reported why.  A reason reported by an earlier attempt does not count: the
 * cause may have been fixed.
 */
static void
check_stream(RcRun *run, bool worked, Wait *wait)
{
	RcStream   *stream = rc_stream_load(run->stream->name);
	bool		scheduled;

	if (stream == NULL || stream->paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 stream ?
				 errmsg("stream \"%s\" is paused", run->stream->name) :
				 errmsg("stream \"%s\" no longer exists",
						run->stream->name)));
	check_topics(run, stream);
	scheduled = rc_worker_alive(RC_WORKER_SCHEDULER, "", 0);
	if (!worked && !can_consume(run))
	{
		/* only the scheduler can start a worker of it */
		if (!scheduled)
			raise_no_worker(run);
		if (rc_stream_retry(stream->name))
			rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	}
	note_progress(stream->name, wait);
	read_stream_state(run, stream, wait);
	if (wait->error_text != NULL && rc_time_passed(wait->since, STREAM_TIMEOUT_MS))
		raise_stream_error(run, stream, wait);
}

/* Note whether the stream has made progress since the last poll. */
static void
note_progress(const char *stream, Wait *wait)
{
	ListCell   *lc;
	int64		offset_sum = 0;

	foreach(lc, rc_offsets_load(stream))
		offset_sum += ((RcOffset *) lfirst(lc))->next_offset;
	if (offset_sum == wait->offset_sum)
		return;
	wait->offset_sum = offset_sum;
	wait->since = GetCurrentTimestamp();
	keep_text(NULL, &wait->error_text, NULL);
}

/*
 * Read the stream's state.  A failure since the wait began is final.  The
 * reason of a wait is kept, because each retry sets the state to running for a
 * moment.
 */
static void
read_stream_state(RcRun *run, const RcStream *stream, Wait *wait)
{
	RcStreamError *error = rc_stream_error(stream->name, wait->began);

	if (error != NULL)
	{
		wait->failed = error->failed;
		wait->sqlstate = error->sqlstate;
		keep_text(run->context, &wait->error_text, error->error_text);
		keep_text(run->context, &wait->detail, error->detail);
		keep_text(run->context, &wait->hint, error->hint);
	}
	if (wait->failed)
		raise_stream_error(run, stream, wait);
}

/* Replace a text by a copy of another one; NULL: none. */
static void
keep_text(MemoryContext context, char **kept, const char *text)
{
	if (*kept != NULL)
		pfree(*kept);
	*kept = text ? MemoryContextStrdup(context, text) : NULL;
}

static void
raise_stream_error(RcRun *run, const RcStream *stream, const Wait *wait)
{
	/* the stream's error may be shown to its owner only */
	if (!rc_may_act_for(run->source->owner, stream->owner))
		ereport(ERROR,
				(errcode(wait->sqlstate),
				 wait->failed ? errmsg("stream \"%s\" has failed", stream->name) :
				 errmsg("stream \"%s\" is waiting and makes no progress", stream->name),
				 errhint("Ask the stream's owner to look at the error in rappel_conso.stream_state.")));
	ereport(ERROR,
			(errcode(wait->sqlstate),
			 wait->failed ? errmsg("stream \"%s\" has failed: %s", stream->name,
								   wait->error_text) :
			 errmsg("stream \"%s\" is waiting and makes no progress: %s", stream->name,
					wait->error_text),
			 wait->detail ? errdetail_internal("%s", wait->detail) : 0,
			 wait->hint ? errhint("%s", wait->hint) :
			 errhint("See rc_status() for what the stream waits for; it applies the published records when it resumes.")));
}

/* Raise an error unless the stream reads the source's topic. */
static void
check_topics(const RcRun *run, const RcStream *stream)
{
	if (!rc_stream_reads(stream, run->source->topic))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" does not read topic \"%s\" of source \"%s\"",
						run->stream->name, run->source->topic,
						run->source->name),
				 errhint("Add the topic to the stream's column \"topics\", or set the source's column \"stream\" to null.")));
}

/*
 * Whether this process may consume the stream: it is connected as the stream's
 * owner.
 */
static bool
can_consume(const RcRun *run)
{
	return run->stream->owner == run->source->owner;
}

static void
raise_no_worker(RcRun *run)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no worker of stream \"%s\" is running", run->stream->name),
			 errdetail("The run cannot apply the records itself, because source \"%s\" has another owner.",
					   run->source->name),
			 errhint("Call rc_start().")));
}

/*
 * No worker of the stream is running: consume it here, holding the locks of
 * all its workers.  After an error they are released, since another process
 * may do better while this run waits for its retry.
 */
static void
consume_here(RcTopicDestination *topic)
{
	const RcStream *stream = topic->base.run->stream;
	RcCounts	counts = {0};

	if (!rc_stream_lock_all(stream))
		return;
	PG_TRY();
	{
		rc_stream_consume(topic->consumer, stream->name, -1, topic->end_offsets,
						  false, &counts);
	}
	PG_FINALLY();
	{
		rc_stream_unlock_all(stream);
		rc_wake_now(RC_WORKER_SCHEDULER, "", 0);
	}
	PG_END_TRY();
}
