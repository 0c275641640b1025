/*-------------------------------------------------------------------------
 *
 * multi_insert.h
 *	  Inserts the rows of INSERT .. SELECT by many at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_MULTI_INSERT_H
#define RC_MULTI_INSERT_H

#include "rappel_conso.h"

#include "executor/execdesc.h"
#include "nodes/execnodes.h"

extern void rc_multi_insert_start(QueryDesc *query, bool *suits);

/* multi_insert_check.c */
extern bool rc_multi_insert_suits(List *queries);
extern bool rc_multi_insert_takes(const ModifyTableState *node);
extern bool rc_multi_insert_takes_table(const ResultRelInfo *table);

#endif							/* RC_MULTI_INSERT_H */
