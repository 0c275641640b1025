/*-------------------------------------------------------------------------
 *
 * source_record.c
 *	  Reads and writes rappel_conso.source_record: what is known of each
 *	  record that was sent to a destination of a source, namely a hash of its
 *	  value, its version, and since when full scans have not found it.
 *
 * Nothing is sent here.  Missing records are in source_missing.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/source_record.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "store/first_scan.h"
#include "store/query.h"
#include "store/source_state.h"
#include "store/source_table.h"

/* A longer key does not fit into an index; such records are not tracked. */
#define MAX_KEY_LEN		1024

static void param_keys(RcParams *params, const RcRecord *records,
					   const RcKnownRecord *states, bool insert_too, int n);
static void param_bytes(RcParams *params, const char *const *bytes,
						const int *lens, int n);
static void load_known(const RcSource *source, const char *destination,
					   const RcRecord *records, int n, int *previous,
					   RcKnownRecord *stored);
static void compare(RcKnownRecord *now, const RcKnownRecord *before, RcSendPolicy mode);

/*
 * Compare records, in order, with what is known of their keys;
 * states[i].version is the version of records[i], or NULL.
 *
 * Sets states[i].to_send if the record must be sent: it is new or differs, and
 * its version is not older than the known one.  With RC_SEND_EQUAL equal
 * records are sent as well; with RC_SEND_ALL also those that are older than
 * what another run than this has sent, since the dataset may have gone back to
 * an older version. states[i].write is set if rc_known_records_store() has to
 * store it.  Strings are allocated in the current context.  "first" is NULL
 * unless this is the first scan of the source, see first_scan.c.
 */
void
rc_known_records_compare(const RcSource *source, const char *destination,
						 RcFirstScan *first, const RcRecord *records,
						 RcKnownRecord *states, int n, int64 run,
						 RcSendPolicy mode)
{
	int		   *previous = palloc(sizeof(int) * n);
	RcKnownRecord *stored = palloc0(sizeof(RcKnownRecord) * n);

	for (int i = 0; i < n; i++)
	{
		previous[i] = -1;
		states[i].known = rc_is_trackable(&records[i]);
		states[i].run = run;
		states[i].hash = (int64) hash_bytes_extended((const unsigned char *) records[i].value,
													 records[i].value_len, 0);
	}
	if (first == NULL || !rc_first_scan_all_new(first, records, n))
		load_known(source, destination, records, n, previous, stored);
	for (int i = 0; i < n; i++)
	{
		if (!states[i].known)
			states[i].to_send = true;
		else if (previous[i] >= 0)
		{
			compare(&states[i], &states[previous[i]], mode);
			states[previous[i]].insert = false;
		}
		else
			compare(&states[i], &stored[i], mode);
	}
	pfree(previous);
	pfree(stored);
}

/*
 * Load the stored state of each record's key, and set previous[] to the index
 * of the record before it with the same key, if there is one.
 */
static void
load_known(const RcSource *source, const char *destination,
		   const RcRecord *records, int n, int *previous,
		   RcKnownRecord *stored)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		rows;

	rc_param_source(&params, source, destination);
	param_keys(&params, records, NULL, true, n);
	rc_query_begin(&scope);
	rows = rc_query("SELECT b.ord, b.previous, r.hash, r.version, r.run,"
					" r.missed_at IS NOT NULL, r.key IS NOT NULL,"
					" r.hash IS NULL"
					" FROM (SELECT k.key, k.ord, pg_catalog.lag(k.ord)"
					"  OVER (PARTITION BY k.key ORDER BY k.ord) AS previous"
					"  FROM pg_catalog.unnest($3) WITH ORDINALITY AS k (key, ord)"
					"  WHERE k.key IS NOT NULL) b"
					" LEFT JOIN LATERAL (SELECT * FROM rappel_conso.source_record"
					"  WHERE source = $1 AND destination = $2 AND key = b.key"
					"  LIMIT 1) r ON true"
					" WHERE b.previous IS NOT NULL OR r.key IS NOT NULL",
					&params);
	for (uint64 row = 0; row < rows; row++)
	{
		int			i = (int) rc_column_int8(row, 1, 0) - 1;
		int			len;

		previous[i] = (int) rc_column_int8(row, 2, 0) - 1;
		stored[i].hash = rc_column_int8(row, 3, 0);
		stored[i].version = rc_column_bytes(row, 4, &len);
		stored[i].run = rc_column_int8(row, 5, 0);
		stored[i].missed = rc_column_bool(row, 6);
		stored[i].known = rc_column_bool(row, 7);
		stored[i].unconfirmed = rc_column_bool(row, 8);
	}
	rc_query_end(&scope);
}

