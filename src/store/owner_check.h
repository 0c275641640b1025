/*-------------------------------------------------------------------------
 *
 * owner_check.h
 *	  Whether a row is being restored from a dump.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_OWNER_CHECK_H
#define RC_OWNER_CHECK_H

#include "rappel_conso.h"

#include "utils/rel.h"

extern bool rc_is_restore(Relation table);

#endif							/* RC_OWNER_CHECK_H */
