/*-------------------------------------------------------------------------
 *
 * stream_offset.h
 *	  Offsets of streams.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STREAM_OFFSET_H
#define RC_STREAM_OFFSET_H

#include "rappel_conso.h"
#include "store/run_table.h"

#include "nodes/pg_list.h"

typedef struct RcOffset
{
	char	   *topic;
	int32		partition;
	int64		next_offset;
	int64		epoch;
	char	   *cluster_id;
	int64		last_offset;	/* -1: none yet */
	int64		last_timestamp_ms;	/* -1: none yet */
	int64		high_watermark; /* -1: not yet observed */
	char	   *seek_to;		/* earliest, latest or a timestamp; else NULL */
} RcOffset;

/* A partition that no worker of its stream reads. */
typedef struct RcUnwatched
{
	char	   *stream;
	RcOffset	offset;			/* only topic, partition and high_watermark */
} RcUnwatched;

/* Target offsets of rc_seek(): arrays of n elements. */
typedef struct RcSeekOffsets
{
	int			n;
	Datum	   *topics;			/* text */
	bool	   *no_topic;		/* no topic given: the stream's only one */
	Datum	   *partitions;		/* integer */
	Datum	   *offsets;		/* bigint */
} RcSeekOffsets;

extern void rc_stream_seek(const char *stream, const char *position);
extern void rc_stream_seek_offsets(const char *stream,
								   const RcSeekOffsets *to);
extern RcUnwatched *rc_offsets_unwatched(int *n);
extern List *rc_offsets_load(const char *stream);
extern void rc_offset_insert(const char *stream, const char *topic,
							 int32 partition, int64 next_offset,
							 const char *cluster_id);
extern void rc_offset_advance(const char *stream, const RcOffset *from,
							  int64 next_offset, int64 last_offset,
							  int64 last_timestamp_ms, int64 applied,
							  const RcCounts *counts);
extern bool rc_offset_outdate(const char *stream, const char *topic);
extern void rc_offset_started(const char *stream, const RcOffset *at);
extern void rc_offset_totals(const char *stream, RcCounts *counts);
extern void rc_offset_skip(const char *stream, const RcOffset *from,
						   int64 next_offset);
extern void rc_offset_seek(const char *stream, const RcOffset *from,
						   int64 next_offset, const char *cluster_id);
extern void rc_offset_observe(const char *stream, const RcOffset *at,
							  int64 high_watermark);

#endif							/* RC_STREAM_OFFSET_H */
