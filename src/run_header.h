/*-------------------------------------------------------------------------
 *
 * run_header.h
 *	  The header that identifies the run that has published a message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RUN_HEADER_H
#define RC_RUN_HEADER_H

#include "record.h"

#define RC_HEADER_RUN	"rappel_conso-run"

extern char *rc_run_header_prefix(void);
extern char *rc_run_header_write(int64 run);
extern int64 rc_run_header_read(const RcRecord *record, const char *prefix);
extern bool rc_run_header_equal(const RcRecord *a, const RcRecord *b);

#endif							/* RC_RUN_HEADER_H */
