/*-------------------------------------------------------------------------
 *
 * json_text.c
 *	  Reads single parts of a JSON text that json_scan.c has checked (a
 *	  member by its name, a scalar as text), and writes strings.
 *
 * It must keep the digits of a number as they are in the line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "transform/json_line.h"

static char *read_string(const char *value, int len);
static const char *copy_escape(const char *escape, const char *end, char **to);

/*
 * Read the four hexadecimal digits of an escape; false if there are none
 * before the end of the text.
 */
bool
rc_json_hex4(const char *s, const char *end, pg_wchar *code)
{
	*code = 0;
	if (end - s < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		unsigned char c = s[i];

		*code <<= 4;
		if (c >= '0' && c <= '9')
			*code |= c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*code |= (c | 0x20) - 'a' + 10;
		else
			return false;
	}
	return true;
}

/*
 * Find a member by its name; NULL if there is none.
 *
 * Of several with one name it is the last, as for jsonb.
 */
const RcJsonMember *
rc_json_member(const RcJsonMembers *members, const char *name)
{
	size_t		len = strlen(name);

	for (int i = members->n - 1; i >= 0; i--)
	{
		const RcJsonMember *member = &members->member[i];

		if (member->name_len == len && memcmp(member->name, name, len) == 0)
			return member;
		if (memchr(member->name, '\\', member->name_len) != NULL &&
			strcmp(read_string(member->name, member->name_len), name) == 0)
			return member;
	}
	return NULL;
}

/*
 * The text between two quotes with its escapes resolved: palloc'd,
 * null-terminated UTF-8.
 *
 * rc_json_scan() must have checked the string.
 */
static char *
read_string(const char *value, int len)
{
	char	   *str = palloc(len + 1);
	char	   *to = str;
	const char *end = value + len;

	while (value < end)
	{
		if (*value == '\\')
			value = copy_escape(value + 1, end, &to);
		else
			*to++ = *value++;
	}
	*to = '\0';
	return str;
}

/*
 * Append the character of an escape, given from behind its backslash, to *to;
 * returns the end of the escape.
 */
static const char *
copy_escape(const char *escape, const char *end, char **to)
{
	pg_wchar	code;
	pg_wchar	low;

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
			(void) rc_json_hex4(escape, end, &code);
			escape += 4;
			if (is_utf16_surrogate_first(code) &&
				rc_json_hex4(escape + 2, end, &low))
			{
				code = surrogate_pair_to_codepoint(code, low);
				escape += 6;
			}
			unicode_to_utf8(code, (unsigned char *) *to);
			*to += pg_encoding_mblen(PG_UTF8, *to);
			break;
		default:
			*(*to)++ = escape[-1];
			break;
	}
	return escape;
}

/*
 * The text of a string, or of a number, true or false as it is in the line;
 * palloc'd.  NULL for null, an object and an array.
 */
char *
rc_json_scalar(const char *value, int len)
{
	switch (value[0])
	{
		case '"':
			return read_string(value + 1, len - 2);
		case '{':
		case '[':
		case 'n':
			return NULL;
		default:
			return pnstrdup(value, len);
	}
}

/*
 * Append str as a JSON string, quotes included.
 *
 * The text can be in any encoding in which ASCII bytes are ASCII characters.
 */
void
rc_json_write_string(StringInfo out, const char *str, size_t len)
{
	const char *end = str + len;

	appendStringInfoChar(out, '"');
	while (str < end)
	{
		const char *run = str;
		unsigned char c;

		while (str < end && (unsigned char) *str >= 0x20 &&
			   *str != '"' && *str != '\\')
			str++;
		appendBinaryStringInfo(out, run, str - run);
		if (str == end)
			break;
		c = *str++;
		if (c == '"' || c == '\\')
		{
			appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, c);
		}
		else if (c == '\n')
			appendBinaryStringInfo(out, "\\n", 2);
		else if (c == '\t')
			appendBinaryStringInfo(out, "\\t", 2);
		else
			appendStringInfo(out, "\\u%04x", c);
	}
	appendStringInfoChar(out, '"');
}
