/*-------------------------------------------------------------------------
 *
 * recall_scan.h
 *	  Reading the table of recalls without a query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECALL_SCAN_H
#define RC_RECALL_SCAN_H

#include "postgres.h"

#include "fmgr.h"

extern void rc_recall_scan(FunctionCallInfo fcinfo, Oid table);

#endif							/* RC_RECALL_SCAN_H */
