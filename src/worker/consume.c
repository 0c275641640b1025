/*-------------------------------------------------------------------------
 *
 * consume.c
 *	  Consumes a stream: fetches its partitions, applies batches, looks for
 *	  changes of its definition in between.
 *
 * One transaction holds a batch's rows, offsets and dead letters; Kafka is
 * waited for with no transaction open.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/consume.h"

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "run_header.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define BATCH_BYTES			(8 * 1024 * 1024)

/* Every process looks by itself this often for what a wake-up would say. */
#define LOOK_INTERVAL		5000

/* How long a run waits until Kafka's group has its offsets, in ms. */
#define GROUP_PATIENCE		10000

/* How long more records are waited for that may prove something, in ms. */
#define PROOF_PATIENCE		3000

/* The first wait before records that nothing is proven of are tried again. */
#define PROOF_PAUSE			500

/*
 * The stream stands before records that have failed, and nothing proves yet
 * whose fault that is: they are tried again with those that come behind them.
 * The partition of the first of them, if it is known.
 */
static bool proving = false;
static char proving_topic[256];
static int32 proving_partition;

static RcConsumption *current = NULL;
static RcKafka *consumer = NULL;

static bool open_stream(const char *name, int number, bool even_paused);
static void wait_for_topic(RcConsumption *c);
static void say_table_made(const RcStream *stream);
static void open_consumer(const char *name, int number);
static bool still_wanted(void);
static bool definition_current(void);
static bool granted(void);
static int	fetch(RcRecord *records);
static int	fetch_for_proof(RcRecord *records, int max);
static int	apply_fetched(RcRecord *records, int n, RcCounts *counts);
static void failed_ones_first(RcRecord *records, int n);
static int	cut_parts(const RcRecord *records, int n, RcPart *parts, int max);
static int	apply_batch(RcRecord *records, int n, RcCounts *counts);
static void begin_proof(void);
static void wait_for_more(long timeout_ms);
static void rest(long timeout_ms);
static void keep_lock(void);
static void advance_partitions(RcRecord *records, int n, int *last,
							   const RcCounts *counts);
static bool idle(bool at_end);
static bool passed(List *targets);
static void say_trouble(const char *trouble);

/*
 * Consume a stream until its definition changes, or, with targets, until all
 * of them have been applied.  "number" -1 means all partitions; even_paused
 * that a paused stream is consumed too.  Adds to *counts what was applied
 * (fetched: the records).  Errors: those of Kafka, and those of rc_apply();
 * nothing is lost by them.
 */
void
rc_stream_consume(const char *name, int number, List *targets,
				  bool even_paused, RcCounts *counts)
{
	RcConsumption *c;
	RcRecord   *records;
	bool		applied = false;

	if (!open_stream(name, number, even_paused))
		return;
	c = current;
	records = palloc0(sizeof(RcRecord) *
					  (rc_applier_proof_records(c->applier) + c->n));

	for (;;)
	{
		int			n = fetch(records);

		if (n > 0)
		{
			n = apply_fetched(records, n, counts);
			applied = true;
			rc_consumer_release(c->kafka);
			if (number < 0)
				ereport(NOTICE,
						(errmsg("stream \"%s\": %d records applied", name, n)));
		}
		rc_partitions_recover(c);
		if (targets != NIL)
		{
			rc_partitions_observe(c, n == 0);
			if (passed(targets))
			{
				rc_partitions_observe(c, true);
				/* what the group has not been told when we leave is lost */
				if (applied)
					rc_partitions_commit(c, GROUP_PATIENCE);
				return;
			}
		}
		if (!idle(n == 0))
			return;
	}
}

/* Let go of Kafka and of what was prepared; also after an error. */
void
rc_stream_close(void)
{
	if (consumer)
		rc_kafka_close(consumer);
	consumer = NULL;
	if (current)
	{
		if (current->applier)
			rc_applier_close(current->applier);
		MemoryContextDelete(current->context);
	}
	current = NULL;
}

/*
 * Load the definition, run its setup and assign its partitions; false when
 * it is gone or paused, or its topics do not exist yet.
 */
