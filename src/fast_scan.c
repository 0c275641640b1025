/*-------------------------------------------------------------------------
 *
 * fast_scan.c
 *	  The scanner's parts that are no inline functions: numbers, words,
 *	  escapes, and whole values that are skipped.
 *
 * The grammar is that of the server's json_lex() and json_lex_string(); what
 * is accepted here must be accepted there, with the same meaning.  The bytes
 * must have been verified (rc_value_text()).
 *
 *-------------------------------------------------------------------------
 */
#include "fast_scan.h"

#include "mb/pg_wchar.h"

static int	hex4(const char *at, const char *end);
static const char *copy_escape(const char *escape, const char *end, char **to);
static bool skip_container(RcScan *scan, char closing, int depth);

#define P8 true, true, true, true, true, true, true, true
#define P32 P8, P8, P8, P8

/* What means itself in a string. */
const bool	rc_scan_plain[256] = {
	[0x20] = true, true, false, true, true, true, true, true,
	P8, P8, P8,					/* 0x28 .. 0x3F */
	P8, P8, P8,					/* 0x40 .. 0x57 */
	true, true, true, true, false, true, true, true,	/* [0x5C] is '\' */
	P32,						/* 0x60 .. 0x7F */
	P32, P32, P32, P32			/* bytes of characters that are not ASCII */
};

/*
 * Begin to scan a text in the server's encoding.  False if bytes of some
 * characters could be mistaken: only those of UTF-8 and ASCII cannot.
 */
bool
rc_scan_begin(RcScan *scan, const char *json, int len)
{
	scan->at = json;
	scan->end = json + len;
	scan->utf8 = (GetDatabaseEncoding() == PG_UTF8);
	if (scan->utf8)
		return true;
	for (int i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(json[i]))
			return false;
	}
	return true;
}

/*
 * Scan escapes, at the first one.  False if there is none, or not one that
 * each encoding has: code points that are not ASCII are taken in UTF-8 only.
 */
bool
rc_scan_escapes(RcScan *scan)
{
	while (scan->at < scan->end && *scan->at == '\\')
	{
		const char *at = scan->at + 1;
		int			code;

		if (at == scan->end)
			return false;
		if (*at != 'u')
		{
			if (*at == '\0' || strchr("\"\\/bfnrt", *at) == NULL)
				return false;
			scan->at = at + 1;
			continue;
		}
		code = hex4(at + 1, scan->end);
		at += 5;
		if (code <= 0 || (code >= 0x80 && !scan->utf8) ||
			is_utf16_surrogate_second(code))
			return false;
		if (is_utf16_surrogate_first(code))
		{
			if (scan->end - at < 6 || at[0] != '\\' || at[1] != 'u' ||
				!is_utf16_surrogate_second(hex4(at + 2, scan->end)))
				return false;
			at += 6;
		}
		scan->at = at;
	}
	return scan->at < scan->end &&
		(*scan->at == '"' || rc_scan_plain[(unsigned char) *scan->at]);
}

/* The number of four hexadecimal digits; -1 if they are not. */
static int
hex4(const char *at, const char *end)
{
	int			code = 0;

	if (end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = at[i];

		code <<= 4;
		if (c >= '0' && c <= '9')
			code |= c - '0';
		else if (c >= 'a' && c <= 'f')
			code |= c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			code |= c - 'A' + 10;
		else
			return -1;
	}
	return code;
}

/*
 * The text of a string, which has been scanned, without its escapes;
 * null-terminated, and its length.
 */
char *
rc_scan_unescape(const RcScanned *string, int *len)
{
	char	   *text = palloc(string->len + 1);

	*len = (int) rc_unescape(string->text, string->len, text);
	return text;
}

/*
 * Write the text between two quotes, whose escapes have been checked, with the
 * characters that they mean, and a null byte.  There must be room for one
 * byte more than it has.  Returns the length.
 */
size_t
rc_unescape(const char *text, size_t len, char *to)
{
	const char *end = text + len;
	char	   *start = to;

	while (text < end)
	{
		const char *escape = memchr(text, '\\', end - text);
		size_t		run = (escape != NULL ? escape : end) - text;

		memcpy(to, text, run);
		to += run;
		text += run;
		if (escape != NULL)
			text = copy_escape(escape + 1, end, &to);
	}
	*to = '\0';
	return to - start;
}

