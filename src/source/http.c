/*-------------------------------------------------------------------------
 *
 * http.c
 *	  HTTP GET with libcurl, one request at a time, with the body read as a
 *	  stream: opening and closing of a handle, requests, and reading of
 *	  lines.
 *
 * http_config.c reads the configuration file, http_transfer.c runs the
 * transfer and waits, http_receive.c stores what is received, http_response.c
 * reads headers of responses, http_error.c raises errors.
 *
 * It must not be called by the postmaster (libcurl and OpenSSL are
 * initialized here, and threads do not survive a fork), and must not hold
 * more of a body than a line or RC_HTTP_BUFFER, whichever is more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "source/http_internal.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#define MAX_REDIRECTS	5
#define RESERVED_FDS	2		/* the connection, the resolver's pipe */
#define DRAIN_LIMIT		(64 * 1024)

/* All handles that own objects of libcurl, for release_at_exit(). */
static RcHttp *open_handles = NULL;

static void start_library(void);
static void release_at_exit(int code, Datum arg);
static void release(void *arg);
static void configure(RcHttp *http);
static void finish(RcHttp *http);
static char *copy_unread(RcHttp *http, size_t max, size_t *len);

/*
 * Create a handle, configured by the settings and by the file that
 * rappel_conso.http_config_file names.  The API key of that file is sent to
 * the hosts that the file names, else to that of key_url (NULL: to none).
 *
 * The handle belongs to the current memory context.  Its sockets and
 * libcurl's memory are released by rc_http_close(), when the context is reset
 * or deleted (so on ERROR), or when the process exits.  Needs no transaction.
 *
 * Errors: 58P01 and the like if the file cannot be read, F0000 for its
 * content.
 */
RcHttp *
rc_http_open(const char *key_url)
{
	RcHttp	   *http = palloc0(sizeof(RcHttp));
	sigset_t	save;

	start_library();

	/* Register the release first, so that an error below leaks nothing. */
	http->callback.func = release;
	http->callback.arg = http;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &http->callback);
	http->open = true;
	http->next = open_handles;
	open_handles = http;
	for (int i = 0; i < RESERVED_FDS; i++)
		ReserveExternalFD();

	rc_http_block_signals(&save);
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	rc_http_restore_signals(&save);
	if (http->multi == NULL || http->easy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not start an HTTP client")));

	configure(http);
	rc_http_read_config(http, key_url);
	return http;
}

/*
 * Close the handle's connections and free libcurl's objects.  The struct
 * itself is freed with its memory context.  NULL and a closed handle are
 * accepted.
 */
void
rc_http_close(RcHttp *http)
{
	if (http != NULL)
		release(http);
}

/*
 * Start a GET and wait for the response's status and headers, which stay
 * valid until the next request.  A request in progress is aborted.  Redirects
 * are followed on the same scheme, host and port, at most 5 times.  The
 * caller must check the status.
 *
 * Errors: 08006 for transient errors (name not resolved, connection refused
 * or cut, no byte for rappel_conso.http_timeout), 08P01 if the response is
 * not HTTP or has an encoding that was not requested, 22023 for an unusable
 * URL, 38000 for a redirect to another origin.
 */
const RcHttpResponse *
rc_http_get(RcHttp *http, const char *url)
{
	for (int redirects = 0;; redirects++)
	{
		char	   *target;
		size_t		len;

		finish(http);
		rc_http_show_url(http, url);
		rc_http_start(http, url);
		while (!http->headers_done && !http->done)
			rc_http_pump(http);
		if (!http->headers_done)
			rc_http_raise(http);
		rc_http_read_headers(http);

		target = rc_http_redirect(http, url);
		if (target == NULL)
		{
			rc_http_check_encoding(http);
			return &http->response;
		}
		if (redirects >= MAX_REDIRECTS)
			ereport(ERROR,
					(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					 errmsg("\"%s\" redirects more than %d times",
							http->url, MAX_REDIRECTS)));

		/* read to the end, so that the connection can be reused */
		pfree(rc_http_read_start(http, DRAIN_LIMIT, &len));
		url = target;
	}
}

