/*-------------------------------------------------------------------------
 *
 * stream_consumer.c
 *	  Consumes a stream: opens it, fetches its partitions, and looks for
 *	  changes of its definition between batches.
 *
 * Kafka is waited for with no transaction open.  A batch is applied in
 * stream_batch.c; what is done about records of which nothing is proven is
 * in stream_proof.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "run_header.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Every process looks by itself this often for what a wake-up would say. */
#define POLL_INTERVAL_MS		5000

/* How long a run waits until Kafka's group has its offsets, in ms. */
#define GROUP_TIMEOUT_MS		10000

static void consume(RcConsumption *c, List *end_offsets, RcCounts *counts);
static bool open_stream(RcStreamConsumer *consumer, const char *name,
						int number, bool even_paused);
static void close_stream(RcStreamConsumer *consumer);
static void wait_for_topic(RcConsumption *c);
static void report_table_made(const RcStream *stream);
static void open_kafka(RcStreamConsumer *consumer, const char *name,
					   int number);
static bool still_wanted(RcConsumption *c);
static bool definition_current(RcConsumption *c);
static bool granted(RcConsumption *c);
static bool apply_fetched(RcConsumption *c, RcRecord *records, int n,
						  RcCounts *counts, int *applied);
static void rest(RcKafka *kafka, long timeout_ms);
static bool idle(RcConsumption *c, bool at_end);
static bool passed(const RcConsumption *c, List *end_offsets);

/* A consumer of one stream, that lives as long as the process. */
RcStreamConsumer *
rc_stream_consumer_create(void)
{
	return MemoryContextAllocZero(TopMemoryContext, sizeof(RcStreamConsumer));
}

/*
 * Consume a stream until its definition changes, or, with targets, until all
 * of them have been applied.  "number" -1 means all partitions; even_paused
 * that a paused stream is consumed too.  Adds to *counts what was applied
 * (fetched: the records).  Errors: those of Kafka, and those of rc_apply();
 * nothing is lost by them.
 */
void
rc_stream_consume(RcStreamConsumer *consumer, const char *name, int number,
				  List *end_offsets, bool even_paused, RcCounts *counts)
{
	MemoryContext caller = CurrentMemoryContext;

	Assert(!IsTransactionState());
	Assert(number >= 0 || end_offsets != NIL);
	if (open_stream(consumer, name, number, even_paused))
		consume(consumer->current, end_offsets, counts);
	MemoryContextSwitchTo(caller);
}

/* Until what is open is not wanted any more, or all targets are passed. */
static void
consume(RcConsumption *c, List *end_offsets, RcCounts *counts)
{
	RcRecord   *records;
	bool		applied = false;

	records = palloc0(sizeof(RcRecord) *
					  (rc_applier_proof_records(c->applier) + c->n));

	for (;;)
	{
		int			n = rc_proof_wanted(c) ? rc_proof_fetch(c, records) :
			rc_consumer_fetch(c->kafka, records, c->stream->batch_size,
							  RC_CONSUME_BYTES);

		if (n > 0)
		{
			int			done;
			bool		whole = apply_fetched(c, records, n, counts, &done);

			applied = true;
			rc_consumer_release(c->kafka);
			if (c->number < 0)
				ereport(NOTICE,
						(errmsg("stream \"%s\": %d records applied",
								c->stream->name, done)));

			/*
			 * What is left of them is fetched again when the stream is
			 * opened; c->kafka is past it, and must not be asked how far we
			 * are.
			 */
			if (!whole)
				return;
		}
		rc_partitions_recover(c);
		if (end_offsets != NIL)
		{
			rc_partitions_observe(c, n == 0);
			if (passed(c, end_offsets))
			{
				rc_partitions_observe(c, true);
				/* what the group has not been told when we leave is lost */
				if (applied)
					rc_partitions_commit(c, GROUP_TIMEOUT_MS);
				return;
			}
		}
		if (!idle(c, n == 0))
			return;
	}
}

/* Let go of Kafka and of what was prepared; also after an error. */
void
rc_stream_close(RcStreamConsumer *consumer)
{
	if (consumer->kafka)
		rc_kafka_close(consumer->kafka);
	consumer->kafka = NULL;
	close_stream(consumer);
}

/* The same of a definition alone: Kafka's client goes on with the next. */
static void
close_stream(RcStreamConsumer *consumer)
{
	RcConsumption *c = consumer->current;

	consumer->current = NULL;
	if (c == NULL)
		return;
	if (c->applier)
		rc_applier_close(c->applier);
	MemoryContextDelete(c->context);
}

/*
 * Load the definition, run its setup and assign its partitions; false when
 * it is gone or paused, or its topics do not exist yet.
 */
