/*-------------------------------------------------------------------------
 *
 * http_cause.c
 *	  Causes of failed connections: what is wrong with a certificate, and what
 *	  a proxy has answered, each with its hint.
 *
 * Why a certificate was rejected is found by searching in texts of libcurl,
 * OpenSSL and GnuTLS, so it must not decide what the extension does, and the
 * original text is kept behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/http_internal.h"

#define IN_FILE \
	" in the file that \"rappel_conso.http_config_file\" names."
#define CHECK_CLOCK \
	"Check the clock of the database server; if it is right, the certificate has to be renewed."
#define CHECK_CA \
	"Name a file with the certificate of that authority as \"ca_file\"" IN_FILE \
	" A proxy that reads TLS has an authority of its own."
#define CHECK_HOST \
	"Use a host that the certificate names in the url of the source."
#define CHECK_SCHEME \
	"Check scheme and port in the url of the source."
#define CHECK_PROXY \
	"Check \"proxy\"" IN_FILE
#define CHECK_PROXY_CERTIFICATE \
	"Check \"proxy\" and \"ca_file\"" IN_FILE

/* What the text of an error contains, what it means, and what to do. */
typedef struct Cause
{
	const char *text;
	const char *error_text;
	const char *hint;
} Cause;

/* Errors of TLS; the first match is used, and the last one always matches. */
static const Cause certificate_causes[] = {
	{"has expired",
	gettext_noop("the certificate, or that of its authority, has expired"), CHECK_CLOCK},
	{"expiration date has passed",
	gettext_noop("the certificate, or that of its authority, has expired"), CHECK_CLOCK},
	{"not yet valid",
	gettext_noop("the certificate is not valid yet"), CHECK_CLOCK},
	{"not activated yet",
	gettext_noop("the certificate is not valid yet"), CHECK_CLOCK},
	{"revoked",
		gettext_noop("the certificate has been revoked"),
	"The certificate has to be renewed."},
	{"subject name",
	gettext_noop("the certificate is for another host"), CHECK_HOST},
	{"common name",
	gettext_noop("the certificate is for another host"), CHECK_HOST},
	{"issuer",
	gettext_noop("the certificate is signed by an unknown authority"), CHECK_CA},
	{"self",					/* "self-signed", before OpenSSL 3 "self
								 * signed" */
	gettext_noop("the certificate is signed by an unknown authority"), CHECK_CA},
	{"first certificate",
	gettext_noop("the certificate is signed by an unknown authority"), CHECK_CA},
	{"",
	gettext_noop("the certificate could not be verified"), CHECK_CA}
};

static const Cause handshake_causes[] = {
	{"wrong version number",
	gettext_noop("the server does not seem to speak TLS at this port"), CHECK_SCHEME},
	{"packet length too long",
	gettext_noop("the server does not seem to speak TLS at this port"), CHECK_SCHEME},
	{"unexpected TLS packet",
	gettext_noop("the server does not seem to speak TLS at this port"), CHECK_SCHEME},
	{"certificate required",
		gettext_noop("the server asks for a certificate of the client"),
	"Client certificates are not supported for APIs."},
	{"",
	gettext_noop("no TLS connection to the server could be made"), CHECK_SCHEME}
};

/* What a proxy has answered instead of opening a tunnel. */
typedef struct ProxyAnswer
{
	int			status;			/* 0: any other one */
	int			sqlstate;
	const char *error_text;		/* of the status */
	const char *hint;
} ProxyAnswer;

#define NOT_REACHED \
	gettext_noop("the proxy could not reach this host: HTTP status %d")
#define CHECK_URL \
	"Check host and port in the url of the source, and whether the proxy reaches them."

static const ProxyAnswer proxy_answers[] = {
	{407, ERRCODE_INSUFFICIENT_PRIVILEGE,
		gettext_noop("the proxy does not accept the user or the password: HTTP status %d"),
	"Check \"proxy_user\" and \"proxy_password\"" IN_FILE},
	{403, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION,
		gettext_noop("the proxy does not allow connections to this host: HTTP status %d"),
	"Have the proxy allow host and port of the source's url, name the host as \"no_proxy\", or check \"proxy\"" IN_FILE},
	{502, ERRCODE_CONNECTION_FAILURE, NOT_REACHED, CHECK_URL},
	{503, ERRCODE_CONNECTION_FAILURE, NOT_REACHED, CHECK_URL},
	{504, ERRCODE_CONNECTION_FAILURE, NOT_REACHED, CHECK_URL},
	{0, ERRCODE_CONNECTION_FAILURE,
		gettext_noop("the proxy answered with HTTP status %d"),
	CHECK_PROXY}
};

static bool at_proxy(RcHttp *http);
static const Cause *find_cause(RcHttp *http);
static const Cause *find(const Cause *causes, const char *text);
static bool explain_answer(RcHttp *http, RcHttpCause *cause);

/*
 * Explain why a transfer has failed.
 */
void
rc_http_explain(RcHttp *http, RcHttpCause *cause)
{
	const Cause *found = find_cause(http);

	memset(cause, 0, sizeof(*cause));
	cause->at_proxy = at_proxy(http);
	if (cause->at_proxy)
	{
		if (explain_answer(http, cause))
			return;
		cause->error_text = found == NULL ?
			gettext_noop("no connection through the proxy could be made") :
			psprintf(gettext_noop("no TLS connection to the proxy could be made: %s"),
					 found->error_text);
		cause->hint = found == NULL ? CHECK_PROXY : CHECK_PROXY_CERTIFICATE;
	}
	else if (found != NULL)
	{
		cause->error_text = found->error_text;
		cause->hint = found->hint;
	}
}

/*
 * Has a transfer failed before the proxy has connected us to the server?  An
 * error of TLS is one of the server, except with a proxy that speaks TLS.
 */
static bool
at_proxy(RcHttp *http)
{
	long		status = 0;

	if (http->connected || !http->proxied)
		return false;
	if (find_cause(http) != NULL &&
		pg_strncasecmp(http->proxy, "https:", 6) != 0)
		return false;
	return curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE,
							 &status) != CURLE_OK ||
		status < 200 || status >= 300;
}

static const Cause *
find_cause(RcHttp *http)
{
	if (http->result == CURLE_PEER_FAILED_VERIFICATION)
		return find(certificate_causes, http->error);
	if (http->result == CURLE_SSL_CONNECT_ERROR ||
		strstr(http->error, "certificate required") != NULL)
		return find(handshake_causes, http->error);
	return NULL;
}

/* The last one has the text "", which is part of any. */
static const Cause *
find(const Cause *causes, const char *text)
{
	while (strstr(text, causes->text) == NULL)
		causes++;
	return causes;
}

/*
 * Explain what the proxy has answered instead of opening a tunnel; false if it
 * has not.
 */
static bool
explain_answer(RcHttp *http, RcHttpCause *cause)
{
	long		status = 0;
	int			i = 0;

	if (curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE,
						  &status) != CURLE_OK || status < 300)
		return false;
	while (proxy_answers[i].status != 0 && proxy_answers[i].status != status)
		i++;
	cause->sqlstate = proxy_answers[i].sqlstate;
	cause->error_text = psprintf(proxy_answers[i].error_text, (int) status);
	cause->complete = true;
	cause->hint = proxy_answers[i].hint;
	return true;
}
