/*-------------------------------------------------------------------------
 *
 * stream_table.c
 *	  Loads rows of rappel_conso.stream as structs.
 *
 * Nothing is written here, except by rc_stream_settle_types().  Rows are
 * checked when they are stored: in stream_check.c, owner_check.c and the
 * install script.
 *
 *-------------------------------------------------------------------------
 */
#include "store/stream_table.h"

#include "store/known_role.h"
#include "store/query.h"

/* Load a stream, in the current context; NULL if there is none. */
RcStream *
rc_stream_load(const char *name)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcStream   *stream = palloc0(sizeof(RcStream));
	int64		known = -1;
	uint64		rows;

	rc_param_text(&params, name);
	rc_query_begin(&scope);
	rows = rc_query("SELECT s.topics, s.statement, s.setup,"
					" s.value_type::oid, s.key_type::oid, s.start_at,"
					" s.batch_size, s.workers, s.on_error = 'stop',"
					" s.stop_after, s.paused, s.owner, s.search_path, "
					RC_ROW_VERSION("s") ", s.output_topic, s.group_id, k.oid,"
					" s.envelope, s.decimal, s.numeric_time"
					" FROM rappel_conso.stream s LEFT JOIN rappel_conso.known_role k"
					" ON k.name = s.owner WHERE s.name = $1", &params);
	if (rows == 1)
	{
		stream->topics = rc_column_text_list(0, 1);
		stream->statement = rc_column_text(0, 2);
		stream->setup = rc_column_text(0, 3);
		stream->value_type = (Oid) rc_column_int8(0, 4, InvalidOid);
		stream->key_type = (Oid) rc_column_int8(0, 5, InvalidOid);
		stream->start_at = rc_column_text(0, 6);
		stream->batch_size = (int) rc_column_int8(0, 7, 0);
		stream->workers = (int) rc_column_int8(0, 8, 0);
		stream->stop_on_error = rc_column_bool(0, 9);
		stream->stop_after = (int) rc_column_int8(0, 10, 0);
		stream->paused = rc_column_bool(0, 11);
		stream->owner_name = rc_column_text(0, 12);
		stream->search_path = rc_column_text(0, 13);
		stream->version = rc_column_text(0, 14);
		stream->output_topic = rc_column_text(0, 15);
		stream->group_id = rc_column_text(0, 16);
		known = rc_column_int8(0, 17, -1);
		stream->envelope = rc_column_text(0, 18);
		stream->decimal = rc_column_text(0, 19);
		stream->numeric_time = rc_column_text(0, 20);
	}
	rc_query_end(&scope);
	if (rows != 1)
		return NULL;
	stream->owner = rc_role_resolve(stream->owner_name, (Oid) known, known >= 0);
	stream->name = pstrdup(name);
	return stream;
}

/*
 * Lock the definition of a stream against changes until the transaction ends.
 */
void
rc_stream_lock(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	rc_execute("SELECT 1 FROM rappel_conso.stream WHERE name = $1 FOR SHARE",
			   &params);
}

/*
 * The transaction that wrote a stream; InvalidTransactionId if there is none.
 */
TransactionId
rc_stream_xmin(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	return rc_query_xmin("SELECT xmin::text FROM rappel_conso.stream"
						 " WHERE name = $1", &params);
}

/*
 * Lock a stream against deletion and renaming until the transaction ends;
 * false if there is none.
 */
bool
rc_stream_keep(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	return rc_execute("SELECT FROM rappel_conso.stream s WHERE s.name = $1"
					  " FOR KEY SHARE", &params) == 1;
}

/* Whether the stream reads the topic. */
bool
rc_stream_reads(const RcStream *stream, const char *topic)
{
	ListCell   *lc;

	foreach(lc, stream->topics)
	{
		if (strcmp((const char *) lfirst(lc), topic) == 0)
			return true;
	}
	return false;
}

/* Streams that are not paused: a List of RcStreamWorkers. */
List *
rc_streams_unpaused(void)
{
	RcQueryScope scope;
	List	   *streams = NIL;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT name, workers FROM rappel_conso.stream"
				 " WHERE NOT paused", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		RcStreamWorkers *stream = SPI_palloc(sizeof(RcStreamWorkers));

		stream->name = rc_column_text(i, 1);
		stream->workers = (int) rc_column_int8(i, 2, 0);
		streams = rc_result_append(streams, stream);
	}
	rc_query_end(&scope);
	return streams;
}

/*
 * The versions of all streams, which change with the definition and with each
 * rc_seek(): a List of RcStreamVersion.  Epochs of 1 are left out, so that a
 * worker that finds a new partition does not change the version.
 */
List *
rc_stream_versions(void)
{
	RcQueryScope scope;
	List	   *versions = NIL;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT s.name, " RC_ROW_VERSION("s") " || ' ' ||"
				 " COALESCE((SELECT pg_catalog.string_agg(o.epoch::text, ' '"
				 "  ORDER BY o.topic, o.partition) FILTER (WHERE o.epoch > 1)"
				 "  FROM rappel_conso.stream_offset o WHERE o.stream = s.name), '')"
				 " FROM rappel_conso.stream s", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		RcStreamVersion *version = SPI_palloc(sizeof(RcStreamVersion));

		version->name = rc_column_text(i, 1);
		version->version = rc_column_text(i, 2);
		versions = rc_result_append(versions, version);
	}
	rc_query_end(&scope);
	return versions;
}

/* Clear dropped types from the definitions of streams. */
void
rc_stream_settle_types(void)
{
	rc_execute("SELECT rappel_conso.settle_types()", NULL);
}
