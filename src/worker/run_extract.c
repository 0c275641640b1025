/*-------------------------------------------------------------------------
 *
 * run_extract.c
 *	  The task that reads a source: decides what to read. run_extract_count.c
 *	  checks that all records came; scan_line.c and dataset_scan.c process the
 *	  lines.
 *
 * The cursor advances only past records that are safe: confirmed by their
 * destination, or committed in the same transaction.  No transaction may be
 * open during network waits.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/dataset_scan.h"

#include "miscadmin.h"
#include "pgtime.h"
#include "transform/cursor_value.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static void open_dataset(RcRun *run);
static char *asked(const char *value, const char *column, const char *source);
static bool same_as_read(const RcSourceState *state, const RcDatasetInfo *info);
static void check_definition(RcRun *run);
static void note_quota(RcRun *run);
static bool nothing_new(RcScan *scan, const RcDatasetInfo *info);
static void begin_scan(RcScan *scan, const RcDatasetInfo *info);
static void begin_first_scan(RcScan *scan, const RcDatasetInfo *info);
static char *window_start(const RcScan *scan);
static char *cursor_start(const RcScan *scan);
static void begin_full_scan(RcScan *scan);
static void read_dataset(RcScan *scan);
static char *day_after_tomorrow(void);
static RcFieldKind field_kind(RcRun *run, const char *utf8, const char *field,
							  const char *column);
static RcReadRange scan_range(const RcScan *scan);
static void read_lines(RcScan *scan);
static bool next_line(RcScan *scan, char **line, size_t *len);

/*
 * Read what is new in the source, or everything, and send it to the
 * destination.  May be called again after an error: it then resumes from the
 * last record that is safe.
 */
void
rc_run_extract(RcRun *run)
{
	RcScan	   *scan = MemoryContextAllocZero(run->context, sizeof(RcScan));
	RcDatasetInfo info;
	bool		whole;			/* the known records are all of the dataset */

	scan->run = run;
	open_dataset(run);
	rc_reader_describe(run->reader, &info);
	rc_destination_open(run->destination);

	rc_transaction_begin_in(run->context);
	check_definition(run);
	scan->state = rc_source_state(run->source, run->destination->id);
	rc_run_destination(run->id, run->destination->id);
	rc_transaction_commit();

	if (nothing_new(scan, &info))
		return;

	begin_scan(scan, &info);
	read_dataset(scan);
	whole = run->source->key_field != NULL && run->window == NULL;
	if (whole && !run->scan_state.full && rc_scan_count_differs(scan, &info))
	{
		begin_full_scan(scan);
		read_dataset(scan);
	}
	whole = whole && run->scan_state.full;
	if (whole)
		rc_scan_withdraw(scan);

	rc_transaction_begin();
	note_quota(run);
	if (run->window == NULL)
		rc_source_complete(run->source, run->destination->id, scan->state,
						   info.data_processed, info.records_count,
						   run->scan_state.full || scan->state->first_scan);
	if (whole)
		rc_scan_note_count_difference(scan, &info);
	rc_transaction_commit();
	if (scan->first_scan != NULL)
		rc_first_scan_end(scan->first_scan);
	rc_scan_report_progress(scan, true);
}

/*
 * Open the API.  Its key is sent only to hosts that the configuration file
 * names or, if it names none, to that of the built-in source, as long as only
 * superusers can have set that one's url.
 */
static void
open_dataset(RcRun *run)
{
	RcSource   *source = run->source;
	RcSource   *builtin;
	const char *key_url = NULL;

	rc_transaction_begin_in(run->context);
	run->asked.filter = asked(source->filter, "filter", source->name);
	run->asked.key_field = asked(source->key_field, "key_field", source->name);
	run->asked.cursor_field = asked(source->cursor_field, "cursor_field",
									source->name);
	builtin = rc_source_load(RC_NAME);
	if (builtin != NULL && OidIsValid(builtin->owner) &&
		superuser_arg(builtin->owner))
		key_url = builtin->url;
	rc_transaction_commit();
	run->reader = rc_reader_open(source->name, source->url, source->dataset,
								 key_url);
}

/* A column of the source in UTF-8, as sent to the API. */
static char *
asked(const char *value, const char *column, const char *source)
{
	return rc_to_utf8(value, psprintf("%s of source \"%s\"", column, source));
}

/* Read the records of the scan, and check that all of them came. */
static void
read_dataset(RcScan *scan)
{
	RcRun	   *run = scan->run;
	RcReadRange range = scan_range(scan);

	scan->before = rc_reader_count(run->reader, &range);
	scan->expected = scan->before;
	rc_reader_start(run->reader, &range);
	run->scan_state.reading++;
	read_lines(scan);
	rc_scan_check_count(scan, &range);
	if (scan->ordered || run->window != NULL)
		return;

	/* records came in no order, so the greatest cursor is reached only now */
	rc_transaction_begin();
	rc_source_advance(run->source, run->destination->id, scan->state,
					  scan->last_cursor, scan->state->next_offset);
	rc_transaction_commit();
}

