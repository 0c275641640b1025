/*-------------------------------------------------------------------------
 *
 * random_uuid.h
 *	  Random UUIDs, many at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RANDOM_UUID_H
#define RC_RANDOM_UUID_H

#include "rappel_conso.h"

#include "utils/uuid.h"

extern void rc_random_uuid(pg_uuid_t *uuid);

#endif							/* RC_RANDOM_UUID_H */
