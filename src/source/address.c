/*-------------------------------------------------------------------------
 *
 * address.c
 *	  Checks the url and the dataset of a source.
 *
 * Paths and parameters are appended to the url, and the dataset becomes part
 * of the path, so neither may contain characters that change the meaning of
 * the result.  A url may contain no password, since roles that may only
 * monitor can read it.  The rules are stricter than those of URLs, so that no
 * two parsers can read a different host.  No error may show a url that can
 * contain a secret.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "rappel_conso.h"
#include "source/address.h"

#define DIGITS		"0123456789"
#define LETTERS		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define PATH_CHARS	LETTERS DIGITS "-._~!$&'()*+,;=:@/"
#define NAME_CHARS	LETTERS DIGITS "_@.-"
/* Maximal lengths in bytes. */
#define MAX_URL		2000
#define MAX_DATASET	255

#define API_BASE	"https://data.economie.gouv.fr/api/explore/v2.1"

static void check_length(const char *source, const char *column,
						 const char *value, size_t most);
static const char *after_scheme(const char *url);
static void refuse_secrets(const char *source, const char *url);
static void check_characters(const char *source, const char *url);
static void check_path(const char *source, const char *path);

/*
 * Check the url and dataset of a source.  "source" is its name, for messages.
 *
 * Errors: 22023.
 */
void
rc_address_check(const char *source, const char *url, const char *dataset)
{
	const char *host = after_scheme(url);
	size_t		len = host != NULL ? strcspn(host, "/") : 0;

	check_length(source, "url", url, MAX_URL);
	refuse_secrets(source, url);
	if (host != NULL)
		check_characters(source, host);
	if (host == NULL || !rc_is_host(host, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("url of source \"%s\" is not a valid HTTP URL: \"%s\"",
						source, url),
				 host == NULL ? 0 :
				 errdetail("\"%.*s\" is neither a host nor a host and port.",
						   (int) len, host),
				 errhint("Use the base URL of an Explore API, such as %s.", API_BASE)));
	check_path(source, host + len);

	check_length(source, "dataset", dataset, MAX_DATASET);
	if (dataset[0] == '\0' || dataset[strspn(dataset, NAME_CHARS)] != '\0' ||
		dataset[strspn(dataset, ".")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dataset of source \"%s\" is not a valid identifier: \"%s\"",
						source, dataset),
				 errhint("Use letters, digits, hyphens and underscores, as in the address of the dataset's page.")));
}

/* Servers reject longer URLs.  The error does not show the value. */
static void
check_length(const char *source, const char *column, const char *value,
			 size_t most)
{
	if (strlen(value) > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of source \"%s\" is too long", column, source),
				 errdetail("The limit is %zu bytes.", most),
				 errhint("Use the base URL of an Explore API, such as %s; the identifier of a dataset is one word.",
						 API_BASE)));
}

/*
 * The rest of a URL after "http://" or "https://"; NULL if it begins
 * otherwise.
 */
static const char *
after_scheme(const char *url)
{
	if (pg_strncasecmp(url, "http://", 7) == 0)
		return url + 7;
	if (pg_strncasecmp(url, "https://", 8) == 0)
		return url + 8;
	return NULL;
}

/*
 * Reject a url with a user, a password or parameters, which can be an API
 * key.  The error does not show the url.
 */
static void
refuse_secrets(const char *source, const char *url)
{
	const char *host = after_scheme(url);
	size_t		len = host != NULL ? strcspn(host, "/?#") : 0;

	/* an "@" after a valid host is not the end of a user name */
	if (strchr(url, '@') != NULL &&
		(host == NULL || !rc_is_host(host, len)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("url of source \"%s\" contains a user name or a password",
						source),
				 errhint("Credentials belong in the file that \"%s\" names.",
						 "rappel_conso.http_config_file")));
	if (strpbrk(url, "?#") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 *strpbrk(url, "?#") == '?' ?
				 errmsg("url of source \"%s\" contains a query string", source) :
				 errmsg("url of source \"%s\" contains a fragment", source),
				 errhint("Use the base URL of an Explore API, such as %s; conditions belong in the column filter.",
						 API_BASE)));
}

/*
 * Reject spaces, control characters, percent-encodings and other characters
 * that are not allowed in the path.
 */
static void
check_characters(const char *source, const char *url)
{
	const char *bad = url + strspn(url, PATH_CHARS "[]");
	int			len = pg_mblen(bad);

	if (*bad == '\0')
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 (unsigned char) *bad <= ' ' || *bad == 0x7f ?
			 errmsg("url of source \"%s\" contains a blank or a control character",
					source) :
			 errmsg("url of source \"%s\" contains the character \"%.*s\"",
					source, len, bad),
			 errhint("Percent-encoding is not supported; write the host name in ASCII. Use the base URL of an Explore API, such as %s.",
					 API_BASE)));
}

/*
 * Reject a path with "." or "..", which would lead elsewhere, or with
 * brackets.
 */
static void
check_path(const char *source, const char *path)
{
	while (*path == '/')
	{
		size_t		len = strcspn(++path, "/");

		if (strcspn(path, "[]") < len ||
			(len > 0 && len <= 2 && strspn(path, ".") == len))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("url of source \"%s\" contains \"%.*s\" in its path",
							source, (int) len, path),
					 errhint("Use the base URL of an Explore API, such as %s.", API_BASE)));
		path += len;
	}
}
