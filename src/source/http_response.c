/*-------------------------------------------------------------------------
 *
 * http_response.c
 *	  Reads the headers of an HTTP response, and its redirect.
 *
 * It must not show secrets: user, password and query of a URL are left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "source/http_internal.h"
#include "source/iso_time.h"
#include "utils/timestamp.h"

static const char *header(RcHttp *http, const char *name);
static int64 header_number(RcHttp *http, const char *name);
static bool same_origin(const char *a, const char *b);
static bool has_credentials(const char *url);
static bool same_part(CURLU *a, CURLU *b, CURLUPart part);

/*
 * Fill http->response from the headers of the last response.
 */
void
rc_http_read_headers(RcHttp *http)
{
	RcHttpResponse *response = &http->response;
	const char *type = header(http, "Content-Type");

	response->status = http->status;
	response->proxied = http->proxied &&
		pg_strncasecmp(http->url, "https:", 6) != 0;
	response->key = http->key;
	strlcpy(response->content_type, type != NULL ? type : "",
			sizeof(response->content_type));
	response->retry_at = rc_http_parse_time(header(http, "Retry-After"));
	response->ratelimit_limit = header_number(http, "X-RateLimit-Limit");
	response->ratelimit_remaining = header_number(http,
												  "X-RateLimit-Remaining");
	response->ratelimit_reset =
		rc_http_parse_time(header(http, "X-RateLimit-Reset"));
}

/*
 * The value of a header of the last response, valid until the next call; NULL
 * if there is none.
 */
static const char *
header(RcHttp *http, const char *name)
{
	struct curl_header *found;

	if (curl_easy_header(http->easy, name, 0, CURLH_HEADER, -1,
						 &found) != CURLHE_OK)
		return NULL;
	return found->value;
}

/*
 * The number in a header; -1 if there is none.
 */
static int64
header_number(RcHttp *http, const char *name)
{
	const char *value = header(http, name);
	char	   *end;
	int64		number;

	if (value == NULL)
		return -1;
	errno = 0;
	number = strtoll(value, &end, 10);
	if (end == value || errno != 0 || number < 0)
		return -1;
	return number;
}

/*
 * Parse a time of an HTTP header or of the API: an HTTP date ("Wed, 12 Aug
 * 2026 00:00:00 GMT"), an ISO time with "T" or a space (UTC if it has no
 * zone), seconds since 1970 (from 10^9 on), or seconds from now.  Returns 0
 * for NULL and for other texts; throws nothing.
 */
TimestampTz
rc_http_parse_time(const char *text)
{
	const char *digits;
	TimestampTz parsed;
	time_t		date;

	if (text == NULL)
		return 0;
	while (isspace((unsigned char) *text))
		text++;
	for (digits = text; isdigit((unsigned char) *digits); digits++)
		;
	if (digits > text && digits - text <= 10 && *digits == '\0')
	{
		int64		number = strtoll(text, NULL, 10);

		if (number >= 1000000000)
			return time_t_to_timestamptz((pg_time_t) number);
		return GetCurrentTimestamp() + number * USECS_PER_SEC;
	}

	parsed = rc_iso_time(text);
	if (parsed != 0)
		return parsed;
	date = curl_getdate(text, NULL);
	return date == (time_t) -1 ? 0 : time_t_to_timestamptz((pg_time_t) date);
}

/*
 * Reject a response whose body has an encoding that was not requested:
 * compressed bytes would be read as lines.  A response with an error status
 * is accepted, since its status is reported.
 *
 * Errors: 08P01.
 */
void
rc_http_check_encoding(RcHttp *http)
{
	if (http->encoding[0] == '\0' || RC_HTTP_IS_GZIP(http) ||
		http->status != 200)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("could not read from \"%s\": the answer has the content encoding \"%s\", which was not requested",
					http->url, rc_http_printable(http->encoding,
												 strlen(http->encoding)))));
}

/*
 * Store a URL for messages, without user, password, query and fragment.  That
 * of a redirect can have any bytes.
 *
 * Errors: 22023 if it is not a URL.
 */
void
rc_http_show_url(RcHttp *http, const char *url)
{
	CURLU	   *parts = curl_url();
	CURLUcode	code = CURLUE_OUT_OF_MEMORY;
	char	   *shown = NULL;

	if (parts != NULL)
		code = curl_url_set(parts, CURLUPART_URL, url,
							CURLU_NON_SUPPORT_SCHEME);
	if (code == CURLUE_OK)
	{
		curl_url_set(parts, CURLUPART_USER, NULL, 0);
		curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0);
		curl_url_set(parts, CURLUPART_QUERY, NULL, 0);
		curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0);
		code = curl_url_get(parts, CURLUPART_URL, &shown, 0);
	}
	strlcpy(http->url, shown != NULL ? shown : "", sizeof(http->url));
	rc_mask_invalid(http->url);
	curl_free(shown);
	curl_url_cleanup(parts);
	if (code != CURLUE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid URL: %s", curl_url_strerror(code))));
}

/*
 * The target of a redirect, palloc'd; NULL if the response is none.
 *
 * Errors: 38000 if its scheme, host or port differs from url's, or it
 * contains a user: to which hosts the server connects, and as which user, is
 * the administrator's decision.
 */
char *
rc_http_redirect(RcHttp *http, const char *url)
{
	char	   *target = NULL;
	char		from[sizeof(http->url)];

	if (http->status != 301 && http->status != 302 && http->status != 303 &&
		http->status != 307 && http->status != 308)
		return NULL;
	if (curl_easy_getinfo(http->easy, CURLINFO_REDIRECT_URL,
						  &target) != CURLE_OK || target == NULL)
		return NULL;
	strlcpy(from, http->url, sizeof(from));
	if (has_credentials(target))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("\"%s\" redirects to a URL with a user name or a password",
						from)));
	if (same_origin(url, target))
		return pstrdup(target);

	rc_http_show_url(http, target);
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("\"%s\" redirects to another host: \"%s\"",
					from, rc_http_printable(http->url, strlen(http->url))),
			 errhint("If you trust it, make it the url of the source.")));
	return NULL;				/* not reached */
}

/*
 * Do two URLs have the same scheme, host and port?
 */
static bool
same_origin(const char *a, const char *b)
{
	CURLU	   *ua = curl_url();
	CURLU	   *ub = curl_url();
	bool		same;

	same = ua != NULL && ub != NULL &&
		curl_url_set(ua, CURLUPART_URL, a, 0) == CURLUE_OK &&
		curl_url_set(ub, CURLUPART_URL, b, 0) == CURLUE_OK &&
		same_part(ua, ub, CURLUPART_SCHEME) &&
		same_part(ua, ub, CURLUPART_HOST) &&
		same_part(ua, ub, CURLUPART_PORT);
	curl_url_cleanup(ua);
	curl_url_cleanup(ub);
	return same;
}

/*
 * Does a URL contain a user?
 */
static bool
has_credentials(const char *url)
{
	CURLU	   *parts = curl_url();
	char	   *user = NULL;
	char	   *password = NULL;
	bool		has;

	has = parts != NULL &&
		curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
		(curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK ||
		 curl_url_get(parts, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK);
	curl_free(user);
	curl_free(password);
	curl_url_cleanup(parts);
	return has;
}

static bool
same_part(CURLU *a, CURLU *b, CURLUPart part)
{
	char	   *pa = NULL;
	char	   *pb = NULL;
	bool		same;

	same = curl_url_get(a, part, &pa, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		curl_url_get(b, part, &pb, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		pg_strcasecmp(pa, pb) == 0;
	curl_free(pa);
	curl_free(pb);
	return same;
}
