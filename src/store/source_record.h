/*-------------------------------------------------------------------------
 *
 * source_record.h
 *	  What was handed on, record by record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SOURCE_RECORD_H
#define RC_SOURCE_RECORD_H

#include "record.h"
#include "store/source_table.h"

/* A record that full passes miss for so long is withdrawn. */
#define RC_MISSING_TIME "'1 hour'::interval"

/* What is remembered of a record, and what to do with it. */
typedef struct RcMemory
{
	bool		known;
	int64		hash;			/* of the value */
	char	   *version;		/* sorts as versions do; NULL: not known */
	int64		run;			/* that handed it on */
	bool		missed;			/* by an earlier full pass */
	bool		doubted;		/* nobody knows whether something else
								 * followed */
	bool		fresh;			/* nothing of its key was handed on */
	bool		changed;		/* differs from what was handed on */
	bool		news;			/* has to be handed on */
	bool		write;			/* has to be remembered */
} RcMemory;

/* Which records have to be handed on. */
typedef enum RcHandOn
{
	RC_HAND_ON_NEWS,			/* what is new or differs */
	RC_HAND_ON_EQUAL,			/* what is known, too */
	RC_HAND_ON_ALL				/* even what is older than known */
} RcHandOn;

/* Of which records of a source and destination. */
typedef enum RcCountOf
{
	RC_COUNT_ALL,				/* that are remembered */
	RC_COUNT_KNOWN,				/* not missing, and not in doubt */
	RC_COUNT_MISSING			/* from the newest full pass */
} RcCountOf;

typedef struct RcSeen RcSeen;

extern RcSeen *rc_seen_begin(void);
extern void rc_seen_add(RcSeen *seen, const RcRecord *records, int n);
extern void rc_remembered_compare(const RcSource *source,
								  const char *destination,
								  const RcRecord *records, RcMemory *memory,
								  int n, int64 run, RcHandOn mode);
extern void rc_remembered_doubt(const RcSource *source,
								const char *destination,
								const RcRecord *records,
								const RcMemory *memory, int n,
								bool fresh_too);
extern void rc_remember(const RcSource *source, const char *destination,
						const RcRecord *records, const RcMemory *memory,
						int n);
extern void rc_forget(const RcSource *source, const char *destination,
					  const RcRecord *records, int n);
extern bool rc_remembered_at_most(const RcSource *source,
								  const char *destination, int64 most);
extern int64 rc_remembered_count(const RcSource *source,
								 const char *destination, RcCountOf what);
extern int64 rc_remembered_miss(const RcSource *source,
								const char *destination, RcSeen *seen);
extern RcRecord *rc_remembered_missing(const RcSource *source,
									   const char *destination,
									   const RcRecord *after, int limit,
									   int *n);

#endif							/* RC_SOURCE_RECORD_H */
