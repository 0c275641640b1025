/*-------------------------------------------------------------------------
 *
 * http_config.c
 *	  Applies the file that rappel_conso.http_config_file names, and decides
 *	  to which hosts its API key is sent.
 *
 * Roles that are not superusers can create sources, which name hosts: the key
 * must never be sent to a host that neither the file nor a superuser has
 * named.  No message may show a value of the file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "config_file.h"
#include "source/http_internal.h"

#define SETTING		"rappel_conso.http_config_file"
#define SEPARATORS	", \t"

/* An origin to which the key may be sent; NULL matches any value. */
typedef struct Origin
{
	char	   *scheme;
	char	   *host;
	char	   *port;
} Origin;

static void apply_line(RcHttp *http, const RcConfigLine *line);
static void add_key_hosts(RcHttp *http, const RcConfigLine *line);
static Origin *read_origin(const char *text);
static bool read_url(const char *url, Origin *origin, unsigned int port_flag);
static char *url_part(CURLU *parts, CURLUPart part, unsigned int flags);
static bool matches(const Origin *allowed, const Origin *origin);

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
 * May the API key be sent with a request to this URL?  The URL is parsed by
 * libcurl, which sends the request, so that both see the same host.
 */
bool
rc_http_key_allowed(RcHttp *http, const char *url)
{
	Origin		origin = {0};
	ListCell   *cell;

	if (http->api_key == NULL || !read_url(url, &origin, CURLU_DEFAULT_PORT))
		return false;
	foreach(cell, http->key_hosts)
	{
		if (matches(lfirst(cell), &origin))
			return true;
	}
	return false;
}

/* Apply one line of the file. */
static void
apply_line(RcHttp *http, const RcConfigLine *line)
{
	if (strcmp(line->key, "api_key") == 0)
		http->api_key = line->value;
	else if (strcmp(line->key, "api_key.host") == 0)
		add_key_hosts(http, line);
	else if (strcmp(line->key, "proxy") == 0)
	{
		RC_HTTP_SETOPT(http, CURLOPT_PROXY, line->value);
		http->proxied = line->value[0] != '\0';
	}
	else if (strcmp(line->key, "proxy_user") == 0)
		RC_HTTP_SETOPT(http, CURLOPT_PROXYUSERNAME, line->value);
	else if (strcmp(line->key, "proxy_password") == 0)
		RC_HTTP_SETOPT(http, CURLOPT_PROXYPASSWORD, line->value);
	else if (strcmp(line->key, "ca_file") == 0)
		RC_HTTP_SETOPT(http, CURLOPT_CAINFO, line->value);
	else
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("unrecognized key in line %d of the file that \"%s\" names",
						line->line, SETTING),
				 errdetail_log("The key is \"%s\".", line->key),
				 errhint("Keys are api_key, api_key.host, proxy, proxy_user, proxy_password and ca_file.")));
}

/*
 * Read a list of hosts.  A malformed one is an error: it must not match more
 * hosts.
 */
static void
add_key_hosts(RcHttp *http, const RcConfigLine *line)
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
		http->key_hosts = lappend(http->key_hosts, origin);
	}
	if (item != NULL || http->key_hosts == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid \"api_key.host\" in line %d of the file that \"%s\" names",
						line->line, SETTING),
				 errhint("Use host, host:port or https://host:port, separated by commas.")));
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

/* Is this one of the origins that are allowed? */
static bool
matches(const Origin *allowed, const Origin *origin)
{
	return (allowed->scheme == NULL ||
			pg_strcasecmp(allowed->scheme, origin->scheme) == 0) &&
		(allowed->port == NULL || strcmp(allowed->port, origin->port) == 0) &&
		pg_strcasecmp(allowed->host, origin->host) == 0;
}
