/*-------------------------------------------------------------------------
 *
 * statement_new.h
 *	  A shorter statement for batches that have only new rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_NEW_H
#define RC_STATEMENT_NEW_H

#include "store/applier.h"

extern void rc_new_rows_prepare(RcApplier *applier);
extern bool rc_new_rows_maybe(const RcApplier *applier, int n);
extern DestReceiver *rc_new_rows_receiver(bool *all_new);
extern bool rc_new_rows_failed(const RcApplier *applier,
							   const ErrorData *error);

#endif							/* RC_STATEMENT_NEW_H */
