/*-------------------------------------------------------------------------
 *
 * explore_error.c
 *	  Turns each error response of the Explore API into an ERROR with the
 *	  API's own message.
 *
 * It must not decide whether to retry: SQLSTATEs of class 08 and 53400 say
 * that a retry can succeed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/explore_internal.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#define BODY_LIMIT	(64 * 1024) /* read of an error's body */
#define SHOWN		200			/* characters shown of a body */

/* An error response. */
typedef struct RcApiError
{
	int			status;
	bool		json;			/* the API's own, not a firewall's */
	char	   *error_text;		/* its message, or the body as plain text */
	TimestampTz reset_time;		/* 0 if it has none */
} RcApiError;

static void read_error(RcExplore *explore, RcApiError *error);
static char *member_text(const cJSON *object, const char *name);
static char *plain_text(const char *body, size_t len);
static size_t skip_element(const char *body, size_t len, const char *name);
static const char *key_hint(RcHttpKey key);
static void raise_client_error(RcExplore *explore, const RcApiError *error);
static void raise_denied(RcExplore *explore, const RcApiError *error);
static void raise_quota(RcExplore *explore, const RcApiError *error);
static void raise_other(RcExplore *explore, const RcApiError *error);

/*
 * Raise the error of the last response, whose status is not 200 and whose
 * body is unread.
 *
 * Errors: 22023 (400), 42501 (401, 403, 407), 08004 (403 of a firewall),
 * 42704 (404, 410), 53400 (429), 08006 (408 and 5xx), 08P01 (other 2xx),
 * 38000 (the rest).  The meaning of each status is that of the API's
 * reference documentation, v2.1.
 */
void
rc_explore_raise_status(RcExplore *explore)
{
	RcApiError	error;

	read_error(explore, &error);
	if (error.reset_time != 0)
		explore->retry_at = error.reset_time;
	else if (explore->response.retry_at != 0)
		explore->retry_at = explore->response.retry_at;
	else if (error.status == 429)
		explore->retry_at = explore->response.ratelimit_reset;

	raise_client_error(explore, &error);
	raise_denied(explore, &error);
	raise_quota(explore, &error);
	raise_other(explore, &error);
	pg_unreachable();
}

/*
 * Raise the error for a response of status 200 that is not of the requested
 * type; its body is unread.
 */
void
rc_explore_raise_not_json(RcExplore *explore)
{
	char	   *body;
	size_t		len;

	body = rc_http_read_start(explore->http, BODY_LIMIT, &len);
	rc_explore_raise_body(explore, body, len);
}

/*
 * The same, for a body that has been read.
 */
void
rc_explore_raise_body(RcExplore *explore, const char *body, size_t len)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the API's answer for dataset \"%s\" is not JSON",
					explore->dataset),
			 errdetail("The answer to \"%s\" of content type \"%s\" begins: %s",
					   explore->path,
					   rc_http_printable(explore->response.content_type,
										 strlen(explore->response.content_type)),
					   plain_text(body, len))));
	pg_unreachable();
}

/*
 * Convert text for a message of max bytes at most, cut between characters.
 */
char *
rc_explore_clip(const char *text, size_t len, int max)
{
	char	   *result;

	/* a character has 4 bytes at most */
	result = rc_http_printable(text, Min(len, (size_t) max * 4));
	if (strlen(result) > max)
		result[pg_mbcliplen(result, strlen(result), max)] = '\0';
	return result;
}

/*
 * Read the API's error message.  It has two forms, {"error_code", "message"}
 * and, for the quota, {"errorcode", "reset_time", "error", ..}.
 */
static void
read_error(RcExplore *explore, RcApiError *error)
{
	cJSON	   *root;
	char	   *body;
	size_t		len;

	memset(error, 0, sizeof(*error));
	error->status = explore->response.status;
	body = rc_http_read_start(explore->http, BODY_LIMIT, &len);

	root = cJSON_ParseWithLengthOpts(body, len + 1, NULL, true);
	PG_TRY();
	{
		if (cJSON_IsObject(root))
		{
			char	   *reset = member_text(root, "reset_time");

			error->json = true;
			error->error_text = member_text(root, "message");
			if (error->error_text == NULL)
				error->error_text = member_text(root, "error");
			error->reset_time = rc_http_parse_time(reset);
		}
	}
	PG_FINALLY();
	{
		cJSON_Delete(root);
	}
	PG_END_TRY();

	if (error->error_text == NULL)
		error->error_text = plain_text(body, len);
	pfree(body);
}

static char *
member_text(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!cJSON_IsString(item) || item->valuestring[0] == '\0')
		return NULL;
	return rc_explore_clip(item->valuestring, strlen(item->valuestring), 1000);
}

/*
 * The beginning of a body as plain text: without tags, scripts and styles,
 * with single spaces.
 */
static char *
plain_text(const char *body, size_t len)
{
	char	   *text = palloc(len + 1);
	size_t		used = 0;
	size_t		i = 0;

	while (i < len)
	{
		if (body[i] == '<')
		{
			size_t		skip = skip_element(body + i, len - i, "script");

			if (skip == 0)
				skip = skip_element(body + i, len - i, "style");
			i += skip;
			while (i < len && body[i] != '>')
				i++;
			i++;
			if (used > 0 && text[used - 1] != ' ')
				text[used++] = ' ';
		}
		else
		{
			bool		space = (unsigned char) body[i] <= ' ';

			if (!space)
				text[used++] = body[i];
			else if (used > 0 && text[used - 1] != ' ')
				text[used++] = ' ';
			i++;
		}
	}
	while (used > 0 && text[used - 1] == ' ')
		used--;
	if (used == 0)
		return pstrdup("(empty)");
	return rc_explore_clip(text, used, SHOWN);
}

