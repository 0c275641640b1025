/*-------------------------------------------------------------------------
 *
 * statement_check.h
 *	  What a statement is, reads and writes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STATEMENT_CHECK_H
#define RC_STATEMENT_CHECK_H

#include "store/stream_table.h"

#include "executor/spi.h"

typedef struct RcStatementFacts
{
	bool		lacks_table;	/* that it names */
	bool		planned;		/* what follows is known */
	bool		reads_records;
	List	   *unlogged;		/* OIDs of such tables that it writes */
	char	   *emptied;		/* names of those that were emptied since;
								 * NULL: none */
} RcStatementFacts;

extern void rc_statement_check(const RcStream *stream);
extern void rc_statement_check_command(const RcStream *stream);
extern void rc_statement_check_plan(const RcStream *stream, SPIPlanPtr plan);
extern void rc_statement_require_records(const RcStream *stream,
										 const RcStatementFacts *facts);
extern void rc_statement_inspect(const RcStream *stream, bool strict,
								 RcStatementFacts *facts);

#endif							/* RC_STATEMENT_CHECK_H */
