/*-------------------------------------------------------------------------
 *
 * recall_table.h
 *	  Checks who owns the tables of recalls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECALL_TABLE_H
#define RC_RECALL_TABLE_H

#include "store/stream_table.h"

#define RC_RECALLS_TABLE	"rappel_conso_table"
#define RC_HISTORY_TABLE	"rappel_conso_history"

extern Oid	rc_recall_table_lock(const char *name, Oid stream_owner,
								 bool alter, Oid *owner);
extern void rc_recall_table_check(const RcStream *stream);

#endif							/* RC_RECALL_TABLE_H */
