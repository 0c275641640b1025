/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between the PostgreSQL versions that we build against
 *	  (15 to 18).  No other file may mention PG_VERSION_NUM.
 *
 * The code uses the newest name; this file gives it to older versions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_COMPAT_H
#define RC_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "rappel_conso needs PostgreSQL 15 or newer"
#endif

#endif							/* RC_COMPAT_H */
