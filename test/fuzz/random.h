/*
 * random.h
 *	  The numbers by which values are made up: the same ones for the same seed.
 */
#ifndef FUZZ_RANDOM_H
#define FUZZ_RANDOM_H

#include "postgres.h"

static uint64 state;			/* set it to the seed first; not 0 */

static inline uint64
random64(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static inline uint32
below(uint32 limit)
{
	return (random64() >> 16) % limit;
}

#endif