/*
 * Raise an error if the definition was changed since the run loaded it: the
 * cursor would belong to other records.  Called in the transaction that reads
 * the epoch.
 */
static void
check_definition(RcRun *run)
{
	RcSource   *now = rc_source_load(run->source->name);

	if (now == NULL || !rc_source_reads_same(now, run->source))
		rc_source_changed(run->source);
}

/*
 * For a scheduled poll: whether the dataset reports that it has not changed.
 * Costs one request and one updated row.  Returns false if that is uncertain,
 * so that a run finds out.  Leaves external resources open.
 */
bool
rc_run_unchanged(RcRun *run)
{
	RcSourceState *state;
	RcDatasetInfo info;
	bool		same;

	open_dataset(run);
	rc_reader_describe(run->reader, &info);
	if (!rc_destination_holds(run->destination))
		return false;

	rc_transaction_begin_in(run->context);
	state = rc_source_state(run->source, run->destination->id);
	same = same_as_read(state, &info);
	note_quota(run);
	if (same)
		rc_source_checked(run->source, run->destination->id);
	rc_transaction_commit();
	return same;
}

/* Store the quota that the API reported. */
static void
note_quota(RcRun *run)
{
	RcQuota		quota;

	(void) rc_run_quota(run, &quota);
	rc_source_quota(run->source, &quota);
}

/*
 * The quota in the API's last response.  Returns the time of its Retry-After,
 * or 0.
 */
TimestampTz
rc_run_quota(RcRun *run, RcQuota *quota)
{
	TimestampTz retry_at = 0;

	memset(quota, 0, sizeof(RcQuota));
	if (run->reader != NULL)
		rc_reader_quota(run->reader, quota, &retry_at);
	return retry_at;
}

/*
 * Whether the dataset reports the state in which it was last read completely.
 */
static bool
same_as_read(const RcSourceState *state, const RcDatasetInfo *info)
{
	return !state->full_due && state->complete &&
		info->data_processed != NULL && state->data_processed != NULL &&
		strcmp(info->data_processed, state->data_processed) == 0 &&
		info->records_count == state->records_count;
}

/* Whether there is nothing to read, which is then stored and reported. */
static bool
nothing_new(RcScan *scan, const RcDatasetInfo *info)
{
	RcRun	   *run = scan->run;
	RcSourceState *state = scan->state;

	if (run->full_sync || run->scan_state.begun || run->window != NULL ||
		!same_as_read(state, info))
		return false;

	rc_transaction_begin();
	note_quota(run);
	rc_source_checked(run->source, run->destination->id);
	rc_transaction_commit();
	ereport(NOTICE,
			(errmsg("source \"%s\" has not changed since %s",
					run->source->name, info->data_processed)));
	return true;
}

/*
 * Decide where the scan begins.  A later attempt keeps the decision, and
 * begins after the last record that is safe.
 */
static void
begin_scan(RcScan *scan, const RcDatasetInfo *info)
{
	RcRun	   *run = scan->run;
	RcSource   *source = run->source;
	RcSourceState *state = scan->state;

	scan->kind = RC_FIELD_TIME;
	if (source->cursor_field && info->records_count != 0)
		scan->kind = field_kind(run, run->asked.cursor_field,
								source->cursor_field, "cursor_field");
	if (source->key_field && info->records_count != 0)
		(void) field_kind(run, run->asked.key_field, source->key_field,
						  "key_field");
	scan->transform = rc_transform_find(source->transform);
	scan->work = rc_transform_work(run->context);
	scan->max_cursor = day_after_tomorrow();
	scan->ordered = true;
	scan->stored_cursor = state->cursor;
	begin_first_scan(scan, info);
	rc_scan_begin_batch(scan);
	if (run->scan_state.begun)
	{
		run->scan_state.resumed = run->scan_state.resume != NULL;
		return;
	}

	run->scan_state.begun = true;
	rc_bad_lines_begin(run);
	run->scan_state.cursor = state->cursor;
	run->scan_state.full = run->window == NULL &&
		(run->full_sync || state->full_due || source->cursor_field == NULL ||
		 state->cursor == NULL);
	if (run->window != NULL)
		run->scan_state.from = window_start(scan);
	else if (run->scan_state.full)
		begin_full_scan(scan);
	else
		run->scan_state.from = cursor_start(scan);
}

