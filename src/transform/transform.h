/*-------------------------------------------------------------------------
 *
 * transform.h
 *	  A line of a source to a record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_TRANSFORM_H
#define RC_TRANSFORM_H

#include "postgres.h"

typedef struct RcExtractOptions
{
	bool		recall;			/* transform = recall; else none */
	bool		fold_accents;
	const char *key_field;		/* NULL: records have no key */
	const char *cursor_field;	/* NULL: there is no cursor */
} RcExtractOptions;

typedef struct RcExtracted
{
	char	   *value;			/* JSON text of one object, UTF-8 */
	int			value_len;
	char	   *key;			/* NULL only without a key_field */
	char	   *cursor;			/* text of the cursor field; NULL if null */
	char	   *version;		/* sorts as versions do; NULL: not known */
	bool		object;			/* the line is a JSON object, if no record */
} RcExtracted;

extern const char *rc_extract(const char *line, size_t len,
							  const RcExtractOptions *options,
							  RcExtracted *out);

#endif							/* RC_TRANSFORM_H */
