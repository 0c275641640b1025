/*-------------------------------------------------------------------------
 *
 * recall_dates.c
 *	  Parses dates and times of the V1 and V2 datasets, and writes them in
 *	  ISO 8601: "2021-09-29", "mercredi 29 septembre 2021", "29/09/2021",
 *	  "Du 19/03/2020 au 29/07/2021".
 *
 * Only existing dates of the years 1 to 9999 are accepted.  A typo such as
 * year 2323 is such a date and is kept.  A weekday is not compared with its
 * date.
 *
 * Nothing here may depend on a clock, time zone or locale, or guess: a text
 * of another form is not a date.  It must not be left to the server's input
 * function, which accepts "today", and "01/02/26" by DateStyle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datetime.h"

#include "transform/recall.h"

/* Room for the texts that are dates. */
#define SIMPLE_ROOM		128

typedef struct Date
{
	int			year;
	int			month;
	int			day;
} Date;

typedef struct Time
{
	int			minute;			/* of the day, in UTC; can be negative */
	int			second;
	char		fraction[16];	/* with its decimal point; "" if there is none */
} Time;

static char *simplify(const char *str, size_t len, char *room);
static const char *simplify_character(const char *from, int len);
static bool read_date_and_time(const char *str, size_t len, Date *date,
							   Time *time);
static bool read_iso_date(const char **at, Date *date);
static bool read_date(const char **at, Date *date);
static bool read_french_date(const char **at, Date *date);
static bool read_time(const char **at, Time *time);
static bool read_fraction(const char **at, char *fraction);
static bool read_zone(const char **at, int *minutes);
static bool read_number(const char **at, int min_digits, int max_digits,
						int *number);
static bool read_word(const char **at, const char *word);
static int	read_one_of(const char **at, const char *const *words, int n);
static inline bool date_exists(const Date *date);
static void write_date(const Date *date, char *iso);

/*
 * Write the date in str as YYYY-MM-DD into iso (RC_DATE_ROOM bytes).  For an
 * ISO timestamp that is its date part, as the server's date type reads it.
 * Returns false, and leaves iso unchanged, if str is not a date.
 */
bool
rc_recall_date(const char *str, size_t len, char *iso)
{
	Date		date;
	Time		time;

	if (rc_copy_iso_date(str, len, iso))
		return true;
	if (!read_date_and_time(str, len, &date, &time))
		return false;
	write_date(&date, iso);
	return true;
}

/*
 * Write the time in str as an ISO timestamp in UTC into iso (RC_DATE_ROOM
 * bytes).
 *
 * A date without a time is midnight; a time without a zone is in UTC.
 * Returns false, and leaves iso unchanged, if str is not a date or timestamp.
 */
bool
rc_recall_timestamp(const char *str, size_t len, char *iso)
{
	Date		date;
	Time		time;

	if (rc_copy_iso_utc_time(str, len, iso))
		return true;
	if (!read_date_and_time(str, len, &date, &time))
		return false;
	if (time.minute < 0 || time.minute >= 24 * 60)
	{
		int			days = time.minute < 0 ? -1 : 1;

		j2date(date2j(date.year, date.month, date.day) + days,
			   &date.year, &date.month, &date.day);
		time.minute -= days * 24 * 60;
		if (!date_exists(&date))
			return false;
	}
	write_date(&date, iso);
	snprintf(iso + strlen(iso), RC_DATE_ROOM - strlen(iso),
			 "T%02d:%02d:%02d%s+00:00", time.minute / 60, time.minute % 60,
			 time.second, time.fraction);
	return true;
}

/*
 * Write start and end of a sale period of V1 into from and to (RC_DATE_ROOM
 * bytes each); "" for one that is not given.  The forms are "Du .. au ..",
 * "Depuis le .." and "Jusqu'au ..".  Returns false if str has another form.
 */
bool
rc_recall_period(const char *str, size_t len, char *from, char *to)
{
	char		room[SIMPLE_ROOM];
	char	   *simple = simplify(str, len, room);
	const char *at = simple;
	Date		start;
	Date		end;
	bool		has_start = false;
	bool		has_end = false;
	bool		ok;

	if (read_word(&at, "du "))
	{
		has_start = has_end = true;
		ok = read_date(&at, &start) && read_word(&at, " au ") &&
			read_date(&at, &end);
	}
	else if (read_word(&at, "depuis le "))
	{
		has_start = true;
		ok = read_date(&at, &start);
	}
	else
	{
		has_end = true;
		ok = read_word(&at, "jusqu'au ") && read_date(&at, &end);
	}
	ok = ok && *at == '\0';
	if (simple != room)
		pfree(simple);
	if (!ok)
		return false;

	from[0] = to[0] = '\0';
	if (has_start)
		write_date(&start, from);
	if (has_end)
		write_date(&end, to);
	return true;
}

