/*-------------------------------------------------------------------------
 *
 * source_missing.c
 *	  Records of a source that full scans no longer find.
 *
 * They are only marked here; src/worker/scan_withdraw.c deletes them at the
 * destination.
 *
 *-------------------------------------------------------------------------
 */
#include "store/source_missing.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "store/query.h"
#include "store/records_relation.h"
#include "store/source_record.h"
#include "store/source_state.h"

/* Memory for the keys of a full scan before they spill to a file, in kB. */
#define SEEN_KBYTES		4096

/*
 * The keys that a full scan has found.  They spill to a temporary file, since
 * a dataset may be of any size.
 */
struct RcSeen
{
	TupleDesc	desc;
	Tuplestorestate *store;
	int64		n;
};

/*
 * Start collecting keys, in the current context.  The tuplestore survives the
 * end of the transaction.
 */
RcSeen *
rc_seen_begin(void)
{
	RcSeen	   *seen = palloc0(sizeof(RcSeen));

	seen->desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(seen->desc, 1, "key", BYTEAOID, -1, 0);
	seen->store = tuplestore_begin_heap(false, true, SEEN_KBYTES);
	return seen;
}

/*
 * Add the keys of records that the scan has found.  They are kept even if the
 * transaction aborts.
 */
void
rc_seen_add(RcSeen *seen, const RcRecord *records, int n)
{
	for (int i = 0; i < n; i++)
	{
		Datum		key;
		bool		isnull = false;

		if (!rc_is_trackable(&records[i]))
			continue;
		key = PointerGetDatum(cstring_to_text_with_len(records[i].key,
													   records[i].key_len));
		tuplestore_putvalues(seen->store, seen->desc, &key, &isnull);
		pfree(DatumGetPointer(key));
		seen->n++;
	}
}

/*
 * At the end of a full scan: mark the known records that it has not found as
 * missing.  Returns the number of missing records, including those of earlier
 * scans.  A missed_at in the future, after the clock was set back, is
 * replaced, so that the hour starts again.
 */
int64
rc_known_records_note_missing(const RcSource *source, const char *destination,
							  RcSeen *seen)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		missing;

	rc_param_source(&params, source, destination);
	rc_query_begin(&scope);
	rc_relation_register("seen", seen->store, seen->desc, (double) seen->n);

	/*
	 * the planner underestimates a table that has grown since it was analyzed
	 */
	(void) set_config_option("enable_nestloop", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	rc_query("UPDATE rappel_conso.source_record r SET missed_at = pg_catalog.now()"
			 " WHERE r.source = $1 AND r.destination = $2"
			 " AND (r.missed_at IS NULL OR r.missed_at > pg_catalog.now())"
			 " AND NOT EXISTS (SELECT FROM seen s WHERE s.key = r.key)", &params);
	rc_query("SELECT pg_catalog.count(*) FROM rappel_conso.source_record"
			 " WHERE source = $1 AND destination = $2 AND missed_at IS NOT NULL",
			 &params);
	missing = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return missing;
}

/*
 * Records missing for RC_MISSING_TIME or longer, ordered by key, after "after"
 * (NULL: from the first), at most "limit".  They have only a key; allocated in
 * the current context.  They are marked unconfirmed, as by
 * rc_known_records_mark_unconfirmed(), until they are deleted.
 */
RcRecord *
rc_known_records_missing(const RcSource *source, const char *destination,
						 const RcRecord *after, int limit, int *n)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcRecord   *records;

	rc_param_source(&params, source, destination);
	rc_param_bytea(&params, after ? after->key : "", after ? after->key_len : 0);
	rc_param_int4(&params, limit);
	rc_query_begin(&scope);
	*n = (int) rc_query("WITH gone AS (UPDATE rappel_conso.source_record r SET hash = NULL"
						" WHERE r.source = $1 AND r.destination = $2 AND r.key = ANY (ARRAY("
						" SELECT m.key FROM rappel_conso.source_record m"
						" WHERE m.source = $1 AND m.destination = $2 AND m.key > $3"
						" AND m.missed_at <= pg_catalog.now() - " RC_MISSING_TIME
						" ORDER BY m.key LIMIT $4)) RETURNING r.key)"
						" SELECT g.key FROM gone g ORDER BY g.key", &params);
	records = SPI_palloc(sizeof(RcRecord) * Max(*n, 1));
	memset(records, 0, sizeof(RcRecord) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		records[i].key = rc_column_bytes(i, 1, &records[i].key_len);
		records[i].value_len = -1;
	}
	rc_query_end(&scope);
	if (*n > 0)
		ForceSyncCommit();
	return records;
}
