/*-------------------------------------------------------------------------
 *
 * source_table.c
 *	  Loads rows of rappel_conso.source as structs.
 *
 * Nothing is written here.  Rows are checked when they are stored: in
 * source_stream.c, owner_check.c and the install script.
 *
 *-------------------------------------------------------------------------
 */
#include "store/source_table.h"


#include "store/known_role.h"
#include "store/query.h"

static bool same_text(const char *a, const char *b);

/* Load a source, in the current context; NULL if there is none. */
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
					" s.retries,"
					" (extract(epoch FROM s.retry_delay) * 1000)::int8,"
					" s.owner, s.topic_config, k.oid"
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
		source->retries = (int) rc_column_int8(0, 12, 0);
		source->retry_delay_ms = rc_column_int8(0, 13, 0);
		source->owner_name = rc_column_text(0, 14);
		source->topic_config = rc_column_text_list(0, 15);
		known = rc_column_int8(0, 16, -1);
	}
	rc_query_end(&scope);
	if (rows != 1)
		return NULL;
	source->owner = rc_role_resolve(source->owner_name, (Oid) known, known >= 0);
	source->name = pstrdup(name);
	return source;
}

/*
 * Whether two definitions of a source read the same records in the same way.
 */
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

/*
 * The transaction that wrote a source; InvalidTransactionId if there is none.
 */
TransactionId
rc_source_xmin(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	return rc_query_xmin("SELECT xmin::text FROM rappel_conso.source"
						 " WHERE name = $1", &params);
}

/*
 * Lock a source against deletion and renaming until the transaction ends;
 * false if there is none.
 */
bool
rc_source_keep(const char *name)
{
	RcParams	params = {0};

	rc_param_text(&params, name);
	return rc_execute("SELECT FROM rappel_conso.source s WHERE s.name = $1"
					  " FOR KEY SHARE", &params) == 1;
}

/* Names of the sources that feed a stream, in the current context. */
List *
rc_sources_of_stream(const char *stream)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *names = NIL;
	uint64		n;

	rc_param_text(&params, stream);
	rc_query_begin(&scope);
	n = rc_query("SELECT name FROM rappel_conso.source WHERE stream = $1",
				 &params);
	for (uint64 i = 0; i < n; i++)
		names = rc_result_append(names, rc_column_text(i, 1));
	rc_query_end(&scope);
	return names;
}

/* Whether a source exists and belongs to the role, as last committed. */
bool
rc_source_is_of(const char *name, Oid role)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		its;

	rc_param_text(&params, name);
	rc_param_oid(&params, role);
	rc_query_begin(&scope);
	its = rc_query_latest("SELECT FROM rappel_conso.source s"
						  " JOIN pg_catalog.pg_roles r ON r.rolname = s.owner"
						  " LEFT JOIN rappel_conso.known_role k ON k.name = s.owner"
						  " WHERE s.name = $1 AND r.oid = $2"
						  " AND COALESCE(k.oid, r.oid) = r.oid", &params) > 0;
	rc_query_end(&scope);
	return its;
}
