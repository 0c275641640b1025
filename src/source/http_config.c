/*-------------------------------------------------------------------------
 *
 * http_config.c
 *	  Applies the file that rappel_conso.http_config_file names, and decides
 *	  to which hosts its API key is sent, and which are asked by its proxy.
 *
 * Roles that are not superusers can create sources, which name hosts: the key
 * must never be sent to a host that neither the file nor a superuser has
 * named, and no host be asked directly that the file leaves to the proxy.  No
 * message may show a value of the file, not even one of libcurl's: it gets no
 * password within the address of the proxy, which it would show.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "config_file.h"
#include "source/http_internal.h"

#define SETTING		"rappel_conso.http_config_file"
#define SEPARATORS	", \t"

/* An origin that the file names; NULL matches any value. */
typedef struct Origin
{
	char	   *scheme;
	char	   *host;
	char	   *port;
} Origin;

static void apply_line(RcHttp *http, const RcConfigLine *line);
static void set_ca_file(RcHttp *http, const char *path);
static void set_proxy(RcHttp *http, const RcConfigLine *line);
static bool is_proxy_scheme(const char *scheme);
static List *read_origins(const RcConfigLine *line, List *origins);
static Origin *read_origin(const char *text);
static bool read_url(const char *url, Origin *origin, unsigned int port_flag);
static char *url_part(CURLU *parts, CURLUPart part, unsigned int flags);
static bool is_listed(List *origins, const char *url);
static bool matches(const Origin *listed, const Origin *origin);

/*
 * Apply the file, if the setting names one.  Without a line api_key.host in
 * it the key is sent to the host of key_url, and to none if that is NULL.
 */
void
rc_http_read_config(RcHttp *http, const char *key_url)
{
	List	   *lines;
	ListCell   *cell;
	Origin	   *origin;

	if (rc_http_config_file == NULL || rc_http_config_file[0] == '\0')
		return;
	lines = rc_config_file_read(rc_http_config_file, SETTING);
	foreach(cell, lines)
		apply_line(http, lfirst(cell));

	if (http->key_hosts != NIL || key_url == NULL)
		return;
	origin = palloc0(sizeof(Origin));
	if (read_url(key_url, origin, CURLU_DEFAULT_PORT))
		http->key_hosts = list_make1(origin);
}

/*
 * May the API key be sent with a request to this URL?
 */
bool
rc_http_key_allowed(RcHttp *http, const char *url)
{
	return http->api_key != NULL && is_listed(http->key_hosts, url);
}

/*
 * Choose whether the next request, to this URL, goes through the proxy.
 */
void
rc_http_choose_proxy(RcHttp *http, const char *url)
{
	http->proxied = http->proxy != NULL && !is_listed(http->direct_hosts, url);
	RC_HTTP_SETOPT(http, CURLOPT_PROXY, http->proxied ? http->proxy : "");
}

/* Apply one line of the file. */
static void
apply_line(RcHttp *http, const RcConfigLine *line)
{
	if (strcmp(line->key, "api_key") == 0)
		http->api_key = line->value[0] != '\0' ? line->value : NULL;
	else if (strcmp(line->key, "api_key.host") == 0)
		http->key_hosts = read_origins(line, http->key_hosts);
	else if (strcmp(line->key, "proxy") == 0)
		set_proxy(http, line);
	else if (strcmp(line->key, "proxy_user") == 0)
		RC_HTTP_SETOPT(http, CURLOPT_PROXYUSERNAME, line->value);
	else if (strcmp(line->key, "proxy_password") == 0)
		RC_HTTP_SETOPT(http, CURLOPT_PROXYPASSWORD, line->value);
	else if (strcmp(line->key, "no_proxy") == 0)
		http->direct_hosts = read_origins(line, http->direct_hosts);
	else if (strcmp(line->key, "ca_file") == 0)
		set_ca_file(http, line->value);
	else
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("unrecognized key in line %d of the file that \"%s\" names",
						line->line, SETTING),
				 errdetail_log("The key is \"%s\".", line->key),
				 errhint("Keys are api_key, api_key.host, proxy, proxy_user, proxy_password, no_proxy and ca_file.")));
}

/*
 * Trust the authorities of this file, and no others: without the second option
 * libcurl adds those of the system where they are in a folder, as on Debian,
 * and not where they are in a file.
 */
static void
set_ca_file(RcHttp *http, const char *path)
{
	RC_HTTP_SETOPT(http, CURLOPT_CAINFO, path);
	RC_HTTP_SETOPT(http, CURLOPT_CAPATH, NULL);
	RC_HTTP_SETOPT(http, CURLOPT_PROXY_CAINFO, path);
	RC_HTTP_SETOPT(http, CURLOPT_PROXY_CAPATH, NULL);
}

/*
 * Store the address of the proxy, read by the rules of libcurl.  A user and
 * password in it count as proxy_user and proxy_password.
 */
