/*-------------------------------------------------------------------------
 *
 * debezium_internal.h
 *	  What the files of the conversions of Debezium's values share.
 *
 * Functions that return a text return NULL, or what is wrong with the value;
 * they may have written to "out" then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEBEZIUM_INTERNAL_H
#define RC_DEBEZIUM_INTERNAL_H

#include "debezium/debezium_value.h"
#include "fast_scan.h"

#define RC_NO_JSON		"is no JSON that can be read"
#define RC_NO_STRING	"is no string"
#define RC_NO_OBJECT	"is no object"
#define RC_NO_BASE64	"is not base64"

/* A JSON value. */
typedef struct RcDebeziumJson
{
	JsonTokenType kind;			/* of an object or array: what begins it */
	const char *text;			/* of a string: without quotes and escapes */
	int			len;
	RcScanned	number;			/* of a number */
} RcDebeziumJson;

static inline bool
rc_debezium_equals(const RcDebeziumJson *value, const char *text)
{
	return value->len == strlen(text) &&
		memcmp(value->text, text, value->len) == 0;
}

/* debezium_json.c */
extern bool rc_debezium_read(RcScan *scan, RcDebeziumJson *value);
extern bool rc_debezium_first(const RcDebeziumJson *container, RcScan *scan);
extern bool rc_debezium_next(RcScan *scan);
extern void rc_debezium_name(RcScan *scan, RcDebeziumJson *name);
extern bool rc_debezium_member(const RcDebeziumJson *object, const char *name,
							   RcDebeziumJson *member);
extern bool rc_debezium_integer(const RcDebeziumJson *value, int64 *integer);

/* debezium_decimal.c */
extern const char *rc_debezium_append_decimal(const RcDebeziumType *type,
											  const RcDebeziumJson *value,
											  StringInfo out);

/* debezium_time.c */
extern const char *rc_debezium_append_time(const RcDebeziumType *type,
										   const RcDebeziumJson *value,
										   StringInfo out);

/* debezium_iso.c */
extern void rc_debezium_digits(StringInfo out, uint64 number, int width);
extern const char *rc_debezium_append_iso(const RcDebeziumType *type,
										  const char *text, int len, StringInfo out);

/* debezium_bytes.c */
extern uint8 *rc_debezium_base64(const char *text, int len, int *nbytes);
extern void rc_debezium_hex(const uint8 *bytes, int nbytes, StringInfo out);
extern const char *rc_debezium_append_bytes(const RcDebeziumType *type,
											const RcDebeziumJson *value,
											StringInfo out);

/* debezium_geometry.c */
extern const char *rc_debezium_append_geometry(const RcDebeziumType *type,
											   const RcDebeziumJson *value,
											   StringInfo out);

#endif							/* RC_DEBEZIUM_INTERNAL_H */
