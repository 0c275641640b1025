/*-------------------------------------------------------------------------
 *
 * record_scan.h
 *	  Scans of "records" that read rows in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECORD_SCAN_H
#define RC_RECORD_SCAN_H

#include "store/record_rows.h"

#include "executor/execdesc.h"

extern bool rc_record_scan_suffices(const PlannedStmt *statement);
extern Bitmapset *rc_record_scan_start(QueryDesc *query, const RcRows *rows,
									   Tuplestorestate *store);

#endif							/* RC_RECORD_SCAN_H */