/*
 * Wait for the next line of the body.  It is returned without its end ("\n"
 * or "\r\n"), null-terminated after len bytes (it can contain null bytes,
 * too), unchecked, and valid until the next call for this handle.  A last
 * line without a newline counts.  Returns false at the end of a complete
 * body.
 *
 * Errors: those of rc_http_get(), after the last complete line of a truncated
 * body; 54000 for a line of more than 64 MB.
 */
bool
rc_http_read_line(RcHttp *http, char **line, size_t *len)
{
	char	   *unread;
	char	   *newline = NULL;

	for (;;)
	{
		unread = http->buffer + http->start;
		if (RC_HTTP_UNREAD(http) > http->scanned)
			newline = memchr(unread + http->scanned, '\n',
							 RC_HTTP_UNREAD(http) - http->scanned);
		http->scanned = RC_HTTP_UNREAD(http);
		if (newline != NULL || http->done)
			break;
		if (http->scanned > RC_HTTP_MAX_LINE)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a line of \"%s\" is longer than %d MB",
							http->url, RC_HTTP_MAX_LINE / (1024 * 1024))));
		http->limit = http->scanned + RC_HTTP_BUFFER;
		rc_http_pump(http);
	}

	if (newline == NULL && http->result != CURLE_OK)
		rc_http_raise(http);
	if (newline == NULL && http->scanned == 0)
		return false;

	Assert(http->end < http->capacity);
	*line = unread;
	http->half_line = newline == NULL;
	*len = newline != NULL ? newline - unread : http->scanned;
	http->start += *len + (newline != NULL ? 1 : 0);
	if (newline != NULL && *len > 0 && unread[*len - 1] == '\r')
		(*len)--;
	unread[*len] = '\0';
	http->scanned = 0;
	http->limit = RC_HTTP_BUFFER;
	http->lines++;
	return true;
}

/*
 * Can the last line be incomplete?  True if neither the line nor the body had
 * an end mark: then a closed connection, or a Content-Length that a proxy has
 * set for a truncated body, can have ended it anywhere.
 */
bool
rc_http_half_line(const RcHttp *http)
{
	return http->half_line && !http->chunked && http->gunzip == NULL;
}

/*
 * Read the rest of the body: palloc'd in the current context, null-terminated
 * after *len bytes.
 *
 * Errors: those of rc_http_get(); 54000 if there are more than limit bytes.
 */
char *
rc_http_read_all(RcHttp *http, size_t limit, size_t *len)
{
	http->limit = limit + 1;
	while (!http->done && RC_HTTP_UNREAD(http) <= limit)
		rc_http_pump(http);
	if (RC_HTTP_UNREAD(http) > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer of \"%s\" is longer than %zu bytes",
						http->url, limit)));
	if (http->result != CURLE_OK)
		rc_http_raise(http);
	return copy_unread(http, limit, len);
}

/*
 * Read max bytes of the body at most, for a message: a longer, truncated or
 * stalled body is no error here.  The result is palloc'd, null-terminated
 * after *len bytes.
 */
char *
rc_http_read_start(RcHttp *http, size_t max, size_t *len)
{
	http->limit = max + 1;
	while (!http->done && RC_HTTP_UNREAD(http) <= max)
		rc_http_pump(http);
	return copy_unread(http, max, len);
}

/*
 * End the request, if there is one.  The connection is reused if the body was
 * read to its end; else it is closed.
 */
static void
finish(RcHttp *http)
{
	if (http->active)
	{
		sigset_t	save;

		rc_http_block_signals(&save);
		curl_multi_remove_handle(http->multi, http->easy);
		rc_http_restore_signals(&save);
		http->active = false;
	}
	rc_gunzip_close(http->gunzip);
	http->gunzip = NULL;
	if (http->capacity > 4 * RC_HTTP_BUFFER)
	{
		free(http->buffer);
		http->buffer = NULL;
		http->capacity = 0;
	}
	http->start = http->end = http->scanned = 0;
}

/*
 * Remove at most max unread bytes from the buffer, and return a palloc'd
 * copy.
 */
