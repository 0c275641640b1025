/*-------------------------------------------------------------------------
 *
 * debezium_iso.c
 *	  Dates, times and durations that are texts of ISO 8601.
 *
 * PostgreSQL's input functions take far more ("today", "13:00 PST"), some of it
 * with another meaning each day: only what is ISO 8601 may get through to
 * them, and infinity.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

#define NO_DATE		"is no date of ISO 8601"
#define NO_TIME		"is no time of ISO 8601"
#define NO_DURATION	"is no duration of ISO 8601"

typedef struct Iso
{
	const char *at;
	const char *end;
} Iso;

static const char *append_iso_date(Iso *iso, StringInfo out, bool *bc);
static bool append_iso_time(Iso *iso, bool any_hours, StringInfo out);
static const char *append_duration(Iso *iso, StringInfo out);
static bool append_zone(Iso *iso, bool zoned, StringInfo out);
static bool skip_zone(Iso *iso);
static bool skip_digits(Iso *iso, int least, int most);
static bool skip_char(Iso *iso, char c);
static int	two_digits(const char *at);

/* Append a number, with zeros in front to have a width. */
void
rc_debezium_digits(StringInfo out, uint64 number, int width)
{
	char		digits[20];
	int			n = sizeof(digits);

	for (; number != 0 || width > 0; width--)
	{
		digits[--n] = '0' + number % 10;
		number /= 10;
	}
	appendBinaryStringInfo(out, digits + n, sizeof(digits) - n);
}

const char *
rc_debezium_append_iso(const RcDebeziumType *type, const char *text, int len,
					   StringInfo out)
{
	Iso			iso = {text, text + len};
	const char *wrong;
	bool		bc = false;

	switch (type->kind)
	{
		case RC_DEBEZIUM_DURATION:
			return append_duration(&iso, out);
		case RC_DEBEZIUM_TIME:
			if (!append_iso_time(&iso, true, out) ||
				!append_zone(&iso, type->zoned, out))
				return NO_TIME;
			return NULL;
		default:
			break;
	}
	if ((len == 8 && memcmp(text, "infinity", 8) == 0) ||
		(len == 9 && memcmp(text, "-infinity", 9) == 0))
	{
		appendBinaryStringInfo(out, text, len);
		return NULL;
	}
	wrong = append_iso_date(&iso, out, &bc);
	if (wrong != NULL)
		return wrong;
	if (type->kind == RC_DEBEZIUM_DATE)
	{
		if (!skip_zone(&iso) || iso.at != iso.end)
			return NO_DATE;
	}
	else
	{
		appendStringInfoChar(out, ' ');
		if (!skip_char(&iso, 'T') && !skip_char(&iso, ' '))
			appendStringInfoString(out, "00:00:00");
		else if (!append_iso_time(&iso, false, out))
			return NO_TIME;
		if (!append_zone(&iso, type->zoned, out))
			return NO_TIME;
	}
	if (bc)
		appendStringInfoString(out, " BC");
	return NULL;
}

/* PostgreSQL knows what the letters mean. */
static const char *
append_duration(Iso *iso, StringInfo out)
{
	const char *start = iso->at;

	if (iso->end - iso->at < 2 || !skip_char(iso, 'P'))
		return NO_DURATION;
	for (; iso->at < iso->end; iso->at++)
	{
		if (*iso->at == '\0' || strchr("0123456789YMWDTHS.-+", *iso->at) == NULL)
			return NO_DURATION;
	}
	appendBinaryStringInfo(out, start, iso->end - start);
	return NULL;
}

/* The year 0 is 1 BC; years of more than four digits have a sign. */
static const char *
append_iso_date(Iso *iso, StringInfo out, bool *bc)
{
	bool		minus = skip_char(iso, '-');
	const char *digits;
	int64		year = 0;

	if (!minus)
		(void) skip_char(iso, '+');
	digits = iso->at;
	if (!skip_digits(iso, 4, 9))
		return NO_DATE;
	for (; digits < iso->at; digits++)
		year = year * 10 + (*digits - '0');
	digits = iso->at;
	if (!skip_char(iso, '-') || !skip_digits(iso, 2, 2) ||
		!skip_char(iso, '-') || !skip_digits(iso, 2, 2))
		return NO_DATE;
	if (two_digits(digits + 1) == 0 || two_digits(digits + 4) == 0)
		return "is a zero date, which PostgreSQL does not have";
	*bc = minus || year == 0;
	rc_debezium_digits(out, *bc ? year + 1 : year, 4);
	appendBinaryStringInfo(out, digits, iso->at - digits);
	return NULL;
}

/* Seconds may be missing; hours are any number, with a sign, in MySQL. */
static bool
append_iso_time(Iso *iso, bool any_hours, StringInfo out)
{
	const char *start = iso->at;

	if (any_hours)
		(void) skip_char(iso, '-');
	if (!skip_digits(iso, 2, any_hours ? 9 : 2) || !skip_char(iso, ':') ||
		!skip_digits(iso, 2, 2))
		return false;
	if (skip_char(iso, ':'))
	{
		if (!skip_digits(iso, 2, 2))
			return false;
		if (skip_char(iso, '.') && !skip_digits(iso, 1, 9))
			return false;
	}
	appendBinaryStringInfo(out, start, iso->at - start);
	return true;
}

/* Append the zone, which ends the text; if it has none, perhaps that of UTC. */
static bool
append_zone(Iso *iso, bool zoned, StringInfo out)
{
	const char *start = iso->at;

	if (!skip_zone(iso) || iso->at != iso->end)
		return false;
	if (start < iso->end)
		appendBinaryStringInfo(out, start, iso->end - start);
	else if (zoned)
		appendStringInfoString(out, "+00");
	return true;
}

/* Z, +02, +02:00, +0200, +02:00:30 or nothing. */
static bool
skip_zone(Iso *iso)
{
	if (iso->at == iso->end || skip_char(iso, 'Z'))
		return true;
	if ((!skip_char(iso, '+') && !skip_char(iso, '-')) ||
		!skip_digits(iso, 2, 2))
		return false;
	for (int i = 0; i < 2 && iso->at < iso->end; i++)
	{
		(void) skip_char(iso, ':');
		if (!skip_digits(iso, 2, 2))
			return false;
	}
	return true;
}

static bool
skip_digits(Iso *iso, int least, int most)
{
	int			n = 0;

	while (iso->at < iso->end && n < most && *iso->at >= '0' &&
		   *iso->at <= '9')
	{
		iso->at++;
		n++;
	}
	return n >= least;
}

static bool
skip_char(Iso *iso, char c)
{
	if (iso->at == iso->end || *iso->at != c)
		return false;
	iso->at++;
	return true;
}

static int
two_digits(const char *at)
{
	return (at[0] - '0') * 10 + (at[1] - '0');
}
