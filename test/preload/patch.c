/*
 * patch.c
 *	  For LD_PRELOAD: patches a byte of a library's constants when the server
 *	  loads it, as RC_TEST_PATCH="NAME AT VALUE HEX": in the library whose path
 *	  contains NAME, of the bytes that HEX says, the one AT gets this VALUE.
 *
 * It must patch one place or end the server: a test that patches nothing would
 * show nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void *(*Open) (const char *, int);

/* Patch one mapping; returns the number of places. */
static int
patch_mapping(char *from, char *to, const char *bytes, size_t len, int at,
			  int value)
{
	long		page = sysconf(_SC_PAGESIZE);
	int			places = 0;
	char	   *place;

	while (to - from >= (long) len &&
		   (place = memmem(from, to - from, bytes, len)) != NULL)
	{
		char	   *start = (char *) ((unsigned long) (place + at) & ~(page - 1));

		if (mprotect(start, page, PROT_READ | PROT_WRITE) != 0)
			abort();
		place[at] = value;
		places++;
		from = place + len;
	}
	return places;
}

static void
patch(void)
{
	const char *order = getenv("RC_TEST_PATCH");
	FILE	   *maps = fopen("/proc/self/maps", "r");
	char		name[64];
	char		hex[256];
	char		line[4096];
	char		bytes[sizeof(hex) / 2];
	int			at;
	int			value;
	int			places = 0;
	size_t		len;

	if (order == NULL || maps == NULL ||
		sscanf(order, "%63s %d %d %255s", name, &at, &value, hex) != 4)
		abort();
	len = strlen(hex) / 2;
	for (size_t i = 0; i < len; i++)
	{
		unsigned int byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			abort();
		bytes[i] = (char) byte;
	}
	while (fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long from;
		unsigned long to;

		if (strstr(line, name) != NULL &&
			sscanf(line, "%lx-%lx r--p", &from, &to) == 2 &&
			strstr(line, " r--p ") != NULL)
			places += patch_mapping((char *) from, (char *) to, bytes, len,
									at, value);
	}
	fclose(maps);
	if (places != 1)
	{
		fprintf(stderr, "patch: found %d places\n", places);
		abort();
	}
}

void *
dlopen(const char *path, int flags)
{
	Open		real = (Open) dlsym(RTLD_NEXT, "dlopen");
	void	   *handle = real(path, flags);

	if (handle != NULL && path != NULL && strstr(path, "/rappel_conso.so") != NULL)
		patch();
	return handle;
}
