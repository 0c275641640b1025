/*-------------------------------------------------------------------------
 *
 * stream_offset.c
 *	  Reads and writes rappel_conso.stream_offset: the offset of each
 *	  partition of a stream.
 *
 * rc_offset_advance() is the fence by which each record takes effect exactly
 * once: it must be called in the transaction of the batch.
 *
 *-------------------------------------------------------------------------
 */
#include "store/stream_offset.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "store/query.h"
#include "store/run_table.h"

static void param_partition(RcParams *params, const char *stream,
							const RcOffset *at);
static void fence_failed(const char *stream, const RcOffset *from);

/*
 * Load the offsets of a stream as a List of RcOffset, in the current context.
 */
List *
rc_offsets_load(const char *stream)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *offsets = NIL;
	RcOffset   *array;
	uint64		n;

	rc_param_text(&params, stream);
	rc_query_begin(&scope);
	n = rc_query("SELECT topic, partition, next_offset, epoch, cluster_id,"
				 " last_offset,"
				 " (extract(epoch FROM record_timestamp) * 1000)::int8,"
				 " high_watermark, seek_to"
				 " FROM rappel_conso.stream_offset WHERE stream = $1"
				 " ORDER BY topic, partition", &params);
	array = SPI_palloc(sizeof(RcOffset) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		array[i].topic = rc_column_text(i, 1);
		array[i].partition = (int32) rc_column_int8(i, 2, 0);
		array[i].next_offset = rc_column_int8(i, 3, 0);
		array[i].epoch = rc_column_int8(i, 4, 0);
		array[i].cluster_id = rc_column_text(i, 5);
		array[i].last_offset = rc_column_int8(i, 6, -1);
		array[i].last_timestamp_ms = rc_column_int8(i, 7, -1);
		array[i].high_watermark = rc_column_int8(i, 8, -1);
		array[i].seek_to = rc_column_text(i, 9);
	}
	rc_query_end(&scope);
	for (uint64 i = 0; i < n; i++)
		offsets = lappend(offsets, &array[i]);
	return offsets;
}

/*
 * The topic was re-created, so the stream's offsets no longer apply to it:
 * increment their epochs, which makes workers check them again.  Returns false
 * if the stream has not read the topic yet.
 */
bool
rc_offset_outdate(const char *stream, const char *topic)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		rows;

	rc_param_text(&params, stream);
	rc_param_text(&params, topic);
	rc_query_begin(&scope);
	rc_query("SELECT FROM rappel_conso.stream_offset WHERE stream = $1"
			 " AND topic = $2 ORDER BY partition FOR UPDATE", &params);
	rows = rc_query("UPDATE rappel_conso.stream_offset SET epoch = epoch + 1"
					" WHERE stream = $1 AND topic = $2 AND next_offset > 0"
					" AND seek_to IS NULL", &params);
	rc_query_end(&scope);
	return rows > 0;
}

/*
 * Insert the first offset of a partition.  If another worker has done that
 * already, its offset is kept.
 */
void
rc_offset_insert(const char *stream, const char *topic, int32 partition,
				 int64 next_offset, const char *cluster_id)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_text(&params, topic);
	rc_param_int4(&params, partition);
	rc_param_int8(&params, next_offset);
	rc_param_text(&params, cluster_id);
	rc_execute("INSERT INTO rappel_conso.stream_offset"
			   " (stream, topic, partition, next_offset, cluster_id)"
			   " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
			   &params);
}

/*
 * Advance a partition's offset from the start of the batch to its end.
 *
 * Raises ERRCODE_T_R_SERIALIZATION_FAILURE if the offset or the epoch has
 * changed since it was read: another worker applied these records, or the
 * stream was changed or sought. last_offset and last_timestamp_ms are those of
 * the batch's last record of the partition; -1 leaves them unchanged.
 * "applied" is the number of its records.  "counts", the results of the whole
 * batch, is passed for one of the batch's partitions only (else NULL).
 *
 * A locked row is treated as changed.  Waiting for it could deadlock: the
 * session that holds it changes or seeks the stream, and may next want a lock
 * that this batch holds.
 */
