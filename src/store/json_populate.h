/*-------------------------------------------------------------------------
 *
 * json_populate.h
 *	  json_populate_record() for one column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_JSON_POPULATE_H
#define RC_JSON_POPULATE_H

#include "rappel_conso.h"

typedef struct RcPopulator RcPopulator;

extern RcPopulator *rc_populator_make(const char *name, Oid type,
									  int32 typmod);
extern Datum rc_populate(RcPopulator *populator, const char *json, int len);

#endif							/* RC_JSON_POPULATE_H */
