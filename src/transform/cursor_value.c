/*-------------------------------------------------------------------------
 *
 * cursor_value.c
 *	  The text of a cursor field: whether it is what its kind says, and which
 *	  of two is the greater.
 *
 * It must not take what an API could not be asked for again: a value that is
 * none of its kind must not become the cursor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transform/cursor_value.h"
#include "transform/recall.h"

/* Whether a text is a value of the kind, so that it can be compared. */
bool
rc_cursor_is_value(RcFieldKind kind, const char *text)
{
	char		iso[RC_DATE_ROOM];
	char	   *end;

	switch (kind)
	{
		case RC_FIELD_TIME:
			return strspn(text, "0123456789") == 4 && text[4] == '-' &&
				rc_recall_timestamp(text, iso);
		case RC_FIELD_NUMBER:
			(void) strtod(text, &end);
			return *end == '\0' &&
				strspn(text, "0123456789-.+eE") == strlen(text);
		default:
			return true;
	}
}

/*
 * Compare two values of the kind.  Times of one dataset are written in one
 * form of ISO 8601, so their text compares as they do.
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
		return 0;				/* the API's collation is its own */
	return strcmp(a, b);
}

/*
 * A value of the kind RC_FIELD_TIME as an ISO time in UTC: palloc'd.  The
 * server's input would read one without a zone by the setting TimeZone.
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
	(void) rc_recall_timestamp(time, iso);
	return pstrdup(iso);
}
