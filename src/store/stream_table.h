/*-------------------------------------------------------------------------
 *
 * stream_table.h
 *	  Definitions of streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_TABLE_H
#define RC_STREAM_TABLE_H

#include "rappel_conso.h"

#include "nodes/pg_list.h"

typedef struct RcStream
{
	char	   *name;
	List	   *topics;			/* of char * */
	char	   *statement;
	char	   *setup;			/* NULL if none */
	Oid			value_type;
	Oid			key_type;
	char	   *envelope;
	char	   *decimal;		/* NULL: the default of the envelope */
	char	   *numeric_time;	/* the same */
	char	   *output_topic;	/* NULL if none */
	char	   *start_at;
	char	   *group_id;		/* NULL: the default */
	int			batch_size;
	int			workers;
	bool		stop_on_error;	/* on_error = stop */
	int			stop_after;
	bool		paused;
	char	   *owner_name;
	Oid			owner;			/* InvalidOid: dropped or renamed */
	char	   *search_path;
	char	   *version;		/* changes with each update of the row */
} RcStream;

/* The number of workers a stream may have. */
typedef struct RcStreamWorkers
{
	char	   *name;
	int			workers;
} RcStreamWorkers;

/*
 * The version of a stream's definition and offsets; compare for equality only.
 */
typedef struct RcStreamVersion
{
	char	   *name;
	char	   *version;
} RcStreamVersion;

extern RcStream *rc_stream_load(const char *name);
extern TransactionId rc_stream_xmin(const char *name);
extern void rc_stream_lock(const char *name);
extern bool rc_stream_keep(const char *name);
extern bool rc_stream_reads(const RcStream *stream, const char *topic);
extern List *rc_streams_unpaused(void);
extern List *rc_stream_versions(void);
extern void rc_stream_settle_types(void);

#endif							/* RC_STREAM_TABLE_H */
