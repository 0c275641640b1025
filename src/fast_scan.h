/*-------------------------------------------------------------------------
 *
 * fast_scan.h
 *	  A scanner of JSON text: one pass, no copies, no error.
 *
 * It accepts nothing that the server's lexer refuses, and leaves to it, by
 * returning false, what needs an error or more care: see rc_scan_begin() and
 * rc_scan_escapes().
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_FAST_SCAN_H
#define RC_FAST_SCAN_H

#include "postgres.h"

#include "common/jsonapi.h"

/* Containers in one another, of which we scan no more. */
#define RC_SCAN_DEPTH	64

typedef struct RcScan
{
	const char *at;
	const char *end;
	bool		utf8;			/* the text's encoding */
} RcScan;

/* A scalar. */
typedef struct RcScanned
{
	JsonTokenType kind;
	const char *text;			/* of a string, without its quotes */
	int			len;
	bool		escaped;		/* a string with escapes */

	/* a number is digits / 10 ^ scale */
	bool		negative;
	bool		exponent;		/* then digits and scale say nothing */
	int			ndigits;		/* with leading zeros */
	int			scale;
	uint64		digits;			/* if there are at most 19 */
} RcScanned;

extern const bool rc_scan_plain[256];

extern bool rc_scan_begin(RcScan *scan, const char *json, int len);
extern bool rc_scan_escapes(RcScan *scan);
extern char *rc_scan_unescape(const RcScanned *string, int *len);
extern size_t rc_unescape(const char *text, size_t len, char *to);
extern bool rc_scan_number(RcScan *scan, RcScanned *number);
extern bool rc_scan_word(RcScan *scan, RcScanned *word);
extern bool rc_scan_skip(RcScan *scan, int depth);

/* Skip white space.  Returns the next character, '\0' at the end. */
static inline char
rc_scan_space(RcScan *scan)
{
	while (scan->at < scan->end)
	{
		char		c = *scan->at;

		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			return c;
		scan->at++;
	}
	return '\0';
}

/* Whether one of 8 bytes ends a run of plain characters in a string. */
static inline bool
rc_scan_stops(const char *at)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 tops = UINT64CONST(0x8080808080808080);
	uint64		word;
	uint64		quote;
	uint64		escape;

	memcpy(&word, at, sizeof(word));
	quote = word ^ (ones * '"');
	escape = word ^ (ones * '\\');
	return (((word - ones * ' ') & ~word) | ((quote - ones) & ~quote) |
			((escape - ones) & ~escape)) & tops;
}

/* Scan a string, from its quote to behind the one that ends it. */
static inline bool
rc_scan_string(RcScan *scan, RcScanned *string)
{
	string->kind = JSON_TOKEN_STRING;
	string->escaped = false;
	string->text = ++scan->at;
	for (;;)
	{
		while (scan->end - scan->at >= 8 && !rc_scan_stops(scan->at))
			scan->at += 8;
		while (scan->at < scan->end && rc_scan_plain[(unsigned char) *scan->at])
			scan->at++;
		if (scan->at == scan->end)
			return false;
		if (*scan->at == '"')
			break;
		if (!rc_scan_escapes(scan))
			return false;
		string->escaped = true;
	}
	string->len = scan->at++ - string->text;
	return true;
}

/* Scan a scalar that begins with c; false if it is none. */
static inline bool
rc_scan_scalar(RcScan *scan, char c, RcScanned *scalar)
{
	if (c == '"')
		return rc_scan_string(scan, scalar);
	if (c == '-' || (c >= '0' && c <= '9'))
		return rc_scan_number(scan, scalar);
	return rc_scan_word(scan, scalar);
}

#endif							/* RC_FAST_SCAN_H */
