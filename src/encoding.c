/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  Conversion between the encoding of the database and UTF-8, which the
 *	  APIs and Kafka use.
 *
 * The conversion function is looked up in the catalog, so callers must be in
 * a transaction.  Only rc_shown_utf8() starts one if there is none: error
 * texts of APIs arrive outside of transactions.  Those of brokers arrive in
 * callbacks of a library, so rc_mask_invalid() only replaces bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

static char *show(const char *text);
static char *convert(const char *bytes, int len, int from, int to);

/*
 * Convert text in the database's encoding to UTF-8.  The result is palloc'd;
 * NULL gives NULL.  "what" names the text in the error.  In a SQL_ASCII
 * database the bytes must be valid UTF-8 already.
 *
 * Errors: 22021 for a character that UTF-8 lacks, or bytes that are not
 * UTF-8.
 */
char *
rc_to_utf8(const char *text, const char *what)
{
	int			encoding = GetDatabaseEncoding();
	char	   *utf8;

	if (text == NULL)
		return NULL;
	utf8 = convert(text, strlen(text), encoding, PG_UTF8);
	if (utf8 == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("could not convert %s to UTF-8", what),
				 encoding == PG_SQL_ASCII ?
				 errdetail("The encoding of the database is SQL_ASCII, so the bytes are used as they are, and they are not valid UTF-8.") :
				 errdetail("It contains a character of encoding %s that has no equivalent in UTF-8.",
						   GetDatabaseEncodingName()),
				 errhint("Store the value again with characters that can be represented in UTF-8.")));
	return utf8;
}

/*
 * Convert UTF-8 to the database's encoding.  The result is palloc'd and
 * null-terminated; NULL if the bytes are not valid UTF-8, or have a character
 * that the encoding lacks.
 */
char *
rc_from_utf8(const char *bytes, int len)
{
	if (!pg_verify_mbstr(PG_UTF8, bytes, len, true))
		return NULL;
	return convert(bytes, len, PG_UTF8, GetDatabaseEncoding());
}

/*
 * The same for error messages: each invalid byte, and each character that the
 * database's encoding lacks, becomes "?".  Starts a transaction if there is
 * none.
 */
char *
rc_shown_utf8(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	bool		alone = GetDatabaseEncoding() != PG_UTF8 && !IsTransactionState();
	char	   *shown;

	if (alone)
		StartTransactionCommand();
	MemoryContextSwitchTo(context);
	shown = show(text);
	if (alone)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return shown;
}

static char *
show(const char *text)
{
	char	   *shown = rc_from_utf8(text, strlen(text));
	char	   *to;

	if (shown != NULL)
		return shown;
	shown = to = palloc(strlen(text) * MAX_CONVERSION_GROWTH + 1);
	while (*text != '\0')
	{
		int			len = Min(pg_utf_mblen((const unsigned char *) text),
							  (int) strlen(text));
		char	   *one = rc_from_utf8(text, len);

		if (one == NULL && !pg_verify_mbstr(PG_UTF8, text, len, true))
			len = 1;
		to = stpcpy(to, one != NULL ? one : "?");
		text += len;
	}
	return shown;
}

/*
 * Make a text that was received, or cut, fit for an error message, in place:
 * bytes that are not valid UTF-8 become "?", and in a database of another
 * encoding all that are not ASCII.  Callbacks of libraries may call it: it
 * neither allocates memory nor raises an error.
 */
void
rc_mask_invalid(char *text)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;

	while (*text != '\0')
	{
		int			len = utf8 ? pg_utf_mblen((const unsigned char *) text) : 1;

		if (IS_HIGHBIT_SET(*text) &&
			(!utf8 || strnlen(text, len) < (size_t) len ||
			 !pg_utf8_islegal((const unsigned char *) text, len)))
		{
			*text = '?';
			len = 1;
		}
		text += len;
	}
}

/* Returns NULL if the text cannot be converted. */
static char *
convert(const char *bytes, int len, int from, int to)
{
	Oid			conversion;
	Size		size;
	char	   *text;

	if (from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII || len == 0)
		return pg_verify_mbstr(to, bytes, len, true) ?
			pnstrdup(bytes, len) : NULL;

	Assert(IsTransactionState());
	conversion = FindDefaultConversionProc(from, to);
	if (!OidIsValid(conversion))
		return NULL;
	size = (Size) len * MAX_CONVERSION_GROWTH + 1;
	text = MemoryContextAllocHuge(CurrentMemoryContext, size);
	if (pg_do_encoding_conversion_buf(conversion, from, to,
									  (unsigned char *) unconstify(char *, bytes),
									  len, (unsigned char *) text,
									  (int) Min(size, INT_MAX), true) < len)
	{
		pfree(text);
		return NULL;
	}
	return text;
}
