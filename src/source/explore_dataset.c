/*-------------------------------------------------------------------------
 *
 * explore_dataset.c
 *	  Reads the description of a dataset: when it changed, how many records
 *	  it has, the kinds of its fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/explore_internal.h"
#include "utils/memutils.h"

#define META_LIMIT		(4 * 1024 * 1024)

typedef struct RcExploreField
{
	char	   *name;
	RcFieldKind kind;
} RcExploreField;

static void read_info(RcExplore *explore, const cJSON *root,
					  RcDatasetInfo *info);
static void read_fields(RcExplore *explore, const cJSON *fields);
static char *copy_text(const cJSON *object, const char *name);
static RcFieldKind kind_of_type(const char *type);

/*
 * RcReaderClass.describe: GET /catalog/datasets/{id}.  The types of fields are
 * kept for rc_explore_field_kind().
 *
 * Errors: those of rc_explore_get() and rc_explore_read_object().
 */
void
rc_explore_describe(RcReader *reader, RcDatasetInfo *info)
{
	RcExplore  *explore = (RcExplore *) reader;
	cJSON	   *root;

	rc_explore_get(explore, "", NULL, NULL);
	root = rc_explore_read_object(explore, META_LIMIT);
	PG_TRY();
	{
		read_info(explore, root, info);
	}
	PG_FINALLY();
	{
		cJSON_Delete(root);
	}
	PG_END_TRY();
}

/*
 * RcReaderClass.field_kind.  Requests the dataset's description unless
 * explore->fields has been read already.
 */
RcFieldKind
rc_explore_field_kind(RcReader *reader, const char *field)
{
	RcExplore  *explore = (RcExplore *) reader;
	ListCell   *cell;

	if (!explore->fields_known)
	{
		RcDatasetInfo info;

		rc_explore_describe(reader, &info);
	}
	foreach(cell, explore->fields)
	{
		RcExploreField *known = lfirst(cell);

		if (strcmp(known->name, field) == 0)
			return known->kind;
	}
	return RC_FIELD_MISSING;
}

/*
 * Read the description into *info and explore->fields.
 */
static void
read_info(RcExplore *explore, const cJSON *root, RcDatasetInfo *info)
{
	const cJSON *metas = cJSON_GetObjectItemCaseSensitive(root, "metas");
	const cJSON *standard = cJSON_GetObjectItemCaseSensitive(metas, "default");

	info->data_processed = copy_text(standard, "data_processed");
	info->records_count = rc_explore_number(standard, "records_count");
	read_fields(explore, cJSON_GetObjectItemCaseSensitive(root, "fields"));
}

/*
 * Store names and kinds of the fields.
 */
static void
read_fields(RcExplore *explore, const cJSON *fields)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(explore->context);
	List	   *list = NIL;
	ListCell   *cell;
	const cJSON *field;

	cJSON_ArrayForEach(field, fields)
	{
		const cJSON *name = cJSON_GetObjectItemCaseSensitive(field, "name");
		const cJSON *type = cJSON_GetObjectItemCaseSensitive(field, "type");
		RcExploreField *known;

		if (!cJSON_IsString(name) || !cJSON_IsString(type))
			continue;
		known = palloc(sizeof(RcExploreField));
		known->name = pstrdup(name->valuestring);
		known->kind = kind_of_type(type->valuestring);
		list = lappend(list, known);
	}

	foreach(cell, explore->fields)
		pfree(((RcExploreField *) lfirst(cell))->name);
	list_free_deep(explore->fields);
	explore->fields = list;
	explore->fields_known = true;
	MemoryContextSwitchTo(oldcontext);
}

/*
 * A text member, palloc'd and in the database's encoding; NULL if absent.
 */
static char *
copy_text(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!cJSON_IsString(item))
		return NULL;
	return rc_http_printable(item->valuestring, strlen(item->valuestring));
}

/*
 * How values of one of the API's types are compared.
 */
static RcFieldKind
kind_of_type(const char *type)
{
	if (strcmp(type, "date") == 0 || strcmp(type, "datetime") == 0)
		return RC_FIELD_TIME;
	if (strcmp(type, "int") == 0 || strcmp(type, "double") == 0)
		return RC_FIELD_NUMBER;
	return RC_FIELD_TEXT;
}
