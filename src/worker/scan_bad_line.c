/*-------------------------------------------------------------------------
 *
 * scan_bad_line.c
 *	  Lines that could not be converted to a record, and records that the
 *	  destination rejected: when they fail the run, and how each becomes one
 *	  dead letter even if the run reads it several times.
 *
 * A bad line counts only once it is known to be a whole line: the last line of
 * a truncated response may be half a record, and lines after the last good one
 * of an interrupted response are read again by the next attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Same as the default of rappel_conso.stream.stop_after. */
#define DEFAULT_STOP_AFTER	100

/*
 * Maximum number of different lines that are tracked; further ones become a
 * new dead letter in each attempt.
 */
#define MAX_LINES_KNOWN			100000

/*
 * Two hashes of a line; equal for different lines only with negligible
 * probability.
 */
typedef struct RcLineKey
{
	uint64		a;
	uint64		b;
} RcLineKey;

/* How often a line was read, and became a dead letter, in this task. */
typedef struct RcLineCount
{
	RcLineKey	key;
	int			reading;		/* export that "seen" is about */
	int			seen;
	int			written;
} RcLineCount;

static void stop_if_array(RcScan *scan, const char *line, size_t len);
static void stop_if_too_many(RcScan *scan, const RcTransformed *made,
							 const char *error);
static RcLineCount *find_line_count(RcRun *run, const RcRecord *record);
static bool to_dead_letters(RcScan *scan, const RcRecord *record, int sqlstate,
							char *message, char *context);

/* A new task begins: its lines are not those of earlier tasks. */
void
rc_bad_lines_begin(RcRun *run)
{
	HASHCTL		control = {0};

	if (run->scan_state.dead_lines != NULL)
		hash_destroy(run->scan_state.dead_lines);
	control.keysize = sizeof(RcLineKey);
	control.entrysize = sizeof(RcLineCount);
	control.hcxt = run->context;
	run->scan_state.dead_lines = hash_create("rappel_conso dead lines", 64, &control,
											 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Keep a line for the batch's dead letters.  Must be called in batch_context.
 * May raise the errors below.
 */
void
rc_bad_line_add(RcScan *scan, const char *line, size_t len,
				const RcTransformed *made, const char *error)
{
	RcBadLine  *bad = palloc0(sizeof(RcBadLine));

	Assert(CurrentMemoryContext == scan->run->batch_context);
	scan->bad_in_row++;
	if (!made->object)
	{
		scan->unreadable++;
		scan->run->scan_state.unreadable++;
	}
	stop_if_array(scan, line, len);
	stop_if_too_many(scan, made, error);

	bad->record.topic = scan->run->source->topic;
	bad->record.offset = -1;
	bad->record.timestamp_ms = -1;
	bad->record.key = made->key;
	bad->record.key_len = made->key ? (int) strlen(made->key) : -1;
	bad->record.value = memcpy(palloc(len + 1), line, len);
	bad->record.value_len = (int) len;
	bad->error = pstrdup(error);
	scan->batch.bad = lappend(scan->batch.bad, bad);
}

/*
 * Raise ERRCODE_PROTOCOL_VIOLATION if the export is a JSON array with one
 * element per line: only its last element, without a comma, would be taken for
 * a record.
 */
static void
stop_if_array(RcScan *scan, const char *line, size_t len)
{
	while (len > 0 && isspace((unsigned char) *line))
	{
		line++;
		len--;
	}
	while (len > 0 && isspace((unsigned char) line[len - 1]))
		len--;
	if (scan->received > 1 || len == 0 || line[0] != '[' ||
		(len > 1 && line[len - 1] == ']'))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the export of dataset \"%s\" is a JSON array over several lines",
					scan->run->source->dataset),
			 errhint("An export has one JSON object per line. Check the url of source \"%s\".",
					 scan->run->source->name)));
}

/*
 * Raise an error if too many lines in a row are bad, before they become dead
 * letters: then the dataset is wrong, not a line.  Records before them are
 * flushed.
 */
