/*-------------------------------------------------------------------------
 *
 * http_internal.h
 *	  Declarations shared by the files http*.c.
 *
 * It is the only header that includes libcurl's; no other file may include
 * it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_HTTP_INTERNAL_H
#define RC_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <signal.h>

#include "nodes/pg_list.h"
#include "rappel_conso.h"
#include "source/gunzip.h"
#include "source/http.h"
#include "utils/palloc.h"

#define RC_HTTP_BUFFER		(256 * 1024)	/* unread bytes that pause curl */
#define RC_HTTP_MAX_LINE	(64 * 1024 * 1024)
#define RC_HTTP_MIN_SPEED	100 /* bytes a second; slower counts as a hang */
#define RC_HTTP_MAX_SOCKETS 16

/* A socket that libcurl waits for. */
typedef struct RcHttpSocket
{
	curl_socket_t fd;
	int			what;			/* CURL_POLL_IN, _OUT or _INOUT */
} RcHttpSocket;

/*
 * One easy handle in one multi handle, with at most one request.  The struct
 * is palloc'd; libcurl's objects and the buffer are malloc'd, and freed by
 * the context's reset callback at the latest.
 */
struct RcHttp
{
	MemoryContextCallback callback;
	RcHttp	   *next;			/* the open handles of this process */
	bool		open;
	CURLM	   *multi;
	CURL	   *easy;
	char		error[CURL_ERROR_SIZE];

	/* from the configuration file */
	char	   *api_key;		/* NULL: none */
	List	   *key_hosts;		/* where it may be sent; see http_config.c */
	char	   *proxy;			/* its address, without a password; or NULL */
	List	   *direct_hosts;	/* asked without it */

	/* the request */
	char		url[1024];		/* for messages: no user, password, query */
	struct curl_slist *headers; /* that we send; NULL: none */
	bool		proxied;		/* goes through the proxy */
	RcHttpKey	key;
	bool		active;			/* the easy handle is in the multi handle */
	bool		connected;
	bool		headers_done;
	bool		ended;			/* result is set, libcurl has no more bytes */
	bool		done;			/* ended, and all bytes are decompressed */
	bool		stalled;		/* ended because the server was too slow */
	bool		no_memory;
	bool		cut;			/* the body was truncated, undetected by
								 * libcurl */
	CURLcode	result;
	int			status;
	bool		chunked;		/* chunked body, whose end is marked */
	char		encoding[32];	/* Content-Encoding; "" if none */
	RcGunzip   *gunzip;			/* NULL if the body is not compressed */
	int64		bytes;			/* received of the body, decompressed */
	int64		lines;			/* returned by rc_http_read_line() */
	RcHttpResponse response;

	/* what to wait for */
	RcHttpSocket sockets[RC_HTTP_MAX_SOCKETS];
	int			nsockets;
	bool		timer_set;
	double		timer_due;		/* on the clock of http_now() */
	bool		paused;

	/*
	 * for check_speed(), in ms; only time spent waiting for the server counts
	 */
	double		silent_ms;		/* since the last byte */
	double		window_ms;
	int64		window_bytes;

	/* bytes of the body, malloc'd; those from start to end are unread */
	char	   *buffer;
	size_t		capacity;
	size_t		start;
	size_t		end;
	size_t		scanned;		/* of the unread bytes, known to have no
								 * newline */
	bool		half_line;		/* the line returned last had no end */
	size_t		limit;			/* unread bytes that pause curl now */
};

/* Why a transfer has failed, as far as it is known. */
typedef struct RcHttpCause
{
	int			sqlstate;		/* 0: that of libcurl's result */
	const char *error_text;		/* NULL if libcurl's says all that is known */
	bool		complete;		/* libcurl's text adds nothing to it */
	const char *hint;			/* NULL: none for this cause */
	bool		at_proxy;		/* not connected to the server yet */
} RcHttpCause;

#define RC_HTTP_UNREAD(http) ((http)->end - (http)->start)

#define RC_HTTP_IS_GZIP(http) \
	(pg_strcasecmp((http)->encoding, "gzip") == 0 || \
	 pg_strcasecmp((http)->encoding, "x-gzip") == 0)

/*
 * Set an option of the easy handle.  Only with a handle that is released by
 * its context, since this may throw.
 */
#define RC_HTTP_SETOPT(http, option, value) \
	do { \
		CURLcode	code_ = curl_easy_setopt((http)->easy, option, value); \
		if (code_ != CURLE_OK) \
			ereport(ERROR, \
					(errcode(code_ == CURLE_OUT_OF_MEMORY ? \
							 ERRCODE_OUT_OF_MEMORY : \
							 ERRCODE_EXTERNAL_ROUTINE_EXCEPTION), \
					 errmsg("could not set HTTP option %s: %s", \
							#option, curl_easy_strerror(code_)))); \
	} while (0)

/*
 * Each call that may start a thread (libcurl's resolver) must be made between
 * these two, so that the thread never runs a signal handler of PostgreSQL.
 * No ereport() between them: signals would stay blocked.
 */
static inline void
rc_http_block_signals(sigset_t *save)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, save);
}

static inline void
rc_http_restore_signals(const sigset_t *save)
{
	pthread_sigmask(SIG_SETMASK, save, NULL);
}

/* http_config.c */
extern void rc_http_read_config(RcHttp *http, const char *key_url);
extern bool rc_http_key_allowed(RcHttp *http, const char *url);
extern void rc_http_choose_proxy(RcHttp *http, const char *url);

/* http_transfer.c */
extern void rc_http_set_callbacks(RcHttp *http);
extern void rc_http_start(RcHttp *http, const char *url);
extern void rc_http_pump(RcHttp *http);

/* http_receive.c */
extern size_t rc_http_on_header(char *data, size_t size, size_t n, void *arg);
extern size_t rc_http_on_body(char *data, size_t size, size_t n, void *arg);
extern bool rc_http_decompress(RcHttp *http);
extern bool rc_http_pending(RcHttp *http);

/* http_cause.c */
extern void rc_http_explain(RcHttp *http, RcHttpCause *cause);

/* http_error.c */
pg_noreturn extern void rc_http_raise(RcHttp *http);

/* http_response.c */
extern void rc_http_show_url(RcHttp *http, const char *url);
extern void rc_http_read_headers(RcHttp *http);
extern void rc_http_check_encoding(RcHttp *http);
extern char *rc_http_redirect(RcHttp *http, const char *url);

#endif							/* RC_HTTP_INTERNAL_H */
