/*-------------------------------------------------------------------------
 *
 * http_error.c
 *	  Raises the error of a failed transfer: SQLSTATE, text and hint.
 *
 * It must not show secrets: libcurl's texts about the configuration file go
 * to the server's log only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/http_internal.h"

static int	error_code(RcHttp *http);
static long proxy_status(RcHttp *http);
static char *reason_of(RcHttp *http, bool *is_private);
static const char *hint_of(RcHttp *http);

/*
 * The status with which a proxy has refused a tunnel; 0 if it has not.
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
 * The SQLSTATE of a failed transfer.
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
			/* libcurl also returns this for a response that is not HTTP */
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
 * The text of the error, mostly libcurl's.  *is_private is set if it contains
 * a value of the configuration file, which only the server's log may show.
 */
static char *
reason_of(RcHttp *http, bool *is_private)
{
	*is_private = false;
	if (http->stalled && http->silent_ms >= rc_http_timeout * 1000.0)
		return psprintf(gettext_noop("the server sent nothing for %d seconds"),
						rc_http_timeout);
	if (http->stalled)
		return psprintf(gettext_noop("the server sent fewer than %d bytes per second for %d seconds"),
						RC_HTTP_MIN_SPEED, rc_http_timeout);
	if (http->no_memory)
		return pstrdup(gettext_noop("out of memory"));
	if (http->cut)
		return pstrdup(gettext_noop("the compressed answer was cut"));
	if (http->result == CURLE_OK)
		return pstrdup(gettext_noop("the answer has no headers"));
	if (proxy_status(http) != 0)
		return psprintf(gettext_noop("the proxy answered with HTTP status %ld"),
						proxy_status(http));
	*is_private = http->result == CURLE_SSL_CACERT_BADFILE ||
		(http->proxied && !http->connected);
	if (http->error[0] != '\0' && !*is_private)
		return rc_http_printable(http->error, strlen(http->error));
	return pstrdup(curl_easy_strerror(http->result));
}

/*
 * The hint for the error; NULL if it is transient.
 */
static const char *
hint_of(RcHttp *http)
{
	if (http->result == CURLE_PEER_FAILED_VERIFICATION)
		return "Name a file of trusted certificates as \"ca_file\" in the file that \"rappel_conso.http_config_file\" names.";
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
 * Raise the error of a failed transfer.  Transient errors have a SQLSTATE of
 * class 08.
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
			 errdetail("%lld bytes and %lld complete lines of the answer were received.",
					   (long long) http->bytes, (long long) http->lines) : 0,
			 is_private && http->error[0] != '\0' ?
			 errdetail_log("%s", rc_http_printable(http->error,
												   strlen(http->error))) : 0,
			 hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}

/*
 * Convert text from the network for a message: palloc'd, null-terminated, in
 * the database's encoding.  Characters that the encoding lacks become "?",
 * control characters become spaces.
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