void
rc_offset_advance(const char *stream, const RcOffset *from, int64 next_offset,
				  int64 last_offset, int64 last_timestamp_ms, int64 applied,
				  const RcCounts *counts)
{
	RcParams	params = {0};

	param_partition(&params, stream, from);
	rc_param_int8(&params, from->next_offset);
	rc_param_int8(&params, from->epoch);
	rc_param_int8(&params, next_offset);
	rc_param_int8_or_null(&params, last_offset, last_offset < 0);
	rc_param_kafka_time(&params, last_timestamp_ms);
	rc_param_int8(&params, applied);
	rc_param_int8(&params, counts ? counts->inserted : 0);
	rc_param_int8(&params, counts ? counts->updated : 0);
	rc_param_int8(&params, counts ? counts->dead : 0);
	if (rc_execute("UPDATE rappel_conso.stream_offset SET next_offset = $6,"
				   " applied = applied + $9, inserted = inserted + $10,"
				   " updated = updated + $11, dead = dead + $12,"
				   " last_offset = COALESCE($7, last_offset),"
				   " record_timestamp = CASE WHEN $7 IS NULL THEN record_timestamp ELSE $8 END,"
				   " applied_at = pg_catalog.clock_timestamp()"
				   " WHERE ctid = (SELECT o.ctid FROM rappel_conso.stream_offset o"
				   "  WHERE o.stream = $1 AND o.topic = $2 AND o.partition = $3"
				   "  AND o.next_offset = $4 AND o.epoch = $5 FOR UPDATE SKIP LOCKED)",
				   &params) != 1)
		fence_failed(stream, from);
}

/*
 * Advance a partition's offset without applying records: past a gap, or past
 * offsets that hold no message.  Fenced as rc_offset_advance().
 */
void
rc_offset_skip(const char *stream, const RcOffset *from, int64 next_offset)
{
	RcParams	params = {0};

	param_partition(&params, stream, from);
	rc_param_int8(&params, from->next_offset);
	rc_param_int8(&params, from->epoch);
	rc_param_int8(&params, next_offset);
	if (rc_execute("UPDATE rappel_conso.stream_offset SET next_offset = $6"
				   " WHERE stream = $1 AND topic = $2 AND partition = $3"
				   " AND next_offset = $4 AND epoch = $5", &params) != 1)
		fence_failed(stream, from);
}

/* A worker starts on the partition: rates are computed from here on. */
void
rc_offset_started(const char *stream, const RcOffset *at)
{
	RcParams	params = {0};

	param_partition(&params, stream, at);
	rc_execute("UPDATE rappel_conso.stream_offset"
			   " SET started_at = pg_catalog.clock_timestamp(),"
			   " applied_before = applied"
			   " WHERE stream = $1 AND topic = $2 AND partition = $3", &params);
}

/*
 * Totals of a stream since it was created; "fetched" is the number of records.
 */
void
rc_offset_totals(const char *stream, RcCounts *counts)
{
	RcQueryScope scope;
	RcParams	params = {0};

	memset(counts, 0, sizeof(RcCounts));
	rc_param_text(&params, stream);
	rc_query_begin(&scope);
	rc_query("SELECT sum(applied)::int8, sum(inserted)::int8,"
			 " sum(updated)::int8, sum(dead)::int8"
			 " FROM rappel_conso.stream_offset WHERE stream = $1", &params);
	counts->fetched = rc_column_int8(0, 1, 0);
	counts->inserted = rc_column_int8(0, 2, 0);
	counts->updated = rc_column_int8(0, 3, 0);
	counts->dead = rc_column_int8(0, 4, 0);
	rc_query_end(&scope);
	counts->unchanged = counts->fetched - counts->inserted -
		counts->updated - counts->dead;
}

/* Add parameters $1 to $3 of statements about a partition. */
static void
param_partition(RcParams *params, const char *stream, const RcOffset *at)
{
	rc_param_text(params, stream);
	rc_param_text(params, at->topic);
	rc_param_int4(params, at->partition);
}

static void
fence_failed(const char *stream, const RcOffset *from)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("offset of stream \"%s\" in topic \"%s\", partition %d was changed by another process",
					stream, from->topic, from->partition),
			 errdetail("The batch started at offset %lld.",
					   (long long) from->next_offset)));
}

