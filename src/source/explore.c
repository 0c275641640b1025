/*-------------------------------------------------------------------------
 *
 * explore.c
 *	  Requests to an Opendatasoft Explore API v2.1: what is known of a
 *	  dataset, how many records match, and the export of them.
 *
 * It must not judge records: a line of an export is handed on as it came.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/explore_internal.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "source/address.h"
#include "source/odsql.h"
#include "utils/memutils.h"

#define META_LIMIT		(4 * 1024 * 1024)
#define COUNT_LIMIT		(64 * 1024)
#define INTERRUPTED		"Streaming interrupted"

/* A field of the dataset. */
typedef struct RcExploreField
{
	char	   *name;
	RcFieldKind kind;
} RcExploreField;

static void get(RcExplore *explore, const char *path, const char *where,
				const char *order_by);
static void append_param(StringInfo buf, const char *name, const char *value);
static cJSON *read_object(RcExplore *explore, size_t limit);
static void read_meta(RcExplore *explore, const cJSON *root,
					  RcDatasetMeta *meta);
static void read_fields(RcExplore *explore, const cJSON *fields);
static char *copy_text(const cJSON *object, const char *name);
static int64 get_number(const cJSON *object, const char *name);
static RcFieldKind kind_of_type(const char *type);
static void skip_byte_order_mark(char **line, size_t *len);
static const char *find_interruption(const char *line, size_t len);
pg_noreturn static void raise_interruption(RcExplore *explore,
										   const char *words, size_t len);

/*
 * Prepare to read a dataset.  url is the API's base, such as
 * https://data.economie.gouv.fr/api/explore/v2.1.  No request is made.
 * "source" is for messages; key_url is where an API key goes by default, see
 * rc_http_open().
 *
 * The handle belongs to the current memory context and goes with it, as that
 * of rc_http_open() does.
 */
RcExplore *
rc_explore_open(const char *source, const char *url, const char *dataset,
				const char *key_url)
{
	RcExplore  *explore = palloc0(sizeof(RcExplore));
	size_t		len = strlen(url);

	/* it may have been restored without a check */
	rc_address_check(source, url, dataset);

	while (len > 0 && url[len - 1] == '/')
		len--;
	explore->url = pnstrdup(url, len);
	explore->dataset = pstrdup(dataset);
	explore->path = pstrdup("");
	explore->context = CurrentMemoryContext;
	explore->http = rc_http_open(key_url);
	return explore;
}

/*
 * End the reading and close the connection.
 */
void
rc_explore_close(RcExplore *explore)
{
	if (explore != NULL)
		rc_http_close(explore->http);
}

/*
 * Ask what is known of the dataset: GET /catalog/datasets/{id}.  Texts are
 * palloc'd in the current context.  The types of fields are kept for
 * rc_explore_field_kind().
 *
 * Errors: those of rc_http_get(), of rc_explore_raise_status(), and 08P01
 * when the answer is no JSON object.
 */
void
rc_explore_meta(RcExplore *explore, RcDatasetMeta *meta)
{
	cJSON	   *root;

	get(explore, "", NULL, NULL);
	root = read_object(explore, META_LIMIT);
	PG_TRY();
	{
		read_meta(explore, root, meta);
	}
	PG_FINALLY();
	{
		cJSON_Delete(root);
	}
	PG_END_TRY();
}

/*
 * The kind of one of the dataset's fields.  Asks for the dataset's metas if
 * rc_explore_meta() was not called.
 */
RcFieldKind
rc_explore_field_kind(RcExplore *explore, const char *field)
{
	ListCell   *cell;

	if (!explore->fields_known)
	{
		RcDatasetMeta meta;

		rc_explore_meta(explore, &meta);
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
 * Count the records that match where (ODSQL; NULL for all): GET
 * /catalog/datasets/{id}/records with a limit of 0.
 *
 * Errors: as rc_explore_meta().
 */
int64
rc_explore_count(RcExplore *explore, const char *where)
{
	cJSON	   *root;
	int64		count;

	get(explore, "/records?limit=0", where, NULL);
	root = read_object(explore, COUNT_LIMIT);
	count = get_number(root, "total_count");
	cJSON_Delete(root);
	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the API did not say how many records dataset \"%s\" has",
						explore->dataset),
				 errdetail("The answer to \"%s\" has no \"total_count\".",
						   explore->path)));
	return count;
}

/*
 * Start an export: GET /catalog/datasets/{id}/exports/jsonl.  where and
 * order_by are ODSQL, or NULL.  The lines come from rc_explore_next().
 *
 * Errors: those of rc_http_get() and of rc_explore_raise_status(); 08P01 when
 * the answer is a page for people.
 */
void
rc_explore_export(RcExplore *explore, const char *where, const char *order_by)
{
	const RcHttpResponse *response;

	get(explore, "/exports/jsonl", where, order_by);
	response = rc_explore_last_response(explore);
	if (pg_strncasecmp(response->content_type, "text/html", 9) == 0)
		rc_explore_raise_rubbish(explore);
}

/*
 * Wait for the next line of the export, which is valid as that of
 * rc_http_read_line().  Empty lines are left out; nothing else is judged.
 * False at the clean end.
 *
 * Errors: those of rc_http_read_line(); 08006 when the API reports in the
 * body that it could not go on, which it does by a last line "Streaming
 * interrupted due to the following error: ..".
 */
