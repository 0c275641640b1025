/*-------------------------------------------------------------------------
 *
 * json_scan.c
 *	  Checks in one pass that a text is strictly JSON, and finds its
 *	  outermost members.
 *
 * The usual line is scanned by fast_scan.h.  What that leaves to others, such
 * as a text that is no JSON, is scanned again byte by byte, for the error and
 * its position.  The server's own parser is not used, since it converts names
 * to the database's encoding.  Nothing here may raise an error for the content
 * of a line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "fast_scan.h"
#include "transform/json_line.h"

/* Members that there is always room for. */
#define ROOM_KEPT		128

typedef struct JsonScan
{
	const char *start;
	const char *end;
	const char *at;
	int			depth;
	RcJsonMembers *out;
	const char *error;
	char		stack[RC_JSON_MAX_DEPTH];	/* '{' or '[' per level */
} JsonScan;

static bool scan_fast(const char *str, size_t len, RcJsonMembers *out);
static bool scan_value(JsonScan *scan);
static bool scan_open(JsonScan *scan, bool *is_empty);
static bool scan_after_value(JsonScan *scan, bool *another);
static bool scan_scalar(JsonScan *scan);
static bool scan_name(JsonScan *scan);
static bool scan_string(JsonScan *scan);
static void note_flaw(JsonScan *scan, char *flaw);
static bool scan_escape(JsonScan *scan);
static bool scan_number(JsonScan *scan);
static bool scan_digits(JsonScan *scan);
static void skip_space(JsonScan *scan);
static bool invalid(JsonScan *scan);
static RcJsonMember *add_member(RcJsonMembers *out, const char *name,
								int name_len, bool name_escaped);
static void end_member(JsonScan *scan);

/* Allocate room for members, in the current context. */
void
rc_json_members_init(RcJsonMembers *members)
{
	memset(members, 0, sizeof(*members));
	members->room = ROOM_KEPT;
	members->member = palloc(ROOM_KEPT * sizeof(RcJsonMember));
}

/* Give back what a text with very many members needed. */
void
rc_json_members_shrink(RcJsonMembers *members)
{
	if (members->room == ROOM_KEPT)
		return;
	members->room = ROOM_KEPT;
	members->member = repalloc(members->member,
							   ROOM_KEPT * sizeof(RcJsonMember));
	members->n = 0;
}

/*
 * Check that str is one JSON value, and find its outermost members.  str must
 * be valid UTF-8 and must live as long as *out, which points into it.
 *
 * Returns NULL, or the error as a palloc'd or static text, with a position in
 * bytes from 1.  The grammar is that of RFC 8259.  What PostgreSQL's text
 * cannot store is not an error; see RcJsonMembers.flaw.
 */
const char *
rc_json_scan(const char *str, size_t len, RcJsonMembers *out)
{
	JsonScan	scan;

	scan.start = scan.at = str;
	scan.end = str + len;
	scan.depth = 0;
	scan.error = NULL;
	scan.out = out;
	out->flaw = NULL;
	out->kind = '\0';
	out->n = 0;
	if (scan_fast(str, len, out))
		return NULL;

	out->n = 0;
	skip_space(&scan);
	if (scan.at < scan.end)
		out->kind = *scan.at;
	if (scan_value(&scan))
	{
		skip_space(&scan);
		if (scan.at < scan.end)
			(void) invalid(&scan);
	}
	return scan.error;
}

/*
 * Scan an object or array that has nothing to complain about.  False if it has
 * to be scanned again: *out is undefined then.
 */
static bool
scan_fast(const char *str, size_t len, RcJsonMembers *out)
{
	RcScan		scan;
	char		closing;
	char		c;

	(void) rc_scan_begin(&scan, str, len);
	out->kind = rc_scan_space(&scan);
	if (out->kind != '{' && out->kind != '[')
		return false;
	closing = out->kind == '{' ? '}' : ']';
	scan.at++;
	if (rc_scan_space(&scan) == closing)
	{
		scan.at++;
		(void) rc_scan_space(&scan);
		return scan.at == scan.end;
	}
	do
	{
		RcScanned	name = {.text = NULL,.len = 0,.escaped = false};
		RcScanned	string;
		RcJsonMember *member;

		if (closing == '}')
		{
			if (rc_scan_space(&scan) != '"' || !rc_scan_string(&scan, &name) ||
				rc_scan_space(&scan) != ':')
				return false;
			scan.at++;
		}
		member = add_member(out, name.text, name.len, name.escaped);
		c = rc_scan_space(&scan);
		member->value = scan.at;
		if (c == '"' ? !rc_scan_string(&scan, &string) : !rc_scan_skip(&scan, 1))
			return false;
		member->value_len = scan.at - member->value;
		member->escaped = c == '"' && string.escaped;
		c = rc_scan_space(&scan);
		if (c != ',' && c != closing)
			return false;
		scan.at++;
	} while (c == ',');
	(void) rc_scan_space(&scan);
	return scan.at == scan.end;
}

