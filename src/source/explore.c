/*-------------------------------------------------------------------------
 *
 * explore.c
 *	  The reader of Opendatasoft Explore APIs, v2.1: requests, the number of
 *	  matching records, and their export.
 *
 * It must not interpret records: a line of an export is returned unchanged.
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

#define COUNT_LIMIT		(64 * 1024)
#define INTERRUPTED		"Streaming interrupted"

static RcReader *explore_open(const char *source, const char *url,
							  const char *dataset, const char *key_url);
static int64 explore_count(RcReader *reader, const RcReadRange *range);
static void explore_start(RcReader *reader, const RcReadRange *range);
static bool explore_next(RcReader *reader, char **line, size_t *len);
static bool explore_half_line(const RcReader *reader);
static void explore_quota(const RcReader *reader, RcQuota *quota,
						  TimestampTz *retry_at);
static void explore_close(RcReader *reader);
static void append_param(StringInfo buf, const char *name, const char *value);
static void skip_byte_order_mark(char **line, size_t *len);
static const char *find_interruption(const char *line, size_t len);
pg_noreturn static void raise_interruption(RcExplore *explore,
										   const char *error_text, size_t len);

const RcReaderClass rc_explore_class = {
	.name = "explore",
	.open = explore_open,
	.describe = rc_explore_describe,
	.field_kind = rc_explore_field_kind,
	.count = explore_count,
	.start = explore_start,
	.next = explore_next,
	.half_line = explore_half_line,
	.quota = explore_quota,
	.close = explore_close,
};

/*
 * RcReaderClass.open.  url is the API's base, such as
 * https://data.economie.gouv.fr/api/explore/v2.1.
 */
static RcReader *
explore_open(const char *source, const char *url, const char *dataset,
			 const char *key_url)
{
	RcExplore  *explore = palloc0(sizeof(RcExplore));
	size_t		len = strlen(url);

	/* pg_restore with --disable-triggers skips the check */
	rc_address_check(source, url, dataset);

	while (len > 0 && url[len - 1] == '/')
		len--;
	explore->url = pnstrdup(url, len);
	explore->dataset = pstrdup(dataset);
	explore->path = pstrdup("");
	explore->context = CurrentMemoryContext;
	explore->http = rc_http_open(key_url);
	return &explore->reader;
}

/* RcReaderClass.close: end the request and close the connection. */
static void
explore_close(RcReader *reader)
{
	rc_http_close(((RcExplore *) reader)->http);
}

/*
 * RcReaderClass.count: GET /catalog/datasets/{id}/records with a limit of 0.
 *
 * Errors: those of rc_explore_get() and rc_explore_read_object(); 08P01 if
 * the response has no count.
 */
static int64
explore_count(RcReader *reader, const RcReadRange *range)
{
	RcExplore  *explore = (RcExplore *) reader;
	cJSON	   *root;
	int64		count;

	rc_explore_get(explore, "/records?limit=0", rc_odsql_where(range), NULL);
	root = rc_explore_read_object(explore, COUNT_LIMIT);
	count = rc_explore_number(root, "total_count");
	cJSON_Delete(root);
	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the API returned no record count for dataset \"%s\"",
						explore->dataset),
				 errdetail("The answer to \"%s\" has no \"total_count\".",
						   explore->path)));
	return count;
}

/*
 * RcReaderClass.start: GET /catalog/datasets/{id}/exports/jsonl.
 *
 * Errors: those of rc_explore_get(); 08P01 if the response is an HTML page.
 */
static void
explore_start(RcReader *reader, const RcReadRange *range)
{
	RcExplore  *explore = (RcExplore *) reader;

	rc_explore_get(explore, "/exports/jsonl", rc_odsql_where(range),
				   rc_odsql_order(range));
	if (pg_strncasecmp(explore->response.content_type, "text/html", 9) == 0)
		rc_explore_raise_not_json(explore);
}

/*
 * RcReaderClass.next: the next line of the export.  Empty lines are skipped;
 * other lines are not checked.
 *
 * Errors: those of rc_http_read_line(); 08006 if the API reports in the body
 * that the export failed, by a last line "Streaming interrupted due to the
 * following error: ..".
 */
static bool
explore_next(RcReader *reader, char **line, size_t *len)
{
	RcExplore  *explore = (RcExplore *) reader;
	const char *error_text;

	while (rc_http_read_line(explore->http, line, len))
	{
		if (!explore->begun)
			skip_byte_order_mark(line, len);
		explore->begun = true;
		if (*len == 0)
			continue;
		error_text = find_interruption(*line, *len);
		if (error_text != NULL)
			raise_interruption(explore, error_text, *line + *len - error_text);
		explore->lines++;
		return true;
	}
	return false;
}

/* RcReaderClass.half_line, see rc_http_half_line(). */
static bool
explore_half_line(const RcReader *reader)
{
	return rc_http_half_line(((const RcExplore *) reader)->http);
}

/*
 * RcReaderClass.quota.  After status 429 nothing is left, whatever the
 * headers say.
 */
static void
explore_quota(const RcReader *reader, RcQuota *quota, TimestampTz *retry_at)
{
	const RcExplore *explore = (const RcExplore *) reader;
	const RcHttpResponse *response = &explore->response;

	*retry_at = explore->retry_at;
	quota->limit = response->ratelimit_limit;
	quota->remaining = response->ratelimit_remaining;
	quota->reset = response->ratelimit_reset;
	if (response->status == 429)
	{
		quota->remaining = 0;
		quota->reset = explore->retry_at;
	}
	quota->said = response->status != 0 && quota->remaining >= 0;
}

/*
 * Send a request and check that its status is 200. path is appended to the
 * dataset's; where and order_by are ODSQL, or NULL.
 *
 * Errors: those of rc_http_get() and of rc_explore_raise_status().
 */
void
rc_explore_get(RcExplore *explore, const char *path, const char *where,
			   const char *order_by)
{
	StringInfoData url;
	char	   *slash;
	char	   *old_path = explore->path;

	initStringInfo(&url);
	appendStringInfo(&url, "%s/catalog/datasets/%s%s", explore->url,
					 rc_url_encode(explore->dataset), path);

	/* for messages: the path, without host and parameters */
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
					 name, rc_url_encode(value));
}

/*
 * Read the whole body as a JSON object, which the caller deletes.
 *
 * Errors: those of rc_http_read_all(); 08P01 if it is not one.
 */
cJSON *
rc_explore_read_object(RcExplore *explore, size_t limit)
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
 * A member that is a count; -1 if it is absent or not a whole number from 0.
 */
int64
rc_explore_number(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 &&
								   item->valuedouble < 1e15))
		return -1;
	return (int64) item->valuedouble;
}

/*
 * Skip UTF-8's byte order mark, with which a body can begin.
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
 * Find the API's report that the export failed; NULL if the line has none.
 * It can follow an incomplete record in the same line, but never a complete
 * one.
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
 * Raise the error for a failed export.
 */
static void
raise_interruption(RcExplore *explore, const char *error_text, size_t len)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("the API ended the export of dataset \"%s\" early: %s",
					explore->dataset, rc_explore_clip(error_text, len, 500)),
			 errdetail_plural("%lld line of \"%s\" was received.",
							  "%lld lines of \"%s\" were received.",
							  explore->lines,
							  (long long) explore->lines, explore->path)));
	pg_unreachable();
}
