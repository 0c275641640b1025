/*-------------------------------------------------------------------------
 *
 * iso_time.h
 *	  Times in ISO 8601.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ISO_TIME_H
#define RC_ISO_TIME_H

#include "postgres.h"

#include "datatype/timestamp.h"

extern TimestampTz rc_iso_time(const char *text);

#endif							/* RC_ISO_TIME_H */
