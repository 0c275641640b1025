/*-------------------------------------------------------------------------
 *
 * source_state.c
 *	  Reads and writes rappel_conso.source_state: how far a source has been
 *	  read for each destination.  That is the cursor, the epoch and next
 *	  offset that fence off concurrent runs, and what the API reported last.
 *
 * What to read is decided in src/worker/run_extract.c.  The state of single
 * records is in source_record.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/source_state.h"

#include "utils/acl.h"

#include "store/known_role.h"
#include "store/query.h"
#include "store/source_missing.h"
#include "store/source_table.h"
#include "store/stream_table.h"

#define SOURCE_GONE	gettext_noop("source \"%s\" was deleted or renamed while it was read")

static void param_cursor(RcParams *params, const char *cursor);
static void check_owner(const RcSource *source);

/* Add parameters $1 and $2 of statements about a source's state. */
void
rc_param_source(RcParams *params, const RcSource *source,
				const char *destination)
{
	rc_param_text(params, source->name);
	rc_param_text(params, destination);
}

/*
 * Load the state of the source for the destination, in the current context; a
 * missing row is inserted.  Raises ERRCODE_UNDEFINED_OBJECT if the source was
 * deleted.
 */
RcSourceState *
rc_source_state(const RcSource *source, const char *destination)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcSourceState *state = palloc0(sizeof(RcSourceState));
	char	   *cursor;

	rc_param_source(&params, source, destination);
	rc_query_begin(&scope);
	rc_query("INSERT INTO rappel_conso.source_state (source, destination)"
			 " VALUES ($1, $2) ON CONFLICT DO NOTHING", &params);
	rc_query("SELECT t.epoch, t.cursor_value, t.next_offset, t.complete,"
			 " t.data_processed, t.records_count,"
			 " COALESCE(t.full_at + s.full_interval < pg_catalog.now()"
			 "  OR t.full_at > pg_catalog.now(), false) OR t.missing_refused"
			 " OR EXISTS (SELECT FROM rappel_conso.source_record m"
			 "  WHERE m.source = $1 AND m.destination = $2"
			 "  AND m.missed_at <= pg_catalog.now() - " RC_MISSING_TIME
			 "  AND NOT t.full_at > pg_catalog.now() - " RC_MISSING_TIME ")"
			 " OR COALESCE(l.destination <> $2, false),"
			 " t.full_at IS NULL, t.surplus, t.missing_accepted, t.missing_refused,"
			 " COALESCE(l.destination <> $2, false),"
			 " (extract(epoch FROM t.record_timestamp) * 1000)::int8"
			 " FROM rappel_conso.source_state t"
			 " JOIN rappel_conso.source s ON s.name = t.source"
			 " LEFT JOIN LATERAL (SELECT r.destination FROM rappel_conso.run r"
			 "  WHERE r.source = $1 AND r.state = 'success'"
			 "  AND r.destination IS NOT NULL ORDER BY r.id DESC LIMIT 1) l ON true"
			 " WHERE t.source = $1 AND t.destination = $2", &params);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("source \"%s\" does not exist", source->name)));
	state->epoch = rc_column_int8(0, 1, 0);
	cursor = rc_column_text(0, 2);
	state->next_offset = rc_column_int8(0, 3, 0);
	state->complete = rc_column_bool(0, 4);
	state->data_processed = rc_column_text(0, 5);
	state->records_count = rc_column_int8(0, 6, -1);
	state->full_due = rc_column_bool(0, 7);
	state->first_scan = rc_column_bool(0, 8);
	state->count_difference = rc_column_int8(0, 9, 0);
	state->missing_accepted = rc_column_int8(0, 10, 0);
	state->missing_refused = rc_column_bool(0, 11);
	state->destination_changed = rc_column_bool(0, 12);
	state->last_timestamp_ms = rc_column_int8(0, 13, 0);
	rc_query_end(&scope);
	state->cursor = rc_to_utf8(cursor, psprintf("cursor of source \"%s\"",
												source->name));
	return state;
}

/*
 * Add a cursor as it is stored; null if the server's encoding cannot represent
 * it.
 */
static void
param_cursor(RcParams *params, const char *cursor)
{
	rc_param_text(params, cursor != NULL ?
				  rc_from_utf8(cursor, strlen(cursor)) : NULL);
}

