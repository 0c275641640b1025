/*-------------------------------------------------------------------------
 *
 * unlogged_tables.h
 *	  Unlogged tables that a statement writes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_UNLOGGED_TABLES_H
#define RC_UNLOGGED_TABLES_H

#include "store/stream_table.h"

extern List *rc_unlogged_written(List *queries);
extern char *rc_unlogged_emptied(const RcStream *stream, List *unlogged);

#endif							/* RC_UNLOGGED_TABLES_H */
