/*-------------------------------------------------------------------------
 *
 * debezium_scan.h
 *	  What the readers of src/debezium share: objects and arrays, member by
 *	  member.
 *
 * Texts are UTF-8 here, whatever the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEBEZIUM_SCAN_H
#define RC_DEBEZIUM_SCAN_H

#include "postgres.h"

#include "fast_scan.h"

/* A JSON value within a text; at is NULL if there is none, or if it is null. */
typedef struct RcDebeziumPart
{
	const char *at;
	int			len;
} RcDebeziumPart;

typedef enum RcStep
{
	RC_STEP_END,				/* behind the container */
	RC_STEP_NEXT,				/* at the next value */
	RC_STEP_BROKEN				/* no JSON, or more than is scanned */
} RcStep;

static inline void
rc_debezium_scan_begin(RcScan *scan, const char *json, int len)
{
	scan->at = json;
	scan->end = json + len;
	scan->utf8 = true;
}

/* Go to the first or the next element of an array. */
static inline RcStep
rc_debezium_scan_element(RcScan *scan, bool first)
{
	char		c = rc_scan_space(scan);

	if (c == '\0' || (first && c != '['))
		return RC_STEP_BROKEN;
	if (first)
	{
		scan->at++;
		if (rc_scan_space(scan) != ']')
			return RC_STEP_NEXT;
		c = ']';
	}
	scan->at++;
	if (c == ']')
		return RC_STEP_END;
	(void) rc_scan_space(scan);
	return c == ',' ? RC_STEP_NEXT : RC_STEP_BROKEN;
}

/* Go to the first or the next member of an object. */
static inline RcStep
rc_debezium_scan_member(RcScan *scan, bool first, RcScanned *key)
{
	char		c = rc_scan_space(scan);

	if (c == '\0' || (first && c != '{') ||
		(!first && c != ',' && c != '}'))
		return RC_STEP_BROKEN;
	scan->at++;
	if (first)
		c = rc_scan_space(scan);
	if (c == '}')
	{
		if (first)
			scan->at++;
		return RC_STEP_END;
	}
	if (rc_scan_space(scan) != '"' || !rc_scan_string(scan, key) ||
		rc_scan_space(scan) != ':')
		return RC_STEP_BROKEN;
	scan->at++;
	(void) rc_scan_space(scan);
	if (key->escaped)
	{
		key->text = rc_scan_unescape(key, &key->len);
		key->escaped = false;
	}
	return RC_STEP_NEXT;
}

/* Skip a value, and say where it is. */
static inline bool
rc_debezium_scan_skip(RcScan *scan, RcDebeziumPart *part)
{
	char		c = rc_scan_space(scan);
	const char *at = scan->at;

	if (!rc_scan_skip(scan, 1))
		return false;
	part->at = (c == 'n') ? NULL : at;
	part->len = scan->at - at;
	return true;
}

static inline bool
rc_debezium_scan_is(const RcScanned *text, const char *word)
{
	return text->len == (int) strlen(word) &&
		memcmp(text->text, word, text->len) == 0;
}

#endif							/* RC_DEBEZIUM_SCAN_H */
