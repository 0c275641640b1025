/*-------------------------------------------------------------------------
 *
 * host.c
 *	  What may stand for a host and a port, in an address of HTTP and in the
 *	  list of brokers.
 *
 * The rules are those of names in the DNS, and of addresses.  It asks nobody
 * whether such a host exists.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <arpa/inet.h>

#define DIGITS		"0123456789"
#define HEX_DIGITS	DIGITS "abcdefABCDEF"
#define LABEL_CHARS	HEX_DIGITS "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ_-"

/* RFC 1035, without the point that may end a name. */
#define MAX_NAME	253
#define MAX_LABEL	63

static bool is_port(const char *text, size_t len);
static bool is_name(const char *text, size_t len);

/*
 * Is this, up to len, "host", "host:port", "[::1]" or "[::1]:port"?
 */
bool
rc_is_host(const char *host, size_t len)
{
	const char *end;
	size_t		at;

	if (len > 0 && host[0] == '[')
	{
		char		address[INET6_ADDRSTRLEN];
		struct in6_addr in6;

		end = memchr(host, ']', len);
		if (end == NULL || end - host > sizeof(address))
			return false;
		strlcpy(address, host + 1, end - host);
		if (inet_pton(AF_INET6, address, &in6) != 1)
			return false;
		at = end - host + 1;
	}
	else
	{
		end = memchr(host, ':', len);
		at = end != NULL ? end - host : len;
		if (!is_name(host, at))
			return false;
	}
	return at == len || (host[at] == ':' && is_port(host + at + 1, len - at - 1));
}

static bool
is_port(const char *text, size_t len)
{
	int			port = 0;

	if (len < 1 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (text[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

/*
 * Labels between points.  Where the last one is a number the whole is an
 * address of version 4, in one of the forms that inet_aton() takes, or none.
 */
static bool
is_name(const char *text, size_t len)
{
	char		name[MAX_NAME + 1];
	char	   *label;
	size_t		label_len;
	struct in_addr in;

	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > MAX_NAME)
		return false;
	strlcpy(name, text, len + 1);
	for (label = name;; label += label_len + 1)
	{
		label_len = strcspn(label, ".");
		if (label_len < 1 || label_len > MAX_LABEL || label[0] == '-' ||
			label[label_len - 1] == '-' ||
			strspn(label, LABEL_CHARS) < label_len)
			return false;
		if (label[label_len] == '\0')
			break;
	}
	if (strspn(label, DIGITS) == label_len ||
		(pg_strncasecmp(label, "0x", 2) == 0 &&
		 strspn(label + 2, HEX_DIGITS) == label_len - 2))
		return inet_aton(name, &in) != 0;
	return true;
}
