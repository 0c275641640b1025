/*-------------------------------------------------------------------------
 *
 * http_transfer.c
 *	  Runs a transfer: waits for libcurl's sockets and timer together with
 *	  the process latch.
 *
 * Received bytes go to http_receive.c.  libcurl itself never waits:
 * curl_multi_socket_action() passes ready sockets to it, so every wait is
 * here and can be interrupted.  Callbacks must not call palloc, ereport or
 * anything else of PostgreSQL that may throw; they copy and set flags.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "source/http_internal.h"
#include "storage/latch.h"

#include "latch_wait.h"

#define MAX_WAIT_MS		1000	/* until check_speed() is called again */
#define RACE_WAIT_MS	20		/* while curl tries several connections */

static double http_now(void);
static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
					  void *socket_arg);
static int	on_timer(CURLM *multi, long timeout_ms, void *arg);
static int	on_connected(void *arg, char *server_ip, char *client_ip,
						 int server_port, int client_port);
static void resume(RcHttp *http);
static void wait_and_act(RcHttp *http);
static long wait_time(RcHttp *http);
static int	wait_for(RcHttp *http, curl_socket_t fd, int what);
static void act(RcHttp *http, curl_socket_t fd, int events);
static void collect_result(RcHttp *http);
static void end_transfer(RcHttp *http, CURLcode result);
static void set_headers(RcHttp *http, const char *url);
static void check_speed(RcHttp *http);

/*
 * Register libcurl's callbacks.
 */
void
rc_http_set_callbacks(RcHttp *http)
{
	if (curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http) != CURLM_OK)
		elog(ERROR, "could not set the callbacks of libcurl");

	RC_HTTP_SETOPT(http, CURLOPT_PREREQFUNCTION, on_connected);
	RC_HTTP_SETOPT(http, CURLOPT_PREREQDATA, http);
	RC_HTTP_SETOPT(http, CURLOPT_HEADERFUNCTION, rc_http_on_header);
	RC_HTTP_SETOPT(http, CURLOPT_HEADERDATA, http);
	RC_HTTP_SETOPT(http, CURLOPT_WRITEFUNCTION, rc_http_on_body);
	RC_HTTP_SETOPT(http, CURLOPT_WRITEDATA, http);
}

/*
 * Start a request, which rc_http_pump() continues.  None may be in progress.
 */
void
rc_http_start(RcHttp *http, const char *url)
{
	CURLMcode	code;
	sigset_t	save;

	Assert(!http->active);
	http->error[0] = '\0';
	http->connected = http->headers_done = false;
	http->ended = http->done = http->cut = false;
	http->stalled = http->no_memory = http->paused = false;
	http->chunked = http->half_line = false;
	http->encoding[0] = '\0';
	http->result = CURLE_OK;
	http->status = 0;
	http->bytes = http->lines = 0;
	http->silent_ms = http->window_ms = 0;
	http->window_bytes = 0;
	http->start = http->end = http->scanned = 0;
	http->limit = RC_HTTP_BUFFER;

	RC_HTTP_SETOPT(http, CURLOPT_URL, url);
	rc_http_choose_proxy(http, url);
	set_headers(http, url);
	RC_HTTP_SETOPT(http, CURLOPT_CONNECTTIMEOUT, (long) rc_http_timeout);

	rc_http_block_signals(&save);
	code = curl_multi_add_handle(http->multi, http->easy);
	rc_http_restore_signals(&save);
	if (code != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not start the request to \"%s\": %s",
						http->url, curl_multi_strerror(code))));
	http->active = true;
}

/*
 * Send the API key if the host of this request may get it; else send no
 * header of ours, not even that of the last request.
 */