/* Find out whether anything is known of the source's records. */
static void
begin_first_scan(RcScan *scan, const RcDatasetInfo *info)
{
	RcRun	   *run = scan->run;

	if (run->source->key_field == NULL)
		return;
	rc_transaction_begin_in(run->context);
	scan->first_scan = rc_first_scan_begin(run->source, run->destination->id,
										   info->records_count);
	rc_transaction_commit();
}

static char *
window_start(const RcScan *scan)
{
	const RcRun *run = scan->run;

	if (scan->kind != RC_FIELD_TIME || run->source->cursor_field == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot backfill source \"%s\" by time",
						run->source->name),
				 errhint("A backfill needs a cursor_field that is a date or datetime.")));
	return run->window->from;
}

/* The cursor, minus the source's overlap if it is a time. */
static char *
cursor_start(const RcScan *scan)
{
	const RcRun *run = scan->run;
	char	   *start = scan->state->cursor;

	if (scan->kind != RC_FIELD_TIME)
		return start;
	rc_transaction_begin_in(run->context);
	start = rc_cursor_before(rc_cursor_utc(start), run->source);
	rc_transaction_commit();
	return start;
}

/* Start a full scan, and collect the keys that it finds. */
static void
begin_full_scan(RcScan *scan)
{
	RcRun	   *run = scan->run;

	run->scan_state.full = true;
	run->scan_state.from = run->scan_state.resume = NULL;
	if (run->source->key_field)
	{
		rc_transaction_begin_in(run->context);
		run->scan_state.seen = rc_seen_begin();
		rc_transaction_commit();
	}
	scan->ordered = true;
	scan->last_cursor = NULL;
	scan->received = scan->unreadable = run->scan_state.unreadable = 0;
	scan->bad_in_row = 0;
}

/*
 * Upper limit of a cursor.  A typing error such as year 2323 must not become
 * the cursor: records published afterwards would not be read.
 */
static char *
day_after_tomorrow(void)
{
	pg_time_t	time = timestamptz_to_time_t(GetCurrentTimestamp()) +
		2 * SECS_PER_DAY;
	struct pg_tm *day = pg_gmtime(&time);

	return psprintf("%04d-%02d-%02d", day->tm_year + 1900, day->tm_mon + 1,
					day->tm_mday);
}

/*
 * Kind of a field, which must exist; "field" is its name in errors.  Raises
 * ERRCODE_UNDEFINED_COLUMN.
 */
static RcFieldKind
field_kind(RcRun *run, const char *utf8, const char *field, const char *column)
{
	RcFieldKind kind = rc_reader_field_kind(run->reader, utf8);

	if (kind == RC_FIELD_MISSING)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("field \"%s\" does not exist in dataset \"%s\"",
						field, run->source->dataset),
				 errhint("Check the column %s of source \"%s\".",
						 column, run->source->name)));
	return kind;
}

/* The range of records to read. */
static RcReadRange
scan_range(const RcScan *scan)
{
	const RcRun *run = scan->run;
	RcReadRange range = {0};

	range.filter = run->asked.filter;
	range.cursor_field = run->asked.cursor_field;
	range.key_field = run->asked.key_field;
	range.kind = scan->kind;
	range.from = run->scan_state.resume ? run->scan_state.resume : run->scan_state.from;
	range.to = run->window ? run->window->to : NULL;

	/*
	 * a resumed full scan needs records without a cursor, too, which a
	 * condition on the cursor alone would leave out
	 */
	range.with_nulls = run->scan_state.full;
	return range;
}

/* Read all lines of the export. */
static void
read_lines(RcScan *scan)
{
	RcRun	   *run = scan->run;
	char	   *line;
	size_t		len;

	while (next_line(scan, &line, &len))
	{
		rc_scan_add_line(scan, line, len, rc_reader_half_line(run->reader));

		/*
		 * not while bad lines follow each other: too many fail the run before
		 * they are dead letters
		 */
		if ((scan->batch.lines >= scan->batch.max && scan->bad_in_row == 0) ||
			scan->batch.bytes >= RC_BATCH_BYTES)
			rc_scan_flush(scan, false);
	}
	MemoryContextSwitchTo(run->context);
	rc_bad_lines_check(scan);
	rc_scan_flush(scan, true);
}

/*
 * Read the next line.  If the export breaks off, the complete lines are
 * flushed before the error is rethrown.
 */
static bool
next_line(RcScan *scan, char **line, size_t *len)
{
	bool		there = false;

	PG_TRY();
	{
		there = rc_reader_next(scan->run->reader, line, len);
	}
	PG_CATCH();
	{
		ErrorData  *error = rc_worker_recover(scan->run->context, false);

		if (error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		{
			rc_bad_lines_drop(scan);
			rc_scan_flush(scan, false);
		}
		ReThrowError(error);
	}
	PG_END_TRY();
	return there;
}
