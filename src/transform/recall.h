/*-------------------------------------------------------------------------
 *
 * recall.h
 *	  What the files that make a record of a line share: transform.c,
 *	  json_scan.c, json_text.c and recall*.c; odsql.c reads its dates by it.
 *
 * Outside of src/transform only source/odsql.c includes it.  All text in here
 * is UTF-8, whatever the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECALL_H
#define RC_RECALL_H

#include "source/explore.h"
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
extern char *rc_json_string(const char *value, int len);
extern char *rc_json_scalar(const char *value, int len);
extern void rc_json_write_string(StringInfo out, const char *str, size_t len);

/* transform.c */
extern const char *rc_extract_key(const RcJsonMembers *members,
								  const char *field, char **key);

/* recall.c */
extern void rc_recall_key(char *key);
extern const char *rc_recall_convert(const char *line, size_t len,
									 const RcJsonMembers *members,
									 bool fold_accents, RcExtracted *out);

/* recall_text.c */
extern void rc_recall_lines(StringInfo out, const char *str, bool is_list);
extern void rc_recall_identification(StringInfo str);
extern void rc_recall_gtins(StringInfo out, const char *str);

/* recall_dates.c */

/* room for a date or a timestamp that recall_dates.c writes */
#define RC_DATE_ROOM	64

extern bool rc_recall_date(const char *str, char *iso);
extern bool rc_recall_timestamp(const char *str, char *iso);
extern bool rc_recall_no_date(const char *str);
extern bool rc_recall_period(const char *str, char *from, char *to);

#endif							/* RC_RECALL_H */
