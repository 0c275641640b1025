/*-------------------------------------------------------------------------
 *
 * time_place.c
 *	  Where in its topics a stream starts: what a user writes, and the form in
 *	  which it is stored.
 *
 * A user's text is read in the user's settings, once.  What is stored means
 * the same in all settings, since workers read it in their own.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/*
 * "earliest", "latest" or a timestamp, in ISO 8601 and UTC, in the current
 * context.  Times that no record has, since Kafka counts from 1970, are one
 * of the two words.  Errors: those of the type's own input.
 */
char *
rc_time_place(const char *text)
{
	TimestampTz time;
	struct pg_tm tm;
	fsec_t		fraction;

	if (strcmp(text, "earliest") == 0 || strcmp(text, "latest") == 0)
		return pstrdup(text);
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	if (TIMESTAMP_IS_NOEND(time))
		return pstrdup("latest");
	if (TIMESTAMP_IS_NOBEGIN(time) || time < rc_from_kafka_time(0))
		return pstrdup("earliest");
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
