/*-------------------------------------------------------------------------
 *
 * extension_state.h
 *	  Whether the extension is present and not stopped.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EXTENSION_STATE_H
#define RC_EXTENSION_STATE_H

#include "rappel_conso.h"

#include "datatype/timestamp.h"

extern bool rc_extension_present(void);
extern TransactionId rc_extension_xmin(void);
extern void rc_stopped_set(void);
extern void rc_stopped_clear(void);
extern bool rc_stopped_since(TimestampTz since);

#endif							/* RC_EXTENSION_STATE_H */
