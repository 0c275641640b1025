/*-------------------------------------------------------------------------
 *
 * scan_line.c
 *	  Converts a line of an export to a record of the batch, and tracks the
 *	  cursor.
 *
 * A single odd line must not mislead the source: the cursor never goes back,
 * nor into the future.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "transform/cursor_value.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static bool is_of_records(const RcScan *scan, const char *line, size_t len);
pg_noreturn static void raise_half_line(RcScan *scan);
static void init_record(RcScan *scan, RcRecord *record);
static void note_cursor(RcScan *scan, const char *cursor);

/*
 * Convert one line of the export to a record of the batch. may_be_half says
 * that the line may be the truncated last one of a response; if it is a JSON
 * object, it is complete.
 */
void
rc_scan_add_line(RcScan *scan, const char *line, size_t len, bool may_be_half)
{
	RcRun	   *run = scan->run;
	RcSource   *source = run->source;
	RcBatch    *batch = &scan->batch;
	RcTransformOptions options = {
		.transform = scan->transform,
		.fold_accents = source->fold_accents,
		.key_field = run->asked.key_field,
		.cursor_field = run->asked.cursor_field,
		.pack = run->destination->class->takes_fields &&
		(rc_fast_paths & RC_FAST_FIELDS) != 0
	};
	RcTransformed made = {0};
	RcRecord   *record;
	const char *error;

	scan->received++;
	batch->lines++;
	batch->bytes += len;
	MemoryContextSwitchTo(run->batch_context);
	error = rc_transform(line, len, &options, scan->work, &made);
	if (error != NULL && may_be_half && !made.object &&
		is_of_records(scan, line, len))
		raise_half_line(scan);
	if (error != NULL)
	{
		rc_bad_line_add(scan, line, len, &made, error);
		MemoryContextSwitchTo(run->context);
		return;
	}
	scan->bad_in_row = 0;

	record = &batch->records[batch->n];
	init_record(scan, record);
	record->key = made.key;
	record->key_len = made.key ? (int) strlen(made.key) : -1;
	record->value = made.value;
	record->value_len = made.value_len;
	record->field_name = made.field_name;
	batch->states[batch->n].version = made.version;
	if (made.cursor)
		note_cursor(scan, made.cursor);
	batch->cursors[batch->n++] = batch->cursor;
	MemoryContextSwitchTo(run->context);
}

/*
 * Whether a line that is no record may be a truncated one: either it begins
 * like an object, or an earlier line of the export was one.  If not, as in a
 * JSON array or CSV, the response is no export at all.
 */
static bool
is_of_records(const RcScan *scan, const char *line, size_t len)
{
	while (len > 0 && isspace((unsigned char) *line))
	{
		line++;
		len--;
	}
	return (len > 0 && line[0] == '{') ||
		scan->unreadable + 1 < scan->received;
}

/*
 * The response was truncated without an error: flush the complete lines and
 * raise ERRCODE_CONNECTION_FAILURE.
 */
static void
raise_half_line(RcScan *scan)
{
	MemoryContextSwitchTo(scan->run->context);
	rc_bad_lines_drop(scan);
	scan->batch.lines--;
	rc_scan_flush(scan, false);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the export of dataset \"%s\" was truncated in its last line",
					scan->run->source->dataset),
			 errdetail_plural("%lld complete line was received.",
							  "%lld complete lines were received.",
							  scan->received - 1,
							  (long long) scan->received - 1)));
}

/* Add a record without a value to the batch, which deletes its key. */
void
rc_scan_add_withdrawn(RcScan *scan, const RcRecord *gone)
{
	RcBatch    *batch = &scan->batch;
	RcRecord   *record = &batch->records[batch->n++];

	batch->withdrawal = true;
	init_record(scan, record);
	record->key = memcpy(MemoryContextAlloc(scan->run->batch_context,
											gone->key_len + 1),
						 gone->key, gone->key_len + 1);
	record->key_len = gone->key_len;
	record->value_len = -1;

	/* no content type without a value */
	record->headers++;
	record->nheaders--;
}

/*
 * Set what all records of the source have in common; offsets are set when
 * sent.
 */
static void
init_record(RcScan *scan, RcRecord *record)
{
	RcSource   *source = scan->run->source;

	record->topic = source->topic ? source->topic : source->name;
	record->partition = 0;
	record->field_name = NULL;

	/*
	 * never earlier than the previous record, even if the clock was set back
	 */
	record->timestamp_ms = Max(rc_to_kafka_time(GetCurrentTimestamp()),
							   scan->state->last_timestamp_ms);
	scan->state->last_timestamp_ms = record->timestamp_ms;
	record->headers = scan->batch.headers;
	record->nheaders = lengthof(scan->batch.headers);
}

/* Track the cursor, and whether lines come in its order. */
static void
note_cursor(RcScan *scan, const char *cursor)
{
	/* ignore values that are no cursor, or in the future */
	if (!rc_cursor_is_value(scan->kind, cursor) ||
		(scan->kind == RC_FIELD_TIME && strcmp(cursor, scan->max_cursor) > 0))
		return;
	if (scan->last_cursor != NULL &&
		rc_cursor_compare(scan->kind, cursor, scan->last_cursor) < 0)
	{
		scan->ordered = false;
		return;
	}
	if (scan->last_cursor == NULL || strcmp(scan->last_cursor, cursor) != 0)
	{
		if (scan->last_cursor)
			pfree(scan->last_cursor);
		scan->last_cursor = MemoryContextStrdup(scan->run->context, cursor);
		scan->batch.cursor = NULL;
	}
	if (scan->batch.cursor == NULL)
		scan->batch.cursor = MemoryContextStrdup(scan->run->batch_context,
												 cursor);
}
