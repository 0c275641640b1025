/*-------------------------------------------------------------------------
 *
 * host.c
 *	  The syntax of a host and port, in a URL and in the list of brokers.
 *
 * The rules are those of DNS names and of IP addresses.  No name is resolved:
 * this runs in check hooks and triggers, which must not wait for the network.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <arpa/inet.h>

#define DIGITS		"0123456789"
#define HEX_DIGITS	DIGITS "abcdefABCDEF"
#define LABEL_CHARS	HEX_DIGITS "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ_-"

/* RFC 1035; a dot at the end of a name does not count. */
#define MAX_NAME	253
#define MAX_LABEL	63

static bool is_port(const char *text, size_t len);
static bool is_name(const char *text, size_t len);

/*
 * Are the first len bytes "host", "host:port", "[::1]" or "[::1]:port"?
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
 * Is this a DNS name or an IPv4 address?  If the last label is a number it
 * must be an address, in one of the forms that inet_aton() takes.
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