static bool
open_stream(const char *name, int number, bool even_paused)
{
	MemoryContext context;
	RcConsumption *c;

	if (current)
	{
		if (current->applier)
			rc_applier_close(current->applier);
		MemoryContextDelete(current->context);
	}
	current = NULL;
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso stream",
									ALLOCSET_DEFAULT_SIZES);
	c = MemoryContextAllocZero(context, sizeof(RcConsumption));
	c->context = context;
	c->batch_context = AllocSetContextCreate(context, "rappel_conso batch",
											 ALLOCSET_DEFAULT_SIZES);
	c->number = number;
	current = c;

	rc_statement_expect();
	rc_transaction_begin();
	MemoryContextSwitchTo(context);
	c->stream = rc_stream_load(name);
	c->run_prefix = rc_run_header_prefix();
	rc_stream_begin(name);
	proving |= rc_stream_unproven(name);
	rc_transaction_commit();
	MemoryContextSwitchTo(context);
	if (c->stream == NULL || (c->stream->paused && !even_paused))
		return false;

	rc_transaction_begin();
	rc_check_grants(c->stream->owner, c->stream->owner_name,
					c->stream->topics, c->stream->output_topic, name);
	if (rc_applier_setup(c->stream))
		say_table_made(c->stream);
	rc_transaction_commit();
	MemoryContextSwitchTo(context);
	c->applier = rc_applier_open(c->stream);

	open_consumer(name, number);
	c->kafka = consumer;
	if (!rc_partitions_assign(c) && !c->stale)
	{
		wait_for_topic(c);
		return false;
	}
	if (c->stale)
		return false;
	if (!proving)
		say_trouble(NULL);
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
		say_trouble(why);
		rc_worker_wait(LOOK_INTERVAL);
		return;
	}
	rc_transaction_begin();
	rc_stream_postpone(c->stream->name, why);
	rc_transaction_commit();
	MemoryContextSwitchTo(c->context);
}

/*
 * Setup has made a table that was there when records were applied: nobody
 * but the user knows whether they shall come again.
 */
static void
say_table_made(const RcStream *stream)
{
	static const char detail[] = "a table was missing and was made anew: what had been applied before is not in it";
	ListCell   *lc;
	bool		applied = false;

	foreach(lc, rc_offsets_load(stream->name))
		applied |= ((RcOffset *) lfirst(lc))->last_offset >= 0;
	if (!applied)
		return;
	rc_stream_say(stream->name, "running", detail);
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("stream \"%s\": %s", stream->name, detail),
			 errhint("SELECT rc_seek('%s', 'earliest') applies everything that is in its topics again.",
					 stream->name)));
}

/* A consumer of the cluster, and with the secrets, that are set now. */
static void
open_consumer(const char *name, int number)
{
	char	   *group;

	if (consumer != NULL && !rc_kafka_stale(consumer))
		return;
	if (consumer != NULL)
		rc_kafka_close(consumer);
	consumer = NULL;
	group = rc_client_id(name);
	consumer = rc_kafka_open(RC_KAFKA_CONSUMER,
							 number < 0 ? group :
							 psprintf("%s.%d", group, number), group);
}

/* What is there, up to a batch. */
static int
fetch(RcRecord *records)
{
	RcConsumption *c = current;

	if (proving)
	{
		int			max = rc_applier_proof_records(c->applier);

		/* some of them have been applied: rc_partitions_verify() */
		for (int i = 0; i < c->n; i++)
			max += c->verify[i] ? 1 : 0;
		return fetch_for_proof(records, max);
	}
	return rc_consumer_fetch(c->kafka, records, c->stream->batch_size,
							 BATCH_BYTES);
}

