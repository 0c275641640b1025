/*-------------------------------------------------------------------------
 *
 * dead_letter.c
 *	  Reads and writes rappel_conso.dead_letter: records that failed alone,
 *	  with their bytes, position (topic, partition, offset) and error.
 *
 * A dead letter must be added in the transaction that advances the offset past
 * the record; otherwise a crash would lose the record, or add it twice.
 *
 *-------------------------------------------------------------------------
 */
#include "store/dead_letter.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "record_fields.h"
#include "store/headers_json.h"
#include "store/query.h"
#include "store/stream_table.h"

/* Takes the parameters of rc_dead_letter_add(). */
#define UPDATE_KNOWN \
	"UPDATE rappel_conso.dead_letter SET run = COALESCE($3, run), topic = $4," \
	" partition = CASE WHEN $6 IS NOT NULL THEN $5 END, record_offset = $6," \
	" record_timestamp = $7, headers = $10, sqlstate = $11, message = $12," \
	" detail = $13, context = $15, owner = $16, attempts = attempts + 1"

/* Limit of the bytes read by one call of rc_dead_letters(), but for a single row. */
#define MOST_BYTES		(8 * 1024 * 1024)

/*
 * Excludes dead letters of an earlier stream, source or role of the same name.
 */
#define SAME_OWNER \
	"owner = $16 AND owner_oid = rappel_conso.role_oid(owner)"

static bool same_place(RcParams *params);
static bool same_bytes(RcParams *params);
static int64 bytes_of(int row, int column);

/*
 * Add a record to rappel_conso.dead_letter.  "origin" is source, stream or
 * outbox, "name" the name of that object; run 0 means no run. record->topic
 * may be NULL.  "owner" may read the row, as may the owner of the source or
 * stream.
 *
 * If the record is there already and not resolved, its attempts and error are
 * updated instead.
 */
void
rc_dead_letter_add(const char *origin, const char *name, int64 run,
				   const RcRecord *record, const ErrorData *error,
				   const char *owner)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		placed = strcmp(origin, "stream") == 0 && record->offset >= 0;
	int			value_len;
	const char *value = rc_record_json(record, &value_len);

	rc_param_text(&params, origin);
	rc_param_text(&params, name);
	rc_param_int8_or_null(&params, run, run <= 0);
	rc_param_text(&params, record->topic);
	rc_param_int4(&params, record->partition);
	rc_param_int8_or_null(&params, record->offset, record->offset < 0);
	rc_param_kafka_time(&params, record->timestamp_ms);
	rc_param_bytea(&params, record->key, record->key_len);
	rc_param_bytea(&params, value, value_len);
	rc_param_jsonb(&params, rc_headers_jsonb(record), record->nheaders == 0);
	rc_param_error(&params, error);
	rc_param_text(&params, owner);
	rc_query_begin(&scope);
	if (!(placed && same_place(&params)) && !(run > 0 && same_bytes(&params)))
		rc_query("INSERT INTO rappel_conso.dead_letter (origin, name, run,"
				 " topic, partition, record_offset, record_timestamp, key,"
				 " value, headers, sqlstate, message, detail, context, owner)"
				 " VALUES ($1, $2, $3, $4, CASE WHEN $6 IS NOT NULL THEN $5 END,"
				 " $6, $7, $8, $9, $10, $11, $12, $13, $15, $16)", &params);
	rc_query_end(&scope);
}

/*
 * Update the dead letter with this record's topic, partition and offset, if
 * there is one: rc_seek() went back, or the commit after it failed.  The bytes
 * are compared as well, because a topic that was re-created has other records
 * at the same offsets.
 */
static bool
same_place(RcParams *params)
{
	return rc_query(UPDATE_KNOWN
					" WHERE id = (SELECT id FROM rappel_conso.dead_letter"
					"  WHERE origin = 'stream' AND name = $2 AND topic = $4"
					"  AND partition = $5 AND record_offset = $6"
					"  AND resolved_at IS NULL AND " SAME_OWNER
					"  AND value IS NOT DISTINCT FROM $9"
					"  AND key IS NOT DISTINCT FROM $8 LIMIT 1)", params) > 0;
}

/*
 * Update a source's dead letter with the same bytes.  A source reads a bad
 * record again in each run; it is one dead letter, not many.
 */
static bool
same_bytes(RcParams *params)
{
	return rc_query(UPDATE_KNOWN
					" WHERE id = (SELECT min(id) FROM rappel_conso.dead_letter"
					"  WHERE origin = $1 AND name = $2 AND resolved_at IS NULL"
					"  AND run IS NOT NULL AND run <> $3 AND " SAME_OWNER
					"  AND pg_catalog.md5(COALESCE(value, '')) = pg_catalog.md5(COALESCE($9, ''))"
					"  AND value IS NOT DISTINCT FROM $9"
					"  AND key IS NOT DISTINCT FROM $8)", params) > 0;
}

/*
 * The next unresolved dead letters of a stream that belong to its owner, in
 * the order in which they were added: at most "limit", and at most MOST_BYTES
 * if they are more than one, with an id greater than "after", or only "id" when
 * it is not 0.  Allocated in the current context; the rows are locked until the
 * end of the transaction.
 */
