/*-------------------------------------------------------------------------
 *
 * rappel_conso.h
 *	  Declarations that all folders of src share: settings, names,
 *	  encodings.
 *
 * It must not include a header of libcurl or librdkafka; only src/source,
 * src/kafka and library_versions.c may.
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

/* The Makefile defines RC_VERSION: the default_version of the control file. */
#ifndef RC_VERSION
#error "build rappel_conso with make, which defines RC_VERSION"
#endif

/* worker/worker.c: this process is a background worker of this extension */
extern bool rc_in_worker;

/* settings.c */
extern char *rc_databases;
extern char *rc_kafka_brokers;
extern char *rc_kafka_config_file;
extern char *rc_http_config_file;
extern int	rc_http_timeout;	/* seconds; see settings.c */
extern char *rc_user_agent;
extern int	rc_keep_history;	/* days; 0 keeps nothing */
extern int	rc_workers_per_owner;	/* 0: half of max_worker_processes */
extern int	rc_fast_paths;		/* bits of RcFastPath */

/* Parts of rappel_conso.fast_paths, in the order of settings.c. */
typedef enum RcFastPath
{
	RC_FAST_ROWS = 1 << 0,		/* store/fast_row.c */
	RC_FAST_SCALARS = 1 << 1,	/* store/fast_scalar.c */
	RC_FAST_JSONB = 1 << 2,		/* store/fast_jsonb_read.c */
	RC_FAST_INSERTS = 1 << 3,	/* store/multi_insert.c */
	RC_FAST_SCANS = 1 << 4,		/* store/record_scan.c */
	RC_FAST_GRANTS = 1 << 5,	/* store/kept_grant.c */
	RC_FAST_OUTBOX = 1 << 6,	/* store/kept_insert.c, outbox_relation.c */
	RC_FAST_NEW = 1 << 7,		/* store/statement_new.c, first_scan.c,
								 * source_record_insert.c */
	RC_FAST_FIELDS = 1 << 8		/* store/fast_fields.c */
} RcFastPath;

#define RC_BROKERS_HINT \
	"Use host:port, separated by commas; an IPv6 address is written as [::1]:port."

extern void rc_settings_define(void);
extern char *rc_wrong_broker(const char *brokers);

/* encoding.c */
extern char *rc_to_utf8(const char *text, const char *what);
extern char *rc_from_utf8(const char *bytes, int len);
extern char *rc_shown_utf8(const char *text);
extern void rc_mask_invalid(char *text);

/* library_versions.c */
extern void rc_library_versions_check(void);

/* host.c */
extern bool rc_is_host(const char *host, size_t len);

#endif							/* RAPPEL_CONSO_H */
