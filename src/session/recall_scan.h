/*-------------------------------------------------------------------------
 *
 * recall_scan.h
 *	  A table of recalls read without a query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECALL_SCAN_H
#define RC_RECALL_SCAN_H

#include "postgres.h"

#include "fmgr.h"

extern void rc_recall_scan(FunctionCallInfo fcinfo, Oid table);

#endif							/* RC_RECALL_SCAN_H */