RcDeadLetter *
rc_dead_letters(const RcStream *stream, int64 id, int64 after, int limit, int *n)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcDeadLetter *letters;
	int64		bytes = 0;

	rc_param_text(&params, stream->name);
	rc_param_int8_or_null(&params, id, id <= 0);
	rc_param_int8(&params, after);
	rc_param_int4(&params, limit);
	rc_param_text(&params, stream->owner_name);
	rc_query_begin(&scope);
	*n = (int) rc_query("SELECT id, COALESCE(topic, ''), partition, record_offset,"
						" (extract(epoch FROM record_timestamp) * 1000)::int8,"
						" key, value, headers FROM rappel_conso.dead_letter"
						" WHERE origin = 'stream' AND name = $1 AND owner = $5"
						" AND owner_oid = rappel_conso.role_oid(owner)"
						" AND resolved_at IS NULL AND id > $3"
						" AND ($2 IS NULL OR id = $2)"
						" ORDER BY id LIMIT $4 FOR UPDATE", &params);
	letters = SPI_palloc(sizeof(RcDeadLetter) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		RcRecord   *record = &letters[i].record;

		for (int column = 6; column <= 8; column++)
			bytes += bytes_of(i, column);
		if (i > 0 && bytes > MOST_BYTES)
		{
			*n = i;
			break;
		}
		memset(&letters[i], 0, sizeof(RcDeadLetter));
		letters[i].id = rc_column_int8(i, 1, 0);
		record->topic = rc_column_text(i, 2);
		record->partition = (int32) rc_column_int8(i, 3, 0);
		record->offset = rc_column_int8(i, 4, -1);
		record->timestamp_ms = rc_column_int8(i, 5, -1);
		record->key = rc_column_bytes(i, 6, &record->key_len);
		record->value = rc_column_bytes(i, 7, &record->value_len);
		record->headers = rc_column_headers(i, 8, &record->nheaders);
	}
	rc_query_end(&scope);
	return letters;
}

/* Size of a column's value in bytes, found without detoasting it. */
static int64
bytes_of(int row, int column)
{
	NullableDatum value = rc_column_any(row, column);

	return value.isnull ? 0 : (int64) toast_raw_datum_size(value.value);
}

/* A dead letter was retried and failed with this error. */
void
rc_dead_letter_again(int64 id, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_int8(&params, id);
	rc_param_error(&params, error);
	rc_execute("UPDATE rappel_conso.dead_letter SET attempts = attempts + 1,"
			   " sqlstate = $2, message = $3, detail = $4, context = $6"
			   " WHERE id = $1", &params);
}

/* Mark dead letters as resolved. */
void
rc_dead_letter_resolve(const int64 *ids, int n)
{
	RcParams	params = {0};

	rc_param_ids(&params, ids, n);
	rc_execute("UPDATE rappel_conso.dead_letter"
			   " SET resolved_at = pg_catalog.clock_timestamp(),"
			   " attempts = attempts + 1 WHERE id = ANY ($1)", &params);
}

/*
 * Resolve dead letters of tombstones whose record the source has sent again
 * since: applying such a tombstone now would delete the newer record.  "id" as
 * for rc_dead_letters().  Returns the number of rows.
 */
int64
rc_dead_letter_supersede(const RcStream *stream, int64 id)
{
	RcParams	params = {0};

	rc_param_text(&params, stream->name);
	rc_param_int8_or_null(&params, id, id <= 0);
	rc_param_text(&params, stream->owner_name);
	return (int64) rc_execute("UPDATE rappel_conso.dead_letter d"
							  " SET resolved_at = pg_catalog.clock_timestamp()"
							  " FROM rappel_conso.run r JOIN rappel_conso.source_record s"
							  " ON s.source = r.source AND s.destination = r.destination"
							  " WHERE d.origin = 'stream' AND d.name = $1 AND d.owner = $3"
							  " AND d.owner_oid = rappel_conso.role_oid(d.owner)"
							  " AND d.resolved_at IS NULL AND d.value IS NULL"
							  " AND ($2 IS NULL OR d.id = $2) AND r.id = d.run"
							  " AND s.key = d.key AND s.missed_at IS NULL",
							  &params);
}

/* Raise ERRCODE_UNDEFINED_OBJECT: the stream has no such dead letter. */
void
rc_dead_letter_missing(const char *stream, int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("stream \"%s\" has no dead letter %lld", stream,
					(long long) id),
			 errhint("Look for it among the rows of rappel_conso.dead_letter with origin \"stream\", the stream's name, and no resolved_at.")));
}

/* Delete dead letters that were resolved more than "days" days ago. */
void
rc_dead_letter_remove_old(int days)
{
	RcParams	params = {0};

	rc_param_int4(&params, days);
	rc_execute("DELETE FROM rappel_conso.dead_letter"
			   " WHERE resolved_at < pg_catalog.now() - $1 * '1 day'::interval",
			   &params);
}
