/*-------------------------------------------------------------------------
 *
 * dead_letter.h
 *	  Records that failed, in rappel_conso.dead_letter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEAD_LETTER_H
#define RC_DEAD_LETTER_H

#include "record.h"
#include "store/stream_table.h"

typedef struct RcDeadLetter
{
	int64		id;
	RcRecord	record;
	bool		still_dead;		/* set by rc_apply(): the retry failed */
} RcDeadLetter;

extern RcDeadLetter *rc_dead_letters(const RcStream *stream, int64 id,
									 int64 after, int limit, int *n);
extern void rc_dead_letter_again(int64 id, const ErrorData *error);
extern int64 rc_dead_letter_supersede(const RcStream *stream, int64 id);
extern void rc_dead_letter_resolve(const int64 *ids, int n);
extern void rc_dead_letter_overtaken(const RcStream *stream,
									 const RcRecord *records, int n,
									 const bool *dead, bool retried);
pg_noreturn extern void rc_dead_letter_missing(const char *stream, int64 id);

extern void rc_dead_letter_add(const char *origin, const char *name,
							   int64 run, const RcRecord *record,
							   const ErrorData *error,
							   const char *owner);
extern void rc_dead_letter_remove_old(int days);

#endif							/* RC_DEAD_LETTER_H */