static void
stop_if_too_many(RcScan *scan, const RcTransformed *made, const char *error)
{
	RcStream   *stream = scan->run->stream;
	int			limit = stream ? stream->stop_after : DEFAULT_STOP_AFTER;

	if (scan->bad_in_row < limit)
		return;

	/* this line is not in the batch yet; flush the good records */
	MemoryContextSwitchTo(scan->run->context);
	error = pstrdup(error);
	scan->bad_in_row--;
	rc_bad_lines_drop(scan);
	scan->batch.lines--;
	rc_scan_flush(scan, false);
	MemoryContextSwitchTo(scan->run->context);
	error = rc_shown_utf8(error);
	ereport(ERROR,
			(errcode(made->object ?
					 ERRCODE_INVALID_TEXT_REPRESENTATION :
					 ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("%d consecutive lines of dataset \"%s\" could not be converted to records, the last one with: %s",
					limit, scan->run->source->dataset, error),
			 errdetail("That is line %lld of the export.",
					   (long long) scan->received),
			 stream ?
			 errhint("Check source \"%s\" and its dataset; if single lines are at fault, raise column stop_after of stream \"%s\".",
					 scan->run->source->name, stream->name) :
			 errhint("Check source \"%s\" and its dataset.",
					 scan->run->source->name)));
}

/*
 * At the end of an export, before its last batch is committed: raise an error
 * if no line at all is a JSON object.
 */
void
rc_bad_lines_check(RcScan *scan)
{
	if (scan->unreadable == 0 || scan->unreadable < scan->received)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("no line of the export of dataset \"%s\" is a JSON object",
					scan->run->source->dataset),
			 errdetail_plural("%lld line was received.", "%lld lines were received.",
							  scan->received, (long long) scan->received),
			 errhint("An export has one JSON object per line. Check the url of source \"%s\".",
					 scan->run->source->name)));
}

/*
 * The response broke off: drop bad lines after the last good one, which are
 * read again by the next attempt.
 */
void
rc_bad_lines_drop(RcScan *scan)
{
	RcBatch    *batch = &scan->batch;
	int			n = Min(scan->bad_in_row, list_length(batch->bad));

	batch->bad = list_truncate(batch->bad, list_length(batch->bad) - n);
	batch->lines -= n;
}

/*
 * Write the batch's dead letters, in the transaction that advances the cursor
 * past it.  Returns their number.
 */
int
rc_bad_lines_to_dead_letters(RcScan *scan, List *refused)
{
	RcSource   *source = scan->run->source;
	ListCell   *lc;
	int			n = 0;

	foreach(lc, refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);
		RcRecord	record = scan->batch.to_send[message->tag];

		record.offset = -1;
		n += to_dead_letters(scan, &record, message->sqlstate, message->error, NULL);
	}
	foreach(lc, scan->batch.bad)
	{
		RcBadLine  *bad = (RcBadLine *) lfirst(lc);

		n += to_dead_letters(scan, &bad->record, ERRCODE_INVALID_TEXT_REPRESENTATION,
							 rc_shown_utf8(bad->error),
							 psprintf("line of dataset \"%s\"", source->dataset));
	}
	return n;
}

/*
 * Called when the batch's dead letters are committed: count them as written.
 */
void
rc_bad_lines_committed(RcScan *scan, List *refused)
{
	ListCell   *lc;

	foreach(lc, refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);
		RcLineCount *line = find_line_count(scan->run,
											&scan->batch.to_send[message->tag]);

		if (line != NULL)
			line->written = Max(line->written, line->seen);
	}
	foreach(lc, scan->batch.bad)
	{
		RcLineCount *line = find_line_count(scan->run,
											&((RcBadLine *) lfirst(lc))->record);

		if (line != NULL)
			line->written = Max(line->written, line->seen);
	}
}

/*
 * Write one dead letter unless an earlier attempt has: the n-th of equal lines
 * is the n-th of them in each reading.
 */
static bool
to_dead_letters(RcScan *scan, const RcRecord *record, int sqlstate, char *message,
				char *context)
{
	RcRun	   *run = scan->run;
	RcLineCount *line = find_line_count(run, record);
	ErrorData	error = {0};

	if (line != NULL)
	{
		if (line->reading != run->scan_state.reading)
		{
			line->reading = run->scan_state.reading;
			line->seen = 0;
		}
		line->seen++;
		if (line->seen <= line->written)
			return false;
	}
	error.sqlerrcode = sqlstate;
	error.message = message;
	error.context = context;
	rc_dead_letter_add("source", run->source->name, run->id, record, &error,
					   run->source->owner_name);
	return true;
}

/* The entry of a line; NULL if too many lines are tracked. */
static RcLineCount *
find_line_count(RcRun *run, const RcRecord *record)
{
	RcLineKey	key;
	RcLineCount *line;
	bool		found;
	bool		full = hash_get_num_entries(run->scan_state.dead_lines) >= MAX_LINES_KNOWN;

	memset(&key, 0, sizeof(key));
	key.a = hash_bytes_extended((const unsigned char *) record->value,
								Max(record->value_len, 0), 1);
	key.b = hash_bytes_extended((const unsigned char *) record->value,
								Max(record->value_len, 0), 2);
	if (record->key_len > 0)
		key.b ^= hash_bytes_extended((const unsigned char *) record->key,
									 record->key_len, 3);
	line = hash_search(run->scan_state.dead_lines, &key, full ? HASH_FIND : HASH_ENTER,
					   &found);
	if (!found && line != NULL)
	{
		line->reading = -1;
		line->seen = line->written = 0;
	}
	return line;
}