/* What comes, up to so many records; at least two if they are there. */
static int
fetch_for_proof(RcRecord *records, int max)
{
	RcConsumption *c = current;
	TimestampTz start = GetCurrentTimestamp();
	Size		bytes = 0;
	int			n = 0;

	while (n < max && (n < 2 || bytes < BATCH_BYTES))
	{
		int			more = rc_consumer_fetch(c->kafka, records + n, max - n,
											 bytes < BATCH_BYTES ?
											 BATCH_BYTES - bytes : 1);

		for (int i = n; i < n + more; i++)
			bytes += Max(records[i].key_len, 0) + Max(records[i].value_len, 0);
		n += more;
		if (more > 0)
			continue;
		if (rc_partitions_at_end(c) || rc_time_passed(start, PROOF_PATIENCE))
			break;
		(void) rc_kafka_wait(c->kafka, PROOF_PATIENCE / 10);
	}
	return n;
}

/*
 * Apply what was fetched, one commit for each run's records, so that its
 * counters are its own; but where proof is looked for all of it together.
 * Returns the number of records applied; where that is not all of them, idle()
 * finds that the stream has to be opened again.
 */
static int
apply_fetched(RcRecord *records, int n, RcCounts *counts)
{
	int			max = rc_applier_proof_records(current->applier);
	int			done = 0;

	n = rc_partitions_verify(current, records, n);
	if (proving)
		failed_ones_first(records, n);
	while (done < n)
	{
		done += apply_batch(records + done, Min(n - done, max), counts);

		/* slow records: what is left of them may not be wanted any more */
		if (done < n && rc_time_passed(current->looked_at, LOOK_INTERVAL) &&
			!still_wanted())
			break;
	}
	return done;
}

/*
 * Records of other partitions prove something for those that failed only if
 * they are behind them.
 */
static void
failed_ones_first(RcRecord *records, int n)
{
	RcRecord   *ordered = palloc(sizeof(RcRecord) * Max(n, 1));
	int			k = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < n; i++)
		{
			bool		failed = records[i].partition == proving_partition &&
				strcmp(records[i].topic, proving_topic) == 0;

			if (failed == (pass == 0))
				ordered[k++] = records[i];
		}
	}
	memcpy(records, ordered, sizeof(RcRecord) * n);
	pfree(ordered);
}

/* Cut records where another run begins, into at most "max" parts. */
static int
cut_parts(const RcRecord *records, int n, RcPart *parts, int max)
{
	int			nparts = 0;
	int			start = 0;

	while (start < n && nparts < max)
	{
		int			end = start + 1;

		while (end < n && rc_run_header_equal(&records[start], &records[end]))
			end++;
		parts[nparts].n = end - start;
		parts[nparts++].run = rc_run_header_read(&records[start],
												 current->run_prefix);
		start = end;
	}
	return nparts;
}

/*
 * One batch, one commit.  Returns how many records have been dealt with:
 * those of the first run, or fewer (rc_apply()).
 */
static int
apply_batch(RcRecord *records, int n, RcCounts *total)
{
	RcConsumption *c = current;
	RcCounts	counts = {0};
	RcPart	   *parts;
	int			nparts;
	int		   *last;
	RcPartition *done;
	int			ndone = 0;
	int			applied;

	MemoryContextSwitchTo(c->batch_context);
	last = palloc(sizeof(int) * c->n);
	done = palloc0(sizeof(RcPartition) * c->n);
	parts = palloc0(sizeof(RcPart) * (proving ? n : 1));
	nparts = cut_parts(records, n, parts, proving ? n : 1);

	rc_transaction_begin();
	MemoryContextSwitchTo(c->batch_context);
	applied = rc_apply(c->applier, records, parts, nparts);
	for (int i = 0; i < nparts; i++)
		rc_counts_add(&counts, &parts[i].counts);
	advance_partitions(records, applied, last, &counts);
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].run > 0 && parts[i].applied > 0)
			rc_run_add(parts[i].run, "load", c->stream->name,
					   &parts[i].counts);
	}
	if (c->stream->output_topic)
		rc_wake_at_commit(RC_WORKER_OUTBOX, "", 0);
	rc_transaction_commit();
	total->fetched += applied;
	rc_counts_add(total, &counts);

	for (int i = 0; i < c->n; i++)
	{
		if (last[i] < 0)
			continue;
		c->offsets[i].next_offset = records[last[i]].offset + 1;
		c->offsets[i].last_offset = records[last[i]].offset;
		c->offsets[i].last_timestamp_ms = records[last[i]].timestamp_ms;
		done[ndone] = c->partitions[i];
		done[ndone++].offset = c->offsets[i].next_offset;
	}
	rc_consumer_commit(c->kafka, done, ndone);
	c->commit_again = true;
	MemoryContextSwitchTo(c->context);
	MemoryContextReset(c->batch_context);
	if (applied > 0 || rc_applier_undecided(c->applier, NULL))
		begin_proof();
	if (!c->cured && counts.dead < applied)
	{
		c->cured = true;
		say_trouble(NULL);
	}
	keep_lock();
	return applied;
}