/*
 * Advance the cursor and the offset of the next record.  This is the fence of
 * a source: raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if another run or
 * a change of the definition came in between; the transaction must then be
 * aborted.
 *
 * If "cursor" is NULL, or cannot be represented in the server's encoding, the
 * old one is kept, and more is read again later.  "state" is updated.
 */
void
rc_source_advance(const RcSource *source, const char *destination,
				  RcSourceState *state, const char *cursor, int64 next_offset)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_int8(&params, state->next_offset);
	param_cursor(&params, cursor);
	rc_param_int8(&params, next_offset);
	rc_param_kafka_time(&params, state->last_timestamp_ms > 0 ?
						state->last_timestamp_ms : -1);
	if (rc_execute("UPDATE rappel_conso.source_state"
				   " SET cursor_value = COALESCE($5, cursor_value),"
				   " next_offset = $6, record_timestamp = $7, complete = complete AND $5 IS NULL"
				   " WHERE source = $1 AND destination = $2 AND epoch = $3"
				   " AND next_offset = $4", &params) != 1)
		rc_source_changed(source);
	check_owner(source);
	state->next_offset = next_offset;
}

/*
 * Raise an error if the role that the run is connected as was dropped.  If the
 * source was given to another role meanwhile, the run may still commit what it
 * read for its former owner, until it notices.
 */
static void
check_owner(const RcSource *source)
{
	if (get_role_oid(source->owner_name, true) != source->owner)
		rc_role_lost_error(source->owner_name, "source", source->name);
}

/*
 * Lock the state of the source, as rc_source_advance() does, before any of its
 * records are changed; raises the same errors.
 */
void
rc_source_fence(const RcSource *source, const char *destination,
				const RcSourceState *state)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, state->epoch);
	if (rc_execute("SELECT FROM rappel_conso.source_state WHERE source = $1"
				   " AND destination = $2 AND epoch = $3 FOR NO KEY UPDATE",
				   &params) != 1)
		rc_source_changed(source);
	check_owner(source);
}

/* Store that the API was polled and had nothing new. */
void
rc_source_checked(const RcSource *source, const char *destination)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_execute("UPDATE rappel_conso.source_state"
			   " SET checked_at = pg_catalog.clock_timestamp()"
			   " WHERE source = $1 AND destination = $2", &params);
}

/*
 * Store the quota that the API reported, if it did, for all destinations of
 * the source.  Must be called before one of these rows is changed, so that
 * they are always locked in the same order.
 */
void
rc_source_quota(const RcSource *source, const RcQuota *quota)
{
	RcParams	params = {0};

	if (!quota->said)
		return;
	rc_param_text(&params, source->name);
	rc_param_int8_or_null(&params, quota->limit, quota->limit < 0);
	rc_param_int8_or_null(&params, quota->remaining, quota->remaining < 0);
	rc_param_time(&params, quota->reset);
	rc_execute("UPDATE rappel_conso.source_state"
			   " SET quota_limit = COALESCE($2, quota_limit),"
			   " quota_remaining = $3, quota_reset_at = $4 WHERE source = $1"
			   " AND (quota_limit, quota_remaining, quota_reset_at) IS DISTINCT FROM"
			   " (COALESCE($2, quota_limit), $3, $4)", &params);
}

/*
 * Set the cursor back to where the scan began (NULL: to none), because records
 * were missing from it and it is unknown which.
 */
void
rc_source_rewind(const RcSource *source, const char *destination,
				 RcSourceState *state, const char *cursor)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, state->epoch);
	param_cursor(&params, cursor);
	rc_execute("UPDATE rappel_conso.source_state SET cursor_value = $4"
			   " WHERE source = $1 AND destination = $2 AND epoch = $3",
			   &params);
}

/*
 * Subtract the source's overlap from a cursor that is a time.  The result is
 * ISO 8601 in UTC, in the current context.  The cursor must contain its time
 * zone; days are days of UTC, whatever TimeZone is set to.
 */