static void
set_proxy(RcHttp *http, const RcConfigLine *line)
{
	CURLU	   *parts = curl_url();
	char	   *scheme = NULL;
	char	   *user;
	char	   *password;

	http->proxy = NULL;
	if (line->value[0] != '\0' && parts != NULL &&
		curl_url_set(parts, CURLUPART_URL, line->value,
					 CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK)
		scheme = url_part(parts, CURLUPART_SCHEME, 0);
	user = url_part(parts, CURLUPART_USER, CURLU_URLDECODE);
	password = url_part(parts, CURLUPART_PASSWORD, CURLU_URLDECODE);
	if (scheme != NULL && is_proxy_scheme(scheme) &&
		curl_url_set(parts, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
		curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK)
		http->proxy = url_part(parts, CURLUPART_URL, 0);
	curl_url_cleanup(parts);

	if (http->proxy == NULL && line->value[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid \"%s\" in line %d of the file that \"%s\" names",
						line->key, line->line, SETTING),
				 errhint("Use http://host:port; user and password are proxy_user and proxy_password.")));
	if (user != NULL)
		RC_HTTP_SETOPT(http, CURLOPT_PROXYUSERNAME, user);
	if (password != NULL)
		RC_HTTP_SETOPT(http, CURLOPT_PROXYPASSWORD, password);
}

/* Does libcurl know proxies of this kind? */
static bool
is_proxy_scheme(const char *scheme)
{
	static const char *const known[] = {
		"http", "https", "socks4", "socks4a", "socks5", "socks5h"
	};

	for (int i = 0; i < lengthof(known); i++)
	{
		if (pg_strcasecmp(scheme, known[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Append a line's list of hosts to a list.  A malformed one is an error: it
 * must not match more hosts, or fewer.
 */
static List *
read_origins(const RcConfigLine *line, List *origins)
{
	char	   *list = pstrdup(line->value);
	char	   *save = NULL;
	char	   *item;

	for (item = strtok_r(list, SEPARATORS, &save); item != NULL;
		 item = strtok_r(NULL, SEPARATORS, &save))
	{
		Origin	   *origin = read_origin(item);

		if (origin == NULL)
			break;
		origins = lappend(origins, origin);
	}
	if (item != NULL || origins == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid \"%s\" in line %d of the file that \"%s\" names",
						line->key, line->line, SETTING),
				 errhint("Use host, host:port or https://host:port, separated by commas.")));
	return origins;
}

/*
 * "host", "host:port", "https://host" or "https://host:port", with the port of
 * the scheme where there is none; NULL for anything else.
 */
static Origin *
read_origin(const char *text)
{
	const char *slashes = strstr(text, "://");
	const char *host = slashes != NULL ? slashes + 3 : text;
	size_t		len = strcspn(host, "/");
	Origin	   *origin = palloc0(sizeof(Origin));

	if (host[len] != '\0' && strcmp(host + len, "/") != 0)
		return NULL;
	if (!rc_is_host(host, len))
		return NULL;
	if (slashes == NULL)
	{
		if (!read_url(psprintf("https://%s", text), origin, 0))
			return NULL;
		origin->scheme = NULL;
	}
	else if (!read_url(text, origin, CURLU_DEFAULT_PORT) ||
			 (strcmp(origin->scheme, "http") != 0 &&
			  strcmp(origin->scheme, "https") != 0))
		return NULL;
	return origin;
}

/*
 * Parse scheme, host and port of a URL; port_flag can ask for the default
 * port.  Returns false if it is malformed or contains a user or password.
 */
static bool
read_url(const char *url, Origin *origin, unsigned int port_flag)
{
	CURLU	   *parts = curl_url();
	bool		ok = false;

	if (parts != NULL &&
		curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK)
	{
		size_t		len;

		origin->scheme = url_part(parts, CURLUPART_SCHEME, 0);
		origin->host = url_part(parts, CURLUPART_HOST, 0);
		origin->port = url_part(parts, CURLUPART_PORT, port_flag);
		ok = origin->scheme != NULL && origin->host != NULL &&
			(origin->port != NULL || port_flag == 0) &&
			url_part(parts, CURLUPART_USER, 0) == NULL &&
			url_part(parts, CURLUPART_PASSWORD, 0) == NULL;

		/* ignore the dot of the DNS root at the end of a name */
		len = origin->host != NULL ? strlen(origin->host) : 0;
		if (len > 1 && origin->host[len - 1] == '.')
			origin->host[len - 1] = '\0';
	}
	curl_url_cleanup(parts);
	return ok;
}

/* A part of a URL, palloc'd; NULL if it has none. */
static char *
url_part(CURLU *parts, CURLUPart part, unsigned int flags)
{
	char	   *text = NULL;
	char	   *copy = NULL;

	if (curl_url_get(parts, part, &text, flags) == CURLUE_OK && text != NULL)
		copy = pstrdup(text);
	curl_free(text);
	return copy;
}

/*
 * Is this a URL of one of the origins?  It is parsed by libcurl, which sends
 * the request, so that both see the same host.
 */
static bool
is_listed(List *origins, const char *url)
{
	Origin		origin = {0};
	ListCell   *cell;

	if (origins == NIL || !read_url(url, &origin, CURLU_DEFAULT_PORT))
		return false;
	foreach(cell, origins)
	{
		if (matches(lfirst(cell), &origin))
			return true;
	}
	return false;
}

static bool
matches(const Origin *listed, const Origin *origin)
{
	return (listed->scheme == NULL ||
			pg_strcasecmp(listed->scheme, origin->scheme) == 0) &&
		(listed->port == NULL || strcmp(listed->port, origin->port) == 0) &&
		pg_strcasecmp(listed->host, origin->host) == 0;
}
