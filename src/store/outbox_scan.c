/*-------------------------------------------------------------------------
 *
 * outbox_scan.c
 *	  Finds the oldest messages of topics by the index on (topic, id).
 *
 * Key, value and headers are not detoasted here.
 *
 * Gain: 2.1 us of CPU for a message instead of 3.7, with what outbox_read.c
 * does with it.
 *
 * Falls back to the query of outbox_read.c if outbox_index.c does.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_scan.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "store/outbox_index.h"

typedef struct OutboxScan
{
	RcOutboxIndex index;
	char	  **topics;
	int			ntopics;
	RcStoredVisit visit;
	void	   *arg;
} OutboxScan;

/* A message of one of several topics. */
typedef struct FoundMessage
{
	RcOutboxRow row;
	int			topic;
} FoundMessage;

static void scan_one(OutboxScan *scan, int limit);
static void scan_several(OutboxScan *scan, int limit);
static int	find_oldest(OutboxScan *scan, int each, FoundMessage *found);
static RcOutboxRow row_of(const OutboxScan *scan, int topic);
static NullableDatum column_of(const OutboxScan *scan, RcOutboxColumn column);
static bool visit(const OutboxScan *scan, int topic);
static int	compare_ids(const void *a, const void *b);

/*
 * Visit the oldest messages of these topics in the order of their ids: at most
 * "limit" in all, and of each topic its share of that, or the topics with the
 * newest messages would wait for all others.  Returns false, having done
 * nothing, if a query has to find them.
 */
bool
rc_outbox_scan(char **topics, int ntopics, int limit,
			   RcStoredVisit visit_message, void *arg)
{
	OutboxScan	scan = {
		.topics = topics,
		.ntopics = ntopics,
		.visit = visit_message,
		.arg = arg
	};

	if (!rc_outbox_index_open(&scan.index))
		return false;
	if (ntopics == 1)
		scan_one(&scan, limit);
	else
		scan_several(&scan, limit);
	rc_outbox_index_close(&scan.index);
	return true;
}

static void
scan_one(OutboxScan *scan, int limit)
{
	rc_outbox_index_start(&scan->index, BTEqualStrategyNumber, scan->topics[0]);
	for (int i = 0; i < limit; i++)
	{
		if (!rc_outbox_index_next(&scan->index) || !visit(scan, 0))
			break;
	}
}

/*
 * Finds the places of all first: to keep what is in them could take much
 * memory.
 */
static void
scan_several(OutboxScan *scan, int limit)
{
	int			each = Max(limit / scan->ntopics, 1);
	FoundMessage *found = palloc(sizeof(FoundMessage) * each * scan->ntopics);
	bool	   *done = palloc0(sizeof(bool) * scan->ntopics);
	int			n = find_oldest(scan, each, found);

	qsort(found, n, sizeof(FoundMessage), compare_ids);
	for (int i = 0; i < Min(n, limit); i++)
	{
		FoundMessage *message = &found[i];

		CHECK_FOR_INTERRUPTS();
		if (!done[message->topic] &&
			table_tuple_fetch_row_version(scan->index.table,
										  &message->row.place,
										  GetActiveSnapshot(),
										  scan->index.slot))
			done[message->topic] = !visit(scan, message->topic);
	}
	pfree(found);
	pfree(done);
}

/* Returns how many there are. */
static int
find_oldest(OutboxScan *scan, int each, FoundMessage *found)
{
	int			n = 0;

	for (int topic = 0; topic < scan->ntopics; topic++)
	{
		rc_outbox_index_start(&scan->index, BTEqualStrategyNumber,
							  scan->topics[topic]);
		for (int i = 0; i < each && rc_outbox_index_next(&scan->index); i++)
		{
			found[n].row = row_of(scan, topic);
			found[n++].topic = topic;
		}
	}
	return n;
}

static RcOutboxRow
row_of(const OutboxScan *scan, int topic)
{
	RcOutboxRow row;

	row.topic = scan->topics[topic];
	row.id = DatumGetInt64(column_of(scan, RC_OUTBOX_ID).value);
	rc_outbox_row_set_id(&row, column_of(scan, RC_OUTBOX_MESSAGE_ID));
	row.place = scan->index.slot->tts_tid;
	return row;
}

static NullableDatum
column_of(const OutboxScan *scan, RcOutboxColumn column)
{
	NullableDatum value;

	value.value = slot_getattr(scan->index.slot, scan->index.columns[column],
							   &value.isnull);
	return value;
}

static bool
visit(const OutboxScan *scan, int topic)
{
	RcStoredMessage stored;

	stored.row = row_of(scan, topic);
	stored.key = column_of(scan, RC_OUTBOX_KEY);
	stored.value = column_of(scan, RC_OUTBOX_VALUE);
	stored.headers = column_of(scan, RC_OUTBOX_HEADERS);
	stored.message_id = column_of(scan, RC_OUTBOX_MESSAGE_ID);
	return scan->visit(scan->arg, &stored);
}

static int
compare_ids(const void *a, const void *b)
{
	int64		one = ((const FoundMessage *) a)->row.id;
	int64		other = ((const FoundMessage *) b)->row.id;

	return (one > other) - (one < other);
}
