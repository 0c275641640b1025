/*
 * server.h
 *	  What the tests of code without a server have of it: see server.c.
 */
#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/* the C library's, not those of the server's port */
#undef printf
#undef fprintf
#undef sprintf
#undef vsnprintf

extern void fuzz_encoding(int encoding);
extern void fuzz_forget(void);

#endif
