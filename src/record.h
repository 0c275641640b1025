/*-------------------------------------------------------------------------
 *
 * record.h
 *	  Types that are passed between the folders of src: a record and its
 *	  headers, Kafka's timestamps, the kind of a field, a refused record, an
 *	  API's quota.
 *
 * It must not depend on a setting, a table, libcurl or librdkafka.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECORD_H
#define RC_RECORD_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Headers of messages that the extension publishes; run_header.h has another.
 */
#define RC_HEADER_CONTENT_TYPE	"content-type"
#define RC_HEADER_SOURCE		"rappel_conso-source"
#define RC_HEADER_ID			"rappel_conso-id"
#define RC_HEADER_PREFIX		"rappel_conso-" /* reserved */

/* One header of a record.  value_len is -1 for a null value. */
typedef struct RcHeader
{
	const char *name;
	const char *value;
	int			value_len;
} RcHeader;

/*
 * One record: a Kafka message, or one that a source in direct mode applies to
 * its stream.  It owns none of the memory that it points to (for a Kafka
 * message, librdkafka does until rc_consumer_release()).  Keys, values and
 * headers are unchecked bytes, not null-terminated; a length of -1 means
 * null.
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
	const char *(*field_name) (int field);	/* value is packed, see
											 * record_fields.h; else NULL */
	RcHeader   *headers;
	int			nheaders;
	bool		headers_lost;	/* has headers, but they could not be read */
} RcRecord;

/* A record that was rejected permanently: sending it again cannot succeed. */
typedef struct RcRefused
{
	uint64		tag;			/* that the sender has given to it */
	int			sqlstate;
	char	   *error;
} RcRefused;

/*
 * The greatest timestamp of a record that PostgreSQL can represent, in
 * milliseconds since 1970.  A record with a greater one (nanoseconds by
 * mistake, say) counts as having none, and so does one from before 1970.
 */
#define RC_MAX_KAFKA_TIME \
	(END_TIMESTAMP / INT64CONST(1000) + \
	 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000) - 1)

/*
 * Convert Kafka's milliseconds since 1970 to a timestamp; not for -1 (none).
 */
static inline TimestampTz
rc_from_kafka_time(int64 ms)
{
	return (ms - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
			SECS_PER_DAY * INT64CONST(1000)) * INT64CONST(1000);
}

/* Convert a timestamp to Kafka's milliseconds since 1970. */
static inline int64
rc_to_kafka_time(TimestampTz time)
{
	return time / INT64CONST(1000) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);
}

/*
 * What kind of value a field of a record has.  For a cursor field it decides
 * how values are compared; one that is neither a time nor a number is then
 * text.
 */
typedef enum RcFieldKind
{
	RC_FIELD_MISSING,			/* no such field, or null */
	RC_FIELD_TIME,				/* a date, or a date and time */
	RC_FIELD_NUMBER,
	RC_FIELD_TEXT,
	RC_FIELD_JSON				/* anything else, or of a wrong type */
} RcFieldKind;

/* The quota of requests that an API has reported. */
typedef struct RcQuota
{
	bool		said;
	int64		limit;			/* -1: not reported */
	int64		remaining;
	TimestampTz reset;			/* 0: not reported */
} RcQuota;

#endif							/* RC_RECORD_H */