/*
 * Make a copy of str that is easy to parse: ASCII, lower case, one space
 * between words, none at the ends.  Characters that no date contains are kept,
 * so that parsing fails there.  It is in "room", of SIMPLE_ROOM bytes, or
 * palloc'd if that is not enough.
 */
static char *
simplify(const char *str, size_t len, char *room)
{
	char	   *simple = len < SIMPLE_ROOM ? room : palloc(len + 1);
	char	   *to = simple;
	const char *end = str + len;

	while (str < end)
	{
		int			mblen = 1;
		const char *plain = NULL;
		bool		space;

		if (IS_HIGHBIT_SET(*str))
		{
			mblen = pg_utf_mblen((const unsigned char *) str);
			plain = simplify_character(str, mblen);
		}
		space = plain != NULL ? *plain == ' ' :
			*str == ' ' || *str == '\t' || *str == '\r' || *str == '\n';
		if (space && to > simple && to[-1] != ' ')
			*to++ = ' ';
		else if (!space && plain != NULL)
			*to++ = *plain;
		else if (!space)
		{
			memcpy(to, str, mblen);
			*to = pg_ascii_tolower((unsigned char) *to);
			to += mblen;
		}
		str += mblen;
	}
	if (to > simple && to[-1] == ' ')
		to--;
	*to = '\0';
	return simple;
}

/*
 * The ASCII form of a non-ASCII character that occurs in French dates; NULL
 * for another one.  rc_fold_utf8() is not used, since it would make dates of
 * other texts: it converts digits of other scripts and removes characters.
 */
static const char *
simplify_character(const char *from, int len)
{
	static const char *const pairs[][2] = {
		{"\xC3\xA9", "e"},		/* e acute, as in fevrier */
		{"\xC3\x89", "e"},
		{"\xC3\xBB", "u"},		/* u circumflex, as in aout */
		{"\xC3\x9B", "u"},
		{"\xE2\x80\x99", "'"},	/* apostrophe, as in jusqu'au */
		{"\xC2\xA0", " "},		/* no-break space, and the narrow one */
		{"\xE2\x80\xAF", " "}
	};

	for (int i = 0; i < lengthof(pairs); i++)
	{
		if (strlen(pairs[i][0]) == len && memcmp(pairs[i][0], from, len) == 0)
			return pairs[i][1];
	}
	return NULL;
}

/*
 * Parse a whole text as a date, or as an ISO date with a time.  A date
 * without a time is midnight.
 */
static bool
read_date_and_time(const char *str, size_t len, Date *date, Time *time)
{
	char		room[SIMPLE_ROOM];
	char	   *simple = simplify(str, len, room);
	const char *at = simple;
	bool		ok;

	memset(time, 0, sizeof(*time));
	if (read_iso_date(&at, date))
		ok = date_exists(date) && (*at == '\0' || read_time(&at, time));
	else
		ok = read_date(&at, date);
	ok = ok && *at == '\0';
	if (simple != room)
		pfree(simple);
	return ok;
}

/*
 * Parse "2021-09-29", which need not exist; *at moves only if there is one.
 */
static bool
read_iso_date(const char **at, Date *date)
{
	const char *s = *at;

	if (!(read_number(&s, 4, 4, &date->year) && read_word(&s, "-") &&
		  read_number(&s, 2, 2, &date->month) && read_word(&s, "-") &&
		  read_number(&s, 2, 2, &date->day)))
		return false;
	*at = s;
	return true;
}

/* Parse "29/09/2021" or a date in French; *at moves only if there is one. */
static bool
read_date(const char **at, Date *date)
{
	const char *s = *at;

	if (!(read_number(&s, 2, 2, &date->day) && read_word(&s, "/") &&
		  read_number(&s, 2, 2, &date->month) && read_word(&s, "/") &&
		  read_number(&s, 4, 4, &date->year)))
	{
		s = *at;
		if (!read_french_date(&s, date))
			return false;
	}
	if (!date_exists(date))
		return false;
	*at = s;
	return true;
}

