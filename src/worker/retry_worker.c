/*-------------------------------------------------------------------------
 *
 * retry_worker.c
 *	  Workers that do one thing for a stream and end: rc_retry() and
 *	  rc_drain().  They are connected as the stream's owner, whose statement
 *	  they run.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_share.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "kafka/kafka.h"

/* Dead letters in one transaction. */
#define RETRY_BATCH		500

/* How often offsets are looked at, in ms. */
#define LOOK_INTERVAL	50

/* A drain wakes the stream's workers at so many looks. */
#define WAKE_EVERY		10

static RcStream *begin(RcWorkerArgs *args, const char *verb);
static RcStream *load_stream(const char *name);
static bool retry_some(RcStream *stream, RcApplier *applier, int64 id,
					   int64 *after, RcCounts *counts);
static void check_still_read(const char *name, List *targets);
static void get_totals(RcStream *stream, RcCounts *counts);

/* Connect, and load the stream. */
static RcStream *
begin(RcWorkerArgs *args, const char *verb)
{
	MemoryContext context;

	rc_queue_attach(args->segment);
	rc_cancel_ends_worker = true;
	rc_worker_connect(args, psprintf("rappel_conso %s %s", verb, args->name));
	rc_share_check();
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso verb",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	rc_statement_expect();
	return load_stream(args->name);
}

static RcStream *
load_stream(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	RcStream   *stream = NULL;

	rc_transaction_begin_in(context);
	if (rc_extension_present())
		stream = rc_stream_load(name);
	rc_transaction_commit();
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" does not exist", name)));
	return stream;
}

/*
 * Entry point of a retry: dead letters of a stream through its statement as
 * it is now, at their original places.
 */
void
rc_retry_main(Datum arg)
{
	RcWorkerArgs *args = rc_worker_args();
	RcStream   *stream = begin(args, "retry");
	RcApplier  *applier;
	RcCounts	counts = {0};
	int64		values[3];
	int64		after = 0;

	if (!rc_lock_take(RC_WORKER_RETRY, args->name, 0))
	{
		rc_queue_send_busy();
		proc_exit(0);
	}
	rc_transaction_begin();
	rc_check_grants(stream->owner, stream->owner_name, stream->topics,
					stream->output_topic, stream->name);
	(void) rc_applier_setup(stream);
	rc_transaction_commit();
	applier = rc_applier_open(stream);
	rc_transaction_begin();
	counts.fetched = rc_dead_letter_supersede(stream, args->id);
	rc_transaction_commit();
	while (retry_some(stream, applier, args->id, &after, &counts))
		CHECK_FOR_INTERRUPTS();
	if (args->id > 0 && counts.fetched == 0)
		rc_dead_letter_missing(stream->name, args->id);

	values[0] = counts.fetched;
	values[1] = counts.fetched - counts.dead;
	values[2] = counts.dead;
	rc_queue_send_end(values, lengthof(values));
	proc_exit(0);
}

/*
 * The next dead letters, in one transaction; false if there was none.  It can
 * be that none of them was done in time.
 */
static bool
retry_some(RcStream *stream, RcApplier *applier, int64 id, int64 *after,
		   RcCounts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext batch = AllocSetContextCreate(context, "rappel_conso retry",
												ALLOCSET_DEFAULT_SIZES);
	RcDeadLetter *letters;
	RcRecord   *records;
	RcPart		part = {0};
	int64	   *resolved;
	int			nresolved = 0;
	int			n;
	bool		any;

	rc_transaction_begin_in(batch);
	letters = rc_dead_letters(stream, id, *after, RETRY_BATCH, &n);
	records = palloc(sizeof(RcRecord) * (n + 1));
	resolved = palloc(sizeof(int64) * (n + 1));
	for (int i = 0; i < n; i++)
		records[i] = letters[i].record;
	any = (n > 0);
	if (any)
	{
		part.n = n;
		rc_applier_retry(applier, letters);
		n = rc_apply(applier, records, &part, 1);
		rc_applier_retry(applier, NULL);
		if (n > 0)
			*after = letters[n - 1].id;
	}
	for (int i = 0; i < n; i++)
	{
		if (!letters[i].still_dead)
			resolved[nresolved++] = letters[i].id;
	}
	if (nresolved > 0)
		rc_dead_letter_resolve(resolved, nresolved);
	if (stream->output_topic)
		rc_wake_at_commit(RC_WORKER_OUTBOX, "", 0);
	rc_transaction_commit();
	part.counts.fetched = n;
	rc_counts_add(counts, &part.counts);
	if (n > 0)
		ereport(NOTICE,
				(errmsg("stream \"%s\": %d dead letters retried, %lld still dead",
						stream->name, n, (long long) part.counts.dead)));
	MemoryContextSwitchTo(context);
	MemoryContextDelete(batch);
	return any;
}

