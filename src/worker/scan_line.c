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

pg_noreturn static void raise_half_line(RcPass *pass);
static void init_record(RcPass *pass, RcRecord *record);
static void note_cursor(RcPass *pass, const char *cursor);

/*
 * One line of the export to a record of the batch.  The last one of an answer
 * that may have been cut may be half a record; if it is one, it is whole.
 */
void
rc_pass_add_line(RcPass *pass, const char *line, size_t len, bool may_be_half)
{
	RcRun	   *run = pass->run;
	RcSource   *source = run->source;
	RcBatch    *batch = &pass->batch;
	RcTransformOptions options = {
		.transform = pass->transform,
		.fold_accents = source->fold_accents,
		.key_field = run->asked.key_field,
		.cursor_field = run->asked.cursor_field
	};
	RcTransformed made = {0};
	RcRecord   *record;
	const char *error;

	pass->received++;
	batch->lines++;
	batch->bytes += len;
	MemoryContextSwitchTo(run->batch_context);
	error = rc_transform(line, len, &options, &made);
	if (error != NULL && may_be_half && !made.object)
		raise_half_line(pass);
	if (error != NULL)
	{
		rc_bad_line_add(pass, line, len, &made, error);
		MemoryContextSwitchTo(run->context);
		return;
	}
	pass->bad_in_row = 0;

	record = &batch->records[batch->n];
	init_record(pass, record);
	record->key = made.key;
	record->key_len = made.key ? (int) strlen(made.key) : -1;
	record->value = made.value;
	record->value_len = made.value_len;
	batch->memory[batch->n].version = made.version;
	if (made.cursor)
		note_cursor(pass, made.cursor);
	batch->cursors[batch->n++] = batch->cursor;
	MemoryContextSwitchTo(run->context);
}

/*
 * The answer was cut, though nothing said so: keep what came whole, as of one
 * that broke off.
 */
static void
raise_half_line(RcPass *pass)
{
	MemoryContextSwitchTo(pass->run->context);
	rc_bad_lines_drop(pass);
	pass->batch.lines--;
	rc_pass_flush(pass, false);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the export of dataset \"%s\" was cut in its last line",
					pass->run->source->dataset),
			 errdetail_plural("%lld whole line had come.",
							  "%lld whole lines had come.",
							  pass->received - 1,
							  (long long) pass->received - 1)));
}

/* A record of the batch that says that its key has gone. */
void
rc_pass_add_withdrawn(RcPass *pass, const RcRecord *gone)
{
	RcBatch    *batch = &pass->batch;
	RcRecord   *record = &batch->records[batch->n++];

	batch->withdrawal = true;
	init_record(pass, record);
	record->key = memcpy(MemoryContextAlloc(pass->run->batch_context,
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
init_record(RcPass *pass, RcRecord *record)
{
	RcSource   *source = pass->run->source;

	record->topic = source->topic ? source->topic : source->name;
	record->partition = 0;
	/* never earlier than the one before, also when the clock was set back */
	record->timestamp_ms = Max(rc_to_kafka_time(GetCurrentTimestamp()),
							   pass->state->last_timestamp_ms);
	pass->state->last_timestamp_ms = record->timestamp_ms;
	record->headers = pass->batch.headers;
	record->nheaders = lengthof(pass->batch.headers);
}

/* Follow the cursor, and see whether the API keeps the order. */
static void
note_cursor(RcPass *pass, const char *cursor)
{
	/* one odd record must not send the source astray, nor into the future */
	if (!rc_cursor_is_value(pass->kind, cursor) ||
		(pass->kind == RC_FIELD_TIME && strcmp(cursor, pass->horizon) > 0))
		return;
	if (pass->last_cursor != NULL &&
		rc_cursor_compare(pass->kind, cursor, pass->last_cursor) < 0)
	{
		pass->ordered = false;
		return;
	}
	if (pass->last_cursor == NULL || strcmp(pass->last_cursor, cursor) != 0)
	{
		if (pass->last_cursor)
			pfree(pass->last_cursor);
		pass->last_cursor = MemoryContextStrdup(pass->run->context, cursor);
		pass->batch.cursor = NULL;
	}
	if (pass->batch.cursor == NULL)
		pass->batch.cursor = MemoryContextStrdup(pass->run->batch_context,
												 cursor);
}
