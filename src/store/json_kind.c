/*-------------------------------------------------------------------------
 *
 * json_kind.c
 *	  Which kinds of JSON values a type accepts, and which parts (elements,
 *	  fields) the type has.
 *
 * The server passes any JSON scalar to the type's input function, which makes
 * the number 101231 a date in 2010.  Such surprises, listed in
 * docs/streams.md, are rejected before the server's conversion
 * (json_kind_check.c).  Nothing else may be rejected here, and nothing is
 * converted.
 *
 *-------------------------------------------------------------------------
 */
#include "store/json_kind.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#define TAKES_STRING	0x01
#define TAKES_NUMBER	0x02
#define TAKES_BOOLEAN	0x04
#define TAKES_OBJECT	0x08
#define TAKES_ARRAY		0x10
#define TAKES_ALL		0x1F

static void look_up(RcJsonType *type);
static void look_up_fields(RcJsonType *type);

/*
 * Look up what a type accepts.  Allocated in the current context, which must
 * outlive the result: parts are added to it later.
 */
RcJsonType *
rc_json_type_make(Oid type)
{
	RcJsonType *made = palloc0(sizeof(RcJsonType));

	made->type = type;
	made->context = CurrentMemoryContext;
	look_up(made);
	return made;
}

static void
look_up(RcJsonType *type)
{
	Oid			base = getBaseType(type->type);
	char		category;
	bool		preferred;

	get_type_category_preferred(base, &category, &preferred);
	type->element_type = get_element_type(base);

	if (OidIsValid(type->element_type))
		type->takes = TAKES_STRING | TAKES_ARRAY;
	else if (get_typtype(base) == TYPTYPE_COMPOSITE)
	{
		type->takes = TAKES_STRING | TAKES_OBJECT;
		type->row_type = base;
		look_up_fields(type);
	}
	else if (base >= FirstNormalObjectId ||
			 base == JSONOID || base == JSONBOID ||
			 base == TEXTOID || base == VARCHAROID)
		type->takes = TAKES_ALL;
	else if (category == TYPCATEGORY_STRING)
		type->takes = TAKES_STRING | TAKES_NUMBER | TAKES_BOOLEAN;
	else if (category == TYPCATEGORY_NUMERIC)
		type->takes = TAKES_STRING | TAKES_NUMBER;
	else if (category == TYPCATEGORY_BOOLEAN)
		type->takes = TAKES_STRING | TAKES_BOOLEAN;
	else
		type->takes = TAKES_STRING;
}

static void
look_up_fields(RcJsonType *type)
{
	TypeCacheEntry *entry = lookup_type_cache(type->row_type,
											  TYPECACHE_TUPDESC);
	TupleDesc	desc = entry->tupDesc;

	type->row_identifier = entry->tupDesc_identifier;
	type->nfields = desc->natts;
	type->names = palloc0(sizeof(char *) * (desc->natts + 1));
	type->field_types = palloc0(sizeof(Oid) * (desc->natts + 1));
	type->fields = palloc0(sizeof(RcJsonType *) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped)
			continue;
		type->names[i] = pstrdup(NameStr(attribute->attname));
		type->field_types[i] = attribute->atttypid;
	}
}

/* False if a composite type in it has been altered since it was looked up. */
bool
rc_json_type_current(const RcJsonType *type)
{
	if (OidIsValid(type->row_type) &&
		lookup_type_cache(type->row_type,
						  TYPECACHE_TUPDESC)->tupDesc_identifier !=
		type->row_identifier)
		return false;
	if (type->element != NULL && !rc_json_type_current(type->element))
		return false;
	for (int i = 0; i < type->nfields; i++)
	{
		if (type->fields[i] != NULL && !rc_json_type_current(type->fields[i]))
			return false;
	}
	return true;
}

/* Whether the type accepts a value that begins with a token of this kind. */
bool
rc_json_type_takes(const RcJsonType *type, JsonTokenType kind)
{
	switch (kind)
	{
		case JSON_TOKEN_STRING:
			return (type->takes & TAKES_STRING) != 0;
		case JSON_TOKEN_NUMBER:
			return (type->takes & TAKES_NUMBER) != 0;
		case JSON_TOKEN_TRUE:
		case JSON_TOKEN_FALSE:
			return (type->takes & TAKES_BOOLEAN) != 0;
		case JSON_TOKEN_OBJECT_START:
			return (type->takes & TAKES_OBJECT) != 0;
		case JSON_TOKEN_ARRAY_START:
			return (type->takes & TAKES_ARRAY) != 0;
		default:
			return true;		/* null */
	}
}
