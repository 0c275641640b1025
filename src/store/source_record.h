/*-------------------------------------------------------------------------
 *
 * source_record.h
 *	  What is known of each record that was sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SOURCE_RECORD_H
#define RC_SOURCE_RECORD_H

#include "record.h"
#include "store/source_table.h"

/* What is known of a record's key, and what to do with the record. */
typedef struct RcKnownRecord
{
	bool		known;
	int64		hash;			/* of the value */
	char	   *version;		/* in an order-preserving form; NULL: unknown */
	int64		run;			/* that sent it last */
	bool		missed;			/* an earlier full scan did not find it */
	bool		unconfirmed;	/* a newer value may have been sent */
	bool		fresh;			/* no record of its key was sent yet */
	bool		insert;			/* its key is not stored, and no other record
								 * of the batch has it */
	bool		changed;		/* differs from the value sent last */
	bool		to_send;		/* must be sent */
	bool		write;			/* must be stored */
} RcKnownRecord;

/* Which records are sent. */
typedef enum RcSendPolicy
{
	RC_SEND_CHANGED,			/* new or changed */
	RC_SEND_EQUAL,				/* also unchanged */
	RC_SEND_ALL					/* also older than the known version */
} RcSendPolicy;

/* Which records of a source and destination to count. */
typedef enum RcCountOf
{
	RC_COUNT_ALL,				/* all */
	RC_COUNT_KNOWN,				/* neither missing nor unconfirmed */
	RC_COUNT_MISSING			/* not found by the last full scan */
} RcCountOf;

typedef struct RcFirstScan RcFirstScan;

extern bool rc_is_trackable(const RcRecord *record);
extern void rc_known_records_compare(const RcSource *source,
									 const char *destination,
									 RcFirstScan *first,
									 const RcRecord *records, RcKnownRecord *states,
									 int n, int64 run, RcSendPolicy mode);
extern void rc_known_records_mark_unconfirmed(const RcSource *source,
											  const char *destination,
											  const RcRecord *records,
											  RcKnownRecord *states, int n,
											  bool fresh_too);
extern void rc_known_records_store(const RcSource *source, const char *destination,
								   const RcRecord *records, const RcKnownRecord *states,
								   int n);
extern void rc_known_records_delete(const RcSource *source, const char *destination,
									const RcRecord *records, int n);
extern bool rc_known_records_at_most(const RcSource *source,
									 const char *destination, int64 most);
extern int64 rc_known_records_count(const RcSource *source,
									const char *destination, RcCountOf what);

/* source_record_insert.c */
extern bool rc_known_records_insert(const RcSource *source, const char *destination,
									const RcRecord *records,
									const RcKnownRecord *states, int n);

#endif							/* RC_SOURCE_RECORD_H */
