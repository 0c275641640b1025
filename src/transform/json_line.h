/*-------------------------------------------------------------------------
 *
 * json_line.h
 *	  A line that is JSON, as json_scan.c sees it: its outermost members, and
 *	  what json_text.c reads and writes of them.
 *
 * All text in here is UTF-8, whatever the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_JSON_LINE_H
#define RC_JSON_LINE_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/*
 * The deepest nesting that a line may have: as deep as cJSON follows, so that
 * both transforms take the same lines.
 */
#define RC_JSON_MAX_DEPTH	1000

/*
 * One member of the outermost object (or element of the outermost array), as
 * it is written in the text: escapes are kept, nothing is null-terminated.
 */
typedef struct RcJsonMember
{
	const char *name;			/* between the quotes; NULL in an array */
	int			name_len;
	const char *value;			/* from its first to its last byte */
	int			value_len;
} RcJsonMember;

typedef struct RcJsonMembers
{
	char		kind;			/* first byte of the outermost value */
	char	   *flaw;			/* what text in PostgreSQL cannot hold; or
								 * NULL */
	int			n;
	RcJsonMember *member;		/* in the order of the text */
} RcJsonMembers;

/* json_scan.c */
extern const char *rc_json_scan(const char *str, size_t len,
								RcJsonMembers *out);

/* json_text.c */
extern const RcJsonMember *rc_json_member(const RcJsonMembers *members,
										  const char *name);
extern bool rc_json_hex4(const char *s, const char *end, pg_wchar *code);
extern char *rc_json_scalar(const char *value, int len);
extern void rc_json_write_string(StringInfo out, const char *str, size_t len);

#endif							/* RC_JSON_LINE_H */
