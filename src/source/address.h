/*-------------------------------------------------------------------------
 *
 * address.h
 *	  Checking the url and the dataset of a source.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_ADDRESS_H
#define RC_ADDRESS_H

#include "postgres.h"

extern void rc_address_check(const char *source, const char *url,
							 const char *dataset);

#endif							/* RC_ADDRESS_H */
