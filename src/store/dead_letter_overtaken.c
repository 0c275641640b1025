/*-------------------------------------------------------------------------
 *
 * dead_letter_overtaken.c
 *	  Resolves dead letters of a stream that folds changes, when a later change
 *	  with the same key has been applied.
 *
 * Applying such a dead letter after that would bring back what the row was.  It
 * must be done in the transaction that applies the later change.
 *
 *-------------------------------------------------------------------------
 */
#include "store/dead_letter.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "store/query.h"

/* The unresolved dead letters d of a stream; $1 is its name, $2 its owner. */
#define OF_STREAM \
	" d.origin = 'stream' AND d.name = $1 AND d.owner = $2" \
	" AND d.owner_oid = rappel_conso.role_oid(d.owner) AND d.resolved_at IS NULL"

/* Places and keys of records. */
typedef struct Places
{
	int			n;
	Datum	   *topics;
	Datum	   *partitions;
	Datum	   *offsets;
	Datum	   *keys;
} Places;

static bool has_letters(const RcStream *stream);
static void add_places(Places *places, const RcRecord *records, int n,
					   const bool *dead);
static void param_places(RcParams *params, const Places *places);
static void param_array(RcParams *params, Oid array, Datum *values, int n,
						Oid type, int16 len, bool byval, char align);

/*
 * Records of a batch have been applied, but for those that became dead letters.
 * "retried": they are dead letters themselves, which the caller resolves.
 */
void
rc_dead_letter_overtaken(const RcStream *stream, const RcRecord *records,
						 int n, const bool *dead, bool retried)
{
	Places		places = {0};
	RcParams	params = {0};

	if (!has_letters(stream))
		return;
	add_places(&places, records, n, dead);
	rc_param_text(&params, stream->name);
	rc_param_text(&params, stream->owner_name);
	param_places(&params, &places);
	rc_param_bool(&params, retried);
	rc_execute("UPDATE rappel_conso.dead_letter d"
			   " SET resolved_at = pg_catalog.clock_timestamp(),"
			   " attempts = attempts + 1"
			   " FROM (SELECT topic, partition, key, pg_catalog.max(record_offset) AS record_offset"
			   "  FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4),"
			   "   pg_catalog.unnest($5), pg_catalog.unnest($6))"
			   "   AS u (topic, partition, record_offset, key)"
			   "  GROUP BY topic, partition, key) r"
			   " WHERE" OF_STREAM
			   " AND d.topic = r.topic AND d.key IS NOT NULL"
			   " AND pg_catalog.md5(d.key) = pg_catalog.md5(r.key)"
			   " AND d.key = r.key AND d.partition = r.partition"
			   " AND (d.record_offset < r.record_offset"
			   "  OR d.record_offset = r.record_offset AND NOT $7)", &params);
}

/* Mostly there are none, and then the keys need not be looked up. */
static bool
has_letters(const RcStream *stream)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		any;

	rc_param_text(&params, stream->name);
	rc_param_text(&params, stream->owner_name);
	rc_query_begin(&scope);
	any = rc_query("SELECT FROM rappel_conso.dead_letter d WHERE" OF_STREAM
				   " LIMIT 1", &params) > 0;
	rc_query_end(&scope);
	return any;
}

/* Of records that have a key and an offset, and are not dead. */
static void
add_places(Places *places, const RcRecord *records, int n, const bool *dead)
{
	places->topics = palloc(n * sizeof(Datum));
	places->partitions = palloc(n * sizeof(Datum));
	places->offsets = palloc(n * sizeof(Datum));
	places->keys = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		const RcRecord *record = &records[i];
		int			at = places->n;

		if (record->key_len < 0 || record->offset < 0 || dead[i])
			continue;
		places->topics[at] = CStringGetTextDatum(record->topic);
		places->partitions[at] = Int32GetDatum(record->partition);
		places->offsets[at] = Int64GetDatum(record->offset);
		places->keys[at] = PointerGetDatum(cstring_to_text_with_len(record->key,
																	record->key_len));
		places->n++;
	}
}

/* Four parameters. */
static void
param_places(RcParams *params, const Places *places)
{
	param_array(params, TEXTARRAYOID, places->topics, places->n,
				TEXTOID, -1, false, TYPALIGN_INT);
	param_array(params, INT4ARRAYOID, places->partitions, places->n,
				INT4OID, 4, true, TYPALIGN_INT);
	param_array(params, INT8ARRAYOID, places->offsets, places->n,
				INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	param_array(params, BYTEAARRAYOID, places->keys, places->n,
				BYTEAOID, -1, false, TYPALIGN_INT);
}

static void
param_array(RcParams *params, Oid array, Datum *values, int n,
			Oid type, int16 len, bool byval, char align)
{
	rc_param_datum(params, array,
				   PointerGetDatum(construct_array(values, n, type, len,
												   byval, align)));
}
