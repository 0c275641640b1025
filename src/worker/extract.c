/*-------------------------------------------------------------------------
 *
 * extract.c
 *	  The task that reads a source: lines of the API to records, in batches,
 *	  either published to Kafka or applied at once by the source's stream.
 *
 * The cursor moves only over records that are safe: confirmed by Kafka, or
 * committed in the same transaction.  No transaction is open while the
 * network is waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/run.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A batch ends with the stream's batch_size, or with this many bytes. */
#define BATCH_BYTES			(8 * 1024 * 1024)
#define DEFAULT_BATCH_SIZE	10000

/* Progress is told at most this often, in ms. */
#define PROGRESS_INTERVAL	1000

/* A line that did not become a record. */
typedef struct BadLine
{
	RcRecord	record;			/* its bytes as value */
	char	   *error;
} BadLine;

/* Records read but not yet safe. */
typedef struct Batch
{
	RcRecord   *records;
	int			n;
	int			max;
	Size		bytes;
	int			lines;
	List	   *bad;			/* of BadLine * */
	char	   *cursor;			/* of its last record that has one */
	RcHeader	headers[3];
} Batch;

/* A pass over the dataset, or over what is new in it. */
typedef struct Pass
{
	RcRun	   *run;
	RcSourceState *state;
	RcFieldKind kind;			/* of the cursor field */
	char	   *stored_cursor;	/* as in source_state; NULL: none */
	char	   *last_cursor;	/* of the line before; NULL: none */
	bool		ordered;		/* the API kept the order that was asked for */
	int64		received;
	int64		expected;
	TimestampTz told_at;
	Batch		batch;
} Pass;

static bool same_as_read(const RcSourceState *state, const RcDatasetMeta *meta);
static void note_quota(RcRun *run);
static bool nothing_new(Pass *pass, const RcDatasetMeta *meta);
static void begin_pass(Pass *pass, const RcDatasetMeta *meta);
static RcFieldKind field_kind(RcRun *run, const char *field,
							  const char *column);
static char *pass_condition(Pass *pass);
static void read_lines(Pass *pass);
static bool next_line(Pass *pass, char **line, size_t *len);
static void add_line(Pass *pass, const char *line, size_t len);
static void note_cursor(Pass *pass, const char *cursor);
static int	compare_cursors(RcFieldKind kind, const char *a, const char *b);
static void reset_batch(Pass *pass);
static void flush_batch(Pass *pass);
static void check_count(Pass *pass, const char *where, int64 before);
static void tell_progress(Pass *pass, bool end);
static void bury_lines(Pass *pass);
static void bury_refused(Pass *pass, List *refused);

/*
 * Read what is new in the source, or everything, and make it safe.
 *
 * May be called again after an error: it then goes on from the last record
 * that is safe.
 */
void
rc_run_extract(RcRun *run)
{
	Pass	   *pass = MemoryContextAllocZero(run->context, sizeof(Pass));
	RcDatasetMeta meta;
	const char *order;
	char	   *where;
	int64		before;

	pass->run = run;
	run->explore = rc_explore_open(run->source->url, run->source->dataset);
	rc_explore_meta(run->explore, &meta);
	rc_run_open_destination(run);

	rc_transaction_begin();
	MemoryContextSwitchTo(run->context);
	pass->state = rc_source_state(run->source, run->destination);
	rc_run_destination(run->id, run->destination);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);

	if (nothing_new(pass, &meta))
		return;

	begin_pass(pass, &meta);
	where = pass_condition(pass);
	order = NULL;
	if (run->source->cursor_field)
	{
		order = rc_explore_field(run->source->cursor_field);
		if (run->source->key_field)
			order = psprintf("%s,%s", order,
							 rc_explore_field(run->source->key_field));
	}

	before = rc_explore_count(run->explore, where);
	pass->expected = before;
	rc_explore_export(run->explore, where, order);
	read_lines(pass);
	check_count(pass, where, before);

	rc_transaction_begin();
	if (!pass->ordered && run->window_from == NULL)
		/* only now is everything below the greatest value safe */
		rc_source_advance(run->source, run->destination, pass->state,
						  pass->last_cursor, pass->state->next_offset);
	if (run->window_from == NULL)
		rc_source_complete(run->source, run->destination, pass->state,
						   meta.data_processed, meta.records_count,
						   run->pass_full || pass->state->first_pass);
	note_quota(run);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);
	tell_progress(pass, true);
}

/*
 * For a poll that nobody waits for: whether the dataset says that it has not
 * changed.  One request, and one updated row; false when anything is unclear,
 * so that a run finds out.  What is open abroad stays so.
 */