/* Scan one value with all that it contains. */
static bool
scan_value(JsonScan *scan)
{
	bool		another;

	do
	{
		bool		is_empty = true;

		skip_space(scan);
		if (scan->at >= scan->end)
			return invalid(scan);
		if (scan->depth == 1)
		{
			if (scan->stack[0] == '[')
				(void) add_member(scan->out, NULL, 0, false);
			scan->out->member[scan->out->n - 1].value = scan->at;
		}
		if (*scan->at == '{' || *scan->at == '[')
		{
			if (!scan_open(scan, &is_empty))
				return false;
			another = !is_empty;
		}
		else if (!scan_scalar(scan))
			return false;
		if (is_empty && !scan_after_value(scan, &another))
			return false;
	} while (another);
	return true;
}

/*
 * Enter an object or array: move to its first value, or behind it if it is
 * empty.
 */
static bool
scan_open(JsonScan *scan, bool *is_empty)
{
	char		kind = *scan->at;

	if (scan->depth >= RC_JSON_MAX_DEPTH)
	{
		scan->error = psprintf(gettext_noop("JSON is nested deeper than %d levels"),
							   RC_JSON_MAX_DEPTH);
		return false;
	}
	scan->at++;
	skip_space(scan);
	*is_empty = scan->at < scan->end &&
		*scan->at == (kind == '{' ? '}' : ']');
	if (*is_empty)
	{
		scan->at++;
		return true;
	}
	scan->stack[scan->depth++] = kind;
	return kind == '[' || scan_name(scan);
}

/*
 * Continue after a value: leave the objects and arrays that end here, then
 * move to the next value or to the end of the outermost one.
 */
static bool
scan_after_value(JsonScan *scan, bool *another)
{
	while (scan->depth > 0)
	{
		char		kind = scan->stack[scan->depth - 1];

		if (scan->depth == 1)
			end_member(scan);
		skip_space(scan);
		if (scan->at >= scan->end)
			return invalid(scan);
		if (*scan->at == ',')
		{
			scan->at++;
			*another = true;
			return kind == '[' || scan_name(scan);
		}
		if (*scan->at != (kind == '{' ? '}' : ']'))
			return invalid(scan);
		scan->at++;
		scan->depth--;
	}
	*another = false;
	return true;
}

/* Scan a string, a number, or true, false or null. */
static bool
scan_scalar(JsonScan *scan)
{
	static const char *const words[] = {"true", "false", "null"};

	if (*scan->at == '"')
		return scan_string(scan);
	for (int i = 0; i < lengthof(words); i++)
	{
		size_t		len = strlen(words[i]);

		if (*scan->at != words[i][0])
			continue;
		if ((size_t) (scan->end - scan->at) < len ||
			memcmp(scan->at, words[i], len) != 0)
			return invalid(scan);
		scan->at += len;
		return true;
	}
	return scan_number(scan);
}

/* Scan the name of a member and the colon after it. */
static bool
scan_name(JsonScan *scan)
{
	const char *start;

	skip_space(scan);
	if (scan->at >= scan->end || *scan->at != '"')
		return invalid(scan);
	start = scan->at + 1;
	if (!scan_string(scan))
		return false;
	if (scan->depth == 1)
		(void) add_member(scan->out, start, scan->at - 1 - start,
						  memchr(start, '\\', scan->at - 1 - start) != NULL);
	skip_space(scan);
	if (scan->at >= scan->end || *scan->at != ':')
		return invalid(scan);
	scan->at++;
	return true;
}

