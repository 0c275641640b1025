/*-------------------------------------------------------------------------
 *
 * outbox_relation.h
 *	  The outbox as a relation, for what bypasses SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OUTBOX_RELATION_H
#define RC_OUTBOX_RELATION_H

#include "rappel_conso.h"

#include "storage/lockdefs.h"
#include "utils/rel.h"

/* The columns that are read or written. */
typedef enum RcOutboxColumn
{
	RC_OUTBOX_ID,
	RC_OUTBOX_MESSAGE_ID,
	RC_OUTBOX_TOPIC,
	RC_OUTBOX_KEY,
	RC_OUTBOX_VALUE,
	RC_OUTBOX_HEADERS,
	RC_OUTBOX_ORIGIN,
	RC_OUTBOX_OWNER,
	RC_OUTBOX_DEAD_LETTER
} RcOutboxColumn;

#define RC_OUTBOX_COLUMNS	9

extern bool rc_outbox_columns(Relation table, AttrNumber *columns);
extern Relation rc_outbox_open(LOCKMODE mode, AttrNumber *columns);

#endif							/* RC_OUTBOX_RELATION_H */
