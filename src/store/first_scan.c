/*-------------------------------------------------------------------------
 *
 * first_scan.c
 *	  The first scan over a source, when nothing is known of its records: its
 *	  records need not be looked up.
 *
 * Nothing was known when the scan began, so a record is known only if the scan
 * itself has met its key before.  A Bloom filter shows where that is certainly
 * not so, in bounded memory.  Falls back to the look-up of source_record.c for
 * each batch with a key that may have been met, for all batches if anything
 * was known, and so when a scan is resumed.
 *
 * Measured with 20,000 recalls in direct mode, together with
 * source_record_insert.c, medians of two pairs on a busy machine: from 118 to
 * 92 us of CPU for each, from 0.20 to 0.25 of the speed of COPY.
 *
 * Nothing is read or written here but whether anything is known.
 *
 *-------------------------------------------------------------------------
 */
#include "store/first_scan.h"

#include "lib/bloomfilter.h"

#include "store/query.h"
#include "store/source_state.h"

/* Memory of the filter, in kB: enough for a million keys, and more. */
#define FILTER_KBYTES	4096

struct RcFirstScan
{
	bloom_filter *keys;			/* that the scan has met */
};

/*
 * Begin a scan of about so many records.  Returns NULL if anything is known of
 * records of the source; else allocated in the current context.
 */
RcFirstScan *
rc_first_scan_begin(const RcSource *source, const char *destination,
					int64 expected)
{
	RcFirstScan *scan;
	RcQueryScope scope;
	RcParams	params = {0};
	bool		known;

	if ((rc_fast_paths & RC_FAST_NEW) == 0)
		return NULL;
	rc_param_source(&params, source, destination);
	rc_query_begin(&scope);
	rc_query("SELECT EXISTS (SELECT FROM rappel_conso.source_record"
			 " WHERE source = $1 AND destination = $2)", &params);
	known = rc_column_bool(0, 1);
	rc_query_end(&scope);
	if (known)
		return NULL;

	scan = palloc(sizeof(RcFirstScan));
	scan->keys = bloom_create(Max(expected, 1), FILTER_KBYTES, 0);
	return scan;
}

void
rc_first_scan_end(RcFirstScan *scan)
{
	bloom_free(scan->keys);
	pfree(scan);
}

/*
 * Note the keys of these records.  Returns whether it is certain that each of
 * them is new, to the scan and among these records.
 */
bool
rc_first_scan_all_new(RcFirstScan *scan, const RcRecord *records, int n)
{
	bool		all_new = true;

	for (int i = 0; i < n; i++)
	{
		unsigned char *key = (unsigned char *) unconstify(char *, records[i].key);

		if (!rc_is_trackable(&records[i]))
			continue;
		if (all_new)
			all_new = bloom_lacks_element(scan->keys, key, records[i].key_len);
		bloom_add_element(scan->keys, key, records[i].key_len);
	}
	return all_new;
}
