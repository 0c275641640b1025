/*-------------------------------------------------------------------------
 *
 * iso_time.c
 *	  Times in ISO 8601, as APIs write them in headers and answers.
 *
 * It must not throw for what it cannot read, nor depend on a setting.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "source/iso_time.h"
#include "utils/datetime.h"

static bool parse_zone(const char *text, int *seconds);

/*
 * Parse "2026-08-12 00:00:00+00:00" and similar forms; 0 for other texts.
 * timestamptz_in() would throw, and depends on settings.
 */
TimestampTz
rc_iso_time(const char *text)
{
	int			year;
	int			month;
	int			day;
	int			hour = 0;
	int			minute = 0;
	int			second = 0;
	int			zone;
	int			used = 0;
	char		separator;
	int64		seconds;

	if (sscanf(text, "%4d-%2d-%2d%c%2d:%2d:%2d%n", &year, &month, &day,
			   &separator, &hour, &minute, &second, &used) < 7)
		return 0;
	if (separator != 'T' && separator != ' ')
		return 0;
	if (year < 1970 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1] ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
		second < 0 || second > 60)
		return 0;

	text += used;
	if (*text == '.')
	{
		text++;
		while (isdigit((unsigned char) *text))
			text++;
	}
	if (!parse_zone(text, &zone))
		return 0;

	seconds = (int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY +
		hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second - zone;
	return seconds * USECS_PER_SEC;
}

/*
 * Read "Z", "+02:00", "+0200", "+02" or nothing, as seconds east of UTC.
 */
static bool
parse_zone(const char *text, int *seconds)
{
	int			hours;
	int			minutes = 0;
	char		sign;

	*seconds = 0;
	while (*text == ' ')
		text++;
	sign = *text;
	if (*text == '\0' || *text == 'Z' || strcmp(text, "UTC") == 0 ||
		strcmp(text, "GMT") == 0)
		return true;
	if (sign != '+' && sign != '-')
		return false;
	if (sscanf(text + 1, "%2d:%2d", &hours, &minutes) < 1)
		return false;
	if (strchr(text, ':') == NULL)
		sscanf(text + 1, "%2d%2d", &hours, &minutes);
	*seconds = (hours * MINS_PER_HOUR + minutes) * SECS_PER_MINUTE;
	if (sign == '-')
		*seconds = -*seconds;
	return true;
}
