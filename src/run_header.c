/*-------------------------------------------------------------------------
 *
 * run_header.c
 *	  Writes and reads the header that identifies the run that has published
 *	  a message: "<system identifier>.<oid of rappel_conso.run>.<run id>".
 *
 * The first two parts distinguish servers, databases and re-creations of the
 * extension that publish to the same topic.  No other file may know the
 * format, and this one must not trust a header: everyone with write access to
 * the topic can forge it.
 *
 *-------------------------------------------------------------------------
 */
#include "run_header.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "rappel_conso.h"
#include "utils/lsyscache.h"

static const RcHeader *find_header(const RcRecord *record);

/*
 * The part of the header that all runs of this database share; palloc'd.
 * Must be called in a transaction.
 */
char *
rc_run_header_prefix(void)
{
	Oid			schema;

	Assert(IsTransactionState());
	schema = get_namespace_oid(RC_SCHEMA, false);
	return psprintf(UINT64_FORMAT ".%u.", GetSystemIdentifier(),
					get_relname_relid("run", schema));
}

/*
 * The header's value for a run of this database; palloc'd.  Must be called in
 * a transaction.
 */
char *
rc_run_header_write(int64 run)
{
	return psprintf("%s" INT64_FORMAT, rc_run_header_prefix(), run);
}

/*
 * The id of the run that published the record, if its header begins with
 * "prefix" (of rc_run_header_prefix()); else 0.  An id with leading zeroes is
 * refused, since rc_run_header_write() never writes one.
 */
int64
rc_run_header_read(const RcRecord *record, const char *prefix)
{
	const RcHeader *header = find_header(record);
	size_t		skip = strlen(prefix);
	int64		run = 0;

	if (header == NULL || header->value_len <= (int) skip ||
		header->value_len - skip > 18 || header->value[skip] == '0' ||
		memcmp(header->value, prefix, skip) != 0)
		return 0;
	for (int i = (int) skip; i < header->value_len; i++)
	{
		if (header->value[i] < '0' || header->value[i] > '9')
			return 0;
		run = run * 10 + (header->value[i] - '0');
	}
	return run;
}

/* Do two records have the same header, or both none? */
bool
rc_run_header_equal(const RcRecord *a, const RcRecord *b)
{
	const RcHeader *x = find_header(a);
	const RcHeader *y = find_header(b);
	int			len = x != NULL ? Max(x->value_len, 0) : 0;

	if (len != (y != NULL ? Max(y->value_len, 0) : 0))
		return false;
	return len == 0 || memcmp(x->value, y->value, len) == 0;
}

/*
 * The header of a record; NULL if it has none.  The last of several counts.
 */
static const RcHeader *
find_header(const RcRecord *record)
{
	for (int i = record->nheaders - 1; i >= 0; i--)
	{
		if (strcmp(record->headers[i].name, RC_HEADER_RUN) == 0)
			return &record->headers[i];
	}
	return NULL;
}
