/*-------------------------------------------------------------------------
 *
 * stream_batch.c
 *	  Applies a batch of a stream in one transaction: rows, offsets, dead
 *	  letters and the counters of runs.
 *
 * Nothing but the database may be waited for here.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "access/xact.h"
#include "run_header.h"
#include "utils/memutils.h"

static int	commit_batch(RcConsumption *c, RcRecord *records, int n,
						 int *last, RcCounts *counts);
static void note_committed(RcConsumption *c, const RcRecord *records,
						   const int *last);
static int	cut_parts(RcConsumption *c, const RcRecord *records, int n,
					  RcPart *parts, int max);
static void advance_partitions(RcConsumption *c, RcRecord *records, int n,
							   int *last, const RcCounts *counts);

/*
 * Apply and commit a batch.  Returns the number of records dealt with: those
 * of the first run, or fewer (see rc_apply()).
 */
int
rc_consume_batch(RcConsumption *c, RcRecord *records, int n, RcCounts *total)
{
	RcCounts	counts = {0};
	int		   *last;
	int			applied;

	Assert(!IsTransactionState());
	Assert(n > 0);
	MemoryContextSwitchTo(c->batch_context);
	last = palloc(sizeof(int) * c->n);
	applied = commit_batch(c, records, n, last, &counts);
	total->fetched += applied;
	rc_counts_add(total, &counts);
	note_committed(c, records, last);
	MemoryContextSwitchTo(c->context);
	MemoryContextReset(c->batch_context);
	if (applied > 0 || rc_applier_undecided(c->applier, NULL))
		rc_proof_begin(c);
	if (!c->recovered && counts.dead < applied)
	{
		c->recovered = true;
		rc_consume_show(c, NULL);
	}
	return applied;
}

/*
 * The transaction of a batch.  Sets last[] to the index of each partition's
 * last applied record, or -1, and *counts to the results.
 */
static int
commit_batch(RcConsumption *c, RcRecord *records, int n, int *last,
			 RcCounts *counts)
{
	int			max = rc_proof_wanted(c) ? n : 1;
	RcPart	   *parts = palloc0(sizeof(RcPart) * max);
	int			nparts = cut_parts(c, records, n, parts, max);
	int			applied;

	rc_transaction_begin_in(c->batch_context);
	applied = rc_apply(c->applier, records, parts, nparts);
	for (int i = 0; i < nparts; i++)
		rc_counts_add(counts, &parts[i].counts);
	advance_partitions(c, records, applied, last, counts);
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].run > 0 && parts[i].applied > 0)
			rc_run_add(parts[i].run, "load", c->stream->name,
					   &parts[i].counts);
	}
	if (c->stream->output_topic)
		rc_wake_at_commit(RC_WORKER_OUTBOX, "", 0);
	rc_transaction_commit();
	return applied;
}

/* After the commit: update the offsets in memory and in the consumer group. */
static void
note_committed(RcConsumption *c, const RcRecord *records, const int *last)
{
	RcPartition *done = palloc0(sizeof(RcPartition) * c->n);
	int			ndone = 0;

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
	(void) rc_consumer_commit(c->kafka, done, ndone);
	c->commit_again = true;
}

/* Divide records at each change of the run, into at most "max" parts. */
static int
cut_parts(RcConsumption *c, const RcRecord *records, int n, RcPart *parts,
		  int max)
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
												 c->run_prefix);
		start = end;
	}
	return nparts;
}

/*
 * Advance the fence of each partition, in the same order in all processes, to
 * avoid deadlocks.  The batch's counts are stored with the first partition.
 */
static void
advance_partitions(RcConsumption *c, RcRecord *records, int n, int *last,
				   const RcCounts *counts)
{
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
