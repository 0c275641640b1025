/*-------------------------------------------------------------------------
 *
 * cursor_value.c
 *	  Checks and compares values of a cursor field, as text.
 *
 * A value that is not of its kind must not become the cursor: it could not be
 * used in a condition of the next request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transform/cursor_value.h"
#include "transform/recall.h"

/* Is this text a value of the kind, so that it can be compared? */
bool
rc_cursor_is_value(RcFieldKind kind, const char *text)
{
	char		iso[RC_DATE_ROOM];
	char	   *end;

	switch (kind)
	{
		case RC_FIELD_TIME:
			return strspn(text, "0123456789") == 4 && text[4] == '-' &&
				rc_recall_timestamp(text, strlen(text), iso);
		case RC_FIELD_NUMBER:
			(void) strtod(text, &end);
			return *end == '\0' &&
				strspn(text, "0123456789-.+eE") == strlen(text);
		default:
			return true;
	}
}

/*
 * Compare two values of the kind.  All times of a dataset have the same form
 * of ISO 8601, so they are compared as text.
 */
int
rc_cursor_compare(RcFieldKind kind, const char *a, const char *b)
{
	if (kind == RC_FIELD_NUMBER)
	{
		double		x = strtod(a, NULL);
		double		y = strtod(b, NULL);

		return (x > y) - (x < y);
	}
	if (kind == RC_FIELD_TEXT)
		return 0;				/* the order depends on the API's collation */
	return strcmp(a, b);
}

/*
 * Convert a value of the kind RC_FIELD_TIME to an ISO time in UTC, palloc'd.
 * timestamptz_in() cannot be used: it depends on TimeZone for a value without
 * a zone.
 *
 * Errors: 22007.
 */
char *
rc_cursor_utc(const char *time)
{
	char		iso[RC_DATE_ROOM];

	if (!rc_cursor_is_value(RC_FIELD_TIME, time))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("invalid time: \"%s\"", time)));
	(void) rc_recall_timestamp(time, strlen(time), iso);
	return pstrdup(iso);
}
