/*-------------------------------------------------------------------------
 *
 * outbox_row.h
 *	  What identifies a message of the outbox once it has been read.
 *
 * Its id alone does not: the numbers start again if the table is truncated so
 * or the extension is re-created, and a user may give it another topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_ROW_H
#define RC_OUTBOX_ROW_H

#include "rappel_conso.h"

#include "storage/itemptr.h"
#include "utils/uuid.h"

#include "store/query.h"

/* A row of the outbox: its key, and where it was when it was read. */
typedef struct RcOutboxRow
{
	const char *topic;			/* as the caller has passed it */
	int64		id;
	pg_uuid_t	message_id;
	ItemPointerData place;
} RcOutboxRow;

/*
 * SQL: whether "o" is one of the rows that rc_param_rows() has added as the
 * first parameters.  The search for the id's position finds its message_id
 * without a join, whose plan might read all messages of the topic.
 */
#define RC_IS_OUTBOX_ROW \
	"o.topic = $1 AND o.id = ANY ($2) AND (o.message_id IS NULL OR" \
	" o.message_id = ($3)[pg_catalog.width_bucket(o.id, $2)])"

extern void rc_param_rows(RcParams *params, const RcOutboxRow *rows, int n);
extern void rc_outbox_row_set_id(RcOutboxRow *row, NullableDatum message_id);

#endif							/* RC_OUTBOX_ROW_H */