/*
 * Entry point of a drain: everything up to the ends of the partitions as they
 * are now, by the stream's workers where they run, else here.
 */
void
rc_drain_main(Datum arg)
{
	RcWorkerArgs *args = rc_worker_args();
	RcStream   *stream = begin(args, "drain");
	MemoryContext context = CurrentMemoryContext;
	RcCounts	counts = {0};
	RcCounts	before;
	RcCounts	after;
	RcKafka    *kafka;
	List	   *targets;
	int64		values[5];
	int			looks = 0;
	MemoryContext look_context = AllocSetContextCreate(context,
													   "rappel_conso look",
													   ALLOCSET_DEFAULT_SIZES);

	if (rc_kafka_brokers[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no Kafka to drain stream \"%s\" from",
						stream->name),
				 errhint("Set rappel_conso.kafka_brokers.")));
	rc_transaction_begin();
	rc_check_grants(stream->owner, stream->owner_name, stream->topics,
					stream->output_topic, stream->name);
	rc_transaction_commit();
	get_totals(stream, &before);
	MemoryContextSwitchTo(context);
	kafka = rc_kafka_open(RC_KAFKA_CONSUMER,
						  rc_client_id(psprintf("%s.drain", stream->name)),
						  NULL);
	targets = rc_stream_ends(stream, NULL, kafka);
	rc_kafka_close(kafka);

	rc_lock_mark(RC_WORKER_STREAM, stream->name, true);
	for (;;)
	{
		bool		reached;
		bool		worked;

		MemoryContextReset(look_context);
		rc_transaction_begin_in(look_context);
		reached = rc_targets_reached(stream->name, targets);
		if (!reached)
			check_still_read(stream->name, targets);
		worked = rc_stream_worked(stream);
		if (worked && looks++ % WAKE_EVERY == 0)
		{
			/* they may be past what holds no message, and not have said so */
			for (int i = 0; i < stream->workers; i++)
				rc_wake_at_commit(RC_WORKER_STREAM, stream->name, i);
		}
		rc_transaction_commit();
		if (reached)
			break;
		if (worked || !rc_stream_take(stream))
			rc_worker_wait(LOOK_INTERVAL);
		else
		{
			rc_stream_consume(stream->name, -1, targets, true, &counts);
			MemoryContextSwitchTo(context);
			rc_stream_give(stream);
		}
	}
	rc_stream_close();

	get_totals(stream, &after);
	values[0] = after.fetched - before.fetched;
	values[1] = after.inserted - before.inserted;
	values[2] = after.updated - before.updated;
	values[3] = Max(after.unchanged - before.unchanged, 0);
	values[4] = after.dead - before.dead;
	rc_queue_send_end(values, lengthof(values));
	proc_exit(0);
}

/* Whether the stream is still there, and reads what is to be drained. */
static void
check_still_read(const char *name, List *targets)
{
	RcStream   *stream = rc_stream_load(name);
	ListCell   *lc;

	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" does not exist any more", name)));
	foreach(lc, targets)
	{
		const RcTarget *target = (const RcTarget *) lfirst(lc);
		bool		read = false;
		ListCell   *topic;

		foreach(topic, stream->topics)
			read |= strcmp((char *) lfirst(topic), target->topic) == 0;
		if (!read)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("stream \"%s\" does not read topic \"%s\" any more",
							name, target->topic),
					 errhint("Call rc_drain() again for the topics that it reads now.")));
	}
}

/* What the stream has done so far, whoever did it. */
static void
get_totals(RcStream *stream, RcCounts *counts)
{
	rc_transaction_begin();
	rc_offset_totals(stream->name, counts);
	rc_transaction_commit();
}
