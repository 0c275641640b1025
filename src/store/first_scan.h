/*-------------------------------------------------------------------------
 *
 * first_scan.h
 *	  The first scan over a source, when nothing is known of its records.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_FIRST_SCAN_H
#define RC_FIRST_SCAN_H

#include "store/source_record.h"

extern RcFirstScan *rc_first_scan_begin(const RcSource *source,
										const char *destination,
										int64 expected);
extern void rc_first_scan_end(RcFirstScan *scan);
extern bool rc_first_scan_all_new(RcFirstScan *scan, const RcRecord *records,
								  int n);

#endif							/* RC_FIRST_SCAN_H */