/* Scan a string, from quote to quote. */
static bool
scan_string(JsonScan *scan)
{
	scan->at++;
	while (scan->at < scan->end)
	{
		unsigned char c = *scan->at;

		if (c == '"')
		{
			scan->at++;
			return true;
		}
		if (c < 0x20)
			return invalid(scan);
		if (c != '\\')
			scan->at++;
		else if (!scan_escape(scan))
			return false;
	}
	return invalid(scan);
}

/* Scan one escape; both halves of a surrogate pair are one. */
static bool
scan_escape(JsonScan *scan)
{
	const char *s = scan->at;
	pg_wchar	code;
	pg_wchar	low;

	if (scan->end - s < 2)
		return invalid(scan);
	if (s[1] != 'u')
	{
		if (s[1] == '\0' || strchr("\"\\/bfnrt", s[1]) == NULL)
			return invalid(scan);
		scan->at += 2;
		return true;
	}
	if (!rc_json_hex4(s + 2, scan->end, &code))
		return invalid(scan);
	scan->at += 6;
	if (code == 0)
	{
		note_flaw(scan, psprintf(gettext_noop("escape \"\\u0000\" at byte %zu: text in PostgreSQL cannot hold it"),
								 (size_t) (s - scan->start) + 1));
		return true;
	}
	if (code < 0xD800 || code > 0xDFFF)
		return true;
	if (is_utf16_surrogate_first(code) && scan->end - s >= 12 &&
		s[6] == '\\' && s[7] == 'u' && rc_json_hex4(s + 8, scan->end, &low) &&
		is_utf16_surrogate_second(low))
	{
		scan->at += 6;
		return true;
	}
	note_flaw(scan, psprintf(gettext_noop("escape \"%.6s\" at byte %zu is half of a surrogate pair"),
							 s, (size_t) (s - scan->start) + 1));
	return true;
}

/* Store the first thing that JSON allows but PostgreSQL's text does not. */
static void
note_flaw(JsonScan *scan, char *flaw)
{
	if (scan->out->flaw == NULL)
		scan->out->flaw = flaw;
}

/* Scan a number: no leading zero or plus, digits on both sides of a point. */
static bool
scan_number(JsonScan *scan)
{
	if (*scan->at == '-')
		scan->at++;
	if (scan->at < scan->end && *scan->at == '0')
		scan->at++;
	else if (!scan_digits(scan))
		return invalid(scan);
	if (scan->at < scan->end && *scan->at == '.')
	{
		scan->at++;
		if (!scan_digits(scan))
			return invalid(scan);
	}
	if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E'))
	{
		scan->at++;
		if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
			scan->at++;
		if (!scan_digits(scan))
			return invalid(scan);
	}
	return true;
}

/* Scan one or more digits. */
static bool
scan_digits(JsonScan *scan)
{
	const char *start = scan->at;

	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
		scan->at++;
	return scan->at > start;
}

/* Skip what JSON takes for white space. */
static void
skip_space(JsonScan *scan)
{
	while (scan->at < scan->end &&
		   (*scan->at == ' ' || *scan->at == '\n' ||
			*scan->at == '\t' || *scan->at == '\r'))
		scan->at++;
}

/* Set the error for invalid JSON at this position; returns false. */
static bool
invalid(JsonScan *scan)
{
	if (scan->at >= scan->end)
		scan->error = gettext_noop("invalid JSON: the input ended unexpectedly");
	else
		scan->error = psprintf(gettext_noop("invalid JSON at byte %zu"),
							   (size_t) (scan->at - scan->start) + 1);
	return false;
}

/* Add a member whose value follows. */
static RcJsonMember *
add_member(RcJsonMembers *out, const char *name, int name_len,
		   bool name_escaped)
{
	RcJsonMember *member;

	if (out->n == out->room)
	{
		out->room *= 2;
		out->member = repalloc_huge(out->member,
									out->room * sizeof(RcJsonMember));
	}
	member = &out->member[out->n++];
	member->name = name;
	member->name_len = name_len;
	member->name_escaped = name_escaped;
	return member;
}

/* Store the end of the latest member's value, which has just been scanned. */
static void
end_member(JsonScan *scan)
{
	RcJsonMember *member = &scan->out->member[scan->out->n - 1];

	member->value_len = scan->at - member->value;
	member->escaped = member->value[0] == '"' &&
		memchr(member->value, '\\', member->value_len) != NULL;
}
