/*-------------------------------------------------------------------------
 *
 * statement_result.c
 *	  Receives the rows that a stream's statement returns: they become
 *	  messages for its output topic, and counts of rows inserted and updated.
 *
 * Rows that are neither are discarded.
 *
 *-------------------------------------------------------------------------
 */
#include "store/applier.h"

#include "catalog/pg_type.h"
#include "tcop/dest.h"
#include "utils/memutils.h"

struct RcResult
{
	DestReceiver receiver;		/* must be first */
	MemoryContext context;		/* holds the messages */
	const RcStream *stream;
	RcOutput   *output;			/* NULL: no output topic, or no rows returned */
	bool		has_inserted;	/* rows have the column "inserted" */
	int64		inserted;		/* counted by that column */
	int64		updated;
	uint64		rows;			/* returned or changed */
};

static void start_up(DestReceiver *self, int operation, TupleDesc desc);
static bool receive(TupleTableSlot *slot, DestReceiver *self);
static void shut_down(DestReceiver *self);

/* Make a result for one execution of the statement, in the current context. */
RcResult *
rc_result_make(const RcStream *stream)
{
	RcResult   *result = palloc0(sizeof(RcResult));

	result->receiver.receiveSlot = receive;
	result->receiver.rStartup = start_up;
	result->receiver.rShutdown = shut_down;
	result->receiver.rDestroy = shut_down;
	result->receiver.mydest = DestNone;
	result->context = CurrentMemoryContext;
	result->stream = stream;
	return result;
}

DestReceiver *
rc_result_receiver(RcResult *result)
{
	return &result->receiver;
}

/*
 * DestReceiver startup.  If the only column is the boolean "inserted", it says
 * for each row whether it was inserted or updated.
 */
static void
start_up(DestReceiver *self, int operation, TupleDesc desc)
{
	RcResult   *result = (RcResult *) self;

	result->has_inserted = desc->natts == 1 &&
		TupleDescAttr(desc, 0)->atttypid == BOOLOID &&
		strcmp(NameStr(TupleDescAttr(desc, 0)->attname), "inserted") == 0;
	if (result->stream->output_topic != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(result->context);

		result->output = rc_output_begin(desc, result->stream->name);
		MemoryContextSwitchTo(old);
	}
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	RcResult   *result = (RcResult *) self;

	if (result->has_inserted)
	{
		bool		isnull;
		bool		inserted = DatumGetBool(slot_getattr(slot, 1, &isnull));

		if (inserted && !isnull)
			result->inserted++;
		else
			result->updated++;
	}
	if (result->output != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(result->context);

		rc_output_add(result->output, slot);
		MemoryContextSwitchTo(old);
	}
	return true;
}

static void
shut_down(DestReceiver *self)
{
}

/* The number of rows that the executor has returned or changed. */
void
rc_result_rows(RcResult *result, uint64 rows)
{
	result->rows = rows;
}

/*
 * Called after the user's SQL has finished: insert the messages into the
 * outbox, and add to *counts.  Raises an error if the stream has an output
 * topic but the statement returned no result, as after rewriting by a rule.
 */
void
rc_result_finish(RcResult *result, RcCounts *counts)
{
	if (result->has_inserted)
	{
		counts->inserted += result->inserted;
		counts->updated += result->updated;
	}
	else
		counts->inserted += result->rows;
	if (result->stream->output_topic == NULL)
		return;
	if (result->output == NULL)
		rc_output_check(NULL, result->stream->name);
	else
		rc_outbox_insert(result->stream, result->output);
}