/* Parse "[mercredi ]29 septembre 2021"; the first of a month is "1er". */
static bool
read_french_date(const char **at, Date *date)
{
	static const char *const weekdays[] = {
		"lundi ", "mardi ", "mercredi ", "jeudi ", "vendredi ", "samedi ",
		"dimanche "
	};
	static const char *const months[] = {
		" janvier ", " fevrier ", " mars ", " avril ", " mai ", " juin ",
		" juillet ", " aout ", " septembre ", " octobre ", " novembre ",
		" decembre "
	};

	(void) read_one_of(at, weekdays, lengthof(weekdays));
	if (!read_number(at, 1, 2, &date->day))
		return false;
	if (date->day == 1)
		(void) read_word(at, "er");
	date->month = read_one_of(at, months, lengthof(months)) + 1;
	return date->month > 0 && read_number(at, 4, 4, &date->year);
}

/* Parse "T12:54[:40[.5]][zone]"; a space is accepted instead of the T. */
static bool
read_time(const char **at, Time *time)
{
	int			hour;
	int			minute;
	int			zone;

	if (!read_word(at, "t") && !read_word(at, " "))
		return false;
	if (!(read_number(at, 2, 2, &hour) && read_word(at, ":") &&
		  read_number(at, 2, 2, &minute)))
		return false;
	if (read_word(at, ":") &&
		!(read_number(at, 2, 2, &time->second) &&
		  read_fraction(at, time->fraction)))
		return false;
	if (!read_zone(at, &zone))
		return false;
	time->minute = hour * 60 + minute - zone;
	return hour < 24 && minute < 60 && time->second < 60;
}

/*
 * Parse a fraction of a second, if there is one, without the zeros at its
 * end.  Digits beyond the size of "fraction" are ignored.
 */
static bool
read_fraction(const char **at, char *fraction)
{
	size_t		there;
	size_t		digits;

	fraction[0] = '\0';
	if (**at != '.')
		return true;
	there = strspn(*at + 1, "0123456789");
	if (there < 1)
		return false;
	digits = Min(there, 9);
	memcpy(fraction, *at, digits + 1);
	*at += there + 1;
	while (fraction[digits] == '0')
		digits--;
	fraction[digits == 0 ? 0 : digits + 1] = '\0';
	return true;
}

/* Parse "Z", "+02:00", "+0200", "+02" or nothing, as minutes east of UTC. */
static bool
read_zone(const char **at, int *minutes)
{
	int			sign;
	int			hour;
	int			minute = 0;

	*minutes = 0;
	if (**at == '\0' || read_word(at, "z"))
		return true;
	if (**at != '+' && **at != '-')
		return false;
	sign = *(*at)++ == '+' ? 1 : -1;
	if (!read_number(at, 2, 2, &hour))
		return false;
	if (**at != '\0' &&
		((void) read_word(at, ":"), !read_number(at, 2, 2, &minute)))
		return false;
	*minutes = sign * (hour * 60 + minute);
	return hour < 16 && minute < 60;
}

/* Parse a number of min_digits to max_digits digits. */
static bool
read_number(const char **at, int min_digits, int max_digits, int *number)
{
	const char *s = *at;

	*number = 0;
	while (*s >= '0' && *s <= '9' && s - *at < max_digits)
		*number = *number * 10 + (*s++ - '0');
	if (s - *at < min_digits)
		return false;
	*at = s;
	return true;
}

/* Skip this text, if it comes next. */
static bool
read_word(const char **at, const char *word)
{
	size_t		len = strlen(word);

	if (strncmp(*at, word, len) != 0)
		return false;
	*at += len;
	return true;
}

/* Skip one of these texts, if it comes next; returns its index, or -1. */
static int
read_one_of(const char **at, const char *const *words, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (read_word(at, words[i]))
			return i;
	}
	return -1;
}

static inline bool
date_exists(const Date *date)
{
	return rc_date_exists(date->year, date->month, date->day);
}

/* Write a date as YYYY-MM-DD. */
static void
write_date(const Date *date, char *iso)
{
	snprintf(iso, RC_DATE_ROOM, "%04d-%02d-%02d",
			 date->year, date->month, date->day);
}
