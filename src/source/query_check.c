/*-------------------------------------------------------------------------
 *
 * query_check.c
 *	  Checks the filter of a source and the names of its fields.
 *
 * Only what no request can contain is rejected here.  Whether the dataset has
 * such fields, and whether a filter is valid, the API reports at the request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/odsql.h"
#include "source/query_check.h"

/* Maximal bytes of a name, and of a percent-encoded filter. */
#define MAX_FIELD	255
#define MAX_FILTER	16000

/*
 * Reject a filter that no server accepts; NULL means none.
 *
 * Errors: 22023.
 */
void
rc_filter_check(const char *source, const char *filter)
{
	size_t		len = filter != NULL ? strlen(filter) : 0;

	if (len > 0 && len <= MAX_FILTER)
		len = strlen(rc_url_encode(filter));
	if (len > MAX_FILTER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("filter of source \"%s\" is too long", source),
				 errdetail("Encoded as a part of a URL, it is limited to %d bytes.", MAX_FILTER),
				 errhint("Use a shorter condition, or several sources.")));
}

/*
 * Reject a name that no query can contain; NULL means none.  "column" is the
 * column of rappel_conso.source that it is from, for messages.
 *
 * Errors: 22023.
 */
void
rc_field_check(const char *source, const char *column, const char *field)
{
	static const char *const hint = "Use the name of one field of the dataset as the API lists it, without back-quotes.";
	const char *p;

	if (field == NULL)
		return;
	if (strlen(field) > MAX_FIELD)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of source \"%s\" is too long", column, source),
				 errdetail("The limit is %d bytes.", MAX_FIELD),
				 errhint("%s", hint)));
	for (p = field; *p != '\0'; p++)
	{
		if (*p == '`' || (unsigned char) *p < ' ' || *p == 0x7f)
			break;
	}
	if (*p != '\0' || p == field)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of source \"%s\" is not a field name: \"%s\"",
						column, source, field),
				 errhint("%s", hint)));
}
