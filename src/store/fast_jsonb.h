/*-------------------------------------------------------------------------
 *
 * fast_jsonb.h
 *	  What fast_jsonb_read.c and fast_jsonb_write.c share: the list of a text's
 *	  values.  No other file may include it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_FAST_JSONB_H
#define RC_FAST_JSONB_H

#include "store/fast_path.h"

typedef enum RcNodeKind
{
	RC_NODE_NULL,
	RC_NODE_FALSE,
	RC_NODE_TRUE,
	RC_NODE_NUMBER,
	RC_NODE_STRING,
	RC_NODE_ARRAY,
	RC_NODE_OBJECT
} RcNodeKind;

/*
 * A value or key.  Containers are followed by what is in them; in objects, by
 * keys and values in turn.
 */
typedef struct RcJsonNode
{
	const char *text;			/* of a string or number */
	int			len;			/* and its length; or number of children */
	uint32		kind:3,
				next:29;		/* node behind it and its children */
} RcJsonNode;

struct RcJsonbWriter
{
	MemoryContext context;
	RcJsonNode *nodes;
	int			n;
	int			room;
	Size		size;			/* of the datum, at most */

	/* while it is written */
	char	   *start;
	char	   *to;
};

#endif							/* RC_FAST_JSONB_H */