/*
 * Where the last batch has left records of which nothing is proven, raise
 * their error: the stream waits, and then reads them again.
 */
static void
begin_proof(void)
{
	RcConsumption *c = current;
	const RcRecord *failed;

	proving = rc_applier_undecided(c->applier, &failed);
	if (!proving)
		return;
	strlcpy(proving_topic, failed->topic, sizeof(proving_topic));
	proving_partition = failed->partition;
	rc_applier_check(c->applier, true, true);
}

/* Whether the error that has ended rc_stream_consume() is one that waits for proof. */
bool
rc_stream_undecided(void)
{
	return current != NULL && current->applier != NULL &&
		rc_applier_undecided(current->applier, NULL);
}

/* Whether the error that has ended rc_stream_consume() may pass. */
bool
rc_stream_may_pass(const ErrorData *error)
{
	if (current != NULL && current->applier != NULL)
		return rc_applier_may_pass(current->applier, error);
	return rc_error_may_pass(error->sqlerrcode);
}

/*
 * Wait before the same records are tried again.  Where proof is waited for, a
 * record that comes behind them may bring it.
 */
void
rc_stream_pause(long timeout_ms)
{
	if (!rc_stream_undecided())
	{
		rest(timeout_ms);
		return;
	}
	rc_worker_wait(Min(timeout_ms, PROOF_PAUSE));
	if (consumer == NULL || timeout_ms <= PROOF_PAUSE)
		return;
	PG_TRY();
	{
		wait_for_more(timeout_ms - PROOF_PAUSE);
	}
	PG_CATCH();
	{
		/* of no interest here: the next try meets it */
		FreeErrorData(rc_worker_recover(TopMemoryContext, true));
	}
	PG_END_TRY();
	rc_worker_wait(0);
}

/*
 * Wait until Kafka has another record, the latch is set or the time is over.
 * What is taken here is read again when the stream is opened.
 */
static void
wait_for_more(long timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout_ms);

	for (;;)
	{
		RcRecord	record;
		long		left;

		rc_consumer_release(consumer);
		if (rc_consumer_fetch(consumer, &record, 1, 1) > 0)
			break;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0 || !rc_kafka_wait(consumer, Min(left, timeout_ms)))
			break;
	}
	rc_consumer_release(consumer);
}

/*
 * Wait after an error, but not longer than until there is a reason to try at
 * once: a reload, somebody who wakes us, brokers that can be reached again, or
 * another configuration.
 */
static void
rest(long timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		away = consumer != NULL && rc_kafka_trouble(consumer) != NULL;

	while (!rc_time_passed(start, (int) timeout_ms))
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left = timeout_ms -
			TimestampDifferenceMilliseconds(start, now);
		long		slice = Min(Max(left, 1), LOOK_INTERVAL);

		rc_worker_wait(slice);
		if (!rc_time_passed(now, (int) slice))
			return;
		if (away && (rc_kafka_stale(consumer) ||
					 rc_kafka_trouble(consumer) == NULL))
			return;
	}
}

/*
 * Be the only one still: a statement can call pg_advisory_unlock_all().
 */
static void
keep_lock(void)
{
	RcConsumption *c = current;

	if (c->number >= 0 &&
		!rc_lock_keep(RC_WORKER_STREAM, c->stream->name, c->number))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("another process works for stream \"%s\"",
						c->stream->name)));
}

