/*-------------------------------------------------------------------------
 *
 * http_receive.c
 *	  Stores what libcurl receives: headers about the body's framing and
 *	  encoding, and the body's bytes, decompressed, in the buffer.
 *
 * Callbacks must not call palloc, ereport or anything else of PostgreSQL that
 * may throw; they copy bytes and set flags.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source/http_internal.h"

#define DECOMPRESS_STEP	(64 * 1024)

static void read_framing(RcHttp *http, const char *header, size_t len);
static bool read_field(const char *header, size_t len, const char *name,
					   char *value, size_t size);
static size_t take_compressed(RcHttp *http, const char *data, size_t len);
static bool make_room(RcHttp *http, size_t len);
static void count_bytes(RcHttp *http, size_t len);

/*
 * CURLOPT_HEADERFUNCTION: find the end of the response's headers.  A response
 * 1xx precedes the real one.
 */
size_t
rc_http_on_header(char *data, size_t size, size_t n, void *arg)
{
	RcHttp	   *http = arg;
	size_t		len = size * n;

	count_bytes(http, len);
	if (http->headers_done)
		return len;				/* a trailer of a chunked body */
	if (len >= 12 && memcmp(data, "HTTP/", 5) == 0)
	{
		const char *space = memchr(data, ' ', len - 3);

		http->status = 0;
		http->chunked = false;
		http->encoding[0] = '\0';
		if (space != NULL)
			http->status = (space[1] - '0') * 100 + (space[2] - '0') * 10 +
				(space[3] - '0');
	}
	else if ((data[0] == '\r' || data[0] == '\n') && http->status >= 200)
		http->headers_done = true;
	else
		read_framing(http, data, len);
	return len;
}

/*
 * Store from a header how the end of the body is marked, and how it is
 * encoded.
 */
static void
read_framing(RcHttp *http, const char *header, size_t len)
{
	char		value[sizeof(http->encoding)];

	if (read_field(header, len, "transfer-encoding:", value, sizeof(value)))
		http->chunked = pg_strcasecmp(value, "chunked") == 0;
	else if (read_field(header, len, "content-encoding:", value,
						sizeof(value)) &&
			 value[0] != '\0' && pg_strcasecmp(value, "identity") != 0)
	{
		/* two encodings were not requested, either */
		if (http->encoding[0] != '\0')
			strlcpy(http->encoding, "several", sizeof(http->encoding));
		else
			strlcpy(http->encoding, value, sizeof(http->encoding));
	}
}

/*
 * Copy the value of a header, without white space around it, if it has this
 * name.
 */
static bool
read_field(const char *header, size_t len, const char *name, char *value,
		   size_t size)
{
	size_t		skip = strlen(name);

	if (len < skip || pg_strncasecmp(header, name, skip) != 0)
		return false;
	while (skip < len && strchr(" \t\r\n", header[skip]) != NULL &&
		   header[skip] != '\0')
		skip++;
	while (len > skip && strchr(" \t\r\n", header[len - 1]) != NULL)
		len--;
	len = Min(len - skip, size - 1);
	memcpy(value, header + skip, len);
	value[len] = '\0';
	return true;
}

/*
 * CURLOPT_WRITEFUNCTION: store the bytes, or pause libcurl while enough of
 * them are unread.  After a pause libcurl passes the same bytes again.
 */
size_t
rc_http_on_body(char *data, size_t size, size_t n, void *arg)
{
	RcHttp	   *http = arg;
	size_t		len = size * n;

	if (RC_HTTP_UNREAD(http) >= http->limit || rc_http_pending(http))
	{
		http->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (RC_HTTP_IS_GZIP(http))
		return take_compressed(http, data, len);
	if (!make_room(http, len))
	{
		http->no_memory = true;
		return CURL_WRITEFUNC_ERROR;
	}
	memcpy(http->buffer + http->end, data, len);
	http->end += len;
	http->bytes += len;
	count_bytes(http, len);
	return len;
}

/*
 * The same for a compressed body: decompress as much of it as there is room
 * for.
 */
static size_t
take_compressed(RcHttp *http, const char *data, size_t len)
{
	if (http->gunzip == NULL)
		http->gunzip = rc_gunzip_open();
	if (http->gunzip == NULL || !rc_gunzip_put(http->gunzip, data, len))
	{
		http->no_memory = true;
		return CURL_WRITEFUNC_ERROR;
	}
	count_bytes(http, len);
	return rc_http_decompress(http) ? len : CURL_WRITEFUNC_ERROR;
}

/*
 * Decompress pending input, up to the limit.  Returns false if it is not
 * valid gzip, or without memory; then nothing is pending any more.
 */
bool
rc_http_decompress(RcHttp *http)
{
	while (rc_http_pending(http) && RC_HTTP_UNREAD(http) < http->limit)
	{
		size_t		len;

		if (!make_room(http, DECOMPRESS_STEP))
			http->no_memory = true;
		if (http->no_memory ||
			!rc_gunzip_get(http->gunzip, http->buffer + http->end,
						   DECOMPRESS_STEP, &len))
		{
			rc_gunzip_close(http->gunzip);
			http->gunzip = NULL;
			return false;
		}
		http->end += len;
		http->bytes += len;
	}
	return true;
}

/* Has libcurl passed bytes that are not decompressed yet? */
bool
rc_http_pending(RcHttp *http)
{
	return http->gunzip != NULL && rc_gunzip_pending(http->gunzip);
}

/*
 * Make room for len more bytes and a null byte; returns false without memory.
 */
static bool
make_room(RcHttp *http, size_t len)
{
	size_t		unread = RC_HTTP_UNREAD(http);
	size_t		capacity = Max(http->capacity, 2 * RC_HTTP_BUFFER);
	char	   *buffer;

	if (http->end + len < http->capacity)
		return true;
	if (http->start > 0)
	{
		memmove(http->buffer, http->buffer + http->start, unread);
		http->start = 0;
		http->end = unread;
	}
	while (unread + len >= capacity)
		capacity *= 2;
	if (capacity == http->capacity)
		return true;

	buffer = realloc(http->buffer, capacity);
	if (buffer == NULL)
		return false;
	http->buffer = buffer;
	http->capacity = capacity;
	return true;
}

/*
 * Count received bytes, for check_speed().
 */
static void
count_bytes(RcHttp *http, size_t len)
{
	http->silent_ms = 0;
	http->window_bytes += len;
}
