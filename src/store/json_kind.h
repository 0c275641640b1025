/*-------------------------------------------------------------------------
 *
 * json_kind.h
 *	  Which kinds of JSON values a type accepts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_JSON_KIND_H
#define RC_JSON_KIND_H

#include "rappel_conso.h"

#include "utils/jsonfuncs.h"

typedef struct RcJsonType RcJsonType;

/* A type, with its parts as far as values have needed them. */
struct RcJsonType
{
	Oid			type;			/* as declared, maybe a domain */
	int			takes;
	MemoryContext context;

	/* of an array */
	Oid			element_type;	/* else invalid */
	RcJsonType *element;		/* NULL: not needed yet */

	/* of a composite type */
	Oid			row_type;		/* else invalid */
	uint64		row_identifier;
	int			nfields;
	char	  **names;			/* NULL: dropped */
	Oid		   *field_types;
	RcJsonType **fields;		/* each NULL: not needed yet */
};

extern RcJsonType *rc_json_type_make(Oid type);
extern bool rc_json_type_current(const RcJsonType *type);
extern bool rc_json_type_takes(const RcJsonType *type, JsonTokenType kind);
extern void rc_json_type_check(RcJsonType *type, const char *column,
							   JsonTokenType kind, const char *json, int len);

#endif							/* RC_JSON_KIND_H */
