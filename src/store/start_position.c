/*-------------------------------------------------------------------------
 *
 * start_position.c
 *	  Where in its topics a stream starts: what a user writes, and the form in
 *	  which it is stored.
 *
 * A user's text is read in the user's settings, once.  What is stored means
 * the same in all settings, since workers read it in their own.
 *
 *-------------------------------------------------------------------------
 */
#include "store/start_position.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "record.h"

/* The only number that is a time: YYYYMMDD. */
#define DATE_DIGITS		8

/* Digits of 1970's seconds and milliseconds, for times from 1973 to 5138. */
#define SECONDS_FROM	9
#define SECONDS_TO		11
#define MILLIS_TO		14

static char *iso(TimestampTz time);
static TimestampTz read_time(const char *text, const char *what,
							 const char *accepted);
static void refuse_number(const char *text, const char *what,
						  const char *accepted);

/*
 * "earliest", "latest" or a timestamp, in ISO 8601 and UTC, in the current
 * context.  Times that no record has, since Kafka counts from 1970, are one
 * of the two words.
 *
 * What is none of it is an error: "what" begins its message, which the text
 * ends, and "accepted" is the sentence for its hint that says what is.
 *
 * Errors: 22023.
 */
char *
rc_time_place(const char *text, const char *what, const char *accepted)
{
	TimestampTz time;

	if (strcmp(text, "earliest") == 0 || strcmp(text, "latest") == 0)
		return pstrdup(text);
	refuse_number(text, what, accepted);
	time = read_time(text, what, accepted);
	if (TIMESTAMP_IS_NOEND(time))
		return pstrdup("latest");
	if (TIMESTAMP_IS_NOBEGIN(time) || time < rc_from_kafka_time(0))
		return pstrdup("earliest");
	return iso(time);
}

static char *
iso(TimestampTz time)
{
	struct pg_tm tm;
	fsec_t		fraction;

	if (timestamp2tm(time, NULL, &tm, &fraction, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	if (fraction != 0)
		return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year,
						tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
						tm.tm_sec, (int) fraction);
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year, tm.tm_mon,
					tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static TimestampTz
read_time(const char *text, const char *what, const char *accepted)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz time = 0;

	PG_TRY();
	{
		time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
													   CStringGetDatum(text),
													   ObjectIdGetDatum(InvalidOid),
													   Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		/* the transaction fails with another error: nothing goes on in it */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\"", what, text),
				 errdetail_internal("%s.", error->message),
				 errhint("Use %s", accepted)));
	}
	PG_END_TRY();
	return time;
}

/*
 * A number is hardly meant as the type's input reads it: 1767221015 would be
 * October 15 of the year 176722, and 101231 the last day of 2010.
 */
static void
refuse_number(const char *text, const char *what, const char *accepted)
{
	const char *number = text + strspn(text, " \t\n\v\f\r");
	size_t		digits = strspn(number, "0123456789");
	size_t		rest = digits;
	double		seconds;

	if (number[rest] == '.')
		rest += 1 + strspn(number + rest + 1, "0123456789");
	rest += strspn(number + rest, " \t\n\v\f\r");
	if (digits == 0 || number[rest] != '\0' ||
		(digits == DATE_DIGITS && number[digits] != '.'))
		return;

	seconds = strtod(number, NULL);
	if (digits > SECONDS_TO)
		seconds /= 1000;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\"", what, text),
			 digits < SECONDS_FROM || digits > MILLIS_TO ?
			 errhint("Use %s", accepted) :
			 errhint("If this is a number of %s since 1970, write \"%s\".  Use %s",
					 digits > SECONDS_TO ? "milliseconds" : "seconds",
					 iso(time_t_to_timestamptz((pg_time_t) seconds)), accepted)));
}
