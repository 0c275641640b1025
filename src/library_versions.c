/*-------------------------------------------------------------------------
 *
 * library_versions.c
 *	  Which versions of foreign libraries the extension needs, when it is
 *	  built and when it is loaded.
 *
 * A library can be replaced after the build, so the one that the process has
 * loaded is compared, too: one that is too old would fail somewhere later, in
 * words that do not say why.  Only functions that report a version may be
 * called here, since this runs in the postmaster (see rappel_conso.c).
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <librdkafka/rdkafka.h>

/* A version in one number that can be compared. */
#define VERSION(major, minor, patch) \
	(((major) << 16) | ((minor) << 8) | (patch))

/*
 * The newest options of libcurl in use: CURLOPT_PREREQFUNCTION (7.80),
 * _PROTOCOLS_STR (7.85) and _QUICK_EXIT (7.87).
 */
#define CURL_NEEDED		VERSION(7, 87, 0)
#if LIBCURL_VERSION_NUM < CURL_NEEDED
#error "rappel_conso needs libcurl 7.87 or newer: without CURLOPT_QUICK_EXIT a worker that is terminated waits for a name to be resolved; see docs/install.md"
#endif

/* cJSON_ParseWithLengthOpts() is of 1.7.13; 1.7.15 is the oldest tried. */
#define CJSON_NEEDED	VERSION(1, 7, 15)
#define CJSON_BUILT \
	VERSION(CJSON_VERSION_MAJOR, CJSON_VERSION_MINOR, CJSON_VERSION_PATCH)
#if CJSON_BUILT < CJSON_NEEDED
#error "rappel_conso needs cJSON 1.7.15 or newer; see docs/install.md"
#endif

/*
 * Properties and functions of 2.0.2 are in use, the oldest tried.  The last
 * byte of its version says which pre-release it is.
 */
#define RDKAFKA_NEEDED	VERSION(2, 0, 2)
#define RDKAFKA_BUILT	(RD_KAFKA_VERSION >> 8)
#if RDKAFKA_BUILT < RDKAFKA_NEEDED
#error "rappel_conso needs librdkafka 2.0.2 or newer; see docs/install.md"
#endif

static void check_library(const char *name, unsigned int needed,
						  unsigned int built, const char *loaded_text);
static unsigned int parse_version(const char *text);
static char *version_text(unsigned int version);

/*
 * Check the libraries that this process has loaded.
 *
 * Errors: 55000.  In the postmaster that is FATAL: the server does not start.
 */
void
rc_library_versions_check(void)
{
	check_library("libcurl", CURL_NEEDED, LIBCURL_VERSION_NUM,
				  curl_version_info(CURLVERSION_NOW)->version);
	check_library("cJSON", CJSON_NEEDED, CJSON_BUILT, cJSON_Version());
	check_library("librdkafka", RDKAFKA_NEEDED, RDKAFKA_BUILT,
				  rd_kafka_version_str());
}

/*
 * Refuse a library that is older than is needed, or than the one whose
 * headers this was built with: libraries are compatible in the other
 * direction only.
 */
static void
check_library(const char *name, unsigned int needed, unsigned int built,
			  const char *loaded_text)
{
	unsigned int loaded = parse_version(loaded_text);

	if (loaded >= Max(needed, built))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s %s is too old for rappel_conso", name, loaded_text),
			 errdetail("rappel_conso " RC_VERSION " needs %s or newer, and was built with %s.",
					   version_text(needed), version_text(built)),
			 loaded >= needed ?
			 errhint("Install %s %s or newer, or build rappel_conso with the headers of the one that is installed; check LD_LIBRARY_PATH of the server.",
					 name, version_text(built)) :
			 errhint("Install %s %s or newer; check LD_LIBRARY_PATH of the server.",
					 name, version_text(Max(needed, built)))));
}

/*
 * "1.7.15" or "8.14.1-DEV" as a number; parts that are missing count as 0.
 */
static unsigned int
parse_version(const char *text)
{
	unsigned int part[3] = {0, 0, 0};

	if (text != NULL)
		(void) sscanf(text, "%u.%u.%u", &part[0], &part[1], &part[2]);
	return VERSION(part[0], part[1], part[2]);
}

static char *
version_text(unsigned int version)
{
	return psprintf("%u.%u.%u", version >> 16, (version >> 8) & 0xff,
					version & 0xff);
}