char *
rc_cursor_before(const char *cursor, const RcSource *source)
{
	RcQueryScope scope;
	RcParams	params = {0};
	char	   *before;

	rc_param_text(&params, cursor);
	rc_param_text(&params, source->name);
	rc_query_begin(&scope);
	rc_query("SELECT pg_catalog.to_char(($1::timestamptz AT TIME ZONE 'UTC')"
			 " - s.\"overlap\", 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
			 " FROM rappel_conso.source s WHERE s.name = $2", &params);
	before = SPI_processed == 1 ? rc_column_text(0, 1) : NULL;
	rc_query_end(&scope);
	return before;
}

/*
 * Store that everything up to data_processed has been sent; "full" says that
 * the run read from the start.  Fenced as rc_source_advance().
 */
void
rc_source_complete(const RcSource *source, const char *destination,
				   RcSourceState *state, const char *data_processed,
				   int64 records_count, bool full)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_text(&params, data_processed);
	rc_param_int8_or_null(&params, records_count, records_count < 0);
	rc_param_bool(&params, full);
	if (rc_execute("UPDATE rappel_conso.source_state SET complete = true,"
				   " data_processed = $4, records_count = $5,"
				   " checked_at = pg_catalog.now(),"
				   " full_at = CASE WHEN $6 THEN pg_catalog.now() ELSE full_at END"
				   " WHERE source = $1 AND destination = $2 AND epoch = $3",
				   &params) != 1)
		rc_source_changed(source);
}

/*
 * Store by how much the dataset's count exceeds the number of known records
 * after a full scan: lines without a key, and duplicate keys.  "known" is
 * false if the dataset changed during the scan.
 */
void
rc_source_count_difference(const RcSource *source, const char *destination,
						   RcSourceState *state, int64 count_difference, bool known)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_int8_or_null(&params, count_difference, !known);
	rc_execute("UPDATE rappel_conso.source_state SET surplus = $4"
			   " WHERE source = $1 AND destination = $2 AND epoch = $3"
			   " AND surplus IS DISTINCT FROM $4", &params);
}

/*
 * Store whether more records are missing than may be withdrawn at once, and
 * how many missing records were accepted.
 */
void
rc_source_missing(const RcSource *source, const char *destination,
				  RcSourceState *state, bool refused, int64 accepted)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, state->epoch);
	rc_param_bool(&params, refused);
	rc_param_int8(&params, accepted);
	rc_execute("UPDATE rappel_conso.source_state"
			   " SET missing_refused = $4, missing_accepted = $5"
			   " WHERE source = $1 AND destination = $2 AND epoch = $3"
			   " AND (missing_refused, missing_accepted) <> ($4, $5)",
			   &params);
}

/*
 * The destination is empty: delete cursor and known records, so that the next
 * scan reads and sends everything.
 */
void
rc_source_forget(const RcSource *source, const char *destination)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	rc_execute("SELECT rappel_conso.forget($1, $2)", &params);
}

/*
 * rc_source_forget() in direct mode, for all sources of a stream whose table
 * was re-created.
 */
void
rc_stream_forget(const RcStream *stream)
{
	RcParams	params = {0};

	rc_param_text(&params, stream->name);
	rc_execute("SELECT rappel_conso.forget(s.name, 'direct'::text)"
			   " FROM rappel_conso.source s WHERE s.stream = $1"
			   " ORDER BY s.name", &params);
}

/*
 * Raise the error of a run whose source was changed or deleted since it
 * started.
 */
void
rc_source_changed(const RcSource *source)
{
	if (rc_source_load(source->name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg(SOURCE_GONE, source->name)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("source \"%s\" changed while it was read", source->name),
			 errhint("Run it again.")));
}

/*
 * The error of a run whose source was deleted or no longer belongs to its
 * role, in the current context; NULL if it still does.
 */
ErrorData *
rc_source_gone(const RcSource *source)
{
	RcSource   *now = rc_source_load(source->name);
	ErrorData  *error;

	if (now != NULL && now->owner == source->owner)
		return NULL;
	error = palloc0(sizeof(ErrorData));
	if (now != NULL && !OidIsValid(now->owner))
		rc_role_lost(now->owner_name, "source", source->name, error);
	else if (now != NULL)
	{
		error->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		error->message = psprintf(gettext_noop("source \"%s\" was given to another role while it was read"),
								  source->name);
		error->detail = "Rows that were committed stay. The next run resumes from there.";
	}
	else
	{
		error->sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
		error->message = psprintf(SOURCE_GONE, source->name);
	}
	error->elevel = ERROR;
	return error;
}
