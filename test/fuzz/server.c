/*
 * server.c
 *	  The functions of the server that src/debezium calls, without the server:
 *	  memory, growing texts, and what is known of encodings.
 *
 * Memory is that of malloc(), so that the compiler's sanitizers see each piece
 * by itself; what has not been freed goes with fuzz_forget(), as it does with
 * a memory context.  An allocation beyond the server's limit ends the program:
 * the server would raise an error.
 */
#include "server.h"

#include <stdarg.h>

/* What palloc() and StringInfo allow. */
#define MOST	((Size) 0x3fffffff)

typedef struct Piece
{
	struct Piece *next;
	struct Piece *previous;
	max_align_t data[];
} Piece;

static Piece pieces = {&pieces, &pieces};
static int	encoding = PG_UTF8;

void
fuzz_encoding(int is)
{
	encoding = is;
}

int
GetDatabaseEncoding(void)
{
	return encoding;
}

static void
link_piece(Piece *piece)
{
	piece->next = pieces.next;
	piece->previous = &pieces;
	piece->next->previous = piece;
	pieces.next = piece;
}

static void
unlink_piece(Piece *piece)
{
	piece->next->previous = piece->previous;
	piece->previous->next = piece->next;
}

void *
palloc(Size size)
{
	Piece	   *piece;

	if (size > MOST)
		abort();
	piece = malloc(sizeof(Piece) + size);
	if (piece == NULL)
		abort();
	memset(piece->data, 0x7F, size);
	link_piece(piece);
	return piece->data;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *pointer, Size size)
{
	Piece	   *piece = (Piece *) ((char *) pointer - offsetof(Piece, data));

	if (size > MOST)
		abort();
	unlink_piece(piece);
	piece = realloc(piece, sizeof(Piece) + size);
	if (piece == NULL)
		abort();
	link_piece(piece);
	return piece->data;
}

void
pfree(void *pointer)
{
	Piece	   *piece = (Piece *) ((char *) pointer - offsetof(Piece, data));

	unlink_piece(piece);
	free(piece);
}

char *
pstrdup(const char *text)
{
	return strcpy(palloc(strlen(text) + 1), text);
}

char *
pnstrdup(const char *text, Size len)
{
	Size		n = strnlen(text, len);
	char	   *copy = palloc(n + 1);

	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

/* Of what is wrong with a value: a sentence. */
char *
psprintf(const char *format,...)
{
	char	   *text = palloc(1024);
	va_list		args;

	va_start(args, format);
	vsnprintf(text, 1024, format, args);
	va_end(args);
	return text;
}

/* Free all that there is. */
void
fuzz_forget(void)
{
	while (pieces.next != &pieces)
		pfree(pieces.next->data);
}

void
initStringInfo(StringInfo text)
{
	text->maxlen = 64;
	text->data = palloc(text->maxlen);
	resetStringInfo(text);
}

void
resetStringInfo(StringInfo text)
{
	text->data[0] = '\0';
	text->len = text->cursor = 0;
}

void
enlargeStringInfo(StringInfo text, int needed)
{
	int64		least = (int64) text->len + needed + 1;

	if (needed < 0 || least > MOST)
		abort();
	if (least <= text->maxlen)
		return;
	text->maxlen = Max(least, (int64) text->maxlen * 2);
	text->data = repalloc(text->data, text->maxlen);
}

/* Its prototype differs between majors, its name in the object file does not. */
void		append_binary(StringInfo text, const void *data, int len)
			__asm__("appendBinaryStringInfo");

void
append_binary(StringInfo text, const void *data, int len)
{
	enlargeStringInfo(text, len);
	memcpy(text->data + text->len, data, len);
	text->len += len;
	text->data[text->len] = '\0';
}

void
appendStringInfoString(StringInfo text, const char *more)
{
	appendBinaryStringInfo(text, more, strlen(more));
}

void
appendStringInfoChar(StringInfo text, char c)
{
	appendBinaryStringInfo(text, &c, 1);
}

void
appendStringInfo(StringInfo text, const char *format,...)
{
	char		buffer[4096];
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	if (len < 0 || len >= sizeof(buffer))
		abort();
	appendBinaryStringInfo(text, buffer, len);
}

int
pg_strncasecmp(const char *one, const char *other, size_t n)
{
	for (; n > 0; n--, one++, other++)
	{
		unsigned char a = *one | (*one >= 'A' && *one <= 'Z' ? 0x20 : 0);
		unsigned char b = *other | (*other >= 'A' && *other <= 'Z' ? 0x20 : 0);

		if (a != b || a == '\0')
			return a - b;
	}
	return 0;
}

int
pg_utf_mblen(const unsigned char *s)
{
	return (*s & 0x80) == 0 ? 1 : (*s & 0xE0) == 0xC0 ? 2 :
		(*s & 0xF0) == 0xE0 ? 3 : (*s & 0xF8) == 0xF0 ? 4 : 1;
}

bool
pg_utf8_islegal(const unsigned char *s, int length)
{
	static const pg_wchar least[] = {0, 0, 0x80, 0x800, 0x10000};
	pg_wchar	code;

	if (length < 1 || length > 4)
		return false;
	code = length == 1 ? *s : *s & (0x7F >> length);
	if (length == 1 ? *s >= 0x80 : pg_utf_mblen(s) != length)
		return false;
	for (int i = 1; i < length; i++)
	{
		if ((s[i] & 0xC0) != 0x80)
			return false;
		code = code << 6 | (s[i] & 0x3F);
	}
	return code >= least[length] && code <= 0x10FFFF &&
		(code < 0xD800 || code > 0xDFFF);
}

/* The same: in newer majors it is an inline function. */
unsigned char *to_utf8(pg_wchar code, unsigned char *to)
			__asm__("unicode_to_utf8");

unsigned char *
to_utf8(pg_wchar code, unsigned char *to)
{
	int			n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	static const unsigned char first[] = {0, 0, 0xC0, 0xE0, 0xF0};

	for (int i = n - 1; i > 0; i--, code >>= 6)
		to[i] = 0x80 | (code & 0x3F);
	to[0] = first[n] | code;
	return to;
}