static char *
copy_unread(RcHttp *http, size_t max, size_t *len)
{
	char	   *copy;

	*len = Min(RC_HTTP_UNREAD(http), max);
	copy = palloc(*len + 1);
	if (*len > 0)
		memcpy(copy, http->buffer + http->start, *len);
	copy[*len] = '\0';
	http->start += *len;
	http->scanned = 0;
	http->limit = RC_HTTP_BUFFER;
	return copy;
}

/*
 * Initialize libcurl once in a process, after registering the exit hook.
 */
static void
start_library(void)
{
	static bool hooked = false;
	static bool started = false;
	CURLcode	code;
	sigset_t	save;

	Assert(IsUnderPostmaster);
	if (!hooked)
	{
		before_shmem_exit(release_at_exit, (Datum) 0);
		hooked = true;
	}
	if (started)
		return;

	rc_http_block_signals(&save);
	code = curl_global_init(CURL_GLOBAL_DEFAULT);
	rc_http_restore_signals(&save);
	if (code != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not start libcurl: %s",
						curl_easy_strerror(code))));
	started = true;
}

/*
 * before_shmem_exit hook, since FATAL runs no PG_CATCH.
 */
static void
release_at_exit(int code, Datum arg)
{
	while (open_handles != NULL)
		release(open_handles);
}

/*
 * Free what a handle owns outside of memory contexts.  It is also the reset
 * callback of its context, so it must not throw.
 */
static void
release(void *arg)
{
	RcHttp	   *http = arg;
	RcHttp	  **link;
	sigset_t	save;

	if (!http->open)
		return;
	http->open = false;
	for (link = &open_handles; *link != NULL; link = &(*link)->next)
	{
		if (*link == http)
		{
			*link = http->next;
			break;
		}
	}

	finish(http);
	rc_http_block_signals(&save);
	if (http->easy != NULL)
		curl_easy_cleanup(http->easy);
	if (http->multi != NULL)
		curl_multi_cleanup(http->multi);
	curl_slist_free_all(http->headers);
	rc_http_restore_signals(&save);
	http->easy = NULL;
	http->multi = NULL;
	http->headers = NULL;

	free(http->buffer);
	http->buffer = NULL;
	http->capacity = 0;
	for (int i = 0; i < RESERVED_FDS; i++)
		ReleaseExternalFD();
}

/*
 * Set the options that all requests share.
 *
 * HTTP/1.1, since one request at a time gains nothing from HTTP/2, whose
 * window lets libcurl 7.88 buffer 32 MB of a paused stream.  QUICK_EXIT,
 * since an aborted request would otherwise wait for the resolver's thread.  A
 * proxy is used only if the file configures one (see rc_http_choose_proxy()):
 * environment variables of the server are ignored.  Compressed bodies are
 * decompressed by gunzip.c, which detects truncation.
 */
static void
configure(RcHttp *http)
{
	const char *agent = rc_user_agent;

	if (agent == NULL || agent[0] == '\0')
		agent = "rappel_conso/" RC_VERSION " (PostgreSQL extension)";

	RC_HTTP_SETOPT(http, CURLOPT_ERRORBUFFER, http->error);
	RC_HTTP_SETOPT(http, CURLOPT_NOSIGNAL, 1L);
	RC_HTTP_SETOPT(http, CURLOPT_QUICK_EXIT, 1L);
	RC_HTTP_SETOPT(http, CURLOPT_PROTOCOLS_STR, "http,https");
	RC_HTTP_SETOPT(http, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	RC_HTTP_SETOPT(http, CURLOPT_FOLLOWLOCATION, 0L);
	RC_HTTP_SETOPT(http, CURLOPT_ACCEPT_ENCODING, "gzip");
	RC_HTTP_SETOPT(http, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	RC_HTTP_SETOPT(http, CURLOPT_TCP_KEEPALIVE, 1L);
	RC_HTTP_SETOPT(http, CURLOPT_BUFFERSIZE, 32L * 1024);
	RC_HTTP_SETOPT(http, CURLOPT_NOPROXY, "");
	RC_HTTP_SETOPT(http, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	RC_HTTP_SETOPT(http, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
	RC_HTTP_SETOPT(http, CURLOPT_USERAGENT, agent);
	rc_http_set_callbacks(http);
}
