/*-------------------------------------------------------------------------
 *
 * odsql.c
 *	  Writes conditions in ODSQL, the Explore API's query language, and
 *	  URLs.
 *
 * A value must not be able to change the query: one that cannot be quoted
 * safely is an ERROR.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "source/odsql.h"

static char *condition(const char *field, RcFieldKind kind, const char *op,
					   const char *value);
static char *both(const char *a, const char *b);
static char *field_name(const char *field);
static void append_text(StringInfo buf, const char *value);
static void check_value(const char *value, const char *allowed,
						const char *kind);
static bool is_keyword(const char *word);

/*
 * The condition for a range, palloc'd; NULL if all records match.
 *
 * Errors: those of condition() and field_name().
 */
char *
rc_odsql_where(const RcReadRange *range)
{
	const char *field = range->cursor_field;
	char	   *where = both(range->filter, NULL);

	if (range->from != NULL)
	{
		char	   *newer = condition(field, range->kind, ">=", range->from);

		if (range->with_nulls)
			newer = psprintf("(%s or %s is null)", newer, field_name(field));
		where = both(where, newer);
	}
	if (range->to != NULL)
		where = both(where, condition(field, range->kind, "<", range->to));
	return where;
}

/*
 * The order of a range, palloc'd; NULL if there is none.
 *
 * Errors: those of field_name().
 */
char *
rc_odsql_order(const RcReadRange *range)
{
	if (range->cursor_field == NULL)
		return NULL;
	if (range->key_field == NULL)
		return field_name(range->cursor_field);
	return psprintf("%s,%s", field_name(range->cursor_field),
					field_name(range->key_field));
}

/*
 * Write a comparison such as "date_publication >=
 * date'2026-04-17T08:02:00Z'": palloc'd.  value is text as the API writes it.
 *
 * Errors: 22023 for a value that is not of its kind, or a name that cannot be
 * quoted; 42703 for RC_FIELD_MISSING.
 */
static char *
condition(const char *field, RcFieldKind kind, const char *op,
		  const char *value)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s %s ", field_name(field), op);
	switch (kind)
	{
		case RC_FIELD_MISSING:
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("field \"%s\" does not exist in the dataset", field)));
			break;
		case RC_FIELD_TIME:
			check_value(value, "0123456789-:.+TZ ", "time");
			appendStringInfo(&buf, "date'%s'", value);
			break;
		case RC_FIELD_NUMBER:
			check_value(value, "0123456789-.+eE", "number");
			appendStringInfoString(&buf, value);
			break;
		case RC_FIELD_TEXT:
		case RC_FIELD_JSON:
			append_text(&buf, value);
			break;
	}
	return buf.data;
}

/*
 * "(a) and (b)", palloc'd.  One that is NULL or empty is left out; NULL if
 * both are.
 */
static char *
both(const char *a, const char *b)
{
	bool		has_a = a != NULL && a[0] != '\0';
	bool		has_b = b != NULL && b[0] != '\0';

	if (has_a && has_b)
		return psprintf("(%s) and (%s)", a, b);
	if (has_a)
		return pstrdup(a);
	return has_b ? pstrdup(b) : NULL;
}

/*
 * Quote a field's name for ODSQL, palloc'd: in back-quotes if it is a keyword
 * or contains anything but letters, digits and underscores.
 *
 * Source: Opendatasoft's description of the query language, "Literals".
 *
 * Errors: 22023 when it is empty or holds a back-quote.
 */
static char *
field_name(const char *field)
{
	const char *p;

	if (field[0] == '\0' || strchr(field, '`') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid field name: \"%s\"", field)));

	for (p = field; *p != '\0'; p++)
	{
		if (IS_HIGHBIT_SET(*p) || !(isalnum((unsigned char) *p) || *p == '_'))
			break;
	}
	if (*p == '\0' && !isdigit((unsigned char) field[0]) && !is_keyword(field))
		return pstrdup(field);
	return psprintf("`%s`", field);
}

/*
 * Percent-encode all but the unreserved characters of RFC 3986; palloc'd.
 */
char *
rc_url_encode(const char *text)
{
	StringInfoData buf;
	const char *p;

	initStringInfo(&buf);
	for (p = text; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (c < 0x80 && (isalnum(c) || strchr("-._~", c) != NULL))
			appendStringInfoChar(&buf, *p);
		else
			appendStringInfo(&buf, "%%%02X", c);
	}
	return buf.data;
}

/*
 * Append a text value as a literal.  ODSQL accepts both kinds of quotes, so
 * one that does not occur in the value is used if possible; quotes of that
 * kind and backslashes are escaped by a backslash.
 */
static void
append_text(StringInfo buf, const char *value)
{
	char		quote = strchr(value, '\'') == NULL ? '\'' : '"';
	const char *p;

	appendStringInfoChar(buf, quote);
	for (p = value; *p != '\0'; p++)
	{
		if (*p == quote || *p == '\\')
			appendStringInfoChar(buf, '\\');
		appendStringInfoChar(buf, *p);
	}
	appendStringInfoChar(buf, quote);
}

/*
 * Reject a value that is empty or contains other characters than the allowed.
 */
static void
check_value(const char *value, const char *allowed, const char *kind)
{
	if (value[0] == '\0' || value[strspn(value, allowed)] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s: \"%s\"", kind, value)));
}

/*
 * Keywords of ODSQL, which cannot be a field's name without quotes.
 */
static bool
is_keyword(const char *word)
{
	static const char *const keywords[] = {
		"and", "as", "asc", "by", "date", "desc", "false", "from", "geom",
		"group", "in", "is", "like", "limit", "not", "now", "null", "or",
		"order", "range", "search", "select", "suggest", "to", "true", "where"
	};

	for (int i = 0; i < lengthof(keywords); i++)
	{
		if (pg_strcasecmp(word, keywords[i]) == 0)
			return true;
	}
	return false;
}
