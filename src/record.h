/*-------------------------------------------------------------------------
 *
 * record.h
 *	  What all rooms hand to each other: a record, the time of one, what a
 *	  field of one holds, that one was refused, what an API said of its quota.
 *
 * It must not know a setting, a table or a foreign library.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECORD_H
#define RC_RECORD_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Headers that our own messages carry, besides that of run_header.h. */
#define RC_HEADER_CONTENT_TYPE	"content-type"
#define RC_HEADER_SOURCE		"rappel_conso-source"
#define RC_HEADER_ID			"rappel_conso-id"
#define RC_HEADER_PREFIX		"rappel_conso-" /* of names that are ours */

/* One header of a record.  value_len is -1 for a null value. */
typedef struct RcHeader
{
	const char *name;
	const char *value;
	int			value_len;
} RcHeader;

/*
 * One record: a Kafka message, or one that a source hands to its stream.
 * It owns nothing: bytes belong to whoever made it (see rc_consumer_fetch).
 * Bytes are as they came, unchecked, not null-terminated; a length of -1
 * means null.
 */
typedef struct RcRecord
{
	const char *topic;			/* null-terminated */
	int32		partition;
	int64		offset;
	int64		timestamp_ms;	/* since 1970-01-01 UTC; -1 if there is none */
	const char *key;
	int			key_len;
	const char *value;
	int			value_len;
	RcHeader   *headers;
	int			nheaders;
} RcRecord;

/* A record that was refused for its own sake: it would be so again. */
typedef struct RcRefused
{
	uint64		tag;			/* by which who sent it knows it */
	int			sqlstate;
	char	   *error;
} RcRefused;

/*
 * The greatest timestamp of a record that PostgreSQL can hold, in milliseconds
 * since 1970; greater ones, such as nanoseconds by mistake, count as none.
 */
#define RC_MAX_KAFKA_TIME \
	(END_TIMESTAMP / INT64CONST(1000) + \
	 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000) - 1)

/*
 * Milliseconds since 1970, as Kafka counts, to a timestamp.  There must be
 * one (not -1).
 */
static inline TimestampTz
rc_from_kafka_time(int64 ms)
{
	return (ms - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
			SECS_PER_DAY * INT64CONST(1000)) * INT64CONST(1000);
}

/* A timestamp to milliseconds since 1970. */
static inline int64
rc_to_kafka_time(TimestampTz time)
{
	return time / INT64CONST(1000) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);
}

/*
 * What a field of a record holds.  Of a field by which an API is asked (a
 * cursor field) that says how its values are compared; those that are neither
 * times nor numbers are texts then.
 */
typedef enum RcFieldKind
{
	RC_FIELD_MISSING,			/* there is no such field, or it is null */
	RC_FIELD_TIME,				/* a date, or a date and time */
	RC_FIELD_NUMBER,
	RC_FIELD_TEXT,
	RC_FIELD_JSON				/* anything else, or of a wrong type */
} RcFieldKind;

/* What the API said of our quota of calls. */
typedef struct RcQuota
{
	bool		said;
	int64		limit;			/* -1: it did not say */
	int64		remaining;
	TimestampTz reset;			/* 0: it did not say when */
} RcQuota;

#endif							/* RC_RECORD_H */
