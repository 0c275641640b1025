/*-------------------------------------------------------------------------
 *
 * event_schema.c
 *	  Keeps the schemas of change events: each message has that of its table,
 *	  which is far longer than the row, so it is compared rather than read.
 *
 * What is kept is bounded, in number and size: schemas come from messages.
 *
 *-------------------------------------------------------------------------
 */
#include "store/event_schema.h"

#include "utils/memutils.h"

#define MAX_SCHEMAS	200
#define MAX_BYTES	(16 * 1024 * 1024)

struct RcEventSchemas
{
	dlist_head	schemas;		/* the last one used first */
	int			n;
	Size		bytes;
	MemoryContext context;
};

static RcEventSchema *read_schema(const RcDebeziumPart *part);
static void forget_last(RcEventSchemas *schemas);

/* Make an empty list, in the current context. */
RcEventSchemas *
rc_event_schemas_make(void)
{
	RcEventSchemas *schemas = palloc0(sizeof(RcEventSchemas));

	dlist_init(&schemas->schemas);
	schemas->context = CurrentMemoryContext;
	return schemas;
}

/*
 * Where the schema at this place ends, if it is known; else NULL.  It becomes
 * the first one.
 */
const char *
rc_event_schema_known(void *arg, const char *at, const char *end)
{
	RcEventSchemas *schemas = (RcEventSchemas *) arg;
	dlist_iter	iter;

	dlist_foreach(iter, &schemas->schemas)
	{
		RcEventSchema *schema = dlist_container(RcEventSchema, node, iter.cur);

		if (schema->len <= end - at &&
			memcmp(schema->bytes, at, schema->len) == 0)
		{
			dlist_move_head(&schemas->schemas, &schema->node);
			return at + schema->len;
		}
	}
	return NULL;
}

/*
 * The schema of these bytes.  Raises ERRCODE_INVALID_TEXT_REPRESENTATION if
 * they are none.  The result is valid until the next call.
 */
RcEventSchema *
rc_event_schema_get(RcEventSchemas *schemas, const RcDebeziumPart *part)
{
	RcEventSchema *schema;

	if (rc_event_schema_known(schemas, part->at, part->at + part->len) ==
		part->at + part->len)
		return dlist_head_element(RcEventSchema, node, &schemas->schemas);

	schema = read_schema(part);
	MemoryContextSetParent(schema->context, schemas->context);
	dlist_push_head(&schemas->schemas, &schema->node);
	schemas->n++;
	schemas->bytes += MemoryContextMemAllocated(schema->context, true);
	while (schemas->n > 1 &&
		   (schemas->n > MAX_SCHEMAS || schemas->bytes > MAX_BYTES))
		forget_last(schemas);
	return schema;
}

/* Read a schema, in a context of its own below the current one. */
static RcEventSchema *
read_schema(const RcDebeziumPart *part)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "rappel_conso schema",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RcEventSchema *schema = palloc0(sizeof(RcEventSchema));
	const char *wrong;

	schema->context = context;
	schema->bytes = pnstrdup(part->at, part->len);
	schema->len = part->len;
	wrong = rc_connect_schema_read(part->at, part->len, &schema->schema);
	if (wrong == NULL && schema->schema.type != RC_CONNECT_STRUCT)
		wrong = "is not that of a struct";
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the schema of the record cannot be used"),
				 errdetail("It %s.", wrong)));
	MemoryContextSwitchTo(old);
	return schema;
}

/* Conversions are made later, and are small beside the schema. */
static void
forget_last(RcEventSchemas *schemas)
{
	RcEventSchema *last = dlist_tail_element(RcEventSchema, node,
											 &schemas->schemas);

	dlist_delete(&last->node);
	schemas->n--;
	schemas->bytes -= Min(schemas->bytes,
						  MemoryContextMemAllocated(last->context, true));
	MemoryContextDelete(last->context);
}