bool
rc_run_unchanged(RcRun *run)
{
	RcSourceState *state;
	RcDatasetMeta meta;
	bool		same;

	run->explore = rc_explore_open(run->source->url, run->source->dataset);
	rc_explore_meta(run->explore, &meta);
	if (!run->direct)
		rc_run_open_kafka(run);

	rc_transaction_begin();
	MemoryContextSwitchTo(run->context);
	state = rc_source_state(run->source, run->destination);
	same = same_as_read(state, &meta);
	if (same)
		rc_source_checked(run->source, run->destination);
	note_quota(run);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);
	return same;
}

/* What the API said of our quota. */
static void
note_quota(RcRun *run)
{
	const RcHttpResponse *response = rc_explore_last_response(run->explore);

	if (response != NULL && response->ratelimit_remaining >= 0)
		rc_source_quota(run->source, run->destination,
						response->ratelimit_limit,
						response->ratelimit_remaining,
						response->ratelimit_reset);
}

/* The dataset says that it is as it was when it was last read whole. */
static bool
same_as_read(const RcSourceState *state, const RcDatasetMeta *meta)
{
	return !state->full_due && state->complete &&
		meta->data_processed != NULL && state->data_processed != NULL &&
		strcmp(meta->data_processed, state->data_processed) == 0 &&
		meta->records_count == state->records_count;
}

/* There is nothing to do, and the run says so. */
static bool
nothing_new(Pass *pass, const RcDatasetMeta *meta)
{
	RcRun	   *run = pass->run;
	RcSourceState *state = pass->state;

	if (run->full_sync || run->pass_begun || run->window_from != NULL ||
		!same_as_read(state, meta))
		return false;

	rc_transaction_begin();
	rc_source_checked(run->source, run->destination);
	note_quota(run);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);
	ereport(NOTICE,
			(errmsg("source \"%s\" has nothing new since %s",
					run->source->name, meta->data_processed)));
	return true;
}

/*
 * Decide where the pass begins.  A second try stays with the decision, and
 * begins where the first one was safe.
 */
static void
begin_pass(Pass *pass, const RcDatasetMeta *meta)
{
	RcRun	   *run = pass->run;
	RcSource   *source = run->source;
	RcSourceState *state = pass->state;

	pass->kind = RC_FIELD_TIME;
	if (source->cursor_field && meta->records_count != 0)
		pass->kind = field_kind(run, source->cursor_field, "cursor_field");
	if (source->key_field && meta->records_count != 0)
		(void) field_kind(run, source->key_field, "key_field");
	pass->ordered = true;
	pass->stored_cursor = state->cursor;
	reset_batch(pass);
	if (run->pass_begun)
		return;

	run->pass_begun = true;
	run->pass_cursor = state->cursor;
	if (run->window_from != NULL)
	{
		if (pass->kind != RC_FIELD_TIME || source->cursor_field == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot backfill source \"%s\" by time",
							source->name),
					 errhint("A backfill needs a cursor_field that is a date or datetime.")));
		run->pass_from = run->window_from;
		return;
	}
	run->pass_full = run->full_sync || state->full_due ||
		source->cursor_field == NULL || state->cursor == NULL;
	if (run->pass_full)
		return;
	if (pass->kind == RC_FIELD_TIME)
	{
		rc_transaction_begin();
		MemoryContextSwitchTo(run->context);
		run->pass_from = rc_cursor_before(state->cursor, source);
		rc_transaction_commit();
		MemoryContextSwitchTo(run->context);
	}
	else
		run->pass_from = state->cursor;
}

/* Kind of a field that the dataset must have. */
static RcFieldKind
field_kind(RcRun *run, const char *field, const char *column)
{
	RcFieldKind kind = rc_explore_field_kind(run->explore, field);

	if (kind == RC_FIELD_MISSING)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("dataset \"%s\" has no field \"%s\"",
						run->source->dataset, field),
				 errhint("Check the column %s of source \"%s\".",
						 column, run->source->name)));
	return kind;
}

/* The ODSQL condition of the pass; NULL: everything. */
static char *
pass_condition(Pass *pass)
{
	RcRun	   *run = pass->run;
	const char *from = run->resume ? run->resume : run->pass_from;
	char	   *where = rc_explore_and(run->source->filter, NULL);

	if (from != NULL)
		where = rc_explore_and(where,
							   rc_explore_condition(run->source->cursor_field,
													pass->kind, ">=", from));
	if (run->window_to != NULL)
		where = rc_explore_and(where,
							   rc_explore_condition(run->source->cursor_field,
													pass->kind, "<",
													run->window_to));
	return where;
}

