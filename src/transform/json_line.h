/*-------------------------------------------------------------------------
 *
 * json_line.h
 *	  A line that is JSON: its outermost members, as found by json_scan.c,
 *	  and the functions of json_text.c that read and write them.
 *
 * All text is UTF-8, whatever the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_JSON_LINE_H
#define RC_JSON_LINE_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/* The deepest nesting of a line. */
#define RC_JSON_MAX_DEPTH	1000

/*
 * One member of the outermost object, or element of the outermost array.  The
 * pointers are into the line: escapes are not resolved, and nothing is
 * null-terminated.
 */
typedef struct RcJsonMember
{
	const char *name;			/* between the quotes; NULL in an array */
	int			name_len;
	bool		name_escaped;	/* the name has escapes */
	bool		escaped;		/* the value is a string with escapes */
	const char *value;			/* from its first to its last byte */
	int			value_len;
} RcJsonMember;

/* It can be used again, for another text, and keeps its memory. */
typedef struct RcJsonMembers
{
	char		kind;			/* first byte of the outermost value */
	char	   *flaw;			/* first thing that PostgreSQL's text cannot
								 * store; or NULL */
	int			n;
	int			room;			/* length of the array */
	RcJsonMember *member;		/* in the order of the text */
} RcJsonMembers;

/* json_scan.c */
extern void rc_json_members_init(RcJsonMembers *members);
extern void rc_json_members_shrink(RcJsonMembers *members);
extern const char *rc_json_scan(const char *str, size_t len,
								RcJsonMembers *out);

/* json_text.c */
extern const RcJsonMember *rc_json_member(const RcJsonMembers *members,
										  const char *name);
extern bool rc_json_hex4(const char *s, const char *end, pg_wchar *code);
extern char *rc_json_scalar(const RcJsonMember *member);
extern bool rc_json_is_named(const RcJsonMember *member, const char *name,
							 size_t len);
extern bool rc_json_text(const RcJsonMember *member, StringInfo work,
						 const char **text, size_t *len);

#endif							/* RC_JSON_LINE_H */
