/*-------------------------------------------------------------------------
 *
 * scan_line.c
 *	  A line of an export to a record of the batch, and the cursor that it
 *	  reaches.
 *
 * It must not let an odd line send the source astray: a cursor goes back
 * never, and into the future neither.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "transform/cursor_value.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

pg_noreturn static void raise_half_line(RcScan *scan);
static void init_record(RcScan *scan, RcRecord *record);
static void note_cursor(RcScan *scan, const char *cursor);

/*
 * One line of the export to a record of the batch.  The last one of an answer
 * that may have been cut may be half a record; if it is one, it is whole.
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
		.cursor_field = run->asked.cursor_field
	};
	RcTransformed made = {0};
	RcRecord   *record;
	const char *error;

	scan->received++;
	batch->lines++;
	batch->bytes += len;
	MemoryContextSwitchTo(run->batch_context);
	error = rc_transform(line, len, &options, &made);
	if (error != NULL && may_be_half && !made.object)
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
	batch->memory[batch->n].version = made.version;
	if (made.cursor)
		note_cursor(scan, made.cursor);
	batch->cursors[batch->n++] = batch->cursor;
	MemoryContextSwitchTo(run->context);
}

/*
 * The answer was cut, though nothing said so: keep what came whole, as of one
 * that broke off.
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
			 errmsg("the export of dataset \"%s\" was cut in its last line",
					scan->run->source->dataset),
			 errdetail_plural("%lld whole line had come.",
							  "%lld whole lines had come.",
							  scan->received - 1,
							  (long long) scan->received - 1)));
}

/* A record of the batch that says that its key has gone. */
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

	/* all but the type of a value that is not there */
	record->headers++;
	record->nheaders--;
}

/* What all records of the source have; offsets come at last. */
static void
init_record(RcScan *scan, RcRecord *record)
{
	RcSource   *source = scan->run->source;

	record->topic = source->topic ? source->topic : source->name;
	record->partition = 0;
	/* never earlier than the one before, also when the clock was set back */
	record->timestamp_ms = Max(rc_to_kafka_time(GetCurrentTimestamp()),
							   scan->state->last_timestamp_ms);
	scan->state->last_timestamp_ms = record->timestamp_ms;
	record->headers = scan->batch.headers;
	record->nheaders = lengthof(scan->batch.headers);
}

/* Follow the cursor, and see whether the API keeps the order. */
static void
note_cursor(RcScan *scan, const char *cursor)
{
	/* one odd record must not send the source astray, nor into the future */
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
