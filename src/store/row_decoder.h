/*-------------------------------------------------------------------------
 *
 * row_decoder.h
 *	  What the files behind rc_row_decode() share: nobody else includes it.
 *
 * They must come to what json_populate_record() comes to, or to an error: it
 * does the work wherever a value has parts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_JSON_ROW_H
#define RC_JSON_ROW_H

#include "utils/jsonfuncs.h"

/* ---- json_kind.c: which kinds of JSON values a type takes ---- */

typedef struct RcJsonType RcJsonType;

extern RcJsonType *rc_json_type_make(Oid type);
extern bool rc_json_type_current(const RcJsonType *type);
extern bool rc_json_type_takes(const RcJsonType *type, JsonTokenType kind);
extern void rc_json_type_check(RcJsonType *type, const char *column,
							   JsonTokenType kind, const char *json, int len);

/* ---- json_populate.c: json_populate_record() for one column ---- */

typedef struct RcPopulator RcPopulator;

extern RcPopulator *rc_populator_make(const char *name, Oid type,
									  int32 typmod);
extern Datum rc_populate(RcPopulator *populator, const char *json, int len);

#endif							/* RC_JSON_ROW_H */
