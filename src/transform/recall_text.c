/*-------------------------------------------------------------------------
 *
 * recall_text.c
 *	  The rules for texts of a recall: line breaks and lists, the
 *	  identification of products, the GTINs in it.
 *
 * The marks were found in the data: V2 writes a line break as "¤" and
 * separates items of a list by "|"; an identification consists of groups
 * "GTIN$lot$kind of date$from$to" joined by "|".  All text is UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "record_fields.h"
#include "transform/fold.h"
#include "transform/recall.h"

/* One GTIN found in a text. */
typedef struct Gtin
{
	uint64		code;			/* its digits with a 1 in front, to keep
								 * leading zeros */
	const char *at;
	int			len;
} Gtin;

static size_t plain_run(const char *str, const char *end, bool is_list);
static int	find_gtins(const char *str, Gtin **gtins);
static bool gtin_is_valid(const char *digits, int len);
static int	compare_gtin_code(const void *a, const void *b);
static int	compare_gtin_place(const void *a, const void *b);

/*
 * Append a text with its line breaks as LF and, with "fold", in ASCII.
 *
 * A line break is "¤", CRLF or a single CR; in a list also "|".
 */
void
rc_recall_lines(StringInfo out, const char *str, size_t len, bool is_list,
				bool fold)
{
	const char *end = str + len;

	enlargeStringInfo(out, len);
	while (str < end)
	{
		size_t		run = plain_run(str, end, is_list);
		const char *folded = NULL;

		appendBinaryStringInfo(out, str, run);
		str += run;
		if (str == end)
			break;
		run = 1;
		if (!IS_HIGHBIT_SET(*str))
		{
			folded = "\n";
			run = str[0] == '\r' && end - str > 1 && str[1] == '\n' ? 2 : 1;
		}
		else
		{
			run = pg_utf_mblen((const unsigned char *) str);
			if (str[0] == '\xC2' && str[1] == '\xA4')
				folded = "\n";	/* "¤" */
			else if (fold)
				folded = rc_fold_char((const unsigned char *) str, run);
		}
		if (folded != NULL)
			appendStringInfoString(out, folded);
		else
			appendBinaryStringInfo(out, str, run);
		str += run;
	}
}

/* Count the bytes that the text begins with and that are copied. */
static size_t
plain_run(const char *str, const char *end, bool is_list)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 tops = UINT64CONST(0x8080808080808080);
	const char	bar = is_list ? '|' : '\r';
	const char *at = str;
	uint64		word;

	while (end - at >= (ptrdiff_t) sizeof(word))
	{
		uint64		cr;
		uint64		item;

		memcpy(&word, at, sizeof(word));
		cr = word ^ (ones * '\r');
		item = word ^ (ones * bar);
		if ((word | ((cr - ones) & ~cr) | ((item - ones) & ~item)) & tops)
			break;
		at += sizeof(word);
	}
	while (at < end && !IS_HIGHBIT_SET(*at) && *at != '\r' && *at != bar)
		at++;
	return at - str;
}

/*
 * Convert the marks of an identification to plain text, in place.
 *
 * "|" becomes LF and "$" a space; several spaces become one, and spaces at
 * the ends of a line are removed.  So both forms that the API has had, one
 * string and an array of its parts, give the same text.
 */
void
rc_recall_identification(StringInfo str)
{
	char	   *to = str->data;
	bool		line_start = true;
	bool		space = false;

	for (const char *from = str->data; *from != '\0'; from++)
	{
		if (*from == ' ' || *from == '$')
			space = true;
		else if (*from == '|' || *from == '\n')
		{
			*to++ = '\n';
			space = false;
			line_start = true;
		}
		else
		{
			if (space && !line_start)
				*to++ = ' ';
			*to++ = *from;
			space = false;
			line_start = false;
		}
	}
	*to = '\0';
	str->len = to - str->data;
}

/*
 * Append the GTINs in str as a JSON array of strings, in their order and
 * without repeats; nothing if there is none.
 *
 * A GTIN is a maximal run of 8, 12, 13 or 14 digits with a valid check digit
 * (GS1 General Specifications, "Check digit calculations").
 */
void
rc_recall_gtins(StringInfo out, const char *str)
{
	Gtin	   *gtins;
	int			n = find_gtins(str, &gtins);
	int			kept = 0;

	if (n == 0)
		return;
	qsort(gtins, n, sizeof(Gtin), compare_gtin_code);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || gtins[i].code != gtins[kept - 1].code)
			gtins[kept++] = gtins[i];
	}
	qsort(gtins, kept, sizeof(Gtin), compare_gtin_place);

	for (int i = 0; i < kept; i++)
	{
		appendStringInfoChar(out, i == 0 ? '[' : ',');
		rc_json_write_string(out, gtins[i].at, gtins[i].len);
	}
	appendStringInfoChar(out, ']');
	pfree(gtins);
}

/* Find the GTINs in str; *gtins is palloc'd if there is one. */
static int
find_gtins(const char *str, Gtin **gtins)
{
	int			n = 0;
	int			room = 0;

	*gtins = NULL;
	while (*str != '\0')
	{
		size_t		len = 0;

		while (str[len] >= '0' && str[len] <= '9')
			len++;
		if (len == 0)
		{
			str++;
			continue;
		}
		if (gtin_is_valid(str, Min(len, 15)))
		{
			Gtin	   *gtin;

			if (n == room)
			{
				room = room == 0 ? 16 : room * 2;
				*gtins = *gtins == NULL ? palloc(room * sizeof(Gtin)) :
					repalloc(*gtins, room * sizeof(Gtin));
			}
			gtin = &(*gtins)[n++];
			gtin->at = str;
			gtin->len = len;
			gtin->code = 1;
			for (size_t i = 0; i < len; i++)
				gtin->code = gtin->code * 10 + (str[i] - '0');
		}
		str += len;
	}
	return n;
}

/*
 * Is this run of digits a GTIN?  The sum of all digits, with weights 1, 3, 1,
 * .. from the right, must be a multiple of ten.
 */
static bool
gtin_is_valid(const char *digits, int len)
{
	int			sum = 0;

	if (len != 8 && len != 12 && len != 13 && len != 14)
		return false;
	for (int i = 0; i < len; i++)
		sum += (digits[len - 1 - i] - '0') * (i % 2 == 1 ? 3 : 1);
	return sum % 10 == 0;
}

/* Sort by code, then by position in the text. */
static int
compare_gtin_code(const void *a, const void *b)
{
	const Gtin *x = a;
	const Gtin *y = b;

	if (x->code != y->code)
		return x->code < y->code ? -1 : 1;
	return compare_gtin_place(a, b);
}

/* Sort by position in the text. */
static int
compare_gtin_place(const void *a, const void *b)
{
	const char *x = ((const Gtin *) a)->at;
	const char *y = ((const Gtin *) b)->at;

	return x < y ? -1 : x > y ? 1 : 0;
}