/*
 * The fence of each partition, in one order in all processes; what the batch
 * did is counted with the first of them.
 */
static void
advance_partitions(RcRecord *records, int n, int *last,
				   const RcCounts *counts)
{
	RcConsumption *c = current;
	int64	   *applied = palloc0(sizeof(int64) * c->n);

	for (int i = 0; i < c->n; i++)
		last[i] = -1;
	for (int k = 0; k < n; k++)
	{
		int			i = rc_partitions_find(c, &records[k]);

		last[i] = k;
		applied[i]++;
	}
	for (int i = 0; i < c->n; i++)
	{
		if (last[i] < 0)
			continue;
		rc_offset_advance(c->stream->name, &c->offsets[i],
						  records[last[i]].offset + 1,
						  records[last[i]].offset,
						  records[last[i]].timestamp_ms, applied[i], counts);
		counts = NULL;
	}
}

/*
 * Between two batches: interrupts, settings, watermarks, and now and then a
 * look at the definition.  Waits when everything has been read.  False: open
 * the stream again.
 */
static bool
idle(bool at_end)
{
	RcConsumption *c = current;
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
	if (rc_time_passed(c->looked_at, LOOK_INTERVAL))
	{
		if (!still_wanted())
			return false;
		c->cured |= at_end && rc_partitions_at_end(c);
		say_trouble(rc_kafka_trouble(c->kafka));
		if (rc_kafka_stale(c->kafka))
			return false;
		if (rc_kafka_trouble(c->kafka) == NULL && rc_partitions_changed(c))
			return false;
	}
	if (at_end && !rc_kafka_wait(c->kafka, LOOK_INTERVAL))
	{
		/* woken, by a change of the row, or by who waits for what we know */
		c->looked_at = 0;
		if (!TimestampDifferenceExceeds(now, GetCurrentTimestamp(),
										LOOK_INTERVAL))
			c->observed_at = 0;
	}
	return true;
}

/*
 * Whether the definition and the grants are still those that we work for.  If
 * not, looked_at stays, so that whoever asks next is told the same.
 */
static bool
still_wanted(void)
{
	if (!definition_current() || !granted())
		return false;
	current->looked_at = GetCurrentTimestamp();
	return true;
}

/* Whether a definition is open that has been changed since. */
bool
rc_stream_stale(void)
{
	return current != NULL && current->stream != NULL &&
		!definition_current();
}

/*
 * Whether the row of the stream, and its offsets, are those we opened, and its
 * owner is the role that it was.
 */
static bool
definition_current(void)
{
	RcConsumption *c = current;
	RcStream   *now = NULL;
	bool		same;

	rc_transaction_begin();
	MemoryContextSwitchTo(c->batch_context);
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
	MemoryContextSwitchTo(c->context);
	MemoryContextReset(c->batch_context);
	return same;
}

/* Whether the owner may still read and write the stream's topics. */
static bool
granted(void)
{
	bool		granted;

	rc_transaction_begin();
	granted = rc_grants_suffice(current->stream);
	rc_transaction_commit();
	MemoryContextSwitchTo(current->context);
	return granted;
}

/* Whether the partitions have passed the targets, by what is in memory. */
static bool
passed(List *targets)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		RcTarget   *target = (RcTarget *) lfirst(lc);

		for (int i = 0; i < current->n; i++)
		{
			RcOffset   *offset = &current->offsets[i];

			if (offset->partition == target->partition &&
				offset->next_offset <= target->offset &&
				strcmp(offset->topic, target->topic) == 0)
				return false;
		}
	}
	return true;
}

/* Show what the stream waits for; NULL: it runs. */
static void
say_trouble(const char *trouble)
{
	rc_transaction_begin();
	if (trouble)
		rc_stream_say(current->stream->name, "waiting", trouble);
	else
		rc_stream_run(current->stream->name, current->cured);
	rc_transaction_commit();
	MemoryContextSwitchTo(current->context);
}
