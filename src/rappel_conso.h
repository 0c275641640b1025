/*-------------------------------------------------------------------------
 *
 * rappel_conso.h
 *	  What every part of the extension shares: settings, the record, the
 *	  names of things.
 *
 * It must not include a header of a foreign library; those stay in src/source
 * and src/kafka.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RAPPEL_CONSO_H
#define RAPPEL_CONSO_H

#include "postgres.h"

#include "compat.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/pg_list.h"

#define RC_NAME		"rappel_conso"
#define RC_SCHEMA	"rappel_conso"
#define RC_VERSION	"1.0"

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

/* worker/worker.c: this process is a worker of ours, and not another's */
extern bool rc_in_worker;

/* settings.c */
extern char *rc_databases;
extern char *rc_kafka_brokers;
extern char *rc_kafka_config_file;
extern char *rc_http_config_file;
extern int	rc_http_timeout;	/* seconds without a byte; also to connect */
extern char *rc_user_agent;
extern int	rc_keep_history;	/* days */
extern int	rc_workers_per_owner;	/* 0: half of max_worker_processes */

#define RC_BROKERS_HINT \
	"Use host:port, separated by commas; an address of IPv6 is [::1]:port."

extern void rc_settings_define(void);
extern char *rc_wrong_broker(const char *brokers);

/* One "key = value" line of a configuration file. */
typedef struct RcConfigLine
{
	char	   *key;
	char	   *value;
	int			line;			/* 1-based */
} RcConfigLine;

extern List *rc_config_file_read(const char *path, const char *setting);

/* encoding.c */
extern char *rc_to_utf8(const char *text, const char *what);
extern char *rc_from_utf8(const char *bytes, int len);
extern char *rc_shown_utf8(const char *text);

/* recall_scan.c */
extern void rc_recall_scan(FunctionCallInfo fcinfo, Oid table);

/* host.c */
extern bool rc_is_host(const char *host, size_t len);

#endif							/* RAPPEL_CONSO_H */
