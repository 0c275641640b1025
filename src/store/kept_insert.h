/*-------------------------------------------------------------------------
 *
 * kept_insert.h
 *	  Inserts messages into the outbox with what this session has prepared for
 *	  it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_KEPT_INSERT_H
#define RC_KEPT_INSERT_H

#include "store/statement_output.h"

extern bool rc_outbox_insert_kept(const char *topic, const char *origin,
								  const char *owner, const RcOutput *rows,
								  Datum *message_id);

#endif							/* RC_KEPT_INSERT_H */