bool
rc_explore_next(RcExplore *explore, char **line, size_t *len)
{
	const char *words;

	while (rc_http_read_line(explore->http, line, len))
	{
		if (!explore->begun)
			skip_byte_order_mark(line, len);
		explore->begun = true;
		if (*len == 0)
			continue;
		words = find_interruption(*line, *len);
		if (words != NULL)
			raise_interruption(explore, words, *line + *len - words);
		explore->lines++;
		return true;
	}
	return false;
}

/*
 * May the line handed out last be half of one?  See rc_http_half_line().
 */
bool
rc_explore_half_line(const RcExplore *explore)
{
	return rc_http_half_line(explore->http);
}

/*
 * After an ERROR of status 429 or 503: when the API may be asked again; 0 if
 * it did not say.
 */
TimestampTz
rc_explore_retry_at(RcExplore *explore)
{
	return explore->retry_at;
}

/*
 * Status and headers of the last answer; all zero if none has come.
 */
const RcHttpResponse *
rc_explore_last_response(RcExplore *explore)
{
	return &explore->response;
}

/*
 * Send a request and see that its status is 200.  path comes after the
 * dataset's own.
 */
static void
get(RcExplore *explore, const char *path, const char *where,
	const char *order_by)
{
	StringInfoData url;
	char	   *slash;
	char	   *old_path = explore->path;

	initStringInfo(&url);
	appendStringInfo(&url, "%s/catalog/datasets/%s%s", explore->url,
					 rc_explore_encode(explore->dataset), path);

	/* for messages: what follows the host, without parameters */
	slash = strstr(url.data, "://");
	slash = strchr(slash != NULL ? slash + 3 : url.data, '/');
	explore->path = MemoryContextStrdup(explore->context, slash);
	explore->path[strcspn(slash, "?")] = '\0';
	pfree(old_path);

	append_param(&url, "where", where);
	append_param(&url, "order_by", order_by);

	memset(&explore->response, 0, sizeof(explore->response));
	explore->retry_at = 0;
	explore->lines = 0;
	explore->begun = false;
	explore->response = *rc_http_get(explore->http, url.data);
	pfree(url.data);

	if (explore->response.status != 200)
		rc_explore_raise_status(explore);
}

/*
 * Append a parameter to a URL, unless it is NULL or empty.
 */
static void
append_param(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	appendStringInfo(buf, "%c%s=%s", strchr(buf->data, '?') != NULL ? '&' : '?',
					 name, rc_explore_encode(value));
}

/*
 * Read the whole answer as a JSON object, which the caller deletes.
 */
static cJSON *
read_object(RcExplore *explore, size_t limit)
{
	cJSON	   *root;
	char	   *body;
	size_t		len;

	body = rc_http_read_all(explore->http, limit, &len);
	root = cJSON_ParseWithLengthOpts(body, len + 1, NULL, true);
	if (!cJSON_IsObject(root))
	{
		cJSON_Delete(root);
		rc_explore_raise_body(explore, body, len);
	}
	pfree(body);
	return root;
}

/*
 * Take what we need of a dataset's description.
 */
static void
read_meta(RcExplore *explore, const cJSON *root, RcDatasetMeta *meta)
{
	const cJSON *metas = cJSON_GetObjectItemCaseSensitive(root, "metas");
	const cJSON *standard = cJSON_GetObjectItemCaseSensitive(metas, "default");

	meta->modified = copy_text(standard, "modified");
	meta->data_processed = copy_text(standard, "data_processed");
	meta->records_count = get_number(standard, "records_count");
	read_fields(explore, cJSON_GetObjectItemCaseSensitive(root, "fields"));
}

/*
 * Keep names and kinds of the fields.
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
 * A text member, palloc'd and fit for the server's encoding; NULL if absent.
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
 * A member that counts something; -1 if absent or no such number.
 */
static int64
get_number(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 &&
								   item->valuedouble < 1e15))
		return -1;
	return (int64) item->valuedouble;
}

/*
 * How values of a type of the API are compared.
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

/*
 * The mark of UTF-8, with which a text may begin.
 */
static void
skip_byte_order_mark(char **line, size_t *len)
{
	if (*len >= 3 && memcmp(*line, "\xEF\xBB\xBF", 3) == 0)
	{
		*line += 3;
		*len -= 3;
	}
}

/*
 * The API's report of an export that it cannot go on with; NULL if the line
 * holds none.  It may follow half a record, but never a whole one.
 */
static const char *
find_interruption(const char *line, size_t len)
{
	const size_t size = strlen(INTERRUPTED);
	const char *p = line;
	const char *end = line + len;

	if (line[len - 1] == '}')
		return NULL;
	while ((size_t) (end - p) >= size &&
		   (p = memchr(p, INTERRUPTED[0], end - p - size + 1)) != NULL)
	{
		if (memcmp(p, INTERRUPTED, size) == 0)
			return p;
		p++;
	}
	return NULL;
}

/*
 * Report it.
 */
static void
raise_interruption(RcExplore *explore, const char *words, size_t len)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the API broke off the export of dataset \"%s\": %s",
					explore->dataset, rc_explore_clip(words, len, 500)),
			 errdetail_plural("%lld line of \"%s\" had come.",
							  "%lld lines of \"%s\" had come.",
							  explore->lines,
							  (long long) explore->lines, explore->path)));
	pg_unreachable();
}
