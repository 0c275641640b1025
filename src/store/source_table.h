/*-------------------------------------------------------------------------
 *
 * source_table.h
 *	  Definitions of sources.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_SOURCE_TABLE_H
#define RC_SOURCE_TABLE_H

#include "rappel_conso.h"

#include "nodes/pg_list.h"

typedef struct RcSource
{
	char	   *name;
	char	   *url;
	char	   *dataset;
	char	   *filter;
	char	   *key_field;
	char	   *cursor_field;
	char	   *transform;
	bool		fold_accents;
	char	   *topic;
	int			partitions;
	int			replication;
	List	   *topic_config;	/* of char *: name=value */
	char	   *stream;			/* NULL if none */
	int			retries;
	int64		retry_delay_ms;
	char	   *owner_name;
	Oid			owner;			/* InvalidOid: dropped or renamed */
} RcSource;

extern RcSource *rc_source_load(const char *name);
extern TransactionId rc_source_xmin(const char *name);
extern bool rc_source_keep(const char *name);
extern List *rc_sources_of_stream(const char *stream);
extern bool rc_source_reads_same(const RcSource *a, const RcSource *b);
extern bool rc_source_is_of(const char *name, Oid role);

#endif							/* RC_SOURCE_TABLE_H */