static bool
open_stream(RcStreamConsumer *consumer, const char *name, int number,
			bool even_paused)
{
	MemoryContext context;
	RcConsumption *c;

	close_stream(consumer);
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso stream",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	c = palloc0(sizeof(RcConsumption));
	c->consumer = consumer;
	c->context = context;
	c->batch_context = AllocSetContextCreate(context, "rappel_conso batch",
											 ALLOCSET_DEFAULT_SIZES);
	c->number = number;
	consumer->current = c;

	rc_statement_expect();
	rc_transaction_begin_in(context);
	c->stream = rc_stream_load(name);
	c->run_prefix = rc_run_header_prefix();
	rc_stream_begin(name);
	rc_proof_expect(consumer, rc_stream_unproven(name));
	rc_transaction_commit();
	if (c->stream == NULL || (c->stream->paused && !even_paused))
		return false;

	rc_transaction_begin();
	rc_check_grants(c->stream->owner, c->stream->owner_name,
					c->stream->topics, c->stream->output_topic, name);
	if (rc_applier_setup(c->stream))
		report_table_made(c->stream);
	rc_transaction_commit();
	c->applier = rc_applier_open(c->stream);

	open_kafka(consumer, name, number);
	c->kafka = consumer->kafka;
	if (!rc_partitions_assign(c) && !c->stale)
	{
		wait_for_topic(c);
		return false;
	}
	if (c->stale)
		return false;
	if (!rc_proof_wanted(c))
		rc_consume_show(c, NULL);
	return true;
}

/*
 * None of the topics exists.  A worker of the stream leaves, since it would
 * hold a slot for nothing: see rc_stream_postponed().
 */
static void
wait_for_topic(RcConsumption *c)
{
	char	   *why = psprintf("topic \"%s\" does not exist",
							   (char *) linitial(c->stream->topics));

	if (c->number < 0)
	{
		rc_consume_show(c, why);
		rc_worker_wait(POLL_INTERVAL_MS);
		return;
	}
	rc_transaction_begin();
	rc_stream_postpone(c->stream->name, why);
	rc_transaction_commit();
}

/*
 * Setup has made a table that was there when records were applied: nobody
 * but the user knows whether they shall come again.
 */
static void
report_table_made(const RcStream *stream)
{
	static const char detail[] = "a table was missing and was made anew: what had been applied before is not in it";
	ListCell   *lc;
	bool		applied = false;

	foreach(lc, rc_offsets_load(stream->name))
		applied |= ((RcOffset *) lfirst(lc))->last_offset >= 0;
	if (!applied)
		return;
	rc_stream_state_set(stream->name, "running", detail);
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("stream \"%s\": %s", stream->name, detail),
			 errhint("SELECT rc_seek('%s', 'earliest') applies everything that is in its topics again.",
					 stream->name)));
}

/* A consumer of the cluster, and with the secrets, that are set now. */
static void
open_kafka(RcStreamConsumer *consumer, const char *name, int number)
{
	char	   *group;

	if (consumer->kafka != NULL && !rc_kafka_stale(consumer->kafka))
		return;
	if (consumer->kafka != NULL)
		rc_kafka_close(consumer->kafka);
	consumer->kafka = NULL;
	group = rc_client_id(name);
	consumer->kafka = rc_kafka_open(RC_KAFKA_CONSUMER,
									number < 0 ? group :
									psprintf("%s.%d", group, number), group);
}

/*
 * Apply what was fetched, one commit for each run's records, so that its
 * counters are its own; but where proof is looked for all of it together.
 * *applied is the number of records applied.  Returns false if that is not all
 * of them, since they are not wanted any more.
 */
static bool
apply_fetched(RcConsumption *c, RcRecord *records, int n, RcCounts *counts,
			  int *applied)
{
	int			max = rc_applier_proof_records(c->applier);
	int			done = 0;

	n = rc_partitions_verify(c, records, n);
	if (rc_proof_wanted(c))
		rc_proof_order(c, records, n);
	while (done < n)
	{
		done += rc_consume_batch(c, records + done,
								 Min(n - done, max), counts);

		/* slow records: what is left of them may not be wanted any more */
		if (done < n && rc_time_passed(c->polled_at, POLL_INTERVAL_MS) &&
			!still_wanted(c))
			break;
	}
	*applied = done;
	return done == n;
}

/* Whether the error that has ended rc_stream_consume() is one that waits for proof. */
bool
rc_stream_undecided(const RcStreamConsumer *consumer)
{
	const RcConsumption *c = consumer->current;

	return c != NULL && c->applier != NULL &&
		rc_applier_undecided(c->applier, NULL);
}

/* Whether the error that has ended rc_stream_consume() may pass. */
bool
rc_stream_error_is_transient(const RcStreamConsumer *consumer, const ErrorData *error)
{
	const RcConsumption *c = consumer->current;

	if (c != NULL && c->applier != NULL)
		return rc_applier_error_is_transient(c->applier, error);
	return rc_error_is_transient(error->sqlerrcode);
}

/*
 * Wait before the same records are tried again.  Where proof is waited for, a
 * record that comes behind them may bring it.
 */
