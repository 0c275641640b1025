/*-------------------------------------------------------------------------
 *
 * stream_functions.c
 *	  SQL-callable functions for streams: rc_seek(), rc_retry(), rc_drain().
 *
 * rc_seek() must not use the network.  It parses a timestamp with the
 * caller's settings (TimeZone, DateStyle) and stores it in a form that does
 * not depend on them; a worker looks up its offset.  The others start a
 * worker and wait for it.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "session/caller_checks.h"
#include "session/run_wait.h"
#include "session/worker_request.h"
#include "store/dead_letter.h"
#include "store/start_position.h"
#include "store/stream_offset.h"

PG_FUNCTION_INFO_V1(rc_seek);
PG_FUNCTION_INFO_V1(rc_retry);
PG_FUNCTION_INFO_V1(rc_drain);

/* The most digits of a partition and of an offset. */
#define PARTITION_DIGITS	9
#define OFFSET_DIGITS		18

#define ACCEPTED	"Use earliest, latest, a timestamp, or [topic:]partition:offset[,..]."

static bool read_offsets(const char *to, const RcStream *stream,
						 RcSeekOffsets *offsets);
static bool read_offset(char *part, const RcStream *stream, RcSeekOffsets *offsets);
static bool read_number(const char *text, int most_digits, int64 *number);

/* rc_seek(stream, "to"): takes effect at commit. */
Datum
rc_seek(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *to;
	RcStream   *stream;
	RcSeekOffsets offsets = {0};

	rc_caller_check_null(fcinfo, 0, "stream");
	rc_caller_check_null(fcinfo, 1, "to");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	to = text_to_cstring(PG_GETARG_TEXT_PP(1));
	stream = rc_caller_stream(name, "rc_seek()");

	if (read_offsets(to, stream, &offsets))
		rc_stream_seek_offsets(name, &offsets);
	else
		rc_stream_seek(name, rc_start_position(to, name, ACCEPTED));
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	rc_cancel_stream(name, stream->workers);
	PG_RETURN_VOID();
}

/*
 * Parse [topic:]partition:offset,..; returns false if the text has another
 * form, or names a topic that the stream does not read (2026-01-02T03:04:05
 * is a time).
 */
static bool
read_offsets(const char *to, const RcStream *stream, RcSeekOffsets *offsets)
{
	char	   *part = pstrdup(to);
	int			most = 1;

	for (const char *p = to; *p != '\0'; p++)
		most += *p == ',' ? 1 : 0;
	offsets->topics = palloc(sizeof(Datum) * most);
	offsets->no_topic = palloc(sizeof(bool) * most);
	offsets->partitions = palloc(sizeof(Datum) * most);
	offsets->offsets = palloc(sizeof(Datum) * most);
	while (part != NULL)
	{
		char	   *comma = strchr(part, ',');

		if (comma != NULL)
			*comma = '\0';
		if (!read_offset(part, stream, offsets))
			return false;
		part = comma == NULL ? NULL : comma + 1;
	}
	return true;
}

static bool
read_offset(char *part, const RcStream *stream, RcSeekOffsets *offsets)
{
	char	   *offset = strrchr(part, ':');
	char	   *partition;
	char	   *topic = NULL;
	int64		numbers[2];
	int			n = offsets->n;

	if (offset == NULL)
		return false;
	*offset++ = '\0';
	partition = strrchr(part, ':');
	if (partition != NULL)
	{
		*partition++ = '\0';
		topic = part;
		if (!rc_stream_reads(stream, topic))
			return false;
	}
	else
		partition = part;
	if (!read_number(partition, PARTITION_DIGITS, &numbers[0]) ||
		!read_number(offset, OFFSET_DIGITS, &numbers[1]))
		return false;
	offsets->no_topic[n] = topic == NULL;
	offsets->topics[n] = topic ? CStringGetTextDatum(topic) : (Datum) 0;
	offsets->partitions[n] = Int32GetDatum((int32) numbers[0]);
	offsets->offsets[n] = Int64GetDatum(numbers[1]);
	offsets->n++;
	return true;
}

static bool
read_number(const char *text, int most_digits, int64 *number)
{
	size_t		len = strlen(text);

	if (len == 0 || len > most_digits || strspn(text, "0123456789") != len)
		return false;
	*number = strtoll(text, NULL, 10);
	return true;
}

/* rc_retry(stream, id): (retried, resolved, still_dead). */
Datum
rc_retry(PG_FUNCTION_ARGS)
{
	char	   *name;
	RcStream   *stream;
	RcWorkerRequest request = {0};

	rc_caller_check_null(fcinfo, 0, "stream");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	stream = rc_caller_stream(name, "rc_retry()");
	rc_check_committed(rc_stream_xmin(name), "rappel_conso.stream", name);

	request.kind = RC_WORKER_RETRY;
	request.args.role = stream->owner;
	if (!PG_ARGISNULL(1))
	{
		request.args.id = PG_GETARG_INT64(1);
		if (request.args.id <= 0)
			rc_dead_letter_missing(name, request.args.id);
	}
	strlcpy(request.args.name, name, sizeof(request.args.name));
	rc_worker_request(&request);
	if (request.busy)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("dead letters of stream \"%s\" are being retried by another process",
						name)));
	return rc_worker_reply_row(fcinfo, request.values, 3);
}

/* rc_drain(stream, timeout): returns the counts. */
Datum
rc_drain(PG_FUNCTION_ARGS)
{
	char	   *name;
	RcStream   *stream;
	RcWorkerRequest request = {0};

	rc_caller_check_null(fcinfo, 0, "stream");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	stream = rc_caller_stream(name, "rc_drain()");
	rc_check_committed(rc_stream_xmin(name), "rappel_conso.stream", name);

	request.kind = RC_WORKER_DRAIN;
	request.args.role = stream->owner;
	strlcpy(request.args.name, name, sizeof(request.args.name));
	request.stream = name;
	if (!PG_ARGISNULL(1))
		request.deadline = rc_deadline(PG_GETARG_DATUM(1), "rc_drain()");
	rc_worker_request(&request);
	return rc_worker_reply_row(fcinfo, request.values, 5);
}
