/*-------------------------------------------------------------------------
 *
 * http_response.c
 *	  What an HTTP answer's headers say, and reports of what went wrong.
 *
 * It must not show what may be secret: of URLs, the user, the password and
 * the query are left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "source/http_internal.h"
#include "mb/pg_wchar.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

static const char *header(RcHttp *http, const char *name);
static int64 header_number(RcHttp *http, const char *name);
static TimestampTz parse_iso_time(const char *text);
static bool parse_zone(const char *text, int *seconds);
static bool same_origin(const char *a, const char *b);
static bool has_credentials(const char *url);
static bool same_part(CURLU *a, CURLU *b, CURLUPart part);
static int	error_code(RcHttp *http);
static long proxy_status(RcHttp *http);
static char *reason_of(RcHttp *http, bool *is_private);
static const char *hint_of(RcHttp *http);

/*
 * Fill http->response from the headers of the last answer.
 */
void
rc_http_read_headers(RcHttp *http)
{
	RcHttpResponse *response = &http->response;
	const char *type = header(http, "Content-Type");

	response->status = http->status;
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
 * The value of a header of the last answer, valid until the next call; NULL
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
 * Read a point in time as HTTP headers and the API write it: a date of HTTP
 * ("Wed, 12 Aug 2026 00:00:00 GMT"), an ISO time with "T" or a space (UTC
 * when it names no zone), seconds since 1970 (from 10^9 on), or seconds from
 * now.  Returns 0 for NULL and for what cannot be read; throws nothing.
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

	parsed = parse_iso_time(text);
	if (parsed != 0)
		return parsed;
	date = curl_getdate(text, NULL);
	return date == (time_t) -1 ? 0 : time_t_to_timestamptz((pg_time_t) date);
}

/*
 * Read "2026-08-12 00:00:00+00:00" and its like; 0 if it is none.
 * timestamptz_in() would throw, and depends on settings.
 */
static TimestampTz
parse_iso_time(const char *text)
{
	int			year;
	int			month;
	int			day;
	int			hour = 0;
	int			minute = 0;
	int			second = 0;
	int			zone;
	int			used = 0;
	char		separator;
	int64		seconds;

	if (sscanf(text, "%4d-%2d-%2d%c%2d:%2d:%2d%n", &year, &month, &day,
			   &separator, &hour, &minute, &second, &used) < 7)
		return 0;
	if (separator != 'T' && separator != ' ')
		return 0;
	if (year < 1970 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1] ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
		second < 0 || second > 60)
		return 0;

	text += used;
	if (*text == '.')
	{
		text++;
		while (isdigit((unsigned char) *text))
			text++;
	}
	if (!parse_zone(text, &zone))
		return 0;

	seconds = (int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY +
		hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second - zone;
	return seconds * USECS_PER_SEC;
}

/*
 * Read "Z", "+02:00", "+0200", "+02" or nothing, as seconds east of UTC.
 */
static bool
parse_zone(const char *text, int *seconds)
{
	int			hours;
	int			minutes = 0;
	char		sign;

	*seconds = 0;
	while (*text == ' ')
		text++;
	sign = *text;
	if (*text == '\0' || *text == 'Z' || strcmp(text, "UTC") == 0 ||
		strcmp(text, "GMT") == 0)
		return true;
	if (sign != '+' && sign != '-')
		return false;
	if (sscanf(text + 1, "%2d:%2d", &hours, &minutes) < 1)
		return false;
	if (strchr(text, ':') == NULL)
		sscanf(text + 1, "%2d%2d", &hours, &minutes);
	*seconds = (hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE;
	if (sign == '-')
		*seconds = -*seconds;
	return true;
}

/*
 * Refuse an answer whose body is encoded in a way that was not asked for: its
 * bytes would be taken for lines.
 *
 * Errors: 08P01.  What is no success is not refused, since its status says
 * enough.
 */
void
rc_http_check_encoding(RcHttp *http)
{
	if (http->encoding[0] == '\0' || RC_HTTP_IS_GZIP(http) ||
		http->status != 200)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("could not read from \"%s\": the answer has the content encoding \"%s\", which was not asked for",
					http->url, rc_http_printable(http->encoding,
												 strlen(http->encoding)))));
}

/*
 * Keep a URL for messages, without user, password, query and fragment.
 *
 * Errors: 22023 when it is no URL.
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
	curl_free(shown);
	curl_url_cleanup(parts);
	if (code != CURLUE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid URL: %s", curl_url_strerror(code))));
}

/*
 * Where an answer sends us, palloc'd; NULL if it does not.
 *
 * Errors: 38000 when it is another scheme, host or port than url's, or names a
 * user: which hosts the server talks to, and as whom, is the administrator's
 * decision.
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
 * Does a URL name a user?
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

/*
 * The status that a proxy has refused a tunnel with; 0 if it has not.
 */
static long
proxy_status(RcHttp *http)
{
	long		status = 0;

	if (http->connected || !http->proxied ||
		curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE,
						  &status) != CURLE_OK || status < 300)
		return 0;
	return status;
}