/*
 * If an element of that name begins here, the distance to its closing tag;
 * else 0.
 */
static size_t
skip_element(const char *body, size_t len, const char *name)
{
	size_t		size = strlen(name);

	if (len < size + 2 || pg_strncasecmp(body + 1, name, size) != 0)
		return 0;
	for (size_t i = size; i + size + 2 <= len; i++)
	{
		if (body[i] == '<' && body[i + 1] == '/' &&
			pg_strncasecmp(body + i + 2, name, size) == 0)
			return i;
	}
	return len;
}

/*
 * Errors that need a change of the source's definition.
 */
static void
raise_client_error(RcExplore *explore, const RcApiError *error)
{
	if (error->status == 400)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the API rejected the request for dataset \"%s\": %s",
						explore->dataset, error->error_text),
				 errdetail("The answer to \"%s\" had HTTP status %d.",
						   explore->path, error->status),
				 error->json ?
				 errhint("Check the columns filter, key_field and cursor_field of the source.") :
				 errhint("The answer is not that of an API. Check scheme, host and port in the url of the source.")));
	if (error->status == 404 || error->status == 410)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the API has no dataset \"%s\": %s",
						explore->dataset, error->error_text),
				 errdetail("The answer to \"%s\" had HTTP status %d.",
						   explore->path, error->status),
				 errhint("The dataset may have been renamed. Check the columns url and dataset of the source.")));
}

/*
 * Missing rights.  A firewall in front of the API also responds with 403, but
 * with an HTML page, not JSON.  That can be transient, so its SQLSTATE is of
 * class 08.
 */
static void
raise_denied(RcExplore *explore, const RcApiError *error)
{
	if (error->status == 403 && !error->json)
		ereport(ERROR,
				(errcode(ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION),
				 errmsg("a firewall rejected the request for dataset \"%s\"",
						explore->dataset),
				 errdetail("The answer to \"%s\" had HTTP status %d and a page that is not the API's: %s",
						   explore->path, error->status, error->error_text),
				 explore->response.proxied ?
				 errhint("It can be the proxy that does not allow this host: have it allowed, or name it as \"no_proxy\" in the file that \"%s\" names.",
						 "rappel_conso.http_config_file") :
				 errhint("Some firewalls reject requests by their User-Agent header; check the setting \"%s\".",
						 "rappel_conso.user_agent")));
	if (error->status == 401 || error->status == 403)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the API denied access to dataset \"%s\": %s",
						explore->dataset, error->error_text),
				 errdetail("The answer to \"%s\" had HTTP status %d.",
						   explore->path, error->status),
				 errhint("%s", key_hint(explore->response.key))));
	if (error->status == 407)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the proxy rejected the request for dataset \"%s\"",
						explore->dataset),
				 errdetail("The answer to \"%s\" had HTTP status %d.",
						   explore->path, error->status),
				 errhint("Check \"proxy_user\" and \"proxy_password\" in the file that \"%s\" names.",
						 "rappel_conso.http_config_file")));
}

/*
 * What to do where the API denies access with, or without, the key.
 */
static const char *
key_hint(RcHttpKey key)
{
	switch (key)
	{
		case RC_HTTP_KEY_NONE:
			return "Add a key as \"api_key\" to the file that \"rappel_conso.http_config_file\" names.";
		case RC_HTTP_KEY_WITHHELD:
			return "The key was not sent to this host: name it as \"api_key.host\" in the file that \"rappel_conso.http_config_file\" names.";
		case RC_HTTP_KEY_SENT:
			return "The key was sent: check \"api_key\" in the file that \"rappel_conso.http_config_file\" names, and whether the key may read this dataset.";
	}
	return NULL;				/* not reached */
}

/*
 * The quota is exhausted.
 */
static void
raise_quota(RcExplore *explore, const RcApiError *error)
{
	if (error->status != 429)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("the API rejected the request for dataset \"%s\": its quota is used up",
					explore->dataset),
			 explore->retry_at != 0 ?
			 errdetail("The quota is reset at %s. The answer to \"%s\" had HTTP status %d: %s",
					   timestamptz_to_str(explore->retry_at),
					   explore->path, error->status, error->error_text) :
			 errdetail("The answer to \"%s\" had HTTP status %d: %s",
					   explore->path, error->status, error->error_text)));
}

/*
 * All other statuses.
 */
static void
raise_other(RcExplore *explore, const RcApiError *error)
{
	int			code = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;

	if (error->status >= 500 || error->status == 408)
		code = ERRCODE_CONNECTION_FAILURE;
	else if (error->status < 300)
		code = ERRCODE_PROTOCOL_VIOLATION;
	ereport(ERROR,
			(errcode(code),
			 errmsg("the API answered with HTTP status %d for dataset \"%s\"",
					error->status, explore->dataset),
			 errdetail("The answer to \"%s\" was: %s",
					   explore->path, error->error_text),
			 explore->response.proxied && !error->json ?
			 errhint("It can be the answer of the proxy, if it does not reach the host in the url of the source.") : 0));
}
