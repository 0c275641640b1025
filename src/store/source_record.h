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

/* What is remembered of a record, and what to do with it. */
typedef struct RcKnownRecord
{
	bool		known;
	int64		hash;			/* of the value */
	char	   *version;		/* sorts as versions do; NULL: not known */
	int64		run;			/* that handed it on */
	bool		missed;			/* by an earlier full pass */
	bool		unconfirmed;	/* nobody knows whether something else
								 * followed */
	bool		fresh;			/* nothing of its key was handed on */
	bool		changed;		/* differs from what was handed on */
	bool		to_send;		/* has to be handed on */
	bool		write;			/* has to be remembered */
} RcKnownRecord;

/* Which records have to be handed on. */
typedef enum RcSendPolicy
{
	RC_SEND_CHANGED,			/* what is new or differs */
	RC_SEND_EQUAL,				/* what is known, too */
	RC_SEND_ALL					/* even what is older than known */
} RcSendPolicy;

/* Of which records of a source and destination. */
typedef enum RcCountOf
{
	RC_COUNT_ALL,				/* that are remembered */
	RC_COUNT_KNOWN,				/* not missing, and not in doubt */
	RC_COUNT_MISSING			/* from the newest full pass */
} RcCountOf;

extern bool rc_can_know(const RcRecord *record);
extern void rc_known_records_compare(const RcSource *source,
									 const char *destination,
									 const RcRecord *records, RcKnownRecord *memory,
									 int n, int64 run, RcSendPolicy mode);
extern void rc_known_records_mark_unconfirmed(const RcSource *source,
											  const char *destination,
											  const RcRecord *records,
											  const RcKnownRecord *memory, int n,
											  bool fresh_too);
extern void rc_known_records_store(const RcSource *source, const char *destination,
								   const RcRecord *records, const RcKnownRecord *memory,
								   int n);
extern void rc_known_records_delete(const RcSource *source, const char *destination,
									const RcRecord *records, int n);
extern bool rc_known_records_at_most(const RcSource *source,
									 const char *destination, int64 most);
extern int64 rc_known_records_count(const RcSource *source,
									const char *destination, RcCountOf what);

#endif							/* RC_SOURCE_RECORD_H */