/*
 * The SQLSTATE of a transfer's end.
 */
static int
error_code(RcHttp *http)
{
	if (proxy_status(http) == 407)
		return ERRCODE_INSUFFICIENT_PRIVILEGE;
	switch (http->result)
	{
		case CURLE_URL_MALFORMAT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case CURLE_UNSUPPORTED_PROTOCOL:
			/* also what libcurl says of an answer that is no HTTP */
			return http->connected ? ERRCODE_PROTOCOL_VIOLATION :
				ERRCODE_INVALID_PARAMETER_VALUE;
		case CURLE_OK:			/* no headers */
		case CURLE_WEIRD_SERVER_REPLY:
		case CURLE_BAD_CONTENT_ENCODING:
			return ERRCODE_PROTOCOL_VIOLATION;
		case CURLE_WRITE_ERROR:
			return http->no_memory ? ERRCODE_OUT_OF_MEMORY :
				ERRCODE_PROTOCOL_VIOLATION;
		case CURLE_OUT_OF_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case CURLE_SSL_CACERT_BADFILE:
			return ERRCODE_CONFIG_FILE_ERROR;
		default:
			return ERRCODE_CONNECTION_FAILURE;
	}
}

/*
 * Why the transfer ended, mostly in libcurl's words.  *is_private is set when
 * those name what is in the configuration file, which is not for everybody.
 */
static char *
reason_of(RcHttp *http, bool *is_private)
{
	*is_private = false;
	if (http->stalled && http->silent_ms >= rc_http_timeout * 1000.0)
		return psprintf("the server sent nothing for %d seconds",
						rc_http_timeout);
	if (http->stalled)
		return psprintf("the server sent fewer than %d bytes per second for %d seconds",
						RC_HTTP_MIN_SPEED, rc_http_timeout);
	if (http->no_memory)
		return pstrdup("out of memory");
	if (http->cut)
		return pstrdup("the compressed answer was cut");
	if (http->result == CURLE_OK)
		return pstrdup("the answer has no headers");
	if (proxy_status(http) != 0)
		return psprintf("the proxy answered with HTTP status %ld",
						proxy_status(http));
	*is_private = http->result == CURLE_SSL_CACERT_BADFILE ||
		(http->proxied && !http->connected);
	if (http->error[0] != '\0' && !*is_private)
		return rc_http_printable(http->error, strlen(http->error));
	return pstrdup(curl_easy_strerror(http->result));
}

/*
 * What to do about it; NULL if only time can.
 */
static const char *
hint_of(RcHttp *http)
{
	if (http->result == CURLE_PEER_FAILED_VERIFICATION)
		return "A file of trusted certificates can be given as \"ca_file\" in the file that \"rappel_conso.http_config_file\" names.";
	if (http->result == CURLE_SSL_CACERT_BADFILE)
		return "Check \"ca_file\" in the file that \"rappel_conso.http_config_file\" names.";
	if (http->connected)
		return NULL;
	if (http->proxied)
		return "Check \"proxy\", \"proxy_user\" and \"proxy_password\" in the file that \"rappel_conso.http_config_file\" names.";
	if (http->result == CURLE_COULDNT_RESOLVE_HOST ||
		http->result == CURLE_COULDNT_CONNECT ||
		http->result == CURLE_OPERATION_TIMEDOUT)
		return "Check the url of the source.  If this machine reaches other hosts only through a proxy, give it as \"proxy\", with \"proxy_user\" and \"proxy_password\" where it wants them, in the file that \"rappel_conso.http_config_file\" names; environment variables are not used.";
	return NULL;
}

/*
 * Report why the transfer ended.  Everything that may pass by itself has a
 * SQLSTATE of class 08.
 */
void
rc_http_raise(RcHttp *http)
{
	bool		is_private;
	char	   *reason = reason_of(http, &is_private);
	const char *hint = hint_of(http);

	ereport(ERROR,
			(errcode(error_code(http)),
			 http->connected ?
			 errmsg("could not read from \"%s\": %s", http->url, reason) :
			 errmsg("could not connect to \"%s\": %s", http->url, reason),
			 http->headers_done ?
			 errdetail("%lld bytes and %lld whole lines of the answer had come.",
					   (long long) http->bytes, (long long) http->lines) : 0,
			 is_private && http->error[0] != '\0' ?
			 errdetail_log("%s", rc_http_printable(http->error,
												   strlen(http->error))) : 0,
			 hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}

/*
 * Foreign text made fit for a message: palloc'd, null-terminated, in the
 * server's encoding, where what cannot be is "?"; control characters become
 * spaces.
 */
char *
rc_http_printable(const char *text, size_t len)
{
	char	   *result = palloc(len + 1);

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];

		result[i] = (c < ' ' || c == 0x7f) ? ' ' : text[i];
	}
	result[len] = '\0';
	return rc_shown_utf8(result);
}