/* Read the export to its end. */
static void
read_lines(Pass *pass)
{
	RcRun	   *run = pass->run;
	char	   *line;
	size_t		len;

	while (next_line(pass, &line, &len))
	{
		add_line(pass, line, len);
		if (pass->batch.lines >= pass->batch.max ||
			pass->batch.bytes >= BATCH_BYTES)
			flush_batch(pass);
	}
	MemoryContextSwitchTo(run->context);
	flush_batch(pass);
}

/* The next line; where the export breaks off, what came whole is kept. */
static bool
next_line(Pass *pass, char **line, size_t *len)
{
	bool		there = false;

	PG_TRY();
	{
		there = rc_explore_next(pass->run->explore, line, len);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(pass->run->context);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode != ERRCODE_QUERY_CANCELED)
			flush_batch(pass);
		ReThrowError(error);
	}
	PG_END_TRY();
	return there;
}

/* One line of the export to a record of the batch. */
static void
add_line(Pass *pass, const char *line, size_t len)
{
	RcRun	   *run = pass->run;
	RcSource   *source = run->source;
	Batch	   *batch = &pass->batch;
	RcExtractOptions options = {
		.recall = strcmp(source->transform, "recall") == 0,
		.fold_accents = source->fold_accents,
		.key_field = source->key_field,
		.cursor_field = source->cursor_field
	};
	RcExtracted extracted = {0};
	RcRecord   *record;
	const char *error;

	pass->received++;
	batch->lines++;
	batch->bytes += len;
	MemoryContextSwitchTo(run->batch_context);
	error = rc_extract(line, len, &options, &extracted);
	if (error != NULL)
	{
		BadLine    *bad = palloc0(sizeof(BadLine));

		bad->record.topic = source->topic;
		bad->record.offset = -1;
		bad->record.timestamp_ms = -1;
		bad->record.key_len = -1;
		bad->record.value = memcpy(palloc(len + 1), line, len);
		bad->record.value_len = (int) len;
		bad->error = pstrdup(error);
		batch->bad = lappend(batch->bad, bad);
		MemoryContextSwitchTo(run->context);
		return;
	}

	record = &batch->records[batch->n];
	record->topic = source->topic ? source->topic : source->name;
	record->partition = 0;
	record->offset = pass->state->next_offset + batch->n;
	record->timestamp_ms = rc_to_kafka_time(GetCurrentTimestamp());
	record->key = extracted.key;
	record->key_len = extracted.key ? (int) strlen(extracted.key) : -1;
	record->value = extracted.value;
	record->value_len = extracted.value_len;
	record->headers = batch->headers;
	record->nheaders = lengthof(batch->headers);
	batch->n++;
	if (extracted.cursor)
		note_cursor(pass, extracted.cursor);
	MemoryContextSwitchTo(run->context);
}

/* Follow the cursor, and see whether the API keeps the order. */
static void
note_cursor(Pass *pass, const char *cursor)
{
	/* one odd record must not send the source astray */
	if (!rc_explore_comparable(pass->kind, cursor))
		return;
	if (pass->last_cursor != NULL &&
		compare_cursors(pass->kind, cursor, pass->last_cursor) < 0)
	{
		pass->ordered = false;
		return;
	}
	if (pass->last_cursor == NULL || strcmp(pass->last_cursor, cursor) != 0)
	{
		if (pass->last_cursor)
			pfree(pass->last_cursor);
		pass->last_cursor = MemoryContextStrdup(pass->run->context, cursor);
	}
	pass->batch.cursor = pass->last_cursor;
}

/*
 * Compare two values of a cursor field.  Times of one dataset are written in
 * one form of ISO 8601, so their text compares as they do.
 */
static int
compare_cursors(RcFieldKind kind, const char *a, const char *b)
{
	if (kind == RC_FIELD_NUMBER)
	{
		double		x = strtod(a, NULL);
		double		y = strtod(b, NULL);

		return (x > y) - (x < y);
	}
	if (kind == RC_FIELD_TEXT)
		return 0;				/* the API's collation is its own */
	return strcmp(a, b);
}