/*
 * Execute a pending rc_seek(): the partition continues at next_offset, and the
 * position of its last record is cleared.  Fenced.
 */
void
rc_offset_seek(const char *stream, const RcOffset *from, int64 next_offset,
			   const char *cluster_id)
{
	RcParams	params = {0};

	param_partition(&params, stream, from);
	rc_param_int8(&params, from->epoch);
	rc_param_int8(&params, next_offset);
	rc_param_text(&params, cluster_id);
	if (rc_execute("UPDATE rappel_conso.stream_offset SET next_offset = $5,"
				   " cluster_id = $6, seek_to = NULL, last_offset = NULL,"
				   " record_timestamp = NULL"
				   " WHERE stream = $1 AND topic = $2 AND partition = $3"
				   " AND epoch = $4", &params) != 1)
		fence_failed(stream, from);
}

/* Store the high watermark of a partition; -1 if unknown. */
void
rc_offset_observe(const char *stream, const RcOffset *at, int64 high_watermark)
{
	RcParams	params = {0};

	param_partition(&params, stream, at);
	rc_param_int8_or_null(&params, high_watermark, high_watermark < 0);
	rc_execute("UPDATE rappel_conso.stream_offset SET high_watermark = $4,"
			   " observed_at = pg_catalog.clock_timestamp()"
			   " WHERE stream = $1 AND topic = $2 AND partition = $3",
			   &params);
}

/*
 * Partitions of streams that are paused, failed or waiting, grouped by topic,
 * in the current context.  Topics whose watermarks were read longest ago come
 * first.
 */
RcUnwatched *
rc_offsets_unwatched(int *n)
{
	RcQueryScope scope;
	RcUnwatched *array;

	rc_query_begin(&scope);
	*n = (int) rc_query("SELECT o.stream, o.topic, o.partition, o.high_watermark"
						" FROM rappel_conso.stream_offset o"
						" JOIN rappel_conso.stream s ON s.name = o.stream"
						" LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name"
						" WHERE o.topic = ANY (s.topics)"
						" AND (s.paused OR t.state IN ('failed', 'waiting'))"
						" ORDER BY min(COALESCE(o.observed_at, '-infinity'))"
						"  OVER (PARTITION BY o.topic), o.topic,"
						"  o.observed_at NULLS FIRST, o.partition", NULL);
	array = SPI_palloc(sizeof(RcUnwatched) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		memset(&array[i], 0, sizeof(RcUnwatched));
		array[i].stream = rc_column_text(i, 1);
		array[i].offset.topic = rc_column_text(i, 2);
		array[i].offset.partition = (int32) rc_column_int8(i, 3, 0);
		array[i].offset.high_watermark = rc_column_int8(i, 4, -1);
	}
	rc_query_end(&scope);
	return array;
}

/*
 * rc_seek(): move all partitions of a stream to "earliest", "latest" or a time
 * in the form of rc_start_position(), effective when committed.
 */
void
rc_stream_seek(const char *stream, const char *position)
{
	RcParams	params = {0};

	rc_param_text(&params, stream);
	rc_param_text(&params, position);
	rc_execute("SELECT rappel_conso.seek($1, $2)", &params);
}

/* rc_seek(): move some partitions, each to its own offset. */
void
rc_stream_seek_offsets(const char *stream, const RcSeekOffsets *to)
{
	RcParams	params = {0};
	int			dim = to->n;
	int			from = 1;

	rc_param_text(&params, stream);
	rc_param_datum(&params, TEXTARRAYOID,
				   PointerGetDatum(construct_md_array(to->topics, to->no_topic,
													  1, &dim, &from, TEXTOID,
													  -1, false,
													  TYPALIGN_INT)));
	rc_param_datum(&params, INT4ARRAYOID,
				   PointerGetDatum(construct_array(to->partitions, dim,
												   INT4OID, 4, true,
												   TYPALIGN_INT)));
	rc_param_datum(&params, INT8ARRAYOID,
				   PointerGetDatum(construct_array(to->offsets, dim,
												   INT8OID, 8, FLOAT8PASSBYVAL,
												   TYPALIGN_DOUBLE)));
	rc_execute("SELECT rappel_conso.seek($1, $2, $3, $4)", &params);
}
