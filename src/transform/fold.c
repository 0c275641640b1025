/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  Folds text to ASCII: Latin, Greek and Cyrillic letters, punctuation,
 *	  currency signs and forms of numbers, as the Python package Unidecode
 *	  does.
 *
 * Other letters, marks, numbers and punctuation are kept, so that text in
 * other scripts is not lost; other symbols and invisible characters are
 * removed.
 *
 * The result must depend on the text alone, never on a locale or a setting:
 * the SQL function is immutable and used in indexes.  A change of the table
 * needs a REINDEX, which the release notes have to ask for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "transform/fold.h"
#include "transform/fold_table.h"

/* From here on there are only tags and private-use characters. */
#define FOLD_PLANE_OF_TAGS	0xE0000

static size_t fold_ascii_run(const char *s, size_t len);

/*
 * Fold UTF-8 text of len bytes.  Returns a palloc'd, null-terminated string;
 * its length is stored in *out_len unless that is NULL.  Bytes that are not
 * UTF-8 are removed: a caller for which that matters must check the encoding.
 * Raises only out-of-memory errors.
 */
char *
rc_fold_utf8(const char *str, size_t len, size_t *out_len)
{
	/* few characters become longer, so this is nearly always enough */
	size_t		room = len + 16;
	char	   *out = palloc(room + 1);
	size_t		used = 0;
	size_t		at = 0;

	while (at < len)
	{
		size_t		add = fold_ascii_run(str + at, len - at);
		const char *from = str + at;

		if (add > 0)
			at += add;
		else
		{
			int			mblen = pg_encoding_mblen(PG_UTF8, from);
			const char *folded;

			if ((size_t) mblen > len - at)
				break;
			at += mblen;
			add = mblen;
			folded = rc_fold_char((const unsigned char *) from, mblen);
			if (folded != NULL)
			{
				from = folded;
				add = strlen(folded);
			}
		}
		if (add > room - used)
		{
			room = used + add + (len - at) + room / 2;
			out = repalloc(out, room + 1);
		}
		memcpy(out + used, from, add);
		used += add;
	}
	out[used] = '\0';
	if (out_len != NULL)
		*out_len = used;
	return out;
}

/* Count the ASCII bytes that the text begins with. */
static size_t
fold_ascii_run(const char *s, size_t len)
{
	size_t		n = 0;
	uint64		chunk;

	while (len - n >= sizeof(chunk))
	{
		memcpy(&chunk, s + n, sizeof(chunk));
		if (chunk & UINT64CONST(0x8080808080808080))
			break;
		n += sizeof(chunk);
	}
	while (n < len && !IS_HIGHBIT_SET(s[n]))
		n++;
	return n;
}

/* Fold a non-ASCII character; NULL if it is kept. */
const char *
rc_fold_char(const unsigned char *s, int len)
{
	pg_wchar	c;
	uint16		offset;

	if (!pg_utf8_islegal(s, len))
		return "";
	c = utf8_to_unicode(s);
	if (c >= FOLD_PLANE_OF_TAGS)
		return "";
	if (c >= FOLD_LIMIT)
		return NULL;
	offset = fold_offset[fold_block[c / FOLD_BLOCK_SIZE]][c % FOLD_BLOCK_SIZE];
	return offset == FOLD_KEEP ? NULL : fold_pool + offset;
}