/* Begin an empty batch. */
static void
reset_batch(Pass *pass)
{
	RcRun	   *run = pass->run;
	Batch	   *batch = &pass->batch;
	int			max = run->stream ? run->stream->batch_size :
		DEFAULT_BATCH_SIZE;

	MemoryContextReset(run->batch_context);
	memset(batch, 0, sizeof(Batch));
	batch->max = max;
	batch->records = MemoryContextAllocZero(run->batch_context,
											sizeof(RcRecord) * max);
	batch->headers[0].name = RC_HEADER_CONTENT_TYPE;
	batch->headers[0].value = "application/json";
	batch->headers[1].name = RC_HEADER_SOURCE;
	batch->headers[1].value = run->source->name;
	batch->headers[2].name = RC_HEADER_RUN;
	batch->headers[2].value = run->label;
	for (int i = 0; i < lengthof(batch->headers); i++)
		batch->headers[i].value_len = strlen(batch->headers[i].value);
}

/*
 * Make the batch safe: published and confirmed, or applied, and then the
 * cursor moved over it, in one transaction with its dead letters.
 */
static void
flush_batch(Pass *pass)
{
	RcRun	   *run = pass->run;
	Batch	   *batch = &pass->batch;
	RcCounts	counts = {0};
	List	   *refused = NIL;
	char	   *cursor = NULL;

	if (batch->lines == 0)
		return;
	if (!run->direct)
		refused = rc_run_publish(run, batch->records, batch->n);
	if (run->window_from == NULL && pass->ordered && batch->cursor != NULL &&
		(pass->stored_cursor == NULL ||
		 compare_cursors(pass->kind, batch->cursor, pass->stored_cursor) >= 0))
		cursor = batch->cursor;

	rc_transaction_begin();
	rc_source_advance(run->source, run->destination, pass->state, cursor,
					  pass->state->next_offset + batch->n);
	if (run->direct)
		rc_apply(run->applier, batch->records, batch->n, run->id, &counts);
	else
		counts.published = batch->n - list_length(refused);
	bury_refused(pass, refused);
	bury_lines(pass);
	counts.fetched = batch->lines;
	counts.dead += list_length(batch->bad) + list_length(refused);
	rc_run_add(run->id, &counts);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);

	if (cursor)
		pass->stored_cursor = MemoryContextStrdup(run->context, cursor);
	if (pass->ordered && batch->cursor)
		run->resume = MemoryContextStrdup(run->context, batch->cursor);
	tell_progress(pass, false);
	reset_batch(pass);
}

/*
 * The API's count before and after: fewer records than both is a failure.
 * Nobody knows which are missing, so the whole pass is read again.
 */
static void
check_count(Pass *pass, const char *where, int64 before)
{
	RcRun	   *run = pass->run;
	int64		after = rc_explore_count(run->explore, where);
	int64		least = Min(before, after);

	if (pass->received >= least)
		return;
	run->resume = NULL;
	rc_transaction_begin();
	if (run->window_from == NULL)
		rc_source_rewind(run->source, run->destination, pass->state,
						 run->pass_cursor);
	rc_transaction_commit();
	MemoryContextSwitchTo(run->context);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("dataset \"%s\" gave %lld records where its count says %lld",
					run->source->dataset, (long long) pass->received,
					(long long) least),
			 errdetail("What came is stored; the rest is missing.")));
}

static void
tell_progress(Pass *pass, bool end)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!end && pass->told_at != 0 &&
		!TimestampDifferenceExceeds(pass->told_at, now, PROGRESS_INTERVAL))
		return;
	pass->told_at = now;
	ereport(NOTICE,
			(errmsg("source \"%s\": %lld of %lld records", pass->run->source->name,
					(long long) pass->received,
					(long long) Max(pass->expected, pass->received))));
}

/* Lines that became no record go to the dead letters of the source. */
static void
bury_lines(Pass *pass)
{
	ListCell   *lc;

	foreach(lc, pass->batch.bad)
	{
		BadLine    *bad = (BadLine *) lfirst(lc);
		ErrorData	error = {0};

		error.sqlerrcode = ERRCODE_INVALID_TEXT_REPRESENTATION;
		error.message = bad->error;
		error.context = psprintf("line of dataset \"%s\"",
								 pass->run->source->dataset);
		rc_dead_letter_add("source", pass->run->source->name, pass->run->id,
						   &bad->record, &error,
						   pass->run->source->owner);
	}
}

/* So do messages that Kafka refused for their own sake. */
static void
bury_refused(Pass *pass, List *refused)
{
	ListCell   *lc;

	foreach(lc, refused)
	{
		RcRefused  *message = (RcRefused *) lfirst(lc);
		RcRecord	record = pass->batch.records[message->tag];
		ErrorData	error = {0};

		record.offset = -1;
		error.sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		error.message = psprintf("Kafka refused the record: %s",
								 message->error);
		rc_dead_letter_add("source", pass->run->source->name, pass->run->id,
						   &record, &error, pass->run->source->owner);
	}
}