void
rc_stream_pause(RcStreamConsumer *consumer, long timeout_ms)
{
	if (rc_stream_undecided(consumer))
		rc_proof_pause(consumer->kafka, timeout_ms);
	else
		rest(consumer->kafka, timeout_ms);
}

/*
 * Wait after an error, but not longer than until there is a reason to try at
 * once: a reload, somebody who wakes us, brokers that can be reached again, or
 * another configuration.
 */
static void
rest(RcKafka *kafka, long timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		away = kafka != NULL && rc_kafka_connection_error(kafka) != NULL;

	while (!rc_time_passed(start, (int) timeout_ms))
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left = timeout_ms -
			TimestampDifferenceMilliseconds(start, now);
		long		slice = Min(Max(left, 1), POLL_INTERVAL_MS);

		rc_worker_wait(slice);
		if (!rc_time_passed(now, (int) slice))
			return;
		if (away && (rc_kafka_stale(kafka) || rc_kafka_connection_error(kafka) == NULL))
			return;
	}
}

/*
 * Between two batches: interrupts, settings, watermarks, and now and then a
 * look at the definition.  Waits when everything has been read.  False: open
 * the stream again.
 */
static bool
idle(RcConsumption *c, bool at_end)
{
	TimestampTz now = GetCurrentTimestamp();

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (rc_kafka_stale(c->kafka))
			return false;
	}
	rc_partitions_observe(c, false);
	if (rc_time_passed(c->polled_at, POLL_INTERVAL_MS))
	{
		if (!still_wanted(c))
			return false;
		c->recovered |= at_end && rc_partitions_at_end(c);
		rc_consume_show(c, rc_kafka_connection_error(c->kafka));
		if (rc_kafka_stale(c->kafka))
			return false;
		if (rc_kafka_connection_error(c->kafka) == NULL && rc_partitions_changed(c))
			return false;
	}
	if (at_end && !rc_kafka_wait(c->kafka, POLL_INTERVAL_MS))
	{
		/* woken, by a change of the row, or by who waits for what we know */
		c->polled_at = 0;
		if (!TimestampDifferenceExceeds(now, GetCurrentTimestamp(),
										POLL_INTERVAL_MS))
			c->observed_at = 0;
	}
	return true;
}

/*
 * Whether the definition and the grants are still those that we work for.  If
 * not, polled_at stays, so that whoever asks next is told the same.
 */
static bool
still_wanted(RcConsumption *c)
{
	if (!definition_current(c) || !granted(c))
		return false;
	c->polled_at = GetCurrentTimestamp();
	return true;
}

/* Whether a definition is open that has been changed since. */
bool
rc_stream_stale(const RcStreamConsumer *consumer)
{
	RcConsumption *c = consumer->current;

	return c != NULL && c->stream != NULL && !definition_current(c);
}

/*
 * Whether the row of the stream, and its offsets, are those we opened, and its
 * owner is the role that it was.
 */
static bool
definition_current(RcConsumption *c)
{
	RcStream   *now = NULL;
	bool		same;

	rc_transaction_begin_in(c->batch_context);
	if (rc_extension_present())
		now = rc_stream_load(c->stream->name);
	same = now != NULL && strcmp(now->version, c->stream->version) == 0 &&
		now->owner == c->stream->owner;
	if (same)
	{
		ListCell   *lc;

		foreach(lc, rc_offsets_load(c->stream->name))
		{
			RcOffset   *offset = (RcOffset *) lfirst(lc);

			for (int i = 0; i < c->n; i++)
			{
				if (c->offsets[i].partition == offset->partition &&
					strcmp(c->offsets[i].topic, offset->topic) == 0 &&
					c->offsets[i].epoch != offset->epoch)
					same = false;
			}
		}
	}
	rc_transaction_commit();
	MemoryContextReset(c->batch_context);
	return same;
}

/* Whether the owner may still read and write the stream's topics. */
static bool
granted(RcConsumption *c)
{
	bool		granted;

	rc_transaction_begin();
	granted = rc_grants_suffice(c->stream);
	rc_transaction_commit();
	return granted;
}

/* Whether the partitions have passed the targets, by what is in memory. */
static bool
passed(const RcConsumption *c, List *end_offsets)
{
	ListCell   *lc;

	foreach(lc, end_offsets)
	{
		RcEndOffset *end = (RcEndOffset *) lfirst(lc);

		for (int i = 0; i < c->n; i++)
		{
			const RcOffset *offset = &c->offsets[i];

			if (offset->partition == end->partition &&
				offset->next_offset <= end->offset &&
				strcmp(offset->topic, end->topic) == 0)
				return false;
		}
	}
	return true;
}

/* Show what the stream waits for; NULL: it runs. */
void
rc_consume_show(RcConsumption *c, const char *connection_error)
{
	rc_transaction_begin();
	if (connection_error)
		rc_stream_state_set(c->stream->name, "waiting", connection_error);
	else
		rc_stream_run(c->stream->name, c->recovered);
	rc_transaction_commit();
}
