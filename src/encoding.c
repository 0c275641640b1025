/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  Between the encoding of the database and UTF-8, which is what the API
 *	  and Kafka speak.
 *
 * A conversion is looked up in the catalog.  So all of it needs a transaction,
 * but for what is shown to people, which makes one where there is none: an API
 * or a broker may say what is wrong at any time.
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
 * Text of the server in UTF-8, palloc'd or as it is; NULL stays.  "what" names
 * it in the error for what has no meaning there: in SQL_ASCII the bytes must
 * be UTF-8 already.
 *
 * Errors: 22021.
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
				 errmsg("%s cannot be written in UTF-8", what),
				 encoding == PG_SQL_ASCII ?
				 errdetail("The encoding of the database is SQL_ASCII, so the bytes go as they are, and these are not UTF-8.") :
				 errdetail("It holds a character of encoding %s that has no equivalent.",
						   GetDatabaseEncodingName()),
				 errhint("Store it anew, in characters that UTF-8 has.")));
	return utf8;
}

/*
 * UTF-8 as text of the server, palloc'd and null-terminated; NULL for what is
 * no UTF-8, or has a character that the server's encoding lacks.
 */
char *
rc_from_utf8(const char *bytes, int len)
{
	if (!pg_verify_mbstr(PG_UTF8, bytes, len, true))
		return NULL;
	return convert(bytes, len, PG_UTF8, GetDatabaseEncoding());
}

/*
 * The same for people: what is no UTF-8, or what the server's encoding lacks,
 * becomes "?".
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

/* NULL where it cannot be done. */
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
