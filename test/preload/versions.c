/*
 * versions.c
 *	  For LD_PRELOAD: libraries that report the versions that a file gives them,
 *	  in lines such as "cJSON 1.7.1".  RC_TEST_VERSIONS is its path; it is read
 *	  at each call.  A library that is not named there is what it is.
 *
 * It must report nothing but a version: what the server does with the library
 * is up to the real one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <librdkafka/rdkafka.h>

/*
 * The real function.  A library that the server has loaded by dlopen() is not
 * searched by RTLD_NEXT, so it is named.
 */
static void *
real(const char *library, const char *name)
{
	void	   *handle = dlopen(library, RTLD_LAZY);
	void	   *function = handle != NULL ? dlsym(handle, name) : NULL;

	if (function == NULL)
		abort();
	return function;
}

/* The version in the file; NULL if there is none.  It stays as it is. */
static const char *
version_of(const char *library)
{
	const char *path = getenv("RC_TEST_VERSIONS");
	FILE	   *file = path != NULL ? fopen(path, "r") : NULL;
	char		name[64];
	char		version[64];
	const char *found = NULL;

	while (file != NULL && found == NULL &&
		   fscanf(file, "%63s %63s", name, version) == 2)
	{
		if (strcmp(name, library) == 0)
			found = strdup(version);
	}
	if (file != NULL)
		fclose(file);
	return found;
}

curl_version_info_data *
curl_version_info(CURLversion age)
{
	static curl_version_info_data info;
	const char *version = version_of("libcurl");
	curl_version_info_data *(*call) (CURLversion) =
		real("libcurl.so.4", "curl_version_info");

	info = *call(age);
	if (version != NULL)
		info.version = version;
	return &info;
}

const char *
cJSON_Version(void)
{
	const char *version = version_of("cJSON");
	const char *(*call) (void) = real("libcjson.so.1", "cJSON_Version");

	return version != NULL ? version : call();
}

const char *
rd_kafka_version_str(void)
{
	const char *version = version_of("librdkafka");
	const char *(*call) (void) = real("librdkafka.so.1", "rd_kafka_version_str");

	return version != NULL ? version : call();
}
