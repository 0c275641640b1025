/*-------------------------------------------------------------------------
 *
 * statement_setup.h
 *	  Prepares a stream before its statement runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_SETUP_H
#define RC_STATEMENT_SETUP_H

#include "store/stream_table.h"

extern void rc_statement_check_owner(const RcStream *stream);
extern bool rc_applier_setup(const RcStream *stream);

#endif							/* RC_STATEMENT_SETUP_H */