static void
set_headers(RcHttp *http, const char *url)
{
	struct curl_slist *list = NULL;

	http->key = http->api_key != NULL ? RC_HTTP_KEY_WITHHELD :
		RC_HTTP_KEY_NONE;
	if (rc_http_key_allowed(http, url))
	{
		char	   *header = psprintf("Authorization: Apikey %s",
									  http->api_key);

		list = curl_slist_append(NULL, header);
		pfree(header);
		if (list == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
	}
	curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, list);
	curl_slist_free_all(http->headers);
	http->headers = list;
	if (list != NULL)
		http->key = RC_HTTP_KEY_SENT;
}

/*
 * Do one step of the transfer: decompress pending input, or resume a paused
 * transfer, or serve libcurl's timer, or wait for its sockets (a second at
 * most) and serve them.  Once http->done is set, http->result has the result
 * of the transfer.
 */
void
rc_http_pump(RcHttp *http)
{
	Assert(!IsTransactionState());
	CHECK_FOR_INTERRUPTS();

	/* there is no request, or it was finished */
	if (!http->active)
	{
		http->done = true;
		return;
	}

	if (rc_http_pending(http))
	{
		if (!rc_http_decompress(http))
			end_transfer(http, http->no_memory ? CURLE_OUT_OF_MEMORY :
						 CURLE_BAD_CONTENT_ENCODING);
	}
	else if (http->ended)
		 /* no more bytes will be received */ ;
	else if (http->paused)
		resume(http);
	else if (http->timer_set && http->timer_due <= http_now())
	{
		http->timer_set = false;
		act(http, CURL_SOCKET_TIMEOUT, 0);
	}
	else
		wait_and_act(http);

	collect_result(http);
	if (!http->ended)
		check_speed(http);
	if (!http->ended || rc_http_pending(http))
		return;

	http->done = true;
	http->cut = http->result == CURLE_OK && http->gunzip != NULL &&
		!rc_gunzip_whole(http->gunzip);
	if (http->cut)
		http->result = CURLE_PARTIAL_FILE;
}

/*
 * Milliseconds of a monotonic clock.
 */
static double
http_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MILLISEC(now);
}

/*
 * CURLMOPT_SOCKETFUNCTION: store what to wait for.
 */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	RcHttp	   *http = arg;
	int			i;

	for (i = 0; i < http->nsockets; i++)
	{
		if (http->sockets[i].fd == fd)
			break;
	}

	if (what == CURL_POLL_REMOVE)
	{
		if (i < http->nsockets)
			http->sockets[i] = http->sockets[--http->nsockets];
		return 0;
	}
	if (i == RC_HTTP_MAX_SOCKETS)
		return -1;				/* ends the transfer */
	if (i == http->nsockets)
		http->nsockets++;
	http->sockets[i].fd = fd;
	http->sockets[i].what = what;
	return 0;
}

/*
 * CURLMOPT_TIMERFUNCTION: store when libcurl must be called at the latest.
 */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	RcHttp	   *http = arg;

	http->timer_set = (timeout_ms >= 0);
	if (http->timer_set)
		http->timer_due = http_now() + timeout_ms;
	return 0;
}

/*
 * CURLOPT_PREREQFUNCTION: connected, the request is sent next.
 */
static int
on_connected(void *arg, char *server_ip, char *client_ip, int server_port,
			 int client_port)
{
	RcHttp	   *http = arg;

	http->connected = true;
	return CURL_PREREQFUNC_OK;
}

/*
 * Resume a paused transfer; libcurl calls rc_http_on_body() from here with
 * the bytes that it has kept.
 */
static void
resume(RcHttp *http)
{
	CURLcode	code;
	sigset_t	save;

	http->paused = false;
	rc_http_block_signals(&save);
	code = curl_easy_pause(http->easy, CURLPAUSE_CONT);
	rc_http_restore_signals(&save);
	if (code != CURLE_OK)
		end_transfer(http, code);
}

/*
 * Wait for one of libcurl's sockets, its timer or the latch, and let libcurl
 * serve its sockets.  There is one socket, except while libcurl tries several
 * addresses of a host; then the others are polled every RACE_WAIT_MS.
 */
