/*-------------------------------------------------------------------------
 *
 * statement_run.h
 *	  A stream's statement, run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_RUN_H
#define RC_STATEMENT_RUN_H

#include "store/stream_table.h"

extern void rc_statement_check_owner(const RcStream *stream);
extern bool rc_applier_setup(const RcStream *stream);

#endif							/* RC_STATEMENT_RUN_H */