/*
 * Append the character of an escape, given from behind its backslash, to *to;
 * returns the end of the escape.
 */
static const char *
copy_escape(const char *escape, const char *end, char **to)
{
	int			code;

	switch (*escape++)
	{
		case 'b':
			*(*to)++ = '\b';
			break;
		case 'f':
			*(*to)++ = '\f';
			break;
		case 'n':
			*(*to)++ = '\n';
			break;
		case 'r':
			*(*to)++ = '\r';
			break;
		case 't':
			*(*to)++ = '\t';
			break;
		case 'u':
			code = hex4(escape, end);
			escape += 4;
			if (is_utf16_surrogate_first(code) &&
				is_utf16_surrogate_second(hex4(escape + 2, end)))
			{
				code = surrogate_pair_to_codepoint(code, hex4(escape + 2, end));
				escape += 6;
			}
			unicode_to_utf8(code, (unsigned char *) *to);
			*to += pg_utf_mblen((unsigned char *) *to);
			break;
		default:
			*(*to)++ = escape[-1];
			break;
	}
	return escape;
}

/* Scan a number.  What follows it is the caller's matter. */
bool
rc_scan_number(RcScan *scan, RcScanned *number)
{
	const char *at = scan->at;
	const char *end = scan->end;
	const char *first;
	uint64		digits = 0;

	number->kind = JSON_TOKEN_NUMBER;
	number->text = at;
	number->scale = 0;
	number->exponent = number->escaped = false;
	number->negative = (*at == '-');
	at += number->negative;

	for (first = at; at < end && *at >= '0' && *at <= '9'; at++)
		digits = digits * 10 + (*at - '0');
	number->ndigits = at - first;
	if (number->ndigits == 0 || (number->ndigits > 1 && *first == '0'))
		return false;
	if (at < end && *at == '.')
	{
		for (first = ++at; at < end && *at >= '0' && *at <= '9'; at++)
			digits = digits * 10 + (*at - '0');
		number->scale = at - first;
		if (number->scale == 0)
			return false;
		number->ndigits += number->scale;
	}
	if (at < end && (*at == 'e' || *at == 'E'))
	{
		at++;
		if (at < end && (*at == '+' || *at == '-'))
			at++;
		for (first = at; at < end && *at >= '0' && *at <= '9'; at++)
			;
		if (at == first)
			return false;
		number->exponent = true;
	}
	number->digits = digits;
	number->len = at - scan->at;
	scan->at = at;
	return true;
}

/* Scan true, false or null.  What follows it is the caller's matter. */
bool
rc_scan_word(RcScan *scan, RcScanned *word)
{
	static const struct
	{
		const char *text;
		int			len;
		JsonTokenType kind;
	}			words[] =
	{
		{"null", 4, JSON_TOKEN_NULL},
		{"true", 4, JSON_TOKEN_TRUE},
		{"false", 5, JSON_TOKEN_FALSE}
	};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (scan->end - scan->at < words[i].len ||
			memcmp(scan->at, words[i].text, words[i].len) != 0)
			continue;
		word->kind = words[i].kind;
		word->text = scan->at;
		word->len = words[i].len;
		word->escaped = false;
		scan->at += word->len;
		return true;
	}
	return false;
}

/* Scan a whole value of which only its validity is of interest. */
bool
rc_scan_skip(RcScan *scan, int depth)
{
	RcScanned	scalar;
	char		c = rc_scan_space(scan);

	if (c != '{' && c != '[')
		return rc_scan_scalar(scan, c, &scalar);
	if (depth >= RC_SCAN_DEPTH)
		return false;
	return skip_container(scan, c == '{' ? '}' : ']', depth);
}

static bool
skip_container(RcScan *scan, char closing, int depth)
{
	RcScanned	key;
	char		c;

	scan->at++;
	if (rc_scan_space(scan) == closing)
	{
		scan->at++;
		return true;
	}
	do
	{
		if (closing == '}')
		{
			if (rc_scan_space(scan) != '"' || !rc_scan_string(scan, &key) ||
				rc_scan_space(scan) != ':')
				return false;
			scan->at++;
		}
		if (!rc_scan_skip(scan, depth + 1))
			return false;
		c = rc_scan_space(scan);
		if (c != ',' && c != closing)
			return false;
		scan->at++;
	} while (c == ',');
	return true;
}
