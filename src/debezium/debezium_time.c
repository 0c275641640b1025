/*-------------------------------------------------------------------------
 *
 * debezium_time.c
 *	  Dates, times and durations that are numbers: days, or units since 1970
 *	  or midnight.
 *
 * The calendar is the Gregorian one, before 1582, too, as with PostgreSQL.
 * Whether PostgreSQL has such a date is left to its input functions.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

#define SECONDS_PER_DAY		INT64CONST(86400)

/*
 * What the connector for PostgreSQL makes of infinity: pgjdbc's number of
 * milliseconds whatever the unit, the farthest one, and what is left of it as
 * a number of days, of which PostgreSQL has none.
 */
#define JDBC_INFINITY		INT64CONST(9223372036825200000)
#define JDBC_MINUS_INFINITY	INT64CONST(-9223372036832400000)
#define DATE_OF_JDBC		INT64CONST(-622191234)
#define DATE_INFINITY		INT64CONST(-2147472692)
#define DATE_MINUS_INFINITY	INT64CONST(-2147472691)

static const struct
{
	int64		per_second;
	int			digits;			/* of the part of a second */
}	units[] =

{
	[RC_DEBEZIUM_SECONDS] = {INT64CONST(1), 0},
	[RC_DEBEZIUM_MILLISECONDS] = {INT64CONST(1000), 3},
	[RC_DEBEZIUM_MICROSECONDS] = {INT64CONST(1000000), 6},
	[RC_DEBEZIUM_NANOSECONDS] = {INT64CONST(1000000000), 9}
};

static const char *append_date(int64 days, StringInfo out);
static void append_timestamp(const RcDebeziumType *type, int64 number,
							 StringInfo out);
static void append_hours(RcDebeziumUnit unit, int64 number, StringInfo out);
static void append_clock(uint64 seconds, uint64 part, int digits,
						 StringInfo out);
static bool append_day(int64 days, StringInfo out);

const char *
rc_debezium_append_time(const RcDebeziumType *type, const RcDebeziumJson *value,
						StringInfo out)
{
	int64		number;

	if (value->kind == JSON_TOKEN_STRING)
		return rc_debezium_append_iso(type, value->text, value->len, out);
	if (!rc_debezium_integer(value, &number))
		return "is neither a whole number of 64 bits nor a string";
	switch (type->kind)
	{
		case RC_DEBEZIUM_DATE:
			return append_date(number, out);
		case RC_DEBEZIUM_TIMESTAMP:
			append_timestamp(type, number, out);
			return NULL;
		default:
			append_hours(type->unit, number, out);
			if (type->kind == RC_DEBEZIUM_TIME && type->zoned)
				appendStringInfoString(out, "+00");
			return NULL;
	}
}

static const char *
append_date(int64 days, StringInfo out)
{
	if (days == DATE_OF_JDBC || days == DATE_INFINITY)
		appendStringInfoString(out, "infinity");
	else if (days == DATE_MINUS_INFINITY)
		appendStringInfoString(out, "-infinity");
	else if (days < PG_INT32_MIN || days > PG_INT32_MAX)
		return "has more than 32 bits";
	else if (append_day(days, out))
		appendStringInfoString(out, " BC");
	return NULL;
}

static void
append_timestamp(const RcDebeziumType *type, int64 number, StringInfo out)
{
	int64		per_second = units[type->unit].per_second;
	int64		seconds = number / per_second;
	int64		part = number % per_second;
	int64		days;
	bool		bc;

	if (number == PG_INT64_MAX || number == JDBC_INFINITY ||
		number == PG_INT64_MIN || number == JDBC_MINUS_INFINITY)
	{
		appendStringInfoString(out, number > 0 ? "infinity" : "-infinity");
		return;
	}
	if (part < 0)
	{
		part += per_second;
		seconds--;
	}
	days = seconds / SECONDS_PER_DAY;
	seconds %= SECONDS_PER_DAY;
	if (seconds < 0)
	{
		seconds += SECONDS_PER_DAY;
		days--;
	}
	bc = append_day(days, out);
	appendStringInfoChar(out, ' ');
	append_clock(seconds, part, units[type->unit].digits, out);
	if (type->zoned)
		appendStringInfoString(out, "+00");
	if (bc)
		appendStringInfoString(out, " BC");
}

/* A time or a duration: MySQL's times have more than 24 hours, and signs. */
static void
append_hours(RcDebeziumUnit unit, int64 number, StringInfo out)
{
	uint64		per_second = units[unit].per_second;
	uint64		absolute = number < 0 ? 0 - (uint64) number : (uint64) number;

	if (number < 0)
		appendStringInfoChar(out, '-');
	append_clock(absolute / per_second, absolute % per_second,
				 units[unit].digits, out);
}

static void
append_clock(uint64 seconds, uint64 part, int digits, StringInfo out)
{
	rc_debezium_digits(out, seconds / 3600, 2);
	appendStringInfoChar(out, ':');
	rc_debezium_digits(out, seconds / 60 % 60, 2);
	appendStringInfoChar(out, ':');
	rc_debezium_digits(out, seconds % 60, 2);
	if (part != 0)
	{
		appendStringInfoChar(out, '.');
		rc_debezium_digits(out, part, digits);
	}
}

/*
 * Append year, month and day; true if the year is one before Christ.  Years
 * begin in March, so that the day of a leap year is their last one, and are
 * counted from the beginning of the 400 years that all calendars repeat in.
 */
static bool
append_day(int64 days, StringInfo out)
{
	const int64 days_of_400 = 146097;
	int64		era;
	int64		day;
	int64		year;
	int64		month;

	days += 719468;				/* since the first of March of the year 0 */
	era = (days >= 0 ? days : days - (days_of_400 - 1)) / days_of_400;
	day = days - era * days_of_400;
	year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	month += month < 10 ? 3 : -9;
	year += era * 400 + (month <= 2);

	rc_debezium_digits(out, year > 0 ? year : 1 - year, 4);
	appendStringInfoChar(out, '-');
	rc_debezium_digits(out, month, 2);
	appendStringInfoChar(out, '-');
	rc_debezium_digits(out, day + 1, 2);
	return year <= 0;
}