/*
 * Compare record "now" with the state "before" of its key.  "now" becomes the
 * state that the next record of the key is compared with.
 */
static void
compare(RcKnownRecord *now, const RcKnownRecord *before, RcSendPolicy mode)
{
	bool		older = before->known && !before->unconfirmed &&
		now->version && before->version &&
		strcmp(now->version, before->version) < 0 &&
		(mode != RC_SEND_ALL || before->run == now->run);
	bool		equal = before->known && !before->unconfirmed &&
		now->hash == before->hash;

	if (older || (equal && mode == RC_SEND_CHANGED))
	{
		now->hash = before->hash;
		now->version = before->version;
		now->run = before->run;
		now->write = before->missed;
	}
	else
	{
		now->to_send = now->write = true;
		now->fresh = now->insert = !before->known;
		now->changed = before->known && !equal;
	}
	now->missed = false;
}

/*
 * Called before changed records (and, with fresh_too, new ones) are published:
 * sets their hash to null, which means that the value last sent is unknown
 * until rc_known_records_store().  Publishing cannot be undone, so the commit
 * is flushed whatever synchronous_commit is: if a crash lost it, a record that
 * later returns to its old value would be taken for unchanged, although the
 * topic has the value published here.
 */
void
rc_known_records_mark_unconfirmed(const RcSource *source, const char *destination,
								  const RcRecord *records, RcKnownRecord *states, int n,
								  bool fresh_too)
{
	RcParams	params = {0};
	RcRecord   *changed = palloc(sizeof(RcRecord) * n);
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		if (!states[i].changed && !(fresh_too && states[i].fresh))
			continue;
		changed[count++] = records[i];
		states[i].insert = false;
	}
	rc_param_source(&params, source, destination);
	param_keys(&params, changed, NULL, true, count);
	rc_execute("INSERT INTO rappel_conso.source_record (source, destination, key)"
			   " SELECT DISTINCT $1, $2, k FROM pg_catalog.unnest($3) k"
			   " ON CONFLICT (source, destination, key) DO UPDATE SET hash = NULL",
			   &params);
	ForceSyncCommit();
	pfree(changed);
}

/*
 * Store the records with states[i].write set, the last one of each key, after
 * they have been sent.  They are no longer missing.  The caller must hold the
 * fence of the source.
 */
void
rc_known_records_store(const RcSource *source, const char *destination,
					   const RcRecord *records, const RcKnownRecord *states, int n)
{
	RcParams	params = {0};
	int64	   *hashes = palloc(sizeof(int64) * n);
	int64	   *runs = palloc(sizeof(int64) * n);
	const char **versions = palloc(sizeof(char *) * n);
	int		   *lens = palloc(sizeof(int) * n);
	int			writes = 0;
	int			inserts = 0;
	bool		inserted = false;

	for (int i = 0; i < n; i++)
		inserts += states[i].insert && states[i].write;
	if (inserts > 0)
		inserted = rc_known_records_insert(source, destination, records, states, n);
	for (int i = 0; i < n; i++)
	{
		hashes[i] = states[i].hash;
		runs[i] = states[i].run;
		versions[i] = states[i].version;
		lens[i] = versions[i] ? (int) strlen(versions[i]) : -1;
		writes += states[i].write;
	}
	if (writes > (inserted ? inserts : 0))
	{
		rc_param_source(&params, source, destination);
		param_keys(&params, records, states, !inserted, n);
		rc_param_ids(&params, hashes, n);
		param_bytes(&params, versions, lens, n);
		rc_param_ids(&params, runs, n);
		rc_execute("INSERT INTO rappel_conso.source_record"
				   " (source, destination, key, hash, version, run)"
				   " SELECT DISTINCT ON (b.key) $1, $2, b.key, b.hash, b.version, b.run"
				   " FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS b (key, hash, version, run, ord)"
				   " WHERE b.key IS NOT NULL ORDER BY b.key, b.ord DESC"
				   " ON CONFLICT (source, destination, key) DO UPDATE"
				   " SET hash = EXCLUDED.hash, version = EXCLUDED.version,"
				   " run = EXCLUDED.run, missed_at = NULL", &params);
	}
	pfree(hashes);
	pfree(runs);
	pfree(versions);
	pfree(lens);
}

