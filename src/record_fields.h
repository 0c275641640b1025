/*-------------------------------------------------------------------------
 *
 * record_fields.h
 *	  Values of records as fields, one after the other, instead of as JSON
 *	  text.
 *
 * field_name of such a record gives the names of the fields in their order.  All text is UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECORD_FIELDS_H
#define RC_RECORD_FIELDS_H

#include "record.h"

#include "lib/stringinfo.h"

/* One field; "bytes" as for RcFieldSink in transform/transform.h. */
typedef struct RcField
{
	const char *name;
	RcFieldKind kind;
	const char *bytes;			/* not null-terminated */
	int			len;
} RcField;

/* A position in the fields of a record; all zeros at first. */
typedef struct RcFieldPlace
{
	int			field;
	int			byte;
} RcFieldPlace;

extern void rc_field_pack(StringInfo out, RcFieldKind kind, const char *bytes,
						  size_t len);
extern bool rc_field_next(const RcRecord *record, RcFieldPlace *place,
						  RcField *field);
extern void rc_field_json(StringInfo out, const RcField *field);
extern const char *rc_record_json(const RcRecord *record, int *len);
extern void rc_json_write_string(StringInfo out, const char *str, size_t len);

#endif							/* RC_RECORD_FIELDS_H */
