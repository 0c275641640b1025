/*-------------------------------------------------------------------------
 *
 * statement_check.h
 *	  Checks of a stream's statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_CHECK_H
#define RC_STATEMENT_CHECK_H

#include "store/stream_table.h"

#include "executor/spi.h"

typedef struct RcStatementFacts
{
	bool		lacks_table;	/* a table that it names is missing */
	bool		planned;		/* planned; the fields below are set */
	bool		reads_records;
	List	   *unlogged;		/* unlogged tables that it writes (OIDs) */
	char	   *emptied;		/* names of those emptied by a crash; NULL:
								 * none */
} RcStatementFacts;

extern void rc_statement_check(const RcStream *stream);
extern void rc_statement_check_command(const RcStream *stream);
extern void rc_statement_check_plan(const RcStream *stream, SPIPlanPtr plan);
extern void rc_statement_require_records(const RcStream *stream,
										 const RcStatementFacts *facts);
extern void rc_statement_inspect(const RcStream *stream, bool strict,
								 RcStatementFacts *facts);

#endif							/* RC_STATEMENT_CHECK_H */