static void
wait_and_act(RcHttp *http)
{
	RcHttpSocket sockets[RC_HTTP_MAX_SOCKETS];
	int			nsockets = http->nsockets;
	double		begin = http_now();
	double		waited;
	int			events;

	/* libcurl changes its list while it serves sockets */
	memcpy(sockets, http->sockets, sizeof(sockets));
	if (nsockets == 0)
		events = wait_for(http, PGINVALID_SOCKET, 0);
	else
		events = wait_for(http, sockets[0].fd, sockets[0].what);

	waited = http_now() - begin;
	if (http->connected)
	{
		http->silent_ms += waited;
		http->window_ms += waited;
	}

	if (events != 0)
		act(http, sockets[0].fd, events);
	for (int i = 1; i < nsockets; i++)
		act(http, sockets[i].fd, 0);	/* 0: libcurl polls the socket itself */
}

/*
 * How long to wait, in milliseconds.
 */
static long
wait_time(RcHttp *http)
{
	double		left;
	long		most = http->nsockets > 1 ? RACE_WAIT_MS : MAX_WAIT_MS;

	if (!http->timer_set)
		return most;
	left = http->timer_due - http_now();
	if (left <= 0)
		return 0;
	return Min(most, (long) left + 1);
}

/*
 * Wait; return what is ready as CURL_CSELECT_* bits.
 */
static int
wait_for(RcHttp *http, curl_socket_t fd, int what)
{
	int			events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	int			ready;
	int			result = 0;

	if (what & CURL_POLL_IN)
		events |= WL_SOCKET_READABLE;
	if (what & CURL_POLL_OUT)
		events |= WL_SOCKET_WRITEABLE;
	if ((what & CURL_POLL_INOUT) == 0)
		fd = PGINVALID_SOCKET;

	ready = WaitLatchOrSocket(MyLatch, events, fd, wait_time(http),
							  rc_wait_event(RC_WAIT_HTTP));
	if (ready & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (ready & WL_SOCKET_READABLE)
		result |= CURL_CSELECT_IN;
	if (ready & WL_SOCKET_WRITEABLE)
		result |= CURL_CSELECT_OUT;
	return result;
}

/*
 * Let libcurl serve a socket that is ready, or its timer.
 */
static void
act(RcHttp *http, curl_socket_t fd, int events)
{
	CURLMcode	code;
	sigset_t	save;
	int			running;

	rc_http_block_signals(&save);
	code = curl_multi_socket_action(http->multi, fd, events, &running);
	rc_http_restore_signals(&save);
	if (code != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not read from \"%s\": %s",
						http->url, curl_multi_strerror(code))));
}

/*
 * Check whether the transfer has ended.
 */
static void
collect_result(RcHttp *http)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		if (message->msg == CURLMSG_DONE)
			end_transfer(http, message->data.result);
	}
}

/* Store the result of the transfer; the first one counts. */
static void
end_transfer(RcHttp *http, CURLcode result)
{
	if (http->ended)
		return;
	http->ended = true;
	http->result = result;
}

/*
 * End a transfer whose server has sent less than RC_HTTP_MIN_SPEED for
 * rc_http_timeout seconds.  libcurl's LOW_SPEED_TIME cannot be used: it also
 * counts the time in which the transfer is paused.
 */
static void
check_speed(RcHttp *http)
{
	double		limit_ms = rc_http_timeout * 1000.0;
	int64		least = (int64) rc_http_timeout * RC_HTTP_MIN_SPEED;

	if (http->silent_ms >= limit_ms ||
		(http->window_ms >= limit_ms && http->window_bytes < least))
	{
		http->stalled = true;
		end_transfer(http, CURLE_OPERATION_TIMEDOUT);
	}
	else if (http->window_ms >= limit_ms)
	{
		http->window_ms = 0;
		http->window_bytes = 0;
	}
}
