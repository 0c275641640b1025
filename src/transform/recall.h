/*-------------------------------------------------------------------------
 *
 * recall.h
 *	  Declarations shared by the files recall*.c, which convert a recall to
 *	  its columns.
 *
 * No file outside src/transform may include it.  All text is UTF-8, whatever
 * the encoding of the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECALL_H
#define RC_RECALL_H

#include "transform/transform.h"

/* recall.c */
extern const char *rc_recall_column(int column);
extern void rc_recall_key(char *key);
extern const char *rc_recall_convert(const RcTransformOptions *options,
									 RcTransformWork *work, RcFieldSink *sink,
									 RcTransformed *out);

/* recall_text.c */
extern void rc_recall_lines(StringInfo out, const char *str, size_t len,
							bool is_list, bool fold);
extern void rc_recall_identification(StringInfo str);
extern void rc_recall_gtins(StringInfo out, const char *str);

/* recall_dates.c */

/* room for a date or a timestamp that recall_dates.c writes */
#define RC_DATE_ROOM	64

extern bool rc_recall_date(const char *str, size_t len, char *iso);
extern bool rc_recall_timestamp(const char *str, size_t len, char *iso);
extern bool rc_recall_period(const char *str, size_t len, char *from,
							 char *to);

/* iso_dates.c */
extern bool rc_recall_no_date(const char *str, size_t len);
extern bool rc_copy_iso_date(const char *str, size_t len, char *iso);
extern bool rc_copy_iso_utc_time(const char *str, size_t len, char *iso);
extern bool rc_date_exists(int year, int month, int day);

#endif							/* RC_RECALL_H */
