/*-------------------------------------------------------------------------
 *
 * random_uuid.c
 *	  Makes what gen_random_uuid() makes, UUIDs of version 4, of random bytes
 *	  that are fetched for many of them at once: most of what that function
 *	  costs is a call of OpenSSL.
 *
 * They are no secrets: bytes of later ones are in memory before their use.
 *
 *-------------------------------------------------------------------------
 */
#include "store/random_uuid.h"

/* UUIDs for which random bytes are fetched together. */
#define FETCHED		256

void
rc_random_uuid(pg_uuid_t *uuid)
{
	static pg_uuid_t fetched[FETCHED];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(fetched, sizeof(fetched)))
			elog(ERROR, "could not generate random values");
		left = FETCHED;
	}
	*uuid = fetched[--left];

	/* RFC 9562: version 4, and the variant */
	uuid->data[6] = (uuid->data[6] & 0x0f) | 0x40;
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}
