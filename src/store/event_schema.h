/*-------------------------------------------------------------------------
 *
 * event_schema.h
 *	  Schemas of change events that have been read, by their bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_EVENT_SCHEMA_H
#define RC_EVENT_SCHEMA_H

#include "rappel_conso.h"

#include "lib/ilist.h"

#include "debezium/debezium_scan.h"
#include "debezium/debezium_schema.h"
#include "store/row_convert.h"

/* Which struct of a schema describes the rows. */
typedef enum RcEventShape
{
	RC_EVENT_ENVELOPE,			/* that of after or before */
	RC_EVENT_FLAT,				/* the schema's own: flattened rows, and keys */
	RC_EVENT_SHAPES
} RcEventShape;

typedef struct RcEventSchema
{
	dlist_node	node;
	MemoryContext context;		/* of all of it */
	char	   *bytes;
	int			len;
	RcConnectSchema schema;

	/* NULL: not made yet; those of a key in a header are others */
	RcConversion *conversions[RC_EVENT_SHAPES];
	RcConversion *header_conversions[RC_EVENT_SHAPES];
} RcEventSchema;

typedef struct RcEventSchemas RcEventSchemas;

extern RcEventSchemas *rc_event_schemas_make(void);
extern const char *rc_event_schema_known(void *schemas, const char *at,
										 const char *end);
extern RcEventSchema *rc_event_schema_get(RcEventSchemas *schemas,
										  const RcDebeziumPart *part);

#endif							/* RC_EVENT_SCHEMA_H */
