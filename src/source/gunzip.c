/*-------------------------------------------------------------------------
 *
 * gunzip.c
 *	  Decompresses the body of an HTTP response while it is received.
 *
 * libcurl could do it, but treats a truncated body as complete, and stops at
 * the second of several gzip members.
 *
 * Called from libcurl's callbacks: it must not call palloc, ereport or
 * anything else of PostgreSQL that may throw.  It must not hold more than one
 * piece of the compressed body, nor decompress more of it than there is room
 * for: a few bytes can expand to gigabytes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <zlib.h>

#include "source/gunzip.h"

#define GZIP_ONLY	(15 + 16)	/* window bits: the largest, with a header */

struct RcGunzip
{
	z_stream	stream;
	unsigned char *input;		/* the current piece; malloc'd */
	size_t		capacity;
	bool		in_member;		/* part of a member has been read */
	bool		between;		/* a member has ended, and no byte followed */
	bool		full;			/* the last call had no room for all output */
};

/*
 * Create a decompressor for one body, malloc'd; NULL without memory.
 * rc_gunzip_close() frees it.
 */
RcGunzip *
rc_gunzip_open(void)
{
	RcGunzip   *gunzip = calloc(1, sizeof(RcGunzip));

	if (gunzip != NULL && inflateInit2(&gunzip->stream, GZIP_ONLY) != Z_OK)
	{
		free(gunzip);
		gunzip = NULL;
	}
	return gunzip;
}

/* Free it; NULL is accepted. */
void
rc_gunzip_close(RcGunzip *gunzip)
{
	if (gunzip == NULL)
		return;
	inflateEnd(&gunzip->stream);
	free(gunzip->input);
	free(gunzip);
}

/*
 * Add the next piece of the body; only when nothing is pending.  Returns
 * false without memory.
 */
bool
rc_gunzip_put(RcGunzip *gunzip, const char *data, size_t len)
{
	Assert(!rc_gunzip_pending(gunzip));
	if (len > gunzip->capacity)
	{
		unsigned char *input = realloc(gunzip->input, len);

		if (input == NULL)
			return false;
		gunzip->input = input;
		gunzip->capacity = len;
	}
	memcpy(gunzip->input, data, len);
	gunzip->stream.next_in = gunzip->input;
	gunzip->stream.avail_in = (uInt) len;
	return true;
}

/* Can rc_gunzip_get() return more? */
bool
rc_gunzip_pending(const RcGunzip *gunzip)
{
	return gunzip->stream.avail_in > 0 || gunzip->full;
}

/*
 * Decompress pending input into "room" bytes at "to", and set *len to their
 * number.  Returns false if the input is not valid gzip, or without memory.
 */
bool
rc_gunzip_get(RcGunzip *gunzip, char *to, size_t room, size_t *len)
{
	z_stream   *stream = &gunzip->stream;

	stream->next_out = (Bytef *) to;
	stream->avail_out = (uInt) Min(room, (size_t) PG_INT32_MAX);
	room = stream->avail_out;
	while (stream->avail_out > 0 && rc_gunzip_pending(gunzip))
	{
		int			code;

		/* a member can be followed by padding of zeros */
		if (gunzip->between && *stream->next_in == 0)
		{
			stream->next_in++;
			stream->avail_in--;
			continue;
		}
		gunzip->between = false;
		gunzip->in_member = true;
		code = inflate(stream, Z_NO_FLUSH);
		gunzip->full = stream->avail_out == 0 && code == Z_OK;
		if (code == Z_STREAM_END)
		{
			gunzip->in_member = false;
			gunzip->between = true;
			if (inflateReset(stream) != Z_OK)
				return false;
		}
		else if (code == Z_BUF_ERROR)
			gunzip->full = false;	/* it needs more input */
		else if (code != Z_OK)
			return false;
	}
	*len = room - stream->avail_out;
	return true;
}

/* Is the body complete, that is: ended after a member, or empty? */
bool
rc_gunzip_whole(const RcGunzip *gunzip)
{
	return !gunzip->in_member && !rc_gunzip_pending(gunzip);
}
