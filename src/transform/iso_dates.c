/*-------------------------------------------------------------------------
 *
 * iso_dates.c
 *	  Recognizes dates and times that are already in the form that
 *	  recall_dates.c writes, as those of the V2 dataset are, and days that do
 *	  not exist.
 *
 * The former need not be parsed and written again, which took 4 % of the CPU time of
 * a recall in direct mode.  Any other text, right or wrong, is left to
 * recall_dates.c.
 *
 * Nothing here may depend on a clock, time zone or locale.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datetime.h"

#include "transform/recall.h"

#define DATE_FORM	"0000-00-00"
#define DATE_LEN	10			/* of YYYY-MM-DD */
#define TIME_LEN	25			/* of YYYY-MM-DDThh:mm:ss+00:00 */

static bool is_date(const char *str);
static bool has_form(const char *str, const char *form);
static int	number(const char *str, int digits);
static void copy(const char *str, size_t len, char *iso);

/*
 * Copy a text that is an existing date, written YYYY-MM-DD, to iso
 * (RC_DATE_ROOM bytes).  Returns false, and leaves iso unchanged, for any other.
 */
bool
rc_copy_iso_date(const char *str, size_t len, char *iso)
{
	if (len != DATE_LEN || !is_date(str))
		return false;
	copy(str, len, iso);
	return true;
}

/* The same for an existing time, written YYYY-MM-DDThh:mm:ss+00:00. */
bool
rc_copy_iso_utc_time(const char *str, size_t len, char *iso)
{
	const char *time = str + DATE_LEN;

	if (len != TIME_LEN || !has_form(time, "T00:00:00") ||
		memcmp(time + 9, "+00:00", 6) != 0 ||
		number(time + 1, 2) >= HOURS_PER_DAY ||
		number(time + 4, 2) >= MINS_PER_HOUR ||
		number(time + 7, 2) >= SECS_PER_MINUTE || !is_date(str))
		return false;
	copy(str, len, iso);
	return true;
}

static bool
is_date(const char *str)
{
	return has_form(str, DATE_FORM) &&
		rc_date_exists(number(str, 4), number(str + 5, 2), number(str + 8, 2));
}

/*
 * Has str the form of an ISO date or timestamp, but of a day that does not
 * exist?
 *
 * The server rejects such a text whatever its settings.
 */
bool
rc_recall_no_date(const char *str, size_t len)
{
	if (len < DATE_LEN || !has_form(str, DATE_FORM) || is_date(str))
		return false;
	for (size_t i = DATE_LEN; i < len; i++)
	{
		if (str[i] == '\0' || strchr("0123456789:.+-TZ", str[i]) == NULL)
			return false;
	}
	return true;
}

/* Whether there is such a day, of the years 1 to 9999. */
bool
rc_date_exists(int year, int month, int day)
{
	return year >= 1 && year <= 9999 &&
		month >= 1 && month <= MONTHS_PER_YEAR &&
		day >= 1 && day <= day_tab[isleap(year)][month - 1];
}

/* Whether the text begins as the form, in which 0 means any digit. */
static bool
has_form(const char *str, const char *form)
{
	for (; *form != '\0'; form++, str++)
	{
		if (*form == '0' ? (*str < '0' || *str > '9') : *str != *form)
			return false;
	}
	return true;
}

static int
number(const char *str, int digits)
{
	int			n = 0;

	while (digits-- > 0)
		n = n * 10 + (*str++ - '0');
	return n;
}

static void
copy(const char *str, size_t len, char *iso)
{
	memcpy(iso, str, len);
	iso[len] = '\0';
}
