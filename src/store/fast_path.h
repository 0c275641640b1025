/*-------------------------------------------------------------------------
 *
 * fast_path.h
 *	  Ways from JSON text to Datums that are shorter than the server's.
 *
 * A fast path takes only what it is sure of, and raises no error: it returns
 * false for anything else, which then goes through the server's own functions.
 * Those also word the errors.  Whatever writes a storage format of the server
 * directly is used only after it has been compared with the server's function
 * in this process (fast_check.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_FAST_PATH_H
#define RC_FAST_PATH_H

#include "rappel_conso.h"

#include "fast_scan.h"

/* What a column's Datum can be made of without its input function. */
typedef enum RcFastType
{
	RC_TYPE_NONE,
	RC_TYPE_INT2,
	RC_TYPE_INT4,
	RC_TYPE_INT8,
	RC_TYPE_BOOL,
	RC_TYPE_NUMERIC,
	RC_TYPE_DATE,
	RC_TYPE_TIMESTAMP,
	RC_TYPE_TIMESTAMPTZ,
	RC_TYPE_JSON,
	RC_TYPE_JSONB
} RcFastType;

/* The result for a string: whether it is sure depends on a setting. */
typedef enum RcSure
{
	RC_UNSURE,
	RC_SURE_OF_ZULU,			/* if 'Z' is a name of UTC */
	RC_SURE
} RcSure;

typedef struct RcJsonbWriter RcJsonbWriter;

/* fast_check.c */
extern bool rc_fast_numeric_checked;
extern bool rc_fast_jsonb_checked;
extern void rc_fast_check(void);

/* fast_scalar.c */
extern RcFastType rc_fast_type(Oid type, int32 typmod);
extern bool rc_fast_number(RcFastType type, const RcScanned *number,
						   MemoryContext results, Datum *value);
extern RcSure rc_fast_string(RcFastType type, const RcScanned *string,
							 Datum *value);

/* fast_numeric.c */
#define RC_NUMERIC_DIGITS	16	/* of which a fast numeric has no more */
#define RC_NUMERIC_SIZE		(VARHDRSZ + 6 * sizeof(int16))
extern int	rc_numeric_write(char *to, const RcScanned *number);

/* fast_jsonb_read.c */
extern RcJsonbWriter *rc_jsonb_writer_make(void);
extern bool rc_jsonb_fast(RcJsonbWriter *writer, const char *json, int len,
						  MemoryContext results, Datum *value);
extern bool rc_jsonb_read(RcJsonbWriter *writer, RcScan *scan);

/* fast_jsonb_write.c */
extern Datum rc_jsonb_write(RcJsonbWriter *writer, MemoryContext results);

#endif							/* RC_FAST_PATH_H */
