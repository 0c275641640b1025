/*-------------------------------------------------------------------------
 *
 * headers_json.h
 *	  Headers of a record as jsonb, and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_HEADERS_JSON_H
#define RC_HEADERS_JSON_H

#include "rappel_conso.h"
#include "record.h"

extern Datum rc_headers_jsonb(const RcRecord *record);
extern RcHeader *rc_headers_from_jsonb(Datum headers, int *n);

#endif							/* RC_HEADERS_JSON_H */
