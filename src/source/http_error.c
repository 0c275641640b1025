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

static int	error_code(RcHttp *http, const RcHttpCause *cause);
static char *reason_of(RcHttp *http, const RcHttpCause *cause,
					   bool *is_private);
static char *own_reason(RcHttp *http);
static const char *hint_of(RcHttp *http, const RcHttpCause *cause);
static const char *answer_hint(RcHttp *http);

/*
 * The SQLSTATE of a failed transfer.
 */
static int
error_code(RcHttp *http, const RcHttpCause *cause)
{
	if (cause->sqlstate != 0)
		return cause->sqlstate;
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
 * The text of the error: the cause if it is known, then libcurl's text.
 * *is_private is set if the latter contains a value of the configuration file,
 * which only the server's log may show.
 */
static char *
reason_of(RcHttp *http, const RcHttpCause *cause, bool *is_private)
{
	char	   *reason = own_reason(http);

	*is_private = false;
	if (reason != NULL)
		return reason;
	if (cause->complete)
		return pstrdup(cause->error_text);

	*is_private = http->result == CURLE_SSL_CACERT_BADFILE ||
		cause->at_proxy;
	if (http->error[0] != '\0' && !*is_private)
		reason = rc_http_printable(http->error, strlen(http->error));
	else
		reason = pstrdup(curl_easy_strerror(http->result));
	if (cause->error_text == NULL)
		return reason;
	return psprintf("%s: %s", cause->error_text, reason);
}

/*
 * The text of an error that the extension has found itself; NULL if libcurl
 * has.
 */
static char *
own_reason(RcHttp *http)
{
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
	return NULL;
}

/*
 * The hint for the error; NULL if it is transient.
 */
static const char *
hint_of(RcHttp *http, const RcHttpCause *cause)
{
	if (http->result == CURLE_SSL_CACERT_BADFILE)
		return "Check \"ca_file\" in the file that \"rappel_conso.http_config_file\" names.";
	if (cause->hint != NULL)
		return cause->hint;
	if (http->connected)
		return answer_hint(http);
	if (http->result == CURLE_COULDNT_RESOLVE_HOST ||
		http->result == CURLE_COULDNT_CONNECT ||
		http->result == CURLE_OPERATION_TIMEDOUT)
		return "Check the url of the source.  If this machine reaches other hosts only through a proxy, give it as \"proxy\", with \"proxy_user\" and \"proxy_password\" where it wants them, in the file that \"rappel_conso.http_config_file\" names; environment variables are not used.";
	return NULL;
}

/*
 * A port that asks for TLS ends a connection without it, or answers with bytes
 * that are not HTTP.
 */
static const char *
answer_hint(RcHttp *http)
{
	if (!http->headers_done && pg_strncasecmp(http->url, "http:", 5) == 0 &&
		(http->result == CURLE_GOT_NOTHING ||
		 http->result == CURLE_RECV_ERROR ||
		 http->result == CURLE_UNSUPPORTED_PROTOCOL ||
		 http->result == CURLE_WEIRD_SERVER_REPLY))
		return "If the port asks for TLS, use \"https://\" in the url of the source.";
	return NULL;
}

/*
 * Raise the error of a failed transfer.  Transient errors have a SQLSTATE of
 * class 08.
 */
void
rc_http_raise(RcHttp *http)
{
	RcHttpCause cause;
	bool		is_private;
	char	   *reason;
	const char *hint;

	rc_http_explain(http, &cause);
	reason = reason_of(http, &cause, &is_private);
	hint = hint_of(http, &cause);
	ereport(ERROR,
			(errcode(error_code(http, &cause)),
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
