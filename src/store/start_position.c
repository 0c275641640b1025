/*-------------------------------------------------------------------------
 *
 * start_position.c
 *	  The position at which a stream starts in its topics: what a user enters,
 *	  and the form in which it is stored.
 *
 * The text is parsed once, with the user's settings (DateStyle, TimeZone).
 * The stored form means the same with all settings, because workers parse it
 * with theirs.
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

/* The only number accepted as a time: YYYYMMDD. */
#define DATE_DIGITS		8

/*
 * Digits of seconds and milliseconds since 1970, for times from 1973 to 5138.
 */
#define SECONDS_FROM	9
#define SECONDS_TO		11
#define MILLIS_TO		14

static char *iso(TimestampTz time);
static TimestampTz read_time(const char *text, const char *what,
							 const char *accepted);
static void refuse_number(const char *text, const char *what,
						  const char *accepted);

/*
 * The consumer group that start_at names, "group:NAME"; NULL if it is another
 * position.
 */
const char *
rc_start_group(const char *start_at)
{
	static const char prefix[] = "group:";

	return strncmp(start_at, prefix, strlen(prefix)) == 0 ?
		start_at + strlen(prefix) : NULL;
}

/*
 * Normalize a start position: "earliest", "latest" or a timestamp, which
 * becomes ISO 8601 in UTC, in the current context.  Times before 1970, which
 * no Kafka record has, become "earliest", and infinity "latest".
 *
 * Anything else raises ERRCODE_INVALID_PARAMETER_VALUE for that stream;
 * "accepted" is the sentence of the hint that names what is accepted.
 */
char *
rc_start_position(const char *text, const char *stream, const char *accepted)
{
	TimestampTz time;

	if (strcmp(text, "earliest") == 0 || strcmp(text, "latest") == 0)
		return pstrdup(text);
	refuse_number(text, stream, accepted);
	time = read_time(text, stream, accepted);
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
read_time(const char *text, const char *stream, const char *accepted)
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

		/*
		 * another error is raised at once, so the transaction need not be
		 * usable
		 */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid position \"%s\" for stream \"%s\"", text, stream),
				 errdetail_internal("%s.", error->message),
				 errhint("%s", accepted)));
	}
	PG_END_TRY();
	return time;
}

/*
 * Reject numbers: the input function of timestamptz would read 1767221015 as
 * October 15 of the year 176722, and 101231 as the last day of 2010.
 */
static void
refuse_number(const char *text, const char *stream, const char *accepted)
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
			 errmsg("invalid position \"%s\" for stream \"%s\"", text, stream),
			 digits < SECONDS_FROM || digits > MILLIS_TO ?
			 errhint("%s", accepted) :
			 errhint("If this is a number of %s since 1970, write \"%s\". %s",
					 digits > SECONDS_TO ? "milliseconds" : "seconds",
					 iso(time_t_to_timestamptz((pg_time_t) seconds)), accepted)));
}
