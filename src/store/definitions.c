/*-------------------------------------------------------------------------
 *
 * definitions.c
 *	  Definitions: rows of rappel_conso.stream and rappel_conso.source as
 *	  structs.
 *
 * It reads only; what guards the rows when they are stored is in stream_check.c and
 * in the install script.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define VERSION_OF(alias) \
	alias ".xmin::text || ' ' || " alias ".ctid::text"

static bool same_text(const char *a, const char *b);
static List *column_text_list(int row, int column);

/*
 * Whether the extension exists in this database, at the version that this
 * library was compiled as.  A library that waits for a restart of the server
 * must not touch tables that it does not know.
 */
bool
rc_extension_present(void)
{
	RcParams	params = {0};
	uint64		rows;

	if (!OidIsValid(get_extension_oid(RC_NAME, true)))
		return false;
	rc_param_text(&params, RC_NAME);
	rc_param_text(&params, RC_VERSION);
	rows = rc_execute("SELECT 1 FROM pg_catalog.pg_extension"
					  " WHERE extname = $1::name AND extversion = $2", &params);
	return rows == 1;
}

/*
 * The stream "name", in the current context; NULL if there is none.
 */
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
					VERSION_OF("s") ", s.output_topic, k.oid"
					" FROM rappel_conso.stream s LEFT JOIN rappel_conso.known_role k"
					" ON k.name = s.owner WHERE s.name = $1", &params);
	if (rows == 1)
	{
		stream->topics = column_text_list(0, 1);
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
		known = rc_column_int8(0, 16, -1);
	}
	rc_query_end(&scope);
	if (rows != 1)
		return NULL;
	stream->owner = rc_role_resolve(stream->owner_name, (Oid) known, known >= 0);
	stream->name = pstrdup(name);
	return stream;
}

/* Keep the definition of a stream as it is until the transaction ends. */
void
rc_stream_lock(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	rc_execute("SELECT 1 FROM rappel_conso.stream WHERE name = $1 FOR SHARE",
			   &params);
}

/*
 * The source "name", in the current context; NULL if there is none.
 */
RcSource *
rc_source_load(const char *name)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcSource   *source = palloc0(sizeof(RcSource));
	int64		known = -1;
	uint64		rows;

	rc_param_text(&params, name);
	rc_query_begin(&scope);
	rows = rc_query("SELECT s.url, s.dataset, s.filter, s.key_field,"
					" s.cursor_field, s.transform, s.fold_accents, s.topic,"
					" s.partitions, s.replication, s.stream,"
					" (extract(epoch FROM s.poll_interval) * 1000)::int8,"
					" s.retries,"
					" (extract(epoch FROM s.retry_delay) * 1000)::int8,"
					" s.paused, s.owner, "
					VERSION_OF("s") ", k.oid"
					" FROM rappel_conso.source s LEFT JOIN rappel_conso.known_role k"
					" ON k.name = s.owner WHERE s.name = $1", &params);
	if (rows == 1)
	{
		source->url = rc_column_text(0, 1);
		source->dataset = rc_column_text(0, 2);
		source->filter = rc_column_text(0, 3);
		source->key_field = rc_column_text(0, 4);
		source->cursor_field = rc_column_text(0, 5);
		source->transform = rc_column_text(0, 6);
		source->fold_accents = rc_column_bool(0, 7);
		source->topic = rc_column_text(0, 8);
		source->partitions = (int) rc_column_int8(0, 9, 1);
		source->replication = (int) rc_column_int8(0, 10, -1);
		source->stream = rc_column_text(0, 11);
		source->poll_interval_ms = rc_column_int8(0, 12, 0);
		source->retries = (int) rc_column_int8(0, 13, 0);
		source->retry_delay_ms = rc_column_int8(0, 14, 0);
		source->paused = rc_column_bool(0, 15);
		source->owner_name = rc_column_text(0, 16);
		source->version = rc_column_text(0, 17);
		known = rc_column_int8(0, 18, -1);
	}
	rc_query_end(&scope);
	if (rows != 1)
		return NULL;
	source->owner = rc_role_resolve(source->owner_name, (Oid) known, known >= 0);
	source->name = pstrdup(name);
	return source;
}

/* Whether two states of a source read the same records in the same way. */
bool
rc_source_reads_same(const RcSource *a, const RcSource *b)
{
	return same_text(a->url, b->url) && same_text(a->dataset, b->dataset) &&
		same_text(a->filter, b->filter) &&
		same_text(a->key_field, b->key_field) &&
		same_text(a->cursor_field, b->cursor_field) &&
		same_text(a->transform, b->transform) &&
		a->fold_accents == b->fold_accents;
}

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

/* A text[] column as a list of strings, in the context of results. */
static List *
column_text_list(int row, int column)
{
	bool		isnull;
	Datum		array = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	List	   *list = NIL;
	MemoryContext inner;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &n);

	inner = MemoryContextSwitchTo(rc_query_result_context());
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			list = lappend(list, TextDatumGetCString(elements[i]));
	}
	MemoryContextSwitchTo(inner);
	return list;
}
