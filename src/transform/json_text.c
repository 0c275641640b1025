/*-------------------------------------------------------------------------
 *
 * json_text.c
 *	  Reads single parts of a JSON text that json_scan.c has checked: a
 *	  member by its name, a scalar as text.
 *
 * It must keep the digits of a number as they are in the line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "fast_scan.h"
#include "transform/json_line.h"

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
		if (rc_json_is_named(&members->member[i], name, len))
			return &members->member[i];
	}
	return NULL;
}

/* Whether a member has this name, of len bytes. */
bool
rc_json_is_named(const RcJsonMember *member, const char *name, size_t len)
{
	char	   *plain;
	bool		same;

	if (!member->name_escaped)
		return member->name_len == len && memcmp(member->name, name, len) == 0;
	plain = palloc(member->name_len + 1);
	same = rc_unescape(member->name, member->name_len, plain) == len &&
		memcmp(plain, name, len) == 0;
	pfree(plain);
	return same;
}

/*
 * The text of a string, or of a number, true or false as it is in the line;
 * palloc'd.  NULL for null, an object and an array.
 */
char *
rc_json_scalar(const RcJsonMember *member)
{
	StringInfoData work = {0};
	const char *text;
	size_t		len;

	return rc_json_text(member, &work, &text, &len) ?
		(text == work.data ? work.data : pnstrdup(text, len)) : NULL;
}

/*
 * The same, not null-terminated: it points into the line or, if it had
 * escapes, into "work", which is overwritten.
 */
bool
rc_json_text(const RcJsonMember *member, StringInfo work, const char **text,
			 size_t *len)
{
	switch (member->value[0])
	{
		case '"':
			*text = member->value + 1;
			*len = member->value_len - 2;
			if (!member->escaped)
				return true;
			if (work->data == NULL)
				initStringInfo(work);
			resetStringInfo(work);
			enlargeStringInfo(work, *len);
			work->len = rc_unescape(*text, *len, work->data);
			*text = work->data;
			*len = work->len;
			return true;
		case '{':
		case '[':
		case 'n':
			return false;
		default:
			*text = member->value;
			*len = member->value_len;
			return true;
	}
}
