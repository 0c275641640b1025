/*-------------------------------------------------------------------------
 *
 * config_file.h
 *	  The files that settings name: lines of "key = value".
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_CONFIG_FILE_H
#define RC_CONFIG_FILE_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* One "key = value" line of a configuration file. */
typedef struct RcConfigLine
{
	char	   *key;
	char	   *value;
	int			line;			/* 1-based */
} RcConfigLine;

extern List *rc_config_file_read(const char *path, const char *setting);
extern char *rc_trim(char *text);

#endif							/* RC_CONFIG_FILE_H */
