/*-------------------------------------------------------------------------
 *
 * http.h
 *	  HTTP: one GET at a time, read as a stream.
 *
 * It waits for the network: no transaction may be open.  Memory is palloc'd in
 * the current context unless a function says otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_HTTP_H
#define RC_HTTP_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef struct RcHttp RcHttp;

/* What has become of the API key in a request. */
typedef enum RcHttpKey
{
	RC_HTTP_KEY_NONE,			/* there is none */
	RC_HTTP_KEY_WITHHELD,		/* it is not for this host */
	RC_HTTP_KEY_SENT
} RcHttpKey;

typedef struct RcHttpResponse
{
	int			status;			/* HTTP status */
	bool		proxied;		/* can be the answer of the proxy itself */
	RcHttpKey	key;
	char		content_type[128];	/* "" if none */
	TimestampTz retry_at;		/* from Retry-After; 0 if none */
	int64		ratelimit_limit;	/* X-RateLimit-*; -1 if none */
	int64		ratelimit_remaining;
	TimestampTz ratelimit_reset;	/* 0 if none */
} RcHttpResponse;

extern RcHttp *rc_http_open(const char *key_url);
extern void rc_http_close(RcHttp *http);
extern const RcHttpResponse *rc_http_get(RcHttp *http, const char *url);
extern bool rc_http_read_line(RcHttp *http, char **line, size_t *len);
extern bool rc_http_half_line(const RcHttp *http);
extern char *rc_http_read_all(RcHttp *http, size_t limit, size_t *len);
extern char *rc_http_read_start(RcHttp *http, size_t max, size_t *len);
extern TimestampTz rc_http_parse_time(const char *text);
extern char *rc_http_printable(const char *text, size_t len);

#endif							/* RC_HTTP_H */