/* Delete the state of records whose deletion has been sent. */
void
rc_known_records_delete(const RcSource *source, const char *destination,
						const RcRecord *records, int n)
{
	RcParams	params = {0};

	rc_param_source(&params, source, destination);
	param_keys(&params, records, NULL, true, n);
	rc_execute("DELETE FROM rappel_conso.source_record WHERE source = $1"
			   " AND destination = $2 AND key = ANY ($3)", &params);
}

/*
 * Whether at most "most" records are known to have been sent.  Reads no more
 * than that many rows.
 */
bool
rc_known_records_at_most(const RcSource *source, const char *destination,
						 int64 most)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		at_most;

	rc_param_source(&params, source, destination);
	rc_param_int8(&params, most);
	rc_query_begin(&scope);

	/* every record sent has advanced next_offset */
	rc_query("SELECT COALESCE((SELECT next_offset FROM rappel_conso.source_state"
			 "  WHERE source = $1 AND destination = $2), 0) <= $3"
			 " OR NOT EXISTS (SELECT FROM rappel_conso.source_record"
			 "  WHERE source = $1 AND destination = $2 AND hash IS NOT NULL"
			 "  OFFSET $3)", &params);
	at_most = rc_column_bool(0, 1);
	rc_query_end(&scope);
	return at_most;
}

/* The number of records of a kind. */
int64
rc_known_records_count(const RcSource *source, const char *destination,
					   RcCountOf what)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		count;

	rc_param_source(&params, source, destination);
	rc_param_bool(&params, what == RC_COUNT_KNOWN);
	rc_param_bool(&params, what == RC_COUNT_MISSING);
	rc_query_begin(&scope);
	rc_query("SELECT pg_catalog.count(*) FROM rappel_conso.source_record"
			 " WHERE source = $1 AND destination = $2 AND CASE"
			 " WHEN $3 THEN missed_at IS NULL AND hash IS NOT NULL"
			 " WHEN $4 THEN missed_at IS NOT NULL ELSE true END", &params);
	count = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return count;
}

/* Whether a record can be tracked: it has a key that is not too long. */
bool
rc_is_trackable(const RcRecord *record)
{
	return record->key_len >= 0 && record->key_len <= MAX_KEY_LEN;
}

/*
 * Add the keys of records as an array of bytea, with nulls for those that
 * cannot be tracked or, if "states" is not NULL, are not to be written; those
 * that rc_known_records_insert() has stored only with insert_too.
 */
static void
param_keys(RcParams *params, const RcRecord *records, const RcKnownRecord *states,
		   bool insert_too, int n)
{
	const char **keys = palloc(sizeof(char *) * n);
	int		   *lens = palloc(sizeof(int) * n);

	for (int i = 0; i < n; i++)
	{
		keys[i] = records[i].key;
		lens[i] = (rc_is_trackable(&records[i]) &&
				   (states == NULL ||
					(states[i].write && (insert_too || !states[i].insert)))) ?
			records[i].key_len : -1;
	}
	param_bytes(params, keys, lens, n);
	pfree(keys);
	pfree(lens);
}

/* Add an array of bytea; a negative length is a null. */
static void
param_bytes(RcParams *params, const char *const *bytes, const int *lens, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc(sizeof(bool) * n);
	int			bound = 1;

	for (int i = 0; i < n; i++)
	{
		nulls[i] = lens[i] < 0;
		datums[i] = nulls[i] ? (Datum) 0 :
			PointerGetDatum(cstring_to_text_with_len(bytes[i], lens[i]));
	}
	rc_param_datum(params, BYTEAARRAYOID,
				   PointerGetDatum(construct_md_array(datums, nulls, 1, &n,
													  &bound, BYTEAOID, -1,
													  false, TYPALIGN_INT)));
}
